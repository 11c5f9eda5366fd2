"""Round-robin choice of one among several that wait."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out


class RoundRobin(Component):
    """Keeps a choice until it ends; then the first one that waits, in cyclic order behind the one chosen last, is the next.

    Whoever waits sees each of the others chosen at most once before it is chosen itself. A choice that ends in cycle t is
    followed by the next in t + 1.

    Ports: ``waiting`` (``count``), ``ended``: the choice ends in this cycle; ``granted``: there is a choice, ``chosen``: the
    last one, number ``count - 1`` at first.
    """

    def __init__(self, count: int):
        self.count = count
        super().__init__({
            "waiting": In(count), "ended": In(1), "granted": Out(1), "chosen": Out(range(count), init=count - 1),
        })  # fmt: skip

    def elaborate(self, platform):
        """Two scans: behind the present choice, and from the first."""
        m = Module()
        following, choice, later = Signal.like(self.chosen), Signal.like(self.chosen), Signal(self.count)
        m.d.comb += later.eq(Cat(self.waiting[number] & (self.chosen < number) for number in range(self.count)))
        for found, among in ((choice, self.waiting), (following, later)):
            for number in reversed(range(self.count)):
                with m.If(among[number]):
                    m.d.comb += found.eq(number)
        with m.If(~self.granted | self.ended):
            m.d.sync += self.granted.eq(self.waiting.any())
            with m.If(self.waiting.any()):
                m.d.sync += self.chosen.eq(Mux(later.any(), following, choice))
        return m
