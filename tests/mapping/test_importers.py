"""Is the imported network the trained one? Folding against an unfolded forward; recorded spikes against a float evaluation."""

from pathlib import Path

import numpy as np
import pytest

from archsim.contracts.common.errors import ArchsimError
from mapping.importers import artefact, spikingformer
from mapping.ir import IMAGE, Attention, Classifier, Map, Synapse

FOLDER = Path(__file__).parents[2] / "workloads" / "artefacts" / "spikingformer_digits"
# Recorded in float32, evaluated in float64: a spike may differ only where the membrane is this near to its threshold.
NEAR = 1e-4


@pytest.fixture(scope="module")
def trained():
    return artefact.load(FOLDER)


def _conv(maps, weight, stride=1, padding=0):
    """Convolution of maps [T, height, width, Cin], tap by tap."""
    outputs, _, kernel_height, kernel_width = weight.shape
    padded = np.pad(maps, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    height = (padded.shape[1] - kernel_height) // stride + 1
    width = (padded.shape[2] - kernel_width) // stride + 1
    result = np.zeros((len(maps), height, width, outputs))
    for dy, dx in np.ndindex(kernel_height, kernel_width):
        part = padded[:, dy : dy + (height - 1) * stride + 1 : stride, dx : dx + (width - 1) * stride + 1 : stride]
        result += part @ weight[:, :, dy, dx].T
    return result


@pytest.mark.parametrize(
    "conv, norm, shape",
    [
        ("patch_embed.proj1_conv", "patch_embed.proj1_bn", (64, 32, 3, 3)),
        ("block.0.attn.q_conv", "block.0.attn.q_bn", (64, 64, 1)),
        ("block.1.mlp.mlp1_conv", "block.1.mlp.mlp1_bn", (256, 64, 1, 1)),  # with a bias of its own
    ],
)
def test_folding_equals_convolution_and_batch_norm(trained, conv, norm, shape):
    """Required: gamma (conv(x) + b - mean) / sqrt(var + eps) + beta, on random input."""
    weight, bias = spikingformer.Trained(trained).conv(conv, norm, shape)
    x = np.random.default_rng(0).normal(0, 1, (2, 5, 4, shape[1]))
    w = {name: trained.weights[f"{norm}.{name}"] for name in ("weight", "bias", "running_mean", "running_var")}
    raw = trained.weights[f"{conv}.weight"]
    y = _conv(x, raw.reshape(*shape, *([1] * (4 - raw.ndim))), padding=1) + trained.weights.get(f"{conv}.bias", 0.0)
    required = w["weight"] * (y - w["running_mean"]) / np.sqrt(w["running_var"] + 1e-5) + w["bias"]
    assert np.allclose(_conv(x, weight, padding=1) + bias, required, rtol=0, atol=1e-9)
    assert ("mlp" in conv) == (f"{conv}.bias" in trained.weights)


def _fire(inputs, threshold, recorded):
    """LIF that goes on with the recorded spikes; counts those that the membrane does not explain."""
    v, wrong = np.zeros(inputs.shape[1:]), 0
    for y, fired in zip(inputs, recorded, strict=True):
        h = v + (y - v) / 2
        wrong += int((((h >= threshold) != fired) & (np.abs(h - threshold) > NEAR)).sum())
        v = np.where(fired, 0.0, h)
    return wrong


def _pool(maps):
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = (maps.shape[1] + 1) // 2, (maps.shape[2] + 1) // 2
    return np.max(
        [padded[:, dy : dy + 2 * height : 2, dx : dx + 2 * width : 2] for dy in range(3) for dx in range(3)], axis=0
    )


def _attend(layer, maps):
    q, k, v = maps[layer.q], maps[layer.k], maps[layer.v]
    steps, height, width, channels = q.shape
    parts = [x.reshape(steps, height * width, layer.heads, -1) for x in (q, k, v)]
    return layer.scale * np.einsum("tnhd,tmhd,tmhc->tnhc", *parts, optimize=True).reshape(
        steps, height, width, channels
    )


@pytest.mark.parametrize("image", [0, 17])
def test_the_network_makes_the_recorded_spikes(trained, image):
    """Every layer of the representation, fed with the recorded spikes of the layers before it."""
    network = spikingformer.read(trained)
    pixels = trained.normalised()[image][None, :, :, None]
    maps = {IMAGE: np.repeat(pixels, network.timesteps, axis=0)}
    stream, checked = np.zeros(0), 0
    for layer in network.layers:
        if isinstance(layer, Classifier):
            assert np.allclose(stream.mean((0, 1, 2)), trained.traces["head.input"][image], rtol=0, atol=1e-5)
            logits = layer.weight @ stream.mean((0, 1, 2)) + layer.bias
            assert np.allclose(logits, trained.traces["logits"][image], rtol=0, atol=1e-4)
            continue
        if isinstance(layer, Attention):
            y = _attend(layer, maps)
        else:
            y = _conv(maps[layer.source], layer.weight, layer.stride, layer.padding) + layer.bias
            if layer.stream:
                stream = y if layer.opens else stream + y
                y = stream
        if layer.spikes:
            fired = trained.spikes(layer.spikes, image).reshape(y.shape)
            assert _fire(y, layer.threshold, fired) == 0, layer.name
            maps[layer.spikes] = _pool(fired.astype(float)) if getattr(layer, "pool", False) else fired.astype(float)
            checked += fired.size
    assert checked == 4 * (64 * 32 + 16 * (64 + 2 * (3 * 64 + 64 + 64 + 256) + 64))


def test_the_representation(trained):
    network = spikingformer.read(trained)
    assert (network.name, network.timesteps, network.image) == ("spikingformer_digits", 4, Map(8, 8, 1))
    assert network.image_limit == pytest.approx((1 - 0.305) / 0.376)
    assert network.head_limit == pytest.approx(np.abs(trained.traces["head.input"]).max())
    stream = [layer for layer in network.layers if isinstance(layer, Synapse) and layer.stream]
    assert [layer.opens for layer in stream] == [True, False, False, False, False]
    assert [layer.reduce for layer in stream] == [False, False, False, False, True]
    assert [layer.name for layer in network.layers if getattr(layer, "pool", False)] == ["patch_embed.proj_conv"]
    names = [layer.name for layer in network.layers]
    assert names.index("block.0.attn.q_conv") > max(
        names.index("block.0.attn.k_conv"), names.index("block.0.attn.v_conv")
    )
    assert names[-1] == "head"
    assert network.maps()["block.0.attn.proj_lif"] == Map(4, 4, 64)


def test_pixels_are_normalised(trained):
    pixels = trained.normalised()
    assert pixels.min() == pytest.approx(-0.305 / 0.376)
    assert pixels.max() == pytest.approx(trained.image_limit())
    assert pixels[3, 2, 5] == pytest.approx((trained.images[3, 2, 5] / 16 - 0.305) / 0.376)


def _layer(name, source, weight, spikes="s"):
    return Synapse(name, source, np.zeros(weight), np.zeros(weight[0]), spikes=spikes)


@pytest.mark.parametrize(
    "layers, message",
    [
        ([_layer("a", "none", (1, 1, 1, 1))], "layer 'a': reads map 'none', which no layer before it writes"),
        (
            [_layer("a", IMAGE, (1, 3, 1, 1))],
            r"layer 'a': weights of shape \(1, 3, 1, 1\) need a map of 3 channels, but 'image' has 1",
        ),
        (
            [_layer("a", IMAGE, (6, 1, 1, 1)), Attention("b", "s", "s", "s", "t", 4, 1, 1)],
            "layer 'b': q, k and v must have one shape",
        ),
        (
            [_layer("a", IMAGE, (1, 1, 3, 1))],
            "layer 'a': a kernel of 3 x 1 needs a map as large, but 'image' has 2 x 2",
        ),
    ],
)
def test_layers_that_do_not_fit_together(make_network, layers, message):
    with pytest.raises(ArchsimError, match=message):
        make_network(*layers).maps()
