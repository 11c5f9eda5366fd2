"""First product of attention, K^T V: which engine of the attention unit makes it, by exact counts of recorded spikes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.attention import kv_cycles, popcount_cycles
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.event_encoder import word_cycles
from mapping.integer_nodes import IntAttention
from mapping.quantise import IntNetwork

Maps = Mapping[str, NDArray[np.uint64]]
"""Words of every map of an image, uint64 [positions, slices, channel words, L]."""


@dataclass(frozen=True)
class FirstProduct:
    """K^T V of an attention layer on either engine, by the laws of ATTEND_KV.

    Attributes:
        event_cycles: cycles of the event engine, all recorded images together.
        popcount_cycles: cycles of the AND-popcount engine, likewise.
        images: recorded images.
    """

    event_cycles: int
    popcount_cycles: int
    images: int

    @property
    def popcount(self) -> bool:
        """Whether the AND-popcount engine takes fewer cycles."""
        return self.popcount_cycles < self.event_cycles

    def note(self) -> dict[str, int | str]:
        """Which engine, and why."""
        return {"engine": "popcount" if self.popcount else "events", **vars(self)}


def heads(network: IntNetwork, chip: ChipParams, layer: IntAttention) -> tuple[int, int, int, int]:
    """(words of the map, words of a head, channels of a head in a word, tokens) of a layer on a chip.

    A gate has no heads: each word is for itself. Raises ArchsimError for heads that do not fit words.
    """
    whole, columns = network.maps[layer.q], chip.columns
    if layer.gates:
        return -(-whole.channels // columns), 1, columns, whole.positions
    size = whole.channels // layer.heads
    if (columns % size and size % columns) or (whole.channels % columns and whole.channels > columns):
        raise ArchsimError(
            f"layer '{layer.name}': heads of {size} channels do not fill words of {columns} columns evenly in a map of "
            f"{whole.channels}; use a chip whose columns divide these, and divide those of a head or are divided by them"
        )
    return -(-whole.channels // columns), max(1, size // columns), min(size, columns), whole.positions


def first_products(network: IntNetwork, chip: ChipParams, recorded: Sequence[Maps]) -> dict[str, FirstProduct]:
    """Cycles of K^T V of recorded images on both engines, for every attention layer that has such a product."""
    result, used = {}, chip.lanes_used(network.timesteps)
    for layer in network.layers:
        if isinstance(layer, IntAttention) and not layer.gates:
            words, head_words, _, tokens = heads(network, chip, layer)
            pairs = network.timesteps * words * head_words
            events = sum(kv_cycles(head_words * _events(maps[layer.k][..., :used])) for maps in recorded)
            popcounts = len(recorded) * popcount_cycles(tokens, pairs, chip.columns, chip.neurons)
            result[layer.name] = FirstProduct(events, popcounts, len(recorded))
    return result


def _events(words: NDArray[np.uint64]) -> int:
    """Events of words of one lane each: as many cycles as the encoder takes."""
    counts, times = np.unique(np.bitwise_count(words), return_counts=True)
    return sum(word_cycles(int(count), 0) * int(number) for count, number in zip(counts, times, strict=True))
