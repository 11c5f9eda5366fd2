"""Does a norm by token without a multiplier do what the norm does: exactly where its numbers allow, else as near as its classes?"""

from dataclasses import replace

import numpy as np
import pytest

from archsim.contracts import neuron
from archsim.contracts.common.errors import ArchsimError
from mapping.bounds import Bounds
from mapping.ir import Map, Synapse
from mapping.quantise import Precision
from mapping.token_norm import mantissa_classes, prove, quantise_tokens

SHAPE = Map(2, 3, 5)
RNG = np.random.default_rng(3)
FIRST = Synapse(
    "first", "s", RNG.integers(-7, 8, (5, 4, 1, 1)) / 8, RNG.integers(-3, 4, 5) / 8, spikes="t",
    token_norm=np.stack([2.0 ** np.array([0, 1, -1, 2, 0, -2]), np.arange(6) / 8 - 0.25]),
)  # fmt: skip
SECOND = replace(FIRST, name="second", stream="x", opens=True)


def sums(layer, spikes):
    """Sums in units of the membrane, of spikes [T, tokens, Cin]: [T, tokens, Cout]."""
    scale, offset = layer.token_norm[:, :, None]
    return (spikes @ layer.weight[:, :, 0, 0].T + layer.bias) * scale + offset


def integer_sums(quantised, spikes):
    weights = quantised.copies[quantised.kinds, :, :, 0, 0].astype(np.int64)
    total = np.einsum("tnc,noc->tno", spikes, weights) + quantised.bias
    return np.where(quantised.shift < 0, total * 2 ** np.maximum(-quantised.shift, 0), total // 2 ** np.maximum(quantised.shift, 0))


@pytest.fixture
def spikes():
    return np.random.default_rng(0).integers(0, 2, (4, 6, 4))


def test_a_first_layer_fires_as_if_scaled(spikes):
    """Threshold / g and offset / g: sum / threshold is the definition's, up to half a unit of weights, bias and threshold."""
    quantised = quantise_tokens(FIRST, SHAPE, 8, Precision())
    assert len(quantised.copies) == 1 and not quantised.shift.any()
    given, expected = integer_sums(quantised, spikes) / quantised.threshold, sums(FIRST, spikes) / FIRST.threshold
    units = spikes.sum(2)[:, :, None] + 1 + np.abs(expected)
    assert (np.abs(given - expected) <= 0.5 * units / quantised.threshold).all()
    assert quantised.threshold.max() > 8 * quantised.threshold.min()


def test_a_second_layer_adds_in_the_streams_units(spikes):
    """Scales that are powers of two need one copy, and lose nothing where their shift cuts no bit off."""
    quantised = quantise_tokens(SECOND, SHAPE, 8, Precision())
    assert len(quantised.copies) == 1
    assert (quantised.threshold == 1 << 8).all()
    assert np.array_equal(integer_sums(quantised, spikes), sums(SECOND, spikes) * 2**8)
    assert len({tuple(shift) for shift in quantised.shift}) == 5  # tokens of one exponent share theirs


def test_more_classes_come_nearer(spikes):
    scale = np.random.default_rng(1).uniform(0.5, 2.0, 6)
    layer = replace(SECOND, token_norm=np.stack([scale, np.zeros(6)]))
    errors = []
    for classes in (1, 2, 4, 6):
        quantised = quantise_tokens(layer, SHAPE, 12, Precision(), classes)
        assert len(quantised.copies) <= classes
        errors.append(np.abs(integer_sums(quantised, spikes) / 2**12 - sums(layer, spikes)).max())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.02 < errors[0]


@pytest.mark.parametrize("classes", [1, 2, 3, 4, 8])
def test_classes_of_mantissas(classes):
    """As few as asked for, exact where they are enough, and never further than the widest class that evenly cut octaves have."""
    scale = np.random.default_rng(classes).uniform(0.1, 10, 50)
    mantissas, kinds = mantissa_classes(scale, classes)
    assert len(mantissas) <= classes and set(kinds) == set(range(len(mantissas)))
    rest = np.log2(scale / mantissas[kinds])
    assert np.abs(rest - np.rint(rest)).max() <= 0.5 / classes
    again, _ = mantissa_classes(scale * 2.0 ** np.random.default_rng(0).integers(-3, 4, 50), classes)
    np.testing.assert_allclose(again, mantissas, rtol=2e-15)


def test_enough_classes_are_exact():
    scale = np.array([0.75, 3.0, 1.1, 0.55, 1.7])
    mantissas, kinds = mantissa_classes(scale, 3)
    assert len(mantissas) == 3
    rest = np.log2(scale / mantissas[kinds])
    np.testing.assert_allclose(rest, np.rint(rest), rtol=0, atol=2e-15)


def test_scales_that_meet_around_the_octave_share_a_class():
    mantissas, kinds = mantissa_classes(np.array([0.99, 1.01, 1.4]), 2)
    assert kinds[0] == kinds[1] != kinds[2]
    assert len(mantissas) == 2


def test_the_proof_covers_every_token(spikes):
    """The greatest sum of any token, with its own copy, bias and shift, is within the bound; one token more could break it."""
    bounds, quantised = Bounds(Precision()), quantise_tokens(SECOND, SHAPE, 8, Precision())
    prove(quantised, bounds)
    low, high = bounds.streams["x"]
    found = integer_sums(quantised, np.random.default_rng(2).integers(0, 2, (200, 6, 4)))
    assert (low <= found.min((0, 1))).all() and (found.max((0, 1)) <= high).all()
    huge = replace(quantised, bias=quantised.bias + (np.arange(6) == 4)[:, None] * (1 << 23))
    with pytest.raises(ArchsimError, match="layer 'second': its biased sum can reach"):
        prove(huge, Bounds(Precision()))


@pytest.mark.parametrize("scale", [[1, 1, 1, 1, 1, -0.5], [1, 1, 1]])
def test_a_scale_that_is_not_positive_is_refused(scale):
    layer = replace(FIRST, token_norm=np.stack([np.array(scale, float), np.zeros(len(scale))]))
    with pytest.raises(ArchsimError, match="layer 'first': a norm by token needs a positive scale for each of 6 tokens"):
        quantise_tokens(layer, SHAPE, 8, Precision())


def test_a_layer_as_a_token_sees_it():
    quantised = quantise_tokens(SECOND, SHAPE, 8, Precision())
    token = quantised.token(3)
    assert (token.kind, token.stream, token.opens, token.spikes) == (neuron.LIF, "x", True, "t")
    assert np.array_equal(token.shift, quantised.shift[3]) and np.array_equal(token.weight, quantised.copies[0])
