"""Is what cannot be mapped refused by name of layer and operator, and nothing dropped?"""

from dataclasses import replace

import numpy as np
import pytest

from archsim.contracts.common.errors import ArchsimError
from mapping.ir import HEIGHT, IMAGE, Attention, Chain, Classifier, Part, Synapse
from mapping.nodes import BATCH, Concat, Expert, Experts, Norm, Sum, WindowAttention
from mapping.operands import INTEGERS, REAL, SPIKES, Operand, operands
from mapping.operators import NODES, refusal
from mapping.quantise import Precision, quantise

ONE = np.ones(1)
LAYER = Synapse("l", "s", np.ones((1, 1, 1, 1)), ONE, spikes="t")
CHAIN = Chain((Part("p", np.ones((1, 1, 1, 1)), ONE),), LAYER)
WINDOWS = WindowAttention("l", "s", "s", "s", "t", 1, 1.0, 7, 0, np.ones((1, 49, 49)), 1.0, 1.0, 1.0)
EXPERT = Expert(np.ones((1, 1)), ONE, np.ones((1, 1)), ONE)
MOE = Experts("l", "s", "x", np.ones((1, 1)), ONE, (EXPERT,), 1, 4)

REFUSED = {
    "a convolution in 2 groups": replace(LAYER, source="pair", weight=np.ones((2, 1, 1, 1)), bias=np.ones(2), groups=2),
    "a linear layer over the height of anything but a spike map, or that does more than fire": replace(
        LAYER, weight=np.ones((2, 2, 1, 1)), bias=np.ones(2), axis=HEIGHT, stream="x", opens=True
    ),
    "a maximum over sums that opens no residual stream": replace(LAYER, pool_sums=True),
    "a maximum over sums of maps that are added or lie side by side": replace(
        LAYER, source="both", weight=np.ones((1, 2, 1, 1)), pool_sums=True, stream="x", opens=True
    ),
    "a pool or a reduction behind a maximum over sums": replace(LAYER, pool_sums=True, stream="x", opens=True, pool=True),
    "a norm by position behind the sums of anything but a 1x1 kernel on a spike map": replace(
        LAYER, weight=np.ones((1, 1, 3, 3)), padding=1, token_norm=np.ones((2, 4))
    ),
    "a pool or a reduction behind a norm by position": replace(LAYER, pool=True, token_norm=np.ones((2, 4))),
    "a time constant of 1.5 steps; the neuron unit has 2": replace(LAYER, tau=1.5),
    "a chain of convolutions without a neuron between them; merge it into one": CHAIN,
    "streams side by side, unless layers of one shape open all of them and each further layer reads what the one before it "
    "fired": Concat("l", ("s", "s"), ("x", "y")),
    "maps of image side by side": Concat("l", (IMAGE, IMAGE)),
    "maps side by side, which only a layer with weights for each can read": Attention(
        "l", "both", "both", "both", "t", 1, 1.0, 0.5
    ),
    "a norm that folds into no weight, nor is one of a spike map with a neuron behind it": Norm("l", "s", BATCH, ONE, ONE),
    "windows of 7x7 tokens that do not divide a map of 2x2": WINDOWS,
    "experts of which a token has several, whose results a softmax weighs": replace(MOE, softmax=True, choices=2),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_the_quantiser_refuses_by_name(make_network, reason):
    first = Synapse("stem", IMAGE, np.ones((1, 1, 1, 1)), ONE, spikes="s")
    second = Synapse("pairs", "s", np.ones((2, 1, 1, 1)), np.ones(2), spikes="pair")
    both = Concat("both", ("s", "s"))
    with pytest.raises(ArchsimError) as error:
        quantise(make_network(first, second, both, REFUSED[reason]), Precision())
    assert str(error.value) == f"layer 'l': not mapped yet: {reason}"


def test_what_is_mapped_is_not_refused(make_random):
    network = make_random(1)
    maps = operands(network)
    assert [refusal(layer, maps) for layer in network.layers] == [None] * 10


def test_readers_of_integers_and_of_real_numbers():
    """An integer map is a sum of spike maps, which weights without a neighbour can read."""
    integers, real = {"s": Operand(INTEGERS)}, {"s": Operand(REAL)}
    assert refusal(LAYER, integers) is None
    wide = replace(LAYER, weight=np.ones((1, 1, 3, 3)), padding=1)
    assert refusal(wide, integers) == "a 3x3 kernel of stride 1 on a sum of spike maps; put a neuron in between"
    assert (
        refusal(replace(LAYER, stride=2), integers)
        == "a 1x1 kernel of stride 2 on a sum of spike maps; put a neuron in between"
    )
    assert refusal(replace(LAYER, pool=True), integers) == "a pool of spikes on a sum of spike maps"
    assert refusal(LAYER, real) == "a layer on a map of real numbers"
    assert refusal(Attention("l", "s", "s", "s", "t", 1, 1.0, 0.5), integers) == "attention on a map of integers"
    assert refusal(Sum("l", ("s", "s")), {"l": Operand(REAL)}) == "a sum of maps other than spikes of height 1"


def test_the_mean_of_a_map_is_one_of_spikes_or_of_a_sum():
    head = Classifier("l", "s", np.ones((2, 1)), np.ones(2))
    assert refusal(head, {"s": Operand(INTEGERS)}) is None
    assert refusal(head, {"s": Operand(SPIKES)}) is None
    assert refusal(head, {"s": Operand(REAL)}) == (
        "a mean over a map of real numbers; the classifier reads that of a stream, of spikes or of a sum of spike maps"
    )
    beside = Operand(SPIKES, (("a", 0.5), ("b", 0.5)))
    assert refusal(head, {"s": beside}) == "a mean over maps side by side"


def test_every_node_beside_the_synapses_is_named():
    assert {type(layer) for layer in REFUSED.values()} >= set(NODES)
