"""Test support: several cores with their queues and what makes gangs of them, in Verilog."""

from collections.abc import Mapping, Sequence
from copy import deepcopy

import numpy as np
from amaranth.hdl import Cat, Module
from amaranth.lib.wiring import Component, In

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.sequencer import CORE0
from archsim.units.sram import CoreMemory
from rtl.payload import forward
from rtl.units.core import Core
from rtl.units.core_gangs import Gangs
from rtl.verilator_library import Library
from tests.rtl import slice as core_slice
from tests.rtl.engine import CHUNK, Engine, Outputs, posted
from tests.rtl.queue_run import QueueRun, events_of
from tests.rtl.queues import posts_to

JOINED = ("posted", "go", "gang", "follow", "lead", "events")
"""Ports of a core that the bench connects itself."""


class GangBench(Component):
    """The cores of a chip; the posts of one reach the others.

    Ports: those of :class:`~rtl.units.core.Core` for each core, ``_`` and its number behind their names; ``posted_N`` has only
    the engines that are no cores.
    """

    def __init__(self, chip: ChipParams, core: type[Core] = Core, gangs: type[Gangs] = Gangs):
        self.chip = chip
        self.cores, self.gangs = [core(chip) for _ in range(chip.cores)], gangs(chip)
        self.ports = {
            f"{name}_{number}": (core, name)
            for number, core in enumerate(self.cores) for name in core.signature.members if name not in JOINED
        }  # fmt: skip
        posts = {f"posted_{number}": In(CORE0) for number in range(chip.cores)}
        super().__init__({name: core.signature.members[port] for name, (core, port) in self.ports.items()} | posts)

    def elaborate(self, platform):
        m = Module()
        m.submodules.gangs = self.gangs
        self.gangs.attach(m, self.cores)
        forward(m, self, self.ports)
        for number, core in enumerate(self.cores):
            m.submodules[f"core{number}"] = core
            posts = Cat(other.post[CORE0 + number] for other in self.cores)
            m.d.comb += core.posted.eq(Cat(getattr(self, f"posted_{number}"), posts))
        return m


def numbered(values: Sequence[Mapping]) -> dict:
    """Inputs of single cores as those of the bench, all of one length."""
    length = max(len(value) for inputs in values for value in inputs.values() if np.ndim(value))
    return {
        _numbered(name, number): _lengthened(value, length)
        for number, inputs in enumerate(values) for name, value in inputs.items()
    }  # fmt: skip


def _numbered(name: str, number: int) -> str:
    """A port of a core as that of the bench: the number stands behind the member's name."""
    member, parts, rest = name.partition("__")
    return f"{member}_{number}{parts}{rest}"


def _lengthened(value, length):
    """An input as long as the others: 0 (for addresses: row 0) behind its end."""
    if np.ndim(value) == 0:
        return value
    return np.concatenate([value, np.zeros((length - len(value), *np.shape(value)[1:]), np.asarray(value).dtype)])


def preload(chip: ChipParams, queues: Sequence[np.ndarray], memories: Sequence[CoreMemory]) -> dict:
    """Inputs that write the queues and memories of all cores."""
    return numbered([core_slice.preload(chip, *core) for core in zip(queues, memories, strict=True)])


def dump_inputs(chip: ChipParams) -> dict:
    """Inputs that read what the cores wrote."""
    return numbered([core_slice.dump_inputs(chip)] * chip.cores)


def retired(chip: ChipParams, memories: Sequence[CoreMemory], dump: Mapping[str, np.ndarray]) -> Sequence[CoreMemory]:
    """The memories after a run."""
    for number, memory in enumerate(memories):
        core_slice.retired(chip, memory, {name: dump[_numbered(name, number)] for name in core_slice.READ})
    return memories


GANGS = Engine("gangs", GangBench, preload, dump_inputs, retired, lambda memories: {})
"""The cores of a chip."""


def run(
    chip: ChipParams,
    queues: Sequence[np.ndarray],
    memories: Sequence[CoreMemory],
    wanted: Mapping[int, QueueRun],
    library: Library | None = None,
) -> dict[int, QueueRun]:
    """What the queues of the cores do on the Verilog, by engine; ``wanted``: what all engines are to do."""
    limit = max((end for run in wanted.values() for _, end in run.times), default=0) + CHUNK
    outputs = GANGS.outputs(chip, queues, memories, (), library, outside(chip, wanted), limit)
    return observed(chip, memories, outputs)


def outside(chip: ChipParams, others: Mapping[int, QueueRun]) -> dict[str, np.ndarray]:
    """Traces of the posts of engines that are no cores, from what these do."""
    return {f"posted_{core}": posted(posts_to(others, CORE0 + core, range(CORE0))) for core in range(chip.cores)}


def of_cores(runs: Mapping[int, QueueRun]) -> dict[int, QueueRun]:
    """The runs of the cores alone, each with its own memory in place of all."""
    return {
        engine: run._replace(memory=run.memory.cores[engine - CORE0])
        for engine, run in runs.items() if engine >= CORE0
    }  # fmt: skip


def observed(chip: ChipParams, memories: Sequence[CoreMemory], outputs: Outputs) -> dict[int, QueueRun]:
    """What was seen of each core."""
    after = GANGS.retired(chip, deepcopy(memories), outputs.dump)
    return {CORE0 + core: QueueRun(*events_of(outputs.run, f"_{core}"), after[core]) for core in range(chip.cores)}


def first_difference(expected: Mapping[int, QueueRun], found: Mapping[int, QueueRun]) -> str:
    """Between what the queues of the cores were to do and did, empty if there is none; the memories expected are all."""
    for engine, wanted in of_cores(expected).items():
        if text := core_slice.CORE.difference(wanted, found[engine]):
            return f"core {engine - CORE0}: {text}"
    return ""
