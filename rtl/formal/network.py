"""Claims of two networks and the endpoints between them: requests become answers, and never does everything stand still."""

from types import SimpleNamespace

from amaranth.hdl import Cat, Mux, Signal

from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.crossbar import CrossbarParams
from rtl.fifo import Fifo
from rtl.formal.claims import Claims, transfer
from rtl.formal.crossbar import producer
from rtl.payload import shape
from rtl.units.crossbar import Crossbar

STILL = 3
"""Fewer cycles than this go by in succession without any transfer (1 would do without the cycle of a choice)."""

REQUEST_OFFERED = Layout.of("request_offered", [Field("destination", 1), Field("last", 1)])
"""What a client sends; two ports."""

REQUEST = Layout.of("request_held", [Field("source", 1), Field("last", 1)])
"""What a server keeps of a flit of a request until it has sent the flit of its answer."""


def moving(params: CrossbarParams, depth: int, bug: bool) -> Claims:
    """While a flit is somewhere, and the clients take what comes and go on with what they began, something moves.

    At each port there is a client, which sends requests and takes answers, and a server, whose queue of ``depth`` flits
    turns each flit of a request into one of its answer. Clients may wait as long as they like and packets may have any length:
    only cycles in which no client refuses an answer or leaves a packet are counted. The bug is a single network for both.
    """
    request = Crossbar(params)
    answer = request if bug else Crossbar(params)
    servers = [Fifo(REQUEST, depth) for _ in range(params.ports)]
    claims = Claims(*([request] if bug else [request, answer]), *servers)
    clients = [_client(claims, port, params) for port in range(params.ports)]
    moves, willing = [], []
    for port, (client, server) in enumerate(zip(clients, servers, strict=True)):
        takes = claims.any(1, f"takes_{port}")
        join = _shared if bug else _separate
        streams, answered = join(claims, request, answer, port, client, server, takes)
        moves += [transfer(stream) for stream in streams]
        willing.append(~(client.inside & ~client.valid) & (takes | ~answered))
    counts = Cat(request.state.counts, answer.state.counts)
    held = claims.signal(counts.any() | Cat(server.level != 0 for server in servers).any())
    moved = claims.signal(Cat(moves).any())
    claims.hold(claims.streak(held & ~moved & Cat(willing).all(), STILL) < STILL)
    claims.reach(*(server.level == depth for server in servers), moved & ~claims.past(moved))
    return claims


def _client(claims: Claims, port: int, params: CrossbarParams) -> SimpleNamespace:
    """The stream of requests of one client, free but for the rules of producers; ``inside``: it has begun a packet."""
    client = SimpleNamespace(
        valid=claims.any(1, f"valid_{port}"), payload=claims.any(shape(REQUEST_OFFERED), f"flit_{port}"),
        ready=Signal(name=f"ready_{port}"), inside=Signal(name=f"inside_{port}"),
    )  # fmt: skip
    with claims.m.If(transfer(client)):
        claims.m.d.sync += client.inside.eq(~client.payload.last)
    producer(claims, client, params.ports)
    return client


def _serve(m, stream, server, ready) -> None:
    """The server takes requests from ``stream`` while its queue has room; ``ready`` says whether."""
    m.d.comb += [
        server.push.eq(stream.valid & ready), server.pushed.source.eq(stream.payload.source),
        server.pushed.last.eq(stream.payload.last),
    ]  # fmt: skip


def _separate(claims, request, answer, port, client, server, takes):
    """Requests on one network, answers on the other; returns the streams at this port, and whether an answer is offered."""
    m, room = claims.m, server.level != server.depth
    asks, asked, replies, replied = request.i[port], request.o[port], answer.i[port], answer.o[port]
    _serve(m, asked, server, room)
    m.d.comb += [
        asks.valid.eq(client.valid), client.ready.eq(asks.ready), asked.ready.eq(room), replied.ready.eq(takes),
        asks.payload.destination.eq(client.payload.destination), asks.payload.last.eq(client.payload.last),
        replies.valid.eq(server.o.valid), server.o.ready.eq(replies.ready),
        replies.payload.destination.eq(server.o.payload.source), replies.payload.last.eq(server.o.payload.last),
    ]  # fmt: skip
    return [asks, asked, replies, replied], replied.valid


def _shared(claims, network, _, port, client, server, takes):
    """Both on one network, told apart by their data; a packet of an answer goes before one of a request."""
    m, room = claims.m, server.level != server.depth
    into, out = network.i[port], network.o[port]
    locked, before, answers = Signal(), Signal(), Signal()
    request = out.payload.data[0]
    _serve(m, out, server, request & room)
    m.d.comb += [
        answers.eq(Mux(locked, before, server.o.valid)), into.valid.eq(Mux(answers, server.o.valid, client.valid)),
        client.ready.eq(into.ready & ~answers), server.o.ready.eq(into.ready & answers), into.payload.data.eq(~answers),
        into.payload.destination.eq(Mux(answers, server.o.payload.source, client.payload.destination)),
        into.payload.last.eq(Mux(answers, server.o.payload.last, client.payload.last)),
        out.ready.eq(Mux(request, room, takes)),
    ]  # fmt: skip
    m.d.sync += before.eq(answers)
    with m.If(into.valid):  # an offer stands until it is taken, a packet stays whole
        m.d.sync += locked.eq(~(into.ready & into.payload.last))
    return [into, out], out.valid & ~request
