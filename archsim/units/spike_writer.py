"""Spike writer, fast: granules into rows, and the OR pool as a running OR over columns and a line buffer over rows."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import spike_writer
from archsim.contracts.core import SYNAPSE_FIELDS
from archsim.jit import entry, kernel, njit

emits = njit(spike_writer.emits)
pooled_size = njit(spike_writer.pooled_size)


@kernel
def store(bank, row, lane, shift, granule, neurons):
    """Replace ``neurons`` bits from bit ``shift`` of a lane of a row; the first granule clears the rest of the row."""
    if shift == 0 and lane == 0:
        bank[row] = 0
    ones = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - neurons)
    mask = ones << np.uint64(shift)
    bank[row, lane] = (bank[row, lane] & ~mask) | ((np.uint64(granule) & ones) << np.uint64(shift))


@kernel
def pool(y, x, first, left, height, width, granule, columns, lines):
    """Add a granule at (y, x) of a tile to the pool; returns (complete, pooled granule).

    Args:
        y: row in the tile, from 0.
        x: column in the tile, from 0.
        first: 1 if the tile begins with an odd row (the one above its first pooled row).
        left: 1 if the tile begins with an odd column.
        height: rows of the tile, before the pool.
        width: columns of the tile, before the pool.
        granule: P spikes as a uint64.
        columns: uint64 [1], running OR over columns of this block and step.
        lines: uint64 [pooled width], line buffer of this block and step.
    """
    across = columns[0] | granule if x > 0 else granule
    columns[0] = granule if (x + left) % 2 == 1 else across
    if not emits(x, width, left):
        return False, granule
    entry = (x - left) // 2
    whole = lines[entry] | across if y > 0 else across
    lines[entry] = across if (y + first) % 2 == 1 else whole
    return emits(y, height, first), whole


@kernel
def pooled(f, y, x, t, block, granule, columns, lines):
    """Pass a granule of a tile on, through the pool if there is one; returns (complete, granule, output position)."""
    if not f.pool:
        return True, np.uint64(granule), y * f.out_width + x
    entry = t * f.blocks + block
    complete, granule = pool(
        y, x, f.pool_first_odd, f.pool_left_odd, f.out_height, f.out_width, granule, columns[entry], lines[entry]
    )
    width = pooled_size(f.out_width, f.pool_left_odd)
    return complete, granule, (y - f.pool_first_odd) // 2 * width + (x - f.pool_left_odd) // 2


@kernel
def output_row(f, position, t):
    """Row of the output bank for time step ``t`` of an output position."""
    return f.out_base + position * f.out_position + (t if f.lanes == 1 else t // f.lanes) * f.out_slice


class WriterRun(NamedTuple):
    """What a run of the writer shows at its ports; cycles of each instruction.

    Attributes:
        start: the first cycle.
        done: the cycle in which it is done.
        accepted: cycle of every granule, of all instructions.
    """

    start: NDArray[np.int64]
    done: NDArray[np.int64]
    accepted: NDArray[np.int64]


@njit
def write_tile(f, neurons, granules, columns, lines, bank):
    """All granules of an instruction in their order: positions, slices, blocks, steps."""
    number = 0
    for y in range(f.out_height):
        for x in range(f.out_width):
            for index in range(1 if f.planes else f.slices):
                for block in range(f.blocks):
                    for step in range(f.steps):
                        t = index * f.steps + step
                        complete, granule, place = pooled(f, y, x, t, block, granules[number], columns, lines)
                        if f.spike_out and complete and not f.psum_out:
                            store(bank, output_row(f, place, t), t % f.lanes, block * neurons, granule, neurons)
                        number += 1


def run(
    params: spike_writer.SpikeWriterParams,
    instructions: Sequence[Mapping[str, int]],
    granules: Sequence[NDArray[np.uint64]],
    gaps: NDArray[np.int64],
    pauses: NDArray[np.int64],
    banks: NDArray[np.uint64],
) -> WriterRun:
    """Write the granules of instruction after instruction.

    Args:
        params: sizes.
        instructions: SYNAPSE_FIELDS of each that matter here; missing ones are 0.
        granules: spikes of each instruction's granules, in their order.
        gaps: granule k of all comes ``gaps[k]`` + 1 cycles after the one before, or after the start.
        pauses: an instruction starts so many cycles after the one before is done, the first in cycle ``pauses[0]``.
        banks: both output banks, uint64 [2, rows, lanes]; written.
    """
    start, done, accepted, free, first = np.zeros(len(pauses), np.int64), np.zeros(len(pauses), np.int64), [], 0, 0
    for number, (fields, spikes) in enumerate(zip(instructions, granules, strict=True)):
        f = entry(SYNAPSE_FIELDS, fields)
        entries = int(f["blocks"] * f["steps"] * (1 if f["planes"] else f["slices"]) if f["pool"] else 0)
        columns, lines = np.zeros((entries, 1), np.uint64), np.zeros((entries, (int(f["out_width"]) + 1) // 2), np.uint64)
        write_tile(f, params.neurons, np.asarray(spikes, np.uint64), columns, lines, banks[f["out_bank"]])
        start[number] = free + pauses[number]
        times = start[number] + np.cumsum(gaps[first : first + len(spikes)] + 1)
        first, free = first + len(spikes), int(times[-1]) + (spike_writer.POOL_DONE if f["pool"] else spike_writer.DONE)
        done[number] = free
        accepted.append(times)
    return WriterRun(start, done, np.concatenate(accepted))
