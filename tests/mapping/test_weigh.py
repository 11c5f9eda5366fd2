"""Is the weight of an expert's result the softmax of its score, within what a table and two signed digits allow, and at most 1?"""

import numpy as np
import pytest

from archsim.contracts.common.errors import ArchsimError
from mapping.quantise import Precision, quantise
from mapping.weigh import DIGITS, FRACTION, ONE, TABLE_BITS, weigh
from tests.mapping.conftest import EXPERT_CHIP, expert_network, map_experts


def softmax(scores, factor):
    """The greatest of the softmax of each token, in floats."""
    exponentials = np.exp((scores - scores.max(1, keepdims=True)) / factor)
    return 1 / exponentials.sum(1)


@pytest.mark.parametrize("factor", [0.4, 3.0, 40.0, 127.0, 2500.0, 1e5])
def test_a_weight_is_the_softmax_within_an_eighth(factor):
    """Two signed digits are within an eighth (2/3 becomes 3/4); a unit of 2 ** -FRACTION and the table's steps come to that."""
    scores = np.rint(np.random.default_rng(3).normal(0, 2 * factor, (500, 4))).astype(np.int64)
    found = weigh(factor, 24)
    weights = found.weights(scores, 24) / 2**FRACTION
    step = 2.0**found.shift / factor
    assert (np.abs(weights / softmax(scores, factor) - 1) <= 0.125 + 2.0 ** -(FRACTION - 2) + step / 2).all()
    assert weights.max() <= 1 and weights.min() >= 0.21
    assert {bin(int(3 * weight) ^ int(weight)).count("1") for weight in weights * 2**FRACTION} <= set(range(1, DIGITS + 1))


def test_a_table_by_hand():
    """One unit of a score for each 1 of the exponent: exp(-k) in units of 1 / 4096, one entry a score."""
    found = weigh(1.0, 24)
    assert found.shift == 0 and len(found.table) == 1 << TABLE_BITS
    assert found.table[-1:-5:-1].tolist() == [4096, 1507, 554, 204] and found.table[-10] == 1 and not found.table[:-10].any()
    # Scores 0, -1: 4096 / 5603 of 256 is 187 = 256 - 64 - 4 - 1, of which two digits are 192.
    assert found.weights(np.array([[5, 4], [9, -90], [2, 2]]), 24).tolist() == [192, 256, 128]


def test_the_last_entry_is_the_best_score_alone_and_the_first_none():
    for factor in (1e-6, 5.0, 1e4, 1e30):
        found = weigh(factor, 24)
        assert (found.table[0], found.table[-1]) == (0, 1 << ONE)
        assert (np.diff(found.table) >= 0).all()
        assert found.fields()["offset"] < 1 << 24


def test_a_chip_with_a_larger_table_takes_the_same_entries_between_zeros():
    chip = EXPERT_CHIP.replace(normaliser_operand_bits=12, normaliser_table_bits=10)
    found = weigh(20.0, 24)
    rows = found.rows(chip)
    values = rows.astype(np.int64) @ (1 << 8 * np.arange(rows.shape[1]))
    assert np.array_equal(values[384:640], found.table) and not values[:384].any() and not values[640:].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "normaliser_operand_bits of 10 or more, given chip 'expert_chip' with 0"),
        ({"normaliser_operand_bits": 9}, "normaliser_operand_bits of 10 or more, .* with 9"),
        ({"normaliser_operand_bits": 10, "normaliser_table_bits": 7}, "normaliser_table_bits of 8 or more, .* with 7"),
    ],
)
def test_a_chip_that_cannot_weigh_is_refused_by_name(changes, message):
    with pytest.raises(ArchsimError, match=f"layer 'moe0': a softmax weighs its experts, which needs a chip with {message}"):
        map_experts(EXPERT_CHIP.replace(**changes), expert_network(0, softmax=True, choices=1))


def test_weighed_results_keep_the_bounds():
    precision = Precision(8, 8, 12, 24)
    plain, weighed = (quantise(expert_network(2, softmax=on, choices=1), precision) for on in (False, True))
    assert weighed.bounds == plain.bounds
    assert next(x for x in weighed.layers if x.name == "moe0").weigh is not None
