"""Is what cannot be mapped refused by name of layer and operator, and nothing dropped?"""

from dataclasses import replace

import numpy as np
import pytest

from archsim.contracts.common.errors import ArchsimError
from mapping.ir import GATE, HEIGHT, IF_HALF, IMAGE, Attention, Chain, Part, Synapse
from mapping.nodes import BATCH, Concat, Norm, WindowAttention
from mapping.operators import NODES, refusal
from mapping.quantise import Precision, quantise

ONE = np.ones(1)
LAYER = Synapse("l", "s", np.ones((1, 1, 1, 1)), ONE, spikes="t")
CHAIN = Chain((Part("p", np.ones((1, 1, 1, 1)), ONE),), LAYER)
WINDOWS = WindowAttention("l", "s", "s", "s", "t", 1, 1.0, 7, 0, np.ones((1, 49, 49)), 1.0, 1.0, 1.0)

REFUSED = {
    "a convolution in 2 groups": replace(LAYER, groups=2),
    "a linear layer over the height": replace(LAYER, axis=HEIGHT),
    "a maximum over sums before the neuron": replace(LAYER, pool_sums=True),
    "a stream that keeps its value while 'y' takes the sum": replace(LAYER, stream="x", into="y"),
    "a norm by position behind the sums": replace(LAYER, token_norm=np.ones((2, 4))),
    "a time constant of 1.5 steps; the neuron unit has 2": replace(LAYER, tau=1.5),
    "integrate and fire from half the threshold": replace(LAYER, neuron=IF_HALF),
    "attention as a gate, q AND neuron(sum of k AND v)": Attention("l", "s", "s", "s", "t", 1, 1.0, 0.5, GATE),
    "a chain of convolutions without a neuron between them; merge it into one": CHAIN,
    "maps side by side": Concat("l", ("s", "s")),
    "a norm that folds into no weight": Norm("l", "s", BATCH, ONE, ONE),
    "attention within windows, with softmax": WINDOWS,
}


@pytest.mark.parametrize("reason", REFUSED)
def test_the_quantiser_refuses_by_name(make_network, reason):
    first = Synapse("stem", IMAGE, np.ones((1, 1, 1, 1)), ONE, spikes="s")
    with pytest.raises(ArchsimError) as error:
        quantise(make_network(first, REFUSED[reason]), Precision())
    assert str(error.value) == f"layer 'l': not mapped yet: {reason}"


def test_what_is_mapped_is_not_refused(make_random):
    assert [refusal(layer) for layer in make_random(1).layers] == [None] * 10


def test_every_node_beside_the_synapses_is_named():
    assert {type(layer) for layer in REFUSED.values()} >= set(NODES)
