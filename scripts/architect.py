"""What an addition costs on other chips, and where one weight row for all time steps beats a row for each.

    python -m scripts.architect [--chip adders_512] [--gating 2] [--rate 0.2] [--recorded ARTEFACT ...]

Counted are what a spike-gated addition of the cores needs on the chip: its share of the weight row that is read, its adder, its
accumulator, and its share of the leakage at full speed; by laws adder and accumulator are one figure, the adder's. Not in it:
spikes, membranes, neurons, programs, DRAM; a run has those.
Every figure is from the energy model at 45 nm with its range, so a row can be followed with `archsim explain`.

Rows for time steps: a chip of L lanes reads a row once for all lanes that spike. With independent spikes at rate s it reads
(1 - (1 - s)^L) / (L s) rows an addition; recorded spikes say how much fewer it is when time steps agree.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.config import load_chip
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.energy.clock import BUSY
from archsim.energy.model import energy_pj
from archsim.energy.ranges import energy_range_pj, warnings
from mapping.importers import artefact

PARTS = ("weight_memory", "synapse_adders", "accumulator_registers", "clock", "logic_leakage", "memory_leakage")
"""Components of which an addition has a share."""

COLUMNS, LANES, BITS, KIB = (8, 16, 32, 64), (1, 2, 4, 8), (2, 4, 8), (4, 8, 32, 128)
RATES = (0.02, 0.05, 0.1, 0.2, 0.34, 0.5)


class Cost(NamedTuple):
    """pJ of an addition: by part, in all, its range, and whether a figure is extrapolated."""

    parts: dict[str, float]
    low: float
    high: float
    extrapolated: bool

    @property
    def total(self) -> float:
        """All parts."""
        return sum(self.parts.values())


def addition(chip: ChipParams, rows: float) -> Cost:
    """Cost of an addition of the cores where ``rows`` weight rows are read for every column's addition in a lane.

    In a cycle each core reads a row and adds in 1 / (``rows`` x L) of its lanes, which is what the leakage is shared by.
    """
    cycles = 1000  # whole numbers of counts
    additions = round(cycles * chip.cores * chip.columns / rows)
    counts = {"weight_reads": cycles * chip.cores, "additions": additions, BUSY + "core": cycles * chip.cores}
    energy, ranges = energy_pj(chip, counts, cycles), energy_range_pj(chip, counts, cycles)
    parts = {name: energy[name] / additions for name in PARTS}
    if abs(sum(parts.values()) * additions / sum(energy.values()) - 1) > 1e-9:
        raise ArchsimError(f"{chip.name}: an addition's parts are not its energy; another component counts additions")
    low, high = (end / additions for end in ranges["total"])
    return Cost(parts, low, high, any(line.startswith("energy of weight") for line in warnings(chip, counts)))


def independent(rate: float, lanes: int) -> float:
    """Weight rows an addition, spikes of the lanes being independent at this rate; raises ArchsimError outside of 0..1."""
    if not 0 < rate <= 1:
        raise ArchsimError(f"--rate: required a rate above 0 and at most 1, given {rate:g}")
    return float((1 - (1 - rate) ** lanes) / (lanes * rate))


def with_bank(chip: ChipParams, kib: int) -> ChipParams:
    """The chip with weight banks of another size, KiB each."""
    return chip.replace(weight_rows=kib * 8192 // (chip.columns * chip.weight_bits))


def in_lanes(chip: ChipParams, lanes: int) -> ChipParams:
    """The chip with other lanes and the same adders, its weight memory whole: fewer cores, larger banks."""
    cores, rows = chip.cores * chip.lanes // lanes, chip.weight_rows * lanes // chip.lanes
    return chip.replace(lanes=lanes, cores=cores, weight_rows=rows)


def recorded(path: Path) -> tuple[float, float]:
    """Firing rate, and weight rows an addition with all time steps as lanes, of an artefact's recorded maps."""
    trained = artefact.load(path)
    traces = trained.manifest["traces"]
    names = [name for name, shape in traces["shapes"].items() if len(shape) == 4]
    maps = [trained.spikes(name, image) for name in names for image in range(traces["images"])]
    return sum(map(np.mean, maps)) / len(maps), rows_of(maps)


def rows_of(maps: Iterable[NDArray[np.bool_]]) -> float:
    """Weight rows an addition where all steps of a map, bool [steps, positions, channels], are lanes."""
    union = spikes = 0
    for entry in maps:
        union += int(entry.any(axis=0).sum())
        spikes += int(entry.sum())
    return union / spikes


# What leaks: the logic, and the memories.
HEAD = f"{'':<30}{'row':>8}{'adder':>8}{'accum.':>8}{'clock':>8}{'leakage':>8}{'memory':>8}{'pJ':>8}   low .. high"


def line(label: str, cost: Cost) -> str:
    """A line of a table."""
    parts = "".join(f"{value:8.3f}" for value in cost.parts.values())
    return f"{label:<30}{parts}{cost.total:8.3f}   {cost.low:.2f} .. {cost.high:.2f}{' EXTRAPOLATED' if cost.extrapolated else ''}"


def sweeps(chip: ChipParams, rate: float) -> list[str]:
    """PJ an addition over columns, lanes, weight bits and bank size, all else as on the chip; banks keep their bytes."""
    rows = independent(rate, chip.lanes)
    kib = chip.weight_rows * chip.columns * chip.weight_bits // 8192
    lines = [f"pJ an addition around {chip.name}: one thing changed, rate {rate:g}, independent spikes", HEAD]
    for columns in COLUMNS:
        other = with_bank(chip.replace(columns=columns, neurons=min(chip.neurons, columns)), kib)
        lines.append(line(f"columns {columns}", addition(other, rows)))
    for lanes in LANES:
        lines.append(line(f"lanes {lanes}, banks as they are", addition(chip.replace(lanes=lanes), independent(rate, lanes))))
    for bits in BITS:
        lines.append(line(f"weight bits {bits}", addition(with_bank(chip.replace(weight_bits=bits), kib), rows)))
    for size in KIB:
        lines.append(line(f"weight banks of {size} KiB", addition(with_bank(chip, size), rows)))
    return lines


def crossover(chip: ChipParams, lanes: int, sources: Sequence[tuple[str, float]]) -> list[str]:
    """One row for all time steps against a row for each, at equal adders: rows and pJ an addition, and cycles of one group."""
    if chip.cores * chip.lanes % lanes:
        raise ArchsimError(f"--lanes: required a divisor of {chip.cores * chip.lanes} (cores x lanes), given {lanes}")
    one, grown = in_lanes(chip, 1), in_lanes(chip, lanes)
    same, single = grown.replace(weight_rows=one.weight_rows), addition(one, 1.0).total
    lines = [
        f"a row for all {lanes} time steps against a row for each ({single:.3f} pJ an addition), equal adders",
        f"{'spikes':<34}{'rows':>7}{'pJ':>8}{'':>8}{'pJ':>8}{'':>8}{'cycles':>8}",
        f"{'':<34}{'':>7}{'same banks':>16}{'same memory':>16}",
    ]  # fmt: skip
    for label, rows in sources:
        costs = [addition(entry, rows).total for entry in (same, grown)]
        cells = "".join(f"{cost:8.3f}{'  wins' if cost < single else '  loses':<8}" for cost in costs)
        # A core of one lane takes an event a spike and a step; L of them share the steps. L lanes take one for their union.
        lines.append(f"{label:<34}{rows:7.3f}{cells}{rows * lanes:8.2f}")
    return [*lines, f"cycles: of one core with {lanes} lanes, relative to {lanes} cores with one, each for a step of its own"]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="What an addition costs on other chips, and where lanes for time steps win.")
    parser.add_argument("--chip", default="adders_512", help="preset or chip file (default %(default)s)")
    parser.add_argument("--gating", type=int, choices=(0, 1, 2), help="clock gating (default: the chip's)")
    parser.add_argument("--rate", type=float, default=0.2, help="firing rate of the sweeps (default %(default)s)")
    parser.add_argument("--lanes", type=int, default=4, help="time steps that share a row (default %(default)s)")
    parser.add_argument("--recorded", metavar="ARTEFACT", type=Path, nargs="*", default=[], help="artefacts with recorded spikes")
    options = parser.parse_args(arguments)
    try:
        chip = load_chip(options.chip)
        chip = chip if options.gating is None else chip.replace(clock_gating=options.gating)
        sources = [(f"independent, rate {rate:g}", independent(rate, options.lanes)) for rate in RATES]
        for path in options.recorded:
            rate, rows = recorded(path)
            sources.append((f"{path.name}, rate {rate:.3f}", rows))
        print("\n".join([*sweeps(chip, options.rate), "", *crossover(chip, options.lanes, sources)]))
    except ArchsimError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
