"""Softmax of the attention unit, fast: scores of one head, entries of the table, and whole divisions; its time is the law's."""

import numpy as np

from archsim.contracts import masker, neuron
from archsim.jit import kernel, lowest_bit, njit, popcount
from archsim.results import COUNT
from archsim.units.attention_counts import word_at
from archsim.units.attention_sums import neurons
from archsim.units.masker import step as next_byte
from archsim.units.neuron import initial, potential, reset

begin = njit(masker.begin)
IF_HALF = neuron.IF_HALF


@kernel
def head_of(f):
    """Mask of the channels of the instruction's head."""
    return np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - f.segment) << np.uint64(f.channel)


@kernel
def score(f, bits, number, count, step, kept, scores):
    """1 if the pair of key ``number`` has a spike left: its neuron fires on ``count`` common spikes, and the mask keeps it."""
    v = initial(f.score_threshold, IF_HALF) if step == 0 else np.int64(scores[number])
    h = potential(v, count << f.score_shift, IF_HALF, bits)
    scores[number] = reset(h, f.score_threshold, IF_HALF, bits)
    return 1 if kept and h >= f.score_threshold else 0


@kernel
def gather_softmax(f, bits, token, step, register, banks, sums):
    """Sums of the head's channels from ``sums[0]`` on; returns their total, and the masker's register behind the group."""
    total, head, q = 0, head_of(f), word_at(f, banks.queries, f.q_base, token, step, 0)
    for number in range(f.tokens):
        k = word_at(f, banks.keys, f.k_base, number, step, 0)
        spike = score(f, bits, number, popcount(q & k & head), step, register & 255 < f.keep, banks.scores)
        register = next_byte(register)
        entry = np.int64(banks.table[f.table_base + token * f.tokens + number, spike])
        total += entry
        v = word_at(f, banks.values, f.v_base, number, step, 0) & head
        while v:
            sums[lowest_bit(v) - f.channel] += entry
            v &= v - np.uint64(1)
    return total, register


@kernel
def divide(f, total, sums):
    """Every sum times 2^fraction by the total, floor; 0 where the total is 0."""
    for column in range(f.segment):
        sums[column] = (np.int64(sums[column]) << f.fraction) // total if total else 0


@kernel
def softmax_tile(f, bits, p_count, banks, scratch, compute, counts):
    """Groups of ATTEND_SOFTMAX, and what it counts; without ``compute`` nothing is stored."""
    register, sums, head = begin(f.seed), scratch.sums, head_of(f)
    scratch.neuron.params[1] = f.threshold
    for token in range(f.tile):
        for step in range(f.steps):
            before = counts[COUNT.additions]
            for number in range(f.tokens):
                counts[COUNT.additions] += popcount(word_at(f, banks.values, f.v_base, number, step, 0) & head)
            counts[COUNT.empty_groups] += counts[COUNT.additions] == before
            if compute:
                sums[:] = 0
                total, register = gather_softmax(f, bits, token, step, register, banks, sums)
                divide(f, total, sums)
                neurons(f, 1, token, 0, step, bits, f.blocks * p_count, scratch, banks.out, counts)
    groups = f.tile * f.steps
    pairs = groups * f.tokens
    counts[COUNT.popcounts] += pairs
    counts[COUNT.spike_reads] += 3 * pairs
    counts[COUNT.score_reads] += pairs - f.tile * f.tokens
    counts[COUNT.score_writes] += pairs
    counts[COUNT.table_reads] += pairs
    counts[COUNT.division_steps] += groups * f.blocks * (f.fraction + 1)
    counts[COUNT.groups] += groups
    counts[COUNT.granules] += groups * f.blocks
    counts[COUNT.spike_writes] += groups * f.blocks
    counts[COUNT.v_reads] += (groups - f.tile) * f.blocks
    counts[COUNT.v_writes] += (groups - f.tile) * f.blocks
    counts[COUNT.stall_cycles] += f.law_stalls
    counts[COUNT.fill_cycles] += f.law_cycles - f.law_stalls - pairs
