"""Does the script on layer norms measure the integers beside float64?"""

import numpy as np
import pytest

from scripts.layer_norm import WORKLOAD, Row, measure, normed, table


def test_streams_are_normed_by_token():
    """Mean 2, deviation sqrt(8 / 3); a token of equal channels has none."""
    found = normed(np.array([[0, 2, 4], [5, 5, 5]]))
    assert found.tolist() == [[pytest.approx(-(1.5**0.5)), 0.0, pytest.approx(1.5**0.5)], [0.0, 0.0, 0.0]]


def test_a_wider_operand_is_nearer():
    """8 bits hold 64 channels and little more; with 16 the error is that of the root, which has 8 bits or more."""
    floats, narrow, wide = measure(WORKLOAD, (8, 16), 2)
    assert (floats.bits, floats.alike, floats.error) == (None, 2, 0.0)
    assert (narrow.bits, wide.bits) == (8, 16)
    assert 0.001 < narrow.error < 0.1
    assert 0 < wide.error < narrow.error / 20 and wide.greatest < 0.005
    assert wide.right == floats.right and wide.alike == 2


def test_the_table():
    rows = [Row(None, 3, 4, 0.0, 0.0), Row(8, 2, 3, 0.0123, 0.4)]
    assert [line.split() for line in table(rows, 4).splitlines()[1:]] == [
        ["float64", "3/4", "4/4", "0.00000", "0.00000"], ["8", "2/4", "3/4", "0.01230", "0.40000"],
    ]  # fmt: skip
