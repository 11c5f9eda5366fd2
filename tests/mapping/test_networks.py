"""Do the definitions yield the published sizes, parameter by parameter and operation by operation?"""

import pytest

from mapping.ir import IMAGE, Map, Network, Synapse, output_shape
from mapping.networks.spikingformer import PUBLISHED
from mapping.networks.weights import Shapes

# Parameters as the official code counts them, and dense multiply-accumulates of a time step in millions (arXiv 2304.11954 and its
# repository; the totals of 8-512 and 8-768 stand in its energy logs).
SIZES = {
    "8-384": (16_828_312, 4_660), "8-512": (29_705_768, 8_256), "8-768": (66_363_208, 18_511), "cifar10-2-384": (5_765_818, 695),
    "cifar10-4-384": (9_326_266, 921),
}  # fmt: skip


def macs(network: Network) -> int:
    maps = network.maps()
    layers = [layer for layer in network.layers if isinstance(layer, Synapse)]
    return sum(layer.weight.size * output_shape(layer, maps[layer.source]).positions for layer in layers)


@pytest.mark.parametrize("size", SIZES)
def test_spikingformer_has_its_published_parameters_and_operations(size):
    weights = Shapes()
    network = PUBLISHED[size].network(weights)
    parameters, millions = SIZES[size]
    assert weights.total == parameters
    assert round(macs(network) / 1e6) == millions


def test_the_maps_of_the_tokenizer():
    maps = PUBLISHED["8-512"].network(Shapes()).maps()
    assert maps[IMAGE] == Map(224, 224, 3)
    assert [maps[f"patch_embed.proj{stage}_lif"] for stage in (1, 2, 3, 4)] == [
        Map(112, 112, 64), Map(56, 56, 128), Map(28, 28, 256), Map(14, 14, 512),
    ]  # fmt: skip
    assert maps["block.7.mlp.mlp2_lif"] == Map(14, 14, 2048)


def test_a_network_of_shapes_takes_no_memory():
    network = PUBLISHED["8-768"].network(Shapes())
    assert all(layer.weight.strides == (0,) * 4 for layer in network.layers if isinstance(layer, Synapse))
