"""Hardware that is wrong by one cycle, to show that the benches see it."""

from amaranth import Module, Signal
from amaranth.lib.wiring import Component, In, connect, flipped


class Late(Component):
    """A unit with streams ``i`` and ``o`` and one register too many on one ``side`` of it; all else passes through."""

    def __init__(self, unit, side):
        self.unit, self.side = unit, side
        super().__init__(unit.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = self.unit
        for name, member in self.signature.members.items():
            mine, its = getattr(self, name), getattr(self.unit, name)
            if name == self.side:
                _register(m, *((mine, its) if name == "i" else (its, mine)))
            elif not member.is_port:
                connect(m, flipped(mine), its)
            elif member.flow is In:
                m.d.comb += its.eq(mine)
            else:
                m.d.comb += mine.eq(its)
        return m


def _register(m, source, sink):
    """A stream register: takes from ``source`` while it is free or emptied, offers to ``sink`` a cycle later."""
    full, held = Signal(), Signal.like(source.payload)
    m.d.comb += [source.ready.eq(~full | sink.ready), sink.valid.eq(full), sink.payload.eq(held)]
    with m.If(source.ready):
        m.d.sync += [full.eq(source.valid), held.eq(source.payload)]
