"""Attention unit: spike attention without softmax, in three dataflows, with a neuron unit of its own.

All operands are words of M channels. A head of d channels is either a segment of a word (d divides M) or several whole words
(M divides d). The unit counts; its neuron unit applies the scale (a shift of the count) and fires.

* ATTEND_KV and ATTEND_Q: ``Q (K^T V)``. An event of K adds the V words of its head to the row of its channel in the count
  memory; each event of Q adds the row of its channel to the output word. ATTEND_KV begins its rows at 0: a bit a row says
  that the row holds 0, whatever is stored, until an event writes it.
* ATTEND_KV with ``popcount``: the same counts, M tokens at a time. The words of K go into a bit transposer, those of V into M
  registers beside it; for each channel of K its M bits meet those of P channels of V a cycle, and the numbers of common bits
  are added to its row of the count memory at once. The time is that of full words, whatever the spikes are.
* ATTEND_SCORES: ``(Q K^T) V``. AND-popcount of a Q word with each K word, added where V has spikes.
* ATTEND_GATE: ``Q AND SN(sum over tokens of K AND V)``, the Hadamard form. The gate words wait in the rows of the first output
  token, which the second phase therefore writes last.
* ATTEND_SOFTMAX, in chips that have it: ``softmax(Q K^T) V`` of binary scores within a window (``attention_softmax``).

Maps lie as ``base + token * token_rows + slice * map_words + word``. An instruction works on
the words ``first_word .. first_word + words - 1``.
"""

from dataclasses import dataclass
from functools import cached_property

from archsim.contracts import core, transposer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.law import Form, registers
from archsim.contracts.common.layout import Field
from archsim.contracts.event_encoder import EventEncoderParams
from archsim.contracts.neuron import NeuronParams
from archsim.contracts.spike_fetch import FIFO_DEPTH
from archsim.contracts.spike_writer import SpikeWriterParams
from archsim.contracts.sram import SramParams
from archsim.contracts.synapse_array import SynapseArrayParams
from archsim.contracts.transposer import TransposerParams

ATTEND_FIELDS = (
    Field("q_bank", 1),
    Field("q_base", 20),  # row of the first token of the tile in q0 or q1
    Field("k_base", 20),
    Field("v_base", 20),
    Field("tokens", 13),  # tokens of K and V
    Field("tile", 13),  # tokens of Q in this instruction
    Field("steps", 8),
    Field("lanes", 5),  # time steps of a row
    Field("token_rows", 20),  # rows between tokens of Q, K and V
    Field("map_words", 10),  # rows between their slices
    Field("first_word", 10),
    Field("words", 10),
    Field("head_words", 6),  # words of a head (1 if heads are segments)
    Field("segment", 7),  # channels of a head within a word (M if a head fills words)
    Field(
        "count_base", 20
    ),  # block of M rows of the count memory that belongs to first_word, and blocks between time steps
    Field("count_step", 20),
    Field("neuron", 2),
    Field("threshold", 24, True),
    Field("shift", 5, True),
    Field("blocks", 7),
    Field("out_bank", 1),
    Field("out_base", 20),
    Field("out_token_rows", 20),  # rows between tokens of the output
    Field("out_words", 10),  # rows between its slices
    Field("popcount", 1),  # ATTEND_KV: by AND-popcount of transposed words, not event by event
)
"""Fields of ATTEND instructions; output word w of token i, slice s goes to out_base + i * out_token_rows + s * out_words + w."""

FIRST_ADD = core.FIRST_ADD
"""Cycles from the start to the first addition of an event: fetch and encoder are those of the core."""

FIRST_PAIR = 2
"""Cycles from the start until the first words of K and V are taken into the registers (``popcount``): address, read."""

FIRST_SCORE = 4
"""Cycles from the start to the first AND-popcount added: address, read, popcount, add."""

FIRST_GATE = 3
"""Cycles from the start to the first K AND V counted: address, read, add."""

KV_OVERHEAD = 2
"""Cycles from the last addition into the count memory to the end: write back, end."""

FORWARD = 2
"""Cycles from the read of a count row to its write: an event of the same row in that cycle takes what is written, and no read."""

GATE_OVERHEAD = 4
"""Cycles of the second phase of ATTEND_GATE besides one per row: address, read, AND, write."""


@dataclass(frozen=True)
class AttentionParams:
    """Sizes of an attention unit: those of the chip that bear on it."""

    chip: ChipParams

    @cached_property
    def bank(self) -> SramParams:
        """One of the spike banks of Q, K and V: a row holds a word for each lane."""
        return SramParams(self.chip.attention_rows, self.chip.columns, self.chip.lanes)

    @cached_property
    def out(self) -> SpikeWriterParams:
        """The writer of the two output banks, as large as the others."""
        return SpikeWriterParams(self.chip.lanes, self.chip.neurons, self.chip.blocks, self.chip.attention_rows)

    @cached_property
    def counts(self) -> SramParams:
        """The count memory: a row holds M counts."""
        return SramParams(self.chip.count_rows, self.chip.columns * self.chip.count_bits)

    @cached_property
    def cleared(self) -> SramParams:
        """A bit for each row of the count memory, 1 if it holds 0 whatever is stored: a row for each block of M rows."""
        return SramParams(-(-self.chip.count_rows // self.chip.columns), 1, self.chip.columns)

    @cached_property
    def encoder(self) -> EventEncoderParams:
        """The encoder of K and Q: one lane; its rows are those of the count memory."""
        bits = (self.cleared.rows * self.chip.columns - 1).bit_length()
        return EventEncoderParams(1, self.chip.columns, max(bits, self.chip.columns.bit_length()))

    @cached_property
    def transposer(self) -> TransposerParams:
        """The transposer of K: blocks of M tokens. M registers of M bits beside it hold V."""
        return TransposerParams(self.chip.columns)

    @cached_property
    def array(self) -> SynapseArrayParams:
        """The adders with their hand-over bank, as a synapse array of one lane; its addends are no weights."""
        return SynapseArrayParams(1, self.chip.columns, self.chip.neurons, 2, self.chip.membrane_bits, 2)

    @cached_property
    def neuron(self) -> NeuronParams:
        """The neuron unit, of whose memories it has only that of the membranes."""
        return NeuronParams(self.chip.neurons, self.chip.blocks, self.chip.membrane_bits, 1, 1, 1, 1)


POPCOUNT_LAW = Form(
    ("pairs", "selections", "spikes"),
    ("cycles", "cycles kept", "cycles columns columns", "pairs columns", "selections columns", "selections neurons columns",
     "spikes columns"),
    ("1", "kept", "columns neurons", "columns columns", "columns neurons columns"),
    lambda chip: {"kept": (chip.columns - chip.neurons) * chip.columns.bit_length()},
)  # fmt: skip
"""Laws of the AND-popcount engine, of a chip's parameters; kept: bits of the registers in which the numbers of a row wait.

Counts: pairs of words of K and V, cycles in which other P channels of V meet a word of K (none if P is M), spikes of the words."""

COUNTS_LAW = Form(
    ("channels", "words", "empty_words", "additions"),
    ("cycles", "cycles columns count_bits", "channels columns count_bits", "words columns", "empty_words columns count_bits",
     "additions"),
    ("1", "columns", "columns count_bits"),
    known=lambda chip: registers(AttentionParams(chip).cleared),
)  # fmt: skip
"""Laws of the count memory with its adders. Counts of ATTEND_KV: channels of K with a spike, its words, empty ones, and spikes
that are added."""

SUMS_LAW = Form(
    ("channels", "additions", "groups"),
    ("cycles", "cycles columns membrane_bits", "channels columns membrane_bits", "additions count_bits",
     "groups columns membrane_bits"),
    ("1", "columns", "columns membrane_bits"),
)  # fmt: skip
"""Laws of the adders of ATTEND_Q. Counts: channels of Q with a spike, counts added that are not 0, groups handed over."""

NEURONS_LAW = Form(
    ("granules", "busy", "runs"),
    ("cycles", "cycles membrane_bits", "cycles neurons membrane_bits", "granules", "granules neurons membrane_bits",
     "granules kept_bits", "busy neurons membrane_bits", "runs neurons membrane_bits"),
    ("1", "membrane_bits", "neurons membrane_bits"),
    lambda chip: {"kept_bits": chip.neurons * chip.membrane_bits * (registers(AttentionParams(chip).neuron.v) > 0)},
    known=lambda chip: registers(AttentionParams(chip).neuron.v),
)
"""Laws of the attention unit's neurons; kept_bits: of a row of membranes, if these are registers, which each block switches too.

Counts: blocks; busy, those of groups to which something was added: a count row that is not marked as holding 0, a score that is not
0, a spike of K AND V, an entry of a softmax (the sums of the others are 0, and only their membranes switch); runs of blocks in
successive cycles, as a group comes, behind the last of which new membranes meet old inputs, as in a core's neuron unit."""


def _control_sizes(chip: ChipParams) -> dict[str, int]:
    """Bits of the numbers of a row and of a block of counts; of the registers of words that wait, and of scores."""
    params, words = AttentionParams(chip), 2 * FIFO_DEPTH + 4
    return {
        "row_bits": params.bank.address_bits, "block_bits": params.cleared.address_bits,
        "held": chip.columns * (words + chip.columns.bit_length()),
    }  # fmt: skip


CONTROL_LAW = Form(
    ("walked", "channels", "scores", "gates", "granules"),
    ("cycles", "cycles row_bits", "cycles block_bits", "cycles held", "cycles lanes columns", "walked", "walked columns",
     "channels columns", "scores columns", "gates columns", "granules"),
    ("1", "row_bits", "block_bits", "held", "lanes columns"),
    _control_sizes,
)  # fmt: skip
"""Laws of what stands between the parts of the attention unit: walk, banks' ports, FIFO, pairs of words, writer; of a chip's
parameters. Held: words in the FIFO, behind it and in the pair's register, two each; scores that wait for the adders.

Counts: words, or pairs of them, that meet, and rows of the second phase of ATTEND_GATE; channels of K and Q with a spike; pairs of
ATTEND_SCORES; both of ATTEND_GATE; granules."""


def kv_cycles(events: int) -> int:
    """Law of ATTEND_KV: ``events`` counts max(1, set bits) of each K word, once per V word of its head."""
    return FIRST_ADD + events - 1 + KV_OVERHEAD


def popcount_cycles(tokens: int, pairs: int, columns: int, neurons: int) -> int:
    """Law of ATTEND_KV with ``popcount``: full blocks of M tokens and the rest, for each pair of a K word and a V word.

    Args:
        tokens: ``tokens`` of the instruction.
        pairs: steps x words x head_words.
        columns: M.
        neurons: P; a transposed word stays for M / P cycles.
    """
    meet = columns * (columns // neurons - 1)
    whole, rest = tokens // columns, tokens % columns
    cycles = whole * (transposer.block_cycles(columns, columns) + meet)
    if rest:
        cycles += transposer.block_cycles(rest, columns) + meet
    return FIRST_PAIR + pairs * cycles + KV_OVERHEAD


def kv_operations(tokens: int, pairs: int, columns: int) -> int:
    """AND-popcounts of a pair of transposed words that ATTEND_KV with ``popcount`` does; arguments as for the law."""
    return pairs * -(-tokens // columns) * columns * columns


def count_row(
    base: int, count_step: int, step: int, word: int, other: int, channel: int, head_words: int, columns: int
) -> int:
    """Row of the count memory for a K channel.

    Args:
        base: ``count_base`` of the instruction.
        count_step: ``count_step`` of the instruction.
        step: time step.
        word: V word, from ``first_word``.
        other: K word of the channel within the head, from 0.
        channel: channel within its word.
        head_words: ``head_words`` of the instruction.
        columns: M.
    """
    return (base + step * count_step + word * head_words + other) * columns + channel


def reference_kv(k: list[int], v: list[int], columns: int, segment: int) -> list[list[int]]:
    """K^T V of one K word and one V word, from the words of all tokens: counts [channel of K][channel of V], 0 outside a head."""
    return [
        [
            sum(key >> row & value >> column & 1 for key, value in zip(k, v, strict=True))
            if row // segment == column // segment else 0
            for column in range(columns)
        ]
        for row in range(columns)
    ]  # fmt: skip


def reference_gate(q: list[list[int]], gate: list[int]) -> list[list[int]]:
    """Second phase of ATTEND_GATE: words [token][step] of Q, kept where the gate word of the step is set."""
    return [[word & gate[step] for step, word in enumerate(token)] for token in q]
