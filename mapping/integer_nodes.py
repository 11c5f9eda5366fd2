"""Integer layers without weights of their own: spike maps added, side by side or turned, and neurons on the mean over tokens."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError
from mapping.ir import GATE, PRODUCT, Attention, Map


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


ATTENTION_SHIFT = -1
"""The attention unit's neurons take twice the count, so that the published scale 1/8 and threshold 1/2 give threshold 8."""


@dataclass(frozen=True)
class IntAttention:
    """Spike attention in integers: the neurons take ``count >> shift``; ``kind``: as in :class:`mapping.ir.Attention`."""

    name: str
    q: str
    k: str
    v: str
    spikes: str
    heads: int
    threshold: int
    shift: int
    kind: str = PRODUCT

    @property
    def gates(self) -> bool:
        """Whether it is ``q AND neuron(sum over tokens of k AND v)``."""
        return self.kind == GATE


def quantise_attention(layer: Attention) -> IntAttention:
    """An attention layer in integers; raises ArchsimError unless its threshold is exact on counts."""
    threshold = layer.threshold / layer.scale * 2.0**-ATTENTION_SHIFT
    if threshold != round(threshold):
        raise ArchsimError(
            f"layer '{layer.name}': threshold / scale must be a multiple of 1/2 to be exact on counts, "
            f"given {layer.threshold} / {layer.scale}"
        )
    return IntAttention(
        layer.name, layer.q, layer.k, layer.v, layer.spikes, layer.heads, round(threshold), ATTENTION_SHIFT, layer.kind
    )
