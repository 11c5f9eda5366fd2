"""What an access, a bank's leakage and its area are: a table of runs of CACTI over size and width, and interpolation in it."""

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from archsim.energy.coefficients import Reading, by_capacity, single

FILE, HELD = "sram.csv", "sram_held.csv"
"""The table in this package, and runs that it is judged by; their heads say how they were made."""

DEVICE = "itrs-lstp"
"""Device of cells and periphery that the energy model takes: low standby power."""

LEAST_BITS = 8
"""Fewest bits of an access in the table; fewer cost as much, since the lines of a row dominate."""


@dataclass(frozen=True)
class Run:
    """One run of CACTI: device, capacity of all banks in bytes, bits of an access, banks; pJ, mW of a bank, mm2 of all banks."""

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
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    found = (
        Run(
            row["cell"], int(row["bytes"]), int(row["bits"]), int(row["banks"]), float(row["read_pj"]), float(row["write_pj"]),
            float(row["leakage_mw"]), float(row["area_mm2"]),
        )
        for row in rows
    )  # fmt: skip
    return tuple(run for run in found if run.device == device)


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
    width, table = max(bits, LEAST_BITS), _by_size()
    fitting = [run.size for run in table if run.bits >= width]
    value = interpolated(size, width, of)
    about = f"{size:g} bytes, {bits} bits"
    if any(run.size == size and run.bits == width for run in table):
        law = f"{about}: a run of CACTI ({FILE})"
    else:
        law = f"{about}: between runs of CACTI ({FILE})"
    outside = not fitting or not min(fitting) <= size <= max(fitting)
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


def interpolated(
    size: float, bits: float, of: Callable[[Run], float] = lambda run: run.read_pj, among: Sequence[Run] | None = None
) -> float:
    """A figure of one bank at a size in bytes and bits of an access: on logarithmic axes, over the bits, then over the size.

    Only sizes with runs at least as wide count, where there are two. Outside of the runs the nearest segment's slope goes on.
    ``among``: the runs to use (default: the table's).
    """
    by_size: dict[int, list[tuple[float, float]]] = {}
    for run in _by_size() if among is None else among:
        by_size.setdefault(run.size, []).append((run.bits, of(run)))
    wide = {own: points for own, points in by_size.items() if max(points)[0] >= bits}
    used = wide if len(wide) > 1 else by_size
    return _line(sorted((float(own), _line(sorted(points), bits)) for own, points in used.items()), max(1.0, size))


@cache
def _by_size() -> tuple[Run, ...]:
    """The runs of one bank of `DEVICE`."""
    return tuple(run for run in runs() if run.banks == 1)


def _line(points: Sequence[tuple[float, float]], x: float) -> float:
    """The value at x between points (at least two), on logarithmic axes."""
    index = next((i for i in range(1, len(points) - 1) if x <= points[i][0]), len(points) - 1)
    (low, first), (high, second) = points[index - 1], points[index]
    return first * (x / low) ** (math.log(second / first) / math.log(high / low))
