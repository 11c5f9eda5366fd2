"""Attention unit, cycle by cycle: ATTEND_SOFTMAX. Adders with one more accumulator for the total, and a divider behind them.

Before the adders stand the words, their AND, the count with what score memory and table answer, and the register of a membrane
on its way back; behind them the divider, whose quotients go into the neuron unit.
"""

import numpy as np

from archsim.contracts import attention_softmax as contract
from archsim.contracts import masker
from archsim.contracts import neuron as neuron_contract
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.event_encoder import ADD
from archsim.jit import njit
from archsim.stepped import neuron, synapse_array
from archsim.stepped.attention_sums import (
    ACTIVE,
    FLYING,
    OTHER,
    READ_STEP,
    STEP,
    TOKEN,
    advance,
    back_of,
    place_of,
    write,
)
from archsim.stepped.bits import checked, ones, popcount

WORKS, LEFT, BLOCK, TOTAL, OFFERS = range(5)
"""Registers of the divider: bits of the quotients remain; how many; block; total; the quotients are offered."""

FULL, WORD, VALUES, LAST, KEY, ENTRY, FRESH, MEMBRANE = range(8)
"""Registers of a stage before the adders: it is full; AND of Q and K (or their count); V; end of group; key; row of the table;
first time step; what the score memory answered."""

_potential = njit(neuron_contract.potential)
_reset = njit(neuron_contract.reset)
_initial = njit(neuron_contract.initial)
_next_byte = njit(masker.step)
_division_step = njit(contract.division_step)
IF_HALF = neuron_contract.IF_HALF


@checked
def _divide(f, c, back, control, remainders, quotients, ready):
    """One cycle of the divider, between adders and neuron unit, which is ``ready`` or not."""
    array, pipe = back.array, back.pipe
    if control[OFFERS] and ready:
        last = control[BLOCK] == f.blocks - 1
        pipe[0, neuron.VALID], pipe[0, neuron.BLOCK], pipe[0, neuron.STEP] = 1, control[BLOCK], 0
        pipe[0, neuron.LAST], pipe[0, neuron.FRESH] = last, back.at[READ_STEP] == 0
        back.data[neuron.BIAS], back.data[neuron.THRESHOLD], back.data[neuron.SHIFT] = 0, f.threshold, f.shift
        none = back.none
        neuron.accept(c, pipe, back.data, quotients, none, none, none, back.membranes, back.wrote)
        if last:
            back.at[READ_STEP] = (back.at[READ_STEP] + 1) % f.steps
        control[OFFERS] = 0
    if control[WORKS]:
        first = control[LEFT] == f.fraction + 1
        for p in range(c.neurons):
            remainders[p], quotients[p] = _division_step(remainders[p], quotients[p], control[TOTAL], first)
        control[LEFT] -= 1
        if control[LEFT] == 0:
            control[WORKS], control[OFFERS] = 0, 1
    elif control[OFFERS] == 0 and array[synapse_array.OFFERED]:
        block = array[synapse_array.BLOCK]
        control[WORKS], control[LEFT], control[BLOCK], control[TOTAL] = 1, f.fraction + 1, block, back.bank[0, -1]
        remainders[:] = back.bank[0, block * c.neurons : (block + 1) * c.neurons]
        quotients[:] = 0
        synapse_array.take(array, f.blocks, 1)


@checked
def _choose(f, c, stage, register, table, back, written):
    """A score neuron fires or not, and its entry goes to the adders; ``written``: key and membrane on their way to the memory."""
    v = _initial(f.score_threshold, IF_HALF) if stage[FRESH] else stage[MEMBRANE]
    h = _potential(v, stage[WORD] << f.score_shift, IF_HALF, c.bits)
    fired = h >= f.score_threshold and register & 255 < f.keep
    written[0], written[1] = stage[KEY], _reset(h, f.score_threshold, IF_HALF, c.bits)
    entry = np.int64(table[stage[ENTRY], 1 if fired else 0])
    for column in range(len(back.row) - 1):
        back.row[column] = entry if stage[VALUES] >> column & 1 else 0
    back.row[-1] = entry
    synapse_array.put(back.array, ADD, 1, stage[LAST])


@checked
def _read(f, walk, answer, banks):
    """Present the reads of a pair's words; ``answer``: their AND and V within the head, and the pair's marks and rows."""
    queries, keys, values = banks
    lane, head = walk[STEP] % f.lanes, ones(f.segment)
    query = queries[f.q_base + place_of(f, walk[TOKEN], walk[STEP], 0), lane]
    key = keys[f.k_base + place_of(f, walk[OTHER], walk[STEP], 0), lane]
    value = values[f.v_base + place_of(f, walk[OTHER], walk[STEP], 0), lane]
    answer[WORD], answer[VALUES] = (query & key) >> f.channel & head, value >> f.channel & head
    answer[KEY], answer[ENTRY] = walk[OTHER], f.table_base + walk[TOKEN] * f.tokens + walk[OTHER]
    answer[FRESH], walk[FLYING] = walk[STEP] == 0, 1
    answer[LAST] = advance(f, walk, f.tile, f.tokens, 1)


@checked
def _run(f, c, banks, scores, table, out, begin):
    """Cycles until the last granule is written, and whether no membrane was read while it was written."""
    back, walk = back_of(c, f.blocks, 1), np.zeros(7, np.int64)
    control, (remainders, quotients) = np.zeros(5, np.int64), np.zeros((2, c.neurons), np.int64)
    answer, met, counted, written = np.zeros(8, np.int64), np.zeros(8, np.int64), np.zeros(8, np.int64), np.zeros(2, np.int64)
    written[0] = -1
    walk[ACTIVE], register = 1, begin
    cycle, done, clean = 0, False, True
    while not done:
        cycle += 1
        done = write(f, c, f.tile, back, out)
        none = back.none
        ready = neuron.clock(c, back.pipe, back.data, back.granule, none, none, none, back.membranes, back.wrote)
        _divide(f, c, back, control, remainders, quotients, ready)
        synapse_array.add(back.array, back.row, back.sums, back.bank, c.bits)
        key, membrane = written[0], written[1]  # in this cycle they go to the memory
        written[0] = -1
        if counted[FULL] and back.array[synapse_array.PENDING] == 0:
            _choose(f, c, counted, register, table, back, written)
            register = _next_byte(register)
            counted[FULL] = 0
        if met[FULL] and counted[FULL] == 0:
            counted[:] = met
            counted[WORD] = popcount(met[WORD])
            if met[FRESH] == 0:
                clean = clean and met[KEY] != key
                counted[MEMBRANE] = scores[met[KEY]]
            met[FULL] = 0
        if key >= 0:
            scores[key] = membrane
        if walk[FLYING] and met[FULL] == 0:
            met[:] = answer
            met[FULL] = 1
            walk[FLYING] = 0
        if walk[ACTIVE] and walk[FLYING] == 0:
            _read(f, walk, answer, banks)
    return cycle, clean


def run(f, chip, banks, scores, table, out):
    """Run ATTEND_SOFTMAX on (q, k, v) as int64; returns the cycles from the start to the end.

    Raises ArchsimError where a membrane of a score would be read in the cycle in which it is written.
    """
    c = neuron.Config(f.neuron, chip.membrane_bits, chip.neurons, False, False, False, False, False, False)
    cycles, clean = _run(f, c, banks, scores, table, out, masker.begin(f.seed))
    if not clean:
        raise ArchsimError(
            f"attention: tokens of ATTEND_SOFTMAX must be {contract.SCORE_DISTANCE} or more, given {f.tokens}"
        )
    return cycles + 1
