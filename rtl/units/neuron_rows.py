"""Rows of the neuron unit's blocks in hardware (contract: ``archsim.contracts.neuron``)."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out

from archsim.contracts.spike_fetch import ADDRESS_BITS


class RowWalker(Component):
    """Row of the next block: ``base + position * stride + step * stride + block`` by additions alone.

    Ports: ``start`` loads ``base``; ``take`` moves on from a block and step marked ``first_block``, ``last_step``,
    ``last`` (of its group) and ``last_slice``.
    """

    def __init__(self):
        bits = ADDRESS_BITS
        super().__init__({
            "start": In(1), "base": In(bits), "position_stride": In(bits), "step_stride": In(bits), "take": In(1),
            "first_block": In(1), "last_step": In(1), "last": In(1), "last_slice": In(1), "row": Out(bits),
        })  # fmt: skip

    def elaborate(self, platform):
        """One register a loop: position, next slice, block, step."""
        m = Module()
        position, block, kept = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        next_step, next_slice = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        next_position, next_block = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        m.d.comb += [
            next_step.eq(self.row + self.step_stride), next_block.eq(block + 1),
            next_slice.eq(Mux(self.first_block, next_step, kept)),
            next_position.eq(position + self.position_stride),
        ]  # fmt: skip
        with m.If(self.start):
            m.d.sync += [position.eq(self.base), block.eq(self.base), self.row.eq(self.base)]
        with m.Elif(self.take):
            with m.If(~self.last_step):
                m.d.sync += self.row.eq(next_step)
            with m.Elif(~self.last):
                m.d.sync += [block.eq(next_block), self.row.eq(next_block), kept.eq(next_slice)]
            with m.Elif(~self.last_slice):
                m.d.sync += [block.eq(next_slice), self.row.eq(next_slice)]
            with m.Else():
                m.d.sync += [position.eq(next_position), block.eq(next_position), self.row.eq(next_position)]
        return m
