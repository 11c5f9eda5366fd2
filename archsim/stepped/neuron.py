"""Neuron unit, cycle by cycle: a read stage, a membrane-input stage and a neuron stage; writes happen in the last.

A group's last block blocks the input while it is in the two stages behind the read, so that its writes come before the next reads.
"""

from collections import namedtuple
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import neuron as contract
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.core import SYNAPSE_FIELDS
from archsim.jit import njit
from archsim.stepped.bits import checked, wrap

Config = namedtuple("Config", "kind bits neurons psum_in psum_out residual_in residual_out reduce maximum")
"""What is constant during an instruction."""

VALID, BLOCK, STEP, LAST, FRESH, CLEAR, PSUM, RESIDUAL_IN, RESIDUAL_OUT, REDUCE = range(10)
"""Control registers of a stage: block, step, end of group; the neuron starts anew, the reduction starts from 0; rows."""

SPIKES = 4
"""A granule holds VALID, BLOCK, STEP, LAST and its spikes."""

TOTAL, BIAS, THRESHOLD, SHIFT, PARTIAL, RESIDUE, SUM, MEMBRANE = range(8)
"""Data registers of the membrane-input stage, P each: accumulators, parameters, and what the memories answered."""

STORED, INPUT, COMPARE, OLD_SUM, OLD_MEMBRANE, RUNNING_SUM, RUNNING_MEMBRANE = range(8, 15)
"""Data registers of the neuron stage: sum + psum, y, threshold, memory answers, and the running values of a block's steps."""

DATA = 15
"""Number of data registers."""

POSITION, SLICE = 0, 1
"""Counters of the address generator."""

_membrane_input = njit(contract.membrane_input)
_membrane_maximum = njit(contract.membrane_maximum)
_potential = njit(contract.potential)
_reset = njit(contract.reset)
_initial = njit(contract.initial)


@checked
def clock(c, pipe, data, granule, psum, residual, reduce, membranes, wrote):
    """One cycle of the stages behind the read; returns ready: no end of a group is in them.

    ``granule`` has been taken by the writer before; ``wrote`` gets the rows that are written in this cycle.
    """
    ready = not ((pipe[0, VALID] and pipe[0, LAST]) or (pipe[1, VALID] and pipe[1, LAST]))
    wrote[:] = -1
    granule[VALID] = pipe[1, VALID]
    if pipe[1, VALID]:
        granule[BLOCK : LAST + 1] = pipe[1, BLOCK : LAST + 1]
        granule[SPIKES] = 0
        if c.psum_out:
            psum[pipe[1, PSUM], :] = data[STORED]
            wrote[0] = pipe[1, PSUM]
        else:
            _neuron(c, pipe[1], data, granule, residual, reduce, membranes, wrote)
    if pipe[0, VALID]:
        _input(c, data)
    pipe[1] = pipe[0]
    pipe[0, VALID] = 0
    return ready


@njit
def _input(c, data):
    """Second stage: the memories have answered, y is computed."""
    for p in range(c.neurons):
        partial = data[PARTIAL, p] if c.psum_in else 0
        residue = data[RESIDUE, p] if c.residual_in else 0
        data[STORED, p] = wrap(data[TOTAL, p] + partial, c.bits)
        compared = c.maximum and c.residual_in
        added = 0 if compared else residue
        y = _membrane_input(data[TOTAL, p], partial, data[BIAS, p], data[SHIFT, p], added, c.bits)
        data[INPUT, p] = _membrane_maximum(y, residue) if compared else y
    data[COMPARE], data[OLD_SUM], data[OLD_MEMBRANE] = data[THRESHOLD], data[SUM], data[MEMBRANE]


@checked
def _neuron(c, stage, data, granule, residual, reduce, membranes, wrote):
    """Third stage: membrane, spikes, and every write of the block."""
    first = stage[STEP] == 0
    for p in range(c.neurons):
        y, threshold = data[INPUT, p], data[COMPARE, p]
        if first:
            data[RUNNING_MEMBRANE, p] = _initial(threshold, c.kind) if stage[FRESH] else data[OLD_MEMBRANE, p]
            data[RUNNING_SUM, p] = 0 if stage[CLEAR] else data[OLD_SUM, p]
        h = _potential(data[RUNNING_MEMBRANE, p], y, c.kind, c.bits)
        if c.kind != contract.NONE and h >= threshold:
            granule[SPIKES] |= 1 << p
        data[RUNNING_MEMBRANE, p] = _reset(h, threshold, c.kind, c.bits)
        data[RUNNING_SUM, p] = wrap(data[RUNNING_SUM, p] + y, c.bits)
    membranes[stage[BLOCK], :] = data[RUNNING_MEMBRANE]
    wrote[3] = stage[BLOCK]
    if c.residual_out:
        residual[stage[RESIDUAL_OUT], :] = data[INPUT]
        wrote[1] = stage[RESIDUAL_OUT]
    if c.reduce:
        reduce[stage[REDUCE], :] = data[RUNNING_SUM]
        wrote[2] = stage[REDUCE]


@njit
def address(f, at, block, step, last, stage):
    """Marks and rows of the offered block into the read stage; counts groups in ``at``."""
    t = at[SLICE] * f.steps + step
    stage[VALID], stage[BLOCK], stage[STEP], stage[LAST] = 1, block, step, last
    stage[FRESH] = at[SLICE] == 0
    stage[CLEAR] = f.reduce_first and at[POSITION] == 0 and at[SLICE] == 0
    stage[PSUM] = f.psum_base + at[POSITION] * f.psum_position + t * f.psum_step + block
    residual = at[POSITION] * f.residual_position + t * f.residual_step + block
    stage[RESIDUAL_IN] = f.residual_in_base + residual
    stage[RESIDUAL_OUT] = f.residual_out_base + residual
    stage[REDUCE] = f.reduce_base + block
    if last:
        at[SLICE] += 1
        if f.planes or at[SLICE] == f.slices:
            at[SLICE] = 0
            at[POSITION] += 1


@checked
def accept(c, pipe, data, sums, psum, residual, reduce, membranes, wrote):
    """Read stage, after ``clock``: take ``sums`` with the marks and rows in ``pipe[0]``, and present the reads.

    The caller has filled ``pipe[0]`` and read the parameters into ``data``. Returns whether no read met a write of its row.
    """
    data[TOTAL] = sums
    stage = pipe[0]
    clean = True
    if c.psum_in:
        data[PARTIAL] = psum[stage[PSUM]]
        clean = clean and wrote[0] != stage[PSUM]
    if c.residual_in:
        data[RESIDUE] = residual[stage[RESIDUAL_IN]]
        clean = clean and wrote[1] != stage[RESIDUAL_IN]
    if c.reduce and stage[STEP] == 0 and not stage[CLEAR]:
        data[SUM] = reduce[stage[REDUCE]]
        clean = clean and wrote[2] != stage[REDUCE]
    if stage[STEP] == 0 and not stage[FRESH]:
        data[MEMBRANE] = membranes[stage[BLOCK]]
        clean = clean and wrote[3] != stage[BLOCK]
    return clean


class NeuronRun(NamedTuple):
    """What a run of the neuron unit shows at its ports.

    Attributes:
        accepted: cycle in which each block was accepted.
        granules: uint64 [blocks]: the spikes of each, neuron p in bit p.
        transferred: cycle in which each granule was offered, and taken.
        state: membranes of the last block [P].
    """

    accepted: NDArray[np.int64]
    granules: NDArray[np.uint64]
    transferred: NDArray[np.int64]
    state: NDArray[np.int64]


Fields = namedtuple("Fields", [field.name for field in SYNAPSE_FIELDS])
"""Fields of a SYNAPSE, for the kernels."""


@checked
def _run(f, c, blocks, sums, gaps, param, psum, residual, reduce):
    """Cycles and granules of all blocks, and the membranes of the last; the last value tells whether every read was clean."""
    count, width = sums.shape
    at, pipe = np.zeros(2, np.int64), np.zeros((2, 10), np.int64)
    data, granule = np.zeros((DATA, width), np.int64), np.zeros(5, np.int64)
    membranes, wrote = np.zeros((blocks, width), np.int64), np.zeros(4, np.int64)
    accepted, transferred, spikes = np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count, np.int64)
    sent, taken, cycle, block, step, clean = 0, 0, 0, 0, 0, True
    offered_from = gaps[0] if count else 0
    while taken < count:
        if granule[VALID]:
            spikes[taken], transferred[taken] = granule[SPIKES], cycle
            taken += 1
        ready = clock(c, pipe, data, granule, psum, residual, reduce, membranes, wrote)
        if ready and sent < count and cycle >= offered_from:
            address(f, at, block, step, block == f.blocks - 1 and step == f.steps - 1, pipe[0])
            data[BIAS : SHIFT + 1] = param[f.param_base + block]
            clean &= accept(c, pipe, data, sums[sent], psum, residual, reduce, membranes, wrote)
            accepted[sent] = cycle
            sent += 1
            if sent < count:
                offered_from = cycle + 1 + gaps[sent]
            step += 1
            if step == f.steps:
                step, block = 0, (block + 1) % f.blocks
        cycle += 1
    return accepted, spikes, transferred, data[RUNNING_MEMBRANE].copy(), clean


def run(
    params: contract.NeuronParams,
    fields: Mapping[str, int],
    banks: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]],
    sums: NDArray[np.int64],
    gaps: NDArray[np.int64],
) -> NeuronRun:
    """Feed the blocks of an instruction to the neuron unit.

    Args:
        params: sizes.
        fields: SYNAPSE_FIELDS of the contract that matter here; missing ones are 0.
        banks: the parameter bank in use [rows, 3, P], then psum, residual and reduce [rows, P], which are written.
        sums: [blocks, P], whole groups of ``fields``' blocks and steps, blocks outside.
        gaps: block k is offered from ``accepted[k - 1] + 1 + gaps[k]`` on, block 0 from ``gaps[0]`` on.

    Raises ArchsimError when a row would be read in the cycle in which it is written.
    """
    f = Fields(*(int(fields.get(name, 0)) for name in Fields._fields))
    flags = (bool(flag) for flag in (f.psum_in, f.psum_out, f.residual_in, f.residual_out, f.reduce, f.maximum))
    c = Config(f.neuron, params.membrane_bits, params.neurons, *flags)
    *found, clean = _run(f, c, params.blocks, np.asarray(sums, np.int64), np.asarray(gaps, np.int64), *banks)
    if not clean:
        raise ArchsimError("neuron unit: a row of psum, residual or reduce is read in the cycle in which it is written")
    accepted, granules, transferred, state = found
    return NeuronRun(accepted, granules.view(np.uint64), transferred, state)
