"""How far the memory law is from runs of CACTI that it does not use: by capacity, by width, by banks, and from published caches.

    python -m scripts.memory_law

The law interpolates the table of archsim/energy/sram.csv over capacity and width; it is held against runs of random capacities and
widths (sram_held.csv), against arrays of banks, each bank priced alone, and against Horowitz's caches.
"""

from collections.abc import Callable, Iterable
from statistics import geometric_mean, median, quantiles

from archsim.energy.coefficients import coefficients
from archsim.energy.sram import FIGURES, HELD, Run, bank, runs

SIZES = (1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 22)
"""Ends of the classes of capacity, bytes."""

WIDTHS = (64, 128, 256, 384, 512, 768)
"""Ends of the classes of width, bits."""


def error(figure: str, run: Run) -> float:
    """Law / CACTI - 1 of a figure, as a distance from 0."""
    return abs(bank(figure, run.size / run.banks, run.bits).value / FIGURES[figure][1](run) - 1)


def line(title: str, errors: Iterable[float]) -> str:
    """Errors in a line: the median, the ninth tenth, the worst, how many are within a tenth, how many there are."""
    own = sorted(errors)
    ninth = quantiles(own, n=10, method="inclusive")[8]
    within = sum(value <= 0.1 for value in own) / len(own)
    return f"{title:<34}{median(own):9.1%}{ninth:9.1%}{own[-1]:9.1%}{within:9.0%}{len(own):6}"


def classes(ends: tuple[int, ...], key: Callable[[Run], int], judged: Iterable[Run]) -> dict[int, list[Run]]:
    """Runs by the least end that is not below their key."""
    found: dict[int, list[Run]] = {end: [] for end in ends}
    for run in judged:
        found[next(end for end in ends if key(run) <= end)].append(run)
    return {end: own for end, own in found.items() if len(own) > 1}


def lines() -> list[str]:
    """The tables."""
    judged = runs(file=HELD)
    found = [
        "|law / CACTI - 1| at 45 nm, of runs that the law does not use",
        f"{'':<34}{'median':>9}{'90 %':>9}{'worst':>9}{'in 10 %':>9}{'runs':>6}",
    ]
    found += [line(figure, [error(figure, run) for run in judged]) for figure in FIGURES]
    for end, own in classes(SIZES, lambda run: run.size, judged).items():
        found.append(line(f"read, up to {end:,} bytes", [error("read", run) for run in own]))
    for end, own in classes(WIDTHS, lambda run: run.bits, judged).items():
        found.append(line(f"read, up to {end} bits", [error("read", run) for run in own]))
    for bits in (64, 512):
        banked = [run for run in runs() if run.banks > 1 and run.bits == bits]
        found.append(line(f"read, array of 2 or 4 banks, {bits} b", [error("read", run) for run in banked]))
    found += ["", "against published caches of 64 bits (Horowitz, ISSCC 2014), which the high end of a range is taken from"]
    for name in ("horowitz_cache_8k", "horowitz_cache_32k", "horowitz_cache_1m"):
        entry = coefficients()[name]
        law = bank("read", entry.bytes or 0, entry.bits or 0).value
        found.append(f"{name:<34}{entry.bytes:>10,} bytes: law / published {law / entry.value:.2f}")
    for device in ("itrs-lstp", "itrs-lop", "itrs-hp"):
        per = geometric_mean([run.leakage_mw / run.size * 1024 for run in runs(device) if run.banks == 1])
        found.append(f"leakage of {device}: {per:.3g} mW a KiB")
    return found


if __name__ == "__main__":
    print("\n".join(lines()))
