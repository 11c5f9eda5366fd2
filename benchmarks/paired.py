"""Paired measurements: two sides by turns in one run, medians and spread, so that other load on the machine falls on both."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from time import perf_counter

import numpy as np

REPEATS = 5
"""Measurements of each side at least."""


@dataclass(frozen=True)
class Entry:
    """A line of the benchmarks.

    Attributes:
        name: what was measured.
        ours, theirs: median seconds (or ``unit``) of each side; ``theirs`` None: there is no other side.
        ratio: median of the pairs' ratios ours / theirs.
        spread: the pairs' least and greatest ratio; without another side, of ``ours``.
        unit: of ``ours`` and ``theirs``.
        versions: of what took part.
    """

    name: str
    ours: float
    theirs: float | None = None
    ratio: float | None = None
    spread: tuple[float, float] = (0.0, 0.0)
    unit: str = "s"
    versions: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """As JSON data."""
        return asdict(self)


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    before = perf_counter()
    work()
    return perf_counter() - before


def pair(
    name: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    versions: dict[str, str],
    repeats: int = REPEATS,
) -> Entry:
    """Both sides by turns, each measured behind a call of its own that is not counted: in the midst of a batch, as it were.

    So nobody finds caches that hold the other side's data, or its threads still waiting for work.
    """
    return paired(name, [(_warm(ours), _warm(theirs)) for _ in range(repeats)], versions)


def _warm(work: Callable[[], object]) -> float:
    work()
    return seconds(work)


def paired(name: str, pairs: Sequence[tuple[float, float]], versions: dict[str, str]) -> Entry:
    """The entry of pairs of seconds, ours and theirs, each measured one after the other."""
    times = np.array(pairs)
    ratios, middle = times[:, 0] / times[:, 1], np.median(times, axis=0)
    spread = float(ratios.min()), float(ratios.max())
    return Entry(name, float(middle[0]), float(middle[1]), float(np.median(ratios)), spread, versions=versions)


def single(
    name: str, work: Callable[[], object], versions: dict[str, str], repeats: int = REPEATS, count: float | None = None
) -> Entry:
    """One side, after a call that is not counted; with ``count`` the figure is so many a second."""
    work()
    values = np.array([seconds(work) for _ in range(repeats)])
    values = values if count is None else count / values
    spread = float(values.min()), float(values.max())
    return Entry(name, float(np.median(values)), spread=spread, unit="s" if count is None else "1/s", versions=versions)
