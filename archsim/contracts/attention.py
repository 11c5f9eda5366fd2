"""Attention unit: spike attention without softmax, in three dataflows, with a neuron unit of its own.

All operands are words of M channels. A head of d channels is either a segment of a word (d divides M) or several whole words
(M divides d). The unit counts; its neuron unit applies the scale (a shift of the count) and fires.

* ATTEND_KV and ATTEND_Q: ``Q (K^T V)``. An event of K adds the V words of its head to the row of its channel in the count
  memory; each event of Q adds the row of its channel to the output word. ATTEND_KV begins its rows at 0.
* ATTEND_SCORES: ``(Q K^T) V``. AND-popcount of a Q word with each K word, added where V has spikes.
* ATTEND_GATE: ``Q AND SN(sum over tokens of K AND V)``, the Hadamard form.

Maps lie as ``base + (token * slices + slice) * map_words + word``. An instruction works on
the words ``first_word .. first_word + words - 1``.
"""

from archsim.contracts import core
from archsim.contracts.common.layout import Field

ATTEND_FIELDS = (
    Field("q_bank", 1),
    Field("q_base", 20),  # row of the first token of the tile in q0 or q1
    Field("k_base", 20),
    Field("v_base", 20),
    Field("tokens", 13),  # tokens of K and V
    Field("tile", 13),  # tokens of Q in this instruction
    Field("steps", 8),
    Field("lanes", 5),  # time steps of a row
    Field("map_words", 10),
    Field("first_word", 10),
    Field("words", 10),
    Field("head_words", 6),  # words of a head (1 if heads are segments)
    Field("segment", 7),  # channels of a head within a word (M if a head fills words)
    Field("count_base", 20),
    Field("count_first", 10),  # word of the map that the count memory begins with, and words that it holds
    Field("count_words", 10),
    Field("neuron", 2),
    Field("threshold", 24, True),
    Field("shift", 5, True),
    Field("blocks", 7),
    Field("out_bank", 1),
    Field("out_base", 20),
    Field("out_words", 10),  # words of the output map (its row stride between slices)
)
"""Fields of all ATTEND instructions; output word w of token i, slice s goes to out_base + (i * slices + s) * out_words + w."""

FIRST_ADD = core.FIRST_ADD
"""Cycles from the start to the first addition of an event: fetch and encoder are those of the core."""

FIRST_SCORE = 4
"""Cycles from the start to the first AND-popcount added: address, read, popcount, add."""

FIRST_GATE = 3
"""Cycles from the start to the first K AND V counted: address, read, add."""

KV_OVERHEAD = 2
"""Cycles from the last addition into the count memory to the end: write back, end."""

GATE_OVERHEAD = 4
"""Cycles of the second phase of ATTEND_GATE besides one per row: address, read, AND, write."""


def kv_cycles(events: int) -> int:
    """Law of ATTEND_KV: ``events`` counts max(1, set bits) of each K word, once per V word of its head."""
    return FIRST_ADD + events - 1 + KV_OVERHEAD


def count_row(
    base: int, step: int, word: int, other: int, channel: int, words: int, head_words: int, columns: int
) -> int:
    """Row of the count memory for a K channel.

    Args:
        base: ``count_base`` of the instruction.
        step: time step.
        word: K word of the channel, from ``count_first``.
        other: V word within the head, from 0.
        channel: channel within its word.
        words: ``count_words`` of the instruction.
        head_words: ``head_words`` of the instruction.
        columns: M.
    """
    return base + ((step * words + word) * head_words + other) * columns + channel


def reference_gate(q: list[list[int]], gate: list[int]) -> list[list[int]]:
    """Second phase of ATTEND_GATE: words [token][step] of Q, kept where the gate word of the step is set."""
    return [[word & gate[step] for step, word in enumerate(token)] for token in q]
