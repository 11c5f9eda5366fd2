"""The Verilog of a system as a machine: built once per chip and source, loaded with a program, run to its end."""

import ctypes
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import archsim.contracts
import rtl
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.ownership import Bank
from archsim.contracts.common.program import Program
from archsim.contracts.sequencer import slot
from cosim import observer, recorder
from cosim.banks import chip_banks, path
from cosim.expected import Access, Plan
from rtl.build import TOOLS, verilog
from rtl.chip import program_layout
from rtl.system import System
from rtl.verilator import build, once, write_whole
from rtl.verilator_library import Library

LATENCIES = 4096
"""Latencies of DRAM that a system holds."""

LEAST_BEATS = 1 << 16
"""Beats of the smallest DRAM: enough for every small network, so that they share a chip's system."""

TOP = "system"

RESET_CYCLES = 2

LEAD, TAIL = 500, 20
"""Cycles of a waveform before and behind the one that it is about."""


@dataclass(frozen=True)
class Found:
    """What the Verilog did.

    Attributes:
        cycles: cycle in which the last instruction ended.
        times: start and end of each instruction of the plan, int64 [instructions, 2]; -1 where there was none.
        content: contents of each instruction's banks at its end, as the plan places them, uint8.
        dram: DRAM at the end, uint8.
        dram_bytes: bytes moved between DRAM and the chip.
        accesses: reads and writes of every memory, in cycles.
        issued: instructions begun and ended, of each engine, int64 [engines, 2].
        halted: whether every queue came to its end.
        run: cycles that were run, the reset left out.
    """

    cycles: int
    times: NDArray[np.int64]
    content: NDArray[np.uint8]
    dram: NDArray[np.uint8]
    dram_bytes: int
    accesses: dict[Access, list[int]]
    issued: NDArray[np.int64]
    halted: bool
    run: int


class Machine:
    """A system of a chip and DRAM of at least ``dram_bytes``; built, or taken from ``folder`` if nothing has changed.

    Args:
        chip: the chip.
        dram_bytes: bytes of DRAM that the program needs.
        folder: where Verilog and libraries are kept.
        text: the system's Verilog, if it is not what ``rtl.system`` writes.
        trace: for :meth:`wave`, and slower.
        large: built in less time, and slower.
        pins: what :meth:`record` keeps, found in the system's Verilog.
    """

    def __init__(
        self,
        chip: ChipParams,
        dram_bytes: int,
        folder: Path,
        text: str | None = None,
        trace: bool = False,
        large: bool = False,
        pins: Sequence[recorder.Pin] = (),
    ) -> None:
        self.chip, self.pins = chip, pins
        self.file = written(chip, dram_bytes, folder, text)
        text = self.file.read_text()
        self.memories = observer.memories(text)
        self._number = {memory.path: number for number, memory in enumerate(self.memories) if memory.sram}
        self.library: Library = build(
            self.file, TOP, *observer.ports(text, TOP), folder, control=observer.CONTROL + recorder.control(pins), trace=trace,
            extension=observer.source(self.memories, trace) + recorder.source(pins), large=large,
        )  # fmt: skip
        self._functions = ctypes.CDLL(str(self.library.path))
        self._functions.archsim_observe.restype = ctypes.c_int64
        if pins:
            self._functions.archsim_record.restype = ctypes.c_int64

    def row_bytes(self) -> dict[Bank, int]:
        """Bytes of a row of each bank, as contents are kept."""
        return {bank: self.memories[self._number[path(bank)]].row_bytes for bank in chip_banks(self.chip)}

    def bank_bytes(self) -> dict[Bank, int]:
        """Bytes of each bank."""
        return {bank: self.memories[self._number[path(bank)]].bytes for bank in chip_banks(self.chip)}

    def run(
        self,
        plan: Plan,
        program: Program,
        dram: NDArray[np.uint8],
        latencies: Sequence[int] | None,
        limit: int,
        start: Mapping[Bank, NDArray[np.uint8]] | None = None,
    ) -> Found:
        """Run a program from the reset to the end of every queue, or for ``limit`` cycles.

        ``start``: rows that banks hold before, as contents are kept; the others hold 0. The other arguments are those of
        :func:`cosim.expected.simulate`. Raises ArchsimError when an assertion in the Verilog fails.
        """
        taken = [self.chip.dram_latency_cycles] if latencies is None else latencies
        views = self._load(program, dram, taken)
        for bank, held in (start or {}).items():
            views[self._number[path(bank)]][:] = held
        content_first = np.cumsum([0, *(len(entry) for entry in plan.banks)])
        numbers = np.array([self._number[path(bank)] for entry in plan.banks for bank in entry])
        times, content = np.full((len(plan.places), 2), -1), np.zeros(plan.at[-1], np.uint8)
        counts, issued = (np.zeros((length, 2), np.int64) for length in (len(views), plan.engines))
        beats = np.zeros(1, np.int64)
        arrays = (
            self._row(len(taken)), plan.engines, plan.first, content_first, numbers, plan.at, times, content, counts, beats,
            issued,
        )  # fmt: skip
        cycles = self._functions.archsim_observe(
            ctypes.c_void_p(self.library.entry[1]), ctypes.c_int64(limit),
            *(ctypes.c_int64(array) if isinstance(array, int) else ctypes.c_void_p(array.ctypes.data) for array in arrays),
        )  # fmt: skip
        if cycles < 0:
            raise AssertionError(f"an assertion of the Verilog failed in cycle {-1 - cycles}")
        at_end = views[self._dram()][:, : self.chip.dram_bus_bytes].reshape(-1)[: len(dram)].copy()
        return Found(
            int(times[:, 1].max(initial=-1)), times, content, at_end, int(beats[0]) * self.chip.dram_bus_bytes,
            self._accesses(counts), issued, cycles < limit, cycles,
        )  # fmt: skip

    def record(self, program: Program, dram: NDArray[np.uint8], limit: int) -> NDArray[np.uint8]:
        """The machine's pins from the first cycle after the reset to that of the halt, as `cosim.recorder` has them.

        Returns uint8 [cycles, bytes]. DRAM has the chip's latency. Raises AssertionError when the program does not halt within
        ``limit`` cycles, or an assertion of the Verilog fails.
        """
        self._load(program, dram, [self.chip.dram_latency_cycles])
        rows = np.zeros((limit, recorder.row_bytes(self.pins)), np.uint8)
        cycles = self._functions.archsim_record(
            ctypes.c_void_p(self.library.entry[1]), ctypes.c_int64(limit), ctypes.c_void_p(self._row(1).ctypes.data),
            ctypes.c_void_p(rows.ctypes.data),
        )  # fmt: skip
        if not 0 < cycles < limit:
            raise AssertionError(f"the Verilog did not halt within {limit} cycles, or an assertion failed ({cycles})")
        return rows[:cycles]

    def wave(
        self, program: Program, dram: NDArray[np.uint8], latencies: Sequence[int] | None, cycle: int, file: Path
    ) -> None:
        """Run to shortly behind ``cycle`` and write a waveform (VCD) that begins shortly before it, if built with ``trace``."""
        taken = [self.chip.dram_latency_cycles] if latencies is None else latencies
        self._load(program, dram, taken)
        file.parent.mkdir(parents=True, exist_ok=True)
        self._functions.archsim_trace(
            ctypes.c_void_p(self.library.entry[1]), ctypes.c_void_p(self._row(len(taken)).ctypes.data),
            ctypes.c_int64(max(0, cycle - LEAD)), ctypes.c_int64(cycle + TAIL), str(file).encode(),
        )  # fmt: skip

    def _load(self, program: Program, dram: NDArray[np.uint8], latencies: Sequence[int]) -> list[NDArray[np.uint8]]:
        """Reset with the program on its port, then write DRAM into the model; returns its memories, uint8 [rows, bytes]."""
        idle = dict.fromkeys(self.library.inputs, 0) | {"rst": 1}
        self.library.run(idle, RESET_CYCLES)
        self.library.run(idle | self._program(program), resume=True)
        table = np.zeros((len(self.memories), 3), np.int64)
        self._functions.archsim_memories(ctypes.c_void_p(self.library.entry[1]), ctypes.c_void_p(table.ctypes.data))
        views = []
        for memory, (address, size, row) in zip(self.memories, table.tolist(), strict=True):
            assert (size, row) == (memory.bytes, memory.row_bytes), (
                f"{memory}: Verilator keeps {size} bytes in rows of {row}"
            )
            buffer = (ctypes.c_uint8 * size).from_address(address)
            views.append(np.frombuffer(buffer, np.uint8).reshape(memory.rows, row))
        self._beats(views[self._dram()], dram)
        held = np.array(latencies, np.uint16)
        views[self._dram("latencies")].reshape(-1).view(np.uint16)[: len(held)] = held
        return views

    def _beats(self, view: NDArray[np.uint8], dram: NDArray[np.uint8]) -> None:
        """Write bytes of DRAM into its beats."""
        bus = self.chip.dram_bus_bytes
        padded = np.zeros(-(-len(dram) // bus) * bus, np.uint8)
        padded[: len(dram)] = dram
        view[: len(padded) // bus, :bus] = padded.reshape(-1, bus)

    def _dram(self, name: str = "memory") -> int:
        """Number of a memory of DRAM."""
        return next(
            number for number, memory in enumerate(self.memories) if (memory.path, memory.name) == (f"{TOP}.dram", name)
        )

    def _program(self, program: Program) -> dict[str, NDArray[np.uint64] | int]:
        """Inputs that write every program memory, a row a cycle."""
        layout = program_layout(self.chip)
        words = [
            layout.pack({"engine": slot(engine, self.chip), "row": row, "data": int.from_bytes(entry.tobytes(), "little")})
            for engine, queue in program.queues.items() for row, entry in enumerate(queue[: self.chip.queue_rows])
        ]  # fmt: skip
        size = -(-layout.width // 64) * 8
        payload = np.frombuffer(b"".join(word.to_bytes(size, "little") for word in words), np.uint64)
        return {"program__valid": 1, "program__payload": payload.reshape(len(words), -1)}

    def _row(self, latencies: int) -> NDArray[np.uint64]:
        """Inputs of a cycle of the run."""
        return self.library.packed(dict.fromkeys(self.library.inputs, 0) | {"latencies": latencies}, 1)

    def _accesses(self, counts: NDArray[np.int64]) -> dict[Access, list[int]]:
        """Counts by memory, those of two banks together."""
        found: dict[Access, list[int]] = {}
        for bank in chip_banks(self.chip):
            total = found.setdefault(bank[:3], [0, 0])
            for way, count in enumerate(counts[self._number[path(bank)]].tolist()):
                total[way] += count
        return found


def written(chip: ChipParams, dram_bytes: int, folder: Path, text: str | None = None) -> Path:
    """The file in ``folder`` with a system's Verilog, or with ``text`` in its place; written if it is not there."""
    beats = beats_of(chip, dram_bytes)
    key = _digest(chip, beats) if text is None else hashlib.sha256(text.encode()).hexdigest()[:16]
    file = folder / f"{TOP}_{chip.name}_{key}.v"
    with once(file) as missing:
        if missing:
            write_whole(file, verilog(System(chip, beats, LATENCIES), TOP) if text is None else text)
    return file


def beats_of(chip: ChipParams, dram_bytes: int) -> int:
    """Beats of a system's DRAM that holds so many bytes: a power of two, so that programs of like sizes share a system."""
    return max(LEAST_BEATS, 1 << (-(-dram_bytes // chip.dram_bus_bytes) - 1).bit_length())


def _digest(chip: ChipParams, beats: int) -> str:
    """Short hash of all that the Verilog of a system follows from."""
    digest = hashlib.sha256(json.dumps([asdict(chip), beats, LATENCIES, [version(tool) for tool in TOOLS]]).encode())
    for package in (rtl, archsim.contracts):
        for file in sorted(Path(next(iter(package.__path__))).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
