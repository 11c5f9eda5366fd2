"""Is a definition that no instruction does lowered exactly: every spike and logit the same, to the last bit?"""

from dataclasses import replace

import numpy as np
import pytest

from archsim.config import load_chip
from archsim.contracts.common.errors import ArchsimError
from mapping.ir import CHANNELS, IMAGE, Classifier, Map, Network, Synapse
from mapping.lower import lower
from mapping.networks.spiking_mlp import PUBLISHED, SpikingMlp
from mapping.networks.weights import Shapes, Synthetic
from mapping.nodes import Concat, Norm, Sum, Transpose
from mapping.partition import chunks
from mapping.quantise import Precision, quantise
from tests.mapping.floats import run

SMALL = SpikingMlp("small", 6, (1, 2), image=Map(8, 8, 2), patch=2, classes=3)


class Dyadic(Synthetic):
    """Random weights of few bits, so that sums of them are exact in any order; norms that differ from token to token."""

    def plain(self, name, shape, bias=False):
        weight, _ = super().plain(name, shape)
        return np.rint(weight * 16) / 16, np.rint(np.abs(self._normal(f"{name}.bias", (shape[0], 1))[:, 0]) * 16) / 16 + 0.25

    def norm(self, name, channels):
        draws = np.rint(self._normal(name, (2, channels, 1))[:, :, 0] * 4) / 4
        return 2.0 ** np.clip(draws[0], -1, 1).round(), draws[1] / 2


def test_every_spike_and_logit_is_the_definitions():
    shows = set()
    for seed in range(6):
        network = SMALL.network(Dyadic(seed))
        image = np.random.default_rng(seed).integers(-16, 17, (8, 8, 2)) / 8
        (expected, logits), (given, lowered) = run(network, image), run(lower(network), image)
        nodes = {f"to_patch_embedding.1.n{node}_lif" for node in (1, 2, 3)}  # they are parts of the embedding's spikes
        names = {layer.spikes for layer in network.layers if isinstance(layer, Synapse) and layer.spikes} - nodes
        names.add("to_patch_embedding.1.h")
        for name in names:
            assert np.array_equal(expected[name], given[name]), name
        first, second = (given[f"to_patch_embedding.1.h.{step}"] for step in (0, 1))
        third = first.shape[3] // 3
        assert not first[..., third:].any(), "channels of later nodes have no spikes yet, so they cost no event"
        assert not np.delete(second, np.s_[third : 2 * third], 3).any()
        shows |= {name for name in names if 0 < expected[name].mean() < 1}
        assert np.array_equal(logits, lowered)
    assert shows == names, "a map that never fires, or always, shows nothing"


def test_a_norm_of_spikes_before_a_neuron_is_a_layer():
    """Without the small embedding each block has one."""
    definition, norms = replace(SMALL, spe=False), [f"token_mix.{block}.norm" for block in range(3)]
    shows = set()
    for seed in range(6):
        network = definition.network(Dyadic(seed))
        image = np.random.default_rng(seed).integers(-16, 17, (8, 8, 2)) / 8
        (expected, logits), (given, lowered) = run(network, image), run(lower(network), image)
        assert [layer.name for layer in network.layers if isinstance(layer, Norm)] == norms
        assert [layer.name for layer in lower(network).layers if isinstance(layer, Synapse) and layer.diagonal] == norms
        for block in range(3):
            name = f"token_mix.{block}.lif"
            assert np.array_equal(expected[name], given[name]), name
            shows |= {name} if 0 < expected[name].mean() < 1 else set()
        assert np.array_equal(logits, lowered)
    assert len(shows) == 3, "a map that never fires, or always, shows nothing"


def test_what_is_lowered_is_what_the_mapper_knows():
    layers = lower(SMALL.network(Dyadic(1))).layers
    assert all(layer.axis == CHANNELS for layer in layers if isinstance(layer, Synapse))
    assert not [layer for layer in layers if isinstance(layer, Concat) and layer.streams]
    assert sum(isinstance(layer, Transpose) for layer in layers) == 3 * 4  # in a block two axes, there and back
    total = layers[-2]
    assert isinstance(total, Sum) and total.reduce and layers[-1].source == total.name


def test_what_is_lowered_stays_as_it_is():
    network = lower(SMALL.network(Dyadic(1)))
    again = lower(network)
    assert all(one is other for one, other in zip(network.layers, again.layers, strict=True))
    assert again.joined == network.joined


def test_joined_layers_know_the_definitions_maps_and_weights():
    network = PUBLISHED["mlp-spe-t"].network(Shapes())
    lowered = lower(network)
    third = 52
    parts = {name: joined.parts for name, joined in lowered.joined.items() if ".1." in name}
    nodes = [f"to_patch_embedding.1.n{number}_lif" for number in (1, 2, 3)]
    assert list(parts.values()) == [
        ((nodes[0], third), ("", third), ("", third)), (("", third), (nodes[1], third), ("", third)),
        tuple((name, third) for name in nodes),
    ]  # fmt: skip
    weights = [layer.weight.size for layer in network.layers if isinstance(layer, Synapse) and ".1.cell2node" in layer.name]
    assert [joined.weights for name, joined in lowered.joined.items() if ".1." in name] == [
        sum(weights), third**2 * 9, third**2 * 9,
    ]  # fmt: skip


@pytest.mark.parametrize("limit", [1024, 12])
def test_weights_of_channels_that_are_not_read_are_not_loaded(limit):
    """Of 12 channels on words of 4, the nodes have 4 each: one word is read, in one chunk of 3 x 3 x 4 rows or in three."""
    chip = load_chip("small").replace(columns=4, neurons=4)
    network = quantise(SMALL.network(Dyadic(1)), Precision())
    layers = {layer.name: layer for layer in network.layers}
    for name, first in (("node1_node2", 0), ("node2_node3", 4)):
        layer = layers[f"to_patch_embedding.1.{name}.0"]
        found = chunks(chip, layer, limit)
        assert {(chunk.channel_first, chunk.channels) for chunk in found} == {(first, 4)}
        assert sum(chunk.kernel_rows for chunk in found) == 3
        weight = layer.weight.copy()
        weight[:, first : first + 4] = 0
        assert not weight.any()


def test_streams_that_are_no_chain_are_refused():
    network = SMALL.network(Dyadic(1))
    layers = [
        replace(layer, source="to_patch_embedding.1.n1_lif") if "node2_node3" in layer.name else layer
        for layer in network.layers
    ]
    with pytest.raises(ArchsimError, match=r"layer 'to_patch_embedding.1.h': not mapped yet: streams side by side, unless"):
        lower(replace(network, layers=tuple(layers)))


def test_a_map_is_turned_once_for_all_that_read_it():
    square = np.eye(2)[:, :, None, None]
    layers = (
        Synapse("stem", IMAGE, np.ones((3, 1, 1, 1)), np.ones(3), spikes="s"),
        *(Synapse(name, "s", square, np.zeros(2), spikes=f"{name}.lif", axis="height") for name in "ab"),
        Classifier("head", "a.lif", np.ones((2, 3)), np.zeros(2)),
    )  # fmt: skip
    lowered = lower(Network("n", 1, Map(2, 2, 1), 1.0, 1.0, layers)).layers
    assert [layer.name for layer in lowered if isinstance(layer, Transpose)] == ["s by height", "a.lif", "b.lif"]
