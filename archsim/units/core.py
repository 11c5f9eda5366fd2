"""Core, fast: a SYNAPSE instruction in one pass over its words, arithmetic and time together; and PLANES."""

from collections import namedtuple
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import core as contract
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.event_encoder import word_cycles as contract_word_cycles
from archsim.contracts.neuron import NONE
from archsim.contracts.spike_writer import pool_accesses
from archsim.jit import lowest_bit, njit, popcount
from archsim.results import COUNT, COUNTERS, Recording
from archsim.units.neuron import block_step
from archsim.units.spike_fetch import ADDRESS_MASK, clip
from archsim.units.spike_writer import output_row, pooled, store
from archsim.units.sram import CoreMemory

Synapse = namedtuple("Synapse", [field.name for field in contract.SYNAPSE_FIELDS])

FIRST_ADD = contract.FIRST_ADD
group_end = njit(contract.group_end)
drain = njit(contract.drain)
word_cycles = njit(contract_word_cycles)


class Banks(NamedTuple):
    """The banks that a SYNAPSE instruction owns (see CoreMemory)."""

    spike_in: NDArray[np.uint64]
    weight: NDArray[np.int8]
    param: NDArray[np.int32]
    residual: NDArray[np.int32]
    psum: NDArray[np.int32]
    reduce: NDArray[np.int32]
    spike_out: NDArray[np.uint64]


class Scratch(NamedTuple):
    """State of a SYNAPSE kernel: accumulators [L, M], membranes [blocks, P], pool columns and lines, and the recordings.

    ``trace`` holds the words to store instead of computed ones [rows, L] (empty: compute). ``inputs`` and ``potentials``
    record membrane inputs and potentials [positions, steps, M] (empty: do not record).
    """

    sums: NDArray[np.int32]
    v: NDArray[np.int32]
    y: NDArray[np.int32]
    h: NDArray[np.int32]
    columns: NDArray[np.uint64]
    lines: NDArray[np.uint64]
    trace: NDArray[np.uint64]
    inputs: NDArray[np.int32]
    potentials: NDArray[np.int32]


@njit
def add_rows(word, row, weight, sums, sign):
    """Add (sign 1) or subtract (-1) the weight row of each set bit of ``word``."""
    columns = sums.shape[0]
    while word:
        weights = weight[row + lowest_bit(word)]
        word &= word - np.uint64(1)
        for column in range(columns):
            sums[column] += sign * np.int32(weights[column])


@njit
def slice_words(f, origin, top, bottom, left, right, index, banks, scratch, counts):
    """Fetch, encode and add the words of one (position, slice); returns its cycles."""
    spikes, sums, compute = banks.spike_in, scratch.sums, scratch.trace.shape[0] == 0
    shift = 1 if f.planes and index > 0 else 0
    if shift:
        counts[COUNT.shifts] += 1
        for lane in range(sums.shape[0]):
            for column in range(sums.shape[1]):
                sums[lane, column] *= 2
    sign = np.int32(-1 if f.planes and f.signed and index == 0 else 1)
    if top >= bottom or left >= right:
        counts[COUNT.words] += 1
        counts[COUNT.empty_words] += 1
        return word_cycles(0, shift)
    cycles = 0
    for dy in range(top, bottom):
        for dx in range(left, right):
            base = origin + dy * f.y_stride + dx * f.x_stride + index * f.slice_stride
            row = f.weight_base + (dy * f.kernel_width + dx) * f.tap_rows
            for word in range(f.words):
                address = (base + word) & ADDRESS_MASK
                union = np.uint64(0)
                for lane in range(spikes.shape[1]):
                    bits = spikes[address, lane]
                    union |= bits
                    counts[COUNT.lane_events] += popcount(bits)
                    if compute:
                        add_rows(bits, row + word * sums.shape[1], banks.weight, sums[lane], sign)
                events = popcount(union)
                cycles += word_cycles(events, shift)
                shift = 0
                counts[COUNT.events] += events
                counts[COUNT.words] += 1
                counts[COUNT.spike_reads] += 1
                if events == 0:
                    counts[COUNT.empty_words] += 1
    return cycles


@njit
def count_blocks(f, position, index, granules, counts):
    """Count the memory accesses of a group of ``granules`` blocks and steps at slice ``index`` of a position."""
    reduced = f.blocks * f.reduce * (1 - f.psum_out)
    begins = f.reduce_first and position == 0 and (index == 0 or f.planes)
    counts[COUNT.granules] += granules
    counts[COUNT.param_reads] += granules * (1 - f.psum_out)
    counts[COUNT.psum_reads] += granules * f.psum_in
    counts[COUNT.psum_writes] += granules * f.psum_out
    counts[COUNT.residual_reads] += granules * f.residual_in
    counts[COUNT.residual_writes] += granules * f.residual_out * (1 - f.psum_out)
    counts[COUNT.reduce_reads] += 0 if begins else reduced
    counts[COUNT.reduce_writes] += reduced
    if f.neuron != NONE and not f.planes:
        counts[COUNT.v_reads] += f.blocks * (index > 0)
        counts[COUNT.v_writes] += f.blocks * (index < f.slices - 1)


@njit
def store_group(f, y, x, index, bits, banks, scratch, counts):
    """Neuron unit and spike writer for all blocks of a group."""
    p_count = banks.residual.shape[1]
    position = y * f.out_width + x
    compute = scratch.trace.shape[0] == 0
    lanes = f.lanes
    slices = f.steps // lanes if f.planes else f.slices
    for block in range(f.blocks):
        for step in range(f.steps):
            t = step if f.planes else index * f.steps + step
            granule = np.uint64(0)
            if compute:
                first = block * p_count
                sums = scratch.sums[0 if f.replay else step, first : first + p_count]
                granule = block_step(f, position, t, block, sums, bits, banks, scratch)
            complete, granule, place = pooled(f, y, x, t, block, granule, scratch.columns, scratch.lines)
            if f.spike_out and complete and not f.psum_out:
                if not compute:
                    granule = scratch.trace[place * slices + t // lanes, t % lanes] >> np.uint64(block * p_count)
                    granule &= np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - p_count)
                store(banks.spike_out, output_row(f, place, t), t % lanes, block * p_count, granule, p_count)
                counts[COUNT.spike_writes] += 1
                counts[COUNT.spikes] += popcount(granule)
    count_blocks(f, position, index, f.blocks * f.steps, counts)


@njit
def run_tile(f, bits, banks, scratch, counts):
    """All groups of a tile; returns the duration in cycles."""
    handover, taken, cycles, busy, half = FIRST_ADD, 0, 0, 0, 1 << (bits - 1)
    for y in range(f.out_height):
        top, bottom = clip(f.in_y + y * f.stride, f.kernel_height, f.in_height)
        for x in range(f.out_width):
            left, right = clip(f.in_x + x * f.stride, f.kernel_width, f.in_width)
            origin = f.in_origin + f.stride * (y * f.y_stride + x * f.x_stride)
            for index in range(f.slices):
                if index == 0 or not f.planes:
                    scratch.sums[:] = 0
                    cycles = 0
                cycles += slice_words(f, origin, top, bottom, left, right, index, banks, scratch, counts)
                if f.planes and index < f.slices - 1:
                    continue
                scratch.sums[:] = ((scratch.sums + half) & (2 * half - 1)) - half
                before = handover
                handover, taken = group_end(handover, taken, cycles, f.blocks * f.steps)
                busy += cycles
                counts[COUNT.stall_cycles] += handover - before - cycles
                counts[COUNT.groups] += 1
                store_group(f, y, x, index, bits, banks, scratch, counts)
    end = taken + drain(f.pool)
    counts[COUNT.fill_cycles] += end - busy - counts[COUNT.stall_cycles]
    return end


def synapse(
    heads: Sequence[Mapping[str, int]],
    chip: ChipParams,
    memories: Sequence[CoreMemory],
    traces: Sequence[NDArray[np.uint64]] | None = None,
    record: bool = False,
) -> tuple[int, NDArray[np.int64], list[Recording]]:
    """Run a SYNAPSE instruction on the members of its gang.

    Args:
        heads: SYNAPSE_FIELDS of the contract for each member; they differ in ``columns`` and ``param_base`` at most.
        chip: the chip.
        memories: the members' memories in the order of the cores, the leader (whose input all share) first; written.
        traces: for each member the rows to store instead of computed ones, uint64 [positions x slices, L]; or None.
        record: return membrane inputs and potentials.

    Returns the duration in cycles, counters int64 [members, COUNTERS], and a recording per member (empty if not recorded).
    """  # fmt: skip
    f = Synapse(*(heads[0][name] for name in Synapse._fields))
    steps = f.steps if f.planes else f.steps * f.slices
    blocks = f.blocks if f.pool else 0
    counts = np.zeros((len(memories), len(COUNTERS)), np.int64)
    recordings, cycles = [], 0
    leader = memories[0].spike_in[f.in_bank]
    for member, memory in enumerate(memories):
        shape = (f.out_height * f.out_width if record else 0, steps, chip.columns)
        recording = Recording(np.zeros(shape, np.int32), np.zeros(shape, np.int32))
        scratch = Scratch(
            sums=np.zeros((chip.lanes, chip.columns), np.int32), v=np.zeros((chip.blocks, chip.neurons), np.int32),
            y=np.zeros(chip.neurons, np.int32), h=np.zeros(chip.neurons, np.int32),
            columns=np.zeros((steps * blocks, 1), np.uint64),
            lines=np.zeros((steps * blocks, (f.out_width + 1) // 2), np.uint64),
            trace=np.zeros((0, chip.lanes), np.uint64) if traces is None else traces[member],
            inputs=recording.inputs, potentials=recording.potentials,
        )  # fmt: skip
        banks = Banks(
            leader, memory.weight[f.weight_bank], memory.param[f.param_bank], memory.residual, memory.psum,
            memory.reduce, memory.spike_out[f.out_bank],
        )  # fmt: skip
        f = f._replace(param_base=heads[member]["param_base"], columns=heads[member]["columns"])
        cycles = run_tile(f, chip.membrane_bits, banks, scratch, counts[member])
        recordings.append(recording)
    counts[:, COUNT.additions] = counts[:, COUNT.lane_events] * [head["columns"] for head in heads]
    counts[:, COUNT.weight_reads] = counts[:, COUNT.events]
    if f.pool:
        tile = f.out_height, f.out_width, f.pool_first_odd, f.pool_left_odd, f.blocks * steps
        counts[:, COUNT.pool_column_reads : COUNT.pool_line_writes + 1] = pool_accesses(*tile)
    # The leader's fetch and encoder serve the whole gang; each member adds, and reads its own weights.
    for name in ("words", "empty_words", "spike_reads"):
        counts[1:, getattr(COUNT, name)] = 0
    return cycles, counts, recordings if record else []


def planes(
    fields: Mapping[str, int], chip: ChipParams, memory: CoreMemory, trace: NDArray[np.uint64] | None = None
) -> tuple[int, NDArray[np.int64]]:
    """Run a PLANES instruction; ``trace`` holds the rows to store instead, uint64 [planes, L]. Returns cycles, counters."""
    counts = np.zeros(len(COUNTERS), np.int64)
    rows = memory.reduce[fields["reduce_base"] : fields["reduce_base"] + fields["blocks"]].reshape(-1).tolist()
    values = np.array([contract.plane_value(row, fields["right_shift"], fields["planes"]) for row in rows])
    weights = np.uint64(1) << np.arange(len(values), dtype=np.uint64)
    out = memory.spike_out[fields["out_bank"]]
    count = fields["planes"]
    for plane in range(count):
        bits = (values >> (count - 1 - plane)) & 1
        word = (bits.astype(np.uint64) * weights).sum() if trace is None else trace[plane, 0]
        row = fields["out_base"] + plane
        for first in range(0, fields["blocks"] * chip.neurons, chip.neurons):
            store(out, row, 0, first, np.uint64(int(word) >> first), chip.neurons)
        counts[COUNT.spikes] += int(word).bit_count()
    cycles = contract.planes_cycles(count, fields["blocks"])
    for name in ("granules", "reduce_reads", "spike_writes"):
        counts[getattr(COUNT, name)] = count * fields["blocks"]
    counts[COUNT.fill_cycles] = contract.PLANES_OVERHEAD
    return cycles, counts
