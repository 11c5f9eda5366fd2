"""Mass runs of DMA and multicast with their queues, DRAM and banks of every engine.

The latencies of a transfer are a part of a table; which one follows from bits of the instruction (:func:`latencies`).
"""

import numpy as np
from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import Component, Out

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.layout import Layout
from archsim.contracts.dma import BANKED, MEMORIES
from archsim.contracts.sequencer import CORE0, HEADER, LOAD, STORE
from archsim.stepped import dma as stepped_dma
from archsim.stepped import multicast as stepped_multicast
from archsim.units import dma as fast_dma
from archsim.units import multicast as fast_multicast
from archsim.units.sram import Memories
from rtl.memory_model import LATENCIES, LATENCY
from rtl.payload import forward, forwarded, shape
from rtl.units.dma import TRANSFER, row_bits
from rtl.units.multicast import decode
from rtl.units.sequencer import Sequencer
from tests.rtl import movers, test_dma, test_multicast
from tests.rtl.engine import Engine
from tests.rtl.mass.instructions import Cases, instructions
from tests.rtl.movers import DRAM_BEATS, ROWS, DmaBench, MulticastBench, columns_of
from tests.rtl.rows import bits, load_inputs
from tests.rtl.slice import param_fields
from tests.rtl.slice_programs import random_memory

TABLE = np.concatenate([
    np.random.default_rng(5).integers(0, longest, LATENCIES // 4) for longest in (1, 4, 30, 300)
])  # fmt: skip
"""Latencies of bursts: none, short, mixed, long."""


class Queued(Component):
    """A bench of an engine behind its queue; ``chosen`` are its ports that pass through, ``probes`` further outputs."""

    def __init__(self, chip: ChipParams, bench: Component, chosen, probes=()):
        self.bench, self.sequencer = bench, Sequencer(chip.queue_rows, CORE0 + chip.cores)
        names = ("program", "posted", "post", "ready", "go", "halted", "start")
        self.ports = {name: (self.sequencer, name) for name in names} | {name: (bench, name) for name in chosen}
        super().__init__(forwarded(self.ports) | {f"probe_{name}": Out(1) for name in probes})

    def elaborate(self, platform):
        m = Module()
        m.submodules.bench, m.submodules.sequencer = self.bench, self.sequencer
        forward(m, self, self.ports)
        m.d.comb += [self.bench.start.eq(self.sequencer.start), self.sequencer.done.eq(self.bench.done)]
        self._instruct(m)
        return m

    def _fields(self, m, layout):
        """The fields of ``layout`` in the instruction."""
        fields = Signal(shape(Layout.of("instruction", [*HEADER, *layout.fields])))
        m.d.comb += fields.eq(self.sequencer.instruction[: len(fields.as_value())])
        return fields


class QueuedDma(Queued):
    """DMA; ``waits``: a LOAD that runs gets no beat, ``full``: as many bursts are under way as may be."""

    def __init__(self, chip: ChipParams):
        self.chip = chip
        super().__init__(
            chip, DmaBench(chip), ("latency", "load", "dump", "bank_load", "bank_dump", "done"), ("waits", "full")
        )

    def _instruct(self, m):
        bench, fields, running = self.bench, self._fields(m, TRANSFER), Signal()
        m.d.sync += running.eq((running | self.start) & ~self.done)
        first = fields.row_bytes[:6] ^ fields.dram_address[5:11]
        m.d.comb += [
            *(bench.transfer[field.name].eq(fields[field.name]) for field in TRANSFER.fields),
            bench.store.eq(fields.opcode == STORE), bench.first.eq(first),
            bench.count.eq((fields.rows[:6] & ~first) + 1),
            self.probe_waits.eq(running & ~bench.store & ~bench.dma.beat.valid),
        ]  # fmt: skip
        under_way = Signal(8)
        m.d.sync += under_way.eq(under_way + bench.dma.request.valid - bench.dma.requester.burst_end)
        m.d.comb += self.probe_full.eq(under_way == self.chip.dram_outstanding)


class QueuedMulticast(Queued):
    """Multicast."""

    def __init__(self, chip: ChipParams):
        super().__init__(chip, MulticastBench(chip), ("bank_load", "bank_dump", "done"))

    def _instruct(self, m):
        decode(m, self.bench.chip, self.bench, self.sequencer.instruction)


def latencies(fields) -> list[int]:
    """Latencies of a LOAD's bursts in turn, cyclic."""
    first = (fields["row_bytes"] ^ fields["dram_address"] >> 5) & LATENCIES - 1
    count = (fields["rows"] & LATENCIES - 1 & ~first) + 1
    return TABLE[first : first + count].tolist()


def _one_length(*parts: dict) -> dict:
    """Inputs of several ports, those of the shorter ones repeated from their beginning."""
    length = max(len(value) for part in parts for value in part.values() if np.ndim(value))
    return {
        name: np.resize(value, (length, *np.shape(value)[1:])) if np.ndim(value) else value
        for part in parts for name, value in part.items()
    }  # fmt: skip


def _program(chip: ChipParams, queue: np.ndarray) -> dict:
    return load_inputs({"program": bits(np.asarray(queue), 8)}, {"program": chip.queue_rows})


def preload_dma(chip: ChipParams, queue: np.ndarray, memories: Memories) -> dict:
    """Inputs that write queue, DRAM, latencies and banks; rows are written again while the longest load goes on."""
    beat, index = np.arange(DRAM_BEATS), np.arange(LATENCIES)
    dram = columns_of((beat, (DRAM_BEATS - 1).bit_length()), (test_dma.beats_of(memories.dram), 0))
    table = columns_of((index, (LATENCIES - 1).bit_length()), (TABLE, LATENCY))
    return _one_length(
        {"load__valid": 1, "load__payload": _narrow(dram)}, {"latency__valid": 1, "latency__payload": _narrow(table)},
        _whole(movers.preload(test_dma.contents(chip, memories))), _program(chip, queue),
    )  # fmt: skip


def preload_multicast(chip: ChipParams, queue: np.ndarray, memories: Memories) -> dict:
    """Inputs that write queue and banks."""
    return _one_length(_whole(movers.preload(test_multicast.contents(chip, memories))), _program(chip, queue))


def _whole(inputs: dict) -> dict:
    return {name: _narrow(value) if np.ndim(value) else value for name, value in inputs.items()}


def _narrow(words: np.ndarray) -> np.ndarray:
    """A port of one word by cycle."""
    return words[:, 0] if words.shape[1] == 1 else words


def dump_dma(chip: ChipParams) -> dict:
    """Inputs that read DRAM, and the banks of every core."""
    cycle = np.arange(max(DRAM_BEATS, 16 * ROWS) + 1)
    return {"dump__row": cycle % DRAM_BEATS, "bank_dump__en": 1, "bank_dump__row": cycle % (16 * ROWS)}


def dump_multicast(chip: ChipParams) -> dict:
    """Inputs that read the banks of every engine."""
    rows = 8 * chip.spike_in_rows
    return {"bank_dump__en": 1, "bank_dump__row": np.arange(rows + 1) % rows}


def retired_dma(chip: ChipParams, memories: Memories, dump) -> Memories:
    """The memories after a run; ``memories`` is changed."""
    rows = movers.dumped(dump["bank_dump__data"][1:], chip.cores, 16 * ROWS, max(row_bits(chip).values()))
    widths = {"weight": chip.weight_bits, "spike_in": chip.columns, "spike_out": chip.columns}
    for core, whole in zip(memories.cores, rows.reshape(chip.cores, 8, 2, ROWS, -1), strict=True):
        for number, name in enumerate(MEMORIES):
            array, banks = getattr(core, name), whole[number] if number in BANKED else whole[number, 0]
            if name == "param":
                parts = np.split(banks, np.cumsum([field.bits for field in param_fields(chip)]), axis=-1)
                for place, field in enumerate(param_fields(chip)):
                    array[:, :, place] = _integers(parts[place], field.width, field.count)
            else:
                array[:] = _integers(banks, widths.get(name, chip.membrane_bits), array.shape[-1], array.dtype)
    beats = movers.dumped(dump["dump__data"], 1, DRAM_BEATS, 8 * chip.dram_bus_bytes)[0]
    memories.dram[:] = np.packbits(beats, axis=1, bitorder="little").reshape(-1)
    return memories


def retired_multicast(chip: ChipParams, memories: Memories, dump) -> Memories:
    """The memories after a run; ``memories`` is changed."""
    depth = chip.spike_in_rows
    rows = movers.dumped(dump["bank_dump__data"][1:], chip.cores + 1, 8 * depth, chip.columns * chip.lanes)
    engines = [(memories.attention.out, memories.attention.spikes)]
    engines += [(core.spike_out, core.spike_in) for core in memories.cores]
    for (out, spikes), banks in zip(engines, rows.reshape(len(engines), 8, depth, -1), strict=True):
        out[:] = _integers(banks[: len(out)], chip.columns, chip.lanes, np.uint64)
        spikes[:] = _integers(banks[4 : 4 + len(spikes)], chip.columns, chip.lanes, np.uint64)
    return memories


def _integers(rows: np.ndarray, width: int, count: int, kind=np.int64) -> np.ndarray:
    """``count`` integers of ``width`` bits from bits [..., bits]; two's complement if ``kind`` has a sign."""
    values = (rows[..., : width * count].reshape(*rows.shape[:-1], count, width).astype(np.uint64)
              << np.arange(width, dtype=np.uint64)).sum(axis=-1, dtype=np.uint64)  # fmt: skip
    if np.issubdtype(kind, np.unsignedinteger):
        return values
    half = 1 << (width - 1)
    return (values.astype(np.int64) + half) % (2 * half) - half


def contents(memories: Memories) -> dict[str, np.ndarray]:
    """All memories by name."""
    engines = {f"core {number}": core for number, core in enumerate(memories.cores)} | {"attention": memories.attention}
    found = {f"{engine} {name}": rows for engine, memory in engines.items() for name, rows in vars(memory).items()}
    return found | {"dram": memories.dram}


class MoverCases(Cases):
    """What DMA and multicast have in common: all memories of a chip."""

    def memory(self, chip, rng):
        memories = Memories.empty(chip, rng.integers(0, 256, DRAM_BEATS * chip.dram_bus_bytes).astype(np.uint8))
        memories.cores = [random_memory(chip, int(rng.integers(1 << 30))) for _ in range(chip.cores)]
        top = np.iinfo(np.uint64).max >> np.uint64(64 - chip.columns)
        for banks in (memories.attention.out, memories.attention.spikes):
            banks[:] = rng.integers(0, top, banks.shape, np.uint64, endpoint=True)
        return memories


class DmaCases(MoverCases):
    """LOAD and STORE of every memory."""

    unit, output_stalls, full = "dma", "waits", "full"
    engine = Engine("dma", QueuedDma, preload_dma, dump_dma, retired_dma, contents)
    sets = tuple(chip.replace(queue_rows=256) for chip in test_dma.CHIPS)

    def instruction(self, chip, rng):
        transfer = test_dma.random_transfer(chip, rng)
        return transfer.fields | {"opcode": STORE if transfer.store else LOAD}

    def fast(self, fields, chip, memory):
        if fields["opcode"] == STORE:
            return fast_dma.store(fields, chip, memory)[0]
        return fast_dma.load(fields, chip, memory, latencies(fields))[0]

    def stepped(self, fields, chip, memory):
        if fields["opcode"] == STORE:
            return stepped_dma.store(fields, chip, memory)
        return stepped_dma.load(fields, chip, memory, latencies(fields))


class MulticastCases(MoverCases):
    """COPY between any engines; TRANSPOSE and MASK where the chip has them."""

    unit = "multicast"
    engine = Engine("multicast", QueuedMulticast, preload_multicast, dump_multicast, retired_multicast, contents)
    sets = tuple(chip.replace(queue_rows=256) for chip in (*test_multicast.CHIPS, *test_multicast.COMPLETE))

    def instruction(self, chip, rng):
        return test_multicast.random_instruction(chip, rng)

    def fast(self, fields, chip, memory):
        return fast_multicast.copy(fields, chip, memory)[0]

    def stepped(self, fields, chip, memory):
        return stepped_multicast.copy(fields, chip, memory)


dma = instructions(DmaCases())
multicast = instructions(MulticastCases())
