"""Bit transposer in hardware: rows that are written one by one and shift together (contract: ``archsim.contracts.transposer``)."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import Component, Out

from archsim.contracts.transposer import TransposerParams
from rtl.payload import elements, shape, stream_in, stream_out


class Transposer(Component):
    """Gives a block of words back as its columns.

    Ports:

    * ``i``: stream of ``params.i`` (W bits, last). Ready while no block leaves.
    * ``o``: stream of ``params.o`` (W bits, last), valid while a block leaves: from the cycle after its last word was accepted.
    * ``state``: ``params.state``, straight from the registers.
    """

    def __init__(self, params: TransposerParams):
        self.params = params
        super().__init__({
            "i": stream_in(params.i), "o": stream_out(params.o), "state": Out(shape(params.state)),
        })  # fmt: skip

    def elaborate(self, platform):
        """The rows, the number of the next word to come or to leave, and their next values."""
        m = Module()
        size = self.params.word_bits
        rows = [Signal(size, name=f"row_{number}") for number in range(size)]
        index, draining = Signal(self.params.index_bits), Signal()
        accept, take, final = Signal(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~draining), accept.eq(self.i.valid & ~draining), final.eq(index == size - 1),
            self.o.valid.eq(draining), take.eq(draining & self.o.ready),
            self.o.payload.bits.eq(Cat(row[0] for row in rows)), self.o.payload.last.eq(final),
        ]  # fmt: skip
        for number, row in enumerate(rows):
            # cycle 0: a word comes
            with m.If(accept & (index == number)):
                m.d.sync += row.eq(self.i.payload.bits)
            # cycle 1 and later: columns leave
            with m.Elif(take):
                m.d.sync += row.eq(row >> 1)
        ends = Signal()
        m.d.comb += ends.eq(final | (accept & self.i.payload.last))
        with m.If(accept | take):
            m.d.sync += [index.eq(Mux(ends, 0, index + 1)), draining.eq(Mux(ends, accept, draining))]
        held = elements(self.state, self.params.state, "rows")
        m.d.comb += [port.eq(row) for port, row in zip(held, rows, strict=True)]
        m.d.comb += [self.state.index.eq(index), self.state.draining.eq(draining)]
        return m
