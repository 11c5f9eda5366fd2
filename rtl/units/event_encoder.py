"""Event encoder in hardware: one word register and a priority scan (contract: ``archsim.contracts.event_encoder``)."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import Component, Out

from archsim.contracts.event_encoder import ADD, SHIFT, SUBTRACT, EventEncoderParams
from rtl.payload import elements, shape, stream_in, stream_out


class EventEncoder(Component):
    """Turns words of L lanes x W channels into events, one a cycle.

    Ports:

    * ``i``: stream of ``params.i`` (L x W spikes, weight row, shift, subtract, last). Ready while no word is held, and
      in the cycle in which the last event of the word that is held is taken: ``i.ready`` follows ``o.ready``
      within a cycle.
    * ``o``: stream of ``params.o`` (2-bit operation, weight row, L-bit mask, last), valid while a word is held: a word
      accepted in cycle t offers its first event in t+1.
    * ``state``: ``params.state``, straight from the registers.
    """

    def __init__(self, params: EventEncoderParams):
        self.params = params
        super().__init__({
            "i": stream_in(params.i), "o": stream_out(params.o), "state": Out(shape(params.state)),
        })  # fmt: skip

    def elaborate(self, platform):
        """The registers of cycle 1, the scan behind them, and their next values."""
        params = self.params
        m = Module()

        # cycle 1: the word that is held; spikes of events already taken are cleared
        busy, double = Signal(), Signal()
        remaining = [Signal(params.word_bits, name=f"remaining_{lane}") for lane in range(params.lanes)]
        row, subtract, last = Signal(params.row_bits), Signal(), Signal()

        # cycle 1: the lowest channel in the OR of the lanes
        union, one_hot = Signal(params.word_bits), Signal(params.word_bits)
        m.d.comb += [union.eq(reduce(or_, remaining)), one_hot.eq(union & -union)]
        final = Signal()  # the offered event is the last of its word
        m.d.comb += final.eq(~double & (union == one_hot))
        op = Mux(double, SHIFT, Mux(subtract, SUBTRACT, ADD))
        mask = Cat((spikes & one_hot).any() & ~double for spikes in remaining)
        m.d.comb += [
            self.o.valid.eq(busy),
            self.o.payload.op.eq(op),
            self.o.payload.row.eq(row + Mux(double, 0, _encode(one_hot))),
            self.o.payload.mask.eq(mask),
            self.o.payload.last.eq(last & final),
            self.i.ready.eq(~busy | (self.o.ready & final)),
        ]

        with m.If(busy & self.o.ready):
            m.d.sync += double.eq(0)
            with m.If(~double):
                m.d.sync += [spikes.eq(spikes & ~one_hot) for spikes in remaining]
            with m.If(final):
                m.d.sync += busy.eq(0)
        # cycle 0: accept a word
        with m.If(self.i.valid & self.i.ready):
            word = self.i.payload
            m.d.sync += [busy.eq(1), double.eq(word.shift), row.eq(word.row)]
            m.d.sync += [subtract.eq(word.subtract), last.eq(word.last)]
            spikes_in = elements(word, params.i, "spikes")
            m.d.sync += [held.eq(new) for held, new in zip(remaining, spikes_in, strict=True)]

        held = elements(self.state, params.state, "remaining")
        m.d.comb += [self.state.busy.eq(busy), self.state.shift.eq(double)]
        m.d.comb += [port.eq(spikes) for port, spikes in zip(held, remaining, strict=True)]
        return m


def _encode(one_hot):
    """Index of the only set bit (0 if none), ``ceil(log2(width))`` bits: bit k ORs the indices that have it."""
    count = max(1, (len(one_hot) - 1).bit_length())
    return Cat(Cat(one_hot[index] for index in range(len(one_hot)) if index >> bit & 1).any() for bit in range(count))
