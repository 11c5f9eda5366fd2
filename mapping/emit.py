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


@dataclass(slots=True)
class Instruction:
    """An instruction with its semaphores and its note.

    Attributes:
        opcode: of the sequencer's.
        word: its fields as the row of a program memory, without semaphores: a program has up to a million of them.
        note: for ``Program.notes``; those that say no more than the layer are one object.
        wait, post: masks of engines.
        known: the clock at its end; empty once nobody can ask for it.
        owned: banks that it is the last to have touched.
    """

    opcode: int
    word: int
    note: Mapping[str, Any]
    wait: int = 0
    post: int = 0
    known: Clock = field(default_factory=dict)
    owned: int = 0

    @property
    def fields(self) -> dict[str, int]:
        """Its fields."""
        word = self.word.to_bytes(sequencer.INSTRUCTION_BYTES, "little")
        return {name: value for name, value in sequencer.decode(word).items() if name not in ("opcode", "wait", "post")}

    def row(self) -> bytes:
        """Its row of a program memory."""
        header = int.from_bytes(sequencer.encode(self.opcode, {}, self.wait, self.post), "little")
        return (self.word | header).to_bytes(sequencer.INSTRUCTION_BYTES, "little")


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
    _layers: dict[int, Mapping[str, Any]] = field(default_factory=dict)
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
            own = {**fields, **note.get("fields", {})}
            word = int.from_bytes(sequencer.encode(opcode, own), "little")
            instruction, touched = Instruction(opcode, word, self._noted(note)), self._banks(engine, {"opcode": opcode, **own})
            self._wait(engine, instruction, touched)
            for other, count in instruction.known.items():
                merged[other] = max(count, merged.get(other, 0))
            added.append((engine, instruction, touched))
        for engine, *_ in added:
            merged[engine] = len(self.queues[engine]) + 1
        for engine, instruction, touched in added:
            instruction.known = merged
            self._take(engine, instruction, touched)

    def _noted(self, note: Mapping[str, Any]) -> Mapping[str, Any]:
        """A note without fields of the instruction."""
        rest = {name: value for name, value in note.items() if name != "fields"}
        return self._layers.setdefault(rest["layer"], rest) if rest.keys() == {"layer"} else rest

    def _take(self, engine: int, instruction: Instruction, touched: Sequence[Bank]) -> None:
        """Append an instruction to its queue; its banks are its own, and of those before it nobody asks for what they knew."""
        queue, place = self.queues[engine], (engine, len(self.queues[engine]))
        for bank in touched:
            if bank in self._owners:
                owner, index = self._owners[bank]
                last = self.queues[owner][index] if (owner, index) != place else instruction
                last.owned -= 1
                if not last.owned and index < len(self.queues[owner]) - 1:
                    last.known = {}
            self._owners[bank] = place
            instruction.owned += 1
        if queue and not queue[-1].owned:
            queue[-1].known = {}
        queue.append(instruction)

    def _refill(self, engine: int, note: Mapping[str, Any]) -> None:
        """Emit the LOAD of the next part of a queue when the queue has come near it; ``note`` of the instruction that comes."""
        half, parts = self.chip.queue_rows // 2, self._parts[engine]
        number = len(parts) + 2  # the first two parts are there from the start
        if not sequencer.is_refillable(self.chip.queue_rows) or len(self.queues[engine]) < number * half - half // 2:
            return
        address = self.dram.add(np.zeros((half, sequencer.INSTRUCTION_BYTES), np.uint8))
        fields = {
            "dram_address": address, "memory": dma.PROGRAM, "cores": engine,
            "bank": number % 2, "row": 0, "rows": half, "row_bytes": sequencer.INSTRUCTION_BYTES,
        }  # fmt: skip
        parts.append(self.dram.parts[-1][1].reshape(half, -1))
        self.emit([sequencer.DMA], sequencer.LOAD, fields, [{"layer": note["layer"]}])

    def _banks(self, engine: int, head: Mapping[str, int]) -> list[Bank]:
        """What the next instruction of an engine touches."""
        return [*banks(engine, head), fetched_half(engine, len(self.queues[engine]), self.chip.queue_rows)]

    def _wait(self, engine: int, instruction: Instruction, touched: Sequence[Bank]) -> None:
        """Set the semaphores that ``instruction`` waits for, and what it knows at its start."""
        queue = self.queues[engine]
        known = dict(queue[-1].known) if queue else {}
        needed: dict[int, int] = {}
        for bank in touched:
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
            words = [entry.row() for entry in queue]
            words.append(sequencer.encode(sequencer.HALT, {}))
            data = np.frombuffer(b"".join(words), np.uint8)
            result[engine] = data.reshape(len(words), sequencer.INSTRUCTION_BYTES).copy()
            for number, part in enumerate(self._parts[engine]):
                later = result[engine][(number + 2) * (rows // 2) :][: len(part)]
                part[: len(later), : sequencer.INSTRUCTION_BYTES] = later
        return result

    def notes(self) -> dict[str, list[Mapping[str, Any]]]:
        """Notes per engine and instruction, for ``Program.notes``."""
        return {str(engine): [entry.note for entry in queue] for engine, queue in self.queues.items()}
