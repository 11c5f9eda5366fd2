"""Multicast in hardware: rows of one output bank to any set of input banks (contract: ``archsim.contracts.multicast``)."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out, Signature

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.multicast import MULTICAST_FIELDS
from archsim.contracts.spike_fetch import ADDRESS_BITS
from rtl.payload import elements, shape

COPY = Layout.of("copy", MULTICAST_FIELDS)
"""What COPY takes from an instruction."""


def row_write_layout(chip: ChipParams) -> Layout:
    """A row on its way to the banks: ``cores`` is 0 where the attention unit takes it; ``row`` wraps modulo 2**20."""
    fields = [*(COPY.by_name[name] for name in ("cores", "bank")), Field("row", ADDRESS_BITS)]
    return Layout.of("row_write", [*fields, Field("data", chip.columns, count=chip.lanes)])


class Multicast(Component):
    """Copies rows, one a cycle, along two nested loops of affine addresses.

    Ports:

    * ``copy``: fields of the instruction, constant from ``start``, its first cycle, to ``done``, its last.
    * ``read``: a row of the output bank ``bank`` of engine ``source``, answered a cycle later.
    * ``write``: the row two cycles after its read, for all destinations at once.
    """

    def __init__(self, chip: ChipParams):
        self.layout = row_write_layout(chip)
        row = self.layout.by_name["data"].bits
        super().__init__({
            "copy": In(shape(COPY)), "start": In(1), "done": Out(1),
            "read": Out(Signature({
                "en": Out(1), "source": Out(COPY.by_name["source"].width), "bank": Out(1), "row": Out(ADDRESS_BITS),
                "data": In(row),
            })),
            "write": Out(Signature({"valid": Out(1), "payload": Out(shape(self.layout))})),
        })  # fmt: skip

    def elaborate(self, platform):
        """Read, hold, write."""
        m = Module()
        copy, out = self.copy, self.write.payload
        end, answered, last = Signal(), Signal(), Signal(2)
        target, behind = self._loops(m, end)
        # cycle 1: a row is read
        m.d.sync += [answered.eq(self.read.en), behind.eq(target), last[0].eq(self.read.en & end)]
        # cycle 2: it is held
        m.d.sync += [self.write.valid.eq(answered), last[1].eq(last[0])]
        with m.If(answered):
            m.d.sync += [Cat(elements(out, self.layout, "data")).eq(self.read.data), out.row.eq(behind)]
        # cycle 3: it is written
        m.d.comb += [out.cores.eq(copy.cores), out.bank.eq(copy.bank)]
        # cycle 4: the instruction is done, if it was the last
        m.d.sync += self.done.eq(last[1])
        return m

    def _loops(self, m, end):
        """The two loops over rows read and rows written; the row to write next, and a register for the one before."""
        copy, running = self.copy, Signal()
        inner, outer = Signal(COPY.by_name["inner"].width), Signal(COPY.by_name["outer"].width)
        target = Signal(ADDRESS_BITS, name="target")
        walkers = (
            (self.read.row, "source_base", "source_outer", "source_inner"),
            (target, "base", "base_outer", "base_inner"),
        )
        inner_end = Signal()
        m.d.comb += [
            inner_end.eq(inner == copy.inner - 1), end.eq(inner_end & (outer == copy.outer - 1)),
            self.read.en.eq(running), self.read.source.eq(copy.source), self.read.bank.eq(copy.source_bank),
        ]  # fmt: skip
        # cycle 0 (the start): the counters are set
        with m.If(self.start):
            m.d.sync += [running.eq(1), inner.eq(0), outer.eq(0)]
        with m.Elif(running):
            m.d.sync += [inner.eq(Mux(inner_end, 0, inner + 1)), outer.eq(outer + inner_end), running.eq(~end)]
        for row, base, outer_stride, inner_stride in walkers:
            first = Signal(ADDRESS_BITS, name=f"{base}_of_loop")  # row at the start of the inner loop
            following = (first + copy[outer_stride])[:ADDRESS_BITS]
            with m.If(self.start):
                m.d.sync += [row.eq(copy[base]), first.eq(copy[base])]
            with m.Elif(running & inner_end):
                m.d.sync += [row.eq(following), first.eq(following)]
            with m.Elif(running):
                m.d.sync += row.eq(row + copy[inner_stride])
        return target, Signal(ADDRESS_BITS, name="target_of_answer")
