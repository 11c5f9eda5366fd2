"""Attention unit, fast: three dataflows of spike attention, arithmetic and time in one pass over the words."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import attention as contract
from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.layout import Field
from archsim.contracts.neuron import LATENCY
from archsim.jit import copy, entry, kernel, lowest_bit, njit, popcount
from archsim.results import COUNT, COUNTERS, Recording
from archsim.units.attention_counts import count_kv, count_row, multiply_kv, segment_of, word_at
from archsim.units.core import drain, group_end, word_cycles
from archsim.units.neuron import NeuronScratch, fire, initial, membrane_input
from archsim.units.spike_writer import store
from archsim.units.sram import AttentionMemory

FIRST_ADD, FIRST_SCORE, FIRST_GATE = contract.FIRST_ADD, contract.FIRST_SCORE, contract.FIRST_GATE
GATE_OVERHEAD, FIRST_PAIR, KV_OVERHEAD = contract.GATE_OVERHEAD, contract.FIRST_PAIR, contract.KV_OVERHEAD
kv_cycles = njit(contract.kv_cycles)

FIELDS = (*contract.ATTEND_FIELDS, Field("product_cycles", 32))
"""What kernels take of an ATTEND: its fields, and the cycles of an ATTEND_KV with ``popcount``, which follow from them."""


class Banks(NamedTuple):
    """The banks that an ATTEND instruction owns (see AttentionMemory)."""

    queries: NDArray[np.uint64]
    keys: NDArray[np.uint64]
    values: NDArray[np.uint64]
    counts: NDArray[np.int32]
    cleared: NDArray[np.uint64]
    out: NDArray[np.uint64]


class Scratch(NamedTuple):
    """State of an ATTEND kernel, and its recordings [tile, steps, words, M] in the neuron unit's.

    Attributes:
        sums: int32 [M].
        gate: gate words, uint64 [words x steps].
        words, turned: words of K and V, also transposed, uint64 [2, M].
        last: rows of the count memory that are on their way to it, int64 [FORWARD].
        neuron: of the neuron unit.
    """

    sums: NDArray[np.int32]
    gate: NDArray[np.uint64]
    words: NDArray[np.uint64]
    turned: NDArray[np.uint64]
    last: NDArray[np.int64]
    neuron: NeuronScratch


def completed(fields: Mapping[str, int], chip: ChipParams) -> dict[str, int]:
    """An ATTEND with all of FIELDS."""
    pairs = fields["steps"] * fields["words"] * fields["head_words"]
    return {**fields, "product_cycles": contract.popcount_cycles(fields["tokens"], pairs, chip.columns, chip.neurons)}


def scratch_for(chip: ChipParams, gates: int, recording: Recording) -> Scratch:
    """Scratch for ATTEND instructions of at most ``gates`` words x steps."""
    neuron = NeuronScratch.empty(chip.columns, *recording)
    words, turned = (np.zeros((2, chip.columns), np.uint64) for _ in range(2))
    last = np.zeros(contract.FORWARD, np.int64)
    return Scratch(np.zeros(chip.columns, np.int32), np.zeros(gates, np.uint64), words, turned, last, neuron)


@kernel
def neurons(f, kind, token, word, step, bits, width, scratch, out, counts):
    """Neuron unit and writer for one output word at one time step; records y and h if there is room for them."""
    state, sums = scratch.neuron, scratch.sums
    y, v, h, shift = state.y[:width], state.v[:width], state.h, f.shift
    for p in range(width):
        y[p] = membrane_input(sums[p], 0, 0, shift, 0, bits)
    if step == 0:
        v[:] = initial(f.threshold, f.neuron)
    spikes = fire(y, v, state.params[1], f.neuron, bits, h, state.flags)
    if state.inputs.shape[0]:
        copy(state.inputs[token, step, word, :width], y)
        copy(state.potentials[token, step, word, :width], h)
    if kind == 2:
        scratch.gate[word * f.steps + step] = spikes
        return
    row = f.out_base + token * f.out_token_rows + step // f.lanes * f.out_words + f.first_word + word
    store(out, row, step % f.lanes, 0, spikes, width)
    counts[COUNT.spikes] += popcount(spikes)


@kernel
def gather_q(f, columns, token, word, step, banks, sums, compute, counts):
    """Sums of one output word of ATTEND_Q: the count rows of the events of its head's Q words; returns the cycles.

    A row that is marked as holding 0 takes its cycle and is not read.
    """
    cycles, head = 0, word // f.head_words * f.head_words
    for other in range(f.head_words):
        q = word_at(f, banks.queries, f.q_base, token, step, head + other)
        events = popcount(q)
        cycles += word_cycles(events, 0)
        counts[COUNT.words] += 1
        counts[COUNT.empty_words] += events == 0
        counts[COUNT.events] += events
        counts[COUNT.lane_events] += events
        counts[COUNT.spike_reads] += 1
        counts[COUNT.mark_reads] += 1
        counts[COUNT.additions] += events * min(f.segment, columns)
        marks = banks.cleared[count_row(f.count_base, f.count_step, step, word, other, 0, f.head_words, columns) // columns]
        counts[COUNT.count_reads] += popcount(q & ~marks)
        while q and compute:
            channel = lowest_bit(q)
            q &= q - np.uint64(1)
            row = count_row(f.count_base, f.count_step, step, word, other, channel, f.head_words, columns)
            for column in range(columns):
                sums[column] += banks.counts[row, column]
    return cycles


@kernel
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


@kernel
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


@kernel
def attend_tile(f, kind, bits, p_count, banks, scratch, compute, counts):
    """Groups of ATTEND_Q (kind 0), ATTEND_SCORES (1), or phase 1 of ATTEND_GATE (2); returns (last block taken, busy)."""
    handover = FIRST_ADD if kind == 0 else FIRST_SCORE if kind == 1 else FIRST_GATE
    taken, busy, cycles = 0, 0, 0
    sums, half, columns = scratch.sums, 1 << (bits - 1), len(scratch.sums)
    scratch.neuron.params[1] = f.threshold
    tokens = 1 if kind == 2 else f.tile
    for token in range(tokens):
        for word in range(f.words):
            for step in range(f.steps):
                sums[:] = 0
                if kind == 0:
                    cycles = gather_q(f, columns, token, word, step, banks, sums, compute, counts)
                elif kind == 1:
                    cycles = gather_scores(
                        f, columns, token, word, step, banks.queries, banks.keys, banks.values, sums, counts
                    )
                else:
                    cycles = count_gate(f, word, step, banks.keys, banks.values, sums, counts)
                before = handover
                handover, taken = group_end(handover, taken, cycles, f.blocks)
                busy += cycles
                counts[COUNT.stall_cycles] += handover - before - cycles
                if compute:
                    for column in range(columns):
                        sums[column] = ((sums[column] + half) & (2 * half - 1)) - half
                    neurons(f, kind, token, word, step, bits, f.blocks * p_count, scratch, banks.out, counts)
    groups = tokens * f.words
    counts[COUNT.groups] += groups * f.steps
    counts[COUNT.granules] += groups * f.steps * f.blocks
    counts[COUNT.spike_writes] += groups * f.steps * f.blocks
    counts[COUNT.v_reads] += groups * (f.steps - 1) * f.blocks
    counts[COUNT.v_writes] += groups * (f.steps - 1) * f.blocks
    return taken, busy


@kernel
def replay_tile(f, width, trace, out, counts):
    """Store the rows of a trace, uint64 [tile x slices x words, L], in place of computed ones."""
    slices = f.steps // f.lanes
    ones = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - width)
    for number in range(len(trace)):
        token, index, word = number // f.words // slices, number // f.words % slices, number % f.words
        row = f.out_base + token * f.out_token_rows + index * f.out_words + f.first_word + word
        for lane in range(f.lanes):
            store(out, row, lane, 0, trace[number, lane], width)
            counts[COUNT.spikes] += popcount(trace[number, lane] & ones)


@kernel
def apply_gate(f, gate, queries, trace, out, counts):
    """Phase 2 of ATTEND_GATE: Q AND gate, a row of all lanes a cycle; ``gate``: uint64 [words x steps]."""
    slices = f.steps // f.lanes
    for token in range(f.tile):
        for index in range(slices):
            for word in range(f.words):
                row = token * f.token_rows + index * f.map_words + f.first_word + word
                target = f.out_base + token * f.out_token_rows + index * f.out_words + f.first_word + word
                out[target] = 0
                for lane in range(f.lanes):
                    bits = queries[f.q_base + row, lane] & gate[word * f.steps + index * f.lanes + lane]
                    if trace.shape[0]:
                        bits = trace[(token * slices + index) * f.words + word, lane]
                    out[target, lane] = bits
                    counts[COUNT.spikes] += popcount(bits)
    rows = f.tile * slices * f.words
    counts[COUNT.gates] += rows
    counts[COUNT.spike_reads] += 2 * rows
    counts[COUNT.spike_writes] += rows * f.blocks * f.lanes
    return rows


@kernel
def multiply(f, columns, banks, scratch, counts):
    """ATTEND_KV on the engine that the instruction names; returns its cycles."""
    if f.popcount:
        multiply_kv(f, columns, banks, scratch.words, scratch.turned, counts)
        counts[COUNT.fill_cycles] += FIRST_PAIR + KV_OVERHEAD
        return f.product_cycles
    events = count_kv(f, columns, banks, scratch.last, counts)
    cycles = kv_cycles(events)
    counts[COUNT.fill_cycles] += cycles - events
    return cycles


@kernel
def run_attend(kind, f, bits, neurons, banks, scratch, compute, trace, counts):
    """ATTEND_KV (kind -1), or as in :func:`attend_tile`; without ``compute`` the rows of ``trace`` are stored."""
    if kind < 0:
        return multiply(f, len(scratch.sums), banks, scratch, counts)
    taken, busy = attend_tile(f, kind, bits, neurons, banks, scratch, compute or kind == 2, counts)
    cycles = taken + drain(0)
    if kind == 2:
        rows = apply_gate(f, scratch.gate, banks.queries, trace, banks.out, counts)
        # The last gate granule leaves the neuron unit LATENCY cycles after its block was taken; then the rows follow.
        cycles = taken + LATENCY + rows + GATE_OVERHEAD
        busy += rows
    elif not compute:
        replay_tile(f, f.blocks * neurons, trace, banks.out, counts)
    counts[COUNT.fill_cycles] += cycles - busy - counts[COUNT.stall_cycles]
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
        trace: output rows to store instead of computed ones, uint64 [tile x slices x words, L]; None or no row computes them.
        record: return membrane inputs and potentials.

    Returns the duration in cycles, counters int64 [COUNTERS], and the recording [tile, steps, words x M] (empty if none);
    that of ATTEND_GATE is of the gate alone, [1, steps, words x M].
    """  # fmt: skip
    f, counts = entry(FIELDS, completed(fields, chip)), np.zeros(len(COUNTERS), np.int64)
    tile, steps, words, columns = *(fields[name] for name in ("tile", "steps", "words")), chip.columns
    recorded = {sequencer.ATTEND_KV: 0, sequencer.ATTEND_GATE: 1}.get(opcode, tile)
    shape = (recorded if record else 0, steps, words, columns)
    recording = Recording(np.zeros(shape, np.int32), np.zeros(shape, np.int32))
    scratch = scratch_for(chip, steps * words, recording)
    rows = np.zeros((0, chip.lanes), np.uint64) if trace is None else trace
    banks = Banks(
        memory.spikes[fields["q_bank"]], memory.spikes[2], memory.spikes[3], memory.counts, memory.cleared,
        memory.out[fields["out_bank"]],
    )
    kind = opcode - sequencer.ATTEND_Q
    cycles = run_attend(kind, f, chip.membrane_bits, chip.neurons, banks, scratch, not len(rows), rows, counts)
    return cycles, counts, Recording(*(values.reshape(len(values), steps, words * columns) for values in recording))
