"""Claims of queues and of the choice: order and no loss, exclusion and fairness."""

from amaranth.hdl import Array, Cat, Module, Signal, Value
from amaranth.lib.wiring import Component, In, Out

from archsim.contracts.common.layout import Field, Layout
from rtl.arbiter import RoundRobin
from rtl.fifo import Fifo
from rtl.formal.claims import Claims, transfer
from rtl.units.crossbar import Queue

WIDTH = 2
"""Bits of an entry."""


class QueueUnit(Component):
    """A queue of the crossbar, with ports."""

    def __init__(self, depth: int, queue: type[Queue] = Queue):
        self.depth, self.queue = depth, queue
        super().__init__({
            "put": In(1), "data": In(WIDTH), "take": In(1), "head": Out(WIDTH), "count": Out(range(depth + 1)),
            "room": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        """The queue alone."""
        m = Module()
        queue = self.queue(m, self.depth, WIDTH, "queue")
        m.d.comb += [self.head.eq(queue.head), self.count.eq(queue.count), self.room.eq(queue.room)]
        queue.move(self.put, self.data, self.take)
        return m


class ShortFifo(Fifo):
    """Injected bug: one register too few."""

    def elaborate(self, platform):
        """The ring of a FIFO that is one entry less deep; ``level`` still counts to the full depth."""
        short = Fifo(self.layout, self.depth - 1)
        short.push, short.pushed, short.level, short.o = self.push, self.pushed, self.level, self.o
        return short


class ShortQueue(Queue):
    """Injected bug: one register too few."""

    def __init__(self, m, depth, width, name):
        super().__init__(m, depth - 1, width, name)
        self.count = Signal(range(depth + 1), name=f"{name}_count_of_more")
        self.room = self.count != depth


class FirstCome(RoundRobin):
    """Injected bug: the lowest number that waits, always."""

    def elaborate(self, platform):
        """One scan, from the first."""
        m, choice = Module(), Signal.like(self.chosen)
        for number in reversed(range(self.count)):
            with m.If(self.waiting[number]):
                m.d.comb += choice.eq(number)
        with m.If(~self.granted | self.ended):
            m.d.sync += [self.granted.eq(self.waiting.any()), self.chosen.eq(choice)]
        return m


def _ordered(claims: Claims, level: Value, depth: int, push: Value, pushed: Value, pop: Value, head: Value) -> None:
    """Any one entry, marked when it enters: it is there until as many have left as stood before it, and then it is what leaves."""
    m, mark = claims.m, claims.any(1, "mark")
    inside, ahead, kept = Signal(), Signal(range(depth + 1)), Signal(WIDTH)
    leaves = claims.signal(inside & pop & (ahead == 0))
    with m.If(mark & push & ~inside):
        m.d.sync += [inside.eq(1), ahead.eq(level - pop), kept.eq(pushed)]
    with m.Elif(leaves):
        m.d.sync += inside.eq(0)
    with m.Elif(inside & pop):
        m.d.sync += ahead.eq(ahead - 1)
    count = Signal(range(depth + 2))
    m.d.sync += count.eq(count + push - pop)
    claims.hold(~leaves | (head == kept))
    claims.hold(~inside | (ahead < level))
    claims.hold((level == count) & (count <= depth))
    claims.reach(leaves & (kept == 1), leaves & (kept == 2), level == depth)


def fifo(depth: int, bug: bool) -> Claims:
    """``rtl.fifo``; whoever pushes keeps the level at the depth or less."""
    component = (ShortFifo if bug else Fifo)(Layout.of("entry", [Field("value", WIDTH)]), depth)
    claims = Claims(component)
    claims.free(component)
    pop = claims.signal(transfer(component.o))
    claims.assume(~component.push | (component.level != depth) | pop)
    claims.hold(component.o.valid == (component.level != 0))
    head, pushed = component.o.payload.as_value(), component.pushed.as_value()
    _ordered(claims, component.level, depth, component.push, pushed, pop, head)
    return claims


def queue(depth: int, bug: bool) -> Claims:
    """A queue of the crossbar; nobody puts where there is no room or takes where there is nothing."""
    component = QueueUnit(depth, ShortQueue if bug else Queue)
    claims = Claims(component)
    claims.free(component)
    claims.assume(~component.put | component.room)
    claims.assume(~component.take | (component.count != 0))
    _ordered(claims, component.count, depth, component.put, component.data, component.take, component.head)
    return claims


def arbiter(count: int, bug: bool) -> Claims:
    """The choice: only of one that waits, kept until it ends, made at once; nobody is passed over twice by the same one.

    Whoever waits goes on waiting until it is chosen.
    """
    component = (FirstCome if bug else RoundRobin)(count)
    claims = Claims(component)
    claims.free(component)
    m, waiting, chosen = claims.m, component.waiting, component.chosen
    held = claims.signal(component.granted & ~component.ended)
    chooses = claims.signal(~held & waiting.any())
    claims.assume(component.granted | ~component.ended)
    claims.hold(chosen < count)
    claims.hold(component.granted == (claims.past(held) | claims.past(chooses)))
    claims.hold(~claims.past(chooses) | Array(claims.past(waiting))[chosen])
    claims.hold(~claims.past(held) | (chosen == claims.past(chosen)))
    one = claims.constant(count, "one")
    waits, served = claims.signal(Array(waiting)[one]), claims.signal(component.granted & (chosen == one))
    claims.assume(~claims.past(waits & ~served) | waits | served)
    turns = [Signal(2, name=f"turns_of_{other}") for other in range(count)]  # since it waits
    for other, turn in enumerate(turns):
        another = claims.signal(claims.past(chooses & waits) & (chosen == other) & ~served)
        with m.If(served | ~waits):
            m.d.sync += turn.eq(0)
        with m.Elif(another & (turn != 3)):
            m.d.sync += turn.eq(turn + 1)
        claims.hold(turn + another <= 1)
    claims.reach(served & Cat((turn == 1) | (one == other) for other, turn in enumerate(turns)).all())
    return claims
