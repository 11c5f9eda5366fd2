"""Does the definition of the transformer with experts yield the sizes of the public code, and say what it is?"""

from dataclasses import replace
from pathlib import Path

import pytest

from archsim.contracts.common.errors import ArchsimError
from mapping.importers import artefact
from mapping.importers.spike_driven_transformer import read_experts
from mapping.ir import LIF, Map
from mapping.networks.spiking_moe import PUBLISHED
from mapping.networks.weights import Shapes
from mapping.nodes import Experts
from mapping.operations import operations

ARTEFACT = Path(__file__).parents[2] / "workloads/artefacts/spiking_moe_digits"

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


def _artefact(**hyper):
    """The committed small network, its manifest with other hyperparameters."""
    found = artefact.load(ARTEFACT)
    manifest = found.manifest | {"hyperparameters": found.manifest["hyperparameters"] | hyper}
    return replace(found, manifest=manifest)


def test_an_artefact_with_steps_of_its_experts_has_the_published_form():
    for hyper, weighed in (({}, False), ({"expert_steps": [4, 1, 2, 1], "choices": 1}, True)):
        layer = next(x for x in read_experts(_artefact(**hyper)).layers if isinstance(x, Experts))
        assert layer.softmax == weighed
        assert [expert.residual for expert in layer.experts] == [weighed] * 4
        assert [expert.steps for expert in layer.experts] == (hyper.get("expert_steps") or [None] * 4)


@pytest.mark.parametrize("steps", [[4, 0, 1, 1], [4, 1.5, 1, 1]])
def test_steps_that_are_none_are_refused(steps):
    with pytest.raises(ArchsimError, match=r"hyperparameters.expert_steps\[1\]: required an integer of at least 1"):
        read_experts(_artefact(expert_steps=steps))


def test_steps_of_another_number_of_experts_are_refused():
    with pytest.raises(ArchsimError, match=r"hyperparameters.expert_steps: required one for each of 4 experts, given \[4, 1\]"):
        read_experts(_artefact(expert_steps=[4, 1]))
