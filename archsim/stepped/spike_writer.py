"""Spike writer, cycle by cycle: position counters, granule writes, and the two OR stages of the pool."""

from collections import namedtuple

import numpy as np

from archsim.jit import njit
from archsim.stepped.bits import checked, put_granule
from archsim.stepped.neuron import BLOCK, LAST, SPIKES, STEP, VALID

Sizes = namedtuple("Sizes", "columns neurons bits blocks lanes_used")
"""The chip's sizes that the kernels of a core need; ``lanes_used`` is that of the instruction's steps."""

Y, X, SLICE, OUT, POOLED = range(5)
"""Counters: position and slice of the next granule, positions written, column after the pool."""

AT_Y, AT_X, AT_SLICE, AT_POOLED, ENDS_POSITION, ENDS_TILE = range(5, 11)
"""Marks that accompany a granule through the pool, behind its own."""


@njit
def registers(f):
    """(counters, pipeline, running ORs of a row, line buffer) of an instruction, before its start."""
    entries = (1 if f.planes else f.slices) * f.blocks * f.steps
    pooled = f.out_width // 2 + 1
    lines = np.zeros((pooled, entries), np.int64) if f.pool else np.zeros((1, 1), np.int64)
    return np.zeros(5, np.int64), np.zeros((2, 11), np.int64), np.zeros(entries, np.int64), lines


@njit
def clock(f, size, granule, at, pipe, columns, lines, bank):
    """One cycle: take the granule if there is one; returns whether the last one of the tile left the unit in this cycle."""
    if not f.pool:
        if granule[VALID] == 0:
            return False
        _write(f, size, at[OUT], at[SLICE], granule, granule[SPIKES], bank)
        _count(f, granule, at, pipe[0])
        at[OUT] += pipe[0, ENDS_POSITION]
        return pipe[0, ENDS_TILE] != 0
    done = _rows(f, size, at, pipe[1], lines, bank)
    pipe[1] = pipe[0]
    if pipe[1, VALID]:
        _columns(f, pipe[1], columns)
    pipe[0, : SPIKES + 1] = granule
    if granule[VALID]:
        _count(f, granule, at, pipe[0])
    return done


@njit
def _count(f, granule, at, entry):
    """Mark an accepted granule with its place and advance the counters at the end of a group."""
    entry[AT_Y], entry[AT_X], entry[AT_SLICE], entry[AT_POOLED] = at[Y], at[X], at[SLICE], at[POOLED]
    ends_column = at[X] & 1 == 1 or at[X] == f.out_width - 1
    entry[ENDS_POSITION] = granule[LAST] and (f.planes or at[SLICE] == f.slices - 1)
    entry[ENDS_TILE] = entry[ENDS_POSITION] and at[X] == f.out_width - 1 and at[Y] == f.out_height - 1
    if not granule[LAST]:
        return
    at[SLICE] += 1
    if not entry[ENDS_POSITION]:
        return
    at[SLICE] = 0
    at[POOLED] += ends_column
    at[X] += 1
    if at[X] == f.out_width:
        at[X] = at[POOLED] = 0
        at[Y] += 1


@njit
def _entry(f, granule):
    """Place of a granule among those of its position."""
    return (granule[AT_SLICE] * f.blocks + granule[BLOCK]) * f.steps + granule[STEP]


@checked
def _columns(f, granule, columns):
    """Column stage: OR with the running OR; an odd column ends one window and begins the next."""
    index = _entry(f, granule)
    own = granule[SPIKES]
    if granule[AT_X] > 0:
        granule[SPIKES] |= columns[index]
    columns[index] = own if granule[AT_X] & 1 else granule[SPIKES]


@checked
def _rows(f, size, at, granule, lines, bank):
    """Row stage: the same over rows, for columns that are complete; writes where the row is complete too."""
    if granule[VALID] == 0:
        return False
    x, y = granule[AT_X], granule[AT_Y]
    if x & 1 or x == f.out_width - 1:
        index, own = _entry(f, granule), granule[SPIKES]
        spikes = own | lines[granule[AT_POOLED], index] if y > 0 else own
        odd = (y + f.pool_first_odd) & 1
        lines[granule[AT_POOLED], index] = own if odd else spikes
        # A tile that begins with an odd row only adds it in: the window that it ends belongs to the tile before.
        if y == f.out_height - 1 and not odd or odd and not (y == 0 and f.pool_first_odd):
            _write(f, size, at[OUT], granule[AT_SLICE], granule, spikes, bank)
            at[OUT] += granule[ENDS_POSITION]
    return granule[ENDS_TILE] != 0


@checked
def _write(f, size, position, index, granule, spikes, bank):
    """Write a granule at an output position, into the slice and lane of its time step."""
    if not f.spike_out or f.psum_out:
        return
    lane = granule[STEP]
    if f.planes or f.replay:
        index, lane = lane // size.lanes_used, lane % size.lanes_used
    row = f.out_base + position * f.out_position + index * f.out_slice
    put_granule(bank[row], lane, granule[BLOCK], size.neurons, spikes)
