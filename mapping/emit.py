"""Emit instructions in an order that would be right if they ran one after another; the semaphores follow.

Each bank has one owner at a time: an instruction that touches a bank waits for the last one that did, unless it is known to have
ended anyway. What is known travels with the semaphores, so a wait that another one implies is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import dma, sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.ownership import Bank, banks, fetched_half
from mapping.data import DramImage

Clock = dict[int, int]
"""Instructions per engine that have surely ended."""


@dataclass
class Instruction:
    """An instruction with its semaphores and its note; ``known`` is the clock at its end."""

    opcode: int
    fields: dict[str, int]
    note: dict[str, Any]
    known: Clock
    wait: int = 0
    post: int = 0


@dataclass
class Emitter:
    """Collects the queues of a program.

    A queue that outgrows its program memory is refilled from ``dram``: LOADs of its parts are emitted among the others, each half a
    part ahead.
    """

    chip: ChipParams
    dram: DramImage
    queues: dict[int, list[Instruction]] = field(default_factory=dict)
    _owners: dict[Bank, tuple[int, int]] = field(default_factory=dict)
    _parts: dict[int, list[NDArray[np.uint8]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Give every engine a queue."""
        self.queues = {engine: [] for engine in sequencer.engines(self.chip)}
        self._parts = {engine: [] for engine in self.queues}

    def emit(
        self, engines: Sequence[int], opcode: int, fields: Mapping[str, int], notes: Sequence[Mapping[str, Any]]
    ) -> None:
        """Append an instruction to ``engines`` (several: a gang in lockstep), with a note for each."""
        for engine in engines:
            self._refill(engine, notes[0])
        added = []
        merged: Clock = {}
        for engine, note in zip(engines, notes, strict=True):
            instruction = Instruction(opcode, {**fields, **note.get("fields", {})}, dict(note), {})
            instruction.note.pop("fields", None)
            self._wait(engine, instruction)
            for other, count in instruction.known.items():
                merged[other] = max(count, merged.get(other, 0))
            added.append((engine, instruction))
        for engine, _ in added:
            merged[engine] = len(self.queues[engine]) + 1
        for engine, instruction in added:
            instruction.known = dict(merged)
            index = len(self.queues[engine])
            for bank in self._banks(engine, index, instruction):
                self._owners[bank] = engine, index
            self.queues[engine].append(instruction)

    def _refill(self, engine: int, note: Mapping[str, Any]) -> None:
        """Emit the LOAD of the next part of a queue when the queue has come near it; ``note`` of the instruction that comes."""
        half, parts = self.chip.queue_rows // 2, self._parts[engine]
        number = len(parts) + 2  # the first two parts are there from the start
        if not sequencer.is_refillable(self.chip.queue_rows) or len(self.queues[engine]) < number * half - half // 2:
            return
        fields = {
            "dram_address": self.dram.reserve(half, sequencer.INSTRUCTION_BYTES), "memory": dma.PROGRAM, "cores": engine,
            "bank": number % 2, "row": 0, "rows": half, "row_bytes": sequencer.INSTRUCTION_BYTES,
        }  # fmt: skip
        parts.append(self.dram.parts[-1].reshape(half, -1))
        self.emit([sequencer.DMA], sequencer.LOAD, fields, [{"layer": note["layer"]}])

    def _banks(self, engine: int, index: int, instruction: Instruction) -> list[Bank]:
        owned = banks(engine, {"opcode": instruction.opcode, **instruction.fields})
        return [*owned, fetched_half(engine, index, self.chip.queue_rows)]

    def _wait(self, engine: int, instruction: Instruction) -> None:
        """Set the semaphores that ``instruction`` waits for, and what it knows at its start."""
        queue = self.queues[engine]
        known = dict(queue[-1].known) if queue else {}
        needed: dict[int, int] = {}
        for bank in self._banks(engine, len(queue), instruction):
            owner, index = self._owners.get(bank, (engine, -1))
            if owner != engine and index >= known.get(owner, 0):
                needed[owner] = max(index, needed.get(owner, -1))
        waited: list[int] = []
        for owner, index in sorted(needed.items()):
            later = [other for other in needed if other > owner]
            if any(self.queues[other][needed[other]].known.get(owner, 0) > index for other in (*waited, *later)):
                continue  # implied: that instruction knew of this one's end, or ends with it in one gang
            waited.append(owner)
            instruction.wait |= 1 << owner
            self.queues[owner][index].post |= 1 << engine
        for owner, index in needed.items():
            for other, count in self.queues[owner][index].known.items():
                known[other] = max(count, known.get(other, 0))
        instruction.known = known

    def rows(self) -> dict[int, NDArray[np.uint8]]:
        """Queues: uint8 [instructions + 1, INSTRUCTION_BYTES], ended by HALT. Puts the parts that are loaded later into DRAM.

        Raises ArchsimError when a queue is longer than the chip's program memory and that cannot be refilled.
        """
        result, rows = {}, self.chip.queue_rows
        for engine, queue in self.queues.items():
            if len(queue) + 1 > rows and not sequencer.is_refillable(rows):
                raise ArchsimError(
                    f"program: the queue of {sequencer.engine_name(engine)} needs {len(queue) + 1} rows, but queue_rows is "
                    f"{rows}, which is not refilled (even and {sequencer.LEAST_REFILLED} or more would be); use a chip with longer "
                    "queues or larger buffers"
                )
            words = [sequencer.encode(entry.opcode, entry.fields, entry.wait, entry.post) for entry in queue]
            words.append(sequencer.encode(sequencer.HALT, {}))
            data = np.frombuffer(b"".join(words), np.uint8)
            result[engine] = data.reshape(len(words), sequencer.INSTRUCTION_BYTES).copy()
            for number, part in enumerate(self._parts[engine]):
                later = result[engine][(number + 2) * (rows // 2) :][: len(part)]
                part[: len(later), : sequencer.INSTRUCTION_BYTES] = later
        return result

    def notes(self) -> dict[str, list[dict[str, Any]]]:
        """Notes per engine and instruction, for ``Program.notes``."""
        return {str(engine): [entry.note for entry in queue] for engine, queue in self.queues.items()}
