"""How far the memory law is from points that it was not fitted to: by size, by width, by banks, and against published caches.

    python -m scripts.memory_law

Held against runs of CACTI (archsim/energy/sram.csv) and Horowitz's caches:

* the law in use: capacity alone, in proportion to the bits; an array of banks as one bank of its part of the capacity;
* the table: interpolated over size and width, the runs of two sizes and of one width held out.
"""

from collections.abc import Callable, Iterable
from statistics import geometric_mean

from archsim.energy.coefficients import by_capacity, coefficients
from archsim.energy.sram import Run, interpolated, runs

FITTED = {8192, 32768, 1 << 20}
"""Sizes of the three points, of 64 bits, that the law in use rests on."""

HELD_SIZES, HELD_BITS = {16384, 131072}, 128
"""Runs that the table is judged by."""


def in_use(run: Run) -> float:
    """The law of the energy model, pJ a read."""
    return by_capacity("sram_read", run.size / run.banks).value * run.bits / 64


def held(run: Run) -> bool:
    """Whether a run is held out of the table."""
    return run.size in HELD_SIZES or run.bits == HELD_BITS


def tabled(run: Run) -> float:
    """Interpolation in the table without the runs that are held out, pJ a read."""
    return interpolated(run.size / run.banks, run.bits, among=[other for other in runs() if not held(other)])


def errors(law: Callable[[Run], float], judged: Iterable[Run], key: Callable[[Run], int]) -> dict[int, tuple[float, float, int]]:
    """By a key of the runs: the typical factor (geometric mean) and the worst one of law / CACTI, and how many runs."""
    groups: dict[int, list[float]] = {}
    for run in judged:
        groups.setdefault(key(run), []).append(law(run) / run.read_pj)
    return {
        value: (geometric_mean(own), max(own, key=lambda ratio: max(ratio, 1 / ratio)), len(own))
        for value, own in sorted(groups.items())
    }


def lines() -> list[str]:
    """The tables."""
    single = [run for run in runs() if run.banks == 1]
    new = [run for run in single if not (run.bits == 64 and run.size in FITTED)]
    banked = {bits: [run for run in runs() if run.banks > 1 and run.bits == bits] for bits in (64, 512)}
    parts = {
        "the law in use, 64 bits, by bytes": (in_use, [run for run in new if run.bits == 64], lambda run: run.size),
        "the law in use, by bits": (in_use, new, lambda run: run.bits),
        "the law in use, by banks, 64 bits": (in_use, banked[64], lambda run: run.banks),
        "the law in use, by banks, 512 bits": (in_use, banked[512], lambda run: run.banks),
        "the table, held-out sizes": (tabled, [run for run in single if run.size in HELD_SIZES], lambda run: run.size),
        "the table, held-out width": (tabled, [run for run in single if run.bits == HELD_BITS], lambda run: run.bits),
    }  # fmt: skip
    found = ["law / CACTI, reads at 45 nm: 1 is right", f"{'':<40}{'':>10}{'typical':>9}{'worst':>9}{'runs':>6}"]
    for title, (law, judged, key) in parts.items():
        for value, (typical, worst, count) in errors(law, judged, key).items():
            found.append(f"{title:<40}{value:>10,}{typical:9.2f}{worst:9.2f}{count:6}")
            title = ""
    found += ["", "against published caches of 64 bits (Horowitz, ISSCC 2014), not used in the law"]
    for name in ("horowitz_cache_8k", "horowitz_cache_32k", "horowitz_cache_1m"):
        entry = coefficients()[name]
        law = by_capacity("sram_read", entry.bytes or 0).value
        found.append(f"{name:<40}{entry.bytes:>10,}{law / entry.value:9.2f}")
    writes = geometric_mean([run.write_pj / run.read_pj for run in single])
    wide = geometric_mean([run.write_pj / run.read_pj for run in single if run.bits == 512])
    found += ["", f"a write / a read: {writes:.2f} of all widths, {wide:.2f} of 512 bits; the model takes 1"]
    for device in ("itrs-lstp", "itrs-lop", "itrs-hp"):
        per = geometric_mean([run.leakage_mw / run.size * 1024 for run in runs(device) if run.banks == 1])
        found.append(f"leakage of {device}: {per:.3g} mW a KiB; the model has none of memories")
    return found


if __name__ == "__main__":
    print("\n".join(lines()))
