"""Bit transposer, fast: blocks as 64-bit words, and the cycles of their handshakes, from transaction to transaction."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import transposer as contract
from archsim.contracts.transposer import TransposerParams
from archsim.handshake import taken, waits
from archsim.jit import lowest_bit, njit


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
def transpose(words, columns):
    """The block ``words`` (uint64, any count up to ``len(columns)``) as its columns, into ``columns``."""
    columns[:] = 0
    for number in range(len(words)):
        left = words[number]
        while left:
            columns[lowest_bit(left)] |= np.uint64(1) << np.uint64(number)
            left &= left - np.uint64(1)


@njit
def run_blocks(bits, last, size, gaps, wait, latency, turn):
    """Law over all words: accept cycles, words of the results, transfer cycles, and the number of the first word not given back."""
    accepted = np.zeros(len(bits), np.int64)
    columns, transferred = np.zeros(size * len(bits), np.uint64), np.zeros(size * len(bits), np.int64)
    before, free, first, count = (
        -1,
        0,
        0,
        0,
    )  # acceptance of the word before; array free from; the block's first word; results
    for word in range(len(bits)):
        accepted[word] = before = max(before + 1 + gaps[word], free)
        if last[word] or word - first == size - 1:
            transpose(bits[first : word + 1], columns[count : count + size])
            offered = before + latency
            for column in range(count, count + size):
                transferred[column] = taken(offered, wait)
                offered = transferred[column] + 1
            count += size
            first, free = word + 1, transferred[count - 1] + turn
    return accepted, columns[:count], transferred[:count], first


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
    if not isinstance(words, Mapping):
        words = {field.name: [word[field.name] for word in words] for field in params.i.fields}
    size, bits = params.word_bits, np.array(words["bits"], np.uint64)
    accepted, columns, transferred, first = run_blocks(
        bits, np.array(words["last"], np.int64), size, np.asarray(gaps, np.int64), waits(ready), contract.LATENCY,
        contract.TURN,
    )  # fmt: skip
    # A block that is not complete stays in the rows.
    left = [int(word) for word in bits[first:]]
    rows = left + [0] * (size - len(left))
    last = (np.arange(len(columns)) % size == size - 1).astype(np.int64)
    state = {"rows": rows if size > 1 else rows[0], "index": len(left), "draining": 0}
    return TransposerRun(accepted, columns, last, transferred, state)
