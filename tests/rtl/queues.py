"""Test support: random programs of several queues with semaphores and gangs, and what they do by the models."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy

import numpy as np

from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.program import Program
from archsim.contracts.sequencer import CORE0, PLANES, SYNAPSE
from archsim.kernel import Simulation, decode
from archsim.stepped import sequencer as stepped
from archsim.units.sram import Memories
from tests.rtl.queue_run import QueueRun
from tests.rtl.slice_programs import queue_of

Instruction = dict[str, int]

POSTS = (1 << sequencer.SEMAPHORE_BITS) - 1
"""Posts of an engine to another in a program at most: a semaphore never exceeds its bits, whoever is ahead."""


def random_queues(
    chip: ChipParams,
    rng: np.random.Generator,
    count: int,
    instruction: Callable[[int], Instruction],
    engines: Sequence[int],
    gangs: float = 0.4,
) -> dict[int, list[Instruction]]:
    """Queues that end.

    Args:
        chip: the chip.
        rng: where chance comes from.
        count: instructions of a gang or alone.
        instruction: a random instruction of an engine, its opcode among its fields.
        engines: those that have a queue.
        gangs: how often a SYNAPSE has a gang of several cores.

    An order of all instructions, in which each waits for posts before it, exists: none of them waits for ever.
    """
    queues: dict[int, list[Instruction]] = {engine: [] for engine in engines}
    waiting = {
        (producer, consumer): 0 for producer in engines for consumer in engines
    }  # posts that nobody waits for yet
    posts = dict(waiting)
    cores = [engine - CORE0 for engine in engines if engine >= CORE0]
    for _ in range(count):
        engine = int(rng.choice(engines))
        fields, members = instruction(engine), [engine]
        if fields["opcode"] == SYNAPSE:
            mask = sum(1 << core for core in cores if rng.random() < 0.6) if rng.random() < gangs else 0
            fields["gang"] = mask | 1 << (engine - CORE0)
            members = [CORE0 + core for core in cores if fields["gang"] >> core & 1]
        for member in members:
            mine = fields | _own(chip, rng, fields, member) | {"wait": 0, "post": 0}
            for producer in engines:
                if waiting[producer, member] and rng.random() < 0.5:
                    waiting[producer, member] -= 1
                    mine["wait"] |= 1 << producer
            queues[member].append(mine)
        for member in members:
            for consumer in engines:
                if consumer != member and posts[member, consumer] < POSTS and rng.random() < 0.3:
                    posts[member, consumer] += 1
                    waiting[member, consumer] += 1
                    queues[member][-1]["post"] |= 1 << consumer
    return queues


def _own(chip: ChipParams, rng: np.random.Generator, fields: Instruction, engine: int) -> Instruction:
    """Fields in which members of a gang may differ."""
    if fields["opcode"] != SYNAPSE:
        return {}
    room = chip.param_rows - fields["blocks"]
    return {"param_base": int(rng.integers(room + 1)), "columns": int(rng.integers(1, chip.columns + 1))}


def program_of(chip: ChipParams, queues: Mapping[int, Sequence[Instruction]], dram: np.ndarray) -> Program:
    """The queues encoded."""
    return Program(chip, {engine: queue_of(queue) for engine, queue in queues.items()}, dram)


class Unnoted:
    """A capture that keeps nothing: these programs have no notes on what their instructions make."""

    potentials = False

    def __init__(self, queues):
        instructions = {str(engine): [{"layer": 0}] * len(queue) for engine, queue in queues.items()}
        self.notes = {"tensors": {}, "instructions": instructions}

    def layer(self, engine, index):
        return 0

    def replay(self, places):
        return None

    def reads_membranes(self, engine, index):
        return False

    def synapse(self, *arguments):
        """Nothing, as the others."""

    planes = attend = synapse


def by_kernel(program: Program, memories: Memories) -> dict[int, QueueRun]:
    """What each queue does by the simulator; all have the memories afterwards."""
    after = deepcopy(memories)
    queues = decode(program)
    records = Simulation(program.chip, queues, after, Unnoted(queues), observe=lambda *_: None).run()
    times = {engine: [] for engine in program.queues}
    for record in records:
        times[int(record["engine"])].append((int(record["start"]), int(record["end"])))
    return _runs(program, times, after)


def by_steps(program: Program, memories: Memories) -> dict[int, QueueRun]:
    """The same by the stepped queues and the stepped models of the engines."""
    after = deepcopy(memories)
    timeline = stepped.run(program, after).instructions
    times = {
        engine: list(map(tuple, timeline[engine].tolist())) if engine in timeline else [] for engine in program.queues
    }
    return _runs(program, times, after)


def _runs(program: Program, times: Mapping[int, list[tuple[int, int]]], after: Memories) -> dict[int, QueueRun]:
    runs = {}
    for engine, queue in decode(program).items():
        sent = [(end, fields["post"]) for (_, end), fields in zip(times[engine], queue, strict=True) if fields["post"]]
        runs[engine] = QueueRun(times[engine], sent, after)
    return runs


def posts_to(runs: Mapping[int, QueueRun], consumer: int, producers: Sequence[int]) -> list[tuple[int, int]]:
    """(cycle, engine) of every post of ``producers`` to ``consumer``."""
    return [
        (cycle, engine) for engine in producers if engine in runs
        for cycle, mask in runs[engine].posts if mask >> consumer & 1
    ]  # fmt: skip


def is_of_a_core(fields: Mapping[str, int]) -> bool:
    """Whether an instruction runs on a core."""
    return fields["opcode"] in (SYNAPSE, PLANES)
