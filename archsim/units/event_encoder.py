"""Event encoder, fast: the events of words and the cycles of their handshakes, from transaction to transaction."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import event_encoder as contract
from archsim.contracts.event_encoder import ADD, SHIFT, SUBTRACT, EventEncoderParams
from archsim.handshake import taken, waits
from archsim.jit import lowest_bit, njit, popcount

word_cycles = njit(contract.word_cycles)
"""Cycles that a word occupies, from the contract: also the number of its events."""

step = njit(contract.step)
"""The lowest set bit of a word, from the contract."""


class EncoderRun(NamedTuple):
    """What a run of the encoder shows at its ports.

    Attributes:
        accepted: cycle in which each word was accepted.
        events: int64 [events, 4]: op, row, mask, last.
        transferred: cycle in which each event was taken.
        state: retired state, fields of ``EventEncoderParams.state``.
    """

    accepted: NDArray[np.int64]
    events: NDArray[np.int64]
    transferred: NDArray[np.int64]
    state: dict[str, int | list[int]]


@njit
def encode(spikes, row, shift, subtract, last, events):
    """Events (op, row, mask, last) of one word into ``events``; returns how many."""
    count = 0
    if shift:
        events[0, 0], events[0, 1], events[0, 2], events[0, 3] = SHIFT, row, 0, 0
        count = 1
    union = np.uint64(0)
    for word in spikes:
        union |= word
    end = count + max(1, popcount(union))
    for number in range(count, end):
        bit = np.uint64(step(union))
        mask = 0
        for lane in range(len(spikes)):
            if spikes[lane] & bit:
                mask |= 1 << lane
        events[number, 0] = SUBTRACT if subtract else ADD
        events[number, 1] = row + (lowest_bit(bit) if bit else 0)
        events[number, 2], events[number, 3] = mask, last if number == end - 1 else 0
        union ^= bit
    return end


@njit
def count_events(spikes, shift):
    """Events of all words together."""
    count = 0
    for word in range(len(shift)):
        union = np.uint64(0)
        for lane in spikes[word]:
            union |= lane
        count += word_cycles(popcount(union), shift[word])
    return count


@njit
def run_words(spikes, row, shift, subtract, last, gaps, wait, latency):
    """Law over all words: accept cycles, events, transfer cycles."""
    total = count_events(spikes, shift)
    events, transferred = np.zeros((total, 4), np.int64), np.zeros(total, np.int64)
    accepted = np.zeros(len(row), np.int64)
    before, free, first = -1, 0, 0  # acceptance of the word before; its last event taken; number of the next event
    for word in range(len(row)):
        accepted[word] = max(before + 1 + gaps[word], free)
        before = accepted[word]
        end = first + encode(spikes[word], row[word], shift[word], subtract[word], last[word], events[first:])
        offered = accepted[word] + latency
        for event in range(first, end):
            transferred[event] = taken(offered, wait)
            offered = transferred[event] + 1
        first, free = end, transferred[end - 1]
    return accepted, events, transferred


def run(
    params: EventEncoderParams,
    words: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    gaps: NDArray[np.int64],
    ready: NDArray[np.bool_],
) -> EncoderRun:
    """Feed words to an idle encoder until the last event is taken.

    Args:
        params: sizes.
        words: arrays by field of ``params.i`` (spikes [words, lanes]), or one mapping a word.
        gaps: word k is offered from ``accepted[k - 1] + 1 + gaps[k]`` on, word 0 from ``gaps[0]`` on.
        ready: whether the consumer takes an event in each cycle; cyclic.

    Raises ArchsimError when ``ready`` never is.
    """
    if not isinstance(words, Mapping):
        words = {field.name: [word[field.name] for word in words] for field in params.i.fields}
    spikes = np.array(words["spikes"], np.uint64).reshape(-1, params.lanes)
    marks = [np.array(words[name], np.int64) for name in ("row", "shift", "subtract", "last")]
    cycles = run_words(spikes, *marks, np.asarray(gaps, np.int64), waits(ready), contract.LATENCY)
    # Nothing is left: each event that is taken clears what it stands for.
    return EncoderRun(*cycles, {"busy": 0, "remaining": [0] * params.lanes if params.lanes > 1 else 0, "shift": 0})
