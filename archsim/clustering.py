"""How spikes cluster: measured on recordings, and drawn so. docs/decisions/0027 says why the model is this one.

Of a map's spikes three numbers are kept, beside its firing rate m. All are correlations about m, in units of m (1 - m):

* ``spread``: of two spikes of one channel and image at other steps and other positions: channels fire at rates of their own;
* ``time``: of a channel's spikes at one position in neighbouring steps;
* ``tokens``: of a channel's spikes in one step at neighbouring positions, in raster order.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError
from mapping.importers import artefact


@dataclass(frozen=True)
class Clustering:
    """The three correlations, 0..1; ``source`` says where they come from. Those of time and tokens include the spread."""

    spread: float
    time: float
    tokens: float
    source: str

    def __post_init__(self) -> None:
        """Check ranges."""
        if not (0 <= self.spread < 1 and 0 <= self.time <= 1 and 0 <= self.tokens <= 1):
            raise ArchsimError(
                f"{self.source}: required a spread in 0..1 (1 excluded) and correlations in 0..1, given {self.spread:g}, "
                f"{self.time:g} and {self.tokens:g}"
            )

    def __str__(self) -> str:
        """For outputs."""
        return (
            f"spread over channels {self.spread:.3f}, correlation over time {self.time:.3f} and tokens {self.tokens:.3f}, "
            f"as in {self.source}"
        )

    def words(
        self, draws: np.random.Generator, size: tuple[int, int, int, int], rate: float, columns: int, lanes: int
    ) -> NDArray[np.uint64]:
        """Words of a map of this firing rate, uint64 ``size`` [positions, slices, words, L], in the lowest ``columns`` bits.

        A channel's rate is drawn from the beta distribution of mean ``rate`` and variance ``spread`` x rate (1 - rate); all are
        then scaled to the mean. A spike repeats that of the position before, and a channel its whole map of the step before, with
        the probability that leaves the correlation asked for; else it is drawn anew. ``lanes``: those that hold time steps.
        """
        positions, slices, words, _ = size
        steps, result = slices * lanes, np.zeros(size, np.uint64)
        rates = self._rates(draws, rate, words * columns).reshape(words, columns)
        for word, column in np.ndindex(words, columns):
            spikes = draws.random((steps, positions)) < rates[word, column]
            spikes = _repeat(spikes, draws.random((steps, positions)) < self._repeats(self.tokens))
            spikes = _repeat(spikes.T, (draws.random(steps) < self._repeats(self.time))[None]).T
            bits = spikes.reshape(slices, lanes, positions).transpose(2, 0, 1).astype(np.uint64)
            result[:, :, word, :lanes] |= bits << np.uint64(column)
        return result

    def _rates(self, draws: np.random.Generator, rate: float, channels: int) -> NDArray[np.float64]:
        if not self.spread or not 0 < rate < 1:
            return np.full(channels, rate)
        total = 1 / self.spread - 1
        found = draws.beta(rate * total, (1 - rate) * total, channels)
        return np.minimum(found * (rate / found.mean()), 1.0)

    def _repeats(self, correlation: float) -> float:
        """What of a correlation is within a channel, beyond the spread."""
        return max(0.0, (correlation - self.spread) / (1 - self.spread))


def _repeat(spikes: NDArray[np.bool_], again: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Spikes [rows, places], where ``again`` (of this shape or one row) says so those of the place before."""
    places = np.where(again, 0, np.arange(spikes.shape[1]))
    places[:, 0] = 0
    found: NDArray[np.bool_] = np.take_along_axis(
        spikes, np.broadcast_to(np.maximum.accumulate(places, axis=1), spikes.shape), axis=1
    )
    return found


def measure(maps: Iterable[NDArray[np.bool_]], source: str) -> Clustering:
    """The clustering of recorded maps, bool [images, steps, positions, channels] each: means weighted by the maps' variances."""
    sums = np.zeros((3, 2))
    for spikes in maps:
        rate = spikes.mean(dtype=np.float64)
        sums += [_pairs(spikes, rate), _neighbours(spikes, rate, 1), _neighbours(spikes, rate, 2)]
    found = [max(0.0, product / variance) if variance else 0.0 for product, variance in sums]
    return Clustering(found[0], found[1], found[2], source)


def _neighbours(spikes: NDArray[np.bool_], rate: float, axis: int) -> tuple[float, float]:
    """Sum over neighbours along an axis of the products of deviations, and what it would be if they were equal."""
    count = spikes.shape[axis] - 1
    before, after = (np.take(spikes, range(first, first + count), axis) for first in (0, 1))
    both = np.count_nonzero(before & after)
    product = both - rate * (np.count_nonzero(before) + np.count_nonzero(after)) + rate**2 * before.size
    return product, rate * (1 - rate) * before.size


def _pairs(spikes: NDArray[np.bool_], rate: float) -> tuple[float, float]:
    """As of neighbours, over all pairs of one channel and image that differ in step and position; scaled to the map's size."""
    images, steps, positions, channels = spikes.shape
    pairs = steps * (steps - 1) * positions * (positions - 1)
    if not pairs:
        return 0.0, 0.0
    deviations = spikes - rate
    square = (deviations.sum((1, 2)) ** 2).sum() + (deviations**2).sum()
    square -= (deviations.sum(1) ** 2).sum() + (deviations.sum(2) ** 2).sum()
    return square / pairs * steps * positions, rate * (1 - rate) * spikes.size


def recorded(folder: Path) -> Clustering:
    """The clustering of an artefact's recorded spikes, all its maps; raises ArchsimError for one that cannot be read."""
    trained = artefact.load(folder)
    traces = trained.manifest["traces"]
    names = [name for name, shape in traces["shapes"].items() if len(shape) == 4]
    maps = (np.stack([trained.spikes(name, image) for image in range(traces["images"])]) for name in names)
    return measure(maps, folder.name)
