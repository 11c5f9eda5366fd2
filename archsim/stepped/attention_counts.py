"""Attention unit, cycle by cycle: ATTEND_KV, event by event or by AND-popcount of transposed words."""

from collections import namedtuple

import numpy as np

from archsim.contracts import attention as contract
from archsim.contracts.spike_fetch import FIFO_DEPTH
from archsim.jit import njit
from archsim.stepped import event_encoder, fifo, transposer
from archsim.stepped.attention_sums import place_of
from archsim.stepped.bits import checked, ones, popcount

STEP, WORD, OTHER, TOKEN, ACTIVE, FLYING = range(6)
"""Registers of the K and V fetch: loop counters (word of V, word of K in its head, tokens innermost), words remain, a read is
under way."""

KEY, VALUE, ROW, LAST, ENDS = range(5)
"""A word of K, the word of V that it meets, the count row of its channel 0, whether it is the last, and the last of its tokens."""

Adder = namedtuple("Adder", "pending addend base result state")
"""Count adder: control of what waits (valid, row, last), its addends, the row it read; the result and its valid, row, last."""

_count_row = njit(contract.count_row)


@checked
def _read(f, columns, walk, flight, keys, values):
    """Present the reads of one word of K and one of V; advance the counters."""
    head = walk[WORD] // f.head_words * f.head_words
    lane = walk[STEP] % f.lanes
    flight[KEY] = keys[f.k_base + place_of(f, walk[TOKEN], walk[STEP], head + walk[OTHER]), lane]
    flight[VALUE] = values[f.v_base + place_of(f, walk[TOKEN], walk[STEP], walk[WORD]), lane]
    flight[ROW] = _count_row(f.count_base, f.count_step, walk[STEP], walk[WORD], walk[OTHER], 0, f.head_words, columns)
    walk[FLYING] = 1
    walk[TOKEN] += 1
    for inner, outer, end in ((TOKEN, OTHER, f.tokens), (OTHER, WORD, f.head_words), (WORD, STEP, f.words)):
        if walk[inner] == end:
            walk[inner] = 0
            walk[outer] += 1
    walk[ACTIVE] = walk[STEP] < f.steps
    flight[LAST] = 1 - walk[ACTIVE]
    flight[ENDS] = walk[TOKEN] == 0


@njit
def _idle(columns):
    """The registers of an adder without work."""
    control, row = np.zeros(3, np.int64), np.zeros(columns, np.int64)
    return Adder(control, row, np.zeros_like(row), np.zeros_like(row), np.zeros_like(control))


@checked
def _add(adder, counts, count_bits):
    """Clock edge of the adder: write the result, add the waiting event; returns whether the last result was written."""
    state, pending = adder.state, adder.pending
    done = False
    if state[0]:
        counts[state[1]] = adder.result
        done = state[2] != 0
    if pending[0]:
        # The row was read before the result of the event before was written: take it from the result register.
        forward = state[0] and state[1] == pending[1]
        for column in range(len(adder.result)):
            old = adder.result[column] if forward else adder.base[column]
            adder.result[column] = (old + adder.addend[column]) & ones(count_bits)
        state[1], state[2] = pending[1], pending[2]
    state[0], pending[0] = pending[0], 0
    return done


@checked
def _clear(f, columns, counts):
    """The rows of the instruction's words begin with 0 (in hardware: their bits say so)."""
    for step in range(f.steps):
        for word in range(f.words):
            first = _count_row(f.count_base, f.count_step, step, word, 0, 0, f.head_words, columns)
            counts[first : first + f.head_words * columns] = 0


@checked
def _count(f, columns, count_bits, keys, values, counts):
    """Cycles of ATTEND_KV, event by event, from its start to its end."""
    walk, flight, value = np.zeros(6, np.int64), np.zeros(5, np.int64), 0
    queue, store = np.zeros(2, np.int64), np.zeros((FIFO_DEPTH, 5), np.int64)
    encoder, remaining, event = np.zeros(5, np.int64), np.zeros(1, np.int64), np.zeros(4, np.int64)
    adder = _idle(columns)
    _clear(f, columns, counts)
    walk[ACTIVE] = 1
    cycle, done = 0, False
    while not done:
        cycle += 1
        done = _add(adder, counts, count_bits)
        if event_encoder.offer(encoder, remaining, event):
            number, channel = (
                event[event_encoder.EVENT_ROW],
                event[event_encoder.EVENT_ROW] - encoder[event_encoder.ROW],
            )
            head = ones(f.segment) << (channel // f.segment * f.segment)
            adder.pending[0], adder.pending[1], adder.pending[2] = 1, number, event[event_encoder.EVENT_LAST]
            for column in range(columns):
                adder.addend[column] = (value & head) >> column & 1 if event[event_encoder.MASK] else 0
            adder.base[:] = counts[number]
            event_encoder.take(encoder, remaining)
        if queue[fifo.COUNT] and encoder[event_encoder.BUSY] == 0:
            word = fifo.pop(queue, store)
            value = word[VALUE]
            event_encoder.put(encoder, remaining, word[KEY : KEY + 1], word[ROW], 0, 0, word[LAST])
        room = queue[fifo.COUNT] + walk[FLYING] < FIFO_DEPTH
        if walk[FLYING]:
            fifo.push(queue, store, flight)
            walk[FLYING] = 0
        if walk[ACTIVE] and room:
            _read(f, columns, walk, flight, keys, values)
    return cycle + 1


@checked
def _meet(f, adder, key, held, part, neurons, channel):
    """The transposed word of K meets P channels of V: their common bits, where V's channel belongs to the head of K's."""
    for column in range(part * neurons, (part + 1) * neurons):
        word = 0
        for token in range(len(held)):
            word |= (held[token] >> column & 1) << token
        adder.addend[column] = popcount(word & key) if channel // f.segment == column // f.segment else 0


@checked
def _multiply(f, columns, neurons, count_bits, keys, values, counts):
    """Cycles of ATTEND_KV with ``popcount``, from its start to its end."""
    walk, flight, held = np.zeros(6, np.int64), np.zeros(5, np.int64), np.zeros(columns, np.int64)
    turn, rows, adder = np.zeros(2, np.int64), np.zeros(columns, np.int64), _idle(columns)
    first, final, part = (
        0,
        0,
        0,
    )  # count row of channel 0 and end mark of the block in the transposer; block of P channels of V
    _clear(f, columns, counts)
    walk[ACTIVE] = 1
    cycle, done = 0, False
    while not done:
        cycle += 1
        done = _add(adder, counts, count_bits)
        draining = turn[transposer.DRAINING]
        if draining:
            channel = turn[transposer.INDEX]
            _meet(f, adder, transposer.column(rows), held, part, neurons, channel)
            part += 1
            if part == columns // neurons:
                part = 0
                adder.pending[0], adder.pending[1] = 1, first + channel
                adder.pending[2] = final and channel == columns - 1
                adder.base[:] = counts[first + channel]
                transposer.take(turn, rows)
        elif walk[FLYING]:
            held[turn[transposer.INDEX]] = flight[VALUE]
            transposer.put(turn, rows, flight[KEY], flight[ENDS])
            first, final = flight[ROW], flight[LAST]
            walk[FLYING] = 0
        if walk[ACTIVE] and walk[FLYING] == 0:
            _read(f, columns, walk, flight, keys, values)
    return cycle + 1


def run(f, chip, keys, values, counts):
    """Run ATTEND_KV on banks as int64; returns the cycles from the start to the end."""
    if f.popcount:
        return _multiply(f, chip.columns, chip.neurons, chip.count_bits, keys, values, counts)
    return _count(f, chip.columns, chip.count_bits, keys, values, counts)
