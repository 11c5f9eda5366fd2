"""Masker, fast: masked words and the cycles of their handshakes, from transaction to transaction."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import masker as contract
from archsim.contracts.masker import MaskerParams
from archsim.handshake import taken, waits
from archsim.jit import njit

step = njit(contract.step)
"""The register after a byte, from the contract."""


class MaskerRun(NamedTuple):
    """What a run of the masker shows at its ports.

    Attributes:
        accepted: cycle in which each word was accepted.
        spikes: uint64 [words, lanes]: what is left of each word.
        transferred: cycle in which each of them was taken.
        state: retired state, fields of ``MaskerParams.state``.
    """

    accepted: NDArray[np.int64]
    spikes: NDArray[np.uint64]
    transferred: NDArray[np.int64]
    state: dict[str, int]


@njit
def word_times(gaps, wait, latency):
    """Law over all words: accept cycles and transfer cycles."""
    accepted, transferred = np.zeros(len(gaps), np.int64), np.zeros(len(gaps), np.int64)
    before, free = -1, 0
    for word in range(len(gaps)):
        before = accepted[word] = max(before + 1 + gaps[word], free)
        free = transferred[word] = taken(before + latency, wait)
    return accepted, transferred


@njit
def mask_words(spikes, first, begin, keep, width, register):
    """What is left of words [words, lanes] of ``width`` channels, and the register behind the last."""
    left = np.zeros(spikes.shape, np.uint64)
    for word in range(len(spikes)):
        if first[word]:
            register = begin
        for lane in range(spikes.shape[1]):
            mask = np.uint64(0)
            for channel in range(width):
                if register & 255 < keep:
                    mask |= np.uint64(1) << np.uint64(channel)
                register = step(register)
            left[word, lane] = spikes[word, lane] & mask
    return left, register


def run(
    params: MaskerParams,
    config: Mapping[str, int],
    words: Mapping[str, Any],
    gaps: NDArray[np.int64],
    ready: NDArray[np.bool_],
) -> MaskerRun:
    """Feed words to a masker after its reset until the last is taken.

    Args:
        params: sizes.
        config: seed and keep.
        words: arrays by field of ``params.i`` (spikes [words, lanes], first [words]).
        gaps: word k is offered from ``accepted[k - 1] + 1 + gaps[k]`` on, word 0 from ``gaps[0]`` on.
        ready: whether the consumer takes a word in each cycle; cyclic.

    Raises ArchsimError when ``ready`` never is, or for a seed or a keep out of range.
    """
    contract.check(config["seed"], config["keep"])
    spikes = np.array(words["spikes"], np.uint64).reshape(-1, params.lanes)
    accepted, transferred = word_times(np.asarray(gaps, np.int64), waits(ready), contract.LATENCY)
    left, register = mask_words(
        spikes, np.array(words["first"], np.bool_), contract.begin(config["seed"]), config["keep"], params.word_bits,
        contract.begin(0),
    )  # fmt: skip
    return MaskerRun(accepted, left, transferred, {"register": int(register)})
