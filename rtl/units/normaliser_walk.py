"""Rows of the normaliser's tokens in hardware, by additions alone (contract: ``archsim.contracts.normaliser``)."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out

from archsim.contracts.normaliser import NORMALISE_FIELDS, WEIGH_FIELDS

NORM, WEIGHT = ({field.name: field.width for field in fields} for fields in (NORMALISE_FIELDS, WEIGH_FIELDS))
"""Bits of each field of the instructions."""

ADDRESS_BITS, ROW_BITS = NORM["base"], max(NORM["blocks"], WEIGHT["blocks"], WEIGHT["rows"])
"""Bits of the number of a row, and of a count of rows."""


class TokenWalker(Component):
    """First rows of the token that is worked on and of its scores.

    Ports: ``base``, ``score_base``, ``tokens``, ``token_rows``, ``score_token``, ``steps``, ``step_rows`` of the instruction;
    ``start`` loads the first token, ``advance`` the next; ``first``, ``score``: as they will be after this cycle; ``last``: no
    other token follows.
    """

    def __init__(self):
        super().__init__({
            **{name: In(NORM[name]) for name in ("base", "tokens", "token_rows", "steps", "step_rows")},
            **{name: In(WEIGHT[name]) for name in ("score_base", "score_token")}, "start": In(1), "advance": In(1),
            "first": Out(ADDRESS_BITS), "score": Out(ADDRESS_BITS), "last": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        """One register a loop: position, time step, scores."""
        m = Module()
        position, step, score = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        tokens, steps, ends = Signal.like(self.tokens), Signal.like(self.steps), Signal()
        next_position = Signal(ADDRESS_BITS)
        m.d.comb += [
            ends.eq(steps == 1), self.last.eq(ends & (tokens == 1)), next_position.eq(position + self.token_rows),
            self.first.eq(step), self.score.eq(score),
        ]  # fmt: skip
        with m.If(self.start):
            m.d.comb += [self.first.eq(self.base), self.score.eq(self.score_base)]
            m.d.sync += [position.eq(self.base), tokens.eq(self.tokens), steps.eq(self.steps)]
        with m.Elif(self.advance & ends):
            m.d.comb += [self.first.eq(next_position), self.score.eq(score + self.score_token)]
            m.d.sync += [position.eq(next_position), tokens.eq(tokens - 1), steps.eq(self.steps)]
        with m.Elif(self.advance):
            m.d.comb += self.first.eq(step + self.step_rows)
            m.d.sync += steps.eq(steps - 1)
        m.d.sync += [step.eq(self.first), score.eq(self.score)]
        return m


class PhaseWalker(Component):
    """The rows of a phase: words of ``blocks`` rows, ``word_rows`` apart, the last of ``last_blocks``.

    Ports: ``begin`` loads ``base`` and the counts (``blocks`` and ``word_rows`` stay as they are); ``take`` moves on from ``row``;
    ``last``: it is the last one.
    """

    def __init__(self):
        super().__init__({
            "begin": In(1), "base": In(ADDRESS_BITS), "words": In(NORM["words"]), "word_rows": In(NORM["word_rows"]),
            "blocks": In(ROW_BITS), "last_blocks": In(ROW_BITS), "take": In(1), "row": Out(ADDRESS_BITS), "last": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        """A register a loop: word, row; and what is left of each."""
        m = Module()
        word, words, rows, last_rows = Signal(ADDRESS_BITS), Signal.like(self.words), Signal(ROW_BITS), Signal(ROW_BITS)
        ends, next_word = Signal(), Signal(ADDRESS_BITS)
        m.d.comb += [ends.eq(rows == 1), self.last.eq(ends & (words == 1)), next_word.eq(word + self.word_rows)]
        with m.If(self.begin):
            m.d.sync += [
                word.eq(self.base), self.row.eq(self.base), words.eq(self.words),
                rows.eq(Mux(self.words == 1, self.last_blocks, self.blocks)), last_rows.eq(self.last_blocks),
            ]  # fmt: skip
        with m.Elif(self.take & ends):
            m.d.sync += [
                word.eq(next_word), self.row.eq(next_word), words.eq(words - 1),
                rows.eq(Mux(words == 2, last_rows, self.blocks)),
            ]  # fmt: skip
        with m.Elif(self.take):
            m.d.sync += [self.row.eq(self.row + 1), rows.eq(rows - 1)]
        return m
