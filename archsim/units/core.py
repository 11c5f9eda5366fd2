"""Core, fast: a SYNAPSE instruction slice by slice, arithmetic and time together; and PLANES."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import core as contract
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.neuron import LIF, NONE
from archsim.contracts.spike_writer import pool_accesses
from archsim.jit import entry, kernel, njit, popcount
from archsim.results import COUNT, COUNTERS, Recording
from archsim.units.core_groups import EMPTY, EVENTS, LANE_EVENTS, NEVER, PADDING, SILENT, WORDS, Counted, count_groups
from archsim.units.core_planes import run_planes
from archsim.units.neuron import NeuronScratch, columns_step, plain_step, take_params
from archsim.units.spike_fetch import clip, list_events
from archsim.units.spike_writer import output_row, pooled, store
from archsim.units.sram import CoreMemory
from archsim.units.synapse_array import add_weights
from archsim.vectors import LINE, ROOM, ROW, WIDTH, aligned, fetch_early

FIRST_ADD = contract.FIRST_ADD
group_end = njit(contract.group_end)
drain = njit(contract.drain)


class Banks(NamedTuple):
    """The banks that a SYNAPSE instruction owns (see CoreMemory); those of integers flat, [rows x P]."""

    spike_in: NDArray[np.uint64]
    weight: NDArray[np.int8]
    param: NDArray[np.int32]
    residual: NDArray[np.int32]
    psum: NDArray[np.int32]
    reduce: NDArray[np.int32]
    spike_out: NDArray[np.uint64]


class Scratch(NamedTuple):
    """State of a SYNAPSE kernel.

    Attributes:
        rows: weight rows of the events of a slice, ROW [L, events + ROOM].
        ends: how many of them, int64 [L].
        sums: accumulators, int32 [L, M].
        columns, lines: of the pool, uint64 [steps x blocks, 1] and [steps x blocks, pooled width] at least.
        neuron: that of the neuron unit.
        counted: of the tiles that the cores have read last.
    """

    rows: NDArray[np.uint16]
    ends: NDArray[np.int64]
    sums: NDArray[np.int32]
    columns: NDArray[np.uint64]
    lines: NDArray[np.uint64]
    neuron: NeuronScratch
    counted: Counted

    @classmethod
    def empty(
        cls, chip: ChipParams, events: int, entries: int, width: int, groups: int, recording: Recording
    ) -> "Scratch":
        """For instructions of at most ``events`` a slice and lane, and pools of ``entries`` granules and ``width`` columns."""
        return cls(
            aligned((chip.lanes, events + ROOM), ROW), np.zeros(chip.lanes, np.int64),
            aligned((chip.lanes, chip.columns), np.int32), np.zeros((entries, 1), np.uint64),
            np.zeros((entries, width), np.uint64), NeuronScratch.empty(chip.columns, *recording),
            Counted.empty(chip.cores, groups),
        )  # fmt: skip


@kernel
def store_group(f, y, x, index, shifted, bits, banks, scratch, counts):
    """Neuron unit and spike writer for all blocks of a group.

    Blocks come outside and steps inside. With one step, or without a memory in which the order shows, they go side by side.
    """
    neurons, position = banks.param.shape[2], y * f.out_width + x
    ordered = f.psum_in or f.psum_out or f.residual_in or f.residual_out or f.reduce
    count = 1 if ordered and f.steps > 1 else f.blocks
    width = count * neurons
    plain = not (ordered or shifted or len(scratch.neuron.inputs)) and f.neuron == LIF and width == WIDTH
    for block in range(0, f.blocks, count):
        first = block * neurons
        for step in range(f.steps):
            t = step if f.planes else index * f.steps + step
            sums = scratch.sums[0 if f.replay else step, first : first + width]
            if plain:
                spikes = plain_step(t, sums, bits, scratch.neuron)
            else:
                spikes = columns_step(f, position, t, block, sums, shifted, bits, banks, scratch.neuron)
            if f.spike_out and not f.psum_out:
                complete, spikes, place = pooled(f, y, x, t, block, spikes, scratch.columns, scratch.lines)
                if complete:
                    lane = 0 if f.lanes == 1 else t % f.lanes
                    store(banks.spike_out, output_row(f, place, t), lane, first, spikes, width)
                    counts[COUNT.spike_writes] += count
                    counts[COUNT.spikes] += popcount(spikes)


@kernel
def count_blocks(f, counts):
    """Count the memory accesses of all groups of an instruction."""
    positions = f.out_height * f.out_width
    groups = positions * (1 if f.planes else f.slices)
    granules, reduced = groups * f.blocks * f.steps, f.blocks * f.reduce * (1 - f.psum_out)
    counts[COUNT.groups] += groups
    counts[COUNT.granules] += granules
    counts[COUNT.param_reads] += granules * (1 - f.psum_out)
    counts[COUNT.psum_reads] += granules * f.psum_in
    counts[COUNT.psum_writes] += granules * f.psum_out
    counts[COUNT.residual_reads] += granules * f.residual_in
    counts[COUNT.residual_writes] += granules * f.residual_out * (1 - f.psum_out)
    counts[COUNT.reduce_reads] += reduced * (groups - (1 if f.reduce_first else 0))
    counts[COUNT.reduce_writes] += reduced * groups
    if f.neuron != NONE and not f.planes:
        counts[COUNT.v_reads] += positions * f.blocks * (f.slices - 1)
        counts[COUNT.v_writes] += positions * f.blocks * (f.slices - 1)


@kernel
def fetch_weights(f, weight):
    """Ask for all weight rows of a tile, which its events then read in no order that a processor could foresee."""
    columns, flat = weight.shape[1], weight.reshape(-1)
    first, rows = f.weight_base * columns, f.kernel_height * f.kernel_width * f.tap_rows
    for place in range(first, min(first + rows * columns, len(flat)), 8 * LINE):
        fetch_early(flat, place)


@kernel
def compute_tile(f, bits, banks, scratch, counts):
    """Sums, neurons and output of all groups of a tile."""
    spikes, sums, half = banks.spike_in, scratch.sums, 1 << (bits - 1)
    shifted = not f.psum_out and take_params(f, banks.param, scratch.neuron.params)
    # What the sums of a tile cannot pass, whatever spikes: weights are int8.
    most = f.kernel_height * f.kernel_width * f.words * sums.shape[1] << 7
    fetch_weights(f, banks.weight)
    for y in range(f.out_height):
        top, bottom = clip(f.in_y + y * f.stride, f.kernel_height, f.in_height)
        for x in range(f.out_width):
            left, right = clip(f.in_x + x * f.stride, f.kernel_width, f.in_width)
            origin, window = f.in_origin + f.stride * (y * f.y_stride + x * f.x_stride), (top, bottom, left, right)
            for index in range(f.slices):
                fresh, start = index == 0 or not f.planes, origin + index * f.slice_stride
                if not fresh:
                    for lane in range(sums.shape[0]):
                        for column in range(sums.shape[1]):
                            sums[lane, column] *= 2
                for lane in range(sums.shape[0]):
                    rows = scratch.rows[lane]
                    scratch.ends[lane] = list_events(f, start, window, spikes, lane, sums.shape[1], rows)
                add_weights(scratch, banks.weight, -1 if f.planes and f.signed and index == 0 else 1, fresh)
                if f.planes and index < f.slices - 1:
                    continue
                if f.planes or most > half:
                    for lane in range(sums.shape[0]):
                        for column in range(sums.shape[1]):
                            sums[lane, column] = ((sums[lane, column] + half) & (2 * half - 1)) - half
                store_group(f, y, x, index, shifted, bits, banks, scratch, counts)


@kernel
def time_tile(f, totals, cycles, counts):
    """Law and counters of a tile from the cycles of its groups and the totals of its words; returns the duration in cycles."""
    handover, taken, busy, stalls = FIRST_ADD, 0, 0, 0
    groups, granules = f.out_height * f.out_width * (1 if f.planes else f.slices), f.blocks * f.steps
    for group in range(groups):
        before = handover
        handover, taken = group_end(handover, taken, cycles[group], granules)
        busy += cycles[group]
        stalls += handover - before - cycles[group]
    end = taken + drain(f.pool)
    counts[COUNT.stall_cycles] += stalls
    counts[COUNT.fill_cycles] += end - busy - stalls
    counts[COUNT.words] += totals[WORDS] + totals[PADDING]
    counts[COUNT.empty_words] += totals[EMPTY] + totals[PADDING]
    counts[COUNT.spike_reads] += totals[WORDS]
    counts[COUNT.events] += totals[EVENTS]
    counts[COUNT.weight_reads] += totals[EVENTS]
    counts[COUNT.lane_events] += totals[LANE_EVENTS]
    counts[COUNT.empty_groups] += totals[SILENT]
    counts[COUNT.additions] += totals[LANE_EVENTS] * f.columns
    counts[COUNT.shifts] += f.out_height * f.out_width * (f.slices - 1) if f.planes else 0
    count_blocks(f, counts)
    return end


@kernel
def run_synapse(f, bits, banks, scratch, compute, trace, member, leader, version, counts):
    """SYNAPSE of one member of a gang; returns the cycles.

    Rows of ``trace``, if any, are stored in the place of those that ``compute`` makes, which makes membranes and sums, too.
    ``version``: of the leader's bank; what was counted for ``member`` at the same version serves again.
    """
    place = count_groups(f, banks.spike_in, leader, version, member, scratch.counted)
    cycles = time_tile(f, scratch.counted.totals[member, place], scratch.counted.cycles[member, place], counts)
    written, fired = counts[COUNT.spike_writes], counts[COUNT.spikes]
    if compute:
        compute_tile(f, bits, banks, scratch, counts)
    if len(trace) and f.spike_out and not f.psum_out:
        counts[COUNT.spike_writes], counts[COUNT.spikes] = written, fired
        replay_tile(f, trace, banks.param.shape[2], banks.spike_out, counts)
    if member != leader:  # the leader's fetch and encoder serve the whole gang
        for counter in (COUNT.words, COUNT.empty_words, COUNT.spike_reads):
            counts[counter] = 0
    return cycles


@kernel
def replay_tile(f, trace, neurons, bank, counts):
    """Store the rows of a trace, uint64 [positions x rows of a position, L], in place of computed ones."""
    slices, width = f.steps * (1 if f.planes else f.slices) // f.lanes, f.blocks * neurons
    ones = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - width)
    for number in range(len(trace)):
        row = f.out_base + number // slices * f.out_position + number % slices * f.out_slice
        for lane in range(f.lanes):
            store(bank, row, lane, 0, trace[number, lane], width)
            counts[COUNT.spikes] += popcount(trace[number, lane] & ones)
    counts[COUNT.spike_writes] += len(trace) * f.lanes * f.blocks


def scratch_for(chip: ChipParams, fields: Sequence[Mapping[str, int]], recording: Recording) -> Scratch:
    """Scratch that suffices for any of these SYNAPSE instructions."""
    events = [f["kernel_height"] * f["kernel_width"] * f["words"] * chip.columns for f in fields]
    pools = [f for f in fields if f["pool"]]
    entries = [f["blocks"] * f["steps"] * (1 if f["planes"] else f["slices"]) for f in pools]
    widths = [(f["out_width"] + 1) // 2 for f in pools]
    groups = [f["out_height"] * f["out_width"] * (1 if f["planes"] else f["slices"]) for f in fields]
    sizes = (max(part, default=0) for part in (events, entries, widths, groups))
    return Scratch.empty(chip, *sizes, recording)


def account(head: Mapping[str, int]) -> NDArray[np.int64]:
    """Counters int64 [COUNTERS] of a SYNAPSE that follow from its fields, which kernels do not count: the pool's memories."""
    counts = np.zeros(len(COUNTERS), np.int64)
    if head["pool"]:
        steps = head["steps"] * (1 if head["planes"] else head["slices"])
        sizes = (head[name] for name in ("out_height", "out_width", "pool_first_odd", "pool_left_odd"))
        counts[COUNT.pool_column_reads : COUNT.pool_line_writes + 1] = pool_accesses(*sizes, head["blocks"] * steps)
    return counts


def synapse(
    heads: Sequence[Mapping[str, int]],
    chip: ChipParams,
    memories: Sequence[CoreMemory],
    traces: Sequence[NDArray[np.uint64]] | None = None,
    record: bool = False,
    membranes: bool = False,
) -> tuple[int, NDArray[np.int64], list[Recording]]:
    """Run a SYNAPSE instruction on the members of its gang.

    Args:
        heads: SYNAPSE_FIELDS of the contract for each member; they differ in ``columns`` and ``param_base`` at most.
        chip: the chip.
        memories: the members' memories in the order of the cores, the leader (whose input all share) first; written.
        traces: for each member the rows to store instead of computed ones, uint64 [positions x slices, L]; None or no row
            computes them.
        record: return membrane inputs and potentials.
        membranes: compute sums and membranes even where rows of a trace take the place of the spikes.

    Returns the duration in cycles, counters int64 [members, COUNTERS], and a recording per member (empty if not recorded).
    """  # fmt: skip
    head, cycles = heads[0], 0
    steps = head["steps"] * (1 if head["planes"] else head["slices"])
    counts, recordings = np.stack([account(head)] * len(memories)), []
    for member, memory in enumerate(memories):
        shape = (head["out_height"] * head["out_width"] if record else 0, steps, chip.columns)
        recording = Recording(np.zeros(shape, np.int32), np.zeros(shape, np.int32))
        banks = Banks(
            memories[0].spike_in[head["in_bank"]], memory.weight[head["weight_bank"]], memory.param[head["param_bank"]],
            memory.residual.reshape(-1), memory.psum.reshape(-1), memory.reduce.reshape(-1),
            memory.spike_out[head["out_bank"]],
        )  # fmt: skip
        f, scratch = entry(contract.SYNAPSE_FIELDS, heads[member]), scratch_for(chip, heads[:1], recording)
        trace = np.zeros((0, chip.lanes), np.uint64) if traces is None else traces[member]
        compute = membranes or not len(trace)
        cycles = run_synapse(f, chip.membrane_bits, banks, scratch, compute, trace, member, 0, NEVER, counts[member])
        recordings.append(recording)
    return cycles, counts, recordings if record else []


def planes(
    fields: Mapping[str, int], chip: ChipParams, memory: CoreMemory, trace: NDArray[np.uint64] | None = None
) -> tuple[int, NDArray[np.int64]]:
    """Run a PLANES instruction; ``trace`` holds the rows to store instead, uint64 [planes, L]. Returns cycles, counters."""
    counts, f = np.zeros(len(COUNTERS), np.int64), entry(contract.PLANES_FIELDS, fields)
    rows = np.zeros((0, chip.lanes), np.uint64) if trace is None else trace
    cycles = run_planes(f, chip.neurons, memory.reduce, rows, memory.spike_out[fields["out_bank"]], counts)
    return cycles, counts
