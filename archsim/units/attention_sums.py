"""Sums of the attention unit, fast: what stands before its adders, kernel by kernel, and the neuron unit behind them."""

import numpy as np

from archsim.jit import copy, kernel, lowest_bit, popcount
from archsim.results import COUNT
from archsim.units.attention_counts import count_row, segment_of, word_at
from archsim.units.event_encoder import word_cycles
from archsim.units.neuron import fire, initial, membrane_input
from archsim.units.spike_writer import store
from archsim.vectors import WIDTH, add_counts, list_bits


@kernel
def neurons(f, kind, token, word, step, bits, width, scratch, out, counts):
    """Neuron unit and writer for one output word (or head of it) at one time step; records y and h if there is room for them."""
    state, sums = scratch.neuron, scratch.sums
    y, v, h, shift = state.y[:width], state.v[:width], state.h, f.shift
    if width == WIDTH:  # a constant, so that the loop needs no end
        for p in range(WIDTH):
            y[p] = membrane_input(sums[p], 0, 0, shift, 0, bits)
    else:
        for p in range(width):
            y[p] = membrane_input(sums[p], 0, 0, shift, 0, bits)
    if step == 0:
        v[:] = initial(f.threshold, f.neuron)
    spikes = fire(y, v, state.params[1], f.neuron, bits, h)
    if state.inputs.shape[0]:
        copy(state.inputs[token, step, word, :width], y)
        copy(state.potentials[token, step, word, :width], h)
    if kind == 2:
        scratch.gate[word * f.steps + step] = spikes
        return
    row = f.out_base + token * f.out_token_rows + step // f.lanes * f.out_words + f.first_word + word
    store(out, row, step % f.lanes, f.channel, spikes, width)
    counts[COUNT.spikes] += popcount(spikes)


@kernel
def gather_q(f, columns, token, word, step, banks, scratch, compute, counts):
    """Sums of one output word of ATTEND_Q: the count rows of the events of its head's Q words; returns the cycles.

    A row that is marked as holding 0 takes its cycle and is not read.
    """
    cycles, head, sums = 0, word // f.head_words * f.head_words, scratch.sums
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
        first = count_row(f.count_base, f.count_step, step, word, other, 0, f.head_words, columns)
        counts[COUNT.count_reads] += popcount(q & ~banks.cleared[first // columns])
        if compute and columns == WIDTH:
            add_counts(scratch.rows, list_bits(scratch.rows, 0, q, 0), banks.counts[first:], sums)
            continue
        while q and compute:
            row = first + lowest_bit(q)
            q &= q - np.uint64(1)
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
