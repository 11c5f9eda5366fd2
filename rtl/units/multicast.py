"""Multicast in hardware: rows of one output bank to any set of input banks (contract: ``archsim.contracts.multicast``)."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out, Signature

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.multicast import MASK_FIELDS, MULTICAST_FIELDS, TRANSPOSE_FIELDS, masker_of, transposer_of
from archsim.contracts.sequencer import HEADER, MASK, TRANSPOSE
from archsim.contracts.spike_fetch import ADDRESS_BITS
from rtl.payload import elements, shape
from rtl.units.masker import Masker
from rtl.units.transposer import Transposer

COPY = Layout.of("copy", MULTICAST_FIELDS)
"""What every instruction of the multicast has."""

ACTIVE = Field("active", 1)
"""Whether the instruction is the one that has the fields behind this bit."""

WAYS = {
    "transpose": (TRANSPOSE, TRANSPOSE_FIELDS, Layout.of("transpose", [ACTIVE, *TRANSPOSE_FIELDS[len(MULTICAST_FIELDS) :]])),
    "mask": (MASK, MASK_FIELDS, Layout.of("mask", [ACTIVE, *MASK_FIELDS[len(MULTICAST_FIELDS) :]])),
}
"""Ports of what stands in the way of a row: opcode and fields of their instruction, and what the port takes of it."""


def ways(chip: ChipParams) -> list[str]:
    """Those of the ports `WAYS` that the multicast of a chip has."""
    return [name for name, there in (("transpose", chip.transposer), ("mask", chip.masker)) if there]


def decode(m: Module, chip: ChipParams, multicast, instruction) -> None:
    """Give ``multicast`` (or a component that passes its ports on) the fields of an instruction, whose header is lowest."""
    fields = Signal(shape(Layout.of("copy_instruction", [*HEADER, *COPY.fields])))
    m.d.comb += [
        fields.eq(instruction[: len(fields.as_value())]),
        *(multicast.copy[field.name].eq(fields[field.name]) for field in COPY.fields),
    ]
    for name in ways(chip):
        opcode, layout, taken = WAYS[name]
        own = Signal(shape(Layout.of(f"{name}_instruction", [*HEADER, *layout])), name=f"{name}_fields")
        port = getattr(multicast, name)
        m.d.comb += [
            own.eq(instruction[: len(own.as_value())]), port.active.eq(own.opcode == opcode),
            *(port[field.name].eq(own[field.name]) for field in taken.fields[1:]),
        ]  # fmt: skip


def row_write_layout(chip: ChipParams) -> Layout:
    """A row on its way to the banks: ``cores`` is 0 where the attention unit takes it; ``row`` wraps modulo 2**20."""
    fields = [*(COPY.by_name[name] for name in ("cores", "bank")), Field("row", ADDRESS_BITS)]
    return Layout.of("row_write", [*fields, Field("data", chip.columns, count=chip.lanes)])


class Multicast(Component):
    """Brings rows, one a cycle, along two nested loops of affine addresses; transposers and masker as the chip has them.

    Ports:

    * ``copy``: fields of the instruction, constant from ``start``, its first cycle, to ``done``, its last.
    * ``transpose``, ``mask``: further fields of a TRANSPOSE and of a MASK, and whether the instruction is one (if the chip
      has transposers, a masker); as constant.
    * ``read``: a row of the output bank ``bank`` of engine ``source``, answered a cycle later.
    * ``write``: the row two cycles after its read, for all destinations at once.
    """

    def __init__(self, chip: ChipParams):
        self.chip, self.layout = chip, row_write_layout(chip)
        row = self.layout.by_name["data"].bits
        super().__init__({
            "copy": In(shape(COPY)), **{name: In(shape(WAYS[name][2])) for name in ways(chip)}, "start": In(1), "done": Out(1),
            "read": Out(Signature({
                "en": Out(1), "source": Out(COPY.by_name["source"].width), "bank": Out(1), "row": Out(ADDRESS_BITS),
                "data": In(row),
            })),
            "write": Out(Signature({"valid": Out(1), "payload": Out(shape(self.layout))})),
        })  # fmt: skip

    def elaborate(self, platform):
        """Read, hold, write; transposers and masker lie between answer and hold register."""
        m = Module()
        copy, out = self.copy, self.write.payload
        end, answered, last = Signal(), Signal(), Signal(2)
        turning = Turning(self.chip, self) if self.chip.transposer else None
        target, behind = self._loops(m, end, turning)
        # cycle 1: a row is read
        m.d.sync += [answered.eq(self.read.en), behind.eq(target), last[0].eq(self.read.en & end)]
        arrival = answered, self.read.data, behind, last[0]
        if self.chip.masker:
            arrival = chosen(self.mask.active, self._masked(m, arrival), arrival)
        if turning:
            arrival = chosen(self.transpose.active, turning.block(m, answered, target), arrival)
        valid, words, row, final = arrival
        # cycle 2: it is held
        m.d.sync += [self.write.valid.eq(valid), last[1].eq(final)]
        with m.If(valid):
            m.d.sync += [Cat(elements(out, self.layout, "data")).eq(words), out.row.eq(row)]
        # cycle 3: it is written
        m.d.comb += [out.cores.eq(copy.cores), out.bank.eq(copy.bank)]
        # cycle 4: the instruction is done, if it was the last
        m.d.sync += self.done.eq(last[1])
        return m

    def _masked(self, m, arrival):
        """The row that arrived, a cycle later and what the masker has left of it."""
        answered, words, behind, final = arrival
        m.submodules.masker = masker = Masker(masker_of(self.chip))
        first, row, last = Signal(), Signal(ADDRESS_BITS, name="target_of_masked"), Signal(name="last_masked")
        with m.If(self.start):
            m.d.sync += first.eq(1)
        with m.Elif(answered):
            m.d.sync += first.eq(0)
        spikes = Cat(elements(masker.i.payload, masker.params.i, "spikes"))
        # Rows of other instructions would change nothing but registers that then switch.
        m.d.comb += [
            masker.config.seed.eq(self.mask.seed), masker.config.keep.eq(self.mask.keep),
            masker.i.valid.eq(answered & self.mask.active), masker.i.payload.first.eq(first), spikes.eq(words),
            masker.o.ready.eq(1),
        ]  # fmt: skip
        m.d.sync += [row.eq(behind), last.eq(final)]
        return masker.o.valid, Cat(elements(masker.o.payload, masker.params.o, "spikes")), row, last

    def _loops(self, m, end, turning):
        """The two loops over rows read and rows written; the row to write next, and a register for the one before."""
        copy, running = self.copy, Signal()
        inner, outer = Signal(COPY.by_name["inner"].width), Signal(COPY.by_name["outer"].width)
        target = Signal(ADDRESS_BITS, name="target")
        inner_end = Signal()
        go = turning.pause(m, running, inner_end) if turning else running
        walkers = (
            (self.read.row, "source_base", "source_outer", "source_inner", go, inner_end),
            (target, "base", "base_outer", "base_inner", *(turning.steps(go, inner_end) if turning else (go, inner_end))),
        )
        m.d.comb += [
            inner_end.eq(inner == copy.inner - 1), end.eq(inner_end & (outer == copy.outer - 1)),
            self.read.en.eq(go), self.read.source.eq(copy.source), self.read.bank.eq(copy.source_bank),
        ]  # fmt: skip
        # cycle 0 (the start): the counters are set
        with m.If(self.start):
            m.d.sync += [running.eq(1), inner.eq(0), outer.eq(0)]
        with m.Elif(go):
            m.d.sync += [inner.eq(Mux(inner_end, 0, inner + 1)), outer.eq(outer + inner_end), running.eq(~end)]
        for row, base, outer_stride, inner_stride, step, wraps in walkers:
            first = Signal(ADDRESS_BITS, name=f"{base}_of_loop")  # row at the start of the inner loop
            following = (first + copy[outer_stride])[:ADDRESS_BITS]
            with m.If(self.start):
                m.d.sync += [row.eq(copy[base]), first.eq(copy[base])]
            with m.Elif(step & wraps):
                m.d.sync += [row.eq(following), first.eq(following)]
            with m.Elif(step):
                m.d.sync += row.eq(row + copy[inner_stride])
        return target, Signal(ADDRESS_BITS, name="target_of_answer")


class Turning:
    """The transposers of a multicast, one a lane, in lockstep: a block goes in, its columns leave, the next block goes in."""

    def __init__(self, chip: ChipParams, multicast: Multicast):
        self.multicast, self.lanes = multicast, [Transposer(transposer_of(chip)) for _ in range(chip.lanes)]
        self.running, self.ends, self.leaves = None, Signal(name="block_ends"), Signal(name="block_leaves")

    @property
    def offered(self):
        """Whether a column leaves."""
        return self.lanes[0].o.valid

    def pause(self, m, running, inner_end):
        """Whether a row is read: not from a block's last row on until its last column leaves."""
        go, paused, self.running = Signal(name="go"), Signal(name="paused"), running
        m.d.comb += [
            self.leaves.eq(self.offered & self.lanes[0].o.payload.last), go.eq(running & (~paused | self.leaves)),
        ]  # fmt: skip
        m.d.sync += self.ends.eq(inner_end)
        with m.If(self.multicast.start):
            m.d.sync += paused.eq(0)
        with m.Elif(go):
            m.d.sync += paused.eq(inner_end & self.multicast.transpose.active)
        return go

    def steps(self, go, inner_end):
        """When the row to write moves on, and when by the outer stride: with the columns, or with the rows read."""
        active = self.multicast.transpose.active
        return Mux(active, self.offered, go), Mux(active, self.leaves, inner_end)

    def block(self, m, answered, target):
        """The column that arrives: whether it is written, its words, its row, and whether it is the instruction's last."""
        multicast, width = self.multicast, self.lanes[0].params.word_bits
        for lane, transposer in enumerate(self.lanes):
            m.submodules[f"transposer{lane}"] = transposer
            m.d.comb += [
                transposer.i.valid.eq(answered & multicast.transpose.active), transposer.i.payload.last.eq(self.ends),
                transposer.i.payload.bits.eq(multicast.read.data.word_select(lane, width)), transposer.o.ready.eq(1),
            ]  # fmt: skip
        written = self.offered & (self.lanes[0].state.index < multicast.transpose.turned)
        return written, Cat(lane.o.payload.bits for lane in self.lanes), target, self.leaves & ~self.running


def chosen(active, way, other):
    """What arrives by one way or by another: valid, words, row, last."""
    return tuple(Mux(active, mine, its) for mine, its in zip(way, other, strict=True))
