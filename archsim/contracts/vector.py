"""Vector unit: scales, tables, sums, reciprocals and roots of rows of P integers, without a multiplier; not spike-driven.

A row of P elements comes with its operation, and leaves as a row ``y`` of as many. Two registers live from row to row: ``total``,
a sum over rows, and ``scalar``, an operand. With ``v`` as below, ``sat`` the nearest value of ``membrane_bits`` bits (two's
complement) and ``>>`` arithmetic (floor), ``y[p] = sat(v[p] + bias[p])``:

* SCALE: ``v[p] = (x[p] * d[p] - center * total) >> shift``. The operand d[p] is the row's ``constant[p]``, or ``scalar``, or x[p]
  itself, saturated to ``operand_bits``. It is used in canonical signed digits (of two neighbours one is 0): the ``digits`` highest
  places where any element of the row has a digit, the others as 0. So 2 applies a gate of at most two powers of two.
* TABLE: ``v[p]`` is the table's entry for ``x[p] >> shift``, which is saturated to ``table_bits`` bits; entry 0 is the least's.
* RECIPROCAL: ``v[0] = 2^shift / total`` (floor), at most the greatest value of ``membrane_bits``, which also stands for a total of
  0 or less. All other v are 0.
* ROOT: ``v[0]`` is the square root of ``total`` (floor), 0 for a negative one. All other v are 0.

Then, whatever the operation: with ``accumulate``, the sum of the row y is added to ``total`` (to 0 with ``first``), saturating at
``sum_bits``; with ``keep``, ``scalar`` becomes y[0], saturated to ``operand_bits``. Both are 0 after a reset.

Every value that exceeds its width saturates; nothing wraps. A sum of n elements never saturates if
``sum_bits >= membrane_bits + ceil(log2(n))``.

* Softmax: TABLE of the exponential, accumulating; RECIPROCAL, keeping; SCALE of the exponentials by the scalar.
* Layer norm of N elements: SCALE by 1, accumulating; SCALE by N with ``center`` (N x - sum is N times the distance from the mean);
  SCALE of those by themselves, accumulating; ROOT, accumulating with ``first``; RECIPROCAL, keeping; SCALE by the scalar. Gains and
  sqrt(N) fold into the weights or constants behind it.
* Batch norm that does not fold (per token, or on a residual path): SCALE by constants, with a bias.
* Gate of an expert: SCALE by it as the constant, with 2 digits.

Timing. A row accepted in cycle t is decoded in t+1 and works from t+2 on, as many cycles as the laws below say (TABLE none). It is
finished in the cycle after the last of them, at the earliest in that in which the row before is taken, and offered in the next.
The next row is accepted from the cycle on in which this one is finished.
"""

from dataclasses import dataclass
from functools import cached_property
from math import isqrt
from typing import Any

from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.law import Form
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.sram import SramParams

SCALE, TABLE, RECIPROCAL, ROOT = 0, 1, 2, 3
"""Operations."""

CONSTANT, SCALAR, SQUARE = 0, 1, 2
"""Operands of SCALE: the row's constants, the scalar, the elements themselves (3 is read as 2)."""

DECODE, FINISH = 2, 1
"""Cycles from the acceptance of a row to its first cycle of work (or to its finish), and from its finish to its offer."""

ALL_DIGITS = 31
"""``digits`` that uses every digit."""


@dataclass(frozen=True)
class VectorParams:
    """Sizes of a vector unit.

    Attributes:
        elements: P, elements of a row (1..64).
        membrane_bits: bits of an element, a bias and a table entry, two's complement (4..24).
        operand_bits: bits of an operand, two's complement (2..membrane_bits).
        sum_bits: bits of the total, two's complement (membrane_bits + 1 .. 2 * membrane_bits - 1: a root fits an element).
        table_bits: the table has 2^table_bits entries (1..12, at most membrane_bits).
    """

    elements: int
    membrane_bits: int
    operand_bits: int
    sum_bits: int
    table_bits: int

    def __post_init__(self) -> None:
        """Check ranges and relations."""
        if not 1 <= self.elements <= 64:
            raise ArchsimError(f"vector unit: elements must be in 1..64, given {self.elements}")
        if not 4 <= self.membrane_bits <= 24:
            raise ArchsimError(f"vector unit: membrane_bits must be in 4..24, given {self.membrane_bits}")
        limits = {
            "operand_bits": (2, self.membrane_bits),
            "sum_bits": (self.membrane_bits + 1, 2 * self.membrane_bits - 1),
            "table_bits": (1, min(12, self.membrane_bits)),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ArchsimError(
                    f"vector unit: {name} must be in {low}..{high} for membranes of {self.membrane_bits} bits, "
                    f"given {getattr(self, name)}"
                )

    @property
    def product_bits(self) -> int:
        """Bits of a product less the total, and of every partial one."""
        return max(self.membrane_bits + self.operand_bits, self.sum_bits) + 1

    @property
    def root_bits(self) -> int:
        """Bits of a root: half of those of the total without its sign, rounded up."""
        return root_cycles(self.sum_bits)

    @cached_property
    def table(self) -> SramParams:
        """The table; each element reads a copy of its own."""
        return SramParams(1 << self.table_bits, self.membrane_bits)

    @cached_property
    def i(self) -> Layout:
        """Input payload: a row and what to do with it."""
        return Layout.of("vector_row", [
            Field("op", 2), Field("x", self.membrane_bits, True, self.elements),
            Field("constant", self.operand_bits, True, self.elements),
            Field("bias", self.membrane_bits, True, self.elements), Field("shift", 6), Field("operand", 2),
            Field("digits", 5), Field("center", 1), Field("accumulate", 1), Field("first", 1), Field("keep", 1),
            Field("last", 1),
        ])  # fmt: skip

    @cached_property
    def i_weight(self) -> Layout:
        """Load port (always ready): an entry of the table; not while a row is in the unit."""
        return Layout.of(
            "table_write", [Field("row", self.table.address_bits), Field("data", self.membrane_bits, True)]
        )

    @cached_property
    def o(self) -> Layout:
        """Output payload: the row y, and ``last`` as it came."""
        return Layout.of("vector_result", [Field("y", self.membrane_bits, True, self.elements), Field("last", 1)])

    @cached_property
    def state(self) -> Layout:
        """Retired state: the two registers."""
        return Layout.of(
            "vector_state", [Field("total", self.sum_bits, True), Field("scalar", self.operand_bits, True)]
        )


LAW = Form(
    ("rows", "additions"),
    ("cycles", "cycles register_bits", "rows", "rows elements product_bits", "rows elements operand_bits product_bits",
     "additions product_bits"),
    ("1", "register_bits", "elements product_bits"),
    lambda params: {
        "register_bits": params.elements * (3 * params.membrane_bits + 3 * params.operand_bits + params.product_bits)
        + 2 * params.sum_bits + params.membrane_bits + 2 * params.operand_bits,
        "product_bits": params.product_bits,
    },
)  # fmt: skip
"""Laws of energy and area. Counts: rows, digits of constants that are added to an element.

register_bits: of each element row, bias and result, constant and digits (three operands' worth), product; of all the total, its
remainder, scalar and quotient. What a row takes beside its additions goes with the network that moves an element to the place of
a digit: as many places of a product as an operand has bits.
"""


def scale_cycles(places: int, digits: int, center: int) -> int:
    """Law: cycles of work of SCALE, from the places where any element of the row has a digit."""
    return min(places, digits) + center


def reciprocal_cycles(shift: int) -> int:
    """Law: cycles of work of RECIPROCAL, one a bit of 2^shift."""
    return shift + 1


def root_cycles(sum_bits: int) -> int:
    """Law: cycles of work of ROOT, one for two of the total's bits below its sign, rounded up."""
    return sum_bits // 2


def saturated(value: int, bits: int) -> int:
    """The nearest value of ``bits`` bits, two's complement."""
    half = 1 << (bits - 1)
    return min(max(value, -half), half - 1)


def plus(operand: int) -> int:
    """Places of the digits +1 of an operand (Prodinger 2000: the bits in which 3/2 and 1/2 of it differ, where 3/2 has a 1)."""
    half = operand >> 1
    return (operand + half) & ~half


def minus(operand: int) -> int:
    """Places of the digits -1 of an operand."""
    half = operand >> 1
    return half & ~(operand + half)


def table_row(x: int, shift: int, table_bits: int) -> int:
    """Row of the table for an element."""
    half = 1 << (table_bits - 1)
    return min(max(x >> shift, -half), half - 1) + half


def reciprocal_step(remainder: int, result: int, first: int, total: int, bits: int) -> tuple[int, int]:
    """Remainder and quotient (saturated to ``bits`` bits) after one bit of 2^shift, which is 1 in the ``first`` step alone."""
    remainder = 2 * remainder + first
    digit = 1 if remainder >= total else 0
    return remainder - digit * total, min(2 * result + digit, (1 << (bits - 1)) - 1)


def root_step(remainder: int, result: int, pair: int) -> tuple[int, int]:
    """Remainder and root after two more bits of the total."""
    remainder = 4 * remainder + pair
    trial = 4 * result + 1
    return (remainder - trial, 2 * result + 1) if remainder >= trial else (remainder, 2 * result)


def signed_digits(operand: int) -> dict[int, int]:
    """Digits +1 and -1 of an integer by their places, from the lowest: each makes what is left divisible by 4."""
    digits, place = {}, 0
    while operand:
        if operand % 2:
            digits[place] = 2 - operand % 4
            operand -= digits[place]
        operand, place = operand // 2, place + 1
    return digits


def reference(params: VectorParams, table: list[int], rows: list[dict[str, Any]]) -> tuple[list[list[int]], int, int]:
    """The rows y, total and scalar of rows by field of ``params.i`` (lists even where P = 1), in exact integers; no time."""
    total = scalar = 0
    results = []
    for row in rows:
        divisor, half = 2 ** row["shift"], 2**params.table_bits // 2
        values = [0] * params.elements
        if row["op"] == SCALE:
            operands = [row["constant"], [scalar] * params.elements, row["x"], row["x"]][row["operand"]]
            digits = [signed_digits(saturated(operand, params.operand_bits)) for operand in operands]
            places = sorted({place for element in digits for place in element}, reverse=True)[: row["digits"]]
            for p, element in enumerate(digits):
                operand = sum(element.get(place, 0) * 2**place for place in places)
                values[p] = (row["x"][p] * operand - row["center"] * total) // divisor
        elif row["op"] == TABLE:
            values = [table[max(0, min(2 * half - 1, x // divisor + half))] for x in row["x"]]
        elif row["op"] == RECIPROCAL:
            top = 2 ** (params.membrane_bits - 1) - 1
            values[0] = min(divisor // total, top) if total > 0 else top
        else:
            values[0] = isqrt(max(total, 0))
        y = [saturated(value + bias, params.membrane_bits) for value, bias in zip(values, row["bias"], strict=True)]
        if row["accumulate"]:
            total = saturated(sum(y) + (0 if row["first"] else total), params.sum_bits)
        if row["keep"]:
            scalar = saturated(y[0], params.operand_bits)
        results.append(y)
    return results, total, scalar


def corners() -> list[VectorParams]:
    """Parameter sets at the ends of the ranges; in the small ones every value saturates soon."""
    return [
        VectorParams(1, 4, 2, 5, 1), VectorParams(3, 4, 4, 7, 4), VectorParams(2, 8, 8, 9, 3),
        VectorParams(5, 24, 24, 47, 2), VectorParams(4, 20, 12, 32, 8),
    ]  # fmt: skip
