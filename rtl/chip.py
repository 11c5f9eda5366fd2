"""The whole chip in hardware: every engine with its queue, the semaphores between them, and who reaches which bank.

No arbiter stands before a bank: of all instructions that run at a time only one owns it
(``archsim.contracts.common.ownership``), so the ports of its possible users are joined by OR and selection. Where a memory has two
banks, each user has a port of its own there, since both banks may be used in a cycle.
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import Component, Out, connect, flipped

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.dma import BANKED, LOADED, MEMORIES, PROGRAM, PSUM, RESIDUAL, STORED, TABLE
from archsim.contracts.normaliser import TABLE_BANK
from archsim.contracts.sequencer import (
    ATTENTION,
    CORE0,
    DMA,
    EXPERTS,
    HEADER,
    MULTICAST,
    NORMALISER,
    STORE,
    engines,
    slot,
    slots,
)
from rtl.payload import elements, load_port, shape
from rtl.units.attention import AttentionEngine
from rtl.units.core import Core
from rtl.units.core_gangs import Gangs
from rtl.units.dma import TRANSFER, Dma
from rtl.units.experts import ExpertsEngine
from rtl.units.multicast import Multicast, decode
from rtl.units.normaliser import NormaliserEngine
from rtl.units.sequencer import Sequencer, program_bank

PORTS = {"spike_in": "spikes", "spike_out": "out"}
"""What a core's ports call a memory of DMA, if not by its name."""

ROUTED = {PSUM: "write_psum"}
SENT = {RESIDUAL: "read_residual", PSUM: "read_psum"}
"""Ports of the expert engine that write a memory of a core of one bank, and that read one."""

NORMALISED = {RESIDUAL: "write_residual", PSUM: "write_psum"}
"""Ports of the normaliser that write one; it reads those that the expert engine reads."""


def program_layout(chip: ChipParams) -> Layout:
    """A row of a program memory: the engine's place (``sequencer.slot``), the row, the instruction."""
    bank = program_bank(chip.queue_rows)
    engine = Field("engine", (slots(chip) - 1).bit_length())
    return Layout.of("program_write", [engine, Field("row", bank.address_bits), Field("data", bank.row_bits)])


class Chip(Component):
    """A chip: DMA, multicast, attention unit, expert engine and normaliser if it has them, cores.

    Ports:

    * ``program``: a row for the program memory of an engine (always ready; before the reset ends).
    * ``request``, ``beat``, ``send``: the DRAM port of :class:`~rtl.units.dma.Dma`.
    * ``start``, ``done`` (a bit an engine, ``sequencer.slot``): an instruction starts (ends) in this cycle; for observers.
    * ``halted``: every queue has ended.
    """

    def __init__(self, chip: ChipParams):
        self.chip, self.engines = chip, slots(chip)
        self.dma, self.multicast, self.attention = Dma(chip), Multicast(chip), AttentionEngine(chip)
        self.cores, self.gangs = [Core(chip) for _ in range(chip.cores)], Gangs(chip)
        self.experts = ExpertsEngine(chip) if EXPERTS in engines(chip) else None
        self.normaliser = NormaliserEngine(chip) if NORMALISER in engines(chip) else None
        self.queues = {engine: Sequencer.of(chip) for engine in (DMA, MULTICAST)}
        super().__init__({
            "program": load_port(program_layout(chip)),
            **{name: self.dma.signature.members[name] for name in ("request", "beat", "send")},
            "start": Out(self.engines), "done": Out(self.engines), "halted": Out(1),
        })  # fmt: skip

    def elaborate(self, platform):
        """Engines, queues, semaphores, banks."""
        m = Module()
        m.submodules.dma, m.submodules.multicast, m.submodules.attention = self.dma, self.multicast, self.attention
        m.submodules.gangs = self.gangs
        if self.experts:
            m.submodules.experts = self.experts
        if self.normaliser:
            m.submodules.normaliser = self.normaliser
        for engine, name in ((DMA, "dma_queue"), (MULTICAST, "multicast_queue")):
            m.submodules[name] = self.queues[engine]
        for number, core in enumerate(self.cores):
            m.submodules[f"core{number}"] = core
        self._queue(m)
        self.gangs.attach(m, self.cores)
        self._transfers(m)
        self._copies(m)
        self._write(m)
        self._read(m)
        return m

    def _queue(self, m):
        """Programs, semaphores, and what observers see."""
        units = {ATTENTION: self.attention} | {CORE0 + number: core for number, core in enumerate(self.cores)}
        units |= {EXPERTS: self.experts} if self.experts else {}
        units |= {NORMALISER: self.normaliser} if self.normaliser else {}
        queues, units = self.queues | units, units | {DMA: self.dma, MULTICAST: self.multicast}
        load, write = self.program.payload, self.dma.write
        refill = write.payload
        for engine, queue in queues.items():
            refilled, place = Signal(name=f"refilled{engine}"), slot(engine, self.chip)
            m.d.comb += [
                refilled.eq(write.valid & (refill.memory == PROGRAM) & (refill.cores == engine)),
                queue.program.valid.eq((self.program.valid & (load.engine == place)) | refilled),
                queue.program.payload.row.eq(Mux(refilled, refill.row + Mux(refill.bank, self.chip.queue_rows // 2, 0), load.row)),
                queue.program.payload.data.eq(Mux(refilled, refill.data, load.data)),
                *(queue.posted[slot(producer, self.chip)].eq(other.post[place]) for producer, other in queues.items()),
                self.start[place].eq(queue.start), self.done[place].eq(units[engine].done),
            ]  # fmt: skip
        m.d.comb += self.halted.eq(Cat(queue.halted for queue in queues.values()).all())

    def _transfers(self, m):
        """DMA with its queue and DRAM."""
        dma, queue = self.dma, self.queues[DMA]
        fields = Signal(shape(Layout.of("transfer_instruction", [*HEADER, *TRANSFER.fields])))
        m.d.comb += [
            fields.eq(queue.instruction[: len(fields.as_value())]), dma.store.eq(fields.opcode == STORE),
            *(dma.transfer[field.name].eq(fields[field.name]) for field in TRANSFER.fields),
            dma.start.eq(queue.start), queue.done.eq(dma.done),
        ]  # fmt: skip
        for name in ("request", "beat", "send"):
            connect(m, flipped(getattr(self, name)), getattr(dma, name))

    def _copies(self, m):
        """Multicast with its queue."""
        multicast, queue = self.multicast, self.queues[MULTICAST]
        decode(m, self.chip, multicast, queue.instruction)
        m.d.comb += [multicast.start.eq(queue.start), queue.done.eq(multicast.done)]

    def _write(self, m):
        """Rows of DMA, of the multicast, of the expert engine and of the normaliser to the banks."""
        transfer, copy = self.dma.write, self.multicast.write
        words = Cat(elements(copy.payload, self.multicast.layout, "data"))
        for number, core in enumerate(self.cores):
            for memory in LOADED:
                port, source = core_port(core, "write", memory), transfer.payload
                valid = transfer.valid & source.cores[number] & (source.memory == memory)
                values = {"row": source.row, "data": source.data}
                if memory in BANKED:
                    values["bank"] = source.bank
                for routed in self._of(number, memory, ROUTED, NORMALISED):
                    values = {
                        name: Mux(routed.valid, Cat(routed.payload[name]), value) for name, value in values.items()
                    }
                    valid |= routed.valid
                m.d.comb += [
                    port.valid.eq(valid),
                    *(Cat(port.payload[name]).eq(value) for name, value in values.items()),
                ]  # fmt: skip
            port = core.copy_spikes
            m.d.comb += [
                port.valid.eq(copy.valid & copy.payload.cores[number]), port.payload.bank.eq(copy.payload.bank),
                port.payload.row.eq(copy.payload.row), Cat(port.payload.data).eq(words),
            ]  # fmt: skip
            if self.experts:
                connect(m, self.experts.write_spikes[number], core.route_spikes)
        port = self.attention.write_spikes
        m.d.comb += [
            port.valid.eq(copy.valid & (copy.payload.cores == 0)), port.payload.bank.eq(copy.payload.bank),
            port.payload.row.eq(copy.payload.row), Cat(port.payload.data).eq(words),
        ]  # fmt: skip
        self._write_tables(m, transfer)

    def _write_tables(self, m, transfer):
        """Entries of DMA to the tables; ``bank`` tells them apart where there is a normaliser."""
        source = transfer.payload
        filled = transfer.valid & (source.memory == TABLE)
        ports = []
        if self.normaliser:
            ports.append((self.normaliser.write_table, filled & (source.bank == TABLE_BANK)))
        if self.chip.softmax_tokens:
            ports.append((self.attention.write_table, filled & (source.bank != TABLE_BANK) if self.normaliser else filled))
        for port, valid in ports:
            m.d.comb += [port.valid.eq(valid), port.payload.row.eq(source.row), port.payload.data.eq(source.data)]

    def _of(self, core, memory, routed, normalised):
        """Ports of the expert engine and of the normaliser, if there are any, to a memory of a core."""
        engines = (self.experts, routed), (self.normaliser, normalised)
        return [getattr(engine, names[memory])[core] for engine, names in engines if engine and memory in names]

    def _read(self, m):
        """Rows for all that read banks of others; an answer is that of the bank asked in the cycle before."""
        store, copy, rows, words = self.dma.read, self.multicast.read, [], []
        for number, core in enumerate(self.cores):
            copied = copy.en & (copy.source == CORE0 + number)
            for memory in STORED:
                port = core_port(core, "read", memory)
                asked = stored = store.en & store.cores[number] & (store.memory == memory)
                values = {"row": store.row} | ({"bank": store.bank} if memory in BANKED else {})
                for sent in self._of(number, memory, SENT, SENT):
                    values = {name: Mux(sent.en, getattr(sent, name), value) for name, value in values.items()}
                    asked |= sent.en
                    m.d.comb += sent.data.eq(port.data)
                m.d.comb += [port.en.eq(asked), *(getattr(port, name).eq(value) for name, value in values.items())]
                rows.append(answer(m, port.data, store.en, stored))
            port = core.copy_out
            m.d.comb += [port.en.eq(copied), port.bank.eq(copy.bank), port.row.eq(copy.row)]
            words.append(answer(m, port.data, copy.en, copied))
            if self.experts:
                connect(m, self.experts.read_out[number], core.route_out)
        port, asked = self.attention.read_out, copy.en & (copy.source == ATTENTION)
        m.d.comb += [
            port.en.eq(asked), port.bank.eq(copy.bank), port.row.eq(copy.row), store.data.eq(joined(rows)),
            copy.data.eq(joined([*words, answer(m, port.data, copy.en, asked)])),
        ]  # fmt: skip


def core_port(core, way, memory):
    """A core's ``read`` or ``write`` port of a memory of DMA."""
    return getattr(core, f"{way}_{PORTS.get(MEMORIES[memory], MEMORIES[memory])}")


def answer(m, data, asking, asked):
    """``data`` if the last read, in a cycle with ``asking``, was ``asked`` of it, else 0."""
    mine = Signal()
    with m.If(asking):
        m.d.sync += mine.eq(asked)
    return Mux(mine, data, 0)


def joined(values):
    """OR of all values, of which at most one is not 0."""
    total = values[0]
    for value in values[1:]:
        total = total | value
    return total
