"""Neuron unit, fast: the contract's arithmetic over the columns of a block, and the cycles of blocks that come with gaps."""

from collections import namedtuple
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import neuron
from archsim.contracts.core import SYNAPSE_FIELDS
from archsim.jit import njit

membrane_input = njit(neuron.membrane_input)
potential = njit(neuron.potential)
reset = njit(neuron.reset)
initial = njit(neuron.initial)


@njit
def fire(y, v, threshold, kind, bits, h):
    """One time step of P neurons; ``v`` and ``h`` (potential before the reset) are updated in place.

    Args:
        y: membrane inputs, int32 [P].
        v: membranes, int32 [P].
        threshold: int32 [P].
        kind: neuron kind of the contract; NONE never fires.
        bits: membrane bits.
        h: int32 [P], written.

    Returns the spikes as a uint64, neuron p in bit p.
    """
    spikes = 0
    if kind == neuron.NONE:
        return spikes
    for p in range(len(y)):
        h[p] = potential(v[p], y[p], kind, bits)
        spikes |= (1 if h[p] >= threshold[p] else 0) << p
        v[p] = reset(h[p], threshold[p], kind, bits)
    return spikes


@njit
def block_step(f, position, t, block, sums, bits, banks, scratch):
    """One block at time step ``t`` of a position; returns its granule.

    Args:
        f: the fields of a SYNAPSE.
        position: position in the tile.
        t: time step.
        block: number of the block.
        sums: accumulators of the block, int [P].
        bits: membrane bits.
        banks: ``param``, ``psum``, ``residual``, ``reduce`` as in CoreMemory; the last three are written.
        scratch: ``v`` [blocks, P], ``y`` and ``h`` [P], written; ``inputs`` and ``potentials`` as in the core's Scratch.
    """
    p_count = len(sums)
    first, y = block * p_count, scratch.y
    params = banks.param[f.param_base + block]
    psum_row = f.psum_base + position * f.psum_position + t * f.psum_step + block
    half = 1 << (bits - 1)
    if f.psum_out:
        for p in range(p_count):
            total = sums[p] + (banks.psum[psum_row, p] if f.psum_in else 0)
            banks.psum[psum_row, p] = ((total + half) & (2 * half - 1)) - half
        return np.uint64(0)
    offset = position * f.residual_position + t * f.residual_step + block
    for p in range(p_count):
        y[p] = membrane_input(
            sums[p], banks.psum[psum_row, p] if f.psum_in else 0, params[0, p], params[2, p],
            banks.residual[f.residual_in_base + offset, p] if f.residual_in else 0, bits,
        )  # fmt: skip
        if f.residual_out:
            banks.residual[f.residual_out_base + offset, p] = y[p]
        if f.reduce:
            start = f.reduce_first and position == 0 and t == 0
            total = y[p] + (0 if start else banks.reduce[f.reduce_base + block, p])
            banks.reduce[f.reduce_base + block, p] = ((total + half) & (2 * half - 1)) - half
        if scratch.inputs.shape[0]:
            scratch.inputs[position, t, first + p] = y[p]
    if f.neuron == neuron.NONE:
        return np.uint64(0)
    v = scratch.v[block]
    if t == 0:
        for p in range(p_count):
            v[p] = initial(params[1, p], f.neuron)
    spikes = fire(y, v, params[1], f.neuron, bits, scratch.h)
    if scratch.potentials.shape[0]:
        scratch.potentials[position, t, first : first + p_count] = scratch.h
    return np.uint64(spikes)


Fields = namedtuple("Fields", [field.name for field in SYNAPSE_FIELDS])
"""Fields of a SYNAPSE, for the kernels."""


class NeuronBanks(NamedTuple):
    """The memories of a neuron unit, int32: the parameter bank in use [rows, 3, P] and the others [rows, P]."""

    param: NDArray[np.int32]
    psum: NDArray[np.int32]
    residual: NDArray[np.int32]
    reduce: NDArray[np.int32]


class _Scratch(NamedTuple):
    v: NDArray[np.int32]
    y: NDArray[np.int32]
    h: NDArray[np.int32]
    inputs: NDArray[np.int32]
    potentials: NDArray[np.int32]


class NeuronRun(NamedTuple):
    """What a run of the neuron unit shows at its ports.

    Attributes:
        accepted: cycle in which each block was accepted.
        granules: uint64 [blocks]: the spikes of each, neuron p in bit p.
        transferred: cycle in which each granule was offered, and taken.
        state: membranes of the last block [P], where the instruction has a neuron.
    """

    accepted: NDArray[np.int64]
    granules: NDArray[np.uint64]
    transferred: NDArray[np.int64]
    state: NDArray[np.int64]


@njit
def block_times(gaps, granules, group_gap):
    """Law: the cycle in which each block is accepted, in groups of ``granules``."""
    accepted = np.zeros(len(gaps), np.int64)
    before = -1
    for number in range(len(gaps)):
        opens = number % granules == 0 and number > 0
        accepted[number] = max(before + 1 + gaps[number], before + group_gap if opens else 0)
        before = accepted[number]
    return accepted


@njit
def run_blocks(f, sums, bits, banks, scratch):
    """Arithmetic of whole groups, blocks outside and steps inside: granules."""
    granules = np.zeros(len(sums), np.uint64)
    number, group = 0, 0
    slices = 1 if f.planes else f.slices
    while number < len(sums):
        position, index = group // slices, group % slices
        for block in range(f.blocks):
            for step in range(f.steps):
                t = index * f.steps + step
                granules[number] = block_step(f, position, t, block, sums[number], bits, banks, scratch)
                number += 1
        group += 1
    return granules


def run(
    params: neuron.NeuronParams,
    fields: Mapping[str, int],
    banks: NeuronBanks,
    sums: NDArray[np.int64],
    gaps: NDArray[np.int64],
) -> NeuronRun:
    """Feed the blocks of an instruction to the neuron unit.

    Args:
        params: sizes.
        fields: SYNAPSE_FIELDS of the contract that matter here; missing ones are 0.
        banks: the memories; written.
        sums: [blocks, P], whole groups of ``fields``' blocks and steps, blocks outside.
        gaps: block k is offered from ``accepted[k - 1] + 1 + gaps[k]`` on, block 0 from ``gaps[0]`` on.
    """
    f = Fields(*(int(fields.get(name, 0)) for name in Fields._fields))
    none, width = np.zeros((0, 0, 0), np.int32), params.neurons
    v = np.zeros((params.blocks, width), np.int32)
    scratch = _Scratch(v, np.zeros(width, np.int32), np.zeros(width, np.int32), none, none)
    granules = run_blocks(f, np.asarray(sums, np.int64), params.membrane_bits, banks, scratch)
    accepted = block_times(np.asarray(gaps, np.int64), f.blocks * f.steps, neuron.GROUP_GAP)
    return NeuronRun(accepted, granules, accepted + neuron.LATENCY, v[f.blocks - 1].astype(np.int64))
