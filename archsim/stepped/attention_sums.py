"""Attention unit, cycle by cycle: ATTEND_Q, ATTEND_SCORES and ATTEND_GATE, whose sums go through the neuron unit.

Groups come token by token, word by word, time steps innermost. All three share the adders with their hand-over bank (a synapse
array of one lane), the neuron unit and the writer; they differ in what stands before the adders.
"""

from collections import namedtuple

import numpy as np

from archsim.contracts import attention as contract
from archsim.contracts import sequencer
from archsim.contracts.attention_softmax import SOFTMAX_FIELDS
from archsim.contracts.event_encoder import ADD
from archsim.contracts.spike_fetch import FIFO_DEPTH
from archsim.jit import njit
from archsim.stepped import event_encoder, fifo, neuron, synapse_array
from archsim.stepped.bits import checked, ones, popcount, put_granule

Fields = namedtuple("Fields", [field.name for field in SOFTMAX_FIELDS])
"""An ATTEND instruction, for the kernels; what it does not have is 0."""

Back = namedtuple("Back", "array row sums bank pipe data granule membranes wrote at none")
"""Adders (control, addend, accumulators, hand-over bank), neuron unit, counters behind it, and a memory that it does not have."""

READ_STEP, OUT_TOKEN, OUT_WORD, OUT_STEP = range(4)
"""Counters behind the adders: time step at the neuron unit's input; token, word and time step at the writer."""

TOKEN, WORD, STEP, OTHER, NUMBER, ACTIVE, FLYING = range(7)
"""Registers of a fetch: loop counters (outer to inner; token of K and word of the head inside a group), words remain, a read is
under way."""

_count_row = njit(contract.count_row)


@njit
def place_of(f, token, step, word):
    """Row of a word of the instruction within a map."""
    return token * f.token_rows + step // f.lanes * f.map_words + f.first_word + word


@njit
def out_row(f, token, step, word):
    """Row of a word of the instruction in the output bank."""
    return f.out_base + token * f.out_token_rows + step // f.lanes * f.out_words + f.first_word + word


@njit
def back_of(c, blocks, extra):
    """The registers behind the fetch; the adders have ``extra`` ones besides the columns'."""
    columns = blocks * c.neurons + extra
    return Back(
        np.zeros(8, np.int64), np.zeros(columns, np.int64), np.zeros((1, columns), np.int64), np.zeros((1, columns), np.int64),
        np.zeros((2, 10), np.int64), np.zeros((neuron.DATA, c.neurons), np.int64), np.zeros(5, np.int64),
        np.zeros((blocks, c.neurons), np.int64), np.zeros(4, np.int64), np.zeros(4, np.int64),
        np.zeros((1, c.neurons), np.int32),
    )  # fmt: skip


@checked
def write(f, c, tokens, back, out):
    """The writer takes a granule; returns whether it was the last."""
    at, granule = back.at, back.granule
    if granule[neuron.VALID] == 0:
        return False
    row = out_row(f, at[OUT_TOKEN], at[OUT_STEP], at[OUT_WORD])
    block = f.channel // c.neurons + granule[neuron.BLOCK]
    put_granule(out[row], at[OUT_STEP] % f.lanes, block, c.neurons, granule[neuron.SPIKES])
    if granule[neuron.LAST]:
        at[OUT_STEP] += 1
        if at[OUT_STEP] == f.steps:
            at[OUT_STEP] = 0
            at[OUT_WORD] += 1
        if at[OUT_WORD] == f.words:
            at[OUT_WORD] = 0
            at[OUT_TOKEN] += 1
    return at[OUT_TOKEN] == tokens


@checked
def _clock(f, c, tokens, back, out):
    """One cycle of writer, neuron unit and adders; returns whether the last granule was written in it."""
    array, pipe, at, none = back.array, back.pipe, back.at, back.none
    done = write(f, c, tokens, back, out)
    ready = neuron.clock(c, pipe, back.data, back.granule, none, none, none, back.membranes, back.wrote)
    if ready and array[synapse_array.OFFERED]:
        block = array[synapse_array.BLOCK]
        pipe[0, neuron.VALID], pipe[0, neuron.BLOCK], pipe[0, neuron.STEP] = 1, block, 0
        pipe[0, neuron.LAST], pipe[0, neuron.FRESH] = block == f.blocks - 1, at[READ_STEP] == 0
        back.data[neuron.BIAS], back.data[neuron.THRESHOLD], back.data[neuron.SHIFT] = 0, f.threshold, f.shift
        addends = back.bank[0, block * c.neurons : (block + 1) * c.neurons]
        neuron.accept(c, pipe, back.data, addends, none, none, none, back.membranes, back.wrote)
        if block == f.blocks - 1:
            at[READ_STEP] = (at[READ_STEP] + 1) % f.steps
        synapse_array.take(array, f.blocks, 1)
    synapse_array.add(array, back.row, back.sums, back.bank, c.bits)
    return done


@njit
def advance(f, walk, tokens, others, numbers):
    """Next word of a fetch; returns whether the one before ended its group."""
    walk[NUMBER] += 1
    if walk[NUMBER] == numbers:
        walk[NUMBER] = 0
        walk[OTHER] += 1
    if walk[OTHER] < others:
        return False
    walk[OTHER] = 0
    walk[STEP] += 1
    if walk[STEP] == f.steps:
        walk[STEP] = 0
        walk[WORD] += 1
    if walk[WORD] == f.words:
        walk[WORD] = 0
        walk[TOKEN] += 1
    walk[ACTIVE] = walk[TOKEN] < tokens
    return True


@checked
def _read_query(f, columns, walk, flight, queries):
    """ATTEND_Q: present the read of one word of Q; ``flight`` holds it, the count row of its channel 0, and the end mark."""
    number = walk[WORD] // f.head_words * f.head_words + walk[NUMBER]
    flight[0] = queries[f.q_base + place_of(f, walk[TOKEN], walk[STEP], number), walk[STEP] % f.lanes]
    flight[1] = _count_row(f.count_base, f.count_step, walk[STEP], walk[WORD], walk[NUMBER], 0, f.head_words, columns)
    walk[FLYING] = 1
    flight[2] = advance(f, walk, f.tile, 1, f.head_words)


@checked
def _gather(f, c, columns, queries, counts, out):
    """Cycles of ATTEND_Q: fetch, FIFO and encoder of a core, with the count memory for weights."""
    back, walk, flight = back_of(c, columns // c.neurons, 0), np.zeros(7, np.int64), np.zeros(3, np.int64)
    queue, store = np.zeros(2, np.int64), np.zeros((FIFO_DEPTH, 3), np.int64)
    encoder, remaining, event = np.zeros(5, np.int64), np.zeros(1, np.int64), np.zeros(4, np.int64)
    walk[ACTIVE] = 1
    cycle, done = 0, False
    while not done:
        cycle += 1
        done = _clock(f, c, f.tile, back, out)
        if event_encoder.offer(encoder, remaining, event) and back.array[synapse_array.PENDING] == 0:
            synapse_array.put(back.array, ADD, event[event_encoder.MASK], event[event_encoder.EVENT_LAST])
            back.row[:] = counts[event[event_encoder.EVENT_ROW]]
            event_encoder.take(encoder, remaining)
        if queue[fifo.COUNT] and encoder[event_encoder.BUSY] == 0:
            word = fifo.pop(queue, store)
            event_encoder.put(encoder, remaining, word[:1], word[1], 0, 0, word[2])
        room = queue[fifo.COUNT] + walk[FLYING] < FIFO_DEPTH
        if walk[FLYING]:
            fifo.push(queue, store, flight)
            walk[FLYING] = 0
        if walk[ACTIVE] and room:
            _read_query(f, columns, walk, flight, queries)
    return cycle + 1


@checked
def _read_pair(f, walk, answer, banks, scores):
    """ATTEND_SCORES and ATTEND_GATE: present the reads of a word of Q (scores only), K and V; ``answer[3]`` is the end mark."""
    queries, keys, values = banks
    head = walk[WORD] // f.head_words * f.head_words
    number = head + walk[NUMBER] if scores else walk[WORD]
    lane = walk[STEP] % f.lanes
    if scores:
        answer[0] = queries[f.q_base + place_of(f, walk[TOKEN], walk[STEP], number), lane]
    answer[1] = keys[f.k_base + place_of(f, walk[OTHER], walk[STEP], number), lane]
    answer[2] = values[f.v_base + place_of(f, walk[OTHER], walk[STEP], walk[WORD]), lane]
    walk[FLYING] = 1
    answer[3] = advance(f, walk, f.tile if scores else 1, f.tokens, f.head_words if scores else 1)


@njit
def _score(f, words, row):
    """AND-popcount of Q and K, segment by segment, where V has spikes."""
    for first in range(0, len(row), f.segment):
        score = popcount(words[0] & words[1] & (ones(f.segment) << first))
        for column in range(first, min(first + f.segment, len(row))):
            row[column] = score if words[2] >> column & 1 else 0


@checked
def _pairs(f, c, columns, banks, scores, out):
    """Cycles of ATTEND_SCORES, or of the first phase of ATTEND_GATE, until the last granule is written."""
    back, walk = back_of(c, columns // c.neurons, 0), np.zeros(7, np.int64)
    answer, words, held = np.zeros(4, np.int64), np.zeros(4, np.int64), False
    walk[ACTIVE] = 1
    cycle, done = 0, False
    while not done:
        cycle += 1
        done = _clock(f, c, f.tile if scores else 1, back, out)
        free = back.array[synapse_array.PENDING] == 0
        if scores and held and free:
            _score(f, words, back.row)
            synapse_array.put(back.array, ADD, 1, words[3])
            held = False
        if scores and walk[FLYING] and not held:
            words[:] = answer
            held = True
            walk[FLYING] = 0
        if not scores and walk[FLYING] and free:
            for column in range(columns):
                back.row[column] = answer[1] & answer[2] & (1 << column) != 0
            synapse_array.put(back.array, ADD, 1, answer[3])
            walk[FLYING] = 0
        if walk[ACTIVE] and walk[FLYING] == 0:
            _read_pair(f, walk, answer, banks, scores)
    return cycle


@checked
def _apply(f, queries, out):
    """Cycles of the second phase of ATTEND_GATE: address, bank, word register, AND register and write, a row a cycle.

    The gate words stand in the rows of the first token, which therefore comes last.
    """
    read, gate, held, result = np.zeros((4, f.lanes), np.int64)
    # (valid, token, step of the first lane, word) of the address, and of the row in each stage
    at, stages = np.zeros(4, np.int64), np.zeros((3, 4), np.int64)
    at[0], at[1] = 1, 1 % f.tile
    cycle = 0
    while at[0] or np.any(stages[:, 0]):
        cycle += 1
        if stages[2, 0]:
            row = out_row(f, stages[2, 1], stages[2, 2], stages[2, 3])
            out[row] = 0
            out[row, : f.lanes] = result
        stages[2] = stages[1]
        result[:] = held & gate
        stages[1] = stages[0]
        held[:] = read
        gate[:] = out[out_row(f, 0, stages[0, 2], stages[0, 3]), : f.lanes]
        stages[0] = at
        if at[0]:
            read[:] = queries[f.q_base + place_of(f, at[1], at[2], at[3]), : f.lanes]
            at[3] += 1
            if at[3] == f.words:
                at[3] = 0
                at[2] += f.lanes
            if at[2] == f.steps:
                at[2] = 0
                at[0] = at[1] != 0
                at[1] = (at[1] + 1) % f.tile
    return cycle + 1


def run(opcode, f, chip, banks, counts, out):
    """Run ATTEND_Q, ATTEND_SCORES or ATTEND_GATE on (q, k, v) as int64; returns the cycles from the start to the end."""
    c = neuron.Config(f.neuron, chip.membrane_bits, chip.neurons, False, False, False, False, False, False)
    if opcode == sequencer.ATTEND_Q:
        return _gather(f, c, chip.columns, banks[0], counts, out)
    if opcode == sequencer.ATTEND_SCORES:
        return _pairs(f, c, chip.columns, banks, True, out) + 1
    # The second phase starts in the cycle in which the last granule is written.
    return _pairs(f, c, chip.columns, banks, False, out) + _apply(f, banks[0], out)
