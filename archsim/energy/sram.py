"""What CACTI says of SRAM over size, width and banks: a table of runs, and interpolation in it.

The energy model prices an access by the size of its bank, in proportion to its bits (`by_capacity`). This table has what that
leaves out, so it tells how wrong the proportion is; the ranges of the report reach as far.
"""

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

FILE = "sram.csv"
"""The table in this package; its head says how it was made."""

DEVICE = "itrs-lstp"
"""Device of the points that the energy model uses."""


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


@cache
def runs(device: str = DEVICE) -> tuple[Run, ...]:
    """The runs of a device."""
    text = files("archsim.energy").joinpath(FILE).read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    found = (
        Run(
            row["cell"], int(row["bytes"]), int(row["bits"]), int(row["banks"]), float(row["read_pj"]), float(row["write_pj"]),
            float(row["leakage_mw"]), float(row["area_mm2"]),
        )
        for row in rows
    )  # fmt: skip
    return tuple(run for run in found if run.device == device)


def interpolated(
    size: float, bits: float, of: Callable[[Run], float] = lambda run: run.read_pj, among: Sequence[Run] | None = None
) -> float:
    """A figure of one bank at a size in bytes and bits of an access: on logarithmic axes, over the bits, then over the size.

    Outside of the runs the nearest segment's slope goes on. ``among``: the runs to use (default: all of one bank of `DEVICE`).
    """
    used = [run for run in (runs() if among is None else among) if run.banks == 1]
    by_size: dict[int, list[tuple[float, float]]] = {}
    for run in used:
        by_size.setdefault(run.size, []).append((run.bits, of(run)))
    return _line(sorted((float(own), _line(sorted(points), bits)) for own, points in by_size.items()), max(1.0, size))


def _line(points: Sequence[tuple[float, float]], x: float) -> float:
    """The value at x between points (at least two), on logarithmic axes."""
    index = next((i for i in range(1, len(points) - 1) if x <= points[i][0]), len(points) - 1)
    (low, first), (high, second) = points[index - 1], points[index]
    return first * (x / low) ** (math.log(second / first) / math.log(high / low))
