"""Router in hardware: score registers, a tree of comparisons, a count per expert (contract: ``archsim.contracts.router``)."""

from typing import NamedTuple

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import Component, In, Out

from archsim.contracts.router import RouterParams
from rtl.payload import elements, shape, stream_in, stream_out


class Candidate(NamedTuple):
    """What the tree compares: whether there is one, its score and its number."""

    there: Value
    score: Value
    expert: Value


def better(left: Candidate, right: Candidate, m: Module) -> Candidate:
    """The one with the greater score; the left one, which has the lower number, if they are equal."""
    chosen = Signal()
    m.d.comb += chosen.eq(right.there & (~left.there | (right.score > left.score)))
    return Candidate(left.there | right.there, *(Mux(chosen, r, le) for le, r in zip(left[1:], right[1:], strict=True)))


class Router(Component):
    """Chooses experts for tokens, one choice a cycle.

    Ports:

    * ``config``: ``params.config``, constant while a token is here.
    * ``i``: stream of ``params.i``. Ready while no choice is left, and in the cycle in which the last one is taken: ``i.ready``
      follows ``o.ready`` within a cycle.
    * ``o``: stream of ``params.o``; a token's last block accepted in cycle t offers its first choice in t+1.
    * ``state``: ``params.state``, straight from the registers.
    """

    def __init__(self, params: RouterParams):
        self.params = params
        super().__init__({
            "config": In(shape(params.config)), "i": stream_in(params.i), "o": stream_out(params.o),
            "state": Out(shape(params.state)),
        })  # fmt: skip

    def elaborate(self, platform):
        """The registers of cycle 1, the tree behind them, and their next values."""
        params, m = self.params, Module()
        count = range(params.experts)

        # cycle 1: the token's scores, who has not been chosen, choices left, tokens that each expert accepted
        scores = [Signal(signed(params.score_bits), name=f"score_{expert}") for expert in count]
        accepted = [Signal(params.slot_bits, name=f"count_{expert}") for expert in count]
        candidates, left = Signal(params.experts), Signal(4)

        # cycle 1: the best of them and its slot
        row = [Candidate(candidates[expert], scores[expert], Const(expert, params.expert_bits)) for expert in count]
        while len(row) > 1:
            pairs = [better(row[at], row[at + 1], m) for at in range(0, len(row) - 1, 2)]
            row = pairs + row[2 * len(pairs) :]
        expert, slot, capacity = self.o.payload.expert, self.o.payload.slot, self.config.capacity
        final, taken = Signal(), Signal()
        m.d.comb += [
            expert.eq(row[0].expert), slot.eq(Array(accepted)[expert]), final.eq(left == 1),
            self.o.payload.kept.eq((capacity == 0) | (slot < capacity)), self.o.payload.last.eq(final),
            self.o.valid.eq(left != 0), taken.eq(self.o.valid & self.o.ready),
            self.i.ready.eq((left == 0) | (final & self.o.ready)),
        ]  # fmt: skip
        with m.If(taken):
            m.d.sync += left.eq(left - 1)
            for number in count:
                with m.If(expert == number):
                    m.d.sync += candidates[number].eq(0)
                    m.d.sync += accepted[number].eq(slot + self.o.payload.kept)
        self._accept(m, scores, candidates, left, accepted)

        counts = elements(self.state, params.state, "counts")
        m.d.comb += [port.eq(value) for port, value in zip(counts, accepted, strict=True)]
        m.d.comb += [self.state.left.eq(left), self.state.open.eq(candidates)]
        return m

    def _accept(self, m, scores, candidates, left, accepted):
        """Cycle 0: a block goes to the registers of its experts."""
        params, block = self.params, self.i.payload
        place = Signal(range(params.blocks(params.experts)))
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += place.eq(Mux(block.last, 0, place + 1))
            for expert, score in enumerate(scores):
                with m.If(place == expert // params.neurons):
                    m.d.sync += score.eq(elements(block, params.i, "scores")[expert % params.neurons])
            with m.If(block.first):
                m.d.sync += [value.eq(0) for value in accepted]
            with m.If(block.last):
                m.d.sync += left.eq(self.config.choices)
                m.d.sync += candidates.eq(Cat(self.config.experts > expert for expert in range(params.experts)))
