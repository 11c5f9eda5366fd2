"""Attention unit, fast: three dataflows of spike attention, arithmetic and time in one pass over the words."""

from collections import namedtuple
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import attention as contract
from archsim.contracts import neuron, sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.jit import lowest_bit, njit, popcount
from archsim.results import COUNT, COUNTERS, Recording
from archsim.units.attention_counts import count_kv, count_row, multiply_kv, segment_of, word_at
from archsim.units.core import drain, group_end, word_cycles
from archsim.units.neuron import fire, initial, membrane_input
from archsim.units.spike_writer import store
from archsim.units.sram import AttentionMemory

Attend = namedtuple("Attend", [field.name for field in contract.ATTEND_FIELDS])

FIRST_ADD, FIRST_SCORE, FIRST_GATE = contract.FIRST_ADD, contract.FIRST_SCORE, contract.FIRST_GATE
GATE_OVERHEAD = contract.GATE_OVERHEAD


@njit
def neurons(f, token, word, step, sums, v, bits, blocks, trace, out, counts, y, h, threshold, inputs, potentials):
    """Neuron unit and writer for one output word at one time step; records y and h if there is room for them."""
    p_count = len(y)
    slices = f.steps // f.lanes
    address = token * f.out_token_rows + step // f.lanes * f.out_words + f.first_word + word
    for block in range(blocks):
        first = block * p_count
        granule = np.uint64(0)
        if trace.shape[0] == 0:
            for p in range(p_count):
                y[p] = membrane_input(sums[first + p], 0, 0, f.shift, 0, bits)
                if step == 0:
                    v[block, p] = initial(f.threshold, f.neuron)
            granule = np.uint64(fire(y, v[block], threshold, f.neuron, bits, h))
            if inputs.shape[0]:
                inputs[token, step, word, first : first + p_count] = y
                potentials[token, step, word, first : first + p_count] = h
        else:
            granule = trace[(token * slices + step // f.lanes) * f.words + word, step % f.lanes] >> np.uint64(first)
            granule &= np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - p_count)
        store(out, f.out_base + address, step % f.lanes, first, granule, p_count)
        counts[COUNT.spikes] += popcount(granule)
    counts[COUNT.granules] += blocks
    counts[COUNT.spike_writes] += blocks
    counts[COUNT.v_reads] += blocks * (step > 0)
    counts[COUNT.v_writes] += blocks * (step < f.steps - 1)


@njit
def gather_q(f, columns, token, word, step, queries, counts_memory, cleared, sums, counts):
    """Sums of one output word of ATTEND_Q: the count rows of the events of its head's Q words; returns the cycles.

    A row that is marked as holding 0 takes its cycle and is not read.
    """
    cycles, head = 0, word // f.head_words * f.head_words
    for other in range(f.head_words):
        q = word_at(f, queries, f.q_base, token, step, head + other)
        events = popcount(q)
        cycles += word_cycles(events, 0)
        counts[COUNT.words] += 1
        counts[COUNT.empty_words] += events == 0
        counts[COUNT.events] += events
        counts[COUNT.lane_events] += events
        counts[COUNT.spike_reads] += 1
        counts[COUNT.mark_reads] += 1
        counts[COUNT.additions] += events * min(f.segment, columns)
        marks = cleared[count_row(f.count_base, f.count_step, step, word, other, 0, f.head_words, columns) // columns]
        counts[COUNT.count_reads] += popcount(q & ~marks)
        while q:
            channel = lowest_bit(q)
            q &= q - np.uint64(1)
            row = count_row(f.count_base, f.count_step, step, word, other, channel, f.head_words, columns)
            sums[:] += counts_memory[row]
    return cycles


@njit
def gather_scores(f, columns, token, word, step, queries, keys, values, sums, counts):
    """Sums of one output word of ATTEND_SCORES: scores by AND-popcount, added where V has spikes; returns the cycles."""
    head = word // f.head_words * f.head_words
    for other in range(f.tokens):
        v = word_at(f, values, f.v_base, other, step, word)
        for first in range(0, columns, f.segment):
            mask = segment_of(first, f.segment)
            score = 0
            for number in range(head, head + f.head_words):
                q = word_at(f, queries, f.q_base, token, step, number)
                k = word_at(f, keys, f.k_base, other, step, number)
                score += popcount(q & k & mask)
            for column in range(first, first + f.segment):
                if v >> np.uint64(column) & np.uint64(1):
                    sums[column] += score
        counts[COUNT.additions] += popcount(v)
    cycles = f.tokens * f.head_words
    counts[COUNT.popcounts] += cycles
    counts[COUNT.spike_reads] += 3 * cycles  # a word of V is read with each pair of a head that has several words
    return cycles


@njit
def count_gate(f, word, step, keys, values, sums, counts):
    """Sums over tokens of K AND V for one word and time step; returns the cycles."""
    for token in range(f.tokens):
        both = word_at(f, keys, f.k_base, token, step, word) & word_at(f, values, f.v_base, token, step, word)
        counts[COUNT.additions] += popcount(both)
        while both:
            sums[lowest_bit(both)] += 1
            both &= both - np.uint64(1)
    counts[COUNT.gates] += f.tokens
    counts[COUNT.spike_reads] += 2 * f.tokens
    return f.tokens


@njit
def attend_tile(
    f, kind, bits, columns, p_count, queries, keys, values, counts_memory, cleared, trace, out, counts, inputs, levels
):
    """Groups of ATTEND_Q (kind 0), ATTEND_SCORES (1), or phase 1 of ATTEND_GATE (2); returns (last block taken, busy)."""
    handover = FIRST_ADD if kind == 0 else FIRST_SCORE if kind == 1 else FIRST_GATE
    taken, busy, cycles = 0, 0, 0
    y, h = np.zeros(p_count, np.int32), np.zeros(p_count, np.int32)
    threshold = np.full(p_count, f.threshold, np.int32)
    v = np.zeros((columns // p_count, p_count), np.int32)
    sums = np.zeros(columns, np.int32)
    half = 1 << (bits - 1)
    for token in range(1 if kind == 2 else f.tile):
        for word in range(f.words):
            for step in range(f.steps):
                sums[:] = 0
                if kind == 0:
                    cycles = gather_q(f, columns, token, word, step, queries, counts_memory, cleared, sums, counts)
                elif kind == 1:
                    cycles = gather_scores(f, columns, token, word, step, queries, keys, values, sums, counts)
                else:
                    cycles = count_gate(f, word, step, keys, values, sums, counts)
                for column in range(columns):
                    sums[column] = ((sums[column] + half) & (2 * half - 1)) - half
                before = handover
                handover, taken = group_end(handover, taken, cycles, f.blocks)
                busy += cycles
                counts[COUNT.stall_cycles] += handover - before - cycles
                counts[COUNT.groups] += 1
                neurons(
                    f, token, word, step, sums, v, bits, f.blocks, trace, out, counts, y, h, threshold, inputs, levels
                )
    return taken, busy


@njit
def apply_gate(f, gate, queries, trace, out, counts):
    """Phase 2 of ATTEND_GATE: Q AND gate, a row of all lanes a cycle; ``gate``: uint64 [words, steps]."""
    slices = f.steps // f.lanes
    for token in range(f.tile):
        for index in range(slices):
            for word in range(f.words):
                row = token * f.token_rows + index * f.map_words + f.first_word + word
                target = f.out_base + token * f.out_token_rows + index * f.out_words + f.first_word + word
                out[target] = 0
                for lane in range(f.lanes):
                    bits = queries[f.q_base + row, lane] & gate[word, index * f.lanes + lane]
                    if trace.shape[0]:
                        bits = trace[(token * slices + index) * f.words + word, lane]
                    out[target, lane] = bits
                    counts[COUNT.spikes] += popcount(bits)
    rows = f.tile * slices * f.words
    counts[COUNT.gates] += rows
    counts[COUNT.spike_reads] += 2 * rows
    counts[COUNT.spike_writes] += rows * f.blocks * f.lanes
    return rows


def _product(f, chip, keys, values, memory, counts):
    """ATTEND_KV on the engine that the instruction names; returns its cycles."""
    if f.popcount:
        multiply_kv(f, chip.columns, keys, values, memory.counts, memory.cleared, counts)
        counts[COUNT.fill_cycles] = contract.FIRST_PAIR + contract.KV_OVERHEAD
        return contract.popcount_cycles(f.tokens, f.steps * f.words * f.head_words, chip.columns, chip.neurons)
    events = count_kv(f, chip.columns, keys, values, memory.counts, memory.cleared, counts)
    cycles = contract.kv_cycles(events)
    counts[COUNT.fill_cycles] = cycles - events
    return cycles


def attend(
    opcode: int,
    fields: Mapping[str, int],
    chip: ChipParams,
    memory: AttentionMemory,
    trace: NDArray[np.uint64] | None = None,
    record: bool = False,
) -> tuple[int, NDArray[np.int64], Recording]:
    """Run an ATTEND instruction.

    Args:
        opcode: ATTEND_KV, ATTEND_Q, ATTEND_SCORES or ATTEND_GATE of the sequencer.
        fields: ATTEND_FIELDS of the contract.
        chip: the chip.
        memory: the attention unit's memories; written.
        trace: output rows to store instead of computed ones, uint64 [tile x slices x words, L]; None computes them.
        record: return membrane inputs and potentials.

    Returns the duration in cycles, counters int64 [COUNTERS], and the recording [tile, steps, words x M] (empty if none);
    that of ATTEND_GATE is of the gate alone, [1, steps, words x M].
    """  # fmt: skip
    f = Attend(*(fields[name] for name in Attend._fields))
    counts = np.zeros(len(COUNTERS), np.int64)
    q0, q1, keys, values = memory.spikes
    queries, out = (q1 if f.q_bank else q0), memory.out[f.out_bank]
    words = np.zeros((0, chip.lanes), np.uint64) if trace is None else trace
    recorded = 1 if opcode == sequencer.ATTEND_GATE else f.tile
    shape = (recorded if record else 0, f.steps, f.words, chip.columns)
    recording = Recording(np.zeros(shape, np.int32), np.zeros(shape, np.int32))
    if opcode == sequencer.ATTEND_KV:
        return _product(f, chip, keys, values, memory, counts), counts, recording
    kind = opcode - sequencer.ATTEND_Q
    target, target_trace, tile = out, words, f
    if opcode == sequencer.ATTEND_GATE:
        # The gate words take the place of the first output token, until the second phase has used them.
        target, target_trace = np.zeros((f.words * f.steps, chip.lanes), np.uint64), words[:0]
        tile = f._replace(out_base=0, out_words=f.words, first_word=0, lanes=f.lanes)
        tile = tile._replace(k_base=f.k_base + f.first_word, v_base=f.v_base + f.first_word)
    taken, busy = attend_tile(
        tile, kind, chip.membrane_bits, chip.columns, chip.neurons, queries, keys, values, memory.counts, memory.cleared,
        target_trace, target, counts, recording.inputs, recording.potentials,
    )  # fmt: skip
    cycles = taken + drain(0)
    if opcode == sequencer.ATTEND_GATE:
        slices = f.steps // f.lanes
        gate = target[: slices * f.words, : f.lanes].reshape(slices, f.words, f.lanes)
        gate = np.ascontiguousarray(gate.transpose(1, 0, 2).reshape(f.words, f.steps))
        counts[COUNT.spikes] = 0
        rows = apply_gate(f, gate, queries, words, out, counts)
        # The last gate granule leaves the neuron unit LATENCY cycles after its block was taken; then the rows follow.
        cycles = taken + neuron.LATENCY + rows + GATE_OVERHEAD
        busy += rows
    counts[COUNT.fill_cycles] = cycles - busy - counts[COUNT.stall_cycles]
    return (
        cycles,
        counts,
        Recording(*(values.reshape(len(values), f.steps, f.words * chip.columns) for values in recording)),
    )
