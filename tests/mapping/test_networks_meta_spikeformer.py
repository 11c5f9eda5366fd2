"""Does the definition of Meta-SpikeFormer yield its published sizes, layer by layer?"""

from dataclasses import replace

import pytest

from mapping.ir import LIF, Attention, Chain, Classifier, Map, Synapse
from mapping.networks.meta_spikeformer import PUBLISHED, unmerged
from mapping.networks.weights import Shapes, Synthetic
from mapping.operations import operations

# Millions of parameters (arXiv 2404.03663 and its repository), and millions of dense multiply-accumulates of a time step without
# attention and head: RepConv as trained, and as one 3x3 convolution.
SIZES = {"8-384": (31.33, 13_950, 21_312), "8-512": (55.35, 24_699, 37_796)}

# Millions of multiply-accumulates of a time step by part, of 8-384 and of 8-512.
PARTS = {
    "downsample1_1": (88.5, 118.0), "ConvBlock1_1.0.Conv": (174.6, 284.2), "ConvBlock1_1.0.conv": (2080.9, 3699.4),
    "downsample1_2": (130.1, 231.2), "ConvBlock1_2.0.Conv": (145.1, 244.9), "ConvBlock1_2.0.conv": (2080.9, 3699.4),
    "downsample2": (130.1, 231.2), "ConvBlock2_1.0.Conv": (130.4, 225.2), "ConvBlock2_1.0.conv": (2080.9, 3699.4),
    "ConvBlock2_2.0.Conv": (130.4, 225.2), "ConvBlock2_2.0.conv": (2080.9, 3699.4), "downsample3": (130.1, 231.2),
    "block3.0.mlp": (231.2, 411.0), "block3.5.mlp": (231.2, 411.0), "downsample4": (325.1, 578.0),
    "block4.1.mlp": (361.3, 642.3),
}  # fmt: skip
REP_CONVS = {"block3.0": ((233.9, 414.7), (1040.4, 1849.7)), "block4.1": ((364.7, 646.8), (1625.7, 2890.1))}
"""Four RepConvs of a block: as trained, merged."""


def layers_of(size, prefix):
    """Millions of a time step, without products of spikes."""
    network = size.network(Shapes())
    apart = {layer.name for layer in network.layers if isinstance(layer, Attention | Classifier)}
    counts = operations(network).items()
    return sum(count for name, count in counts if name.startswith(prefix) and name not in apart) / 1e6


@pytest.mark.parametrize("size", SIZES)
def test_parameters_and_operations(size):
    weights = Shapes()
    PUBLISHED[size].network(weights)
    merged = replace(PUBLISHED[size], merge_sep=False)
    assert round(weights.total / 1e6, 2) == SIZES[size][0]
    assert (round(layers_of(unmerged(merged), "")), round(layers_of(merged, ""))) == SIZES[size][1:]


@pytest.mark.parametrize("part", PARTS)
def test_operations_by_part(part):
    found = tuple(round(layers_of(unmerged(PUBLISHED[size]), part), 1) for size in SIZES)
    assert found == PARTS[part]


@pytest.mark.parametrize("block", REP_CONVS)
def test_operations_of_rep_convs(block):
    sizes = [PUBLISHED[size] for size in SIZES]
    apart = tuple(round(layers_of(unmerged(size), f"{block}.attn"), 1) for size in sizes)
    merged = tuple(round(layers_of(size, f"{block}.attn"), 1) for size in sizes)
    assert (apart, merged) == REP_CONVS[block]


def test_other_sizes():
    """A second head for the teacher; 8-768 has no published result; of the 15M only the total is published."""

    def millions(size):
        weights = Shapes()
        PUBLISHED[size].network(weights)
        return weights.total / 1e6

    assert round(millions("8-512-kd"), 2) == 55.99
    assert round(millions("8-768"), 1) == 123.7
    assert round(millions("15M"), 1) == 15.1
    assert "not published" in PUBLISHED["15M"].note


def test_a_merged_sep_conv_is_large():
    """One 7x7 kernel from 2d to d: 49 * 128 * 64 * 112^2 = 5.035 G, alike in each of the four blocks, many times its parts."""
    for place in ("1_1", "1_2", "2_1", "2_2"):
        assert layers_of(PUBLISHED["8-512"], f"ConvBlock{place}.0.Conv.pwconv2") == 49 * 128 * 64 * 112**2 / 1e6


def test_the_maps_and_the_stream():
    network = PUBLISHED["8-512"].network(Shapes())
    maps = network.maps()
    assert maps["ConvBlock1_1.0.Conv.lif1"] == Map(112, 112, 64)
    assert maps["ConvBlock2_2.0.lif2"] == Map(28, 28, 1024)
    assert maps["block3.0.attn.head_lif"] == Map(14, 14, 512)
    assert maps["block4.1.attn.attn_lif"] == Map(14, 14, 640)
    opening = [layer.name for layer in network.layers if isinstance(layer, Synapse) and layer.opens]
    assert opening == [f"downsample{place}.encode_conv" for place in ("1_1", "1_2", "2", "3", "4")]
    joining = [layer for layer in network.layers if isinstance(layer, Synapse) and layer.stream and not layer.opens]
    assert len(joining) == 2 * 4 + 2 * 8
    assert [layer.name for layer in joining if layer.reduce] == ["block4.1.mlp.fc2_conv"]
    assert network.layers[-1].neuron == LIF


def test_every_map_is_read():
    """A name that a layer writes and none reads would be a neuron in the wrong place."""
    network = unmerged(PUBLISHED["8-384"]).network(Shapes())
    written = {getattr(layer, "synapse", layer).spikes for layer in network.layers[:-1]} - {None}
    read = set()
    for layer in network.layers[:-1]:
        single = getattr(layer, "synapse", layer)
        read |= {layer.q, layer.k, layer.v} if isinstance(layer, Attention) else {single.source}
    assert written == read - {"image"}


def test_the_keys_of_the_checkpoint():
    weights = Shapes()
    PUBLISHED["8-512"].network(weights)
    body = "block3.5.attn.proj_conv.0.body"
    assert {
        "downsample1_1.encode_conv", "downsample4.encode_bn", "ConvBlock1_1.0.Conv.pwconv1", "ConvBlock1_1.0.Conv.bn2",
        "ConvBlock2_2.0.conv2", "ConvBlock2_2.0.bn1", f"{body}.0", f"{body}.1.bn", f"{body}.2.0", f"{body}.2.1", f"{body}.2.2",
        "block3.5.attn.proj_conv.1", "block4.1.mlp.fc1_conv", "block4.1.mlp.fc2_bn", "head",
    } <= set(weights.parameters)  # fmt: skip


def test_a_small_one_holds_numbers_merged_and_apart():
    """Synthetic weights of a tiny size: the merged kernel is what the parts make."""
    tiny = replace(PUBLISHED["8-384"], dims=(4, 4, 8, 8), depths=(1, 1), image=Map(32, 32, 3), classes=3)
    merged = {layer.name: layer for layer in tiny.network(Synthetic()).layers}
    apart = {layer.name: layer for layer in unmerged(tiny).network(Synthetic()).layers}
    name = "block3.0.attn.q_conv"
    assert isinstance(apart[name], Chain)
    first, depthwise, last = (part.weight for part in apart[name].parts)
    kernel = (
        last[:, :, 0, 0, None, None, None] * depthwise[None, :, 0][..., None] * first[None, :, None, None, :, 0, 0]
    ).sum(1)
    assert abs(kernel.transpose(0, 3, 1, 2) - merged[name].weight).max() < 1e-12
