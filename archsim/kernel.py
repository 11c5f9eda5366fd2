"""A run of a program: the instructions' arithmetic and durations in one serial order, then the event simulation over them.

Runs that somebody observes or that record membranes go through the units' Python entrances, instruction by instruction; all
others through the compiled driver. Both call the same kernels.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import cycle, islice

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.program import Program
from archsim.contracts.dma import PROGRAM, row_beats
from archsim.execute import Run, run_tasks
from archsim.prepare import THREADS, Prepared, Queues, Seat
from archsim.results import COUNTERS, RECORD
from archsim.tensors import Capture
from archsim.threads import halves, together
from archsim.timing import WAITS, fill, highest_semaphore, post_places, times
from archsim.units import attention, core, dma, experts, multicast, normaliser
from archsim.units.core_weights import first_holders, part_all
from archsim.units.sram import Memories
from archsim.vectors import LINE

SHARED_RECORDS = 4096
"""Records from which on two threads write them."""

Observer = Callable[[int, int, dict[str, int]], None]
Watcher = Callable[[list[tuple[int, int]], list[dict[str, int]]], None]


def decode(program: Program) -> Queues:
    """The instructions of every queue up to its HALT.

    Raises ArchsimError for a queue without one, a bad opcode, and where DRAM holds other rows for a program memory than its queue.
    """
    queues = Queues()
    for engine, rows in program.queues.items():
        instructions = [sequencer.decode(row.tobytes()) for row in rows]
        halts = [number for number, entry in enumerate(instructions) if entry["opcode"] == sequencer.HALT]
        if not halts:
            raise ArchsimError(
                f"program: the queue of {sequencer.engine_name(engine)} has no HALT; map the network again"
            )
        queues[engine] = instructions[: halts[0]]
    _check_refills(program, queues.get(sequencer.DMA, []))
    return queues


def _check_refills(program: Program, transfers: Sequence[Mapping[str, int]]) -> None:
    """Raise ArchsimError unless each LOAD of a program memory brings the next part of that engine's queue."""
    half, bus = program.chip.queue_rows // 2, program.chip.dram_bus_bytes
    parts = dict.fromkeys(program.queues, 2)
    for index, head in enumerate(transfers):
        if head["opcode"] != sequencer.LOAD or head["memory"] != PROGRAM:
            continue
        stride = row_beats(head["row_bytes"], bus) * bus
        loaded = program.dram[head["dram_address"] :][: head["rows"] * stride].reshape(-1, stride)
        first = parts[head["cores"]] * half
        rows = program.queues[head["cores"]][first : first + half]
        parts[head["cores"]] += 1
        if not np.array_equal(loaded[: len(rows), : rows.shape[1]], rows):
            raise ArchsimError(
                f"program: dma instruction {index} loads other rows into the program memory of "
                f"{sequencer.engine_name(head['cores'])} than {first} to {first + half - 1} of its queue; map the network again"
            )


class Simulation:
    """One run of a program for one image.

    Args:
        chip: the chip.
        queues: decoded instructions per engine.
        memories: contents at the start, DRAM with weights and image; changed by the run.
        capture: takes the outputs of instructions, and gives those of a trace.
        latencies: DRAM latencies, cycles, that the bursts of all LOADs take in turn, cyclic; None: the chip's constant.
        observe: called with engine, index in its queue and decoded fields when an instruction has changed the memories.
        watch: called before it changes them, once a gang: with (engine, index) and fields of each member.
        threads: threads that share the cores, at most; runs of other images may go on beside.
    """

    def __init__(
        self,
        chip: ChipParams,
        queues: Mapping[int, list[dict[str, int]]],
        memories: Memories,
        capture: Capture,
        latencies: Sequence[int] | None = None,
        observe: Observer | None = None,
        watch: Watcher | None = None,
        threads: int = THREADS,
    ) -> None:
        self.chip, self.memories, self.capture, self.observe = chip, memories, capture, observe
        self.watch, self.threads = watch, threads
        self.latencies = None if latencies is None else cycle(latencies)
        self.queues = queues if isinstance(queues, Queues) else Queues(queues)

    def run(self) -> NDArray[np.void]:
        """Run every queue to its end; returns the records in order of start.

        Raises ArchsimError when instructions wait for each other for ever, or a semaphore overflows.
        """
        program = self.queues.prepare(self.chip, self.capture.notes)
        watched = self.observe is not None or self.watch is not None
        stepwise = watched or self.capture.potentials or not program.compiled
        if stepwise:
            cycles, counters = self._step_through(program)
            return self._records(program, cycles, counters, np.arange(len(cycles)))
        with program.seat() as seat:
            return self._records(program, self._drive(program, seat), seat.counters, program.own)

    def _records(
        self, program: Prepared, cycles: NDArray[np.int64], counters: NDArray[np.int64], own: NDArray[np.int64]
    ) -> NDArray[np.void]:
        """The event simulation: records of all instructions, each with its row of the counters."""
        heads = program.heads
        found, *semaphores = times(heads, program.order, cycles, WAITS)
        self._check_semaphores(program, *semaphores)
        table = np.empty((len(cycles), len(RECORD)), np.int64)
        # Instructions stand queue behind queue, so that those that start together keep the order of their engines.
        order = np.argsort(found.start, kind="stable")
        parts = halves(order, SHARED_RECORDS) if self._threads() > 1 else [slice(None)]
        together([partial(fill, order[part], program.identity, found, counters, own, table[part]) for part in parts])
        return table.view(RECORD)[:, 0]

    def _threads(self) -> int:
        """Threads of this run."""
        return min(self.threads, self.chip.cores, len(os.sched_getaffinity(0)))

    def _check_semaphores(
        self,
        program: Prepared,
        posts: NDArray[np.int64],
        takes: NDArray[np.int64],
        came: NDArray[np.int64],
        taken: NDArray[np.int64],
    ) -> None:
        """Raise ArchsimError if a semaphore would have exceeded its bits at any time."""
        if came.max() < 1 << sequencer.SEMAPHORE_BITS:  # so many were never posted
            return
        first, _ = post_places(program.heads)
        for producer, consumer in np.argwhere(came >= 1 << sequencer.SEMAPHORE_BITS).tolist():
            place, pair = first[producer, consumer], (producer, consumer)
            own = posts[place : place + came[pair]], takes[place : place + taken[pair]]
            if highest_semaphore(*own) >= 1 << sequencer.SEMAPHORE_BITS:
                raise ArchsimError(
                    f"program: semaphore {sequencer.engine_name(producer)} -> {sequencer.engine_name(consumer)} "
                    f"exceeds {sequencer.SEMAPHORE_BITS} bits; the consumer must wait for it more often"
                )

    def _drive(self, program: Prepared, seat: Seat) -> NDArray[np.int64]:
        """Run all instructions by the compiled driver, on two threads if there are two processors; their cycles."""
        cycles, maps = program.cycles.copy(), self.capture.rows
        if self.latencies is not None:
            for number in range(*program.heads.first[sequencer.DMA : sequencer.DMA + 2]):
                fields = program.places[number][2]
                if fields["opcode"] == sequencer.LOAD:
                    cycles[number] = dma.account(fields, self.chip, self._latencies(fields))[0]
        trace, sizes = self.capture.trace_rows, dma.Sizes.of(self.chip)
        progress = np.zeros((THREADS, LINE), np.int64)
        versions = np.zeros((self.chip.cores, 2), np.int64)
        holders = first_holders(self.chip.cores, self._threads())
        counters = seat.counters, program.rows, program.own
        run = Run(sizes, self.memories.stack, maps, trace, cycles, *counters, progress, versions, holders)
        shares = zip(program.tasks[self._threads()], seat.work, range(THREADS), strict=False)
        together([partial(run_tasks, tasks, program.tables, run, work, thread) for tasks, work, thread in shares])
        part_all(holders, self.memories.stack.weight)
        return cycles

    def _step_through(self, program: Prepared) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Run instruction by instruction; cycles and counters."""
        cycles = np.zeros(len(program.places), np.int64)
        counters = np.zeros((len(cycles), len(COUNTERS)), np.int64)
        place = 0
        while place < len(program.order):
            size = max(1, int(program.heads.gang[program.order[place]]).bit_count())
            numbers = program.order[place : place + size]
            place += size
            group = [program.places[number] for number in numbers]
            places, heads = [entry[:2] for entry in group], [entry[2] for entry in group]
            if self.watch:
                self.watch(places, heads)
            found = self._dispatch(places, heads)
            cycles[numbers], counters[numbers] = found
            if self.observe:
                for entry in group:
                    self.observe(*entry)
        return cycles, counters

    def _latencies(self, head: Mapping[str, int]) -> list[int] | None:
        """The latencies of a LOAD's bursts; None: the chip's constant."""
        return self.latencies and list(islice(self.latencies, dma.bursts(head, self.chip)))

    def _dispatch(self, group: list[tuple[int, int]], heads: list[Mapping[str, int]]) -> tuple[int, NDArray[np.int64]]:
        """Arithmetic and duration of an instruction; counters int64 [group, COUNTERS]."""
        head, chip, memories, capture = heads[0], self.chip, self.memories, self.capture
        engine, index, opcode = *group[0], head["opcode"]
        if opcode == sequencer.SYNAPSE:
            cores = [memories.cores[member - sequencer.CORE0] for member, _ in group]
            traces = capture.replay(group)
            reads = capture.reads_membranes(*group[0])
            cycles, counts, recordings = core.synapse(heads, chip, cores, traces, capture.potentials, reads)
            capture.synapse(group, head, cores, recordings)
            return cycles, counts
        if opcode == sequencer.PLANES:
            memory, traces = memories.cores[engine - sequencer.CORE0], capture.replay([(engine, index)])
            cycles, counts = core.planes(head, chip, memory, traces and traces[0])
            capture.planes(engine, index, head, memory)
        elif opcode == sequencer.LOAD:
            cycles, counts = dma.load(head, chip, memories, self._latencies(head))
        elif opcode == sequencer.STORE:
            cycles, counts = dma.store(head, chip, memories)
        elif opcode in sequencer.COPIES:
            cycles, counts = multicast.copy(head, chip, memories)
        elif opcode == sequencer.TOPK:
            cycles, counts = experts.topk(head, chip, memories)
            table = memories.experts.routes[head["core"], head["entry"] :]
            capture.choose(engine, index, head, table[: head["tokens"] * head["choices"]])
        elif opcode in (sequencer.DISPATCH, sequencer.COLLECT):
            cycles, counts = experts.route(head, chip, memories)
        elif opcode in (sequencer.NORMALISE, sequencer.WEIGH):
            cycles, counts = normaliser.run(head, chip, memories)
        else:
            traces = capture.replay([(engine, index)])
            cycles, counts, recording = attention.attend(
                opcode, head, chip, memories.attention, traces and traces[0], capture.potentials
            )
            capture.attend(engine, index, head, memories.attention, recording)
        return cycles, counts[None]
