"""Event encoder, cycle by cycle: one word register, a priority scan over the OR of its lanes, a valid/ready port on each side."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import event_encoder as contract
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.event_encoder import ADD, SHIFT, SUBTRACT, EventEncoderParams
from archsim.jit import njit
from archsim.stepped.bits import channel

BUSY, DOUBLE, ROW, MINUS, LAST = range(5)
"""Control registers: a word is held; its shift event is still to come; weight row; subtract; last word of the group."""

OP, EVENT_ROW, MASK, EVENT_LAST = range(4)
"""Columns of an event."""

_lowest = njit(contract.step)


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
def offer(regs, remaining, event):
    """Drive the output from the registers: fill ``event`` and return valid."""
    if regs[BUSY] == 0:
        return False
    event[EVENT_ROW], event[MASK], event[EVENT_LAST] = regs[ROW], 0, 0
    if regs[DOUBLE]:
        event[OP] = SHIFT
        return True
    union = 0
    for word in remaining:
        union |= word
    low = _lowest(union)
    event[OP] = SUBTRACT if regs[MINUS] else ADD
    if low != 0:
        event[EVENT_ROW] += channel(low)
        for lane in range(len(remaining)):
            if remaining[lane] & low:
                event[MASK] |= 1 << lane
    event[EVENT_LAST] = regs[LAST] if union == low else 0
    return True


@njit
def take(regs, remaining):
    """Clock edge of a cycle in which the offered event was taken."""
    if regs[DOUBLE]:
        regs[DOUBLE] = 0
        return
    union = 0
    for word in remaining:
        union |= word
    low = _lowest(union)
    for lane in range(len(remaining)):
        remaining[lane] &= ~low
    if union == low:
        regs[BUSY] = 0


@njit
def put(regs, remaining, spikes, row, shift, subtract, last):
    """Clock edge of a cycle in which a word was accepted: the register was free, or its last event was taken in this cycle."""
    remaining[:] = spikes
    regs[BUSY] = 1
    regs[DOUBLE], regs[ROW], regs[MINUS], regs[LAST] = shift, row, subtract, last


@njit
def _grown(values):
    larger = np.zeros((2 * values.shape[0], values.shape[1]), values.dtype)
    larger[: values.shape[0]] = values
    return larger


@njit
def _run(spikes, row, shift, subtract, last, gaps, ready):
    words = len(row)
    regs, remaining = np.zeros(5, np.int64), np.zeros(spikes.shape[1], np.int64)
    accepted = np.zeros(words, np.int64)
    event, log = np.zeros(4, np.int64), np.zeros((64, 5), np.int64)
    taken, word, cycle = 0, 0, 0
    offered_from = gaps[0] if words else 0
    while word < words or regs[BUSY]:
        if offer(regs, remaining, event) and ready[cycle % len(ready)]:
            if taken == len(log):
                log = _grown(log)
            log[taken, :4] = event
            log[taken, 4] = cycle
            taken += 1
            take(regs, remaining)
        if word < words and cycle >= offered_from and regs[BUSY] == 0:
            put(regs, remaining, spikes[word], row[word], shift[word], subtract[word], last[word])
            accepted[word] = cycle
            word += 1
            if word < words:
                offered_from = cycle + 1 + gaps[word]
        cycle += 1
    return accepted, log[:taken], regs, remaining


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
    if not np.any(ready):
        raise ArchsimError(
            "event encoder: ready must be true in some cycle, given a consumer that never takes an event"
        )
    if not isinstance(words, Mapping):
        words = {field.name: [word[field.name] for word in words] for field in params.i.fields}
    spikes = np.array(words["spikes"], np.uint64).reshape(-1, params.lanes).view(np.int64)
    marks = [np.array(words[name], np.int64) for name in ("row", "shift", "subtract", "last")]
    accepted, log, regs, remaining = _run(spikes, *marks, np.asarray(gaps, np.int64), np.asarray(ready, np.bool_))
    left = [int(word) for word in remaining.view(np.uint64)]
    state = {"busy": int(regs[BUSY]), "remaining": left if params.lanes > 1 else left[0], "shift": int(regs[DOUBLE])}
    return EncoderRun(accepted, log[:, :4].copy(), log[:, 4].copy(), state)
