"""Spike fetch, cycle by cycle: loop counters, an address register, a bank with one cycle of read latency, and a FIFO."""

from collections import namedtuple

from archsim.contracts.core import SYNAPSE_FIELDS
from archsim.contracts.spike_fetch import ADDRESS_BITS, FIFO_DEPTH
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
