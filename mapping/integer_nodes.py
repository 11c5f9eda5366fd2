"""Integer layers without weights of their own: spike maps added, side by side or turned, and neurons on the mean over tokens."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapping.ir import Map


@dataclass(frozen=True)
class IntSum:
    """A sum of spike maps, an integer map; nothing computes it: who reads it adds the same weights for every map.

    Attributes:
        name: of the sum.
        sources: the spike maps, in the order in which the network adds them.
        shape: of each.
        reduce: the spikes are counted over positions and time for the classifier.
    """

    name: str
    sources: tuple[str, ...]
    shape: Map
    reduce: bool = False
    spikes: None = None


@dataclass(frozen=True)
class IntConcat(IntSum):
    """Spike maps side by side; they lie in memory as those of a sum, but who reads them has weights for each of its own."""


@dataclass(frozen=True)
class IntTranspose:
    """The map ``source`` with its axes in another order, as the map ``name``; made as the source's words leave an output bank.

    Attributes:
        name, source, order: as in :class:`mapping.nodes.Transpose`.
        shape: of ``name``.
    """

    name: str
    source: str
    order: tuple[int, int, int]
    shape: Map
    spikes: None = None


@dataclass(frozen=True)
class IntTokenNeuron:
    """LIF neurons on the sum over tokens of a layer's stream, step by step.

    Attributes:
        name: of the neurons, and of the map of one position that they write (``spikes``).
        source: the layer that leaves the stream.
        threshold: int64 [channels], in units of the stream, of the sum.
        shape: one position.
    """

    name: str
    source: str
    threshold: NDArray[np.int64]
    shape: Map

    @property
    def spikes(self) -> str:
        """The map that the neurons write."""
        return self.name
