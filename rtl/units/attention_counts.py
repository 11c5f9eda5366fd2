"""Count memory of the attention unit in hardware: read, add and write back, a row a cycle (ATTEND_KV), and rows for ATTEND_Q."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out, Signature

from archsim.contracts.attention import AttentionParams
from archsim.contracts.common.layout import Field, Layout
from rtl.payload import load_port, shape
from rtl.units.sram import Sram


def event_layout(params: AttentionParams) -> Layout:
    """What is added to a row: its channel (one bit; none for an empty word), what its counts grow by, its block of rows.

    An event of K adds the spikes of V in its head; the AND-popcount engine, for M tokens at once, what they have in common.
    """
    columns = params.chip.columns
    bits = min(params.chip.count_bits, columns.bit_length())
    return Layout.of("count_event", [
        Field("channel", columns), Field("addends", bits, count=columns), Field("block", params.cleared.address_bits),
        Field("row", params.counts.address_bits), Field("last", 1), Field("final", 1),
    ])  # fmt: skip


def place_fields(params: AttentionParams) -> list[Field]:
    """A row of the count memory as observers name it: its block of M rows, and the channel."""
    return [Field("block", params.cleared.address_bits), Field("channel", (params.chip.columns - 1).bit_length())]


def row_of(block, channel, columns):
    """``block * columns + channel``, a shifted addition for each 1 in the constant ``columns``."""
    total = channel
    for bit in range(columns.bit_length()):
        if columns >> bit & 1:
            total = total + (block << bit)
    return total


class CountMemory(Component):
    """Counts and the bits that say which rows hold 0 whatever is stored.

    Ports:

    * ``valid``, ``event``: an addition (always taken). Its row is read in the same cycle, added to in the next, and
      written in the one after. ``last``: of its block, ``final``: of the instruction.
    * ``done``: the instruction ends in this cycle.
    * ``find``: ``en``, ``block``; in the next cycle ``filled`` has a bit for each row of the block that holds counts.
    * ``read``: ``en``, ``row``; in the next cycle ``data`` is the row as it is stored.
    * ``write``: a row (always ready; before the first instruction); ``observe``: a row, answered a cycle later.
    """

    def __init__(self, params: AttentionParams):
        self.params = params
        counts, cleared = params.counts, params.cleared
        super().__init__({
            "valid": In(1), "event": In(shape(event_layout(params))), "done": Out(1),
            "find": In(Signature({"en": Out(1), "block": Out(cleared.address_bits), "filled": In(cleared.row_bits)})),
            "read": In(Signature({"en": Out(1), "row": Out(counts.address_bits), "data": In(counts.row_bits)})),
            "write": load_port(
                Layout.of("count_write", [*place_fields(params), Field("data", counts.row_bits)])
            ),
            "observe": In(Signature({
                "en": Out(1), **{field.name: Out(field.width) for field in place_fields(params)},
                "data": In(counts.row_bits),
            })),
        })  # fmt: skip

    def elaborate(self, platform):
        """The two memories and the three stages between the ports of the counts."""
        m = Module()
        params, event = self.params, self.event
        m.submodules.counts = counts = Sram(params.counts)
        seen = self._cleared(m)
        written = Signal(params.counts.row_bits)  # the row written in the cycle before
        result = Signal(params.counts.row_bits)
        adding, writing = Signal(), Signal()
        row1, row2 = Signal.like(event.row), Signal.like(event.row)
        # cycle 0: the row is read, if it is not one of the two on their way to the memory
        used, same1, same2 = Signal(), Signal(), Signal()
        m.d.comb += [
            used.eq(self.valid & event.channel.any()), same1.eq(adding & (row1 == event.row)),
            same2.eq(writing & (row2 == event.row)),
        ]  # fmt: skip
        observed = row_of(self.observe.block, self.observe.channel, params.chip.columns)
        m.d.comb += [
            counts.read.en.eq((used & ~same2) | self.read.en | self.observe.en),
            counts.read.addr.eq(Mux(self.valid, event.row, Mux(self.read.en, self.read.row, observed))),
            self.read.data.eq(counts.read.data),
        ]
        fresh, from_result, from_written, addends = Signal(), Signal(), Signal(), Signal.like(event.addends)
        m.d.sync += adding.eq(used)
        with m.If(used):
            m.d.sync += [
                row1.eq(event.row), addends.eq(event.addends), fresh.eq(~(seen & event.channel).any()),
                from_result.eq(same1), from_written.eq(same2),
            ]  # fmt: skip
        # cycle 1: the addition
        base = Mux(fresh, 0, Mux(from_result, result, Mux(from_written, written, counts.read.data)))
        m.d.sync += writing.eq(adding)
        with m.If(adding):
            m.d.sync += [row2.eq(row1), result.eq(self._added(base, addends))]
        # cycle 2: the row is written
        with m.If(writing):
            m.d.sync += written.eq(result)
        load = self.write.payload
        m.d.comb += [
            counts.write.en.eq(writing | self.write.valid),
            counts.write.addr.eq(Mux(writing, row2, row_of(load.block, load.channel, params.chip.columns))),
            counts.write.data.eq(Mux(writing, result, load.data)),
        ]
        # cycle 3: the instruction is done
        final = Signal(2)
        m.d.sync += [final.eq(Cat(self.valid & event.final, final[0])), self.done.eq(final[1])]
        self._observe(m, counts.read.data)
        return m

    def _added(self, base, addends):
        """Every count with its addend, modulo 2**count_bits."""
        bits = self.params.chip.count_bits
        return Cat(
            (base[number * bits : (number + 1) * bits] + addends[number])[:bits]
            for number in range(self.params.chip.columns)
        )  # fmt: skip

    def _cleared(self, m):
        """The memory of cleared rows, a row a block; returns which rows of the present block have been written.

        The row of a block is known when its last event is there.
        """
        params, event = self.params, self.event
        m.submodules.cleared = cleared = Sram(params.cleared)
        seen, after = Signal(params.chip.columns), Signal(params.chip.columns)
        m.d.comb += after.eq(seen | event.channel)
        with m.If(self.valid):
            m.d.sync += seen.eq(Mux(event.last, 0, after))
        load = self.write.payload
        loaded = Cat(load.channel == number for number in range(params.chip.columns))
        m.d.comb += [
            cleared.write.en.eq(
                Mux(self.valid, event.last.replicate(len(seen)), loaded & self.write.valid.replicate(len(seen)))
            ),
            cleared.write.addr.eq(Mux(self.valid, event.block, load.block)),
            cleared.write.data.eq(Mux(self.valid, ~after, 0)),
            cleared.read.en.eq(self.find.en | self.observe.en),
            cleared.read.addr.eq(Mux(self.find.en, self.find.block, self.observe.block)),
            self.find.filled.eq(~cleared.read.data),
        ]
        return seen

    def _observe(self, m, stored):
        """The observers' row of the cycle before."""
        channel = Signal.like(self.observe.channel)
        with m.If(self.observe.en):
            m.d.sync += channel.eq(self.observe.channel)
        held = self.find.filled.bit_select(channel, 1)
        m.d.comb += self.observe.data.eq(Mux(held, stored, 0))
