"""Count memory of the attention unit, fast: K^T V by events and by AND-popcount, arithmetic and counters in one pass."""

import numpy as np

from archsim.contracts import attention as contract
from archsim.jit import kernel, lowest_bit, njit, popcount
from archsim.results import COUNT
from archsim.units.event_encoder import word_cycles
from archsim.units.transposer import transpose
from archsim.vectors import WIDTH, add_bits

FORWARD = contract.FORWARD
count_row = njit(contract.count_row)
kv_operations = njit(contract.kv_operations)


@kernel
def word_at(f, bank, base, token, step, word):
    """The spikes of one word of the instruction (from its first) at one time step."""
    row = base + token * f.token_rows + step // f.lanes * f.map_words + f.first_word + word
    return bank[row, step % f.lanes]


@kernel
def segment_of(channel, segment):
    """Mask of the channels of the head that ``channel`` of a word belongs to."""
    ones = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - segment)
    return ones << np.uint64(channel // segment * segment)


@kernel
def mark(columns, row, seen, cleared, counts):
    """Store the marks of the block of count rows from ``row`` on: all its rows but those in ``seen``."""
    cleared[row // columns] = (np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - columns)) & ~seen
    counts[COUNT.mark_writes] += 1


@kernel
def count_kv(f, columns, banks, last, compute, counts):
    """ATTEND_KV: K^T V into the count memory; returns its events (one at least per K word and V word).

    Without ``compute`` only the marks of the rows and what is counted; the counts stay as they were.

    Words and events come one a cycle, so the rows of the last cycles (-1: none) say which event finds its row on its way;
    ``last``: scratch for them, int64 [FORWARD].
    """
    total, counts_memory = 0, banks.counts
    last[:] = -1
    for step in range(f.steps):
        for word in range(f.words):
            head = word // f.head_words * f.head_words
            for other in range(f.head_words):
                first = count_row(f.count_base, f.count_step, step, word, other, 0, f.head_words, columns)
                seen = np.uint64(0)
                if compute:
                    counts_memory[first : first + columns] = 0
                for token in range(f.tokens):
                    k = word_at(f, banks.keys, f.k_base, token, step, head + other)
                    v = word_at(f, banks.values, f.v_base, token, step, word)
                    events, cycle = popcount(k), total
                    total += word_cycles(events, 0)
                    counts[COUNT.words] += 1
                    counts[COUNT.empty_words] += events == 0
                    counts[COUNT.events] += events
                    counts[COUNT.lane_events] += events
                    seen |= k
                    if events == 0:
                        last[cycle % FORWARD] = -1
                    while k:
                        channel = lowest_bit(k)
                        k &= k - np.uint64(1)
                        counts[COUNT.count_reads] += last[cycle % FORWARD] != first + channel
                        last[cycle % FORWARD] = first + channel
                        cycle += 1
                        gated = v & segment_of(channel, f.segment)
                        counts[COUNT.additions] += popcount(gated)
                        if compute and columns == WIDTH:
                            add_bits(counts_memory[first + channel], gated)
                            gated = np.uint64(0)
                        while gated and compute:
                            counts_memory[first + channel, lowest_bit(gated)] += 1
                            gated &= gated - np.uint64(1)
                mark(columns, first, seen, banks.cleared, counts)
    counts[COUNT.spike_reads] += 2 * counts[COUNT.words]
    counts[COUNT.count_writes] += counts[COUNT.events]
    return total


@kernel
def take_block(f, columns, keys, values, place, first, words):
    """Words of K and V of the tokens from ``first`` on, as many as a block holds, into ``words`` [2, M]; returns how many."""
    step, word, number = place
    count = min(columns, f.tokens - first)
    for token in range(count):
        words[0, token] = word_at(f, keys, f.k_base, first + token, step, number)
        words[1, token] = word_at(f, values, f.v_base, first + token, step, word)
    return count


@kernel
def multiply_kv(f, columns, banks, words, turned, counts):
    """ATTEND_KV with ``popcount``: K^T V into the count memory, M tokens at a time; ``words``, ``turned``: scratch [2, M]."""
    for step in range(f.steps):
        for word in range(f.words):
            head = word // f.head_words * f.head_words
            for other in range(f.head_words):
                row = count_row(f.count_base, f.count_step, step, word, other, 0, f.head_words, columns)
                banks.counts[row : row + columns] = 0
                seen = np.uint64(0)
                for first in range(0, f.tokens, columns):
                    count = take_block(f, columns, banks.keys, banks.values, (step, word, head + other), first, words)
                    transpose(words[0, :count], turned[0])
                    transpose(words[1, :count], turned[1])
                    for channel in range(columns):
                        if turned[0, channel] == 0:
                            continue
                        seen |= np.uint64(1) << np.uint64(channel)
                        begin = channel // f.segment * f.segment
                        for column in range(begin, min(begin + f.segment, columns)):
                            both = turned[0, channel] & turned[1, column]
                            banks.counts[row + channel, column] += popcount(both)
                            counts[COUNT.additions] += 1
                        counts[COUNT.count_reads] += 1
                mark(columns, row, seen, banks.cleared, counts)
    counts[COUNT.count_writes] = counts[COUNT.count_reads]
    pairs = f.steps * f.words * f.head_words
    counts[COUNT.popcounts] = kv_operations(f.tokens, pairs, columns)
    counts[COUNT.transposed] = counts[COUNT.popcounts] // columns
    counts[COUNT.spike_reads] = 2 * pairs * f.tokens
