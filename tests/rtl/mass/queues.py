"""Mass runs of several queues with semaphores and gangs between them: the sequencers of a whole chip, and the cores of one.

Programs are random, or those of the trained network. Expected by the simulator and by the stepped queues.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from archsim import simulate
from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.program import Program
from archsim.contracts.dma import PSUM
from archsim.contracts.sequencer import ATTEND_KV, ATTENTION, COPY, CORE0, DMA, MULTICAST, PLANES, STORE, SYNAPSE
from archsim.units.sram import Memories
from tests.rtl import gangs
from tests.rtl import sequencers as queues_of_all
from tests.rtl.attention_slice import attention_of
from tests.rtl.bench import ModelsDiffer
from tests.rtl.engine import CHUNK, Engine, Outputs, whole_run
from tests.rtl.gangs import GANGS
from tests.rtl.mass.divergence import Divergence, Trace
from tests.rtl.mass.instructions import Difference, last_cycle, located
from tests.rtl.mass.record import RANDOM, RECORDED, Goal, Result
from tests.rtl.mass.recorded import PRESETS
from tests.rtl.queue_run import QueueRun
from tests.rtl.queues import by_kernel, by_steps, program_of, random_queues
from tests.rtl.sequencers import SEQUENCERS
from tests.rtl.slice_programs import chip_of, convolution, random_instruction, random_memory
from tests.rtl.test_digits_tiles import WORKLOAD

Runs = Mapping[int, QueueRun]

SHORTEST = 20
"""Instructions of a program at least."""


class Inputs(NamedTuple):
    """What an :class:`~tests.rtl.engine.Engine` of several queues is run with."""

    queues: Any
    memory: Any
    traces: dict[str, np.ndarray]


class Cases:
    """What a unit gives to its mass run.

    Attributes:
        unit: its name.
        engine: the hardware of all queues.
        sets: chips of different names.
        count: instructions of a program at most, for gangs or alone.
    """

    unit: str
    engine: Engine
    sets: tuple[ChipParams, ...]
    count: int

    def program(self, chip: ChipParams, rng: np.random.Generator, count: int) -> tuple[Program, Memories]:
        """A random program of ``count`` instructions, for gangs or alone, and the memories before."""
        raise NotImplementedError

    def inputs(self, program: Program, memories: Memories, runs: Runs) -> Inputs:
        """What the Verilog is given; ``runs`` is what the queues are to do."""
        raise NotImplementedError

    def compared(self, runs: Runs) -> dict[int, QueueRun]:
        """The part of ``runs`` that the Verilog does."""
        raise NotImplementedError

    def observed(self, chip: ChipParams, inputs: Inputs, outputs: Outputs) -> dict[int, QueueRun]:
        """What the Verilog did, likewise."""
        raise NotImplementedError

    def recorded(self) -> Iterable[tuple[Program, Memories]]:
        """Programs of the trained network; none."""
        return ()


class SequencerCases(Cases):
    """The queues of all engines of a chip with semaphores and gangs; the engines are as slow as their instructions."""

    unit, engine, count = "sequencer", SEQUENCERS, 400
    sets = tuple(
        chip_of(f"cores{cores}", cores=cores, queue_rows=512, attention_rows=64, residual_rows=64, psum_rows=64)
        for cores in (1, 2, 3, 5, 8)
    )

    def program(self, chip, rng, count):
        def instruction(engine):
            size = int(rng.integers(1, 16))
            if engine == DMA:
                return {"opcode": STORE, "cores": 1, "memory": PSUM, "rows": size, "row_bytes": 4}
            if engine == MULTICAST:
                return {"opcode": COPY, "source": CORE0, "outer": size, "inner": 1, "source_outer": 1, "base_outer": 1}
            if engine == ATTENTION:
                return attention_of(chip, ATTEND_KV, size, 1, 1)
            if rng.random() < 0.3:
                return {"opcode": PLANES, "blocks": 1, "planes": size}
            tile = tuple(rng.integers(1, 4, 2).tolist())
            return convolution(chip, tile, 1, steps=1) | {"opcode": SYNAPSE}

        engines = [DMA, MULTICAST, ATTENTION, *range(CORE0, CORE0 + chip.cores)]
        queues = random_queues(chip, rng, count, instruction, engines)
        program = program_of(chip, queues, np.zeros(4096, np.uint8))
        return program, Memories.empty(chip, program.dram)

    def inputs(self, program, memories, runs):
        durations = {engine: [end - start for start, end in run.times] for engine, run in runs.items()}
        return Inputs(program.queues, durations, {})

    def compared(self, runs):
        return {engine: run._replace(memory=None) for engine, run in runs.items()}

    def observed(self, chip, inputs, outputs):
        return queues_of_all.observed(inputs.queues, outputs)

    def recorded(self):
        for preset in PRESETS:
            mapped = simulate.load(WORKLOAD, preset)
            memories = Memories.empty(mapped.program.chip, mapped.program.dram)
            simulate.write_image(mapped, memories.dram, mapped.trained.normalised()[0])
            yield mapped.program, memories


class GangCases(Cases):
    """Whole cores with their memories, in gangs."""

    unit, engine, count = "core_gangs", GANGS, 60
    sets = tuple(
        chip_of(f"gangs_{name}", queue_rows=128, **sizes) for name, sizes in {
            "two": {},
            "four": {"cores": 4, "lanes": 2, "columns": 6, "neurons": 2, "membrane_bits": 10, "pool_steps": 6,
                     "pool_rows": 12},
            "three": {"cores": 3, "columns": 4, "neurons": 4, "membrane_bits": 8, "weight_bits": 4},
            "lanes": {"lanes": 4, "columns": 8, "neurons": 2, "membrane_bits": 20},
            "least": {"columns": 2, "neurons": 1, "membrane_bits": 8, "weight_bits": 2},
        }.items()
    )  # fmt: skip

    def program(self, chip, rng, count):
        def instruction(engine):
            if engine != DMA:
                return random_instruction(chip, rng)
            # A transfer that changes nothing in the cores: only its posts reach them.
            rows = int(rng.integers(1, chip.psum_rows))
            return {"opcode": STORE, "cores": 1, "memory": PSUM, "rows": rows, "row_bytes": 1}

        queues = random_queues(chip, rng, count, instruction, [DMA, *range(CORE0, CORE0 + chip.cores)])
        program = program_of(chip, queues, np.zeros(chip.psum_rows * chip.dram_bus_bytes, np.uint8))
        memories = Memories.empty(chip, program.dram)
        memories.cores = [
            random_memory(chip, int(rng.integers(1 << 30)), rng.choice([0.02, 0.1, 0.3, 0.8]))
            for _ in range(chip.cores)
        ]
        return program, memories

    def inputs(self, program, memories, runs):
        chip = program.chip
        queues = [program.queues[CORE0 + core] for core in range(chip.cores)]
        return Inputs(queues, memories.cores, gangs.outside(chip, runs))

    def compared(self, runs):
        return gangs.of_cores(runs)

    def observed(self, chip, inputs, outputs):
        return gangs.observed(chip, inputs.memory, outputs)


def first_difference(engine: Engine, wanted: Runs, found: Runs) -> Difference | None:
    """The first difference in time of all queues; those of memories come last."""
    differences = [
        difference._replace(field=f"{sequencer.engine_name(number)} {difference.field}")
        for number, run in wanted.items() if (difference := located(engine, run, found[number]))
    ]  # fmt: skip
    return min(differences, key=lambda difference: difference.cycle % (1 << 63), default=None)


def run_program(cases: Cases, program: Program, memories: Memories, make=None) -> Result:
    """Run a program on the models and on the Verilog. Raises ModelsDiffer, Divergence."""
    chip, engine = program.chip, cases.engine
    begin = time.perf_counter()
    runs = by_kernel(program, memories)
    seconds = time.perf_counter() - begin
    wanted, last = cases.compared(runs), max(last_cycle(run) for run in runs.values())
    inputs, library = cases.inputs(program, memories, runs), engine.library(chip, make)
    outputs = engine.outputs(chip, inputs.queues, inputs.memory, (), library, inputs.traces, last + CHUNK)
    if difference := first_difference(engine, wanted, cases.observed(chip, inputs, outputs)):
        load, dump = engine.preload(chip, inputs.queues, inputs.memory), engine.dump(chip)
        driven, parts = whole_run(list(library.inputs.items()), load, dump, (), last + CHUNK, inputs.traces)
        rows = np.concatenate([driven[name] for name in library.inputs], axis=1)
        trace = Trace(engine.name, (make or engine.make)(chip), library, rows, parts["run"].start)
        raise Divergence(trace, *difference._replace(cycle=difference.cycle if difference.cycle >= 0 else last))
    if difference := first_difference(engine, wanted, cases.compared(by_steps(program, memories))):
        raise ModelsDiffer(str(difference), None)
    waits = sum(
        start - at
        for run in wanted.values()
        for (start, _), at in zip(run.times, [0, *(end for _, end in run.times)], strict=False)
    ) - sequencer.DECODE * sum(len(run.times) for run in wanted.values())
    blocked = sum(
        int((outputs.run[f"ready_{name}"] & ~outputs.run[f"start_{name}"] & np.uint64(1)).sum())
        for name in (name.removeprefix("ready_") for name in outputs.run if name.startswith("ready_"))
    )
    count = sum(len(run.times) for run in wanted.values())
    return Result(cases.unit, chip.name, RANDOM, count, last + 1, outputs.seconds, seconds, waits, blocked)


def instructions(cases: Cases):
    """A unit's :data:`~tests.rtl.mass.registry.Run`."""

    def run(goal: Goal) -> Iterator[Result]:
        run_program(cases, *cases.program(cases.sets[0], np.random.default_rng(0), 20))  # compiles what is timed
        for chip in goal.chosen(cases.sets):
            number, left = 0, goal.of(len(cases.sets))
            while left > 0:  # a gang's instruction counts for each member
                count = max(min(left, cases.count), SHORTEST)
                result = run_program(cases, *cases.program(chip, np.random.default_rng([15, number]), count))
                number, left = number + 1, left - result.transactions
                yield result
        for program, memories in cases.recorded():
            yield replace(run_program(cases, program, memories), source=RECORDED)

    return run


sequencers = instructions(SequencerCases())
core_gangs = instructions(GangCases())
