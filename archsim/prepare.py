"""A program as the compiled driver takes it: tables, one serial order, static times, and tasks for each thread."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import core as core_contract
from archsim.contracts import dma as dma_contract
from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.ownership import Bank, banks, fetched_half
from archsim.execute import PLACE, Tables, Task, Work
from archsim.hazards import needs, touched
from archsim.results import COUNTERS, IDENTITY, Recording
from archsim.timing import Heads, conflict, serial_order
from archsim.units import attention, core, dma, multicast

KINDS = {
    sequencer.LOAD: 0, sequencer.STORE: 0, sequencer.COPY: 1, sequencer.SYNAPSE: 2, sequencer.PLANES: 3,
    sequencer.ATTEND_KV: 4, sequencer.ATTEND_Q: 4, sequencer.ATTEND_SCORES: 4, sequencer.ATTEND_GATE: 4,
    sequencer.ATTEND_SOFTMAX: 4, sequencer.TRANSPOSE: 1, sequencer.MASK: 1,
}  # fmt: skip
"""Table of each opcode that the compiled driver runs."""

FIELDS = (
    dma_contract.TRANSFER_FIELDS, multicast.FIELDS, core_contract.SYNAPSE_FIELDS,
    core_contract.PLANES_FIELDS, attention.FIELDS,
)  # fmt: skip
"""Fields of each table."""

THREADS = 2
"""Threads that share the cores of a chip, the lower half and the upper half."""


Instruction = tuple[int, int, dict[str, int]]
"""An instruction of the program: engine, index in its queue, decoded fields."""


class Seat(NamedTuple):
    """What a run writes: counters int64 [rows, COUNTERS], the static ones first (`execute.Run`), and scratch of each thread."""

    counters: NDArray[np.int64]
    work: list[Work]


class Prepared:
    """What does not change from run to run.

    Attributes:
        chip: the chip.
        places: every instruction, queue behind queue.
        heads: their headers.
        order: a serial order, numbers of instructions int64.
        identity: int64 [instructions, 5]: the fields IDENTITY of their records.
        compiled: whether the driver knows all opcodes.
        maps: first row of each map among those of all.
        static: rows int64 [rows, COUNTERS], if compiled: the counters that follow from the fields, each row once.
        rows: int64 [instructions], the row of each.
        own: int64 [instructions], that row or, where spikes add to the counters, one of its own behind them all.
    """

    def __init__(
        self, chip: ChipParams, queues: Mapping[int, Sequence[dict[str, int]]], notes: Mapping[str, Any]
    ) -> None:
        self.chip = chip
        self.places = [
            (engine, index, fields)
            for engine in range(max(queues) + 1)
            for index, fields in enumerate(queues.get(engine, ()))
        ]
        self.heads = _heads(self.places, max(queues) + 1)
        self.order, following = serial_order(self.heads)
        if -1 in self.order:
            stuck = [engine for engine in queues if following[engine] < self.heads.first[engine + 1]]
            places = ", ".join(
                f"{sequencer.engine_name(e)} at instruction {following[e] - self.heads.first[e]}" for e in stuck
            )
            raise ArchsimError(f"program: deadlock, these queues wait for semaphores that nobody posts: {places}")
        self.notes = [notes["instructions"][str(engine)][index] for engine, index, _ in self.places]
        self.identity = self._identity()
        self.compiled = all(fields["opcode"] in KINDS for _, _, fields in self.places)
        self.owned = _owned(self.places, chip.queue_rows)
        self.maps = _maps(notes)
        if self.compiled:
            self._compile(notes)

    def _identity(self) -> NDArray[np.int64]:
        """The first fields of each instruction's record."""
        rows = np.zeros((len(self.places), len(IDENTITY)), np.int64)
        for row, (engine, index, fields), note in zip(rows, self.places, self.notes, strict=True):
            own = 1 << (engine - sequencer.CORE0) if sequencer.is_core(engine) else 0
            cores = fields["gang"] if fields["opcode"] == sequencer.SYNAPSE else own
            row[:] = engine, index, fields["opcode"], note["layer"], cores
        return rows

    def conflicts(self, records: NDArray[np.void]) -> bool:
        """Whether two instructions of a run owned one bank at the same time."""
        return bool(conflict(records.view(np.int64).reshape(len(records), -1), self.heads.first, *self.owned))

    def _compile(self, notes: Mapping[str, Any]) -> None:
        chip, kinds = self.chip, [KINDS[fields["opcode"]] for _, _, fields in self.places]
        self.entries = np.zeros(len(kinds), np.int64)
        tables = []
        for kind, fields in enumerate(FIELDS):
            chosen = [number for number, other in enumerate(kinds) if other == kind]
            self.entries[chosen] = np.arange(len(chosen))
            heads = [self.places[number][2] for number in chosen]
            heads = [multicast.completed(head) for head in heads] if kind == 1 else heads
            heads = [attention.completed(head, chip) for head in heads] if kind == 4 else heads
            names = [field.name for field in fields]
            dtype = np.dtype([(name, np.int64) for name in names])
            tables.append(np.array([tuple(head[name] for name in names) for head in heads], dtype))
        written = np.zeros(len(kinds), PLACE)
        for number, ((_, _, head), note) in enumerate(zip(self.places, self.notes, strict=True)):
            if note.get("tensor"):
                written[number] = _place(head, note, notes["tensors"], self.maps[note["tensor"]])
        transfers, copies, synapses, planes, attends = tables
        self.tables = Tables(transfers, copies, synapses, planes, attends, written)
        self.cycles, self.static, self.rows = self._static()
        driven = np.array(kinds) > 1
        self.own = np.where(driven, len(self.static) - 1 + np.cumsum(driven), self.rows)
        self._seats: list[Seat] = []
        self.tasks = {threads: self._tasks(threads) for threads in (1, THREADS)}

    @contextmanager
    def seat(self) -> Iterator["Seat"]:
        """What one run writes besides its memories; a new one if others are in use."""
        try:
            seat = self._seats.pop()
        except IndexError:
            counters = np.zeros((len(self.static) + np.count_nonzero(self.own != self.rows), len(COUNTERS)), np.int64)
            counters[: len(self.static)] = self.static
            seat = Seat(counters, self._scratch())
        try:
            yield seat
        finally:
            self._seats.append(seat)

    def _static(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Cycles of the instructions whose time follows from their fields, 0 of the others; counters likewise, and their rows."""
        cycles, rows = np.zeros((2, len(self.places)), np.int64)
        known: dict[tuple[int, ...], tuple[int, NDArray[np.int64]]] = {}
        numbers: dict[bytes, int] = {}
        for number, (_, _, fields) in enumerate(self.places):
            kind, counters = KINDS[fields["opcode"]], np.zeros(len(COUNTERS), np.int64)
            if kind == 0:
                names = ("opcode", "memory", "bank", "rows", "row_bytes", "cores")
                key = tuple(fields[name] for name in names)
                if key not in known:
                    known[key] = dma.account(fields, self.chip)
                cycles[number], counters = known[key]
            elif kind == 1:
                cycles[number], counters = multicast.account(fields, self.chip)
            elif kind == 2:
                counters = core.account(fields)
            rows[number] = numbers.setdefault(counters.tobytes(), len(numbers))
        return cycles, np.frombuffer(b"".join(numbers), np.int64).reshape(-1, len(COUNTERS)), rows

    def _scratch(self) -> list[Work]:
        """Scratch of each thread, large enough for every instruction."""
        cube, tesseract = np.zeros((0, 0, 0), np.int32), np.zeros((0, 0, 0, 0), np.int32)
        synapses = [fields for _, _, fields in self.places if fields["opcode"] == sequencer.SYNAPSE]
        attends = [fields for _, _, fields in self.places if KINDS[fields["opcode"]] == 4]
        gates = max((head["steps"] * head["words"] for head in attends), default=0)
        written = self.tables.places
        rows = int((written["positions"] * written["slices"] * written["words"]).max(initial=0))
        return [
            Work(
                core.scratch_for(self.chip, synapses, Recording(cube, cube)),
                attention.scratch_for(self.chip, gates, Recording(tesseract, tesseract)),
                np.zeros((rows, self.chip.lanes), np.uint64), np.zeros((0, self.chip.lanes), np.uint64),
            )
            for _ in range(THREADS)
        ]  # fmt: skip

    def _tasks(self, threads: int) -> list[Task]:
        """The tasks of each thread: the cores are shared out, and with them what works on their memories."""
        half = -(-self.chip.cores // threads)
        owned = [((1 << half) - 1) << half * thread for thread in range(threads)]
        columns: list[list[tuple[int, ...]]] = [[] for _ in range(threads)]
        touches = []
        for number in self.order.tolist():
            engine, _, fields = self.places[number]
            cores = _cores(engine, fields)
            for thread in range(threads):
                if cores & owned[thread] or (cores == 0 and thread == threads - 1):
                    opcode = fields["opcode"]
                    columns[thread].append((number, opcode, engine, int(self.entries[number]), cores & owned[thread]))
                    touches.append((thread, touched(engine, fields, cores & owned[thread], self.chip)))
        need = needs(touches, threads)
        tasks = []
        for part, wait in zip(columns, need, strict=True):
            numbers, opcodes, engines, entries, masks = np.array(part, np.int64).reshape(-1, 5).T.copy()
            tasks.append(Task(numbers, opcodes, engines, entries, masks, np.array(wait, np.int64)))
        return tasks


class Queues(dict[int, list[dict[str, int]]]):
    """Decoded instructions per engine, prepared once for the chip and the notes of their program."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies are prepared anew: somebody may change them."""
        return Queues, (), None, None, iter(self.items())

    def prepare(self, chip: ChipParams, notes: Mapping[str, Any]) -> Prepared:
        """The prepared program."""
        kept = getattr(self, "_prepared", None)
        if kept is None or kept[0] != chip or kept[1] is not notes:
            kept = chip, notes, Prepared(chip, self, notes)
            self._prepared = kept
        return kept[2]


def _heads(places: Sequence[Instruction], engines: int) -> Heads:
    rows = [(fields["opcode"], fields.get("gang", 0), fields["wait"], fields["post"]) for _, _, fields in places]
    counts = np.bincount([engine for engine, _, _ in places], minlength=engines)
    opcode, gang, wait, post = np.array(rows, np.int64).reshape(-1, 4).T.copy()
    return Heads(np.cumsum([0, *counts]), opcode, gang, wait, post)


def _owned(places: Sequence[Instruction], queue_rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Banks of every instruction by number: all in one row, where each instruction's begin, and how many banks there are."""
    numbers: dict[Bank, int] = {}
    rows = []
    for engine, index, fields in places:
        owned = *banks(engine, fields), fetched_half(engine, index, queue_rows)
        rows.append([numbers.setdefault(bank, len(numbers)) for bank in owned])
    first = np.cumsum([0, *(len(row) for row in rows)])
    return np.array([bank for row in rows for bank in row], np.int64), first, len(numbers)


def _maps(notes: Mapping[str, Any]) -> dict[str, int]:
    """First row of each map among those of all."""
    shapes = notes["tensors"].values()
    sizes = [shape["positions"] * shape["slices"] * shape["words"] for shape in shapes]
    return dict(zip(notes["tensors"], np.cumsum([0, *sizes])[:-1].tolist(), strict=True))


def _place(fields: Mapping[str, int], note: Mapping[str, Any], tensors: Mapping[str, Any], row: int) -> tuple[int, ...]:
    """PLACE of an instruction that writes a map whose first row is ``row``."""
    opcode, slices = fields["opcode"], tensors[note["tensor"]]["slices"]
    bank = fields["out_base"], fields.get("out_position", 0), fields.get("out_slice", 1)
    if opcode not in (sequencer.SYNAPSE, sequencer.PLANES):
        bank = fields["out_base"] + fields["first_word"], slices * fields["out_words"], fields["out_words"]
    elif opcode == sequencer.SYNAPSE and not fields["spike_out"]:
        return (0,) * len(PLACE.names or ())
    words = tensors[note["tensor"]]["words"]
    return (
        row, note["position"], note.get("columns", 0), note.get("pitch", 0), slices, words, note["word"], note["words"],
        note["positions"], *bank,
    )  # fmt: skip


def _cores(engine: int, fields: Mapping[str, int]) -> int:
    """Mask of the cores whose memories an instruction writes, or (STORE) reads; 0: none, or the attention unit's."""
    if sequencer.is_core(engine):
        return 1 << engine - sequencer.CORE0
    return dma.target_cores(fields) if KINDS[fields["opcode"]] == 0 else fields.get("cores", 0)
