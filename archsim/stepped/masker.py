"""Masker, cycle by cycle: a shift register and one word register, a valid/ready port on each side."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import masker as contract
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.masker import MaskerParams
from archsim.jit import njit

FULL, REGISTER = 0, 1
"""Control registers: a masked word is held; the shift register."""

_step = njit(contract.step)


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
def put(regs, held, spikes, first, begin, keep, width):
    """Clock edge of a cycle in which a word was accepted: hold what is left of it, pass over its bytes."""
    if first:
        regs[REGISTER] = begin
    held[:] = 0
    for lane in range(len(held)):
        for channel in range(width):
            if spikes[lane] >> channel & 1 and regs[REGISTER] & 255 < keep:
                held[lane] |= 1 << channel
            regs[REGISTER] = _step(regs[REGISTER])
    regs[FULL] = 1


@njit
def _run(spikes, first, gaps, ready, begin, keep, width, regs):
    words = len(first)
    held, left = np.zeros(spikes.shape[1], np.int64), np.zeros(spikes.shape, np.int64)
    accepted, transferred = np.zeros(words, np.int64), np.zeros(words, np.int64)
    taken, word, cycle = 0, 0, 0
    offered_from = gaps[0] if words else 0
    while taken < words:
        if regs[FULL] and ready[cycle % len(ready)]:
            left[taken], transferred[taken] = held, cycle
            taken += 1
            regs[FULL] = 0
        if word < words and cycle >= offered_from and regs[FULL] == 0:
            put(regs, held, spikes[word], first[word], begin, keep, width)
            accepted[word] = cycle
            word += 1
            if word < words:
                offered_from = cycle + 1 + gaps[word]
        cycle += 1
    return accepted, left, transferred


def run(
    params: MaskerParams,
    config: Mapping[str, int],
    words: Mapping[str, Any],
    gaps: NDArray[np.int64],
    ready: NDArray[np.bool_],
) -> MaskerRun:
    """Feed words to a masker after its reset until the last is taken; arguments as of the fast model.

    Raises ArchsimError when ``ready`` never is, or for a seed or a keep out of range.
    """
    if not np.any(ready):
        raise ArchsimError("masker: ready must be true in some cycle, given a consumer that never takes a word")
    contract.check(config["seed"], config["keep"])
    spikes = np.array(words["spikes"], np.uint64).reshape(-1, params.lanes).view(np.int64)
    regs = np.array([0, contract.begin(0)], np.int64)
    accepted, left, transferred = _run(
        spikes, np.array(words["first"], np.bool_), np.asarray(gaps, np.int64), np.asarray(ready, np.bool_),
        contract.begin(config["seed"]), config["keep"], params.word_bits, regs,
    )  # fmt: skip
    return MaskerRun(accepted, left.view(np.uint64), transferred, {"register": int(regs[REGISTER])})
