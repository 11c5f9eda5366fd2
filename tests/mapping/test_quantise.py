"""Are the integers right, and can nothing overflow? Hand-worked layers; bounds against every possible input of tiny ones."""

from itertools import product

import numpy as np
import pytest

from archsim.contracts import neuron
from archsim.contracts.common.errors import ArchsimError
from mapping.ir import IMAGE, Attention, Classifier, Map, Synapse
from mapping.quantise import THRESHOLD_LIMIT, IntAttention, IntPlanes, Precision, quantise


def _kernel(*rows):
    return np.array(rows, float)[:, :, None, None]


def _first(channels=2):
    """An image layer that only makes a map of ``channels`` for the layer under test."""
    return Synapse("stem", IMAGE, np.ones((channels, 1, 1, 1)), np.zeros(channels), spikes="s")


def test_a_layer_that_fires_keeps_each_channels_scale(make_network):
    """Channel 0: 127 / 2 = 63.5 a unit; channel 1: 127 / 0.5 = 254. Halves round to even."""
    layer = Synapse("l", "s", _kernel([2, -1], [0.5, 0.25]), np.array([0.5, -0.25]), threshold=1.0, spikes="t")
    result = quantise(make_network(_first(), layer), Precision()).layers[1]
    assert result.weight[:, :, 0, 0].tolist() == [[127, -64], [127, 64]]
    assert result.bias.tolist() == [32, -64]
    assert result.threshold.tolist() == [64, 254]
    assert result.shift.tolist() == [0, 0]
    assert (result.kind, result.planes) == (neuron.LIF, 0)


def test_an_image_layer_counts_in_pixels(make_network):
    """Pixels are multiplied by 127; weight 127 / 1 = 127 a unit: bias and threshold count in 127 x 127 = 16129."""
    layer = Synapse("l", IMAGE, _kernel([1], [-0.5]), np.array([0.5, 1.0]), threshold=0.75, spikes="t")
    result = quantise(make_network(layer), Precision())
    assert result.image_scale == 127
    assert result.layers[0].planes == 8
    assert result.layers[0].weight[:, 0, 0, 0].tolist() == [127, -127]
    assert result.layers[0].bias.tolist() == [8064, 32258]  # 8064.5 to even
    assert result.layers[0].threshold.tolist() == [12097, 24194]  # 12096.75, 24193.5


def test_pixels_are_rounded_and_clipped(make_network):
    network = quantise(make_network(_first(1)), Precision(image_bits=4))  # 7 a unit, -8..7
    assert network.quantise_image(np.array([[0.5, -0.5], [2.0, -2.0]])).tolist() == [[4], [-4], [7], [-8]]


def test_dead_channels_are_capped(make_network):
    """A channel with nearly no weight: its threshold stops at THRESHOLD_LIMIT, its scale with it."""
    layer = Synapse("l", "s", _kernel([1e-9, 0], [0, 0], [1, 1]), np.array([0.25, -1.0, 0]), threshold=0.5, spikes="t")
    result = quantise(make_network(_first(), layer), Precision()).layers[1]
    assert result.threshold.tolist() == [THRESHOLD_LIMIT, THRESHOLD_LIMIT, 64]  # 63.5
    assert result.weight[:, :, 0, 0].tolist() == [[0, 0], [0, 0], [127, 127]]
    assert result.bias.tolist() == [THRESHOLD_LIMIT // 2, -2 * THRESHOLD_LIMIT, 0]


def test_dead_channels_of_an_image_layer_are_capped(make_network):
    """There the threshold counts in pixels of 127 a unit, too: the cap is on the product."""
    layer = Synapse("l", IMAGE, _kernel([1e-9], [0.5]), np.zeros(2), threshold=0.5, spikes="t")
    result = quantise(make_network(layer), Precision()).layers[0]
    assert result.threshold.tolist() == [THRESHOLD_LIMIT, 16129]


def test_no_threshold_becomes_zero(make_network):
    """A weight of 1000 thresholds: the threshold rounds to 0, at which a neuron would fire without input."""
    layer = Synapse("l", "s", _kernel([1000, 0]), np.zeros(1), spikes="t")
    assert quantise(make_network(_first(), layer), Precision()).layers[1].threshold.tolist() == [1]
    stream = Synapse("l", "s", _kernel([1000, 0]), np.zeros(1), stream="x", opens=True, spikes="t")
    assert quantise(make_network(_first(), stream), Precision()).layers[1].threshold.tolist() == [1]


def test_a_stream_layer_has_powers_of_two_and_shifts(make_network):
    """127.49 / 1, / 0.25, / 3: powers 6, 8, 5, median 6. Shift to 2^6: 0, right 2, left 1; half of 2^2 into the bias."""
    layer = Synapse("l", "s", _kernel([1, -0.5], [0.25, 0.1], [3, -1]), np.array([0.5, -0.25, 0.3]), stream="x", opens=True,
                    spikes="t", threshold=1.5)  # fmt: skip
    network = quantise(make_network(_first(), layer), Precision())
    result = network.layers[1]
    assert network.exponent == 6
    assert result.shift.tolist() == [0, 2, -1]
    assert result.weight[:, :, 0, 0].tolist() == [[64, -32], [64, 26], [96, -32]]  # 25.6
    assert result.bias.tolist() == [32, -64 + 2, 10]  # 9.6
    assert result.threshold.tolist() == [96] * 3


def test_shifts_stop_at_the_neuron_units_limit(make_network):
    """Powers 26 (weights below 2^-20 count as 2^-20), 6, 6: the shift of the first would be 20."""
    layer = Synapse("l", "s", _kernel([1e-9, 0], [1, 0], [1, 0]), np.zeros(3), stream="x", opens=True, spikes="t")
    result = quantise(make_network(_first(), layer), Precision()).layers[1]
    assert result.shift.tolist() == [neuron.SHIFT_LIMIT, 0, 0]
    weights = Synapse("l", "s", _kernel([1, 0], [1, 0], [1e9, -1e9]), np.zeros(3), stream="x", opens=True, spikes="t")
    result = quantise(make_network(_first(), weights), Precision()).layers[1]
    assert result.shift.tolist() == [0, 0, -neuron.SHIFT_LIMIT]
    assert result.weight[2, :, 0, 0].tolist() == [127, -128]


def test_the_classifier(make_network):
    """4 positions x 4 steps at 2^6 a unit, operands up to 2 x 2: 4096 = 2^12; 8 bits hold 2^7, so shift by 5.

    A unit of the mean is then 4 x 4 x 64 / 32 = 32; weights count 127; floor loses half of each operand.
    """
    layers = [
        _first(),
        Synapse("l", "s", _kernel([1, 1], [1, -1]), np.zeros(2), stream="x", opens=True, neuron=None, threshold=0.0, reduce=True),
        Classifier("head", "l", np.array([[0.5, -1.0], [0.25, 0.0]]), np.array([0.25, -1.0])),
    ]  # fmt: skip
    network = quantise(make_network(*layers, head_limit=2.0), Precision(head_bits=8))
    planes, head = network.layers[2:]
    assert planes == IntPlanes("head.planes", "l", "head.input", 8, 5, network.exponent)
    assert head.weight[:, :, 0, 0].tolist() == [[64, -127], [32, 0]]
    assert head.bias.tolist() == [984, -4048]  # 0.25 x 127 x 32 - 63 / 2 = 984.5; -4064 + 16
    assert (head.source, head.planes, head.kind) == ("head.input", 8, neuron.NONE)
    assert network.maps["head.input"] == Map(1, 1, 2)
    # (sum >> 5) fits without a shift when head_bits allow it, and nothing is lost then
    wide = quantise(make_network(*layers, head_limit=2.0), Precision(head_bits=13))
    assert wide.layers[2].right_shift == 0
    assert wide.layers[3].bias.tolist() == [0.25 * 127 * 1024, -127 * 1024]


def test_attention_is_exact_on_counts(make_network):
    parts = [Synapse(name, "s", _kernel([1, 1], [1, 1]), np.zeros(2), spikes=name) for name in "qkv"]
    attention = Attention("a", "q", "k", "v", "b", 2, 0.125, 0.5)
    result = quantise(make_network(_first(), *parts, attention), Precision()).layers[4]
    assert result == IntAttention("a", "q", "k", "v", "b", 2, 8, -1)  # 0.5 / 0.125 = 4 counts, counted twice
    odd = Attention("a", "q", "k", "v", "b", 2, 0.3, 0.5)
    with pytest.raises(ArchsimError, match=r"layer 'a': threshold / scale must be a multiple of 1/2.*0\.5 / 0\.3"):
        quantise(make_network(_first(), *parts, odd), Precision())


def _bits(values):
    """Two's-complement bits that hold all values."""
    return max(max(v, -v - 1).bit_length() for v in map(int, values)) + 1


@pytest.mark.parametrize("seed", range(30))
def test_bounds_are_those_of_all_spike_patterns(make_network, seed):
    """Two layers on one stream, every pattern of 4 + 3 spikes: accumulator, biased sum and membrane."""
    rng = np.random.default_rng(seed)
    layers = [_first(4)]
    layers.append(
        Synapse("l", "s", rng.normal(0, 2, (3, 4, 1, 1)), rng.normal(0, 9, 3), stream="x", opens=True, spikes="t")
    )
    layers.append(Synapse("m", "t", rng.normal(0, 0.2, (3, 3, 1, 1)), rng.normal(0, 3, 3), stream="x", spikes="u"))
    network = quantise(make_network(*layers), Precision())
    low = high = np.zeros(3, np.int64)
    for layer in network.layers[1:]:
        sums = np.array(
            [layer.weight[:, :, 0, 0].astype(int) @ p for p in product((0, 1), repeat=layer.weight.shape[1])]
        )
        biased = sums + layer.bias
        y = np.array(
            [[v << -s if s < 0 else v >> s for v, s in zip(row, layer.shift, strict=True)] for row in biased.tolist()]
        )
        low, high = low + y.min(0), high + y.max(0)
        values = [*sums.ravel(), *biased.ravel(), *layer.bias, *low, *high, *layer.threshold]
        assert network.bounds[layer.name] == _bits(values)


@pytest.mark.parametrize("seed", range(20))
def test_bounds_are_those_of_all_plane_operands(make_network, seed):
    """Every pair of 3-bit operands, and every prefix of their planes."""
    rng = np.random.default_rng(seed)
    layer = Synapse("l", IMAGE, rng.normal(0, 2, (3, 2, 1, 1)), rng.normal(0, 1, 3), spikes="t")
    network = quantise(make_network(layer, image=Map(1, 1, 2)), Precision(image_bits=3))
    (layer,) = network.layers
    operands = np.array(list(product(range(-4, 4), repeat=2)))
    values = [*layer.threshold, *layer.bias]
    for dropped in (2, 1, 0):
        sums = (operands >> dropped) @ layer.weight[:, :, 0, 0].T.astype(int)
        values += [*sums.ravel(), *((sums + layer.bias).ravel() if not dropped else [])]
    assert network.bounds["l"] == _bits(values)


def test_the_reduction_is_bounded(make_network):
    """Weights 127 and -127, 4 positions x 4 steps: 16 x 2 x 127 = 4064 needs 13 bits."""
    last = Synapse(
        "l", "s", _kernel([1.9, 1.9]), np.zeros(1), stream="x", opens=True, neuron=None, threshold=0.0, reduce=True
    )
    network = quantise(make_network(_first(), last), Precision())
    assert network.layers[1].weight.ravel().tolist() == [122, 122]  # 1.9 x 2^6 = 121.6
    assert network.bounds["l"] == _bits([16 * 2 * 122])


def test_what_needs_a_bit_more_is_refused(make_random):
    network = make_random(3)
    bounds = quantise(network, Precision()).bounds
    widest = max(bounds.values())
    layer = max(bounds, key=lambda name: bounds[name])
    assert quantise(network, Precision(membrane_bits=widest)).bounds == bounds
    message = rf"layer '{layer}': its [a-z ]+ can reach \d+, which needs {widest} bits, but membrane_bits is {widest - 1}; use"
    with pytest.raises(ArchsimError, match=message):
        quantise(network, Precision(membrane_bits=widest - 1))


def test_a_power_of_two_needs_its_bit(make_network):
    """Operands -2..1, weight -127, bias 2 (2 / 127 x 127): up to 256, which 9 bits do not hold."""
    layer = Synapse("l", IMAGE, _kernel([-1]), np.array([2 / 127]), spikes="t")
    assert quantise(make_network(layer), Precision(image_bits=2, membrane_bits=10)).bounds == {"l": 10}
    with pytest.raises(ArchsimError, match="biased sum can reach 256, which needs 10 bits, but membrane_bits is 9"):
        quantise(make_network(layer), Precision(image_bits=2, membrane_bits=9))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_use_their_bits(make_random, bits):
    top = (1 << (bits - 1)) - 1
    for layer in quantise(make_random(5), Precision(weight_bits=bits)).layers:
        if hasattr(layer, "weight"):
            assert layer.weight.max() <= top
            assert layer.weight.min() >= -top - 1
            # A power of two as the scale leaves at most half of the range empty.
            assert np.abs(layer.weight.astype(int)).max() >= (top // 2 + 1 if layer.stream else top)
