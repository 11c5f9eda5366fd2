"""TOPK in hardware: scores from a bank through the router into a route table (contract: ``archsim.contracts.experts``)."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out, Signature

from archsim.contracts.common.layout import Layout
from archsim.contracts.experts import ENTRY, TOPK_FIELDS, ExpertsParams
from archsim.contracts.spike_fetch import ADDRESS_BITS
from rtl.payload import elements, load_port, shape
from rtl.units.neuron import row_write_layout
from rtl.units.router import Router

TOPK = Layout.of("topk_fields", TOPK_FIELDS)
"""What TOPK takes from an instruction."""


class ExpertsTopk(Component):
    """Chooses experts for the tokens of an instruction.

    Ports:

    * ``topk``: fields of the instruction, constant from ``start``, its first cycle, to ``done``, its last.
    * ``read``: a row of scores, answered a cycle later; ``write``: a row for the route table.
    * ``state``: the router's.
    """

    def __init__(self, params: ExpertsParams):
        self.params, self.router = params, Router(params.router)
        super().__init__({
            "topk": In(shape(TOPK)), "start": In(1), "done": Out(1),
            "read": Out(Signature({"en": Out(1), "row": Out(ADDRESS_BITS), "data": In(params.membrane_bits)})),
            "write": load_port(row_write_layout(params.routes)).flip(),
            "state": Out(self.router.signature.members["state"].shape),
        })  # fmt: skip

    def elaborate(self, platform):
        """Read, choose, store."""
        m = Module()
        m.submodules.router = router = self.router
        f, marks, stands = self.topk, Signal(2), Signal()
        # cycle 1: a row of scores is read as soon as the one before goes into the router
        self._read(m, marks, stands)
        # cycle 2: it stands
        m.d.comb += [
            *(router.config[name].eq(f[name]) for name in ("experts", "choices", "capacity")),
            Cat(elements(router.i.payload, self.params.router.i, "scores")).eq(self.read.data),
            Cat(router.i.payload.first, router.i.payload.last).eq(marks),
            router.i.valid.eq(stands), router.o.ready.eq(1), self.state.eq(router.state),
        ]  # fmt: skip
        # cycle 3 or later: a choice is stored
        choice, entry, tokens, row = router.o.payload, Signal(shape(ENTRY)), Signal.like(f.tokens), Signal.like(f.entry)
        m.d.comb += [
            *(entry[name].eq(choice[name]) for name in ("expert", "slot", "kept", "last")),
            entry.end.eq(choice.last & (tokens == 1)), self.write.valid.eq(router.o.valid),
            self.write.payload.row.eq(row), self.write.payload.data.eq(entry),
        ]  # fmt: skip
        with m.If(self.start):
            m.d.sync += [tokens.eq(f.tokens), row.eq(f.entry)]
        with m.Elif(router.o.valid):
            m.d.sync += [tokens.eq(tokens - choice.last), row.eq(row + 1)]
        m.d.sync += self.done.eq(router.o.valid & entry.end)
        return m

    def _read(self, m, marks, stands):
        """Rows of all tokens; ``marks`` of the row that stands: it begins the layer, it ends its token."""
        f, read = self.topk, self.read
        reading, first, token = Signal(), Signal(), Signal(ADDRESS_BITS)
        blocks, tokens, ends = Signal.like(f.blocks), Signal.like(f.tokens), Signal()
        following = (token + f.score_token)[:ADDRESS_BITS]
        m.d.comb += [read.en.eq(reading & (~stands | self.router.i.ready)), ends.eq(blocks == 1)]
        m.d.sync += stands.eq(read.en | (stands & ~self.router.i.ready))
        with m.If(self.start):
            m.d.sync += [
                reading.eq(1), first.eq(f.first), blocks.eq(f.blocks), tokens.eq(f.tokens), read.row.eq(f.score_base),
                token.eq(f.score_base),
            ]  # fmt: skip
        with m.Elif(read.en):
            m.d.sync += [
                first.eq(0), marks.eq(Cat(first, ends)), blocks.eq(Mux(ends, f.blocks, blocks - 1)),
                tokens.eq(tokens - ends), reading.eq(~ends | (tokens != 1)),
                read.row.eq(Mux(ends, following, read.row + 1)), token.eq(Mux(ends, following, token)),
            ]  # fmt: skip
