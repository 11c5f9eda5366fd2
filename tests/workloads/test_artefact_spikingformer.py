"""Is the committed Spikingformer what its manifest says, and do its weights make its recorded spikes?

The forward pass below and in ``formulation.py`` is a second formulation, independent of the training code.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.workloads.formulation import (
    Array,
    Folded,
    Neurons,
    attention,
    eight_bits,
    fire_as_recorded,
    fire_freely,
    read_manifest,
    read_test_set,
    read_traces,
    windows,
)

FOLDER = Path(__file__).resolve().parents[2] / "workloads" / "artefacts" / "spikingformer_digits"
FILES = ("test.npz", "traces.npz", "weights.safetensors")
LIFS_OF_A_BLOCK = (
    "attn.proj_lif",
    "attn.q_lif",
    "attn.k_lif",
    "attn.v_lif",
    "attn.attn_lif",
    "mlp.mlp1_lif",
    "mlp.mlp2_lif",
)
class Network(Folded):
    """The float network in NumPy."""

    def tokenizer(self, images: Array, neurons: Neurons) -> Array:
        """Pixels [n, 8, 8] to the membrane stream [n, T, 16, D]."""
        x = self.normalised(images)
        for stage in self.manifest["tokenizer"]:
            n, steps, height, width, channels = x.shape
            if stage["lif"]:
                flat = x.reshape(n, steps, height * width, channels)
                x = neurons(f"patch_embed.{stage['lif']}", flat).reshape(x.shape)
            if pool := stage["pool"]:
                x = windows(x, pool["kernel"], pool["stride"], pool["padding"]).max(axis=(-2, -1))
            w, b = self.folded(f"patch_embed.{stage['name']}", f"patch_embed.{stage['bn']}")
            patches = windows(x, stage["kernel"], stage["stride"], stage["padding"])
            x = np.einsum("ntyxcij,ocij->ntyxo", patches, w, optimize=True) + b
            if stage["kind"] == "analog":
                x = np.repeat(x, self.manifest["hyperparameters"]["timesteps"], axis=1)
        return x.reshape(*x.shape[:2], -1, x.shape[-1])

    def attention(self, x: Array, at: str, neurons: Neurons) -> Array:
        s = neurons(f"{at}.proj_lif", x)
        q, k, v = (neurons(f"{at}.{p}_lif", self.pointwise(s, f"{at}.{p}_conv", f"{at}.{p}_bn")) for p in "qkv")
        product = attention(q, k, v, self.manifest["hyperparameters"]["heads"])
        gated = neurons(f"{at}.attn_lif", product * self.manifest["attention_scale"])
        return self.pointwise(gated, f"{at}.proj_conv", f"{at}.proj_bn")

    def mlp(self, x: Array, at: str, neurons: Neurons) -> Array:
        for i in (1, 2):
            x = self.pointwise(neurons(f"{at}.mlp{i}_lif", x), f"{at}.mlp{i}_conv", f"{at}.mlp{i}_bn")
        return x

    def forward(self, images: Array, neurons: Neurons) -> tuple[Array, Array]:
        """Pixels [n, 8, 8] to the head's input [n, D] and logits [n, 10]."""
        x = self.tokenizer(images, neurons)
        for i in range(self.manifest["hyperparameters"]["depth"]):
            x = x + self.attention(x, f"block.{i}.attn", neurons)
            x = x + self.mlp(x, f"block.{i}.mlp", neurons)
        pooled = x.mean(axis=(1, 2))
        return pooled, pooled @ self.change(self.weights["head.weight"]).T + self.weights["head.bias"]


@pytest.fixture(scope="module")
def manifest() -> dict:
    return read_manifest(FOLDER)


@pytest.fixture(scope="module")
def weights() -> dict[str, Array]:
    return load_file(FOLDER / "weights.safetensors")


@pytest.fixture(scope="module")
def test_set() -> dict[str, Array]:
    return read_test_set(FOLDER)


@pytest.fixture(scope="module")
def traces(manifest: dict) -> dict[str, Array]:
    return read_traces(FOLDER, manifest)


def test_files_are_the_ones_hashed(manifest):
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted([*FILES, "manifest.json"])
    assert sorted(manifest["sha256"]) == sorted(FILES)
    for name in FILES:
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == manifest["sha256"][name], name
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_000_000


def test_manifest_is_written_canonically(manifest):
    text = (FOLDER / "manifest.json").read_text(encoding="utf-8")
    assert text == json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    assert (manifest["schema_version"], manifest["family"]) == (1, "spikingformer")


def test_weights_have_the_official_keys_and_shapes(manifest, weights):
    hyper = manifest["hyperparameters"]
    dim, hidden, stem = hyper["dim"], hyper["dim"] * hyper["mlp_ratio"], hyper["stem_channels"]
    convs = {"patch_embed.proj": (stem, hyper["in_channels"], 3, 3), "patch_embed.proj1": (dim, stem, 3, 3)}
    biases = {"head.bias": (hyper["classes"],)}
    for i in range(hyper["depth"]):
        convs |= {f"block.{i}.attn.{name}": (dim, dim, 1) for name in ("q", "k", "v", "proj")}
        convs |= {f"block.{i}.mlp.mlp1": (hidden, dim, 1, 1), f"block.{i}.mlp.mlp2": (dim, hidden, 1, 1)}
        biases |= {
            f"block.{i}.attn.proj_conv.bias": (dim,),
            f"block.{i}.mlp.mlp1_conv.bias": (hidden,),
            f"block.{i}.mlp.mlp2_conv.bias": (dim,),
        }
    expected = {"head.weight": (hyper["classes"], dim), **biases}
    expected |= {f"{name}_conv.weight": shape for name, shape in convs.items()}
    expected |= {
        f"{name}_bn.{part}": (shape[0],)
        for name, shape in convs.items()
        for part in ("weight", "bias", "running_mean", "running_var")
    }
    assert {name: w.shape for name, w in weights.items()} == expected
    assert {w.dtype for w in weights.values()} == {np.dtype(np.float32)}
    learned = sum(w.size for name, w in weights.items() if "running_" not in name)
    assert learned == manifest["parameters"]


def test_lif_nodes_are_the_published_ones(manifest):
    depth = manifest["hyperparameters"]["depth"]
    names = [f"block.{i}.{name}" for i in range(depth) for name in LIFS_OF_A_BLOCK]
    names.append("patch_embed.proj1_lif")
    assert sorted(manifest["lif"]) == sorted(names)
    for name, node in manifest["lif"].items():
        assert node == {
            "kind": "lif",
            "tau": 2.0,
            "threshold": 0.5 if "attn_lif" in name else 1.0,
            "reset": "hard",
            "v_reset": 0.0,
            "decay_input": True,
        }
    assert manifest["attention_scale"] == manifest["hyperparameters"]["attention_scale"] == 0.125


def test_test_set_has_its_shape_and_range(manifest, test_set):
    images, labels, index = (test_set[name] for name in ("images", "labels", "index"))
    assert (images.dtype, images.shape) == (np.uint8, (360, 8, 8))
    assert (labels.dtype, labels.shape) == (np.uint8, (360,))
    assert (index.dtype, index.shape) == (np.int32, (360,))
    assert (images.min(), images.max()) == (0, 16)
    assert len(np.unique(index)) == 360 and index.min() >= 0 and index.max() < manifest["data"]["images"]
    assert set(np.bincount(labels, minlength=10)) <= {35, 36, 37}  # 360 drawn from 174 to 183 images a class
    assert manifest["data"]["images"] == sum(manifest["data"]["split_counts"].values()) == 1797


def test_test_set_is_scikit_learns(test_set):
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    assert (test_set["images"] == digits.images[test_set["index"]]).all()
    assert (test_set["labels"] == digits.target[test_set["index"]]).all()


def test_traces_have_the_shapes_of_the_manifest(manifest, traces):
    count, hyper = manifest["traces"]["images"], manifest["hyperparameters"]
    assert {name: list(values.shape) for name, values in traces.items()} == manifest["traces"]["shapes"]
    assert set(traces) == {*manifest["lif"], "head.input", "logits"}
    steps, size = hyper["timesteps"], hyper["image_size"]
    for name in manifest["lif"]:
        channels = hyper["stem_channels"] if name.startswith("patch_embed") else hyper["dim"]
        channels *= hyper["mlp_ratio"] if name.endswith("mlp2_lif") else 1
        tokens = size**2 if name.startswith("patch_embed") else (size // 2) ** 2
        assert traces[name].shape == (count, steps, tokens, channels), name
    assert traces["head.input"].dtype == traces["logits"].dtype == np.float32


def test_reference_lif_on_a_hand_worked_vector():
    """With tau 2 and threshold 1, h = 1 fires (not only above), a reset forgets the excess, v is halved."""
    x = np.array([1.0, 1.5, 3.0, 1.0, 0.0, 1.75])[None, :, None, None]
    # h: 0.5, then 1.0 (fires), then 1.5 (fires), then 0.5, then 0.25, then 1.0 (fires)
    spikes = fire_freely({"n": {"tau": 2.0, "threshold": 1.0}})("n", x)
    assert spikes.ravel().tolist() == [0, 1, 1, 0, 0, 1]


def test_weights_make_the_recorded_spikes(manifest, weights, test_set, traces):
    """Every neuron sees the recorded spikes upstream: a near-tie can neither hide nor cause a difference."""
    wrong: dict[str, int] = {}
    images = test_set["images"][: manifest["traces"]["images"]]
    neurons = fire_as_recorded(manifest["lif"], traces, wrong)
    pooled, logits = Network(weights, manifest).forward(images, neurons)
    assert wrong == dict.fromkeys(manifest["lif"], 0)
    np.testing.assert_allclose(traces["head.input"], pooled, rtol=0, atol=1e-5)
    np.testing.assert_allclose(traces["logits"], logits, rtol=0, atol=1e-4)


def test_accuracy_and_firing_totals_are_the_manifests(manifest, weights, test_set):
    """Run freely: a spike at a near-tie may turn out otherwise than in float32 and be amplified downstream.

    So one image may change its class, and a total may move by the spikes of that one image: a few in 360.
    """
    totals: dict[str, int] = {}
    free = fire_freely(manifest["lif"])

    def counted(name: str, x: Array) -> Array:
        spikes = free(name, x)
        totals[name] = int(spikes.sum())
        return spikes

    _, logits = Network(weights, manifest).forward(test_set["images"], counted)
    correct = int((logits.argmax(1) == test_set["labels"]).sum())
    assert abs(correct - manifest["accuracy"]["test"]["correct"]) <= 1
    for name, firing in manifest["firing_rates"].items():
        assert totals[name] == pytest.approx(firing["spikes"], rel=1e-3), name


def test_manifest_figures_are_consistent(manifest, traces):
    hyper, score = manifest["hyperparameters"], manifest["accuracy"]
    assert {part: value["total"] for part, value in score.items()} == manifest["data"]["split_counts"]
    for value in score.values():
        assert value["accuracy"] == pytest.approx(value["correct"] / value["total"], abs=1e-6)
    assert score["test"]["accuracy"] >= 0.97
    for name, firing in manifest["firing_rates"].items():
        assert firing["sites"] == score["test"]["total"] * traces[name][0].size
        assert firing["rate"] == pytest.approx(firing["spikes"] / firing["sites"], abs=1e-6)
        assert len(firing["rate_per_step"]) == hyper["timesteps"]
        assert np.mean(firing["rate_per_step"]) == pytest.approx(firing["rate"], abs=1e-6)
        assert 0 < firing["rate"] < 0.5


def test_weights_survive_eight_bits(manifest, weights, test_set):
    """Batch norm folded, then one scale per channel: at most one image (0.28 points) is lost."""
    network = Network(weights, manifest, eight_bits)
    _, logits = network.forward(test_set["images"], fire_freely(manifest["lif"]))
    assert (logits.argmax(1) == test_set["labels"]).sum() >= manifest["accuracy"]["test"]["correct"] - 1


def test_no_batch_norm_scale_explodes(manifest, weights):
    """A dead channel has a variance near 0, and its folded weights would need a scale of their own."""
    network = Network(weights, manifest)
    for bn in sorted({name.rpartition(".")[0] for name in weights if name.endswith("running_var")}):
        scale = np.abs(network.scale(bn))
        assert scale.max() <= 10 * np.median(scale), bn
        assert weights[f"{bn}.running_var"].min() > 100 * manifest["batch_norm_eps"], bn
