"""Do padded heads compute what the network computes, and is the padding counted as no channel?"""

import numpy as np
import pytest

from archsim import simulate
from archsim.config import load_chip
from archsim.config.workload import load_workload
from archsim.synthetic import Synthetic
from archsim.workload import Workload
from mapping import reference
from mapping.ir import IMAGE, Attention, Classifier, Map, Network, Synapse
from mapping.notes import layer as note
from mapping.pad import padded
from mapping.quantise import Precision, quantise
from mapping.schedule import schedule

SIZE, HEADS = 6, 4
"""Heads of 6 channels: in words of 16 columns they get 8, in words of 4 two words."""


@pytest.fixture(scope="module")
def network():
    draws, channels = np.random.default_rng(3), SIZE * HEADS

    def weights(outputs, inputs):
        return draws.normal(0.1, 1.0, (outputs, inputs, 1, 1)), draws.normal(0.3, 0.2, outputs)

    layers = [Synapse("first", IMAGE, *weights(16, 3), spikes="x")]
    layers += [Synapse(f"{name}.conv", "x", *weights(channels, 16), spikes=name) for name in "kvq"]
    layers.append(Attention("attention", "q", "k", "v", "attended", HEADS, 0.125, 0.5))
    layers.append(Synapse("proj", "attended", *weights(16, channels), stream="s", opens=True, spikes="y"))
    layers.append(Synapse("last", "y", *weights(16, 16), stream="s", neuron=None, threshold=0.0, reduce=True))
    layers.append(Classifier("head", "last", draws.normal(0, 1, (10, 16)), np.zeros(10)))
    return quantise(Network("heads", 4, Map(4, 4, 3), 2.0, 4.0, tuple(layers)), Precision())


def test_heads_that_fill_words_are_left_alone(network):
    assert padded(network, 6) is network and padded(network, 2) is network and padded(network, 12) is network


@pytest.mark.parametrize(("columns", "width"), [(16, 8), (4, 8), (9, 9)])
def test_padded_heads_compute_the_same(network, columns, width):
    result = padded(network, columns)
    image = np.random.default_rng(1).integers(-100, 100, (16, 3))
    expected, given = reference.run(network, image), reference.run(result, image)
    assert 0.02 < expected.spikes["attended"].mean() < 0.98
    assert (given.logits == expected.logits).all()
    for name in ("q", "k", "v", "attended"):
        assert result.maps[name].channels == HEADS * width
        heads = given.spikes[name].reshape(4, 16, HEADS, width)
        assert not heads[..., SIZE:].any()
        assert (heads[..., :SIZE].reshape(4, 16, -1) == expected.spikes[name]).all()
        assert result.carried(name, columns).sum() == SIZE * HEADS
    assert [note(result, x)["macs"] for x in result.layers] == [note(network, x)["macs"] for x in network.layers]


@pytest.mark.parametrize("changes", [{}, {"spike_in_rows": 100}])
def test_a_chip_runs_them_and_counts_no_addition_of_the_padding(network, changes):
    """Every event of x adds 24 columns for each of q, k and v, whatever their words."""
    result, chip = padded(network, 16), load_chip("small").replace(**changes)
    config = load_workload("workloads/spikingformer_imagenet.yaml")
    mapped = Workload(config, result, schedule(result, chip), synthetic=Synthetic(result, {}, 1))
    assert mapped.program.notes["streamed"] == bool(changes)
    pixels = mapped.images(1)[0]
    image, capture = simulate.run_image(mapped, pixels, 0, record=True)
    check = simulate.compare(mapped, pixels, capture, image.logits)
    assert check.differing == {"spikes": 0, "membranes": 0, "logits": 0}
    names = [entry["name"] for entry in mapped.program.notes["layers"]]
    records = image.records[np.isin(image.records["layer"], [names.index(f"{name}.conv") for name in "kvq"])]
    events = reference.run(result, result.quantise_image(pixels)).spikes["x"].sum()
    assert records["additions"].sum() == events * 3 * SIZE * HEADS


def test_drawn_spikes_leave_the_padding_out(network):
    result, chip = padded(network, 16), load_chip("small")
    rates = dict.fromkeys(("x", "q", "k", "v", "attended", "y"), 0.5)
    words = Synthetic(result, rates, 1).words(chip, schedule(result, chip).notes, 0)
    assert {int(x) & 0xC0C0 for x in words["q"].reshape(-1)} == {0}
    assert np.bitwise_or.reduce(words["q"], axis=None) == 0x3F3F
