"""Softmax of the attention unit: ATTEND_SOFTMAX, ``softmax(Q K^T) V`` of one head over one window, from binary scores.

Only in chips with ``softmax_tokens``. A part of the attention unit, and no spike-driven one: each pair of tokens takes its time
and an addition at every step, whatever the spikes are, and a division ends it. There is no multiplier.

A score is one spike, so its exponential has two values, which a table gives: row ``table_base + i * tokens + j`` holds, for
query i of the tile and key j, the entry without a spike (``low``) and the one with it (``high``). For each token i of the tile,
each time step t and each token j of K and V, in this order:

* the count of channels of the head in which q[i, t] and k[j, t] both have a spike, shifted left by ``score_shift``, goes into
  an IF neuron of the pair (i, j): soft reset, begins at floor(``score_threshold`` / 2) with the first step, saturates as the
  neuron unit's;
* its spike passes a masker of one channel, whose sequence begins with ``seed`` at the first pair of the instruction;
* e is the pair's high entry if a spike is left, else the low one. It is added to ``total``, and to the sum of each channel of
  the head in which v[j, t] has a spike.

At the end of a step the sums are divided: y = floor(sum * 2^fraction / total), 0 where the total is 0, by restoring division, a
bit a cycle, P channels at a time. y goes into the neuron unit, and its spikes to the channels of the head in the output row;
other channels stay as they are, but the head at channel 0 clears the row first.

Entries of 255 for the greatest exponent and of 0 for tokens that must not see each other make it a softmax. With e = round(255
exp(x)), n entries that are not 0 by definition, and their total, |y / 2^fraction - softmax| <= n / (2 total) + 2^-fraction: an
entry is wrong by 1/2 at most, and moves the quotient by at most 1/2 / total, since a value of V is 0 or 1; the floor takes less
than 2^-fraction.

Timing. A pair a cycle; a group (i, t) is ``tokens`` pairs. The pipeline: address; read of q, k, v; AND; popcount and shift,
while membrane and entry are read; neuron, mask and choice of the entry; addition, while the membrane is written. So a membrane
that is read in cycle c is written in c + 2, and ``tokens`` must be SCORE_DISTANCE at least. The hand-over bank takes the sums
with their total when it is free, as in the synapse array. A divider takes a block of P sums, works ``fraction`` + 1 cycles (the
first bit without doubling), and offers y until the neuron unit takes it; in that cycle it takes the next block.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from archsim.contracts import core, masker, neuron
from archsim.contracts.attention import ATTEND_FIELDS
from archsim.contracts.common.chip import LEAST_SOFTMAX_TOKENS, ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.law import Form, small
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.sram import SramParams
from archsim.contracts.synapse_array import HANDOVER_LATENCY

PAIR_FIELDS = (
    Field("channel", 7),  # first channel of the head in word first_word
    Field("score_threshold", 24, True),
    Field("score_shift", 4),  # to the left
    Field("seed", masker.SEED_BITS),
    Field("keep", 9),  # of 256 score spikes, those that stay: 0..256
    Field("fraction", 4),  # bits of y behind the binary point
    Field("table_base", 20),  # row of the table for the first query of the tile and the first key
)
"""Fields of ATTEND_SOFTMAX alone."""

SOFTMAX_FIELDS = (*ATTEND_FIELDS, *PAIR_FIELDS)
"""Fields of ATTEND_SOFTMAX: those of the other ATTEND instructions, of which words and head_words are 1, and its own."""

ENTRY_BITS = 8
"""Bits of an entry of the table, unsigned."""

QUOTIENT_BITS = 16
"""Bits of a quotient, unsigned: 2^15 is the greatest, that of ``fraction`` 15."""

ROW_BYTES = 2
"""Bytes of a row of the table in DRAM."""

FIRST_SOFTMAX = 5
"""Cycles from the start to the first entry added: address, read, AND, popcount, neuron; then the addition."""

SCORE_DISTANCE = 3
"""Pairs from one that reads a membrane to the first that may read what it has written; the fewest ``tokens``."""

DIVISION_OVERHEAD = 2
"""Cycles from the divider's acceptance of a block to that of the next, besides one a bit of ``fraction``: first bit, offer."""


@dataclass(frozen=True)
class SoftmaxParams:
    """Sizes of the softmax of a chip; raises ArchsimError where the membranes are too narrow for its sums.

    A chip without softmax has the sizes of the smallest.
    """

    chip: ChipParams

    def __post_init__(self) -> None:
        """Check that the sums fit the accumulators."""
        least = self.total_bits + 1
        if self.chip.softmax_tokens and self.chip.membrane_bits < least:
            raise ArchsimError(
                f"chip '{self.chip.name}': membrane_bits of {least} or more required for the sums of a softmax over "
                f"{self.chip.softmax_tokens} tokens, given {self.chip.membrane_bits}"
            )

    @property
    def tokens(self) -> int:
        """Tokens of a window at most."""
        return max(LEAST_SOFTMAX_TOKENS, self.chip.softmax_tokens)

    @property
    def total_bits(self) -> int:
        """Bits of a total, unsigned; no sum is greater."""
        return (self.tokens * ((1 << ENTRY_BITS) - 1)).bit_length()

    @cached_property
    def scores(self) -> SramParams:
        """Membranes of the score neurons of one query: a row a key."""
        return SramParams(self.tokens, self.chip.membrane_bits)

    @cached_property
    def table(self) -> SramParams:
        """The table: a row a pair of tokens, the low entry in the lower byte."""
        return SramParams(self.tokens * self.tokens, self.row.width)

    @property
    def row(self) -> Layout:
        """A row of the table."""
        return Layout.of("softmax_row", [Field("low", ENTRY_BITS), Field("high", ENTRY_BITS)])


def _sizes(chip: ChipParams) -> dict[str, int]:
    """Bits of a total."""
    return {"total_bits": SoftmaxParams(chip).total_bits}


LAW = Form(
    ("pairs", "additions", "steps", "groups"),
    ("cycles", "cycles columns", "cycles columns membrane_bits", "cycles total_bits", "cycles neurons total_bits", "pairs",
     "pairs columns", "additions", "steps neurons total_bits", "groups columns membrane_bits"),
    ("1", "columns", "columns membrane_bits", "neurons total_bits"),
    _sizes,
    lambda chip: small(SoftmaxParams(chip).scores, SoftmaxParams(chip).table),
)  # fmt: skip
"""Laws of scores, adders with their total, and dividers, of a chip's parameters; in place of those of the adders alone.

Counts: pairs of tokens, entries (or counts) that are added to a channel, bits of the quotients of a block, groups handed over."""


def check(fields: Mapping[str, int], chip: ChipParams) -> None:
    """Raise ArchsimError unless the chip can do this ATTEND_SOFTMAX (the rows of its maps apart)."""
    if not chip.softmax_tokens:
        raise ArchsimError(
            f"attention: ATTEND_SOFTMAX needs a chip with a softmax, given chip '{chip.name}' with softmax_tokens 0; "
            "set 'softmax_tokens' in its file and map the network again"
        )
    half, blocks = 1 << (chip.membrane_bits - 1), fields["segment"] // chip.neurons
    limits = {
        "tokens": (SCORE_DISTANCE, chip.softmax_tokens), "tile": (1, chip.softmax_tokens), "words": (1, 1),
        "head_words": (1, 1), "segment": (chip.neurons, chip.columns), "channel": (0, chip.columns - fields["segment"]),
        "blocks": (blocks, blocks), "keep": (0, masker.KEEP_ALL), "fraction": (0, chip.membrane_bits - 2),
        "score_threshold": (-half, half - 1),
    }  # fmt: skip
    for name, (low, high) in limits.items():
        if not low <= fields[name] <= high:
            raise ArchsimError(
                f"attention: {name} of ATTEND_SOFTMAX must be in {low}..{high} on chip '{chip.name}', given {fields[name]}"
            )
    for name in ("channel", "segment"):
        if fields[name] % chip.neurons:
            raise ArchsimError(
                f"attention: {name} of ATTEND_SOFTMAX must be a multiple of neurons ({chip.neurons}) on chip '{chip.name}', "
                f"given {fields[name]}; pad the heads"
            )


def softmax_group_end(
    handover: int, accepted: int, taken: int, cycles: int, blocks: int, fraction: int
) -> tuple[int, int, int]:
    """Law of a group: when it is handed over, when the divider accepts its last block, when the neuron unit takes that.

    Args:
        handover: cycle in which the group before was handed over (start + FIRST_SOFTMAX for the first).
        accepted: cycle in which the divider accepted its last block (the start for the first).
        taken: cycle in which the neuron unit took that (the start for the first).
        cycles: pairs of this group.
        blocks: blocks of P channels of the head.
        fraction: of the instruction.
    """
    division = fraction + DIVISION_OVERHEAD
    handover = max(handover + cycles, accepted)
    accepted = max(handover + HANDOVER_LATENCY, taken)
    taken = max(accepted + division, taken + neuron.GROUP_GAP)
    if blocks > 1:
        accepted = taken + (blocks - 2) * division
        taken = accepted + division
    return handover, accepted, taken


@cache
def softmax_cycles(tokens: int, groups: int, blocks: int, fraction: int) -> tuple[int, int]:
    """Law of ATTEND_SOFTMAX: duration in cycles, and how many of them finished sums waited for the hand-over bank.

    Args:
        tokens: ``tokens`` of the instruction.
        groups: ``tile`` x ``steps``.
        blocks: ``blocks`` of the instruction.
        fraction: ``fraction`` of the instruction.
    """
    handover, accepted, taken = FIRST_SOFTMAX, 0, 0
    for _ in range(groups):
        handover, accepted, taken = softmax_group_end(handover, accepted, taken, tokens, blocks, fraction)
    return taken + core.drain(0), handover - FIRST_SOFTMAX - groups * tokens


def division_step(remainder: int, quotient: int, total: int, first: int) -> tuple[int, int]:
    """Remainder and quotient after one bit; before the ``first`` they are the sum and 0. A total of 0 gives 0."""
    remainder = remainder if first else 2 * remainder
    digit = 1 if remainder >= total and total > 0 else 0
    return remainder - digit * total, 2 * quotient + digit


def reference_softmax(
    words: tuple[Sequence[Sequence[int]], Sequence[Sequence[int]], Sequence[Sequence[int]]],
    table: Sequence[tuple[int, int]],
    fields: Mapping[str, int],
    bits: int,
) -> list[list[list[int]]]:
    """What goes into the neuron unit, [token of Q][time step][channel of the head], by whole divisions; no time.

    Args:
        words: Q [tile][steps], K and V [tokens][steps], words of all channels.
        table: (low, high) by row.
        fields: of the instruction; the rows of its maps do not matter.
        bits: of a membrane.
    """
    queries, keys, values = words
    tokens, steps, channel = fields["tokens"], fields["steps"], fields["channel"]
    head = sum(1 << (channel + number) for number in range(fields["segment"]))
    pairs = fields["tile"] * steps * tokens
    draws, _ = masker.reference([[1]] * pairs, [1] + [0] * (pairs - 1), fields["seed"], fields["keep"], 1)
    results: list[list[list[int]]] = []
    for i in range(fields["tile"]):
        spikes = [
            neuron.reference(
                [(queries[i][t] & keys[j][t] & head).bit_count() * 2 ** fields["score_shift"] for t in range(steps)],
                fields["score_threshold"], neuron.IF_HALF, bits,
            )[0]
            for j in range(tokens)
        ]  # fmt: skip
        results.append([])
        for t in range(steps):
            entries = [
                table[fields["table_base"] + i * tokens + j][spikes[j][t] & draws[(i * steps + t) * tokens + j][0]]
                for j in range(tokens)
            ]
            sums = [
                sum(entry for entry, value in zip(entries, values, strict=True) if value[t] >> column & 1)
                for column in range(channel, channel + fields["segment"])
            ]
            results[-1].append([value * 2 ** fields["fraction"] // (sum(entries) or 1) for value in sums])
    return results


def corners(bits: int) -> list[dict[str, int]]:
    """Fields that drive score neurons of ``bits`` bits to both rails, and masks, tables and quotients to their ends."""
    top = (1 << (bits - 1)) - 1
    return [
        {"score_threshold": top, "score_shift": 15, "keep": masker.KEEP_ALL, "fraction": 0},
        {
            "score_threshold": -top - 1,
            "score_shift": 0,
            "keep": masker.KEEP_ALL,
            "fraction": bits - 2 if bits < 17 else 15,
        },
        {"score_threshold": 1, "score_shift": 15, "keep": 64, "fraction": 1},
        {"score_threshold": 2, "score_shift": 0, "keep": 0, "fraction": 8},
    ]
