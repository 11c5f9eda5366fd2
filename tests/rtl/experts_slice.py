"""Test support: the expert engine with its queue and the banks of all cores in Verilog, and models of its instructions."""

from collections.abc import Mapping

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import Component, In, Out, Signature

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.layout import Field
from archsim.contracts.core import CoreParams
from archsim.contracts.experts import ENTRY, ExpertsParams
from archsim.contracts.sequencer import TOPK
from archsim.contracts.sram import SramParams
from archsim.stepped import experts as stepped
from archsim.units import experts as fast
from archsim.units.sram import Memories
from rtl.payload import forward, forwarded, load_port
from rtl.units.experts import ExpertsEngine
from rtl.units.spike_fetch import bank_write_layout
from rtl.units.sram import Sram
from tests.rtl.engine import Engine
from tests.rtl.rows import bits, integers, load_inputs

BANKS = {"spike_in": 2, "spike_out": 2, "residual": 1, "psum": 1}
"""Memories of a core that the engine touches, and how many banks each has."""


def sizes(chip: ChipParams) -> dict[str, SramParams]:
    """A bank of each memory; its granules do not matter here."""
    core = CoreParams(chip)
    found = (core.fetch.bank, core.writer.bank, core.neuron.residual, core.neuron.psum)
    return {name: SramParams(bank.rows, bank.row_bits) for name, bank in zip(BANKS, found, strict=True)}


class ExpertsBench(Component):
    """The engine and the banks. ``load_...`` writes a row of every core, ``dump`` reads one of every core and table.

    With ``late`` the banks answer a cycle late.
    """

    def __init__(self, chip: ChipParams, late: bool = False):
        self.chip, self.late, self.engine = chip, late, ExpertsEngine(chip)
        self.sizes, params = sizes(chip), ExpertsParams(chip)
        names = ("program", "posted", "post", "ready", "go", "halted", "start", "done", "state")
        self.ports: dict[str, tuple[Component, str]] = {name: (self.engine, name) for name in names}
        loads = {
            f"load_{name}": load_port(bank_write_layout(bank.address_bits, Field("data", chip.cores * bank.row_bits)))
            for name, bank in self.sizes.items()
        }  # fmt: skip
        tables = {"routes": params.routes, "replies": params.replies}
        data = {f"{name}_data": In(chip.cores * bank.row_bits) for name, bank in (self.sizes | tables).items()}
        dump = Signature({"en": Out(1), "bank": Out(1), "row": Out(16), **data})
        super().__init__(forwarded(self.ports) | loads | {"dump": In(dump)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine = engine = self.engine
        forward(m, self, self.ports)
        found: dict[str, list] = {name: [] for name in (*BANKS, "routes", "replies")}
        for core in range(self.chip.cores):
            spikes, psum = engine.write_spikes[core], engine.write_psum[core]
            writes = {
                "spike_in": (spikes.valid, spikes.payload.bank, spikes.payload.row, Cat(spikes.payload.data)),
                "psum": (psum.valid, 0, psum.payload.row, psum.payload.data),
            }  # fmt: skip
            if self.chip.dispatch_membranes:
                residual = engine.write_residual[core]
                writes["residual"] = residual.valid, 0, residual.payload.row, residual.payload.data
            out = engine.read_out[core]
            reads = {"spike_out": (out, out.bank)} | {
                name: (getattr(engine, f"read_{name}")[core], 0) for name in ("residual", "psum")
            }
            for name in BANKS:
                found[name].append(self._memory(m, core, name, writes.get(name), reads.get(name)))
            tables = engine.tables[core]
            m.d.comb += [tables.en.eq(self.dump.en), tables.row.eq(self.dump.row)]
            found["routes"].append(tables.routes)
            found["replies"].append(tables.replies)
        m.d.comb += [getattr(self.dump, f"{name}_data").eq(Cat(data)) for name, data in found.items()]
        return m

    def _memory(self, m, core, name, write, read):
        """The banks of one memory of a core; returns the row that was read."""
        size, load, dump, answers = self.sizes[name], getattr(self, f"load_{name}"), self.dump, []
        part = load.payload.data[core * size.row_bits : (core + 1) * size.row_bits]
        valid, bank_written, row, data = write or (0, 0, 0, 0)
        port, bank_read = read or (None, 0)
        for number in range(BANKS[name]):
            m.submodules[f"{name}{core}_{number}"] = bank = Sram(size)
            asked, asked_row = (port.en & (bank_read == number), port.row) if port is not None else (0, 0)
            m.d.comb += [
                bank.write.en.eq((valid & (bank_written == number)) | (load.valid & (load.payload.bank == number))),
                bank.write.addr.eq(Mux(load.valid, load.payload.row, row)),
                bank.write.data.eq(Mux(load.valid, part, data)),
                bank.read.en.eq(asked | dump.en), bank.read.addr.eq(Mux(dump.en, dump.row, asked_row)),
            ]  # fmt: skip
            answers.append(bank.read.data)
        dumped, latest = Signal(name=f"dumped_{name}{core}"), Signal(name=f"latest_{name}{core}")
        m.d.sync += dumped.eq(dump.bank)
        if port is not None:
            with m.If(port.en):
                m.d.sync += latest.eq(bank_read)
            answer = Mux(latest, answers[-1], answers[0])
            m.d["sync" if self.late else "comb"] += port.data.eq(answer)
        return Mux(dumped, answers[-1], answers[0])


# ------------------------------------------------------------------------------ the models


def fast_experts(fields, chip, memories):
    """The fast simulator's instructions."""
    return (fast.topk if fields["opcode"] == TOPK else fast.route)(fields, chip, memories)[0]


def stepped_experts(fields, chip, memories):
    """The cycle-stepped model's instructions."""
    return (stepped.topk if fields["opcode"] == TOPK else stepped.route)(fields, chip, memories)


# ------------------------------------------------------------------------------ the Verilog


def element(chip: ChipParams, name: str) -> tuple[int, int]:
    """Bits of an element and elements of a row."""
    return (chip.columns, chip.lanes) if name.startswith("spike") else (chip.membrane_bits, chip.neurons)


def preload(chip: ChipParams, queue: np.ndarray, memories: Memories) -> dict[str, np.ndarray]:
    """Inputs that write the queue and the memories."""
    data = {"program": bits(np.asarray(queue), 8)}
    for name, banks in BANKS.items():
        rows = [bits(getattr(core, name), element(chip, name)[0]) for core in memories.cores]
        data[f"load_{name}"] = np.concatenate(rows, axis=-1).reshape(banks, -1, sum(part.shape[-1] for part in rows))
    depths = {f"load_{name}": bank.rows for name, bank in sizes(chip).items()}
    return load_inputs(data, {"program": chip.queue_rows} | depths)


def dump_inputs(chip: ChipParams) -> dict[str, np.ndarray | int]:
    """Inputs that read every row of every bank; the answers come a cycle later."""
    rows = max(bank.rows for bank in sizes(chip).values())
    cycle = np.arange(2 * rows + 1)
    return {"dump__en": 1, "dump__bank": cycle // rows % 2, "dump__row": cycle % rows}


def retired(chip: ChipParams, memories: Memories, dump: Mapping[str, np.ndarray]) -> Memories:
    """The memories after a run, from the outputs over the cycles of ``dump_inputs``; ``memories`` are changed."""
    depth, params = max(bank.rows for bank in sizes(chip).values()), ExpertsParams(chip)
    for name, banks in BANKS.items():
        width, count = element(chip, name)
        words = dump[f"dump__{name}_data"][1:].reshape(2, depth, -1)[:banks, : sizes(chip)[name].rows]
        values = integers(words.reshape(-1, words.shape[-1]), width, count * chip.cores)
        values = values.reshape(*words.shape[:2], chip.cores, count)
        if not name.startswith("spike"):
            values = (values.astype(np.int64) ^ (1 << (width - 1))) - (1 << (width - 1))
        for number, core in enumerate(memories.cores):
            getattr(core, name)[:] = values[:, :, number] if banks == 2 else values[0, :, number]
    for name, layout in (("routes", ENTRY), ("replies", params.asked)):
        words = dump[f"dump__{name}_data"][1 : chip.route_rows + 1].reshape(chip.route_rows, -1)
        table = getattr(memories.experts, name)
        for row, value in enumerate(words):
            whole = int.from_bytes(value.astype(np.uint64).tobytes(), "little")
            for core in range(chip.cores):
                word = whole >> core * layout.width & ((1 << layout.width) - 1)
                table[core, row] = list(layout.unpack(word).values())
    state = params.router.state.unpack(int.from_bytes(np.atleast_1d(dump["state"][-1]).tobytes(), "little"))
    memories.experts.counts[:] = state["counts"]
    return memories


def contents(memories: Memories) -> dict[str, np.ndarray]:
    """Every bank that the engine reaches, its tables and its counts."""
    banks = {
        f"core{number} {name}": getattr(core, name) for number, core in enumerate(memories.cores) for name in BANKS
    }
    return banks | vars(memories.experts)


ENGINE = Engine("experts_bench", ExpertsBench, preload, dump_inputs, retired, contents)
"""The expert engine with its queue and all banks."""
