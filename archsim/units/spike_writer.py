"""Spike writer, fast: granules into rows, and the OR pool as a running OR over columns and a line buffer over rows."""

import numpy as np

from archsim.contracts import spike_writer
from archsim.jit import njit

emits = njit(spike_writer.emits)
pooled_size = spike_writer.pooled_size


@njit
def store(bank, row, lane, shift, granule, neurons):
    """Replace ``neurons`` bits from bit ``shift`` of a lane of a row; the first granule clears the rest of the row."""
    if shift == 0 and lane == 0:
        bank[row] = 0
    ones = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - neurons)
    mask = ones << np.uint64(shift)
    bank[row, lane] = (bank[row, lane] & ~mask) | ((np.uint64(granule) & ones) << np.uint64(shift))


@njit
def pool(y, x, first, height, width, granule, columns, lines):
    """Add a granule at (y, x) of a tile to the pool; returns (complete, pooled granule).

    Args:
        y: row in the tile, from 0.
        x: column in the tile, from 0.
        first: 1 if the tile begins with an odd row (the one above its first pooled row).
        height: rows of the tile, before the pool.
        width: columns of the tile, before the pool.
        granule: P spikes as a uint64.
        columns: uint64 [1], running OR over columns of this block and step.
        lines: uint64 [pooled width], line buffer of this block and step.
    """
    if x == 0:
        columns[0] = np.uint64(0)
    across = columns[0] | granule
    if not emits(x, width):
        columns[0] = across
        return False, granule
    columns[0] = granule
    row = y + first
    entry = x // 2
    whole = lines[entry] | across if y > 0 else across
    lines[entry] = across if row % 2 == 1 else whole
    complete = (row % 2 == 1 and y > 0) or (row % 2 == 0 and y == height - 1)
    return complete, whole
