"""Groups of a SYNAPSE, fast: the cycles of each and what its words hold, counted once for all instructions that read the same.

A layer of several column groups sends the words of its tiles again and again. What they cost fetch and encoder follows from the
words alone, so it is kept by core, of the last few tiles, as long as their bank is not written.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.jit import kernel
from archsim.units.event_encoder import word_cycles
from archsim.units.spike_fetch import clip, count_words

TOTALS = WORDS, PADDING, EMPTY, EVENTS, LANE_EVENTS, SILENT = range(6)
"""Totals of a tile: words read, windows wholly on padding, empty words, events, events by lane, groups without an event."""

NEVER = -1
"""Version of a bank that is taken as changed each time."""


class Counted(NamedTuple):
    """What was counted last for each core.

    Attributes:
        key: int64 [cores, KEPT, KEY], of what tile of which bank.
        totals: int64 [cores, KEPT, len(TOTALS)].
        cycles: int64 [cores, KEPT, groups], of each group.
        turn: int64 [cores], the tile that makes room for the next.
    """

    key: NDArray[np.int64]
    totals: NDArray[np.int64]
    cycles: NDArray[np.int64]
    turn: NDArray[np.int64]

    @classmethod
    def empty(cls, cores: int, groups: int) -> "Counted":
        """For instructions of at most ``groups`` groups."""
        return cls(
            np.full((cores, KEPT, KEY), NEVER), np.zeros((cores, KEPT, len(TOTALS)), np.int64),
            np.zeros((cores, KEPT, groups), np.int64), np.zeros(cores, np.int64),
        )  # fmt: skip


KEPT = 8
"""Tiles that are kept of a core; of Spikingformer-8-512 they save half of all words, and any number of them little more."""

KEY = 19
"""Numbers that name a tile: leader, version of its bank, and the fields that the words depend on."""


@kernel
def key_of(f, leader, version):
    """What the words of a tile depend on; weight rows, columns and all that stands behind the adders do not matter."""
    return (
        leader, version, f.in_bank, f.in_origin, f.in_y, f.in_x, f.in_height, f.in_width, f.y_stride, f.x_stride,
        f.slice_stride, f.slices, f.words, f.planes, f.kernel_height, f.kernel_width, f.stride, f.out_height, f.out_width,
    )  # fmt: skip


@kernel
def kept(key, keys):
    """Which of the tiles that are kept has this key; NEVER: none."""
    for place in range(KEPT):
        number = 0
        while number < KEY and keys[place, number] == key[number]:
            number += 1
        if number == KEY:
            return place
    return NEVER


@kernel
def count_groups(f, spikes, leader, version, member, counted):
    """Cycles and totals of the groups of a tile, counted if they are not there already; returns their place among those kept."""
    key = key_of(f, leader, version)
    place = NEVER if version == NEVER else kept(key, counted.key[member])
    if place != NEVER:
        return place
    place = counted.turn[member]
    counted.turn[member] = (place + 1) % KEPT
    for number in range(KEY):
        counted.key[member, place, number] = key[number]
    words, padding, empty, events, lane_events, group, total = 0, 0, 0, 0, 0, 0, 0
    silent, before = 0, 0  # groups without an event, and events before the present group
    cycles, lanes = counted.cycles[member, place], spikes.shape[1]
    for y in range(f.out_height):
        top, bottom = clip(f.in_y + y * f.stride, f.kernel_height, f.in_height)
        for x in range(f.out_width):
            left, right = clip(f.in_x + x * f.stride, f.kernel_width, f.in_width)
            origin, window = f.in_origin + f.stride * (y * f.y_stride + x * f.x_stride), (top, bottom, left, right)
            inside = max(0, bottom - top) * max(0, right - left) * f.words
            for index in range(f.slices):
                shift, start = 1 if f.planes and index > 0 else 0, origin + index * f.slice_stride
                if inside == 0:
                    total += word_cycles(0, shift)
                    padding += 1
                else:
                    if lanes == 1:  # a constant, for which the loop over lanes falls away
                        part = count_words(f, start, window, shift, spikes, 1)
                    else:
                        part = count_words(f, start, window, shift, spikes, lanes)
                    total, empty, events = total + part[0], empty + part[1], events + part[2]
                    lane_events, words = lane_events + part[3], words + inside
                if not f.planes or index == f.slices - 1:
                    cycles[group] = total
                    group, total = group + 1, 0
                    silent, before = silent + (events == before), events
    totals = counted.totals[member, place]
    totals[WORDS], totals[PADDING], totals[EMPTY] = words, padding, empty
    totals[EVENTS], totals[LANE_EVENTS], totals[SILENT] = events, lane_events, silent
    return place
