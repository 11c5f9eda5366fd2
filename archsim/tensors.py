"""Outputs of instructions as tensors: captured from a run, or given to it by a trace.

A spike map is canonical as bool [T, positions, channels]; on a chip it is words uint64 [positions, slices, channel words, L].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.spike_writer import pooled_size
from archsim.results import Recording
from archsim.units.experts import EXPERT, KEPT
from archsim.units.sram import AttentionMemory, CoreMemory


def to_words(chip: ChipParams, spikes: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Spikes bool [T, positions, channels] as words uint64 [positions, slices, channel words, L]; missing bits are 0."""
    steps, positions, channels = spikes.shape
    lanes, words = chip.lanes_used(steps), -(-channels // chip.columns)
    padded = np.zeros((steps, positions, words * chip.columns), np.bool_)
    padded[:, :, :channels] = spikes
    bits = padded.reshape(steps // lanes, lanes, positions, words, chip.columns).transpose(2, 0, 3, 1, 4)
    wide = np.zeros((*bits.shape[:4], 64), np.bool_)
    wide[..., : chip.columns] = bits
    packed = np.packbits(wide, axis=-1, bitorder="little").view("<u8")[..., 0]
    result = np.zeros((positions, steps // lanes, words, chip.lanes), np.uint64)
    result[..., :lanes] = packed
    return result


def from_words(chip: ChipParams, words: NDArray[np.uint64], steps: int, channels: int) -> NDArray[np.bool_]:
    """The inverse of :func:`to_words`: bool [T, positions, channels]."""
    lanes = chip.lanes_used(steps)
    positions, slices, count, _ = words.shape
    data = np.ascontiguousarray(words[..., :lanes])[..., None].view(np.uint8)
    bits = np.unpackbits(data, axis=-1, bitorder="little")[..., : chip.columns]
    spikes = bits.transpose(1, 3, 0, 2, 4).reshape(slices * lanes, positions, count * chip.columns)
    return spikes[:, :, :channels].astype(np.bool_)


@dataclass
class Capture:
    """Collects the outputs of a run, or replays those of a trace.

    Attributes:
        chip: the chip.
        notes: ``Program.notes``: ``tensors`` gives the shape of each map, ``instructions`` the place of each output.
        trace: words per tensor to replay (trace mode), or None (execute mode).
        potentials: whether to record membrane inputs and potentials.
        rows: uint64 [rows, L], the words of all tensors, one behind the other: those of a trace, and 0 where they will be computed.
        loads: per layer of experts, int64 [experts, 2]: choices of each expert, and of these those that found room.
        inputs, levels: per layer, membrane inputs and potentials, int32 [T, positions before the pool, channels].
    """

    chip: ChipParams
    notes: Mapping[str, Any]
    trace: Mapping[str, NDArray[np.uint64]] | None = None
    potentials: bool = False
    loads: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    inputs: dict[str, NDArray[np.int32]] = field(default_factory=dict)
    levels: dict[str, NDArray[np.int32]] = field(default_factory=dict)
    rows: NDArray[np.uint64] = field(init=False)

    def __post_init__(self) -> None:
        """Make room, and copy the trace."""
        shapes = self.notes["tensors"].values()
        count = sum(shape["positions"] * shape["slices"] * shape["words"] for shape in shapes)
        self.rows = np.zeros((count, self.chip.lanes), np.uint64)
        for name, words in (self.trace or {}).items():
            if name in self.words:
                self.words[name][:] = words

    @cached_property
    def words(self) -> dict[str, NDArray[np.uint64]]:
        """Per tensor, the words that were stored, uint64 [positions, slices, words, L]; views of the rows."""
        found, first = {}, 0
        for name, shape in self.notes["tensors"].items():
            size = shape["positions"], shape["slices"], shape["words"], self.chip.lanes
            last = first + prod(size[:3])
            found[name] = self.rows[first:last].reshape(size)
            first = last
        return found

    @property
    def trace_rows(self) -> NDArray[np.uint64]:
        """The trace of all maps, one behind the other; none in execute mode."""
        return self.rows[:0] if self.trace is None else self.rows

    def _note(self, engine: int, index: int) -> dict[str, Any]:
        return self.notes["instructions"][str(engine)][index]

    def layer(self, engine: int, index: int) -> int:
        """Layer number of an instruction."""
        return int(self._note(engine, index)["layer"])

    def reads_membranes(self, engine: int, index: int) -> bool:
        """Whether what neurons of experts read follows from an instruction's sums, which a trace then does not replace."""
        return self.layer(engine, index) in self.notes.get("membranes", ())

    def replay(self, places: Sequence[tuple[int, int]]) -> list[NDArray[np.uint64]] | None:
        """Rows that the instructions at ``places`` (engine, index) store in trace mode; None in execute mode.

        A map that the instruction does not write comes as one row of zeros, which is never stored. What the layers of experts
        compute is never replayed, since what their slots hold follows from the scores: it comes as no row, so it is computed.
        Membranes of a stream that experts read are computed beside what is replayed (:meth:`reads_membranes`).
        """
        if self.trace is None:
            return None
        traces = []
        for engine, index in places:
            note = self._note(engine, index)
            rows = np.zeros((0 if note.get("computed") else 1, self.chip.lanes), np.uint64)
            if len(rows) and note.get("tensor"):
                words = self.trace[note["tensor"]][stored_positions(note)]
                rows = words[:, :, note["word"] : note["word"] + note["words"]].reshape(-1, self.chip.lanes)
            traces.append(np.ascontiguousarray(rows))
        return traces

    def _store(self, note: Mapping[str, Any], rows: NDArray[np.uint64]) -> None:
        """Keep rows [positions, slices, words, L] of a tensor."""
        self.words[note["tensor"]][stored_positions(note), :, note["word"] : note["word"] + note["words"]] = rows

    def synapse(
        self,
        places: Sequence[tuple[int, int]],
        head: Mapping[str, int],
        memories: Sequence[CoreMemory],
        recordings: Sequence[Recording],
    ) -> None:
        """Take the outputs of a SYNAPSE instruction."""  # fmt: skip
        for (engine, index), memory in zip(places, memories, strict=True):
            note = self._note(engine, index)
            if head["spike_out"]:
                slices = self.words[note["tensor"]].shape[1]
                rows = head["out_base"] + np.arange(note["positions"])[:, None] * head["out_position"]
                rows = rows + np.arange(slices) * head["out_slice"]
                self._store(note, memory.spike_out[head["out_bank"]][rows][:, :, None])
        for (engine, index), recording in zip(places, recordings, strict=False):
            if not head["psum_out"] and "recording" in self._note(engine, index):
                self._record(self._note(engine, index), recording)

    def _record(self, note: Mapping[str, Any], recording: Recording, channel: int = 0) -> None:
        """Keep a recording [positions, steps, columns] from a channel of a layer's word on; an empty one was not asked for."""
        if not self.potentials:
            return
        shape = self.notes["recordings"][note["recording"]]
        for store, values in ((self.inputs, recording.inputs), (self.levels, recording.potentials)):
            whole = (shape["steps"], shape["positions"], shape["words"] * self.chip.columns)
            array = store.setdefault(note["recording"], np.zeros(whole, np.int32))
            columns, pitch = note.get("input_columns", 0), note.get("input_pitch", 0)
            places = raster(note["input_position"], len(values), columns, pitch)
            column = note["word"] * self.chip.columns + channel
            array[:, places, column : column + values.shape[2]] = values.transpose(1, 0, 2)

    def choose(self, engine: int, index: int, head: Mapping[str, int], routes: NDArray[np.int64]) -> None:
        """Take the choices of a TOPK instruction, rows of a route table [choices, columns]."""
        load = self.loads.setdefault(self.layer(engine, index), np.zeros((head["experts"], 2), np.int64))
        np.add.at(load, routes[:, EXPERT], np.stack([np.ones(len(routes), np.int64), routes[:, KEPT]], 1))

    def planes(self, engine: int, index: int, head: Mapping[str, int], memory: CoreMemory) -> None:
        """Take the outputs of a PLANES instruction."""
        rows = memory.spike_out[head["out_bank"]][head["out_base"] : head["out_base"] + head["planes"]]
        self._store(self._note(engine, index), rows[None, :, None])

    def attend(
        self, engine: int, index: int, head: Mapping[str, int], memory: AttentionMemory, recording: Recording
    ) -> None:
        """Take the outputs of an ATTEND instruction."""
        if head["opcode"] == sequencer.ATTEND_KV:
            return
        note = self._note(engine, index)
        slices = head["steps"] // head["lanes"]
        rows = np.arange(head["tile"] * slices)[:, None] * head["out_words"] + np.arange(head["words"])
        rows = (rows + head["out_base"] + head["first_word"]).reshape(head["tile"], slices, head["words"])
        self._store(note, memory.out[head["out_bank"]][rows])
        self._record(note, recording, head.get("channel", 0))


def raster(first: int, count: int, columns: int, pitch: int) -> NDArray[np.int64]:
    """``count`` positions from ``first`` on: ``columns`` of each row of a map of ``pitch`` columns, or one behind the other (0)."""
    number = np.arange(count)
    return first + (number // columns * pitch + number % columns if columns else number)


def stored_positions(note: Mapping[str, Any]) -> NDArray[np.int64]:
    """Positions of its tensor that an instruction writes."""
    return raster(note["position"], note["positions"], note.get("columns", 0), note.get("pitch", 0))


def synapse_positions(head: Mapping[str, int]) -> int:
    """Output positions of a SYNAPSE instruction, after the pool."""
    if not head["pool"]:
        return head["out_height"] * head["out_width"]
    sizes = (head["out_height"], head["pool_first_odd"]), (head["out_width"], head["pool_left_odd"])
    return pooled_size(*sizes[0]) * pooled_size(*sizes[1])
