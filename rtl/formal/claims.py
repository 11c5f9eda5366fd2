"""What is claimed of hardware: assumptions on its inputs, properties that hold in every cycle, events that can happen."""

from collections.abc import Iterable
from functools import reduce
from operator import and_

from amaranth.hdl import Assert, Assume, ClockDomain, Module, Mux, Signal, Value, ValueCastable
from amaranth.lib.wiring import Component, In

HOLD, REACH = "hold", "reach"
"""The questions: can a property fail? Can all the events happen in one trace?"""


class Claims:
    """Components, the registers that watch them, and the claims. There is no reset: cycle 0 is the first one.

    Attributes:
        m: the module of components and watchers.
        begun: 0 in cycle 0, 1 afterwards.
    """

    def __init__(self, *components: Component):
        self.m = Module()
        self.m.domains.sync = self._clock = ClockDomain("sync", reset_less=True)
        self.begun = Signal()
        self.m.d.sync += self.begun.eq(1)
        self._assumed: list[Value] = []
        self._held: list[Value] = []
        self._events: list[Value] = []
        self._inputs: dict[str, Signal] = {}
        for component in components:
            self.m.submodules += component

    def free(self, component: Component, but: Iterable[Signal] = ()) -> None:
        """The solver chooses every input of ``component``, ``but`` these, anew in every cycle."""
        driven = {id(signal) for signal in but}
        for path, member, value in component.signature.flatten(component):
            value = value.as_value() if isinstance(value, ValueCastable) else value
            if member.flow is In and isinstance(value, Signal) and id(value) not in driven:
                self._inputs["__".join(map(str, path))] = value

    def any(self, shape, name: str) -> Signal:
        """A value that the solver chooses anew in every cycle."""
        value = Signal(shape, name=name)
        self._inputs[name] = Value.cast(value)
        return value

    def constant(self, count: int, name: str) -> Value:
        """A number below ``count`` that the solver chooses in cycle 0."""
        given = self.any(range(count), name)
        kept, value = Signal.like(given, name=f"{name}_kept"), Signal.like(given, name=f"{name}_value")
        self.m.d.comb += value.eq(Mux(self.begun, kept, given))
        self.m.d.sync += kept.eq(value)
        self.assume(value < count)
        return value

    def past(self, value) -> Signal:
        """``value`` one cycle ago, 0 in cycle 0."""
        before = Signal(len(Value.cast(value)))
        self.m.d.sync += before.eq(value)
        return before

    def signal(self, value) -> Signal:
        """A signal for an expression that is used more than once."""
        named = Signal(len(Value.cast(value)))
        self.m.d.comb += named.eq(value)
        return named

    def streak(self, condition, limit: int) -> Signal:
        """For how many cycles in succession, the present one left out, ``condition`` has been 1; at most ``limit``."""
        count = Signal(range(limit + 1))
        with self.m.If(~condition):
            self.m.d.sync += count.eq(0)
        with self.m.Elif(count != limit):
            self.m.d.sync += count.eq(count + 1)
        return count

    def assume(self, condition) -> None:
        """Of all traces only those count in which ``condition`` is 1 in every cycle."""
        self._assumed.append(condition)

    def hold(self, condition) -> None:
        """``condition`` is 1 in every cycle."""
        self._held.append(condition)

    def reach(self, *events) -> None:
        """Each of these happens at some time, all in one trace."""
        self._events += events

    def finish(self, question: str) -> tuple[Module, list[tuple[str, Signal, None]]]:
        """The module whose assertions put ``question``, and its ports: clock and free inputs."""
        self.m.d.comb += [Assume(condition) for condition in self._assumed]
        if question == HOLD:
            self.m.d.comb += [Assert(condition) for condition in self._held]
        else:
            seen = []
            for number, event in enumerate(self._events):
                happened = Signal(name=f"happened{number}")
                with self.m.If(event):
                    self.m.d.sync += happened.eq(1)
                seen.append(happened | event)
            self.m.d.comb += Assert(~reduce(and_, seen))
        ports = [("clk", self._clock.clk, None), *((name, value, None) for name, value in self._inputs.items())]
        return self.m, ports


def transfer(stream) -> Value:
    """A payload of ``stream`` is taken in this cycle."""
    return stream.valid & stream.ready


def steady(claims: Claims, stream) -> Value:
    """Rule of streams: what was offered in the cycle before and not taken still stands."""
    payload = Value.cast(stream.payload)
    return ~claims.past(stream.valid & ~stream.ready) | (stream.valid & (payload == claims.past(payload)))
