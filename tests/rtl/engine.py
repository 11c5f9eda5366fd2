"""Test support: an engine with its queue in Verilog, run on a program.

An :class:`Engine` says how its memories are written before a run and read after it.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from amaranth.lib.wiring import Component

from archsim.contracts.common.chip import ChipParams
from rtl.build import simulation_ports, verilog
from rtl.verilator import build, write_whole
from rtl.verilator_library import Library
from tests.rtl import replay
from tests.rtl.queue_run import Posts, QueueRun, contents_difference, events_of, times_difference

BUILD = Path(__file__).parents[2] / "build" / "rtl"

CHUNK = 4096
"""Cycles between two looks at ``halted``."""

LIMIT = 1 << 20
"""Cycles after which a run is ended where nothing else is said; what did not happen by then differs from what was to."""

Values = Mapping[str, np.ndarray | int]


class Design(NamedTuple):
    """Verilog, its top module, and its ports but the clock, (name, width) each."""

    path: Path
    top: str
    inputs: list[tuple[str, int]]
    outputs: list[tuple[str, int]]


class Outputs(NamedTuple):
    """Outputs by name over the cycles of the program, and over those of the dump; seconds that the program took."""

    run: dict[str, np.ndarray]
    dump: dict[str, np.ndarray]
    seconds: float = 0.0


@dataclass(frozen=True)
class Engine:
    """An engine with its queue.

    Attributes:
        name: name of the top module.
        make: the hardware of a chip; has the ports of :class:`~rtl.units.sequencer.Sequencer` that are not the engine's, and
            ``start`` and ``done``.
        preload: inputs that write the memories, a row a cycle, from (chip, queue, memory).
        dump: inputs that read what the engine writes, from (chip).
        retired: the memory after a run, from (chip, memory before, outputs over the cycles of ``dump``).
        contents: the arrays of a memory that are compared, by name.
    """

    name: str
    make: Callable[[ChipParams], Component]
    preload: Callable[[ChipParams, np.ndarray, Any], Values]
    dump: Callable[[ChipParams], Values]
    retired: Callable[[ChipParams, Any, Mapping[str, np.ndarray]], Any]
    contents: Callable[[Any], dict[str, np.ndarray]]

    def design(self, chip: ChipParams, make: Callable[[ChipParams], Component] | None = None) -> Design:
        """The Verilog in the build folder; ``make`` makes other hardware."""
        return _design(self.name, make or self.make, chip)

    def library(self, chip: ChipParams, make: Callable[[ChipParams], Component] | None = None) -> Library:
        """The Verilator library, built once per content."""
        return _library(self.name, make or self.make, chip)

    def run(
        self,
        chip: ChipParams,
        queue: np.ndarray,
        memory: Any,
        posts: Posts = (),
        library: Library | None = None,
    ) -> QueueRun:
        """Run a queue on the Verilog.

        Args:
            chip: the chip.
            queue: instructions, uint8 [rows, INSTRUCTION_BYTES], ended by HALT.
            memory: the memories before the run; not changed.
            posts: posts of other engines.
            library: the built engine, if it is another one than that of ``chip``.
        """
        return self.observed(chip, memory, self.outputs(chip, queue, memory, posts, library))

    def outputs(
        self,
        chip: ChipParams,
        queue: np.ndarray,
        memory: Any,
        posts: Posts = (),
        library: Library | None = None,
        traces: Mapping[str, np.ndarray] | None = None,
        limit: int = LIMIT,
    ) -> Outputs:
        """As :meth:`run`; returns the outputs.

        ``traces``: other inputs by cycle of the program; they keep their last value. ``limit``: cycles at most.
        """
        library, load, dump = library or self.library(chip), self.preload(chip, queue, memory), self.dump(chip)
        return run_queue(library, load, dump, posts, traces or {}, limit)

    def observed(self, chip: ChipParams, memory: Any, outputs: Outputs) -> QueueRun:
        """What was seen."""
        return QueueRun(*events_of(outputs.run), self.retired(chip, deepcopy(memory), outputs.dump))

    def difference(self, expected: QueueRun, found: QueueRun) -> str:
        """The first difference of two runs, empty if there is none: instruction times, posts, then memories row by row."""
        return times_difference(expected, found) or contents_difference(
            self.contents(expected.memory), self.contents(found.memory)
        )

    def on_cocotb(
        self,
        chip: ChipParams,
        queue: np.ndarray,
        memory: Any,
        posts: Posts,
        cycles: int,
        folder: Path,
        simulator: Literal["icarus", "verilator"] = "icarus",
        traces: Mapping[str, np.ndarray] | None = None,
        every: bool = True,
    ) -> Outputs:
        """The outputs of ``cycles`` cycles through cocotb, in ``folder``, which also looks for X (see ``replay.on_cocotb``)."""
        design = self.design(chip)
        load, dump = self.preload(chip, queue, memory), self.dump(chip)
        stimulus, parts = whole_run(design.inputs, load, dump, posts, cycles, traces)
        outputs = replay.on_cocotb(design.path, design.top, stimulus, folder, design.outputs, simulator, every)
        return Outputs(*({name: values[parts[part]] for name, values in outputs.items()} for part in ("run", "dump")))


@cache
def _design(name: str, make: Callable[[ChipParams], Component], chip: ChipParams) -> Design:
    component = make(chip)
    text = verilog(component, name)
    path = BUILD / f"{name}_{hashlib.sha256(text.encode()).hexdigest()[:16]}.v"
    write_whole(path, text)
    return Design(path, name, *simulation_ports(component))


@cache
def _library(name: str, make: Callable[[ChipParams], Component], chip: ChipParams) -> Library:
    design = _design(name, make, chip)
    return build(design.path, name, design.inputs, design.outputs, BUILD.parent / "verilated")


# ------------------------------------------------------------------------------ the Verilog


def run_queue(
    library: Library, load: Values, dump: Values, posts: Posts, traces: Mapping[str, np.ndarray], limit: int
) -> Outputs:
    """Reset an engine with its queue under ``load``, run it until it halts or ``limit`` is over, then drive ``dump``.

    ``posted`` is the input for the posts. Engines that have several queues have several inputs ``posted...``, ``go...`` and
    outputs ``halted...``; then ``traces`` holds their posts, and ``posts`` is empty.
    """
    idle = dict.fromkeys(library.inputs, 0) | ({"go": 1} if "go" in library.inputs else {})
    halted = [name for name in library.outputs if name.startswith("halted")]
    library.run(idle | {"rst": 1} | load)
    if "posted" in library.inputs:
        traces = {"posted": posted(posts)} | traces
    seen: dict[str, list[np.ndarray]] = {name: [] for name in library.outputs if not _answers(name)}
    begin = time.perf_counter()
    for first in range(0, limit, CHUNK):
        chunk = {name: _chunk(name, values, first) for name, values in traces.items()}
        out = library.run(idle | chunk, None if chunk else CHUNK, resume=True)
        for name, parts in seen.items():
            parts.append(out[name].copy())
        if all(out[name][-1] for name in halted):
            break
    seconds = time.perf_counter() - begin
    run = {name: np.concatenate(parts) for name, parts in seen.items()}
    return Outputs(run, library.run(idle | dump, resume=True), seconds)


def posted(posts: Posts) -> np.ndarray:
    """Masks of engines by cycle, up to the last post."""
    posts = list(posts)
    masks = np.zeros(max((cycle for cycle, _ in posts), default=-1) + 2, np.uint64)
    for cycle, engine in posts:
        assert not int(masks[cycle]) >> engine & 1, f"engine {engine} posts twice in cycle {cycle}"
        masks[cycle] |= np.uint64(1 << engine)
    return masks


def _answers(name: str) -> bool:
    """Whether an output is data of a read port: wide, and without meaning while a program runs."""
    return name.endswith("data") and ("read" in name or "dump" in name)


def _chunk(name: str, values: np.ndarray, first: int) -> np.ndarray:
    """The cycles of a chunk; behind the last one ``values`` keep their value, posts end."""
    part = values[first : first + CHUNK]
    missing = CHUNK - len(part)
    last = np.zeros_like(values[-1:]) if name.startswith("posted") else values[-1:]
    return np.concatenate([part, np.repeat(last, missing, axis=0)]) if missing else part


def whole_run(
    ports: list[tuple[str, int]],
    load: Values,
    dump: Values,
    posts: Posts,
    cycles: int,
    traces: Mapping[str, np.ndarray] | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, slice]]:
    """Every input in every cycle of a whole run, for a bench that cannot look at ``halted``.

    Returns the inputs, uint64 [cycles, words], and the parts of the run: ``reset``, ``preload``, ``run`` (``cycles`` of
    them), ``dump``.
    """
    names = {name for name, _ in ports}
    run = {"posted": posted(posts)} if "posted" in names else {}
    run = {name: _stretched(name, values, cycles) for name, values in (run | dict(traces or {})).items()}
    run["rst"] = np.zeros(cycles, np.uint8)
    phases = {"reset": {"rst": np.ones(2)}, "preload": {"rst": 1} | dict(load), "run": run, "dump": dict(dump)}
    return replay.stimulus(ports, phases, {"go": 1} if "go" in names else {})


def _stretched(name: str, values: np.ndarray, cycles: int) -> np.ndarray:
    return np.concatenate([_chunk(name, values, first) for first in range(0, cycles, CHUNK)])[:cycles]
