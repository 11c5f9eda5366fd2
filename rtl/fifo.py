"""FIFO of registers between a bank and what reads from it."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out

from archsim.contracts.common.layout import Layout
from rtl.payload import shape, stream_out


class Fifo(Component):
    """Holds ``depth`` entries; one that is pushed in cycle t is offered from t + 1 on.

    Ports: ``push`` with ``pushed``, for whoever keeps ``level`` (the entries held) at ``depth`` or less; ``o``, the oldest.
    """

    def __init__(self, layout: Layout, depth: int):
        self.layout, self.depth = layout, depth
        super().__init__({
            "push": In(1), "pushed": In(shape(layout)), "level": Out(range(depth + 1)), "o": stream_out(layout),
        })  # fmt: skip

    def elaborate(self, platform):
        """Registers in a ring."""
        m = Module()
        entries = Array(Signal(self.layout.width, name=f"entry{index}") for index in range(self.depth))
        head, tail = Signal(range(self.depth)), Signal(range(self.depth))
        pop = Signal()
        m.d.comb += [
            self.o.valid.eq(self.level != 0), self.o.payload.as_value().eq(entries[head]),
            pop.eq(self.o.valid & self.o.ready),
        ]  # fmt: skip
        m.d.sync += self.level.eq(self.level + self.push - pop)
        with m.If(self.push):
            m.d.sync += [entries[tail].eq(self.pushed.as_value()), tail.eq(Mux(tail == self.depth - 1, 0, tail + 1))]
        with m.If(pop):
            m.d.sync += head.eq(Mux(head == self.depth - 1, 0, head + 1))
        return m
