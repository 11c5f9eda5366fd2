"""Do both models of the vector unit show the rows and cycles of its contract, and do they do what networks need of it?"""

import numpy as np
import pytest

from archsim.contracts import vector as contract
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.vector import (
    ALL_DIGITS,
    CONSTANT,
    RECIPROCAL,
    ROOT,
    SCALAR,
    SCALE,
    SQUARE,
    TABLE,
    VectorParams,
)
from archsim.stepped import vector as stepped
from archsim.units import vector as fast

ALWAYS = np.array([True])
MODELS = pytest.mark.parametrize("model", [fast, stepped], ids=["fast", "stepped"])
SMALL = VectorParams(2, 8, 8, 14, 3)
TABLE_3 = np.array([-100, -50, -10, 0, 1, 20, 60, 127])


def row(x, constant=1, bias=0, **marks):
    """A row: SCALE of ``x`` [P] by 1, with every digit, but for what is given."""
    fill = {"op": SCALE, "shift": 0, "operand": CONSTANT, "digits": ALL_DIGITS}
    flags = dict.fromkeys(("center", "accumulate", "first", "keep", "last"), 0)
    wide = {"constant": np.broadcast_to(constant, len(x)).tolist(), "bias": np.broadcast_to(bias, len(x)).tolist()}
    return {"x": list(x)} | wide | fill | flags | marks


def run(model, params, table, rows, gaps=None, ready=ALWAYS):
    """A run of rows, checked against the reference; the run."""
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    found = model.run(params, table, columns, np.zeros(len(rows)) if gaps is None else gaps, ready)
    y, total, scalar = contract.reference(params, list(map(int, table)), rows)
    assert found.y.tolist() == y
    assert found.state == {"total": total, "scalar": scalar}
    return found


# ------------------------------------------------------------------------------ values and cycles by hand


@MODELS
def test_scale(model):
    # 7 = 8 - 1: two places, -3 = -4 + 1: places 0 and 2. Together 3, 2 and 0: three. 5 * 7 >> 1 = 17, -5 * -3 >> 1 = 7.
    # 127 * 127 saturates, and its bias comes before that: 16129 >> 8 = 63, + 100. Constant 0: no work.
    rows = [
        row([5, -5], [7, -3], shift=1), row([127, -128], 127), row([127, -1], 127, 100, shift=8), row([9, 9], 0, [4, -4]),
    ]  # fmt: skip
    found = run(model, SMALL, TABLE_3, rows)
    assert found.y.tolist() == [[17, 7], [127, -128], [127, 99], [4, -4]]
    # Row 0: accepted 0, works 2 to 4, finished 5, taken 6. Row 1: accepted 5, 127 = 128 - 1 works 7 and 8, finished 9.
    # Row 2: accepted 9, finished 13. Row 3: accepted 13, finished 15.
    assert found.accepted.tolist() == [0, 5, 9, 13]
    assert found.transferred.tolist() == [6, 10, 14, 16]


@MODELS
def test_two_powers_of_two(model):
    # 107 = 128 - 16 - 4 - 1; 2 digits: 112; 1: 128; 0: 0. Beside 64 = 64, whose place 6 is the second: 128 and 64.
    rows = [row([64, 64], 107, shift=6, digits=2), row([32, 1], 107, shift=6, digits=1), row([1, 1], 107, digits=0)]
    rows.append(row([1, 1], [107, 64], shift=1, digits=2))
    found = run(model, SMALL, TABLE_3, rows)
    assert found.y.tolist() == [[112, 112], [64, 2], [0, 0], [64, 32]]
    assert np.diff(found.accepted).tolist() == [4, 3, 2]


@MODELS
def test_table(model):
    # 8 entries for -4..3: row x + 4, after the shift and the clamp. No work: a row every two cycles.
    rows = [row([-4, 3], op=TABLE), row([-100, 100], op=TABLE), row([17, -17], op=TABLE, shift=3, bias=[1, 2])]
    found = run(model, SMALL, TABLE_3, rows)
    assert found.y.tolist() == [[-100, 127], [-100, 127], [61, -48]]
    assert found.accepted.tolist() == [0, 2, 4]
    assert found.transferred.tolist() == [3, 5, 7]


@MODELS
def test_sum_reciprocal_root(model):
    # Total 60 + 40 = 100; 2^12 / 100 = 40 (40.96), kept; 3 * 40 >> 1 = 60 with one digit dropped: 40 = 32 + 8, 3 * 32 >> 1 = 48.
    # The root of 100 is 10; of 10 * 10 - 1 (the root is added anew, then -1): 3, as of 9.
    rows = [
        row([60, 40], accumulate=1, first=1), row([0, 0], op=RECIPROCAL, shift=12, keep=1),
        row([3, 0], operand=SCALAR, shift=1), row([3, 0], operand=SCALAR, shift=1, digits=1),
        row([0, 0], op=ROOT, bias=[-1, 0], accumulate=1, first=1), row([0, 0], op=ROOT, accumulate=1),
    ]  # fmt: skip
    found = run(model, SMALL, TABLE_3, rows)
    assert found.y.tolist() == [[60, 40], [40, 0], [60, 0], [48, 0], [9, 0], [3, 0]]
    assert found.state == {"total": 9 + 3, "scalar": 40}
    # One digit: 3 cycles. 13 bits of the dividend: 2 + 13. Two digits: 4; one: 3. Seven pairs of the total's 14 bits: 2 + 7.
    assert np.diff(found.accepted).tolist() == [3, 15, 4, 3, 9]


@MODELS
def test_division_at_the_ends(model):
    # By 0, by less, and a quotient of 8 bits or more: the greatest value. 2^6 / 1 = 64. 2^63 / 8191 is too great, 2^0 / 2 = 0.
    rows = []
    for total, shift in ((0, 3), (-5, 3), (1, 7), (1, 6), (1, 0), (2, 0), (3, 63)):
        rows += [row([total, 0], accumulate=1, first=1), row([0, 0], op=RECIPROCAL, shift=shift)]
    rows += [row([-9, 0], accumulate=1, first=1), row([0, 0], op=ROOT)]
    found = run(model, SMALL, TABLE_3, rows)
    assert found.y[1::2, 0].tolist() == [127, 127, 127, 64, 1, 0, 127, 0]


@MODELS
def test_the_total_and_the_scalar_saturate(model):
    # 14 bits: 33 rows of 254 make 8382, more than 8191; 17 rows of -256 later it is 8191 - 4352. 4 bits hold a scalar of 7.
    params = VectorParams(2, 8, 4, 14, 3)
    rows = [row([127, 127], accumulate=1)] * 33
    assert run(model, params, TABLE_3, rows).state["total"] == 8191
    rows += [row([-128, -128], accumulate=1)] * 17 + [row([100, 0], keep=1)]
    assert run(model, params, TABLE_3, rows).state == {"total": 8191 - 17 * 256, "scalar": 7}


@MODELS
def test_center_reads_the_total_of_the_row_before(model):
    # (x * 2 - 8) >> 0 with 5 and 3; the total of the second row is 2 - 2: 0, then x * 0 - 0.
    rows = [row([5, 3], accumulate=1), row([5, 3], 2, center=1, accumulate=1, first=1), row([1, 1], 0, center=1)]
    found = run(model, SMALL, TABLE_3, rows)
    assert found.y.tolist() == [[5, 3], [2, -2], [0, 0]]
    assert np.diff(found.accepted).tolist() == [3, 4]


@MODELS
def test_gaps_and_back_pressure(model):
    # Ready in cycles 3, 7, 11 ... Row 0 (no work): accepted 1, finished 3, offered 4, taken 7. Row 1: offered 2, accepted 3,
    # works in 5, finished 7, taken 11. Row 2: offered from 3 + 1 + 2 = 6, accepted 7, finished 11 at the earliest, taken 15.
    rows = [row([1, 1], 0), row([1, 1], 1), row([1, 1], 0)]
    found = run(model, SMALL, TABLE_3, rows, np.array([1, 0, 2]), np.array([False, False, False, True]))
    assert found.accepted.tolist() == [1, 3, 7]
    assert found.transferred.tolist() == [7, 11, 15]


# ------------------------------------------------------------------------------ arithmetic


def test_signed_digits():
    for operand in range(-300, 300):
        plus, minus = contract.plus(operand), contract.minus(operand)
        assert plus - minus == operand and plus & minus == 0
        assert (plus | minus) & (plus | minus) >> 1 == 0  # no neighbours
        assert contract.signed_digits(operand) == {
            place: (plus >> place & 1) - (minus >> place & 1) for place in range(12) if (plus | minus) >> place & 1
        }
    for bits in range(2, 25):  # no digit beyond the bits of the operand
        for operand in (-(1 << bits - 1), (1 << bits - 1) - 1, (1 << bits) // 3, -((1 << bits) // 3)):
            assert (contract.plus(operand) | contract.minus(operand)).bit_length() <= bits


@pytest.mark.parametrize("bits", [9, 33, 47])
def test_quotients_and_roots(bits):
    rng = np.random.default_rng(bits)
    totals = [
        *range(1, 20),
        *(1 << rng.integers(0, bits - 1, 30)),
        *rng.integers(1, 1 << bits - 1, 200),
        (1 << bits - 1) - 1,
    ]
    for total in map(int, totals):
        assert fast.root(total) ** 2 <= total < (fast.root(total) + 1) ** 2
        for shift in (0, 1, 20, 40, 61, 62, 63):
            assert fast.reciprocal(total, shift, 24) == min(2**shift // total, 2**23 - 1)
    squares = [int(value) ** 2 + off for value in rng.integers(1, 1 << (bits - 1) // 2, 100) for off in (-1, 0, 1)]
    assert all(fast.root(total) ** 2 <= total < (fast.root(total) + 1) ** 2 for total in squares if total > 0)


@MODELS
@pytest.mark.parametrize("params", contract.corners(), ids=str)
def test_random_rows(params, model):
    rng = np.random.default_rng(params.elements)
    half, limit = 1 << params.membrane_bits - 1, 1 << params.operand_bits - 1
    rows = []
    for _ in range(300):
        marks = {name: int(rng.random() < 0.4) for name in ("center", "accumulate", "first", "keep", "last")}
        marks |= {
            "op": int(rng.integers(4)),
            "operand": int(rng.integers(4)),
            "shift": int(rng.integers(0, 2 * params.membrane_bits)),
        }
        marks["digits"] = int(rng.choice([ALL_DIGITS, 0, 1, 2, 3]))
        wide = (rng.integers(-top, top, params.elements) for top in (half, limit, half))
        x, constant, bias = (values.tolist() for values in wide)
        rows.append(row(x, constant, bias, **marks))
    table = rng.integers(-half, half, 1 << params.table_bits)
    run(model, params, table, rows, rng.integers(0, 3, 300), np.append(rng.random(37) < 0.5, True))


# ------------------------------------------------------------------------------ what networks need


def test_softmax():
    """Scores of 8 bits in steps of 1/16 through a table of 256 exponentials, against the float softmax."""
    params = VectorParams(4, 20, 20, 28, 8)
    rng = np.random.default_rng(7)
    scores = rng.integers(-100, 128, 48)
    table = np.round(np.exp((np.arange(256) - 128) / 16) * 2**18 / np.exp(127 / 16)).astype(np.int64)
    blocks = scores.reshape(-1, 4).tolist()
    first = [row(block, op=TABLE, accumulate=1, first=int(number == 0)) for number, block in enumerate(blocks)]
    exponentials = run(fast, params, table, first).y
    second = [row([0] * 4, op=RECIPROCAL, shift=37, keep=1)]
    second += [row(block, operand=SCALAR, shift=21) for block in exponentials.tolist()]
    found = run(fast, params, table, first + second).y[len(first) + 1 :].ravel() / 2**16
    wanted = np.exp(scores / 16) / np.exp(scores / 16).sum()
    assert np.abs(found - wanted).max() < 5e-5  # steps of the result are 2^-16
    assert abs(found.sum() - 1) < 48 * 2**-16


def test_layer_norm():
    """The norm of 96 elements of 12 bits, as the contract says it, against the float one."""
    count, params = 96, VectorParams(8, 24, 24, 40, 1)
    x = np.random.default_rng(8).normal(100, 300, count).astype(np.int64)
    blocks = x.reshape(-1, 8).tolist()

    def passed(before, blocks, **marks):
        """The rows before and these, of which the first begins a sum if they accumulate."""
        begin = [{"first": int(number == 0 and "accumulate" in marks)} for number in range(len(blocks))]
        return before + [row(block, **marks | first) for block, first in zip(blocks, begin, strict=True)]

    def results(rows):
        return run(fast, params, [0, 0], rows).y[-len(blocks) :].tolist()

    rows = passed([], blocks, accumulate=1)
    rows = passed(rows, blocks, constant=count, center=1)
    distances = results(rows)
    rows = passed(rows, distances, operand=SQUARE, accumulate=1, shift=12)
    rows.append(row([0] * 8, op=ROOT, accumulate=1, first=1))
    rows.append(row([0] * 8, op=RECIPROCAL, shift=30, keep=1))
    rows = passed(rows, distances, operand=SCALAR, shift=14)
    # The root is sqrt(count) * deviation / 2^6, so results are in units of 2^(14 - 30 - 6) / sqrt(count).
    found = np.array(results(rows)).ravel() / 2**22 * np.sqrt(count)
    assert np.abs(found - (x - x.mean()) / x.std()).max() < 2e-3


# ------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("sizes", "text"),
    [((0, 8, 8, 9, 3), r"elements must be in 1\.\.64, given 0"), ((65, 8, 8, 9, 3), "given 65"),
     ((1, 3, 2, 4, 1), r"membrane_bits must be in 4\.\.24, given 3"), ((1, 25, 8, 30, 3), "given 25"),
     ((1, 8, 1, 9, 3), r"operand_bits must be in 2\.\.8 for membranes of 8 bits, given 1"), ((1, 8, 9, 9, 3), "given 9"),
     ((1, 8, 8, 8, 3), r"sum_bits must be in 9\.\.15 for membranes of 8 bits, given 8"), ((1, 8, 8, 16, 3), "given 16"),
     ((1, 8, 8, 9, 0), r"table_bits must be in 1\.\.8 for membranes of 8 bits, given 0"), ((1, 8, 8, 9, 9), "given 9"),
     ((1, 24, 8, 30, 13), r"table_bits must be in 1\.\.12")],
)  # fmt: skip
def test_sizes_out_of_range_are_refused(sizes, text):
    with pytest.raises(ArchsimError, match=text):
        VectorParams(*sizes)


@MODELS
def test_a_consumer_that_never_takes_is_refused(model):
    with pytest.raises(ArchsimError, match="ready"):
        run(model, SMALL, TABLE_3, [row([1, 1])], ready=np.array([False]))
