"""Neuron unit, cycle by cycle: a read stage, a membrane-input stage and a neuron stage; writes happen in the last.

A group's last block blocks the input while it is in the two stages behind the read, so that its writes come before the next reads.
"""

from collections import namedtuple

from archsim.contracts import neuron as contract
from archsim.jit import njit
from archsim.stepped.bits import checked, wrap

Config = namedtuple("Config", "kind bits neurons psum_in psum_out residual_in residual_out reduce")
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

_membrane_input = njit(contract.membrane_input)
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
        data[INPUT, p] = _membrane_input(data[TOTAL, p], partial, data[BIAS, p], data[SHIFT, p], residue, c.bits)
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
