"""Core, cycle by cycle: SYNAPSE as the pipeline of its units, and PLANES."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import core as contract
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.spike_fetch import FIFO_DEPTH, TILE_FIELDS
from archsim.jit import njit
from archsim.stepped import event_encoder, fifo, neuron, spike_fetch, spike_writer, synapse_array
from archsim.stepped.bits import checked, put_granule
from archsim.stepped.spike_fetch import Fields
from archsim.stepped.spike_writer import Sizes
from archsim.units.sram import CoreMemory

_plane_value = njit(contract.plane_value)

LOCKSTEP = (*(field.name for field in TILE_FIELDS), "gang", "blocks", "steps", "replay", "pool")
"""Fields in which the members of a gang must agree."""


@checked
def _take_block(f, c, size, at, regs, bank, pipe, data, param, psum, residual, reduce, membranes, wrote):
    """The neuron unit takes the offered block; returns whether no read met a write of its row."""
    block, step = regs[synapse_array.BLOCK], regs[synapse_array.STEP]
    lane = 0 if f.replay else step
    neuron.address(f, at, block, step, synapse_array.last_block(regs, f.blocks, f.steps), pipe[0])
    data[neuron.BIAS : neuron.SHIFT + 1] = param[f.param_base + block]
    first = block * size.neurons
    sums = bank[lane, first : first + size.neurons]
    clean = neuron.accept(c, pipe, data, sums, psum, residual, reduce, membranes, wrote)
    synapse_array.take(regs, f.blocks, f.steps)
    return clean


@checked
def _run(f, c, size, spikes, weight, param, psum, residual, reduce, out):
    """Cycles of a SYNAPSE from its start to its end; -1 if a read met a write of its row."""
    lanes = spikes.shape[1]
    walk, flight = np.zeros(13, np.int64), np.zeros(lanes + spike_fetch.MARKS, np.int64)
    queue, store = np.zeros(2, np.int64), np.zeros((FIFO_DEPTH, lanes + spike_fetch.MARKS), np.int64)
    encoder, remaining, event = np.zeros(5, np.int64), np.zeros(lanes, np.int64), np.zeros(4, np.int64)
    array, row = np.zeros(8, np.int64), np.zeros(size.columns, np.int64)
    sums, bank = np.zeros((lanes, size.columns), np.int64), np.zeros((lanes, size.columns), np.int64)
    at, pipe = np.zeros(2, np.int64), np.zeros((2, 10), np.int64)
    data, granule = np.zeros((neuron.DATA, size.neurons), np.int64), np.zeros(5, np.int64)
    membranes, wrote = np.zeros((size.blocks, size.neurons), np.int64), np.zeros(4, np.int64)
    place, stages, columns, lines = spike_writer.registers(f)
    spike_fetch.begin(f, walk)
    cycle, done = 0, False
    while not done:
        cycle += 1
        done = spike_writer.clock(f, size, granule, place, stages, columns, lines, out)
        ready = neuron.clock(c, pipe, data, granule, psum, residual, reduce, membranes, wrote)
        if (
            ready
            and array[synapse_array.OFFERED]
            and not _take_block(
                f, c, size, at, array, bank, pipe, data, param, psum, residual, reduce, membranes, wrote
            )
        ):
            return -1
        synapse_array.add(array, row, sums, bank, size.bits)
        if event_encoder.offer(encoder, remaining, event) and array[synapse_array.PENDING] == 0:
            synapse_array.put(
                array, event[event_encoder.OP], event[event_encoder.MASK], event[event_encoder.EVENT_LAST]
            )
            row[:] = weight[event[event_encoder.EVENT_ROW]]
            event_encoder.take(encoder, remaining)
        if queue[fifo.COUNT] and encoder[event_encoder.BUSY] == 0:
            word = fifo.pop(queue, store)
            event_encoder.put(encoder, remaining, word[:lanes], word[-4], word[-3], word[-2], word[-1])
        spike_fetch.clock(f, size.columns, walk, queue, store, flight, spikes)
    return cycle + 1


def synapse(
    fields: Mapping[str, int] | Sequence[Mapping[str, int]], chip: ChipParams, memories: Sequence[CoreMemory]
) -> int:
    """Run a SYNAPSE.

    Args:
        fields: SYNAPSE_FIELDS of the contract, of the gang or of each member; missing fields are 0.
        chip: the chip.
        memories: members of the gang in the order of their cores, the leader first, whose spikes feed all; written.

    Returns the cycles from the start to the end. Raises ArchsimError for a tile without a group, for members that cannot run in
    lockstep, and when a row would be read in the cycle in which it is written.
    """
    heads = [fields] * len(memories) if isinstance(fields, Mapping) else fields
    members = [Fields(*(int(head.get(name, 0)) for name in Fields._fields)) for head in heads]
    f = members[0]
    if min(f.out_height, f.out_width, f.slices, f.words, f.blocks, f.steps) < 1:
        raise ArchsimError(f"synapse: positions, slices, words, blocks and steps of 1 or more required, given {f}")
    for name in LOCKSTEP:
        if len({getattr(member, name) for member in members}) > 1:
            raise ArchsimError(f"synapse: the same '{name}' required in every member of a gang, given {members}")
    spikes = memories[0].spike_in[f.in_bank].view(np.int64)
    cycles = [_member(f, chip, spikes, memory) for f, memory in zip(members, memories, strict=True)]
    if min(cycles) < 0:
        raise ArchsimError("synapse: a row of psum, residual or reduce is read in the cycle in which it is written")
    return max(cycles)


def _member(f: Fields, chip: ChipParams, spikes: NDArray[np.int64], memory: CoreMemory) -> int:
    """Cycles of one member, fed by the leader's ``spikes``."""
    flags = (bool(flag) for flag in (f.psum_in, f.psum_out, f.residual_in, f.residual_out, f.reduce, f.maximum))
    c = neuron.Config(f.neuron, chip.membrane_bits, chip.neurons, *flags)
    size = Sizes(chip.columns, chip.neurons, chip.membrane_bits, chip.blocks, max(1, f.lanes))
    out = memory.spike_out[f.out_bank].view(np.int64)
    return _run(
        f, c, size, spikes, memory.weight[f.weight_bank], memory.param[f.param_bank], memory.psum, memory.residual,
        memory.reduce, out,
    )  # fmt: skip


@checked
def _planes(base, blocks, planes, shift, out_base, neurons, reduce, out):
    """Cycles of PLANES: an address counter, the bank's answer, the selected bits, a write."""
    plane, block, issued, held, cycle = 0, 0, False, False, 0
    answer, spikes = np.zeros(neurons, np.int64), 0
    at, write_at = np.zeros(2, np.int64), np.zeros(2, np.int64)
    while plane < planes or issued or held:
        cycle += 1
        if held:
            put_granule(out[out_base + write_at[0]], 0, write_at[1], neurons, spikes)
        held = issued
        if issued:
            write_at[:] = at
            spikes = 0
            for p in range(neurons):
                spikes |= (_plane_value(answer[p], shift, planes) >> (planes - 1 - at[0]) & 1) << p
        issued = plane < planes
        if issued:
            at[0], at[1] = plane, block
            answer[:] = reduce[base + block]
            block += 1
            if block == blocks:
                block = 0
                plane += 1
    return cycle + 1


def planes(fields: Mapping[str, int], chip: ChipParams, memory: CoreMemory) -> int:
    """Run PLANES (PLANES_FIELDS of the contract) on one core; returns the cycles from the start to the end."""
    f = {field.name: int(fields.get(field.name, 0)) for field in contract.PLANES_FIELDS}
    if min(f["blocks"], f["planes"]) < 1:
        raise ArchsimError(f"planes: blocks and planes of 1 or more required, given {f}")
    out = memory.spike_out[f["out_bank"]].view(np.int64)
    return _planes(
        f["reduce_base"], f["blocks"], f["planes"], f["right_shift"], f["out_base"], chip.neurons, memory.reduce, out
    )
