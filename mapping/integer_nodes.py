"""Integer layers without weights of their own: sums of spike maps, and neurons on the mean over tokens."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError
from mapping.ir import Map, Synapse


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


def addends(layer: Synapse, sums: Mapping[str, IntSum]) -> int:
    """Spike maps that a layer reads as one; raises ArchsimError for a kernel over a sum."""
    if layer.source not in sums:
        return 1
    if layer.weight.shape[2:] != (1, 1) or layer.stride != 1 or layer.padding or layer.pool:
        raise ArchsimError(
            f"layer '{layer.name}': reads the sum '{layer.source}' of spike maps, which a 1x1 kernel of stride 1 can, "
            f"given {layer.weight.shape[2]}x{layer.weight.shape[3]} of stride {layer.stride}; put a neuron in between"
        )
    return len(sums[layer.source].sources)
