"""Attention unit, fast: dataflows of spike attention, and its softmax, arithmetic and time in one pass over the words."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import attention as contract
from archsim.contracts import sequencer
from archsim.contracts.attention_softmax import SOFTMAX_FIELDS, softmax_cycles
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.layout import Field
from archsim.contracts.neuron import LATENCY
from archsim.jit import entry, kernel, njit, popcount
from archsim.results import COUNT, COUNTERS, Recording
from archsim.units.attention_counts import count_kv, multiply_kv
from archsim.units.attention_softmax import softmax_tile
from archsim.units.attention_sums import count_gate, gather_q, gather_scores, neurons
from archsim.units.core import drain, group_end
from archsim.units.neuron import NeuronScratch
from archsim.units.spike_writer import store
from archsim.units.sram import AttentionMemory
from archsim.vectors import ROOM, ROW, aligned

FIRST_ADD, FIRST_SCORE, FIRST_GATE = contract.FIRST_ADD, contract.FIRST_SCORE, contract.FIRST_GATE
GATE_OVERHEAD, FIRST_PAIR, KV_OVERHEAD = contract.GATE_OVERHEAD, contract.FIRST_PAIR, contract.KV_OVERHEAD
kv_cycles = njit(contract.kv_cycles)

FIELDS = (*SOFTMAX_FIELDS, Field("law_cycles", 32), Field("law_stalls", 32))
"""What kernels take of an ATTEND: its fields (0 where it has none), and the cycles and stalls that follow from them alone."""


SOFTMAX = sequencer.ATTEND_SOFTMAX - sequencer.ATTEND_Q
"""Kind of ATTEND_SOFTMAX."""


class Banks(NamedTuple):
    """The banks that an ATTEND instruction owns (see AttentionMemory)."""

    queries: NDArray[np.uint64]
    keys: NDArray[np.uint64]
    values: NDArray[np.uint64]
    counts: NDArray[np.int32]
    cleared: NDArray[np.uint64]
    scores: NDArray[np.int32]
    table: NDArray[np.uint8]
    out: NDArray[np.uint64]


class Scratch(NamedTuple):
    """State of an ATTEND kernel, and its recordings [tile, steps, words, M] in the neuron unit's.

    Attributes:
        sums: int32 [M].
        rows: of the events of a word, from the first row of its channels on, ROW [M + ROOM].
        gate: gate words, uint64 [words x steps].
        words, turned: words of K and V, also transposed, uint64 [2, M].
        last: rows of the count memory that are on their way to it, int64 [FORWARD].
        neuron: of the neuron unit.
    """

    sums: NDArray[np.int32]
    rows: NDArray[np.uint16]
    gate: NDArray[np.uint64]
    words: NDArray[np.uint64]
    turned: NDArray[np.uint64]
    last: NDArray[np.int64]
    neuron: NeuronScratch


def completed(fields: Mapping[str, int], chip: ChipParams) -> dict[str, int]:
    """An ATTEND with all of FIELDS."""
    pairs = fields["steps"] * fields["words"] * fields["head_words"]
    known = contract.popcount_cycles(fields["tokens"], pairs, chip.columns, chip.neurons), 0
    if fields["opcode"] == sequencer.ATTEND_SOFTMAX:
        groups = fields["tile"] * fields["steps"]
        known = softmax_cycles(fields["tokens"], groups, fields["blocks"], fields["fraction"])
    missing = {field.name: 0 for field in FIELDS}
    return {**missing, **fields, "law_cycles": known[0], "law_stalls": known[1]}


def scratch_for(chip: ChipParams, gates: int, recording: Recording) -> Scratch:
    """Scratch for ATTEND instructions of at most ``gates`` words x steps."""
    neuron = NeuronScratch.empty(chip.columns, *recording)
    sums, rows = aligned(chip.columns, np.int32), aligned(chip.columns + ROOM, ROW)
    words, turned = (np.zeros((2, chip.columns), np.uint64) for _ in range(2))
    return Scratch(sums, rows, np.zeros(gates, np.uint64), words, turned, np.zeros(contract.FORWARD, np.int64), neuron)


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
                sums[:], reads = 0, counts[COUNT.count_reads]
                if kind == 0:
                    cycles = gather_q(f, columns, token, word, step, banks, scratch, compute, counts)
                elif kind == 1:
                    cycles = gather_scores(
                        f, columns, token, word, step, banks.queries, banks.keys, banks.values, sums, counts
                    )
                else:
                    cycles = count_gate(f, word, step, banks.keys, banks.values, sums, counts)
                added = counts[COUNT.count_reads] > reads if kind == 0 else sums.any()
                counts[COUNT.empty_groups] += not added
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
            spikes = trace[number, lane] >> np.uint64(f.channel) & ones
            store(out, row, lane, f.channel, spikes, width)
            counts[COUNT.spikes] += popcount(spikes)


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
def multiply(f, columns, banks, scratch, compute, counts):
    """ATTEND_KV on the engine that the instruction names; returns its cycles."""
    if f.popcount:
        multiply_kv(f, columns, banks, scratch.words, scratch.turned, counts)
        counts[COUNT.fill_cycles] += FIRST_PAIR + KV_OVERHEAD
        return f.law_cycles
    events = count_kv(f, columns, banks, scratch.last, compute, counts)
    cycles = kv_cycles(events)
    counts[COUNT.fill_cycles] += cycles - events
    return cycles


@kernel
def run_attend(kind, f, bits, neurons, banks, scratch, compute, trace, counts):
    """ATTEND_KV (kind -1), SOFTMAX, or as in :func:`attend_tile`; without ``compute`` the rows of ``trace`` are stored."""
    if kind < 0:
        return multiply(f, len(scratch.sums), banks, scratch, compute, counts)
    if kind == SOFTMAX:
        softmax_tile(f, bits, neurons, banks, scratch, compute, counts)
        if not compute:
            replay_tile(f, f.blocks * neurons, trace, banks.out, counts)
        return f.law_cycles
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
        opcode: ATTEND_KV, ATTEND_Q, ATTEND_SCORES, ATTEND_GATE or ATTEND_SOFTMAX of the sequencer.
        fields: the instruction's fields by the contract.
        chip: the chip.
        memory: the attention unit's memories; written.
        trace: output rows to store instead of computed ones, uint64 [tile x slices x words, L]; None or no row computes them.
        record: return membrane inputs and potentials.

    Returns the duration in cycles, counters int64 [COUNTERS], and the recording [tile, steps, words x M] (empty if none);
    that of ATTEND_GATE is of the gate alone, [1, steps, words x M], that of ATTEND_SOFTMAX of the head, [tile, steps, segment].
    """  # fmt: skip
    f, counts = entry(FIELDS, completed({**fields, "opcode": opcode}, chip)), np.zeros(len(COUNTERS), np.int64)
    tile, steps, words, columns = *(fields[name] for name in ("tile", "steps", "words")), chip.columns
    recorded = {sequencer.ATTEND_KV: 0, sequencer.ATTEND_GATE: 1}.get(opcode, tile)
    shape = (recorded if record else 0, steps, words, columns)
    recording = Recording(np.zeros(shape, np.int32), np.zeros(shape, np.int32))
    scratch = scratch_for(chip, steps * words, recording)
    rows = np.zeros((0, chip.lanes), np.uint64) if trace is None else trace
    banks = Banks(
        memory.spikes[fields["q_bank"]], memory.spikes[2], memory.spikes[3], memory.counts, memory.cleared,
        memory.scores, memory.table, memory.out[fields["out_bank"]],
    )
    kind = opcode - sequencer.ATTEND_Q
    cycles = run_attend(kind, f, chip.membrane_bits, chip.neurons, banks, scratch, not len(rows), rows, counts)
    kept = fields["segment"] if opcode == sequencer.ATTEND_SOFTMAX else words * columns
    whole = (values.reshape(len(values), steps, words * columns) for values in recording)
    return cycles, counts, Recording(*(values[..., :kept] for values in whole))
