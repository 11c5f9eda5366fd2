"""The rules of a program, proven before it runs: each bank has one owner at a time, every address exists, gangs agree.

Two instructions that touch one bank must be ordered by queues and semaphores, not by the luck of their durations. The proof walks
the program without time and carries, for every instruction, what is known to have ended when it starts (a vector clock).
"""

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import dma, sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.ownership import Bank, banks, fetched_half
from archsim.extents import extents

Queues = Mapping[int, Sequence[Mapping[str, int]]]
Place = tuple[int, int]
"""An instruction: engine and index in its queue."""

_MEMBER_FIELDS = ("wait", "post", "columns", "param_base")
"""Fields in which the members of a gang may differ."""


def describe(bank: Bank) -> str:
    """A bank in words."""
    unit, number, memory, index = bank
    if unit == "queue":
        return f"{sequencer.engine_name(number)} {memory}[{index}]"
    return f"attention {memory}[{index}]" if unit == "attention" else f"{unit} {number} {memory}[{index}]"


def _name(place: Place, queues: Queues) -> str:
    engine, index = place
    return f"{sequencer.engine_name(engine)} instruction {index} ({sequencer.OPCODES[queues[engine][index]['opcode']]})"


def members(engine: int, head: Mapping[str, int], chip: ChipParams) -> list[int]:
    """Engines that execute an instruction together, the leader first."""
    if head["opcode"] != sequencer.SYNAPSE:
        return [engine]
    return [sequencer.CORE0 + core for core in range(chip.cores) if head["gang"] >> core & 1]


class _Proof:
    """Walks the queues in an order that the semaphores allow."""

    def __init__(self, chip: ChipParams, queues: Queues) -> None:
        self.chip, self.queues = chip, queues
        self.next = dict.fromkeys(queues, 0)
        self.clock = {engine: np.zeros(max(queues) + 1, np.int64) for engine in queues}
        self.posts: dict[Place, deque[NDArray[np.int64]]] = {}
        self.owner: dict[Bank, Place] = {}
        self.parts = {("queue", engine, "program", half): half for engine in queues for half in (0, 1)}

    def run(self) -> None:
        pending = deque(self.queues)
        while pending:
            engine = pending.popleft()
            while (woken := self._step(engine)) is not None:
                pending.extend(woken)

    def _head(self, engine: int) -> Mapping[str, int] | None:
        index = self.next[engine]
        return self.queues[engine][index] if index < len(self.queues[engine]) else None

    def _step(self, engine: int) -> list[int] | None:
        head = self._head(engine)
        if head is None:
            return None
        group = members(engine, head, self.chip)
        heads = []
        for member in group:
            other = self._head(member)
            if other is None or other["opcode"] != head["opcode"] or other.get("gang") != head.get("gang"):
                return None
            if any(not self.posts.get((producer, member)) for producer in _bits(other["wait"])):
                return None
            heads.append(other)
        self._check_gang(group, heads)
        clock = np.max([self.clock[member] for member in group], axis=0)
        for member, other in zip(group, heads, strict=True):
            for producer in _bits(other["wait"]):
                clock = np.maximum(clock, self.posts[producer, member].popleft())
        for member, other in zip(group, heads, strict=True):
            self._own(member, other, clock)
        for member in group:
            clock[member] = self.next[member] + 1
        woken = list(group)
        for member, other in zip(group, heads, strict=True):
            self.clock[member] = clock
            self.next[member] += 1
            for consumer in _bits(other["post"]):
                self.posts.setdefault((member, consumer), deque()).append(clock)
                woken.append(consumer)
        return woken

    def _own(self, engine: int, head: Mapping[str, int], clock: NDArray[np.int64]) -> None:
        """Take the banks of an instruction; raises ArchsimError if the last owner of one may still run."""
        place, rows = (engine, self.next[engine]), self.chip.queue_rows
        following = fetched_half(*place, rows)
        refilled = len(self.queues[engine]) >= rows  # HALT takes a row too
        if refilled and self.parts[following] != sequencer.part(self.next[engine] + 1, rows):
            raise ArchsimError(
                f"program: {_name(place, self.queues)} is followed by a part of its queue that {describe(following)} may not hold "
                "then; required a LOAD that brings it, ordered by semaphores"
            )
        if head["opcode"] == sequencer.LOAD and head["memory"] == dma.PROGRAM:
            self.parts[banks(engine, head)[0]] += 2
        for bank in (*banks(engine, head), following):
            last = self.owner.get(bank, place)
            if last[0] != engine and clock[last[0]] <= last[1]:
                raise ArchsimError(
                    f"program: {_name(place, self.queues)} touches {describe(bank)}, which {_name(last, self.queues)} may still "
                    "own; required a semaphore between them (ownership rule)"
                )
            self.owner[bank] = place

    def _check_gang(self, group: Sequence[int], heads: Sequence[Mapping[str, int]]) -> None:
        for member, head in zip(group, heads, strict=True):
            if head["opcode"] == sequencer.SYNAPSE and not head["gang"] >> (member - sequencer.CORE0) & 1:
                place = _name((member, self.next[member]), self.queues)
                raise ArchsimError(
                    f"program: {place}: required a gang that this core belongs to, given mask {head['gang']:#x}"
                )
            wrong = [name for name in head if name not in _MEMBER_FIELDS and head[name] != heads[0][name]]
            if wrong:
                raise ArchsimError(
                    f"program: {_name((member, self.next[member]), self.queues)}: the members of a gang must agree in all fields "
                    f"but {_MEMBER_FIELDS}; they differ in {wrong}"
                )


def prove(chip: ChipParams, queues: Queues, dram_bytes: int) -> None:
    """Prove a decoded program; raises ArchsimError naming the instructions and the bank of a violation.

    A program that deadlocks passes here: the run itself reports it.
    """
    for engine, queue in queues.items():
        for index, head in enumerate(queue):
            for memory, end, size in extents(chip, head, dram_bytes):
                if end > size:
                    raise ArchsimError(
                        f"program: {_name((engine, index), queues)} reaches row {end - 1} of {memory}, "
                        f"but chip '{chip.name}' has {size} rows; map the network for this chip"
                    )
    _Proof(chip, queues).run()


def check_intervals(chip: ChipParams, queues: Queues, records: NDArray[np.void]) -> None:
    """Check that no two instructions of a run owned one bank at the same time; raises ArchsimError."""
    last: dict[Bank, tuple[int, Place]] = {}
    for engine, index, start, end in zip(
        *(records[name].tolist() for name in ("engine", "index", "start", "end")), strict=True
    ):
        for bank in (*banks(engine, queues[engine][index]), fetched_half(engine, index, chip.queue_rows)):
            busy, place = last.get(bank, (-1, (engine, index)))
            if start <= busy:
                raise ArchsimError(
                    f"run: {_name((engine, index), queues)} started in cycle {start}, while {_name(place, queues)} owned "
                    f"{describe(bank)} until {busy}"
                )
            last[bank] = end, (engine, index)


def _bits(mask: int) -> list[int]:
    return [bit for bit in range(mask.bit_length()) if mask >> bit & 1]
