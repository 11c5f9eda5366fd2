"""Attention unit, cycle by cycle: ATTEND_KV here, the dataflows that end in the neuron unit in ``attention_sums``."""

from collections import namedtuple
from collections.abc import Mapping

import numpy as np

from archsim.contracts import attention as contract
from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.spike_fetch import FIFO_DEPTH
from archsim.jit import njit
from archsim.stepped import attention_sums, event_encoder, fifo
from archsim.stepped.attention_sums import Fields, place_of
from archsim.stepped.bits import checked, ones
from archsim.units.sram import AttentionMemory

STEP, WORD, OTHER, TOKEN, ACTIVE, FLYING = range(6)
"""Registers of the K and V fetch: loop counters (word of V, word of K in its head, tokens innermost), words remain, a read is
under way."""

KEY, VALUE, ROW, LAST = range(4)
"""A word of K, the word of V that it meets, the count row of its channel 0, and whether it is the last."""

Adder = namedtuple("Adder", "pending base result state")
"""Count adder: control of the waiting event (valid, row, V bits, last), the row it read; the result and its valid, row, last."""

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
            adder.result[column] = (old + (pending[2] >> column & 1)) & ones(count_bits)
        state[1], state[2] = pending[1], pending[3]
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
    """Cycles of ATTEND_KV from its start to its end."""
    walk, flight, value = np.zeros(6, np.int64), np.zeros(4, np.int64), 0
    queue, store = np.zeros(2, np.int64), np.zeros((FIFO_DEPTH, 4), np.int64)
    encoder, remaining, event = np.zeros(5, np.int64), np.zeros(1, np.int64), np.zeros(4, np.int64)
    row = np.zeros(columns, np.int64)
    adder = Adder(np.zeros(4, np.int64), row, np.zeros_like(row), np.zeros(3, np.int64))
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
            adder.pending[0], adder.pending[1], adder.pending[3] = 1, number, event[event_encoder.EVENT_LAST]
            adder.pending[2] = value & head if event[event_encoder.MASK] else 0
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


def attend(opcode: int, fields: Mapping[str, int], chip: ChipParams, memory: AttentionMemory) -> int:
    """Run an ATTEND instruction.

    Args:
        opcode: ATTEND_KV, ATTEND_Q, ATTEND_SCORES or ATTEND_GATE of the sequencer.
        fields: ATTEND_FIELDS of the contract; missing fields are 0.
        chip: the chip.
        memory: the attention unit's memories; written.

    Returns the cycles from the start to the end. Raises ArchsimError for an instruction without work.
    """
    f = Fields(*(int(fields.get(name, 0)) for name in Fields._fields))
    needed = ("tokens", "steps", "lanes", "words", "head_words", "segment", "blocks", "tile")
    if min(getattr(f, name) for name in needed) < 1 and not (opcode == sequencer.ATTEND_KV and f.tile * f.blocks == 0):
        raise ArchsimError(f"attention: {', '.join(needed)} of 1 or more required, given {f}")
    banks = memory.spikes.view(np.int64)
    queries, keys, values = banks[f.q_bank], banks[2], banks[3]
    out = memory.out[f.out_bank].view(np.int64)
    if opcode == sequencer.ATTEND_KV:
        return _count(f, chip.columns, chip.count_bits, keys, values, memory.counts)
    return attention_sums.run(opcode, f, chip, (queries, keys, values), memory.counts, out)
