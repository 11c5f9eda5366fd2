"""Test support: DMA and multicast in hardware with all that they move between: DRAM, and banks of every engine."""

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out, Signature

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.dma import BANKED
from archsim.contracts.sequencer import ATTENTION, CORE0
from archsim.contracts.sram import SramParams
from archsim.units.sram import CoreMemory
from rtl.memory_model import MemoryModel
from rtl.payload import forward, forwarded, load_port
from rtl.units.dma import Dma, row_bits
from rtl.units.multicast import Multicast, ways
from rtl.units.sram import Sram
from tests.rtl.rows import bits, to_words
from tests.rtl.slice import param_fields

ROWS = 16
"""Rows of every bank, if not said otherwise."""

DRAM_BEATS = 512


class DmaBench(Component):
    """DMA engine, DRAM and the banks of the cores; a core's banks are one memory of rows {memory, bank, row}.

    Ports: those of the engine and of DRAM; ``bank_load`` writes a row of a core, ``bank_dump`` reads one of every core. With
    ``late`` the beats of LOAD come a cycle late.
    """

    def __init__(self, chip: ChipParams, late: bool = False):
        self.chip, self.late = chip, late
        self.dma, self.dram = Dma(chip), MemoryModel(chip, DRAM_BEATS)
        self.bank = SramParams(16 * ROWS, max(row_bits(chip).values()))
        self.ports = {name: (self.dma, name) for name in ("transfer", "store", "done", "write")}
        self.ports |= {name: (self.dram, name) for name in ("first", "count", "latency", "load", "dump")}
        super().__init__(forwarded(self.ports) | {"start": In(1)} | bank_ports(chip.cores, self.bank))

    def elaborate(self, platform):
        m = Module()
        m.submodules.dma, m.submodules.dram = dma, dram = self.dma, self.dram
        forward(m, self, self.ports)
        beat = Signal.like(dram.beat.payload.as_value()), Signal()
        m.d["sync" if self.late else "comb"] += [
            beat[0].eq(dram.beat.payload.as_value()), beat[1].eq(dram.beat.valid)
        ]  # fmt: skip
        m.d.comb += [
            dma.start.eq(self.start), dram.start.eq(self.start), dma.beat.payload.eq(beat[0]), dma.beat.valid.eq(beat[1]),
            dram.request.valid.eq(dma.request.valid), dram.request.payload.eq(dma.request.payload),
            dram.send.valid.eq(dma.send.valid), dram.send.payload.eq(dma.send.payload),
        ]  # fmt: skip
        write, read = dma.write.payload, dma.read
        answers = banks(m, self, [
            (dma.write.valid & write.cores[core], row_of(write), write.data, read.en & read.cores[core], row_of(read))
            for core in range(self.chip.cores)
        ])  # fmt: skip
        asked = Signal(self.chip.cores)
        with m.If(read.en):
            m.d.sync += asked.eq(read.cores)
        for core, answer in enumerate(answers):
            with m.If(asked[core]):
                m.d.comb += read.data.eq(answer)
        return m


def row_of(port):
    """Row of a core's memory; only the first memories have two banks."""
    banked = Cat(port.memory == memory for memory in BANKED).any()
    return Cat(port.row[: ROWS.bit_length() - 1], port.bank & banked, port.memory)


class MulticastBench(Component):
    """Multicast engine and the banks of the attention unit (number 0) and the cores; rows {target, bank, row}.

    An engine's output banks and input banks are one memory; the banks of all engines have the same rows, a power of two. With
    ``late`` the source answers a cycle late.
    """

    def __init__(self, chip: ChipParams, late: bool = False):
        self.chip, self.late = chip, late
        self.multicast = Multicast(chip)
        self.bank = SramParams(8 * chip.spike_in_rows, chip.columns * chip.lanes)
        self.ports = {name: (self.multicast, name) for name in ("copy", *ways(chip), "start", "done", "write")}
        super().__init__(forwarded(self.ports) | bank_ports(chip.cores + 1, self.bank))

    def elaborate(self, platform):
        m = Module()
        m.submodules.multicast = multicast = self.multicast
        forward(m, self, self.ports)
        write, read, valid = multicast.write.payload, multicast.read, multicast.write.valid
        low = self.chip.spike_in_rows.bit_length() - 1
        words = Cat(write.data)
        ports = []
        for engine in (ATTENTION, *range(CORE0, CORE0 + self.chip.cores)):
            chosen = write.cores == 0 if engine == ATTENTION else write.cores[engine - CORE0]
            rows = Cat(write.row[:low], write.bank, 1), Cat(read.row[:low], read.bank, 0, 0)
            ports.append((valid & chosen, rows[0], words, read.en & (read.source == engine), rows[1]))
        answers, source = banks(m, self, ports), Signal(6)
        with m.If(read.en):
            m.d.sync += source.eq(read.source)
        answer = Signal(self.bank.row_bits)
        for number, data in enumerate(answers):
            with m.If(source == (CORE0 + number - 1 if number else ATTENTION)):
                m.d.comb += answer.eq(data)
        m.d["sync" if self.late else "comb"] += read.data.eq(answer)
        return m


def bank_ports(count: int, bank: SramParams) -> dict:
    """``bank_load``: a row of bank ``number``; ``bank_dump``: the same row of every bank, a cycle later."""
    load = Layout.of("bank_load", [
        Field("number", 6), Field("row", bank.address_bits), Field("data", bank.row_bits)
    ])  # fmt: skip
    dump = Signature({"en": Out(1), "row": Out(bank.address_bits), "data": In(bank.row_bits * count)})
    return {"bank_load": load_port(load), "bank_dump": In(dump)}


def banks(m, bench, ports):
    """The banks: (write, its row, its data, read, its row) for each; returns the rows read in the cycle before."""
    answers, load = [], bench.bank_load
    for number, (write, row, data, read, read_row) in enumerate(ports):
        m.submodules[f"bank{number}"] = bank = Sram(bench.bank)
        m.d.comb += [
            bank.write.en.eq(write | (load.valid & (load.payload.number == number))),
            bank.write.addr.eq(Mux(load.valid, load.payload.row, row)),
            bank.write.data.eq(Mux(load.valid, load.payload.data, data)),
            bank.read.en.eq(read | bench.bank_dump.en),
            bank.read.addr.eq(Mux(bench.bank_dump.en, bench.bank_dump.row, read_row)),
        ]
        answers.append(bank.read.data)
    m.d.comb += bench.bank_dump.data.eq(Cat(answers))
    return answers


# ------------------------------------------------------------------------------ bits


def columns_of(*parts: tuple[np.ndarray, int]) -> np.ndarray:
    """Payloads, uint64 [rows, words], of fields given as (values [rows], width) or (bits [rows, width], 0)."""
    fields = [values if width == 0 else bits(np.asarray(values)[:, None], width) for values, width in parts]
    return to_words(np.concatenate(fields, axis=1))


def core_rows(chip: ChipParams, memory: CoreMemory) -> np.ndarray:
    """Bits of a core's memories as the DMA bench holds them, uint8 [memory, bank, row, bits]."""
    param = [bits(memory.param[:, :, number], field.width) for number, field in enumerate(param_fields(chip))]
    contents = [
        bits(memory.weight, chip.weight_bits), np.concatenate(param, axis=-1), bits(memory.spike_in, chip.columns),
        *(bits(rows, chip.membrane_bits)[None] for rows in (memory.residual, memory.psum, memory.reduce)),
        bits(memory.spike_out, chip.columns),
    ]  # fmt: skip
    whole = np.zeros((8, 2, ROWS, max(row_bits(chip).values())), np.uint8)
    for number, rows in enumerate(contents):
        whole[number, : len(rows), :, : rows.shape[-1]] = rows
    return whole


def preload(rows: np.ndarray) -> dict[str, np.ndarray | int]:
    """Inputs that write the banks, uint8 [bank, rows, bits]."""
    count, depth, width = rows.shape
    number, row = np.divmod(np.arange(count * depth), depth)
    payload = columns_of((number, 6), (row, (depth - 1).bit_length()), (rows.reshape(-1, width), 0))
    return {"bank_load__valid": 1, "bank_load__payload": payload}


def dumped(data: np.ndarray, count: int, depth: int, width: int) -> np.ndarray:
    """Bits of the banks, uint8 [bank, rows, bits], from ``bank_dump.data`` over the cycles after the addresses."""
    words = np.ascontiguousarray(data.reshape(len(data), -1)[:depth])
    found = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")
    return found[:, : count * width].reshape(depth, count, width).swapaxes(0, 1)


def unpacked(layout: Layout, rows: np.ndarray) -> list[dict]:
    """Payloads as fields."""
    return [layout.unpack(int.from_bytes(np.asarray(row).tobytes(), "little")) for row in rows]
