"""Does a synaptic operation cost the same in a small network and in the largest, and in one image and in many?"""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from archsim import simulate
from benchmarks.paired import Entry, pair
from scripts.published import rates, workload

FAMILY, SMALL, LARGE, CHIP = "spikingformer", "cifar10-4-384", "8-768", "adders_512"

BATCH, MANY = 16, 64
"""Images of the small network beside one of the large, and beside one of itself."""

ASSUMED_RATE = 0.1
"""Firing rate of all maps of sizes without published rates."""


def load(size: str) -> simulate.Workload:
    """A published size of the family, mapped for execute mode."""
    with tempfile.TemporaryDirectory() as folder:
        given, _ = rates(FAMILY, size, ASSUMED_RATE)
        return simulate.load(workload(Path(folder), FAMILY, size, given), CHIP, mode="execute")


class Batch:
    """A run of so many images, side by side where they are several."""

    def __init__(self, mapped: simulate.Workload, count: int) -> None:
        self.mapped, self.pixels = mapped, mapped.images(count)

    def __call__(self) -> int:
        """Run it; returns its synaptic operations."""
        runs = simulate.each(self.mapped, self.pixels, "execute", check=False)
        return sum(int(run.records["additions"].sum()) for run, _ in runs)


def across_sizes(versions: dict[str, str], repeats: int) -> Iterator[Entry]:
    """Seconds for a synaptic operation: of the small network's batch against one image of the large, and against one of its own."""
    small = load(SMALL)
    batch, many, one, large = Batch(small, BATCH), Batch(small, MANY), Batch(small, 1), Batch(load(LARGE), 1)
    for name, ours, theirs in (
        (f"an operation of {FAMILY} {SMALL}, {BATCH} images, against {LARGE}, one image", batch, large),
        (f"an operation of {FAMILY} {SMALL}, {MANY} images, against one image", many, one),
    ):
        counts = ours(), theirs()
        entry = pair(name, ours, theirs, versions, repeats)
        assert entry.theirs and entry.ratio  # a pair has them
        scale = counts[1] / counts[0]
        spread = entry.spread[0] * scale, entry.spread[1] * scale
        yield replace(
            entry,
            ours=entry.ours / counts[0],
            theirs=entry.theirs / counts[1],
            ratio=entry.ratio * scale,
            spread=spread,
        )
