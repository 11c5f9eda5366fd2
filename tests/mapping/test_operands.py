"""What do layers read: spikes, sums of them, real numbers, the image?"""

import numpy as np

from mapping.ir import IF_HALF, IMAGE, Synapse
from mapping.networks.masked_spiking_transformer import PUBLISHED as MST
from mapping.networks.spikformer import PUBLISHED as SPIKFORMER
from mapping.networks.spiking_mlp import PUBLISHED as MLP
from mapping.networks.weights import Shapes
from mapping.nodes import Concat, Sum
from mapping.operands import ANALOG, INTEGERS, REAL, SCALED, SPIKES, Operand, operands

ONES = np.ones((1, 1, 1, 1)), np.ones(1)


def test_spikes_and_their_sums(make_network):
    """The sum of a sum holds a map twice: its rate counts twice in the mean."""
    a, b = Synapse("a", IMAGE, *ONES, spikes="s"), Synapse("b", "s", *ONES, spikes="t")
    network = make_network(a, b, Sum("x", ("s", "t")), Sum("y", ("x", "s")))
    assert operands(network) == {
        IMAGE: Operand(ANALOG), "s": Operand(SPIKES, (("s", 1.0),)), "t": Operand(SPIKES, (("t", 1.0),)),
        "x": Operand(INTEGERS, (("s", 1.0), ("t", 1.0))), "y": Operand(INTEGERS, (("s", 1.0), ("t", 1.0), ("s", 1.0))),
    }  # fmt: skip


def test_maps_side_by_side(make_network):
    """Each is half of the map; of one that is two halves itself, a quarter each."""
    a, b = Synapse("a", IMAGE, *ONES, spikes="s"), Synapse("b", "s", *ONES, spikes="t")
    network = make_network(a, b, Concat("x", ("s", "t")), Concat("y", ("x", "s")))
    assert operands(network)["x"] == Operand(SPIKES, (("s", 0.5), ("t", 0.5)))
    assert operands(network)["y"] == Operand(SPIKES, (("s", 0.25), ("t", 0.25), ("s", 0.5)))


def test_heights_of_spikes_add_up_to_real_numbers(make_network):
    a = Synapse("a", IMAGE, *ONES, neuron=IF_HALF, spikes="s")
    maps = operands(make_network(a, Sum("x", ("s", "s"))))
    assert (maps["s"].kind, maps["x"].kind) == (SCALED, REAL)


def kinds(size):
    network = size.network(Shapes())
    maps = operands(network)
    return {layer.name: maps[layer.source].kind for layer in network.layers if isinstance(layer, Synapse)}


def test_networks():
    spikformer, mst, mlp = kinds(SPIKFORMER["8-512"]), kinds(MST["imagenet"]), kinds(MLP["mlp-spe-t"])
    assert [spikformer[f"block.3.{name}_conv"] for name in ("attn.q", "attn.proj", "mlp.fc1", "mlp.fc2")] == [
        INTEGERS, SPIKES, INTEGERS, SPIKES,
    ]  # fmt: skip
    assert mst["layers.0.blocks.0.attn.qkv.q"] == SCALED
    assert mst["layers.0.downsample.reduction"] == REAL
    assert mlp["to_patch_embedding.0.0.0"] == ANALOG
    assert {kind for name, kind in mlp.items() if name != "to_patch_embedding.0.0.0"} == {SPIKES}
