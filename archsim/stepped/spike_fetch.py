"""Spike fetch, cycle by cycle: loop counters, an address register, a bank with one cycle of read latency, and a FIFO."""

from collections import namedtuple
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.core import SYNAPSE_FIELDS
from archsim.contracts.spike_fetch import ADDRESS_BITS, FIFO_DEPTH, SpikeFetchParams
from archsim.jit import njit
from archsim.stepped import fifo
from archsim.stepped.bits import checked, ones

Fields = namedtuple("Fields", [field.name for field in SYNAPSE_FIELDS])
"""A SYNAPSE instruction, for the kernels."""

Y, X, SLICE, DY, DX, WORD, DY_FIRST, DY_END, DX_FIRST, DX_END, EMPTY, ACTIVE, FLYING = range(13)
"""Registers: loop counters, bounds of the taps inside the map, no tap is inside, words remain, a read is under way."""

ROW, SHIFT, SUBTRACT, LAST = -4, -3, -2, -1
"""Marks of a word, behind its lanes."""

MARKS = 4
"""Number of them."""


@njit
def begin(f, walk):
    """Clock edge of the start: load the counters with the first window."""
    walk[:] = 0
    walk[ACTIVE] = 1
    _window(f, walk)


@njit
def _window(f, walk):
    """Bounds of the window of the current position."""
    y, x = f.in_y + walk[Y] * f.stride, f.in_x + walk[X] * f.stride
    walk[DY_FIRST], walk[DY_END] = max(0, -y), min(f.kernel_height, f.in_height - y)
    walk[DX_FIRST], walk[DX_END] = max(0, -x), min(f.kernel_width, f.in_width - x)
    walk[EMPTY] = walk[DY_FIRST] >= walk[DY_END] or walk[DX_FIRST] >= walk[DX_END]
    _first_tap(walk)


@njit
def _first_tap(walk):
    walk[DY], walk[DX], walk[WORD] = walk[DY_FIRST], walk[DX_FIRST], 0


@njit
def clock(f, word_bits, walk, queue, store, flight, bank):
    """One cycle, after the encoder took its word: the word read in the cycle before enters the FIFO, the next read is issued."""
    room = queue[fifo.COUNT] + walk[FLYING] < FIFO_DEPTH
    if walk[FLYING]:
        fifo.push(queue, store, flight)
        walk[FLYING] = 0
    if walk[ACTIVE] and room:
        _read(f, word_bits, walk, flight, bank)
        _advance(f, walk)


@checked
def _read(f, word_bits, walk, flight, bank):
    """Present a read (its data is used in the next cycle) and the marks that accompany the word."""
    lanes = bank.shape[1]
    y, x = walk[Y] * f.stride + walk[DY], walk[X] * f.stride + walk[DX]
    row = f.in_origin + y * f.y_stride + x * f.x_stride + walk[SLICE] * f.slice_stride + walk[WORD]
    flight[ROW] = f.weight_base + (walk[DY] * f.kernel_width + walk[DX]) * f.tap_rows + walk[WORD] * word_bits
    flight[:lanes] = 0
    if walk[EMPTY]:
        flight[ROW] = 0
    else:
        flight[:lanes] = bank[row & ones(ADDRESS_BITS)]
    first = walk[DY] == walk[DY_FIRST] and walk[DX] == walk[DX_FIRST] and walk[WORD] == 0
    flight[SHIFT] = f.planes and walk[SLICE] > 0 and first
    flight[SUBTRACT] = f.planes and f.signed and walk[SLICE] == 0
    flight[LAST] = _ends_slice(f, walk) and (f.planes == 0 or walk[SLICE] == f.slices - 1)
    walk[FLYING] = 1


@njit
def _ends_slice(f, walk):
    taps_end = walk[DY] == walk[DY_END] - 1 and walk[DX] == walk[DX_END] - 1
    return bool(walk[EMPTY]) or (taps_end and walk[WORD] == f.words - 1)


@njit
def _advance(f, walk):
    """The next word: words innermost, then kernel columns and rows, slices, output columns and rows."""
    if not _ends_slice(f, walk):
        walk[WORD] += 1
        if walk[WORD] == f.words:
            walk[WORD] = 0
            walk[DX] += 1
        if walk[DX] == walk[DX_END]:
            walk[DX] = walk[DX_FIRST]
            walk[DY] += 1
        return
    _first_tap(walk)
    walk[SLICE] += 1
    if walk[SLICE] < f.slices:
        return
    walk[SLICE] = 0
    walk[X] += 1
    if walk[X] == f.out_width:
        walk[X] = 0
        walk[Y] += 1
    if walk[Y] == f.out_height:
        walk[ACTIVE] = 0
    else:
        _window(f, walk)


class FetchRun(NamedTuple):
    """What a run of the fetch shows at its ports.

    Attributes:
        start: cycle in which each tile starts.
        words: spikes, uint64 [words, lanes].
        marks: int64 [words, 4]: weight row, shift, subtract, last.
        transferred: cycle in which each word was taken.
    """

    start: NDArray[np.int64]
    words: NDArray[np.uint64]
    marks: NDArray[np.int64]
    transferred: NDArray[np.int64]


@checked
def _run(f, word_bits, start, ready, bank, log):
    """Clock a tile from its start until its last word is taken; returns the words, and ``log`` grown to hold them."""
    lanes = bank.shape[1]
    walk, flight = np.zeros(13, np.int64), np.zeros(lanes + MARKS, np.int64)
    queue, store = np.zeros(2, np.int64), np.zeros((FIFO_DEPTH, lanes + MARKS), np.int64)
    begin(f, walk)
    cycle, count = start, 0
    while walk[ACTIVE] or walk[FLYING] or queue[fifo.COUNT]:
        cycle += 1
        if queue[fifo.COUNT] and ready[cycle % len(ready)]:
            if count == len(log):
                larger = np.zeros((2 * len(log), log.shape[1]), np.int64)
                larger[:count] = log
                log = larger
            log[count, :-1] = fifo.pop(queue, store)
            log[count, -1] = cycle
            count += 1
        clock(f, word_bits, walk, queue, store, flight, bank)
    return count, log


def run(
    params: SpikeFetchParams,
    tiles: Sequence[Mapping[str, int]],
    banks: NDArray[np.uint64],
    gaps: NDArray[np.int64],
    ready: NDArray[np.bool_],
) -> FetchRun:
    """Fetch tile after tile.

    Args:
        params: sizes.
        tiles: TILE_FIELDS of each instruction; missing ones are 0.
        banks: both spike banks, uint64 [2, rows, lanes].
        gaps: tile k starts ``gaps[k]`` cycles after the last word of the one before was taken (the first one in ``gaps[0]``).
        ready: whether the encoder takes a word in each cycle; cyclic.

    Raises ArchsimError when ``ready`` never is.
    """
    if not np.any(ready):
        raise ArchsimError("spike fetch: ready must be true in some cycle, given an encoder that never takes a word")
    start, free, parts = [], 0, [np.zeros((0, params.lanes + MARKS + 1), np.int64)]
    for fields, gap in zip(tiles, gaps, strict=True):
        f = Fields(*(int(fields.get(name, 0)) for name in Fields._fields))
        start.append(free + int(gap))
        log = np.zeros((64, params.lanes + MARKS + 1), np.int64)
        count, log = _run(
            f, params.word_bits, start[-1], np.asarray(ready, np.bool_), banks[f.in_bank].view(np.int64), log
        )
        parts.append(log[:count])
        free = int(log[count - 1, -1])
    words = np.concatenate(parts)
    spikes = np.ascontiguousarray(words[:, : params.lanes]).view(np.uint64)
    return FetchRun(np.array(start, np.int64), spikes, words[:, params.lanes : -1], words[:, -1])
