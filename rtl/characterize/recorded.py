"""Spikes that the trained digits network recorded, as stimuli: real patterns in time and over channels."""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError

TRACES = Path(__file__).parents[2] / "workloads/artefacts/spikingformer_digits/traces.npz"
"""Recorded maps [image, step, position, channel], packed along the channels with the lowest bit first (its manifest.json)."""

CHANNELS = 64
"""Maps of so many channels are taken: the twelve of the network's two blocks, but for those of 256."""


@cache
def spikes() -> NDArray[np.bool_]:
    """All spikes, bool [positions, steps, channels]: image by image, map by map, position by position. Raises ArchsimError."""
    if not TRACES.is_file():
        raise ArchsimError(f"{TRACES}: required the recorded spikes of the digits network, found none; run from a checkout")
    with np.load(TRACES) as arrays:
        packed = [arrays[name] for name in sorted(arrays.files)]
    maps = [own for own in packed if own.dtype == np.uint8 and own.ndim == 4 and own.shape[-1] == CHANNELS // 8]
    bits = np.unpackbits(np.stack(maps, axis=1), axis=-1, bitorder="little")  # image, map, step, position, channel
    return bits.transpose(0, 1, 3, 2, 4).reshape(-1, bits.shape[2], CHANNELS).astype(np.bool_)


def words(count: int, lanes: int, word_bits: int) -> NDArray[np.bool_]:
    """Words of ``lanes`` consecutive steps, bool [count, lanes, word_bits]: of a position, steps by lanes, each word by word.

    Of a position's channels those are taken that make whole words.
    """
    every = spikes()
    steps, whole = every.shape[1] // lanes, CHANNELS // word_bits
    cut = every[:, : steps * lanes, : whole * word_bits].reshape(len(every), steps, lanes, whole, word_bits)
    return cut.transpose(0, 1, 3, 2, 4).reshape(-1, lanes, word_bits)[:count]


def wide_words(count: int, word_bits: int) -> NDArray[np.bool_]:
    """Words of one step, bool [count, word_bits], of any width.

    Those that are wider than a position's channels are the words of several positions one behind the other, cut to the width.
    """
    parts = -(-word_bits // CHANNELS)
    return words(count * parts, 1, min(word_bits, CHANNELS))[:, 0].reshape(count, -1)[:, :word_bits]


def sums(count: int, steps: int, blocks: int, size: int) -> NDArray[np.float64]:
    """Sums of recorded spikes with random weights, deviation about 1: [count, size], of a position block by block, step by step."""
    every = spikes()[: -(-count // (steps * blocks)), :steps]
    weights = np.random.default_rng(5).normal(0, 1 / np.sqrt(CHANNELS * every.mean()), (CHANNELS, blocks * size))
    found = every.astype(float) @ weights  # position, step, neuron
    return found.reshape(len(every), steps, blocks, size).transpose(0, 2, 1, 3).reshape(-1, size)[:count]
