"""Does the definition of Spikformer yield its published sizes?"""

import pytest

from mapping.ir import IMAGE, QK_FIRST, Attention, Classifier, Map
from mapping.networks.spikformer import PUBLISHED
from mapping.networks.weights import Shapes
from mapping.nodes import Sum
from mapping.operations import operations

# Parameters: those of Spikingformer on ImageNet (arXiv 2304.11954 counts both alike), and as a run of the official code prints
# for 4-384 (issue 23 of ZK-Zhou/spikformer). Dense multiply-accumulates of a time step in millions, without attention and head.
SIZES = {
    "8-384": (16_828_312, 4_660), "8-512": (29_705_768, 8_256), "8-768": (66_363_208, 18_511),
    "cifar10-4-384": (9_330_874, 921),
}  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
def test_parameters_and_operations(size):
    weights = Shapes()
    network = PUBLISHED[size].network(weights)
    apart = {layer.name for layer in network.layers if isinstance(layer, Attention | Classifier)}
    millions = sum(count for name, count in operations(network).items() if name not in apart) / 1e6
    assert (weights.total, round(millions)) == SIZES[size]


def test_the_blocks_read_sums_of_spikes():
    """Two spike maps of the tokenizer and two of each block; the last that a convolution reads adds 17."""
    network = PUBLISHED["8-512"].network(Shapes())
    sums = {layer.name: layer for layer in network.layers if isinstance(layer, Sum)}
    readers = {layer.source for layer in network.layers if getattr(layer, "source", None) in sums}
    assert len(sums) == 17
    assert readers == set(sums)  # the classifier reads the last
    assert sums["block.7.mlp.sum"].reduce
    assert sums["block.0.attn.sum"].sources == ("patch_embed.sum", "block.0.attn.proj_lif")
    assert sums["block.1.attn.sum"].sources == ("block.0.mlp.sum", "block.1.attn.proj_lif")


def test_the_maps():
    maps = PUBLISHED["8-512"].network(Shapes()).maps()
    assert maps[IMAGE] == Map(224, 224, 3)
    assert [maps[f"patch_embed.proj_lif{number}"] for number in ("", 1, 2, 3)] == [
        Map(112, 112, 64), Map(56, 56, 128), Map(28, 28, 256), Map(14, 14, 512),
    ]  # fmt: skip
    assert maps["block.7.mlp.sum"] == Map(14, 14, 512)


def test_the_keys_of_the_code():
    """Convolutions of one and two dimensions for ImageNet, linear layers with bias for CIFAR, which multiply q and k first."""
    weights = Shapes()
    PUBLISHED["8-512"].network(weights)
    assert {"patch_embed.rpe_conv", "patch_embed.proj_bn3", "block.0.attn.q_conv", "block.7.mlp.fc2_bn"} <= set(
        weights.parameters
    )
    weights = Shapes()
    network = PUBLISHED["cifar10-4-384"].network(weights)
    assert {"block.0.attn.q_linear", "block.3.mlp.fc1_linear"} <= set(weights.parameters)
    attention = next(layer for layer in network.layers if isinstance(layer, Attention))
    assert (attention.order, attention.heads, attention.scale, attention.threshold) == (QK_FIRST, 12, 0.125, 0.5)
