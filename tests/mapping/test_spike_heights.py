"""Is a network with spikes of height 1 the same as that with spikes as high as their thresholds, spike by spike?"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from archsim.contracts.common.errors import ArchsimError
from mapping.importers import artefact
from mapping.importers.masked_spiking_transformer import read
from mapping.ir import IF_HALF, IF_HALF_ONE, Synapse
from mapping.networks.masked_spiking_transformer import PUBLISHED
from mapping.networks.weights import Shapes
from mapping.nodes import Concat, Norm, Sum, WindowAttention
from mapping.operators import refusals, require_mapped
from mapping.spike_heights import lowered
from tests.mapping.heights import Floats

ARTEFACTS = Path(__file__).parents[2] / "workloads" / "artefacts"


@pytest.fixture(scope="module", params=["", "batch_norm_"])
def network(request):
    """The trained network, two stages with shifted windows, the factor of every third channel of its norms turned round.

    Before the classifier stands a layer norm, or a batch norm.
    """
    trained = read(artefact.load(ARTEFACTS / f"masked_spiking_transformer_{request.param}digits"))
    layers = [
        replace(layer, scale=layer.scale * np.where(np.arange(len(layer.scale)) % 3, 1, -1)) if isinstance(layer, Norm) else layer
        for layer in trained.layers
    ]
    return replace(trained, layers=tuple(layers))


@pytest.fixture(scope="module")
def masks(network):
    """Half of the spikes of q, k and the scores of each layer."""
    rng, maps, found = np.random.default_rng(3), network.maps(), {}
    for layer in network.layers:
        if isinstance(layer, WindowAttention):
            shape, tokens = maps[layer.q], layer.window**2
            whole = network.timesteps, shape.height, shape.width, shape.channels
            scores = network.timesteps, shape.positions // tokens, layer.heads, tokens, tokens
            found[layer.name] = tuple(rng.random(axes) < 0.5 for axes in (whole, whole, scores))
    return found


def test_every_spike_and_the_logits(network, masks):
    """In float64 both formulations round differently, by 1e-13: far less than any membrane is from its threshold here."""
    images = np.random.default_rng(4).normal(0, 1, (1, 8, 8, 1))
    defined, made = Floats(network, images, masks), Floats(lowered(network), images, masks)
    names = [layer.spikes for layer in network.layers if getattr(layer, "spikes", None)]
    assert len(names) == 38
    for name in names:
        assert set(np.unique(made.maps[name])) == {0.0, 1.0}, name
        assert ((defined.maps[name] > 0) == (made.maps[name] > 0)).all(), name
    np.testing.assert_allclose(made.logits, defined.logits, rtol=0, atol=2e-14)
    assert np.ptp(defined.logits) > 1


def test_what_is_left(network):
    """Synapses, maps side by side and attention of unit spikes: no norm, no sum. Each stage has one stream of its own.

    The norm before the classifier is the classifier's, or a layer.
    """
    layers = lowered(network).layers
    assert not any(isinstance(layer, Norm | Sum) for layer in layers)
    assert all(layer.unit for layer in layers if isinstance(layer, WindowAttention))
    assert {layer.neuron for layer in layers if isinstance(layer, Synapse) and layer.spikes} == {IF_HALF_ONE}
    beside = [layer.sources for layer in layers if isinstance(layer, Concat)]
    assert [len(names) for names in beside] == [2, 3, 4, 2, 3, 4, 5]
    assert all(longer[: len(names)] == names for names, longer in zip(beside[:3], beside[1:3], strict=False))
    merging = [layer for layer in layers if getattr(layer, "stream", None) == "layers.0.downsample.reduction"]
    assert [(layer.opens, layer.spikes) for layer in merging] == [
        (True, None), *[(False, None)] * 3, (False, "layers.0.downsample.reduction_if"),
    ]  # fmt: skip
    require_mapped(network)
    assert set(refusals(network).values()) == {None}


def test_a_network_of_unit_spikes_is_itself(make_random):
    network = make_random(1)
    assert lowered(network) is network


def test_no_layer_of_a_published_size_is_refused():
    network = PUBLISHED["cifar10-75"].network(Shapes())
    require_mapped(network)
    assert set(refusals(network).values()) == {None}
    assert lowered(network).layers[-1].norm.shape == (2, 768)


def test_padding_on_a_stream_with_a_constant_is_refused(make_network):
    ones = np.ones((2, 1, 1, 1))
    layers = (
        Synapse("a", "image", ones, np.zeros(2), neuron=IF_HALF, spikes="s"),
        Norm("n", "s", "batch norm", np.ones(2), np.ones(2)),
        Synapse("b", "n", np.ones((2, 2, 3, 3)), np.zeros(2), padding=1, neuron=IF_HALF, spikes="t"),
    )
    with pytest.raises(ArchsimError, match="layer 'b': required no padding on a stream with a constant part, given padding 1"):
        lowered(make_network(*layers))
