"""Bit transposer, cycle by cycle: W rows of W registers, written one after the other, shifted together."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.transposer import TransposerParams
from archsim.jit import njit
from archsim.stepped.bits import ones

INDEX, DRAINING = range(2)
"""Control registers: number of the next word to come or to leave; whether words leave."""


class TransposerRun(NamedTuple):
    """What a run of the transposer shows at its ports.

    Attributes:
        accepted: cycle in which each word was accepted.
        columns: uint64 [words of the results]: their bits.
        last: int64 [words of the results]: their mark.
        transferred: cycle in which each of them was taken.
        state: retired state, fields of ``TransposerParams.state``.
    """

    accepted: NDArray[np.int64]
    columns: NDArray[np.uint64]
    last: NDArray[np.int64]
    transferred: NDArray[np.int64]
    state: dict[str, int | list[int]]


@njit
def column(rows):
    """The word that is offered: bit 0 of every row."""
    word = 0
    for number in range(len(rows)):
        word |= (rows[number] & 1) << number
    return word


@njit
def take(regs, rows):
    """Clock edge of a cycle in which the offered word was taken: every row shifts down."""
    for number in range(len(rows)):
        # Bit 63 is the sign: no copies of it from above.
        rows[number] = (rows[number] >> 1) & ones(len(rows) - 1)
    regs[INDEX] += 1
    if regs[INDEX] == len(rows):
        regs[INDEX] = regs[DRAINING] = 0


@njit
def put(regs, rows, bits, last):
    """Clock edge of a cycle in which a word was accepted."""
    rows[regs[INDEX]] = bits
    regs[INDEX] += 1
    if last or regs[INDEX] == len(rows):
        regs[INDEX], regs[DRAINING] = 0, 1


@njit
def _run(size, bits, last, gaps, ready):
    regs, rows = np.zeros(2, np.int64), np.zeros(size, np.int64)
    accepted, log = np.zeros(len(bits), np.int64), np.zeros((size * len(bits), 3), np.int64)
    taken, word, cycle = 0, 0, 0
    offered_from = gaps[0] if len(bits) else 0
    while word < len(bits) or regs[DRAINING]:
        if regs[DRAINING]:
            if ready[cycle % len(ready)]:
                log[taken, 0], log[taken, 1], log[taken, 2] = column(rows), regs[INDEX] == size - 1, cycle
                taken += 1
                take(regs, rows)
        elif cycle >= offered_from:
            put(regs, rows, bits[word], last[word])
            accepted[word] = cycle
            word += 1
            if word < len(bits):
                offered_from = cycle + 1 + gaps[word]
        cycle += 1
    return accepted, log[:taken], regs, rows


def run(
    params: TransposerParams,
    words: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    gaps: NDArray[np.int64],
    ready: NDArray[np.bool_],
) -> TransposerRun:
    """Feed words to an idle transposer until the last word of the last whole block's result is taken.

    Args:
        params: size.
        words: arrays by field of ``params.i``, or one mapping a word.
        gaps: word k is offered from ``accepted[k - 1] + 1 + gaps[k]`` on, word 0 from ``gaps[0]`` on.
        ready: whether the consumer takes a word in each cycle; cyclic.

    Raises ArchsimError when ``ready`` never is.
    """
    if not np.any(ready):
        raise ArchsimError("transposer: ready must be true in some cycle, given a consumer that never takes a word")
    if not isinstance(words, Mapping):
        words = {field.name: [word[field.name] for word in words] for field in params.i.fields}
    bits = np.array(words["bits"], np.uint64).view(np.int64)
    accepted, log, regs, rows = _run(
        params.word_bits,
        bits,
        np.array(words["last"], np.int64),
        np.asarray(gaps, np.int64),
        np.asarray(ready, np.bool_),
    )
    held = [int(row) for row in rows.view(np.uint64)]
    state = {
        "rows": held if len(held) > 1 else held[0], "index": int(regs[INDEX]), "draining": int(regs[DRAINING]),
    }  # fmt: skip
    return TransposerRun(accepted, log[:, 0].copy().view(np.uint64), log[:, 1].copy(), log[:, 2].copy(), state)
