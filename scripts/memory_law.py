"""How far the memory law is from runs of CACTI that it does not use: by capacity, by width, by banks, and from published caches.

    python -m scripts.memory_law

The law interpolates the table of archsim/energy/sram.csv over capacity and width; it is held against runs of random capacities
and widths (sram_held.csv), against arrays of banks behind common wires, of which it prices each bank alone (sram_other.csv), and
against Horowitz's caches.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import geometric_mean, median, quantiles

from archsim.energy.coefficients import coefficients
from archsim.energy.sram import FIGURES, HELD, OTHER, Run, bank, runs, table

SIZES = (1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22)
"""Ends of the classes of capacity, bytes."""

WIDTHS = (16, 32, 64, 128, 256, 512, 1024)
"""Ends of the classes of width, bits."""

BOUND = 0.1
"""What the law is to keep, as the laws of the logic are."""


def error(figure: str, run: Run) -> float:
    """Law / CACTI - 1 of a figure; an area is of all banks, all else of one."""
    law = bank(figure, run.size / run.banks, run.bits).value
    return law * (run.banks if figure == "area" else 1) / FIGURES[figure][1](run) - 1


def line(title: str, errors: Iterable[float]) -> str:
    """Distances from 0 in a line: the median, the 99th hundredth, the worst, how many are within `BOUND`, how many there are."""
    own = sorted(map(abs, errors))
    last = quantiles(own, n=100, method="inclusive")[98]
    within = sum(value <= BOUND for value in own) / len(own)
    return f"{title:<34}{median(own):9.1%}{last:9.1%}{own[-1]:9.1%}{within:9.1%}{len(own):6}"


def classes(ends: tuple[int, ...], key: Callable[[Run], int], judged: Iterable[Run]) -> dict[int, list[Run]]:
    """Runs by the least end that is not below their key."""
    found: dict[int, list[Run]] = {end: [] for end in ends}
    for run in judged:
        found[next(end for end in ends if key(run) <= end)].append(run)
    return {end: own for end, own in found.items() if len(own) > 1}


def of_figure(figure: str, judged: Iterable[Run]) -> list[str]:
    """Errors of a figure: of all, by capacity, by width, by banks."""
    groups = {"": list(judged)}
    groups |= {f", up to {end:,} bytes": own for end, own in classes(SIZES, lambda run: run.size, judged).items()}
    groups |= {f", up to {end} bits": own for end, own in classes(WIDTHS, lambda run: run.bits, judged).items()}
    for banks in (2, 4, 8, 16):
        groups[f", array of {banks} banks"] = [run for run in runs(file=OTHER) if run.banks == banks]
    return [line(figure + group, [error(figure, run) for run in own]) for group, own in groups.items()]


def farthest(judged: Iterable[Run], count: int = 5) -> list[str]:
    """The runs of which a figure is farthest off, each in a line, the worst first."""
    off = {run: {figure: error(figure, run) for figure in FIGURES} for run in judged}
    return [
        f"{run.size:>9,} bytes of {run.bits} bits: " + ", ".join(f"{figure} {value:+.1%}" for figure, value in off[run].items())
        for run in sorted(off, key=lambda run: -max(map(abs, off[run].values())))[:count]
    ]  # fmt: skip


def open_share(among: Mapping[int, Sequence[Run]]) -> float:
    """Of the sizes on a logarithmic axis, how many lie between the two sides of a jump above `BOUND`, where the law may be off.

    ``among``: runs by width, by size within a width. Two runs are sides of a jump where they are within 1 % in size.
    """
    whole = sum(math.log(own[-1].size / own[0].size) for own in among.values())
    sides = (two for own in among.values() for two in pairwise(own) if two[1].size < 1.0101 * two[0].size)
    jumps = (two for two in sides if any(abs(math.log(of(two[0]) / of(two[1]))) > math.log1p(BOUND) for _, of in FIGURES.values()))
    return sum(math.log(high.size / low.size) for low, high in jumps) / whole


def lines() -> list[str]:
    """The tables."""
    judged = runs(file=HELD)
    found = [
        "|law / CACTI - 1| at 45 nm, of runs that the law does not use; of arrays each bank is priced alone",
        f"{'':<34}{'median':>9}{'99 %':>9}{'worst':>9}{'in 10 %':>9}{'runs':>6}",
    ]
    for figure in FIGURES:
        found += of_figure(figure, judged)
    found += ["", "runs of one bank that are farthest off, law / CACTI - 1", *farthest(judged)]
    found.append(f"of all sizes {open_share(table()):.2%} lie between the two sides of a jump of more than {BOUND:.0%}")
    found += [
        "",
        "against published caches of 64 bits (Horowitz, ISSCC 2014), which the high end of a range is taken from",
    ]
    for name in ("horowitz_cache_8k", "horowitz_cache_32k", "horowitz_cache_1m"):
        entry = coefficients()[name]
        law = bank("read", entry.bytes or 0, entry.bits or 0).value
        found.append(f"{name:<34}{entry.bytes:>10,} bytes: law / published {law / entry.value:.2f}")
    for device in ("itrs-lop", "itrs-hp"):
        own = [run for run in runs(device, OTHER) if run.banks == 1]
        per = geometric_mean([run.leakage_mw / run.size * 1024 for run in own])
        of_law = geometric_mean([bank("leakage", run.size, run.bits).value / run.size * 1024 for run in own])
        found.append(f"leakage of {device}: {per:.3g} mW a KiB, where the law says {of_law:.3g}")
    return found


if __name__ == "__main__":
    print("\n".join(lines()))
