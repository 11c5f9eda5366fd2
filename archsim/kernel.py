"""The event simulation: instructions start when queue and semaphores allow, and last as long as their unit's law says."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.program import Program
from archsim.contracts.dma import PROGRAM, row_beats
from archsim.ownership import members
from archsim.results import (
    NOT_WAITING,
    RECORD,
    WAIT_ATTENTION,
    WAIT_CORE,
    WAIT_DMA,
    WAIT_EXPERTS,
    WAIT_MULTICAST,
)
from archsim.tensors import Capture
from archsim.units import attention, core, dma, experts, multicast
from archsim.units.sram import Memories

Observer = Callable[[int, int, dict[str, int]], None]
Watcher = Callable[[list[tuple[int, int]], list[dict[str, int]]], None]

_WAITS = {
    sequencer.DMA: WAIT_DMA, sequencer.MULTICAST: WAIT_MULTICAST, sequencer.ATTENTION: WAIT_ATTENTION,
    sequencer.EXPERTS: WAIT_EXPERTS,
}  # fmt: skip


@dataclass
class _Queue:
    """An engine's instructions, how far it is, and the cycle in which it is ready for the next."""

    instructions: list[dict[str, int]]
    next: int = 0
    ready: int = sequencer.DECODE
    posts: dict[int, list[int]] = field(default_factory=dict)
    takes: dict[int, list[int]] = field(default_factory=dict)

    @property
    def head(self) -> dict[str, int] | None:
        """The instruction that waits to start."""
        return self.instructions[self.next] if self.next < len(self.instructions) else None

    def post_of(self, producer: int) -> int | None:
        """Cycle of the oldest post of ``producer`` that has not been taken."""
        posts, taken = self.posts.get(producer, ()), len(self.takes.get(producer, ()))
        return posts[taken] if taken < len(posts) else None


def decode(program: Program) -> dict[int, list[dict[str, int]]]:
    """The instructions of every queue up to its HALT.

    Raises ArchsimError for a queue without one, a bad opcode, and where DRAM holds other rows for a program memory than its queue.
    """
    queues = {}
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
    """

    def __init__(
        self,
        chip: ChipParams,
        queues: dict[int, list[dict[str, int]]],
        memories: Memories,
        capture: Capture,
        latencies: Sequence[int] | None = None,
        observe: Observer | None = None,
        watch: Watcher | None = None,
    ) -> None:
        self.chip, self.memories, self.capture, self.observe = chip, memories, capture, observe
        self.watch = watch
        self.latencies = None if latencies is None else cycle(latencies)
        self.queues = {engine: _Queue(instructions) for engine, instructions in queues.items()}
        self.records: list[tuple[int, ...]] = []

    def run(self) -> NDArray[np.void]:
        """Run every queue to its end; returns the records in order of start.

        Raises ArchsimError when instructions wait for each other for ever, or a semaphore overflows.
        """
        pending = deque(self.queues)
        while pending:
            engine = pending.popleft()
            while (woken := self._step(engine)) is not None:
                pending.extend(woken)
        stuck = [engine for engine, queue in self.queues.items() if queue.head]
        if stuck:
            places = ", ".join(f"{sequencer.engine_name(e)} at instruction {self.queues[e].next}" for e in stuck)
            raise ArchsimError(f"program: deadlock, these queues wait for semaphores that nobody posts: {places}")
        self._check_semaphores()
        records = np.array(self.records, RECORD)
        return records[np.lexsort((records["engine"], records["start"]))]

    def _check_semaphores(self) -> None:
        """Raise ArchsimError if a semaphore would have exceeded its bits at any time."""
        for consumer, queue in self.queues.items():
            for producer, posts in queue.posts.items():
                taken = np.searchsorted(queue.takes.get(producer, []), posts, side="right")
                if np.max(np.arange(1, len(posts) + 1) - taken) >= 1 << sequencer.SEMAPHORE_BITS:
                    raise ArchsimError(
                        f"program: semaphore {sequencer.engine_name(producer)} -> {sequencer.engine_name(consumer)} "
                        f"exceeds {sequencer.SEMAPHORE_BITS} bits; the consumer must wait for it more often"
                    )

    def _step(self, engine: int) -> list[int] | None:
        """Start the next instruction of ``engine`` if it can; returns the engines to look at, or None if it cannot."""
        head = self.queues[engine].head
        if head is None:
            return None
        group = members(engine, head, self.chip)
        start, ready, cause = 0, self.queues[engine].ready, NOT_WAITING
        for member in group:
            queue = self.queues[member]
            other = queue.head
            if other is None or other["opcode"] != head["opcode"] or other.get("gang") != head.get("gang"):
                return None
            posts = {producer: queue.post_of(producer) for producer in _bits(other["wait"])}
            if None in posts.values():
                return None
            if queue.ready > start:
                start, cause = queue.ready, NOT_WAITING if queue.ready <= ready else WAIT_CORE
            for producer, posted in posts.items():
                visible = sequencer.start(0, posted)
                if visible > start:
                    start, cause = visible, _WAITS.get(producer, WAIT_CORE)
        return self._execute(group, start, cause)

    def _execute(self, group: list[int], start: int, cause: int) -> list[int]:
        """Run the head instruction of ``group`` from cycle ``start``; returns the engines that it may have woken."""
        heads = [self.queues[member].instructions[self.queues[member].next] for member in group]
        if self.watch:
            self.watch([(member, self.queues[member].next) for member in group], heads)
        cycles, counts = self._dispatch(group, heads)
        end, woken = start + cycles, list(group)
        for member, head, counters in zip(group, heads, counts, strict=True):
            queue = self.queues[member]
            if self.observe:
                self.observe(member, queue.next, head)
            for producer in _bits(head["wait"]):
                queue.takes.setdefault(producer, []).append(start)
            layer = self.capture.layer(member, queue.next)
            mask = sum(1 << (engine - sequencer.CORE0) for engine in group if engine >= sequencer.CORE0)
            # A member that was ready before its gang waited for the others.
            waited = (cause or WAIT_CORE) if start > queue.ready else NOT_WAITING
            self.records.append(
                (member, queue.next, head["opcode"], layer, mask, queue.ready, start, end, waited, *counters.tolist())
            )
            for consumer in _bits(head["post"]):
                self.queues[consumer].posts.setdefault(member, []).append(end)
                woken.append(consumer)
            queue.next += 1
            queue.ready = end + sequencer.DECODE
        return woken

    def _latencies(self, head: dict[str, int]) -> list[int] | None:
        """The latencies of a LOAD's bursts; None: the chip's constant."""
        return self.latencies and list(islice(self.latencies, dma.bursts(head, self.chip)))

    def _dispatch(self, group: list[int], heads: list[dict[str, int]]) -> tuple[int, NDArray[np.int64]]:
        """Arithmetic and duration of an instruction; counters int64 [group, COUNTERS]."""
        head, chip, memories, capture = heads[0], self.chip, self.memories, self.capture
        engine, index, opcode = group[0], self.queues[group[0]].next, head["opcode"]
        if opcode == sequencer.SYNAPSE:
            places = [(member, self.queues[member].next) for member in group]
            cores = [memories.cores[member - sequencer.CORE0] for member in group]
            traces = capture.replay(places)
            cycles, counts, recordings = core.synapse(heads, chip, cores, traces, capture.potentials)
            capture.synapse(places, head, cores, recordings)
            return cycles, counts
        if opcode == sequencer.PLANES:
            memory, traces = memories.cores[engine - sequencer.CORE0], capture.replay([(engine, index)])
            cycles, counts = core.planes(head, chip, memory, traces and traces[0])
            capture.planes(engine, index, head, memory)
        elif opcode == sequencer.LOAD:
            cycles, counts = dma.load(head, chip, memories, self._latencies(head))
        elif opcode == sequencer.STORE:
            cycles, counts = dma.store(head, chip, memories)
        elif opcode == sequencer.COPY:
            cycles, counts = multicast.copy(head, chip, memories)
        elif opcode == sequencer.TOPK:
            cycles, counts = experts.topk(head, chip, memories)
            table = memories.experts.routes[head["core"], head["entry"] :]
            capture.choose(engine, index, head, table[: head["tokens"] * head["choices"]])
        elif opcode in (sequencer.DISPATCH, sequencer.COLLECT):
            cycles, counts = experts.route(head, chip, memories)
        else:
            traces = capture.replay([(engine, index)])
            cycles, counts, recording = attention.attend(
                opcode, head, chip, memories.attention, traces and traces[0], capture.potentials
            )
            capture.attend(engine, index, head, memories.attention, recording)
        return cycles, counts[None]


def _bits(mask: int) -> list[int]:
    return [bit for bit in range(mask.bit_length()) if mask >> bit & 1]
