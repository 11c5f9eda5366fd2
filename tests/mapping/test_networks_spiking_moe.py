"""Does the definition of the transformer with experts yield the sizes of the public code, and say what it is?"""

import pytest

from mapping.ir import LIF, Map
from mapping.networks.spiking_moe import PUBLISHED
from mapping.networks.weights import Shapes
from mapping.nodes import Experts
from mapping.operations import operations

# Millions of parameters, counted from the configurations of HyunseokErikJung/Spike-Driven-Transformer_MoE.
SIZES = {
    "8-768-e4": 66.42, "8-768-e2": 66.37, "cifar100-2-512-e4": 10.29, "cifar100-2-512-e4-all": 10.29, "cifar100-2-512-e8": 10.31,
}  # fmt: skip


def experts(size):
    return [layer for layer in PUBLISHED[size].network(Shapes()).layers if isinstance(layer, Experts)]


@pytest.mark.parametrize("size", SIZES)
def test_parameters(size):
    weights = Shapes()
    PUBLISHED[size].network(weights)
    assert round(weights.total / 1e6, 2) == SIZES[size]


def test_experts_of_the_largest():
    """Capacity: 196 tokens * 4 / 4 experts, so nothing is dropped."""
    layers = experts("8-768-e4")
    assert len(layers) == 8
    first = layers[0]
    assert (first.name, first.source, first.stream) == ("block.0.mlp", "block.0.mlp.gate.gate_lif1", "x")
    assert (first.choices, first.capacity, first.softmax) == (1, 196, True)
    assert [expert.steps for expert in first.experts] == [4, 1, 1, 1]
    assert {expert.hidden.shape for expert in first.experts} == {(768, 768)}
    assert all(expert.residual for expert in first.experts)
    assert (first.neuron, first.spikes, first.reduce) == (LIF, "block.1.attn.shortcut_lif", False)
    assert (layers[-1].neuron, layers[-1].spikes, layers[-1].reduce) == (None, None, True)


def test_experts_of_other_widths():
    """Eight halves: capacity 64 * 4 / 8 = 32 of 64 tokens; two of double width carry no inner residual."""
    halves, doubles = experts("cifar100-2-512-e8")[0], experts("cifar100-2-512-e2")[0]
    assert (halves.capacity, halves.experts[0].hidden.shape, halves.experts[0].residual) == (32, (256, 512), False)
    assert (doubles.capacity, doubles.experts[0].hidden.shape, doubles.experts[0].residual) == (64, (1024, 512), False)


def test_operations_of_a_token_are_those_of_one_expert():
    counts = operations(PUBLISHED["8-768-e4"].network(Shapes()))
    assert counts["block.3.mlp"] == 196 * 2 * 768 * 768
    assert counts["block.3.mlp.gate"] == 196 * 4 * 768


def test_it_says_that_it_is_no_published_network():
    assert all("inspired by SpikingMoE" in size.note for size in PUBLISHED.values())


def test_the_maps():
    maps = PUBLISHED["cifar100-2-512-e4"].network(Shapes()).maps()
    assert maps["block.1.mlp.gate.gate_lif1"] == Map(8, 8, 512)
