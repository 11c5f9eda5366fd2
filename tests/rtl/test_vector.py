"""Is the vector unit's Verilog the law and the stepped model, on every bit and in every cycle?"""

import numpy as np
import pytest

from archsim.contracts import vector as contract
from archsim.contracts.vector import ALL_DIGITS, RECIPROCAL, ROOT, SCALAR, SCALE, SQUARE, TABLE, VectorParams
from archsim.stepped import vector as stepped
from archsim.units import vector as fast
from rtl.units.vector import VectorUnit
from tests.rtl import driver
from tests.rtl.bench import STALLS, Case, compare, pack, require_same, words_of
from tests.rtl.late import Late
from tests.rtl.levels import Cocotb, Mass, component_library

WIDE = ("x", "constant", "bias")
FLAGS = ("center", "accumulate", "first", "keep", "last")


def make(params, table, rows, gaps, ready):
    """A case of these rows (arrays by field) with its expectation: the law's, which must be the stepped model's."""
    law, model = (module.run(params, table, rows, gaps, ready) for module in (fast, stepped))
    case = Case(
        constants={}, load=pack(params.i_weight, {"row": np.arange(len(table)), "data": table}),
        noise=np.zeros((0, 1), np.uint64), payload=pack(params.i, rows), gaps=gaps, ready=ready, accepted=law.accepted,
        output=pack(params.o, {"y": law.y, "last": rows["last"]}), transferred=law.transferred,
        state=words_of(params.state.pack(law.state), params.state.width),
    )  # fmt: skip
    return require_same(law, model, case)


def draw(rng, bits, *shape):
    """Values of ``bits`` bits: any, near 0, or at the rails."""
    half = 1 << (bits - 1)
    small = rng.integers(-min(half, 4), min(half, 4), shape)
    rails = rng.choice([-half, -half + 1, -1, 0, 1, half - 2, half - 1], shape)
    kinds = rng.integers(0, 3, shape)
    return np.select([kinds == 0, kinds == 1], [small, rails], rng.integers(-half, half, shape))


def random_table(params, rng):
    """Entries of the table."""
    return draw(rng, params.membrane_bits, 1 << params.table_bits)


def random_rows(params, rng, count):
    """Rows of every operation, in any order, with any mark; the shifts as often within the widths as beyond."""
    elements, widths = params.elements, (params.membrane_bits, params.operand_bits, params.membrane_bits)
    rows = {name: draw(rng, bits, count, elements) for name, bits in zip(WIDE, widths, strict=True)}
    rows["bias"] *= rng.random((count, 1)) < 0.5
    rows["op"] = rng.choice([SCALE, TABLE, RECIPROCAL, ROOT], count, p=[0.6, 0.15, 0.15, 0.1])
    rows["shift"] = np.where(
        rng.random(count) < 0.5, rng.integers(0, 64, count), rng.integers(0, params.membrane_bits, count)
    )
    rows["operand"] = rng.integers(0, 4, count)
    rows["digits"] = np.where(rng.random(count) < 0.6, ALL_DIGITS, rng.integers(0, 6, count))
    chances = {"center": 0.2, "accumulate": 0.6, "first": 0.3, "keep": 0.3, "last": 0.1}
    return rows | {name: (rng.random(count) < chances[name]).astype(np.int64) for name in FLAGS}


def rows_of(params, **columns):
    """Rows of SCALE by 0 but for ``columns``, arrays [rows] or numbers, the same in all elements of a row."""
    count = max(np.size(column) for column in columns.values())
    rows = {name: np.zeros((count, params.elements), np.int64) for name in WIDE}
    rows |= {name: np.zeros(count, np.int64) for name in ("op", "shift", "operand", *FLAGS)}
    rows["digits"] = np.full(count, ALL_DIGITS)
    for name, column in columns.items():
        rows[name][:] = np.reshape(column, (-1, 1)) if name in WIDE else column
    return rows


def joined(*parts):
    """Rows one part behind the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def corner_rows(params):
    """Both rails of every value: products, sums, operands, table rows, quotients and roots, and the ends of the shift."""
    half, limit = 1 << (params.membrane_bits - 1), 1 << (params.operand_bits - 1)
    rails = np.array([-half, half - 1])
    x, constant = (grid.ravel() for grid in np.meshgrid(rails, [-limit, -1, 0, 1, limit - 1]))
    products = [rows_of(params, x=x, constant=constant, shift=shift) for shift in (0, 1, params.operand_bits, 63)]
    biased = rows_of(params, x=x, constant=constant, bias=rails[np.arange(len(x)) % 2])
    squares = rows_of(params, x=[*rails, 3, -3], operand=SQUARE, shift=params.operand_bits - 1)
    table = rows_of(
        params, x=np.repeat([*rails, 0, -1], 4), shift=np.tile([0, 1, params.membrane_bits, 63], 4), op=TABLE
    )
    parts = [*products, biased, squares, table]
    # The total's rails, as soon as they are reached and one row longer; below and at them the quotients, roots and centers.
    count = 2 + -(-(1 << (params.sum_bits - params.membrane_bits)) // params.elements)
    for value in rails if count < 100 else []:
        parts.append(rows_of(params, x=np.full(count, value), constant=1, accumulate=1))
        parts.append(after_total(params))
        parts.append(rows_of(params, x=0, first=1, accumulate=1))
    for value in (0, 1, 2, 3, -1, half - 1, -half):
        first = rows_of(params, accumulate=1, first=1, x=0)
        first["bias"][0, 0] = value
        parts += [first, after_total(params)]
    return joined(*parts)


def after_total(params):
    """Quotients of every kind by the total, its root, and its use as a center; the total stays."""
    shifts = [0, 1, 2, params.membrane_bits - 2, params.membrane_bits - 1, params.sum_bits, 62, 63]
    divide = rows_of(params, op=RECIPROCAL, shift=shifts, keep=1)
    root = rows_of(params, op=ROOT, keep=[0, 1])
    center = rows_of(params, center=1, x=1, constant=[0, 1, 0], shift=[0, 0, 63])
    scalar = rows_of(params, operand=SCALAR, x=[1, -1, 2], digits=[ALL_DIGITS, 1, 0], shift=[0, 1, 0])
    return joined(divide, scalar, root, scalar, center)


class VectorCases:
    unit = "vector"
    sets = contract.corners()

    def corners(self, params, stalls, rng):
        """Every value at both rails."""
        yield self.case(params, corner_rows(params), stalls, rng)

    def random(self, params, stalls, rng, transactions):
        return self.case(params, random_rows(params, rng, transactions), stalls, rng)

    @staticmethod
    def case(params, rows, stalls, rng):
        count = len(rows["op"])
        return make(params, random_table(params, rng), rows, stalls.gaps(rng, count), stalls.trace(rng))


class TestLibrary(VectorCases, Mass):
    def test_a_run_that_ends_with_any_operation(self, params, stalls):
        """The retired state after any number of rows: also where the last one has still to be added."""
        for count in range(1, 15):
            self.run(params, self.random(params, STALLS[stalls], np.random.default_rng(count), count))


class TestIcarus(VectorCases, Cocotb):
    simulator = "icarus"
    sets = [VectorCases.sets[index] for index in (0, 1, 2, 4)]  # without the widest: half a minute


class TestCocotbVerilator(VectorCases, Cocotb):
    simulator = "verilator"
    sets = VectorCases.sets[2:3]


LATE = VectorParams(2, 8, 8, 9, 3)


def case_without_stalls(seed, count=200):
    rng = np.random.default_rng(seed)
    return random_rows(LATE, rng, count), random_table(LATE, rng), np.zeros(count, np.int64), np.ones(1, np.bool_)


@pytest.mark.parametrize("side", ["i", "o"])
def test_a_register_too_many_is_seen(side, stalls):
    case = VectorCases().random(LATE, STALLS[stalls], np.random.default_rng(4), 200)
    seen, _ = driver.run(component_library(f"late_vector_{side}", Late(VectorUnit(LATE), side)), case)
    with pytest.raises(AssertionError, match=r"^(acceptance|transfer) \d+: expected \d+, seen \d+$"):
        compare(case, seen, LATE.o)
    assert np.array_equal(case.output, seen.output)  # the bits are right: only the cycles tell


@pytest.mark.parametrize(("constant", "value"), [("DECODE", 1), ("DECODE", 3), ("FINISH", 0), ("FINISH", 2)])
def test_a_wrong_latency_of_the_law_is_seen(monkeypatch, constant, value):
    rows, table, gaps, ready = case_without_stalls(5)
    monkeypatch.setattr(contract, constant, value)
    with pytest.raises(AssertionError, match="law and stepped model differ in"):
        make(LATE, table, rows, gaps, ready)


@pytest.mark.parametrize("field", ["x", "constant", "bias", "op", "shift", "operand", "digits", *FLAGS])
def test_every_field_matters(field):
    """A run in which one field of the rows is 0 differs from the run as it is."""
    rows, table, gaps, ready = case_without_stalls(6)
    case, other = (make(LATE, table, given, gaps, ready) for given in (rows, rows | {field: 0 * rows[field]}))
    assert not np.array_equal(case.output, other.output)
