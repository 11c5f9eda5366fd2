"""Claims of the expert crossbar: the order of flows, and exclusion."""

from amaranth.hdl import Array, Cat, Mux, Signal, Value

from archsim.contracts.crossbar import CrossbarParams
from rtl.formal.claims import Claims, steady, transfer
from rtl.payload import elements
from rtl.units.crossbar import Crossbar


class Leaky(Crossbar):
    """Injected bug: an output drops the flit that it offers, taken or not."""

    def _output(self, m, output, queues):
        chosen = elements(self.state, self.params.state, "chosen")[output]
        super()._output(m, output, queues)
        return [self.o[output].valid & (chosen == number) for number in range(self.params.ports)]


class Twofold(Crossbar):
    """Injected bug: what one output takes also leaves the queue of the next input, if there is something in it."""

    def _output(self, m, output, queues):
        takes = super()._output(m, output, queues)
        return [take | (takes[number - 1] & (queues[number].count != 0)) for number, take in enumerate(takes)]


def packets(claims: Claims, stream, key: Value) -> Value:
    """All flits of a packet have one ``key``."""
    inside, held = Signal(), Signal(len(key))
    with claims.m.If(transfer(stream)):
        claims.m.d.sync += [inside.eq(~stream.payload.last), held.eq(key)]
    return ~inside | ~stream.valid | (held == key)


def producer(claims: Claims, stream, ports: int) -> None:
    """Assume of who offers ``stream``: its rules, destinations that exist, one destination a packet."""
    claims.assume(steady(claims, stream))
    claims.assume(~stream.valid | (stream.payload.destination < ports))
    claims.assume(packets(claims, stream, stream.payload.destination))


def _free(params: CrossbarParams, kind: type[Crossbar]) -> tuple[Claims, Crossbar]:
    component = kind(params)
    claims = Claims(component)
    claims.free(component)
    for stream in component.i:
        producer(claims, stream, params.ports)
    return claims, component


def flow(params: CrossbarParams, bug: bool) -> Claims:
    """One flow, any: two flits in succession, any, are coloured when they enter, and so they leave, with their marks of the end.

    To lose, double, or overtake a flit changes the colours for some choice of the two. Packets leave whole.
    """
    claims, component = _free(params, Leaky if bug else Crossbar)
    m = claims.m
    source, output = claims.constant(params.ports, "source"), claims.constant(params.ports, "output")
    i = Array(
        Cat(transfer(stream) & (stream.payload.destination == output), stream.payload.data[0], stream.payload.last)
        for stream in component.i
    )
    o = Array(
        Cat(transfer(stream) & (stream.payload.source == source), stream.payload.data[0], stream.payload.last)
        for stream in component.o
    )
    enters, colour, last = claims.signal(i[source])
    leaves, shown, end = claims.signal(o[output])
    came, gone, lasts = Signal(2), Signal(2), Signal(2)
    claims.assume(~enters | (came == 0) | (colour == (came == 1)))
    with m.If(enters & colour):
        m.d.sync += [came.eq(came + 1), lasts.eq(Mux(came == 0, last.replicate(2), Cat(lasts[0], last)))]
    with m.If(leaves & shown):
        m.d.sync += gone.eq(gone + 1)
    claims.hold(~leaves | (gone == 0) | (shown == (gone == 1)))
    claims.hold(~(leaves & shown) | ((gone < came) & (end == Mux(gone == 0, lasts[0], lasts[1]))))
    for stream in component.o:
        claims.hold(packets(claims, stream, stream.payload.source))
    count = Array(elements(component.state, params.state, "counts"))
    place = sum(Mux(source == port, params.ports * port, 0) for port in range(params.ports)) + output
    held = Signal(range(params.depth + 2))
    m.d.sync += held.eq(held + enters - leaves)
    claims.hold(count[place] == held)
    claims.reach((came == 2) & (gone == 2), held == params.depth)
    return claims


def exclusion(params: CrossbarParams, bug: bool) -> Claims:
    """Every queue grows by exactly what enters it and shrinks by what its output gives: one queue an output and cycle.

    None grows beyond its depth.
    """
    claims, component = _free(params, Twofold if bug else Crossbar)
    counts, ports = elements(component.state, params.state, "counts"), range(params.ports)
    for source in ports:
        for output in ports:
            into, out, count = component.i[source], component.o[output], counts[source * params.ports + output]
            enters = claims.past(transfer(into) & (into.payload.destination == output))
            leaves = claims.past(transfer(out) & (out.payload.source == source))
            claims.hold((count + leaves == claims.past(count) + enters) & (count <= params.depth))
    claims.reach(*(count == params.depth for count in counts))
    return claims
