"""Is the layer norm in integers the layer norm, as near as its roundings allow, and does nothing overflow?"""

from dataclasses import replace

import numpy as np
import pytest

from archsim.config import load_chip
from archsim.contracts import sequencer
from archsim.contracts.common.errors import ArchsimError
from archsim.kernel import decode
from mapping.bounds import Bounds
from mapping.ir import IF_HALF, IMAGE, Classifier, Map, Synapse
from mapping.layer_norm import IntLayerNorm, quantise_layer_norm, without_gains
from mapping.nodes import BATCH, LAYER, Norm
from mapping.operators import refusals, require_mapped
from mapping.quantise import IntPlanes, IntSynapse, Precision, quantise
from mapping.reference import run
from mapping.schedule import schedule
from mapping.spike_heights import lowered
from tests.mapping.heights import Floats

CHIP = load_chip("small_normaliser")


def test_four_channels_by_hand():
    """Sum 20: distances 4 x - 20 = -16, -8, 4, 20; halved -8, -4, 2, 10; squares / 4: 16, 4, 1, 25.

    Root of 46: 6. 2^10 / 6 = 170. Products -1360, -680, 340, 1700; / 16: -85, -42.5, 21.25, 106.25, floored.
    """
    norm = IntLayerNorm("n", "l", Map(1, 1, 4), (1, 2, 10, 4), 12, 16)
    assert norm.values(np.array([[[1, 3, 6, 10]]])).tolist() == [[[-85, -43, 21, 106]]]
    # 2^(10 - 4) roots of 2^2, over sqrt(4) = 2: 64 units stand for a deviation of 1. Mean 5, deviation sqrt(11.5) = 3.39.
    assert norm.exponent == 6.0
    assert pytest.approx(94.36, abs=0.01) == 64 * (10 - 5) / 11.5**0.5  # the root of 46 lost 0.78 of 6.78: 106 for 94


def test_equal_channels_become_zeros():
    norm = IntLayerNorm("n", "l", Map(1, 1, 4), (1, 2, 10, 4), 12, 16)
    assert not norm.values(np.full((2, 1, 4), 7)).any()


def quantised(rng, channels, bits=16, count=64):
    low, high = -rng.integers(1, 3000, channels), rng.integers(1, 5000, channels)
    return low, high, *quantise_layer_norm("l", Map(2, 1, channels), low, high, count, bits, 24)


def distance_bounds(norm, stream):
    """Results in real numbers, and how far the integers may be from them, of [tokens, channels]: floor by floor.

    A distance loses e1 < 1 where it is shifted, a square e2 < 1, the root e3 < 1, the reciprocal e4 < 1, a result e5 < 1. So the
    root r misses R, of the exact distances, by sqrt(N) e1 / 2^(square / 2) + N e2 / r + e3 at most, and its reciprocal misses 1 / R
    by that / (r R).
    """
    center, square, reciprocal, scale = norm.shifts
    count = norm.shape.channels
    distance = (count * stream - stream.sum(-1, keepdims=True)) / 2.0**center
    root = np.sqrt((distance**2).sum(-1, keepdims=True) / 2.0**square)
    missed = count**0.5 / 2.0 ** (square / 2) + 1
    missed = missed + count / (root - 2 * missed)
    scalar = 2.0**reciprocal / root
    error = (np.abs(distance) + 1) * (scalar * missed / (root - missed) + 1) + scalar
    return distance * scalar / 2.0**scale, error / 2.0**scale + 1


@pytest.mark.parametrize(
    ("channels", "bits", "count", "near"),
    [(64, 16, 64, 0.005), (64, 16, 6272, 0.016), (768, 16, 6272, 0.035), (768, 20, 6272, 0.028), (8, 12, 4, 0.053)],
)
def test_as_near_as_its_floors_allow(channels, bits, count, near):
    """Streams of the deviation that spikes have: some of the addends are there.

    ``near``: of a deviation; that of the published sizes is what their sums leave, a floor of 1 / 37.
    """
    rng = np.random.default_rng(channels + bits)
    low, high, norm, greatest = quantised(rng, channels, bits, count)
    stream = np.stack([rng.binomial(1, 0.3, channels) * high + rng.binomial(1, 0.3, channels) * low for _ in range(40)])
    values = norm.values(stream[:, None])[:, 0]
    exact, allowed = distance_bounds(norm, stream)
    assert (np.abs(values - exact) <= allowed).all()
    normed = (stream - stream.mean(-1, keepdims=True)) / stream.std(-1, keepdims=True)
    np.testing.assert_allclose(exact, normed * 2.0**norm.exponent, rtol=0, atol=2e-15 * np.abs(exact).max())
    assert (allowed / 2.0**norm.exponent).max() < near
    assert np.abs(values).max() <= greatest


@pytest.mark.parametrize("bits", [8, 12, 16, 24])
def test_no_stream_within_the_bounds_saturates_but_the_reciprocal(bits):
    """One channel at an end of its range and all others at the other, and the like.

    Distances are within an operand, squares within a membrane, results within what is proven; nearly all of each range is used.
    """
    rng = np.random.default_rng(bits)
    low, high, norm, greatest = quantised(rng, 12, bits)
    center, square, reciprocal, scale = norm.shifts
    ends = np.where(np.eye(12, dtype=bool), high, low), np.where(np.eye(12, dtype=bool), low, high)
    some = rng.integers(low, high + 1, (200, 12)), low + (high - low) * rng.integers(0, 2, (200, 12))
    near = np.full((4, 12), 5) + rng.integers(-1, 2, (4, 12))
    stream = np.concatenate([*ends, *some, near])
    distance = (12 * stream - stream.sum(-1, keepdims=True)) >> center
    assert -(1 << bits - 1) <= distance.min() and distance.max() < 1 << bits - 1
    assert center == 0 or np.abs(distance).max() >= 1 << bits - 3
    squares = distance**2 >> square
    assert squares.max() < 1 << 23
    values = norm.values(stream[:, None])[:, 0]
    assert np.abs(values).max() <= greatest
    assert greatest * 64 < 1 << 23
    assert scale == 0 or 4 * greatest * 64 >= 1 << 23


def test_more_channels_than_an_operand_holds():
    ends = np.full(200, -1), np.full(200, 1)
    with pytest.raises(ArchsimError, match="layer 'l': a layer norm over 200 channels .* operand_bits is 8; use a"):
        quantise_layer_norm("l", Map(1, 1, 200), *ends, 1, 8, 24)


def test_sums_that_fit_no_membrane():
    with pytest.raises(ArchsimError, match="layer 'l': 4194304 results of a layer norm .* 24 bits; .*fewer time steps"):
        quantise_layer_norm("l", Map(1, 1, 4), np.full(4, -1), np.full(4, 1), 1 << 22, 16, 24)


def test_gains_are_taken_out():
    """Of a recorded mean; what the chip sums has none: 10 results of 2, 0 and -2, in eighths."""
    norm = np.array([[2.0, 0.0, -0.5], [1.0, 3.0, 0.0]])
    mean = np.array([5.0, 7.0, 1.0])
    assert without_gains(mean, norm).tolist() == [2.0, 0.0, -2.0]
    assert IntPlanes("p", "l", "i", 8, 0, 3.0, norm).sums(mean, 10).tolist() == [160, 0, -160]
    assert IntPlanes("p", "l", "i", 8, 0, 3.0).sums(mean, 10).tolist() == [400, 560, 80]


def small(make_network, *, channels=16, last=None, seed=1):
    """Patches, a second map that joins the stream, a layer norm, the classifier."""
    rng = np.random.default_rng(seed)
    layers = (
        Synapse(
            "patch", IMAGE, rng.normal(0, 1.5, (channels, 1, 1, 1)), rng.normal(0.4, 0.5, channels), neuron=IF_HALF, spikes="s"
        ),
        Norm("norm", "s", LAYER, rng.normal(1, 0.3, channels), rng.normal(0, 0.3, channels), reduce=True),
        Classifier("head", "norm", rng.normal(0, 1, (5, channels)), rng.normal(0, 1, 5)),
    )
    return make_network(*(last(layers) if last else layers), image=Map(4, 3, 1), timesteps=8, head_limit=3.0)


def test_lowered_it_is_the_classifiers(make_network):
    network = small(make_network)
    layers = lowered(network).layers
    assert [type(layer) for layer in layers] == [Synapse, Synapse, Classifier]
    assert (layers[1].stream, layers[1].opens, layers[1].reduce, layers[1].diagonal) == ("norm", True, False, True)
    assert np.array_equal(layers[2].norm, np.stack((network.layers[1].scale, network.layers[1].offset)))
    images = np.random.default_rng(2).uniform(-1, 1, (3, 4, 3, 1))
    defined, made = Floats(network, images, {}), Floats(lowered(network), images, {})
    np.testing.assert_allclose(made.logits, defined.logits, rtol=0, atol=2e-14)
    assert np.ptp(defined.logits) > 1


def test_integers_are_near_the_float_network(make_network):
    """The reference's logits, in units of its classifier, beside the definition's in float64: the patches' weights have 8 bits."""
    network = small(make_network)
    integers = quantise(network, Precision(head_bits=14))
    image = np.random.default_rng(2).uniform(-1, 1, (4, 3))
    found, exact = run(integers, integers.quantise_image(image)), Floats(network, image[None, :, :, None], {}).logits[0]
    spikes, norm, planes, classifier = integers.layers[1:]
    assert [type(x) for x in (spikes, norm, planes, classifier)] == [IntSynapse, IntLayerNorm, IntPlanes, IntSynapse]
    unit = 127 / np.abs(network.layers[2].weight * network.layers[1].scale).max()
    unit *= 12 * 8 * 2.0**norm.exponent / 2.0**planes.right_shift
    assert np.abs(found.logits / unit - exact).max() < 0.05 < 0.05 * np.ptp(exact)
    assert np.array_equal(found.inputs["norm.normalised"], norm.values(found.inputs["norm"]))
    assert np.array_equal(planes.norm, np.stack((network.layers[1].scale, network.layers[1].offset)))


def test_floors_are_given_back(make_network):
    """In the classifier's bias: half a unit of its operand, and half a unit of each of the 96 results that it is the sum of."""
    network = small(make_network)
    norm, planes, classifier = quantise(network, Precision(head_bits=12)).layers[2:]
    assert planes.right_shift == 13  # so that those of the results are 1 / 170 of a unit
    last, weight = network.layers[2], classifier.weight[:, :, 0, 0].astype(int)
    unit = 127 / np.abs(last.weight * network.layers[1].scale).max() * 96 * 2.0**norm.exponent / 2**13
    bias = (last.bias + last.weight @ network.layers[1].offset) * unit
    assert np.array_equal(classifier.bias, np.rint(bias + (0.5 + 0.5 * 96 / 2**13) * weight.sum(1)))
    assert np.abs(weight.sum(1)).max() > 170  # and not rounded away everywhere


def test_its_sums_are_proven(make_network):
    integers = quantise(small(make_network), Precision())
    norm = integers.layers[2]
    bounds = Bounds(Precision())
    bounds.synapse(integers.layers[1], 1)
    _, greatest = quantise_layer_norm("norm", norm.shape, *bounds.streams["norm"], 96, 16, 24)
    assert integers.bounds["norm"] == integers.bounds["norm.normalised"] == (96 * greatest).bit_length() + 1 <= 24


def test_the_farthest_distance_sets_the_first_shift():
    """Two channels, of -1..4 and -3..3: 4 + 3 = 7 fits an operand of 4 bits, 5 + 3 = 8 does not."""
    low = np.array([-1, -3])
    shifts = [quantise_layer_norm("l", Map(1, 1, 2), low, np.array([top, 3]), 1, 4, 16)[0].shifts[0] for top in (4, 5)]
    assert shifts == [0, 1]


@pytest.mark.parametrize(
    "last",
    [
        lambda layers: (layers[0], replace(layers[1], reduce=False, neuron=IF_HALF, spikes="t"), replace(layers[2], source="t")),
        lambda layers: (layers[0], replace(layers[1], reduce=False), replace(layers[1], name="again", source="norm"), layers[2]),
        lambda layers: (layers[0], replace(layers[1], neuron=IF_HALF, spikes="t"), layers[2]),
        lambda layers: (*layers[:2], replace(layers[1], kind=BATCH, name="again", source="norm"), layers[2]),
    ],
    ids=["a neuron behind it", "a norm behind it", "a neuron beside the classifier", "a norm beside the classifier"],
)  # fmt: skip
def test_elsewhere_it_is_refused_by_name(make_network, last):
    network = small(make_network, last=last)
    with pytest.raises(ArchsimError, match="layer 'norm': not mapped yet: a layer norm elsewhere than right before .*;"):
        require_mapped(network)
    assert "elsewhere than right before the classifier" in refusals(network)["norm"]


def test_a_chip_without_a_normaliser_is_refused(make_network):
    with pytest.raises(
        ArchsimError,
        match="layer 'norm': a layer norm, .* normaliser_operand_bits 16, given 'small' with 0; .*small_normaliser.*set",
    ):
        schedule(quantise(small(make_network), Precision()), load_chip("small"))


def test_a_chip_of_other_operands_is_refused(make_network):
    network = quantise(small(make_network), Precision(operand_bits=12))
    with pytest.raises(ArchsimError, match="normaliser_operand_bits 12, given 'small_normaliser' with 16; .*_bits: 12'"):
        schedule(network, CHIP)


def test_a_chip_whose_rows_it_does_not_fill_is_refused(make_network):
    with pytest.raises(ArchsimError, match="layer 'norm': a layer norm over 18 channels, .* holds 4 in a row; required whole"):
        schedule(quantise(small(make_network, channels=18), Precision()), CHIP)


def test_instructions_of_two_cores(make_network):
    """20 channels: a word of 4 blocks and one of 1; 12 positions of 8 steps, 6 of them in each core."""
    program = schedule(quantise(small(make_network, channels=20), Precision()), CHIP)
    fields = [head for head in decode(program)[sequencer.NORMALISER] if head["opcode"] == sequencer.NORMALISE]
    assert [head["core"] for head in fields] == [0, 1]
    names = ("base", "tokens", "token_rows", "steps", "step_rows", "words", "word_rows", "blocks", "last_blocks", "elements")
    assert {tuple(head[name] for name in names) for head in fields} == {(0, 6, 32, 8, 4, 2, 192, 4, 1, 20)}
