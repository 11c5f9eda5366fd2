"""DMA engine in hardware: rows between DRAM and the banks of the cores (contract: ``archsim.contracts.dma``).

The DRAM port has no ready signals. It works by credit: at most ``dram_outstanding`` bursts are under way, and DRAM has room for
so many requests. It serves them in order: the beats of LOAD come when it likes, those of STORE it takes at once.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out, Signature

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.dma import LOADED, MEMORIES, STORED, TRANSFER_FIELDS, row_beats
from archsim.contracts.neuron import param_layout
from archsim.contracts.sequencer import INSTRUCTION_BYTES
from rtl.payload import load_port, shape
from rtl.units.spike_fetch import scaled

TRANSFER = Layout.of("transfer", TRANSFER_FIELDS)
"""What LOAD and STORE take from an instruction."""

ROWS, ROW_BYTES, ADDRESS = (TRANSFER.by_name[name].width for name in ("rows", "row_bytes", "dram_address"))


def request_layout(chip: ChipParams) -> Layout:
    """A burst that is requested: byte address, beats, and whether it is written."""
    beats = chip.dram_burst_bytes // chip.dram_bus_bytes
    return Layout.of("request", [Field("address", ADDRESS), Field("beats", beats.bit_length()), Field("write", 1)])


def send_layout(chip: ChipParams) -> Layout:
    """A beat on its way to DRAM: its bytes, and which of them are written."""
    return Layout.of("send", [Field("data", 8 * chip.dram_bus_bytes), Field("mask", chip.dram_bus_bytes)])


def row_bits(chip: ChipParams) -> dict[str, int]:
    """Bits of a row of each memory that DMA reaches, by name."""
    integers = chip.neurons * chip.membrane_bits
    widths = {
        "weight": chip.columns * chip.weight_bits, "param": param_layout(chip.neurons, chip.membrane_bits).width,
        "spike_in": chip.columns * chip.lanes, "spike_out": chip.columns * chip.lanes,
    }  # fmt: skip
    return {name: widths.get(name, integers) for name in MEMORIES}


def row_write_layout(chip: ChipParams) -> Layout:
    """A row on its way to the banks: ``data`` is wide enough for the longest row, and 0 above a shorter one."""
    widths = (8 * INSTRUCTION_BYTES, *(row_bits(chip)[MEMORIES[memory]] for memory in LOADED))
    data = Field("data", max(widths))
    return Layout.of("row_write", [*(TRANSFER.by_name[name] for name in ("cores", "memory", "bank", "row")), data])


def row_read_signature(chip: ChipParams) -> Signature:
    """Read port: a row of a memory that STORE reads, answered a cycle later, 0 above a shorter one."""
    fields = {name: Out(TRANSFER.by_name[name].width) for name in ("cores", "memory", "bank", "row")}
    return Signature({"en": Out(1), **fields, "data": In(max(row_bits(chip)[MEMORIES[memory]] for memory in STORED))})


def reciprocal(divisor: int, limit: int) -> tuple[int, int]:
    """The least (factor, shift) with ``(n + divisor - 1) * factor >> shift == ceil(n / divisor)`` for n in 1..``limit``."""
    for shift in range(32):
        factor = -(-(1 << shift) // divisor)
        if all((n + divisor - 1) * factor >> shift == row_beats(n, divisor) for n in range(1, limit + 1)):
            return factor, shift
    raise AssertionError("a shift of 2 bits more than the limit's suffices")


class Requester(Component):
    """Requests the bursts of a transfer, one a cycle, as long as fewer than ``dram_outstanding`` are under way.

    Ports: ``transfer`` and ``store``, constant from two cycles before ``start`` on; ``burst_end``: the last beat of a burst comes
    or goes in this cycle; ``request``: a burst, from the cycle after ``start`` on.
    """

    def __init__(self, chip: ChipParams):
        self.chip = chip
        super().__init__({
            "transfer": In(shape(TRANSFER)), "store": In(1), "start": In(1), "burst_end": In(1),
            "request": Out(Signature({"valid": Out(1), "payload": Out(shape(request_layout(chip)))})),
        })  # fmt: skip

    def elaborate(self, platform):
        """The beats of the transfer are counted before the start, in two cycles, by additions."""
        m = Module()
        transfer, request, half = self.transfer, self.request.payload, ROW_BYTES // 2
        factor, shift = reciprocal(self.chip.dram_bus_bytes, (1 << ROW_BYTES) - 1)
        burst = self.chip.dram_burst_bytes // self.chip.dram_bus_bytes
        beats, wide = Signal(ROW_BYTES), Signal(ROWS + ROW_BYTES)
        low, high, left = Signal.like(wide), Signal.like(wide), Signal.like(wide)
        padded = (transfer.row_bytes + self.chip.dram_bus_bytes - 1)[: ROW_BYTES + 1]
        m.d.comb += wide.eq(transfer.rows)
        # two cycles before the start: beats of a row
        m.d.sync += beats.eq(sum(padded << bit for bit in range(factor.bit_length()) if factor >> bit & 1) >> shift)
        # one cycle before: rows times the lower and the upper half of them
        m.d.sync += [low.eq(scaled(wide, beats[:half])), high.eq(scaled(wide, beats[half:]) << half)]
        # cycle 0 (the start): their sum
        address, pending = Signal(ADDRESS), Signal(range(self.chip.dram_outstanding + 1))
        with m.If(self.start):
            m.d.sync += [left.eq(low + high), address.eq(transfer.dram_address)]
        # cycle 1: the first burst is requested
        m.d.comb += [
            self.request.valid.eq((left != 0) & (pending != self.chip.dram_outstanding)),
            request.address.eq(address), request.write.eq(self.store), request.beats.eq(Mux(left < burst, left, burst)),
        ]  # fmt: skip
        m.d.sync += pending.eq(pending + self.request.valid - self.burst_end)
        with m.If(self.request.valid):
            m.d.sync += [left.eq(left - request.beats), address.eq(address + self.chip.dram_burst_bytes)]
        return m


class Dma(Component):
    """Moves rows between DRAM and the banks, one instruction at a time.

    Ports:

    * ``transfer``: fields of the instruction, ``store``: it is a STORE; constant from two cycles before ``start``, its first
      cycle, to ``done``, its last.
    * ``request``: a burst; ``beat``: a beat that LOAD gets; ``send``: a beat of STORE.
    * ``write``: a row for ``cores`` (a bit each; of a program memory the engine); ``read``: a row of the one core, answered a
      cycle later.
    """

    def __init__(self, chip: ChipParams):
        self.chip = chip
        self.requester = Requester(chip)
        super().__init__({
            "transfer": In(shape(TRANSFER)), "store": In(1), "start": In(1), "done": Out(1),
            "request": self.requester.signature.members["request"],
            "beat": load_port(Layout.of("beat", [Field("data", 8 * chip.dram_bus_bytes)])),
            "send": Out(Signature({"valid": Out(1), "payload": Out(shape(send_layout(chip)))})),
            "write": Out(Signature({"valid": Out(1), "payload": Out(shape(row_write_layout(chip)))})),
            "read": Out(row_read_signature(chip)),
        })  # fmt: skip

    def elaborate(self, platform):
        """Counters that both directions share, and the way of a row in each of them."""
        m = Module()
        m.submodules.requester = requester = self.requester
        m.d.comb += [
            requester.transfer.eq(self.transfer), requester.store.eq(self.store), requester.start.eq(self.start),
            self.request.valid.eq(requester.request.valid), self.request.payload.eq(requester.request.payload),
        ]  # fmt: skip
        moved, sending, written = (
            Signal(),
            Signal(),
            Signal(),
        )  # a beat comes or goes; one goes; the last row is written
        m.d.comb += moved.eq(Mux(self.store, sending, self.beat.valid))
        mask, row_end, transfer_end = self._count(m, moved)
        self._load(m, mask, row_end, transfer_end, written)
        self._store(m, mask, row_end, sending)
        m.d.sync += self.done.eq(Mux(self.store, moved & transfer_end, written))
        return m
        return m

    def _count(self, m, moved):
        """Which bytes of the present beat belong to its row, and whether it ends its row and the transfer."""
        chip, transfer = self.chip, self.transfer
        bus, burst = chip.dram_bus_bytes, chip.dram_burst_bytes // chip.dram_bus_bytes
        left, rows, beat = Signal(ROW_BYTES), Signal(ROWS), Signal(range(burst))
        row_end, transfer_end = Signal(), Signal()
        m.d.comb += [
            row_end.eq(left <= bus), transfer_end.eq(row_end & (rows == 1)),
            self.requester.burst_end.eq(moved & (transfer_end | (beat == burst - 1))),
        ]  # fmt: skip
        with m.If(self.start):
            m.d.sync += [left.eq(transfer.row_bytes), rows.eq(transfer.rows), beat.eq(0)]
        with m.Elif(moved):
            m.d.sync += [left.eq(Mux(row_end, transfer.row_bytes, left - bus)), rows.eq(rows - row_end)]
            m.d.sync += beat.eq(Mux(beat == burst - 1, 0, beat + 1))
        return Cat(left > index for index in range(bus)), row_end, transfer_end

    def _load(self, m, mask, row_end, transfer_end, written):
        """LOAD: beats side by side in a register, which is written as a row."""
        out, width = self.write.payload, 8 * self.chip.dram_bus_bytes
        count = -(-len(out.data) // width)
        place, final = Signal(count), Signal()
        taken, kept = self.beat.valid & ~self.store, Cat(bit.replicate(8) for bit in mask)
        # cycle 0: a beat; a row's first one clears the others, and what is beyond the longest row is dropped
        parts = [Signal(width, name=f"part{number}") for number in range(count)]
        for number, part in enumerate(parts):
            with m.If(taken & place[number]):
                m.d.sync += part.eq(self.beat.payload.data & kept)
            with m.Elif(taken & place[0]):
                m.d.sync += part.eq(0)
        with m.If(self.start):
            m.d.sync += [place.eq(1), out.row.eq(self.transfer.row)]
        with m.Elif(taken):
            m.d.sync += place.eq(Mux(row_end, 1, place << 1))
        m.d.sync += [self.write.valid.eq(taken & row_end), final.eq(transfer_end)]
        # cycle 1: the row is written
        m.d.comb += [
            out.data.eq(Cat(parts)), written.eq(self.write.valid & final),
            *(out[name].eq(self.transfer[name]) for name in ("cores", "memory", "bank")),
        ]  # fmt: skip
        with m.If(self.write.valid):
            m.d.sync += out.row.eq(out.row + 1 + self.transfer.row_skip)

    def _store(self, m, mask, row_end, sending):
        """STORE: a row stands at the bank while the one before leaves a register beat by beat."""
        read, width = self.read, 8 * self.chip.dram_bus_bytes
        rows, answered, take = Signal(ROWS), Signal(), Signal()
        held = Signal(max(len(read.data), width))
        # cycle 0: a row is read as soon as the one before goes into the register
        m.d.comb += [
            read.en.eq((rows != 0) & (~answered | take)),
            *(getattr(read, name).eq(self.transfer[name]) for name in ("cores", "memory", "bank")),
        ]
        with m.If(self.start):
            m.d.sync += [rows.eq(Mux(self.store, self.transfer.rows, 0)), read.row.eq(self.transfer.row)]
        with m.Elif(read.en):
            m.d.sync += [rows.eq(rows - 1), read.row.eq(read.row + 1 + self.transfer.row_skip)]
        # cycle 1: it stands, and goes into the register when that is free
        m.d.comb += take.eq(answered & (~sending | row_end))
        m.d.sync += answered.eq(read.en | (answered & ~take))
        # cycle 2: its first beat leaves
        m.d.comb += [
            self.send.valid.eq(sending), self.send.payload.data.eq(held[:width]), self.send.payload.mask.eq(mask),
        ]  # fmt: skip
        with m.If(take):
            m.d.sync += [sending.eq(1), held.eq(read.data)]
        with m.Elif(sending):
            m.d.sync += [sending.eq(~row_end), held.eq(held >> width)]
