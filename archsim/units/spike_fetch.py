"""Spike fetch, fast: the words of a tile, and the cycles in which they leave."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import spike_fetch
from archsim.handshake import taken, waits
from archsim.jit import entry, kernel, njit, popcount
from archsim.units.event_encoder import word_cycles
from archsim.vectors import WIDTH, list_bits

clip = njit(spike_fetch.clip)
"""First tap and end tap of a window, from the contract."""

ADDRESS_MASK = (1 << spike_fetch.ADDRESS_BITS) - 1

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


@njit
def tile_words(f, spikes, word_bits, words, marks):
    """Words and marks of a tile in order, if there is room for them (``words`` [0, lanes]: only count); returns how many."""
    count, room = 0, len(words) > 0
    for y in range(f.out_height):
        top, bottom = clip(f.in_y + y * f.stride, f.kernel_height, f.in_height)
        for x in range(f.out_width):
            left, right = clip(f.in_x + x * f.stride, f.kernel_width, f.in_width)
            origin = f.in_origin + f.stride * (y * f.y_stride + x * f.x_stride)
            inside = max(0, bottom - top) * max(0, right - left)
            for index in range(f.slices):
                first, number = count, max(1, inside * f.words)
                count += number
                if not room:
                    continue
                words[first] = 0
                marks[first:count] = 0
                if inside:
                    window_words(f, spikes, word_bits, origin, top, bottom, left, right, index, words, marks, first)
                marks[first, 1] = f.planes and index > 0
                marks[first:count, 2] = f.planes and f.signed and index == 0
                marks[count - 1, 3] = not f.planes or index == f.slices - 1
    return count


@njit
def window_words(f, spikes, word_bits, origin, top, bottom, left, right, index, words, marks, number):
    """Words of the taps of a window inside the map, from ``number`` on."""
    for dy in range(top, bottom):
        for dx in range(left, right):
            base = origin + dy * f.y_stride + dx * f.x_stride + index * f.slice_stride
            row = f.weight_base + (dy * f.kernel_width + dx) * f.tap_rows
            for word in range(f.words):
                words[number] = spikes[(base + word) & ADDRESS_MASK]
                marks[number, 0] = row + word * word_bits
                number += 1


@kernel
def count_words(f, origin, window, shift, spikes, lanes):
    """Words of one (position, slice): their cycles, how many are empty, their events and lane events."""
    top, bottom, left, right = window
    # Copies: the compiler does not know that the rows are stored elsewhere than the fields.
    words, y_stride, x_stride = f.words, f.y_stride, f.x_stride
    cycles, empty, events, lane_events = 0, 0, 0, 0
    for dy in range(top, bottom):
        for dx in range(left, right):
            base = origin + dy * y_stride + dx * x_stride
            for word in range(words):
                union, address = np.uint64(0), (base + word) & ADDRESS_MASK
                for lane in range(lanes):
                    bits = spikes[address, lane]
                    union |= bits
                    lane_events += popcount(bits)
                count = popcount(union)
                cycles += word_cycles(count, shift)
                events += count
                empty += count == 0
                shift = 0
    return cycles, empty, events, lane_events


NARROW = 32
"""Rows of a tap up to which one list of a word holds several taps."""


@kernel
def list_taps(f, origin, window, spikes, lane, rows):
    """:func:`list_events` of taps of one narrow word each: as many as fit are put side by side, as their weight rows are."""
    top, bottom, left, right = window
    y_stride, x_stride, kernel_width, tap_rows = f.y_stride, f.x_stride, f.kernel_width, f.tap_rows
    side, first, end = np.uint64(0), f.weight_base, 0
    for dy in range(top, bottom):
        base, row = origin + dy * y_stride, f.weight_base + (dy * kernel_width + left) * tap_rows
        for dx in range(left, right):
            word = spikes[(base + dx * x_stride) & ADDRESS_MASK, lane]
            if row + tap_rows > first + WIDTH:
                end = list_bits(rows, end, side, first)
                side, first = np.uint64(0), row
            if word >> np.uint64(tap_rows):  # spikes behind the channels of the map
                end = list_bits(rows, end, word, row)
            else:
                side |= word << np.uint64(row - first)
            row += tap_rows
    return list_bits(rows, end, side, first)


@kernel
def list_events(f, origin, window, spikes, lane, columns, rows):
    """Weight rows of a lane's events in one (position, slice) into ``rows``; returns how many."""
    top, bottom, left, right = window
    words, y_stride, x_stride, kernel_width = f.words, f.y_stride, f.x_stride, f.kernel_width
    weight_base, tap_rows, end = f.weight_base, f.tap_rows, 0
    if words == 1 and tap_rows <= NARROW:
        return list_taps(f, origin, window, spikes, lane, rows)
    for dy in range(top, bottom):
        for dx in range(left, right):
            base = origin + dy * y_stride + dx * x_stride
            row = weight_base + (dy * kernel_width + dx) * tap_rows
            for word in range(words):
                end = list_bits(rows, end, spikes[(base + word) & ADDRESS_MASK, lane], row)
                row += columns
    return end


@njit
def leave(start, count, wait, first_word, transferred):
    """Law of a tile that starts in ``start``: the FIFO is never empty once the first word is offered."""
    offered = start + first_word
    for number in range(count):
        transferred[number] = taken(offered, wait)
        offered = transferred[number] + 1


def run(
    params: spike_fetch.SpikeFetchParams,
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
    wait, free = waits(ready), 0
    none, no_marks = np.zeros((0, params.lanes), np.uint64), np.zeros((0, 4), np.int64)
    start, parts = np.zeros(len(tiles), np.int64), [(none, no_marks, np.zeros(0, np.int64))]
    for number, fields in enumerate(tiles):
        tile = entry(spike_fetch.TILE_FIELDS, fields)
        bank = banks[tile["in_bank"]]
        count = tile_words(tile, bank, params.word_bits, none, no_marks)
        words, marks = np.zeros((count, params.lanes), np.uint64), np.zeros((count, 4), np.int64)
        tile_words(tile, bank, params.word_bits, words, marks)
        transferred = np.zeros(count, np.int64)
        start[number] = free + gaps[number]
        leave(start[number], count, wait, spike_fetch.FIRST_WORD, transferred)
        free = transferred[-1]
        parts.append((words, marks, transferred))
    return FetchRun(start, *(np.concatenate(part) for part in zip(*parts, strict=True)))
