"""Are the committed Spikformer, Meta-SpikeFormer and Spiking MLP as their manifests say, and do weights make recorded spikes?"""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.workloads.formulation import (
    Array,
    Folded,
    Neurons,
    attention,
    fire_as_recorded,
    fire_freely,
    on_maps,
    read_manifest,
    read_test_set,
    read_traces,
    windows,
)

ARTEFACTS = Path(__file__).resolve().parents[2] / "workloads" / "artefacts"


class Spikformer(Folded):
    """LIF behind every convolution; the stream is a sum of spikes."""

    def behind(self, x: Array, place: str, part: str, neurons: Neurons) -> Array:
        """1x1 convolution, norm and neurons of tokens."""
        return neurons(f"{place}.{part}_lif", self.pointwise(x, f"{place}.{part}_conv", f"{place}.{part}_bn"))

    def forward(self, images: Array, neurons: Neurons) -> tuple[Array, Array]:
        """Pixels [n, 8, 8] to the head's input [n, D] and logits [n, 10]."""
        hyper, x, added = self.manifest["hyperparameters"], self.normalised(images), 0
        for stage in self.manifest["tokenizer"]:
            conv, bn, lif = (f"patch_embed.{stage[part]}" for part in ("conv", "bn", "lif"))
            current = self.convolution(x, conv, bn)
            if current.shape[1] == 1:
                current = np.repeat(current, hyper["timesteps"], axis=1)
            before, x = x, on_maps(neurons, lif, current)
            added = before
            if pool := stage["pool"]:
                x = windows(x, pool["kernel"], pool["stride"], pool["padding"]).max(axis=(-2, -1))
        x = (x + added).reshape(*x.shape[:2], -1, hyper["dim"])
        for i in range(hyper["depth"]):
            at, mlp = f"block.{i}.attn", f"block.{i}.mlp"
            product = attention(*(self.behind(x, at, part, neurons) for part in "qkv"), hyper["heads"])
            spikes = neurons(f"{at}.attn_lif", product * self.manifest["attention_scale"])
            x = x + self.behind(spikes, at, "proj", neurons)
            x = x + self.behind(self.behind(x, mlp, "fc1", neurons), mlp, "fc2", neurons)
        pooled = x.mean(axis=(1, 2))
        return pooled, pooled @ self.weights["head.weight"].T + self.weights["head.bias"]


class MetaSpikeformer(Folded):
    """Chains of convolutions one after the other, as trained: depthwise by channel, borders of the norm's value of zero."""

    def depthwise(self, x: Array, name: str, padding: int) -> Array:
        w = self.weights[f"{name}.weight"][:, 0]
        return np.einsum("ntyxcij,cij->ntyxc", windows(x, w.shape[1], 1, padding), w, optimize=True)

    def dense(self, x: Array, name: str) -> Array:
        """1x1 convolution without a norm."""
        return x @ self.weights[f"{name}.weight"][:, :, 0, 0].T

    def norm(self, x: Array, name: str) -> Array:
        return (x - self.weights[f"{name}.running_mean"]) * self.scale(name) + self.weights[f"{name}.bias"]

    def rep(self, x: Array, at: str) -> Array:
        """RepConv: the map is padded with zeros before the first norm, which is the border that the norm would give."""
        padded = np.pad(self.dense(x, f"{at}.0.body.0"), ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)))
        y = self.depthwise(self.norm(padded, f"{at}.0.body.1.bn"), f"{at}.0.body.2.0", 0)
        return self.norm(self.norm(self.dense(y, f"{at}.0.body.2.1"), f"{at}.0.body.2.2"), f"{at}.1")

    def conv_block(self, x: Array, at: str, neurons: Neurons) -> Array:
        y = self.convolution(on_maps(neurons, f"{at}.Conv.lif1", x), f"{at}.Conv.pwconv1", f"{at}.Conv.bn1")
        kernel = self.weights[f"{at}.Conv.dwconv.weight"].shape[2]
        y = self.depthwise(on_maps(neurons, f"{at}.Conv.lif2", y), f"{at}.Conv.dwconv", kernel // 2)
        x = x + self.norm(self.dense(y, f"{at}.Conv.pwconv2"), f"{at}.Conv.bn2")
        y = self.convolution(on_maps(neurons, f"{at}.lif1", x), f"{at}.conv1", f"{at}.bn1")
        return x + self.convolution(on_maps(neurons, f"{at}.lif2", y), f"{at}.conv2", f"{at}.bn2")

    def block(self, x: Array, at: str, neurons: Neurons) -> Array:
        spikes = on_maps(neurons, f"{at}.attn.head_lif", x)
        flat = (*x.shape[:2], -1, x.shape[-1])
        q, k, v = (neurons(f"{at}.attn.{p}_lif", self.rep(spikes, f"{at}.attn.{p}_conv").reshape(flat)) for p in "qkv")
        product = attention(q, k, v, self.manifest["hyperparameters"]["heads"]) * self.manifest["attention_scale"]
        x = x + self.rep(neurons(f"{at}.attn.attn_lif", product).reshape(x.shape), f"{at}.attn.proj_conv")
        y = x
        for part in ("fc1", "fc2"):
            spikes = on_maps(neurons, f"{at}.mlp.{part}_lif", y)
            y = self.pointwise(spikes, f"{at}.mlp.{part}_conv", f"{at}.mlp.{part}_bn")
        return x + y

    def down(self, x: Array, place: str, stride: int, neurons: Neurons) -> Array:
        name = f"downsample{place}"
        spikes = on_maps(neurons, f"{name}.encode_lif", x)
        return self.convolution(spikes, f"{name}.encode_conv", f"{name}.encode_bn", stride)

    def forward(self, images: Array, neurons: Neurons) -> tuple[None, Array]:
        """Pixels [n, 8, 8] to logits [n, 10]; the head reads spikes."""
        hyper = self.manifest["hyperparameters"]
        strides = iter(hyper["strides"])
        first = "downsample1_1.encode"
        x = self.convolution(self.normalised(images), f"{first}_conv", f"{first}_bn", next(strides))
        x = self.conv_block(np.repeat(x, hyper["timesteps"], axis=1), "ConvBlock1_1.0", neurons)
        x = self.conv_block(self.down(x, "1_2", next(strides), neurons), "ConvBlock1_2.0", neurons)
        x = self.conv_block(self.down(x, "2", next(strides), neurons), "ConvBlock2_1.0", neurons)
        x = self.conv_block(x, "ConvBlock2_2.0", neurons)
        for stage, depth in zip((3, 4), hyper["depths"], strict=True):
            x = self.down(x, str(stage), next(strides), neurons)
            for i in range(depth):
                x = self.block(x, f"block{stage}.{i}", neurons)
        spikes = neurons("lif", x.mean(axis=(2, 3))[:, :, None])[:, :, 0]
        return None, (spikes @ self.weights["head.weight"].T + self.weights["head.bias"]).mean(1)


class SpikingMlp(Folded):
    """Token mixing by matrices over an axis; norms by token as a factor and an offset of each."""

    def embedded(self, x: Array, stage: int, neurons: Neurons) -> tuple[Array, Array]:
        """Membrane and spikes of a stage after the first: three nodes, each a third of the channels."""
        at, names = f"to_patch_embedding.{stage}", ("n1", "n2", "n3")
        nodes = [self.convolution(x, f"{at}.cell2node.{n}.0", f"{at}.cell2node.{n}.1", 2) for n in range(3)]
        nodes[2] = nodes[2] + nodes[0]
        spikes = []
        for number, name in enumerate(names):
            if number:
                part = f"{at}.node{number}_node{number + 1}"
                nodes[number] = nodes[number] + self.convolution(spikes[-1], f"{part}.0", f"{part}.1")
            spikes.append(on_maps(neurons, f"{at}.{name}_lif", nodes[number]))
        return np.concatenate(nodes, -1), np.concatenate(spikes, -1)

    def mixed(self, x: Array, at: str, neurons: Neurons) -> Array:
        """What token mixing adds to the membrane."""
        parts = [x]
        for axis, places in (("h", "ntyxc,oy->ntoxc"), ("w", "ntyxc,ox->ntyoc")):
            w, b = self.folded(f"{at}.proj_{axis}.1", f"{at}.proj_{axis}.2")
            current = np.einsum(places, x, w[:, :, 0, 0]) + (b[:, None, None] if axis == "h" else b[:, None])
            parts.append(on_maps(neurons, f"{at}.proj_{axis}_lif", current))
        return self.pointwise(np.concatenate(parts, -1), f"{at}.fuse.0", f"{at}.fuse.1")

    def by_token(self, x: Array, linear: str, norm: str) -> Array:
        """A linear layer of tokens [n, T, N, C] and its norm over tokens."""
        y = x @ self.weights[f"{linear}.weight"].T + self.weights[f"{linear}.bias"]
        mean, beta = self.weights[f"{norm}.running_mean"][:, None], self.weights[f"{norm}.bias"][:, None]
        return (y - mean) * self.scale(norm)[:, None] + beta

    def forward(self, images: Array, neurons: Neurons) -> tuple[Array, Array]:
        """Pixels [n, 8, 8] to the mean of the last spikes [n, D] and logits [n, 10]."""
        hyper, block, first = self.manifest["hyperparameters"], 0, "to_patch_embedding.0"
        w, b = self.folded(f"{first}.0.0", f"{first}.0.1")
        current = np.einsum("ntyxcij,ocij->ntyxo", windows(self.normalised(images), w.shape[2], w.shape[2], 0), w) + b
        membrane = np.repeat(current, hyper["timesteps"], axis=1)
        x = on_maps(neurons, f"{first}.lif", membrane)
        for stage, depth in enumerate(hyper["depths"]):
            if stage:
                membrane, x = self.embedded(x, stage, neurons)
            for number in range(block, block + depth):
                mixed = membrane + self.mixed(x, f"token_mix.{number}", neurons)
                net, flat = f"channel_mix.{number}.1.net", (*mixed.shape[:2], -1, mixed.shape[-1])
                x = neurons(f"token_mix_lif.{number}", mixed.reshape(flat))
                x = neurons(f"{net}.2", self.by_token(x, f"{net}.0", f"{net}.1"))
                y = self.by_token(x, f"{net}.3", f"{net}.4") + mixed.reshape(flat)
                x = neurons(f"channel_mix_lif.{number}", y).reshape(mixed.shape)
            block += depth
        pooled = x.mean(axis=(1, 2, 3))
        normed = (pooled - self.weights["batch_norm.running_mean"]) * self.scale("batch_norm") + self.weights["batch_norm.bias"]
        return pooled, normed @ self.weights["mlp_head.1.weight"].T + self.weights["mlp_head.1.bias"]


NETWORKS = {"spikformer": Spikformer, "meta_spikeformer": MetaSpikeformer, "spiking_mlp": SpikingMlp}


@pytest.fixture(scope="module", params=NETWORKS)
def family(request):
    """Name, folder, manifest and float network of a family's artefact."""
    folder = ARTEFACTS / f"{request.param}_digits"
    manifest = read_manifest(folder)
    return request.param, folder, manifest, NETWORKS[request.param](load_file(folder / "weights.safetensors"), manifest)


def test_files_are_the_ones_hashed_and_small(family):
    name, folder, manifest, _ = family
    assert manifest["family"] == name
    assert sorted([*manifest["sha256"], "manifest.json"]) == sorted(path.name for path in folder.iterdir())
    for file, digest in manifest["sha256"].items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest, file
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_200_000


def test_test_images_are_those_of_the_other_networks(family):
    _, folder, _, _ = family
    assert (folder / "test.npz").read_bytes() == (ARTEFACTS / "spikingformer_digits" / "test.npz").read_bytes()


def test_weights_make_the_recorded_spikes(family):
    """Every neuron sees the recorded spikes upstream: a near-tie can neither hide nor cause a difference."""
    _, folder, manifest, network = family
    wrong: dict[str, int] = {}
    traces = read_traces(folder, manifest)
    images = read_test_set(folder)["images"][: manifest["traces"]["images"]]
    pooled, logits = network.forward(images, fire_as_recorded(manifest["lif"], traces, wrong))
    assert wrong == dict.fromkeys(manifest["lif"], 0)
    assert set(traces) == {*manifest["lif"], "logits", *(["head.input"] if pooled is not None else [])}
    if pooled is not None:
        np.testing.assert_allclose(traces["head.input"], pooled, rtol=0, atol=1e-5)
    np.testing.assert_allclose(traces["logits"], logits, rtol=0, atol=1e-4)


def test_accuracy_is_the_manifests(family):
    """Run freely, a near-tie may turn out otherwise than in float32: one image may change its class."""
    _, folder, manifest, network = family
    test = read_test_set(folder)
    _, logits = network.forward(test["images"], fire_freely(manifest["lif"]))
    score = manifest["accuracy"]["test"]
    assert score["total"] == len(test["labels"]) == 360
    assert abs(int((logits.argmax(1) == test["labels"]).sum()) - score["correct"]) <= 1
    assert score["accuracy"] >= 0.9


def test_neurons_fire_and_are_the_published_ones(family):
    _, _, manifest, _ = family
    for name, node in manifest["lif"].items():
        assert (node["tau"], node["v_reset"], node["decay_input"]) == (2.0, 0.0, True)
        assert node["threshold"] == (0.5 if name.endswith("attn_lif") else 1.0)
    assert all(0 < firing["rate"] < 0.6 for firing in manifest["firing_rates"].values())
