"""A port of the expert engine in hardware: walks its tables and makes packets (contract: ``archsim.contracts.experts``)."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out, Signature

from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.experts import ENTRY, ROUTE_FIELDS, ExpertsParams
from archsim.contracts.router import MAX_EXPERTS
from rtl.payload import shape, stream_out
from rtl.units.neuron import read_port

ROUTE = Layout.of("route_fields", ROUTE_FIELDS)
"""What DISPATCH and COLLECT take from an instruction."""


def flit_layout(params: ExpertsParams) -> Layout:
    """A flit of either crossbar on its way there."""
    return Layout.of("flit", [
        Field("row", params.row_bits),
        Field("data", max(params.request_flit.by_name["data"].width, params.reply_flit.by_name["data"].width)),
        Field("destination", params.request.port_bits), Field("last", 1),
    ])  # fmt: skip


def nibble(word, expert):
    """The 4 bits of an expert in a packed field."""
    return Array(word[4 * number : 4 * number + 4] for number in range(MAX_EXPERTS))[expert]


class ExpertsReader(Component):
    """Makes a packet of each kept choice of the route table, or of each row of the reply table.

    Ports:

    * ``route``: fields of the instruction, constant from its start to its end.
    * ``begin``: walk the route table from the next cycle on; ``reply``: walk the first ``asked`` rows of the reply table.
    * ``requesting``: packets are requests, one flit without a row; ``replying``: the reply table is in use.
    * ``routes``, ``replies``: a row of a table; ``read``: a row of the bank that packets are read from; answered a cycle later.
    * ``o``: flits; ``busy``: there is something to be read or sent.
    """

    def __init__(self, params: ExpertsParams):
        self.params, self.flit = params, flit_layout(params)
        super().__init__({
            "route": In(shape(ROUTE)), "begin": In(1), "reply": In(1), "requesting": In(1), "replying": In(1),
            "asked": In(range(params.replies.rows + 1)), "busy": Out(1), "o": stream_out(self.flit),
            "routes": Out(read_port(params.routes)), "replies": Out(read_port(params.replies)),
            "read": Out(Signature({
                "en": Out(1), "row": Out(params.row_bits), "data": In(self.flit.by_name["data"].width),
            })),
        })  # fmt: skip

    def elaborate(self, platform):
        """The table's row that stands, the packet that is read, the flit that is offered."""
        m = Module()
        walking, stands, loaded, offered = Signal(), Signal(), Signal(), Signal()
        pop, ended, kept, reads, final = Signal(), Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            pop.eq(stands & (~loaded | (reads & final))), reads.eq(loaded & (~offered | self.o.ready)),
            self.busy.eq(walking | stands | loaded | offered), self.o.valid.eq(offered),
        ]  # fmt: skip
        m.d.sync += [
            loaded.eq((pop & kept) | (loaded & ~(reads & final))), offered.eq(reads | (offered & ~self.o.ready)),
        ]  # fmt: skip
        # cycle 1: the table is read
        self._walk(m, walking, stands, pop, ended)
        # cycle 2: its row stands, and moves on as a packet when the one before is read
        source, target, destination = self._packet(m, pop, ended, kept)
        # cycle 3: a row of the packet is read; its number is what a request carries
        held, left = [Signal.like(value) for value in (source, target, destination)], Signal.like(self.route.rows)
        m.d.comb += [
            final.eq(left == 1), self.read.en.eq(reads & ~self.requesting), self.read.row.eq(held[0]),
        ]  # fmt: skip
        with m.If(pop):
            m.d.sync += [held[0].eq(source), held[1].eq(target), held[2].eq(destination)]
            m.d.sync += left.eq(Mux(self.requesting, 1, self.route.rows))
        with m.Elif(reads):
            m.d.sync += [held[0].eq(held[0] + 1), held[1].eq(held[1] + 1), left.eq(left - 1)]
        # cycle 4: it stands, and is offered
        flit, number = self.o.payload, Signal(self.params.row_bits)
        m.d.comb += flit.data.eq(Mux(self.requesting, number, self.read.data))
        with m.If(reads):
            m.d.sync += [number.eq(held[0]), flit.row.eq(held[1]), flit.destination.eq(held[2]), flit.last.eq(final)]
        return m

    def _walk(self, m, walking, stands, pop, ended):
        """Reads rows of the table in use, one ahead of the one that stands."""
        position, reads = Signal(max(len(self.route.entry), len(self.asked))), Signal()
        m.d.comb += [
            reads.eq(walking & (~stands | (pop & ~ended))),
            self.routes.en.eq(reads & ~self.replying), self.replies.en.eq(reads & self.replying),
            self.routes.row.eq(position), self.replies.row.eq(position),
        ]  # fmt: skip
        m.d.sync += [stands.eq(reads | (stands & ~pop)), position.eq(position + reads)]
        with m.If(self.begin):
            m.d.sync += [walking.eq(1), position.eq(self.route.entry)]
        with m.Elif(self.reply):
            m.d.sync += [walking.eq(self.asked != 0), position.eq(0)]
        with m.Elif(pop & ended):
            m.d.sync += walking.eq(0)
        entry = Signal(shape(ENTRY))
        m.d.comb += [entry.eq(self.routes.data), ended.eq(Mux(self.replying, position == self.asked, entry.end))]

    def _packet(self, m, pop, ended, kept):
        """The packet of the row that stands: first source row, first target row, destination."""
        route, bits = self.route, self.params.row_bits
        entry, asked = Signal(shape(ENTRY)), Signal(shape(self.params.asked))
        # The home rows of this choice, and of its token.
        home, token, next_token = Signal(bits), Signal(bits), Signal(bits)
        m.d.comb += [
            entry.eq(self.routes.data), asked.eq(self.replies.data), kept.eq(self.replying | entry.kept),
            next_token.eq(token + route.home_token),
        ]  # fmt: skip
        with m.If(self.begin):
            m.d.sync += [home.eq(route.home_base), token.eq(route.home_base)]
        with m.Elif(pop & entry.last):
            m.d.sync += [home.eq(next_token), token.eq(next_token)]
        with m.Elif(pop):
            m.d.sync += home.eq(home + route.home_choice)
        slot = ((entry.slot << route.slot_shift) + (entry.slot << route.other_shift))[1 : bits + 1]
        region = (nibble(route.region, entry.expert) << route.region_shift)[:bits]
        there = (route.expert_base + region + slot)[:bits]
        return (
            Mux(self.replying, asked.source, home), Mux(self.replying, asked.target, there),
            Mux(self.replying, asked.home, nibble(route.place, entry.expert)[: len(asked.home)]),
        )  # fmt: skip
