"""Neuron unit, fast: the contract's arithmetic over the columns of a block, and the cycles of blocks that come with gaps."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim import elementwise
from archsim.contracts import neuron
from archsim.contracts.core import SYNAPSE_FIELDS
from archsim.elementwise import lif_step, plain_lif_step
from archsim.jit import copy, entry, kernel, njit
from archsim.vectors import WIDTH, aligned, at_least

membrane_input = njit(neuron.membrane_input)
membrane_maximum = njit(neuron.membrane_maximum)
potential = njit(neuron.potential)
reset = njit(neuron.reset)
initial = njit(neuron.initial)


class NeuronBanks(NamedTuple):
    """The memories of a neuron unit, int32: the parameter bank in use [rows, 3, P] and the others [rows, P].

    Kernels take the others flat, [rows x P].
    """

    param: NDArray[np.int32]
    psum: NDArray[np.int32]
    residual: NDArray[np.int32]
    reduce: NDArray[np.int32]


class NeuronScratch(NamedTuple):
    """State of a neuron unit during an instruction, column by column.

    Attributes:
        params: int32 [3, M + WIDTH]: bias, threshold, shift; from any column on there are WIDTH.
        v, y: int32 [M]: membranes, membrane inputs.
        h: int32 [WIDTH]: potentials before the reset.
        zeros: int32 [WIDTH], for what an instruction does not add.
        inputs, potentials: recordings int32 [positions, steps, M]; empty: do not record.
    """

    params: NDArray[np.int32]
    v: NDArray[np.int32]
    y: NDArray[np.int32]
    h: NDArray[np.int32]
    zeros: NDArray[np.int32]
    inputs: NDArray[np.int32]
    potentials: NDArray[np.int32]

    @classmethod
    def empty(cls, columns: int, inputs: NDArray[np.int32], potentials: NDArray[np.int32]) -> "NeuronScratch":
        """For ``columns`` columns, all 0."""
        v, y, h, zeros = (aligned(size, np.int32) for size in (columns, columns, WIDTH, WIDTH))
        return cls(aligned((3, columns + WIDTH), np.int32), v, y, h, zeros, inputs, potentials)


@kernel
def update(y, v, threshold, kind, bits, h):
    """Membranes of :func:`fire`; returns who fires, also of elements behind the columns in use."""
    for p in range(len(y)):
        h[p] = potential(v[p], y[p], kind, bits)
        v[p] = reset(h[p], threshold[p], kind, bits)
    return at_least(h, threshold)


@kernel
def fire(y, v, threshold, kind, bits, h):
    """One time step of the neurons of some columns; ``v`` and ``h`` (potential before the reset) are updated in place.

    Args:
        y: membrane inputs, int32 [columns].
        v: membranes, int32 [columns].
        threshold: int32 [WIDTH at least].
        kind: neuron kind of the contract; NONE never fires.
        bits: membrane bits.
        h: int32 [WIDTH], written.

    Returns the spikes as a uint64, neuron p in bit p.
    """
    if kind == neuron.NONE:
        return np.uint64(0)
    if kind == neuron.LIF and len(y) == WIDTH:
        return lif_step(v, h, v, y, threshold, bits)
    if kind == neuron.LIF:  # a constant, so that the loop of the usual kind is made for it
        fired = update(y, v, threshold, neuron.LIF, bits, h)
    else:
        fired = update(y, v, threshold, kind, bits, h)
    return fired & (np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(WIDTH - len(y)))


@kernel
def take_params(f, bank, params):
    """Copy the parameters of an instruction's columns [rows, 3, P] to ``params`` [3, M or more]; returns whether any is shifted."""
    neurons, shifts = bank.shape[2], 0
    for block in range(f.blocks):
        for kind in range(3):
            copy(params[kind, block * neurons : (block + 1) * neurons], bank[f.param_base + block, kind])
    for p in range(f.blocks * neurons):
        shifts |= params[2, p]
    return shifts != 0


@kernel
def add_partial(f, row, sums, bits, psum):
    """Store the sums, added to partial ones where there are such; ``psum`` int32 [rows x P], ``row`` the first element."""
    half, psum_in, stored = 1 << (bits - 1), f.psum_in != 0, psum[row : row + len(sums)]
    for p in range(len(sums)):
        total = sums[p] + (stored[p] if psum_in else 0)
        stored[p] = ((total + half) & (2 * half - 1)) - half


@kernel
def add_inputs(sums, psum, bias, shift, residual, bits, y):
    """Membrane inputs of the columns of the sums into ``y``."""
    for p in range(len(sums)):
        y[p] = membrane_input(sums[p], psum[p], bias[p], shift[p], residual[p], bits)


@kernel
def form_inputs(f, psum_row, residual_row, first, sums, bits, banks, scratch):
    """Membrane inputs of the columns from ``first`` on into ``scratch.y``."""
    y, bias, shift = scratch.y, scratch.params[0, first:], scratch.params[2, first:]
    psum = banks.psum[psum_row:] if f.psum_in else scratch.zeros
    residual = banks.residual[residual_row:] if f.residual_in else scratch.zeros
    if f.maximum and f.residual_in:
        add_inputs(sums, psum, bias, shift, scratch.zeros, bits, y)
        for p in range(len(sums)):
            y[p] = membrane_maximum(y[p], residual[p])
    elif len(sums) == WIDTH:
        elementwise.form_inputs(y, sums, psum, bias, shift, residual, bits)
    else:
        add_inputs(sums, psum, bias, shift, residual, bits, y)


@kernel
def plain_step(t, sums, bits, scratch):
    """:func:`columns_step` of WIDTH LIF neurons whose inputs are the sums and the bias, in one pass."""
    v, bias, threshold = scratch.v, scratch.params[0], scratch.params[1]
    if t == 0:
        for p in range(WIDTH):
            v[p] = initial(threshold[p], neuron.LIF)
    return plain_lif_step(v, v, sums, bias, threshold, bits)


@kernel
def columns_step(f, position, t, block, sums, shifted, bits, banks, scratch):
    """Blocks of one time step of a position, side by side; returns their spikes, the first column in bit 0.

    Args:
        f: the fields of a SYNAPSE.
        position: position in the tile.
        t: time step.
        block: first block.
        sums: accumulators, int32 [columns].
        shifted: whether any column has a shift.
        bits: membrane bits.
        banks: ``param``, ``psum``, ``residual``, ``reduce`` as in CoreMemory; the last three flat, and written.
        scratch: a NeuronScratch, its parameters taken.
    """
    neurons, columns, y = banks.param.shape[2], len(sums), scratch.y
    first, half = block * neurons, 1 << (bits - 1)
    psum_row = (f.psum_base + position * f.psum_position + t * f.psum_step + block) * neurons
    if f.psum_out:
        add_partial(f, psum_row, sums, bits, banks.psum)
        return np.uint64(0)
    offset = position * f.residual_position + t * f.residual_step + block
    form_inputs(f, psum_row, (f.residual_in_base + offset) * neurons, first, sums, bits, banks, scratch)
    if f.residual_out:
        row = (f.residual_out_base + offset) * neurons
        copy(banks.residual[row : row + columns], y)
    if f.reduce:
        total = banks.reduce[(f.reduce_base + block) * neurons :]
        if f.reduce_first and position == 0 and t == 0:
            total[:columns] = 0
        for p in range(columns):
            total[p] = ((y[p] + total[p] + half) & (2 * half - 1)) - half
    if scratch.inputs.shape[0]:
        copy(scratch.inputs[position, t, first : first + columns], y)
    if f.neuron == neuron.NONE:
        return np.uint64(0)
    v, threshold = scratch.v[first : first + columns], scratch.params[1, first:]
    if t == 0:
        for p in range(columns):
            v[p] = initial(threshold[p], f.neuron)
    spikes = fire(y[:columns], v, threshold, f.neuron, bits, scratch.h)
    if scratch.potentials.shape[0]:
        copy(scratch.potentials[position, t, first : first + columns], scratch.h)
    return spikes


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
    shifted = not f.psum_out and take_params(f, banks.param, scratch.params)
    while number < len(sums):
        position, index = group // slices, group % slices
        for block in range(f.blocks):
            for step in range(f.steps):
                t = index * f.steps + step
                granules[number] = columns_step(f, position, t, block, sums[number], shifted, bits, banks, scratch)
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
    f, none = entry(SYNAPSE_FIELDS, fields), np.zeros((0, 0, 0), np.int32)
    scratch = NeuronScratch.empty(params.blocks * params.neurons, none, none)
    flat = NeuronBanks(banks.param, *(bank.reshape(-1) for bank in banks[1:]))
    granules = run_blocks(f, np.asarray(sums, np.int32), params.membrane_bits, flat, scratch)
    accepted = block_times(np.asarray(gaps, np.int64), f["blocks"] * f["steps"], neuron.GROUP_GAP)
    state = scratch.v.reshape(-1, params.neurons)[f["blocks"] - 1]
    return NeuronRun(accepted, granules, accepted + neuron.LATENCY, state.astype(np.int64))
