"""Test support: the normaliser with its queue and the banks of all cores in Verilog, and models of its instructions."""

from collections.abc import Mapping

import numpy as np
from amaranth.hdl import Cat, Module, Mux
from amaranth.lib.wiring import Component, In, Out, Signature

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.layout import Field
from archsim.contracts.core import CoreParams
from archsim.contracts.sram import SramParams
from archsim.stepped import normaliser as stepped
from archsim.units import normaliser as fast
from archsim.units.sram import Memories
from rtl.payload import forward, forwarded, load_port
from rtl.units.normaliser import NormaliserEngine
from rtl.units.spike_fetch import bank_write_layout
from rtl.units.sram import Sram
from tests.rtl.engine import Engine
from tests.rtl.rows import bits, integers, load_inputs

BANKS = ("residual", "psum")
"""Memories of a core that the engine touches."""


def sizes(chip: ChipParams) -> dict[str, SramParams]:
    """A bank of each memory."""
    core = CoreParams(chip)
    return dict(zip(BANKS, (core.neuron.residual, core.neuron.psum), strict=True))


class NormaliserBench(Component):
    """The engine and the banks. ``load_...`` writes a row of every core or of the table, ``dump`` reads one of every core.

    With ``late`` the banks answer a cycle late.
    """

    def __init__(self, chip: ChipParams, late: bool = False):
        self.chip, self.late, self.engine = chip, late, NormaliserEngine(chip)
        self.sizes = sizes(chip)
        names = ("program", "posted", "post", "ready", "go", "halted", "start", "done")
        self.ports: dict[str, tuple[Component, str]] = {name: (self.engine, name) for name in names}
        table = self.engine.unit.unit.params.table
        widths = {name: (bank.address_bits, chip.cores * bank.row_bits) for name, bank in self.sizes.items()}
        loads = {
            f"load_{name}": load_port(bank_write_layout(address, Field("data", width)))
            for name, (address, width) in (widths | {"table": (table.address_bits, table.row_bits)}).items()
        }  # fmt: skip
        data = {f"{name}_data": In(width) for name, (_, width) in widths.items()}
        dump = Signature({"en": Out(1), "row": Out(16), **data})
        super().__init__(forwarded(self.ports) | loads | {"dump": In(dump)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.engine = engine = self.engine
        forward(m, self, self.ports)
        table = engine.write_table
        m.d.comb += [
            table.valid.eq(self.load_table.valid), table.payload.row.eq(self.load_table.payload.row),
            table.payload.data.eq(self.load_table.payload.data),
        ]  # fmt: skip
        for name in BANKS:
            found = [self._memory(m, core, name) for core in range(self.chip.cores)]
            m.d.comb += getattr(self.dump, f"{name}_data").eq(Cat(found))
        return m

    def _memory(self, m, core, name):
        """A bank of a core; returns the row that was read."""
        size, load, dump = self.sizes[name], getattr(self, f"load_{name}"), self.dump
        read, write = (getattr(self.engine, f"{way}_{name}")[core] for way in ("read", "write"))
        m.submodules[f"{name}{core}"] = bank = Sram(size)
        part = load.payload.data[core * size.row_bits : (core + 1) * size.row_bits]
        m.d.comb += [
            bank.write.en.eq(write.valid | load.valid), bank.write.addr.eq(Mux(load.valid, load.payload.row, write.payload.row)),
            bank.write.data.eq(Mux(load.valid, part, write.payload.data)),
            bank.read.en.eq(read.en | dump.en), bank.read.addr.eq(Mux(dump.en, dump.row, read.row)),
        ]  # fmt: skip
        m.d["sync" if self.late else "comb"] += read.data.eq(bank.read.data)
        return bank.read.data


def fast_normaliser(fields, chip, memories):
    """The fast simulator's instructions."""
    return fast.run(fields, chip, memories)[0]


def preload(chip: ChipParams, queue: np.ndarray, memories: Memories) -> dict[str, np.ndarray]:
    """Inputs that write the queue, the memories and the table."""
    data = {"program": bits(np.asarray(queue), 8)}
    for name in BANKS:
        rows = [bits(getattr(core, name), chip.membrane_bits) for core in memories.cores]
        data[f"load_{name}"] = np.concatenate(rows, axis=-1)[None]
    data["load_table"] = bits(memories.normaliser.table[:, None], chip.membrane_bits)[None]
    depths = {f"load_{name}": bank.rows for name, bank in sizes(chip).items()}
    return load_inputs(data, {"program": chip.queue_rows, "load_table": len(memories.normaliser.table)} | depths)


def dump_inputs(chip: ChipParams) -> dict[str, np.ndarray | int]:
    """Inputs that read every row of every bank; the answers come a cycle later."""
    rows = max(bank.rows for bank in sizes(chip).values())
    return {"dump__en": 1, "dump__row": np.arange(rows + 1) % rows}


def retired(chip: ChipParams, memories: Memories, dump: Mapping[str, np.ndarray]) -> Memories:
    """The memories after a run, from the outputs over the cycles of ``dump_inputs``; ``memories`` are changed."""
    width, half = chip.membrane_bits, 1 << (chip.membrane_bits - 1)
    for name, bank in sizes(chip).items():
        words = dump[f"dump__{name}_data"][1 : bank.rows + 1].reshape(bank.rows, -1)
        values = integers(words, width, chip.neurons * chip.cores).reshape(bank.rows, chip.cores, chip.neurons)
        for number, core in enumerate(memories.cores):
            getattr(core, name)[:] = (values[:, number].astype(np.int64) ^ half) - half
    return memories


def contents(memories: Memories) -> dict[str, np.ndarray]:
    """Every bank that the engine reaches."""
    return {f"core{number} {name}": getattr(core, name) for number, core in enumerate(memories.cores) for name in BANKS}


ENGINE = Engine("normaliser_bench", NormaliserBench, preload, dump_inputs, retired, contents)
"""The normaliser with its queue and all banks."""

stepped_normaliser = stepped.run
"""The cycle-stepped model's instructions."""
