"""Sequencer in hardware: the instruction queue of one engine and its semaphores (contract: ``archsim.contracts.sequencer``)."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.layout import Layout
from archsim.contracts.sequencer import EXTENDED, HALT, HEADER, INSTRUCTION_BYTES, SEMAPHORE_BITS, queue_sizes
from archsim.contracts.sram import SramParams
from rtl.payload import load_port, shape
from rtl.units.neuron import row_write_layout
from rtl.units.sram import Sram

INSTRUCTION_BITS = 8 * INSTRUCTION_BYTES
"""Bits of a program row."""

_HEADER, _EXTENSION = Layout.of("header", HEADER), Layout.of("extension", EXTENDED)


def program_bank(rows: int) -> SramParams:
    """The program memory of a queue of ``rows`` instructions."""
    return SramParams(rows, INSTRUCTION_BITS)


class Sequencer(Component):
    """Takes the instructions of one engine in order, waits for semaphores, starts the engine, posts at its end.

    Cycle 0 is the first one without reset. The program memory's output register holds the instruction.

    Ports (``engines`` is the number of engines of the chip; of those that are ``extended`` the last is the normaliser):

    * ``program``: a row for the program memory (always ready; before the reset ends).
    * ``posted`` (engines): producer e posts to this engine in this cycle; ``post`` (engines): this engine posts to e.
    * ``instruction``: the program row, constant from ``setup`` (its first cycle) to ``done``.
    * ``ready``: every semaphore is there; ``go``: so is every member of the gang (1 without one).
    * ``start``: the instruction starts in this cycle; ``done``: the engine ends it in this cycle.
    * ``halted``: the queue has ended.
    """

    def __init__(self, rows: int, engines: int, extended: bool = False):
        self.bank, self.engines, self.extended = program_bank(rows), engines, extended
        super().__init__({
            "program": load_port(row_write_layout(self.bank)),
            "posted": In(engines), "post": Out(engines), "instruction": Out(INSTRUCTION_BITS),
            "setup": Out(1), "ready": Out(1), "go": In(1, init=1), "start": Out(1), "done": In(1), "halted": Out(1),
        })  # fmt: skip

    @classmethod
    def of(cls, chip: ChipParams) -> "Sequencer":
        """A queue of a chip."""
        return cls(*queue_sizes(chip))

    def elaborate(self, platform):
        """Program memory, semaphores and the state machine of DECODE cycles from end to start."""
        m = Module()
        m.submodules.memory = memory = Sram(self.bank)
        header = Signal(shape(_HEADER))
        counter = Signal(self.bank.address_bits)
        opcode, wait, post = self._header(m, header, memory.read.data)
        visible = self._semaphores(m, wait)
        m.d.comb += [
            memory.write.en.eq(self.program.valid), memory.write.addr.eq(self.program.payload.row),
            memory.write.data.eq(self.program.payload.data), memory.read.addr.eq(counter),
            self.instruction.eq(memory.read.data), header.eq(memory.read.data[: _HEADER.width]),
        ]  # fmt: skip
        with m.FSM():
            with m.State("READ"):  # cycle 0 of the chip; else the end of the instruction before takes its place
                m.d.comb += memory.read.en.eq(1)
                m.next = "DECODE"
            with m.State("DECODE"):  # cycle 1: the instruction stands
                m.d.comb += self.setup.eq(opcode != HALT)
                m.next = "CHECK"
            with m.State("CHECK"):  # cycle 2
                m.next = "WAIT"
                with m.If(opcode == HALT):
                    m.next = "HALTED"
            with m.State("WAIT"):  # cycle DECODE = 3 and later
                m.d.comb += [self.ready.eq(visible), self.start.eq(visible & self.go)]
                with m.If(self.start):
                    m.d.sync += counter.eq(Mux(counter == self.bank.rows - 1, 0, counter + 1))
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += memory.read.en.eq(self.done)
                with m.If(self.done):
                    m.d.comb += self.post.eq(post)
                    m.next = "DECODE"
            with m.State("HALTED"):
                m.d.comb += self.halted.eq(1)
        return m

    def _header(self, m, header, row):
        """Opcode, engines to wait for and to post to, with the extension of the row if there is one."""
        if not self.extended:
            return header.opcode, header.wait, header.post
        extension, last = Signal(shape(_EXTENSION)), self.engines - 1
        m.d.comb += extension.eq(row[-_EXTENSION.width :])
        return (
            Cat(header.opcode, extension.extended_opcode), Cat(header.wait[:last], extension.extended_wait),
            Cat(header.post[:last], extension.extended_post),
        )  # fmt: skip

    def _semaphores(self, m, wait):
        """A counter per producer; returns whether every one that is waited for is above 0."""
        there = []
        for producer in range(self.engines):
            count = Signal(SEMAPHORE_BITS, name=f"semaphore{producer}")
            used = self.start & wait[producer]
            m.d.sync += count.eq(count + self.posted[producer] - used)
            there.append(~wait[producer] | (count != 0))
        return Cat(there).all()
