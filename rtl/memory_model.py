"""DRAM as the contract of the DMA engine has it, for simulation: in order, a latency a burst, one beat a cycle.

It is no unit of the chip and is never synthesised: its memory is read in the cycle of the address.
"""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out, Signature

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.layout import Field, Layout
from rtl.payload import load_port, shape
from rtl.units.dma import request_layout, send_layout

LATENCIES = 64
"""Latencies that the model holds where it is not told how many."""

LATENCY = 12
"""Bits of a latency."""


class MemoryModel(Component):
    """DRAM of ``beats`` beats at address 0.

    Ports:

    * ``request``, ``send``: bursts, and the beats of STORE; ``beat``: those of LOAD. The first beat of a burst comes its latency
      after its request, in the cycle of the request if that is 0, but after the last beat of the burst before.
    * ``first``, ``count``: the latencies that the bursts of LOADs take in turn, cyclic; ``start``: a transfer begins with
      the first of them.
    * ``latency``, ``load``: write a latency, or a beat; ``dump``: a beat, in the cycle of its address.
    * ``moved``: a beat comes or goes in this cycle.
    """

    def __init__(self, chip: ChipParams, beats: int, latencies: int = LATENCIES):
        self.chip, self.beats, self.latencies = chip, beats, latencies
        width, address = 8 * chip.dram_bus_bytes, max(1, (beats - 1).bit_length())
        request = Signature({"valid": Out(1), "payload": Out(shape(request_layout(chip)))})
        send = Signature({"valid": Out(1), "payload": Out(shape(send_layout(chip)))})
        index = Field("index", max(1, (latencies - 1).bit_length()))
        super().__init__({
            "request": In(request), "send": In(send),
            "beat": Out(Signature({"valid": Out(1), "payload": Out(shape(Layout.of("beat", [Field("data", width)])))})),
            "moved": Out(1), "start": In(1), "first": In(index.width), "count": In(index.width + 1),
            "latency": load_port(Layout.of("latency", [index, Field("cycles", LATENCY)])),
            "load": load_port(Layout.of("load", [Field("row", address), Field("data", width)])),
            "dump": In(Signature({"row": Out(address), "data": In(width)})),
        })  # fmt: skip

    def elaborate(self, platform):
        """A queue of the bursts under way, each with the cycle from which on it is served."""
        m = Module()
        slots = self.chip.dram_outstanding
        now, level = Signal(32), Signal(range(slots + 1))
        head, tail = Signal(range(slots)), Signal(range(slots))
        burst = Layout.of("burst", [*request_layout(self.chip).fields, Field("due", 32)])
        queue = Array(Signal(burst.width, name=f"burst{number}") for number in range(slots))
        new, oldest, done, valid = Signal(shape(burst)), Signal(shape(burst)), Signal(16), Signal()
        m.d.sync += now.eq(now + 1)
        m.d.comb += [
            *(new[field.name].eq(self.request.payload[field.name]) for field in request_layout(self.chip).fields),
            new.due.eq(now + self._latency(m)), valid.eq((level != 0) | self.request.valid),
            oldest.eq(Mux(level != 0, queue[head], new.as_value())),
        ]  # fmt: skip
        moved, pop = self.moved, Signal()
        m.d.comb += [
            self.beat.valid.eq(valid & ~oldest.write & (now >= oldest.due)),
            moved.eq(self.beat.valid | (valid & oldest.write & self.send.valid)),
            pop.eq(moved & (done == oldest.beats - 1)),
        ]
        m.d.sync += level.eq(level + self.request.valid - pop)
        with m.If(self.request.valid):
            m.d.sync += [queue[tail].eq(new.as_value()), tail.eq(Mux(tail == slots - 1, 0, tail + 1))]
        with m.If(pop):
            m.d.sync += [done.eq(0), head.eq(Mux(head == slots - 1, 0, head + 1))]
        with m.Elif(moved):
            m.d.sync += done.eq(done + 1)
        self._memory(m, (oldest.address // self.chip.dram_bus_bytes) + done, moved & oldest.write)
        return m

    def _latency(self, m):
        """The latency of the burst that is requested."""
        m.submodules.latencies = memory = Memory(shape=LATENCY, depth=self.latencies, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        index = Signal(range(self.latencies))
        with m.If(self.start):
            m.d.sync += index.eq(self.first)
        with m.Elif(self.request.valid & ~self.request.payload.write):
            m.d.sync += index.eq(Mux(index == self.first + self.count - 1, self.first, index + 1))
        m.d.comb += [
            write.en.eq(self.latency.valid), write.addr.eq(self.latency.payload.index),
            write.data.eq(self.latency.payload.cycles), read.addr.eq(index),
        ]  # fmt: skip
        return read.data

    def _memory(self, m, row, written):
        """The beats; ``row`` is read in this cycle, and where ``written`` is 1 written at its end."""
        bus, send, load = self.chip.dram_bus_bytes, self.send.payload, self.load
        m.submodules.memory = memory = Memory(shape=8 * bus, depth=self.beats, init=[])
        write = memory.write_port(granularity=8)
        read, dump = memory.read_port(domain="comb"), memory.read_port(domain="comb")
        m.d.comb += [
            read.addr.eq(row), self.beat.payload.data.eq(read.data),
            dump.addr.eq(self.dump.row), self.dump.data.eq(dump.data),
            write.en.eq(Mux(written, send.mask, load.valid.replicate(bus))),
            write.addr.eq(Mux(written, row, load.payload.row)), write.data.eq(Mux(written, send.data, load.payload.data)),
        ]  # fmt: skip
