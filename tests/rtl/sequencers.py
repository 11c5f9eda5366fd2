"""Test support: the queues of all engines of a chip in Verilog; the engines only take their time, which is known before."""

from collections.abc import Mapping, Sequence

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Component, In, Out

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.sequencer import CORE0, SYNAPSE
from rtl.payload import load_port, shape
from rtl.units.core import instruction_layout
from rtl.units.core_gangs import Gangs
from rtl.units.sequencer import Sequencer
from tests.rtl.engine import Engine, Outputs
from tests.rtl.gangs import numbered
from tests.rtl.queue_run import QueueRun, events_of
from tests.rtl.rows import bits, load_inputs

CYCLES = 20
"""Bits of a duration."""


class Busy(Component):
    """An engine whose instruction number n takes as many cycles as stand in row n; ``done`` comes so long after ``start``."""

    def __init__(self, rows: int):
        self.rows = rows
        layout = Layout.of("duration", [Field("row", max(1, (rows - 1).bit_length())), Field("cycles", CYCLES)])
        super().__init__({"durations": load_port(layout), "start": In(1), "done": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(shape=CYCLES, depth=self.rows, init=[])
        write, read = memory.write_port(), memory.read_port(domain="comb")
        number, left = Signal(range(self.rows)), Signal(CYCLES)
        m.d.comb += [
            write.en.eq(self.durations.valid), write.addr.eq(self.durations.payload.row),
            write.data.eq(self.durations.payload.cycles), read.addr.eq(number), self.done.eq(left == 1),
        ]  # fmt: skip
        with m.If(self.start):
            m.d.sync += [left.eq(read.data), number.eq(number + 1)]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        return m


class SequencerBench(Component):
    """The queues of a chip.

    Ports of each, ``_`` and the number of its engine behind their names: ``program``, ``durations`` of the engine, ``start``,
    ``done``, ``post``, ``ready``, ``halted``.
    """

    def __init__(self, chip: ChipParams, gangs: type[Gangs] = Gangs):
        self.chip, self.gangs, engines = chip, gangs(chip), CORE0 + chip.cores
        self.queues = [Sequencer(chip.queue_rows, engines) for _ in range(engines)]
        self.engines = [Busy(chip.queue_rows) for _ in range(engines)]
        program, durations = self.queues[0].signature.members["program"], self.engines[0].signature.members["durations"]
        ports = {
            "program": program, "durations": durations, "start": Out(1), "done": Out(1), "post": Out(engines),
            "ready": Out(1), "halted": Out(1),
        }  # fmt: skip
        super().__init__({f"{name}_{engine}": port for name, port in ports.items() for engine in range(engines)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.gangs = self.gangs
        for number, (queue, engine) in enumerate(zip(self.queues, self.engines, strict=True)):
            m.submodules[f"queue{number}"], m.submodules[f"engine{number}"] = queue, engine
            mine = {name: getattr(self, f"{name}_{number}") for name in ("program", "durations")}
            m.d.comb += [
                queue.program.valid.eq(mine["program"].valid), queue.program.payload.eq(mine["program"].payload),
                engine.durations.valid.eq(mine["durations"].valid),
                engine.durations.payload.eq(mine["durations"].payload), engine.start.eq(queue.start),
                queue.done.eq(engine.done), queue.posted.eq(Cat(other.post[number] for other in self.queues)),
                getattr(self, f"done_{number}").eq(engine.done),
                *(getattr(self, f"{name}_{number}").eq(getattr(queue, name))
                  for name in ("start", "post", "ready", "halted")),
            ]  # fmt: skip
            if number >= CORE0:
                self._gang(m, number - CORE0, queue)
        return m

    def _gang(self, m, core, queue):
        """What a core tells of its instruction."""
        layout = instruction_layout(self.chip)
        fields = Signal(shape(layout), name=f"fields{core}")
        m.d.comb += [
            fields.eq(queue.instruction[: layout.width]), queue.go.eq(self.gangs.go[core]),
            self.gangs.ready[core].eq(queue.ready),
            self.gangs.gang[core].eq(Mux(fields.opcode == SYNAPSE, fields.gang[: self.chip.cores], 0)),
        ]  # fmt: skip


def preload(chip: ChipParams, queues: Mapping[int, np.ndarray], durations: Mapping[int, Sequence[int]]) -> dict:
    """Inputs that write the queues and the durations; an engine without a queue has one of HALT."""
    rows = (chip.queue_rows - 1).bit_length()
    inputs = []
    for engine in range(CORE0 + chip.cores):
        cycles = np.array(durations.get(engine, [0]) or [0])
        payload = np.arange(len(cycles)) | cycles << rows
        queue = bits(np.asarray(queues[engine]), 8) if engine in queues else np.zeros((1, 1), np.uint8)
        inputs.append(load_inputs({"program": queue}, {"program": chip.queue_rows}) if engine in queues else {})
        inputs[-1] |= {"durations__valid": np.ones(len(cycles), np.uint8), "durations__payload": payload}
    return numbered(inputs)


def retired(chip: ChipParams, durations: Mapping[int, Sequence[int]], dump: Mapping[str, np.ndarray]) -> None:
    """Nothing: queues have no memory that changes."""


def observed(queues: Mapping[int, np.ndarray], outputs: Outputs) -> dict[int, QueueRun]:
    """What was seen of each queue."""
    return {engine: QueueRun(*events_of(outputs.run, f"_{engine}"), None) for engine in queues}


SEQUENCERS = Engine(
    "sequencers", SequencerBench, preload, lambda chip: {"rst": np.zeros(1, np.uint8)}, retired, lambda memory: {}
)
"""The queues of a chip."""
