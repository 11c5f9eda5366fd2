"""What an access, a bank's leakage and its area are: a table of runs of CACTI over size and width, and interpolation in it.

CACTI gives a bank one of many organisations (how many subarrays, how many words in a row of one). Within one a figure is nearly a
straight line over the size; from one to the next it jumps. The table holds both sides of every jump that was found, for each width
that CACTI takes (whole bytes), so that the law between two runs is a straight line.
"""

import csv
import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from archsim.energy.coefficients import Reading, by_capacity, single

FILE, HELD, OTHER = "sram.csv", "sram_held.csv", "sram_other.csv"
"""The table in this package, runs that judge it, and runs of arrays and of other devices; their heads say how they were made."""

DEVICE = "itrs-lstp"
"""Device of cells and periphery that the energy model takes: low standby power."""

LEAST_BITS = 8
"""Fewest bits of an access in the table; fewer cost as much, since the lines of a row dominate."""


@dataclass(frozen=True)
class Run:
    """One run of CACTI: device, capacity of all banks in bytes, bits of an access, banks; pJ, mW of a bank, mm2 of all banks.

    A line of the files, in the order of their columns.
    """

    device: str
    size: int
    bits: int
    banks: int
    read_pj: float
    write_pj: float
    leakage_mw: float
    area_mm2: float


FIGURES: dict[str, tuple[str, Callable[[Run], float]]] = {
    "read": ("pJ", lambda run: run.read_pj), "write": ("pJ", lambda run: run.write_pj),
    "leakage": ("mW", lambda run: run.leakage_mw), "area": ("mm2", lambda run: run.area_mm2),
}  # fmt: skip
"""What the table tells of a bank, with its unit."""


@cache
def runs(device: str = DEVICE, file: str = FILE) -> tuple[Run, ...]:
    """The runs of a device."""
    text = files("archsim.energy").joinpath(file).read_text(encoding="utf-8")
    _, *rows = csv.reader(line for line in text.splitlines() if not line.startswith("#"))
    return tuple(Run(own, *map(int, row[:3]), *map(float, row[3:])) for own, *row in rows if own == device)


@cache
def table(file: str = FILE) -> dict[int, tuple[Run, ...]]:
    """The runs of one bank of `DEVICE` by width; those of a width by their sizes."""
    found: dict[int, list[Run]] = {}
    for run in sorted((run for run in runs(file=file) if run.banks == 1), key=lambda run: (run.bits, run.size)):
        found.setdefault(run.bits, []).append(run)
    return {bits: tuple(of_width) for bits, of_width in found.items()}


@cache
def bank(figure: str, size: float, bits: int) -> Reading:
    """A figure of `FIGURES` of one bank.

    Args:
        figure: ``read`` or ``write`` (of one access), ``leakage``, ``area``.
        size: capacity of the bank, bytes.
        bits: bits of an access; for leakage and area those of a row.

    The range is that of the cited points of the same capacity (``sram_*`` of the table of coefficients), in proportion.
    """
    unit, of = FIGURES[figure]
    width, among = max(bits, LEAST_BITS), table()
    value = interpolated(size, width, of, among)
    about = f"{size:g} bytes, {bits} bits"
    if any(run.size == size for run in among.get(width, ())):
        law = f"{about}: a run of CACTI ({FILE})"
    else:
        law = f"{about}: between runs of CACTI ({FILE})"
    outside = width > max(among) or any(
        not among[used][0].size <= size <= among[used][-1].size for used in neighbours(width, among)
    )
    ends = _ends(figure, size)
    factors = ends.low / ends.value, ends.high / ends.value
    if outside:  # assumed: half to twice as much beside the range of what is inside
        law, factors = f"{law}, EXTRAPOLATED: outside of every run", (factors[0] / 2, factors[1] * 2)
    return Reading(value, unit, law, ends.entries, value * factors[0], value * factors[1], outside)


def _ends(figure: str, size: float) -> Reading:
    """The cited points of a capacity, whose range is taken; the nearest one beyond the last."""
    if figure == "leakage":
        return single("sram_leakage_32k")
    return by_capacity("sram_area" if figure == "area" else "sram_read", size)


def neighbours(bits: float, among: Mapping[int, Sequence[Run]]) -> tuple[int, ...]:
    """The widths that a width lies between: itself where it has runs; beyond the widest, that one and the one half as wide."""
    widths = sorted(among)
    index = bisect_left(widths, bits)
    if index == len(widths):
        return widths[bisect_left(widths, widths[-1] / 2)], widths[-1]
    return (widths[index],) if widths[index] == bits else (widths[index - 1], widths[index])


def interpolated(size: float, bits: float, of: Callable[[Run], float], among: Mapping[int, Sequence[Run]]) -> float:
    """A figure of one bank, as ``of`` takes it from a run.

    Args:
        size: capacity, bytes.
        bits: bits of an access, not fewer than the least width of ``among``.
        of: which figure.
        among: the runs to use by width, by size within a width; at least two of each.

    Of widths without runs: on logarithmic axes between the two beside it.
    """
    ends = [(float(width), over_size(among[width], size, of)) for width in neighbours(bits, among)]
    return ends[0][1] if len(ends) == 1 else power(ends[0], ends[1], bits)


def over_size(own: Sequence[Run], size: float, of: Callable[[Run], float]) -> float:
    """A figure at a size in bytes, from runs of one width by size: a straight line between two runs.

    Outside of the runs, the slope on logarithmic axes of the last half octave goes on.
    """
    first, last = own[0].size, own[-1].size
    if not first <= size <= last:
        half = math.sqrt(2)
        end, inner = (first, min(first * half, last)) if size < first else (last, max(last / half, first))
        return power((inner, over_size(own, inner, of)), (end, over_size(own, end, of)), max(1.0, size))
    index = max(1, bisect_left(own, size, key=lambda run: run.size))
    low, high = own[index - 1], own[index]
    share = (size - low.size) / (high.size - low.size)
    return of(low) * (1 - share) + of(high) * share


def power(one: tuple[float, float], other: tuple[float, float], x: float) -> float:
    """The value at x of the straight line on logarithmic axes through two points."""
    (low, first), (high, second) = one, other
    return first * (x / low) ** (math.log(second / first) / math.log(high / low))
