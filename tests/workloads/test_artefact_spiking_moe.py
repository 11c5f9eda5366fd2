"""Are the committed spike-driven transformers, dense and with experts, what their manifests say, and do they make their spikes?

A second formulation in NumPy, as in :mod:`tests.workloads.test_artefact_spikingformer`, with whose parts it is written.
"""

import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.workloads.test_artefact_spikingformer import FILES, FOLDER, Network, fire_as_recorded, fire_freely, windows

FOLDERS = {family: FOLDER.parent / f"{family}_digits" for family in ("spiking_moe", "spike_driven_transformer")}


class SpikeDriven(Network):
    """The float network; ``loads``: by layer of experts, choices of each expert and those that found room [2, experts]."""

    def __init__(self, weights, manifest):
        super().__init__(weights, manifest)
        self.hyper, self.loads = manifest["hyperparameters"], {}

    def conv(self, x, number):
        """A 3x3 convolution of the tokenizer with its norm, [n, T, H, W, C]."""
        w, b = self.folded(f"patch_embed.{number.replace('*', 'conv')}", f"patch_embed.{number.replace('*', 'bn')}")
        return np.einsum("ntyxcij,ocij->ntyxo", windows(x, 3, 1, 1), w, optimize=True) + b

    def tokenizer(self, images, neurons):
        def spikes(name, x):
            n, steps, height, width, channels = x.shape
            return neurons(f"patch_embed.{name}", x.reshape(n, steps, -1, channels)).reshape(x.shape)

        norm = self.manifest["data"]["normalisation"]
        x = ((images / norm["pixel_max"] - norm["mean"]) / norm["std"])[:, None, :, :, None]
        x = np.repeat(self.conv(x, "proj_*"), self.hyper["timesteps"], axis=1)
        for number in (1, 2):
            x = self.conv(spikes(f"proj_lif{number - 1 or ''}", x), f"proj_*{number}")
        x = windows(spikes("proj_lif2", x), 3, 2, 1).max(axis=(-2, -1))
        stream = self.conv(x, "proj_*3")
        stream = stream + self.conv(spikes("proj_lif3", stream), "rpe_*")
        return stream.reshape(*stream.shape[:2], -1, stream.shape[-1])

    def attention(self, x, at, neurons):
        s = neurons(f"{at}.shortcut_lif", x)
        q, k, v = (neurons(f"{at}.{p}_lif", self.pointwise(s, f"{at}.{p}_conv", f"{at}.{p}_bn")) for p in "qkv")
        gate = neurons(f"{at}.talking_heads_lif", np.minimum(k, v).sum(axis=2, keepdims=True))
        return self.pointwise(np.minimum(q, gate), f"{at}.proj_conv", f"{at}.proj_bn")

    def dense(self, x, at, neurons, chosen=1.0):
        hidden = self.pointwise(neurons(f"{at}.fc1_lif", x), f"{at}.fc1_conv", f"{at}.fc1_bn")
        return self.pointwise(neurons(f"{at}.fc2_lif", hidden * chosen), f"{at}.fc2_conv", f"{at}.fc2_bn")

    def mlp(self, x, at, neurons):
        if not (count := self.hyper["experts"]):
            return self.dense(x, at, neurons)
        scores = neurons(f"{at}.gate.gate_lif1", x)[:, 0] @ self.weights[f"{at}.gate.gate_fc1.weight"].T
        accepted, load = np.zeros(scores.shape), np.zeros((2, count), int)
        for image in range(len(scores)):
            taken = [0] * count
            for token, values in enumerate(scores[image]):
                for expert in sorted(range(count), key=lambda e: (-values[e], e))[: self.hyper["choices"]]:
                    accepted[image, token, expert] = taken[expert] < self.hyper["capacity"]
                    taken[expert] += 1
            load += [taken, np.minimum(taken, self.hyper["capacity"])]
        self.loads[at] = load
        masks = [accepted[:, None, :, expert, None] for expert in range(count)]
        return sum(self.dense(x, f"{at}.experts.{e}", neurons, masks[e]) * masks[e] for e in range(count))


@pytest.fixture(scope="module", params=FOLDERS)
def artefact(request):
    """(folder, manifest, weights, test set, traces)."""
    folder = FOLDERS[request.param]
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    with np.load(folder / "test.npz", allow_pickle=False) as archive:
        test_set = dict(archive)
    with np.load(folder / "traces.npz", allow_pickle=False) as archive:
        traces = {
            name: np.unpackbits(archive[name], axis=-1, bitorder="little") if name in manifest["lif"] else archive[name]
            for name in archive.files
        }
    return folder, manifest, load_file(folder / "weights.safetensors"), test_set, traces


def test_files_are_the_ones_hashed(artefact):
    folder, manifest, *_ = artefact
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, "manifest.json"])
    for name in FILES:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == manifest["sha256"][name], name
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000
    text = (folder / "manifest.json").read_text(encoding="utf-8")
    assert text == json.dumps(manifest, indent=1, sort_keys=True) + "\n"


def test_the_test_set_is_that_of_the_other_networks(artefact):
    with np.load(FOLDER / "test.npz", allow_pickle=False) as archive:
        assert all((archive[name] == values).all() for name, values in artefact[3].items())


def test_weights_have_the_public_keys_and_shapes(artefact):
    _, manifest, weights, *_ = artefact
    hyper = manifest["hyperparameters"]
    dim, hidden = hyper["dim"], hyper["dim"] * hyper["mlp_ratio"]
    convs = {f"patch_embed.proj{{}}{n or ''}": (dim >> 3 - n, dim >> 4 - n if n else 1, 3, 3) for n in range(4)}
    convs["patch_embed.rpe{}"] = (dim, dim, 3, 3)
    expected, biased = {"head.weight": (10, dim), "head.bias": (10,)}, set()
    for i in range(hyper["depth"]):
        convs |= {f"block.{i}.attn.{name}{{}}": (dim, dim, 1, 1) for name in ("q", "k", "v", "proj")}
        mlps = [f"block.{i}.mlp.experts.{e}" for e in range(hyper["experts"])] or [f"block.{i}.mlp"]
        for mlp in mlps:
            convs |= {f"{mlp}.fc1{{}}": (hidden, dim, 1, 1), f"{mlp}.fc2{{}}": (dim, hidden, 1, 1)}
        biased |= {f"block.{i}.attn.proj{{}}", *(f"{mlp}.fc{n}{{}}" for mlp in mlps for n in (1, 2))}
        if hyper["experts"]:
            expected[f"block.{i}.mlp.gate.gate_fc1.weight"] = (hyper["experts"], dim)
    for name, shape in convs.items():
        expected[f"{name.format('_conv')}.weight"] = shape
        expected |= {
            f"{name.format('_bn')}.{part}": shape[:1] for part in ("weight", "bias", "running_mean", "running_var")
        }
        expected |= {f"{name.format('_conv')}.bias": shape[:1]} if name in biased else {}
    assert {name: w.shape for name, w in weights.items()} == expected
    assert sum(w.size for name, w in weights.items() if "running_" not in name) == manifest["parameters"]


def test_experts_are_together_as_large_as_the_dense_mlp():
    sizes = []
    for folder in FOLDERS.values():
        weights = load_file(folder / "weights.safetensors")
        sizes.append(sum(w.size for name, w in weights.items() if ".fc" in name and name.endswith("conv.weight")))
    assert sizes == [2 * 2 * 64 * 256] * 2  # blocks x layers x D x 4 D


def test_weights_make_the_recorded_spikes(artefact):
    """Every neuron sees the recorded spikes upstream: a near-tie can neither hide nor cause a difference."""
    _, manifest, weights, test_set, traces = artefact
    wrong: dict[str, int] = {}
    images = test_set["images"][: manifest["traces"]["images"]]
    pooled, logits = SpikeDriven(weights, manifest).forward(images, fire_as_recorded(manifest["lif"], traces, wrong))
    assert wrong == dict.fromkeys(manifest["lif"], 0)
    np.testing.assert_allclose(traces["head.input"], pooled, rtol=0, atol=1e-5)
    np.testing.assert_allclose(traces["logits"], logits, rtol=0, atol=1e-4)


def test_accuracy_is_the_manifests_and_every_expert_is_used(artefact):
    """Run freely: a spike at a near-tie may turn out otherwise than in float32 and change one image's class."""
    _, manifest, weights, test_set, _ = artefact
    network = SpikeDriven(weights, manifest)
    _, logits = network.forward(test_set["images"], fire_freely(manifest["lif"]))
    correct = int((logits.argmax(1) == test_set["labels"]).sum())
    assert abs(correct - manifest["accuracy"]["test"]["correct"]) <= 1
    assert manifest["accuracy"]["test"]["accuracy"] >= 0.96
    choices = 360 * 16 * manifest["hyperparameters"]["choices"]
    for load in network.loads.values():
        assert load[0].sum() == choices and (load[0] > 0.05 * choices).all()
        assert 0 < choices - load[1].sum() < 0.2 * choices, "the capacity binds, but not often"
