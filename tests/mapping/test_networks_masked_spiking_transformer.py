"""Does the definition of the Masked Spiking Transformer yield its published size, layer by layer?"""

import numpy as np
import pytest

from mapping.ir import IF_HALF, Map, Synapse
from mapping.networks.masked_spiking_transformer import PUBLISHED, _merging, _relative
from mapping.networks.weights import Shapes
from mapping.nodes import BATCH, LAYER, Norm, Sum, WindowAttention
from mapping.operations import operations

# Millions of parameters, counted from the module tree of the official code.
SIZES = {"imagenet": 28.33, "cifar10": 27.53, "cifar100": 27.60}

# Millions of multiply-accumulates of a block and a time step: qkv, both products, proj, fc1, fc2.
BLOCKS = {
    "layers.0.blocks.1": (86.70, 29.50, 28.90, 115.61, 115.61), "layers.1.blocks.0": (86.70, 14.75, 28.90, 115.61, 115.61),
    "layers.2.blocks.5": (86.70, 7.38, 28.90, 115.61, 115.61), "layers.3.blocks.1": (86.70, 3.69, 28.90, 115.61, 115.61),
}  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
def test_parameters(size):
    weights = Shapes()
    PUBLISHED[size].network(weights)
    assert round(weights.total / 1e6, 2) == SIZES[size]


def test_operations():
    counts = operations(PUBLISHED["imagenet"].network(Shapes()))
    assert round(sum(counts.values()) / 1e9, 2) == 4.49
    assert round(counts["patch_embed.proj"] / 1e6, 2) == 14.45
    assert round(counts["head"] / 1e6, 2) == 0.77
    assert {round(counts[f"layers.{stage}.downsample.reduction"] / 1e6, 2) for stage in range(3)} == {57.80}
    for block, expected in BLOCKS.items():
        qkv = sum(counts[f"{block}.attn.qkv.{part}"] for part in "qkv")
        rest = (
            counts[f"{block}.attn"],
            counts[f"{block}.attn.proj"],
            counts[f"{block}.mlp.fc1"],
            counts[f"{block}.mlp.fc2"],
        )
        assert tuple(round(count / 1e6, 2) for count in (qkv, *rest)) == expected


def test_windows_shift_in_odd_blocks_while_there_are_several():
    layers = [x for x in PUBLISHED["imagenet-75"].network(Shapes()).layers if isinstance(x, WindowAttention)]
    assert [layer.shift for layer in layers] == [0, 3, 0, 3, 0, 3, 0, 3, 0, 3, 0, 0]
    assert {layer.keep for layer in layers} == {0.25}
    assert [layer.heads for layer in layers[::2]] == [3, 6, 12, 12, 12, 24]
    assert round(layers[0].scale, 5) == 0.17678


def test_norms_on_the_stream():
    """The first norm of a block stands beside the stream, the second on it; the last of all is a layer norm."""
    network = PUBLISHED["imagenet"].network(Shapes())
    sums = {layer.name: layer.sources for layer in network.layers if isinstance(layer, Sum)}
    assert sums["layers.0.blocks.0.attn.sum"] == ("patch_embed.proj_if", "layers.0.blocks.0.attn.proj_if")
    assert sums["layers.0.blocks.0.mlp.sum"] == ("layers.0.blocks.0.norm2", "layers.0.blocks.0.mlp.fc2_if")
    norms = [layer for layer in network.layers if isinstance(layer, Norm)]
    assert [norm.kind for norm in norms] == [BATCH] * 24 + [LAYER]
    assert {layer.neuron for layer in network.layers if isinstance(layer, Synapse)} == {IF_HALF}
    assert network.maps()["layers.3.blocks.1.mlp.sum"] == Map(7, 7, 768)


def test_patch_merging_is_a_convolution():
    """Neighbours side by side in the published order, through norm and linear layer; exact in small integers."""

    class Numbers:
        def norm(self, name, channels):
            return np.arange(1.0, channels + 1), np.arange(channels, dtype=float) - 3

        def plain(self, name, shape, bias=False):
            draws = np.random.default_rng(1).integers(-5, 6, shape).astype(float)
            return draws.reshape(*shape, 1, 1), np.zeros(shape[0])

    pixels = np.random.default_rng(2).integers(-4, 5, (2, 2, 3)).astype(float)  # [row, column, channel]
    beside = np.concatenate([pixels[0, 0], pixels[1, 0], pixels[0, 1], pixels[1, 1]])
    scale, offset = Numbers().norm("", 12)
    expected = Numbers().plain("", (6, 12))[0][:, :, 0, 0] @ (beside * scale + offset)
    weight, bias = _merging(Numbers(), "", 3)
    assert (np.einsum("ocyx,yxc->o", weight, pixels) + bias == expected).all()


def test_relative_positions():
    """Window of 2: displacement (row, column) of -1..1 each, index (row + 1) * 3 + column + 1."""
    table = np.arange(9.0)[:, None]
    assert _relative(table, 2)[0].tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]
