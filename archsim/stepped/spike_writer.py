"""Spike writer, cycle by cycle: position counters, granule writes, and the two OR stages of the pool."""

from collections import namedtuple
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.core import SYNAPSE_FIELDS
from archsim.contracts.spike_writer import SpikeWriterParams
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
    odd = (at[X] + f.pool_left_odd) & 1
    ends_column = not (at[X] == 0 and f.pool_left_odd) if odd else at[X] == f.out_width - 1
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
    columns[index] = own if (granule[AT_X] + f.pool_left_odd) & 1 else granule[SPIKES]


@checked
def _rows(f, size, at, granule, lines, bank):
    """Row stage: the same over rows, for columns that are complete; writes where the row is complete too."""
    if granule[VALID] == 0:
        return False
    x, y = granule[AT_X], granule[AT_Y]
    odd = (x + f.pool_left_odd) & 1
    if x == f.out_width - 1 and not odd or odd and not (x == 0 and f.pool_left_odd):
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
    step = granule[STEP] + (0 if f.planes else index * f.steps)
    index, lane = step // size.lanes_used, step % size.lanes_used
    row = f.out_base + position * f.out_position + index * f.out_slice
    put_granule(bank[row], lane, granule[BLOCK], size.neurons, spikes)


Fields = namedtuple("Fields", [field.name for field in SYNAPSE_FIELDS])
"""Fields of a SYNAPSE, for the kernels."""


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


@checked
def _run(f, size, granules, gaps, start, bank, accepted):
    """Clock an instruction from its start until the last granule has left; returns the cycle in which it is done."""
    at, pipe, columns, lines = registers(f)
    granule = np.zeros(5, np.int64)
    cycle, sent, block, step, done = start, 0, 0, 0, False
    offered = start + 1 + gaps[0]
    while not done:
        cycle += 1
        granule[VALID] = sent < len(granules) and cycle == offered
        if granule[VALID]:
            granule[BLOCK], granule[STEP], granule[SPIKES] = block, step, granules[sent]
            granule[LAST] = block == f.blocks - 1 and step == f.steps - 1
            accepted[sent] = cycle
            sent += 1
            if sent < len(granules):
                offered = cycle + 1 + gaps[sent]
            step += 1
            if step == f.steps:
                step, block = 0, (block + 1) % f.blocks
        done = clock(f, size, granule, at, pipe, columns, lines, bank)
    return cycle + 1


def run(
    params: SpikeWriterParams,
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
    start, done, accepted, first = [], [], [], 0
    for fields, spikes, pause in zip(instructions, granules, pauses.tolist(), strict=True):
        f = Fields(*(int(fields.get(name, 0)) for name in Fields._fields))
        size = Sizes(params.blocks * params.neurons, params.neurons, 0, params.blocks, max(1, f.lanes))
        times, own = np.zeros(len(spikes), np.int64), np.asarray(gaps[first : first + len(spikes)], np.int64)
        start.append((done[-1] if done else 0) + pause)
        spikes = np.ascontiguousarray(spikes, np.uint64).view(np.int64)
        done.append(_run(f, size, spikes, own, start[-1], banks[f.out_bank].view(np.int64), times))
        accepted.append(times)
        first += len(spikes)
    return WriterRun(np.array(start, np.int64), np.array(done, np.int64), np.concatenate(accepted))
