"""Test support: run a queue of instructions on one core in Verilog, and the same on a model of its instructions.

``run_slice`` preloads any :class:`CoreMemory` and any queue, runs the Verilator library and dumps the memories.
``expected_slice`` does the same with a simulator of single instructions and the contract's law of the queue; it never
sees the Verilog.
"""

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from amaranth.lib.wiring import Component

from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.neuron import param_layout
from archsim.units.sram import CoreMemory
from rtl.build import simulation_ports, verilog
from rtl.units.core import Core
from rtl.verilator import build
from rtl.verilator_library import Library
from tests.rtl import replay
from tests.rtl.rows import bits, integers, load_inputs

BUILD = Path(__file__).parents[2] / "build" / "rtl"

CHUNK = 4096
"""Cycles between two looks at ``halted``."""

Model = Callable[[Mapping[str, int], ChipParams, CoreMemory], int]
"""A model of a core's instructions: changes the memory, returns the cycles from start to end."""


class SliceRun(NamedTuple):
    """What a queue did: cycles (start, end) per instruction, (cycle, engines) of each post, memories afterwards."""

    times: list[tuple[int, int]]
    posts: list[tuple[int, int]]
    memory: CoreMemory


# ------------------------------------------------------------------------------ the model


def expected_slice(
    chip: ChipParams, queue: np.ndarray, memory: CoreMemory, posts: Iterable[tuple[int, int]], model: Model
) -> SliceRun:
    """What the queue does by the contract's law of the queue and ``model`` (arguments as in ``run_slice``)."""
    memory = deepcopy(memory)
    waiting: dict[int, list[int]] = {}
    for cycle, engine in sorted(posts):
        waiting.setdefault(engine, []).append(cycle)
    times, sent, ready = [], [], sequencer.DECODE
    for row in queue:
        fields = sequencer.decode(row.tobytes())
        if fields["opcode"] == sequencer.HALT:
            break
        start = ready
        for engine in range(sequencer.MAX_ENGINES):
            if fields["wait"] >> engine & 1:
                start = max(start, sequencer.start(ready, waiting[engine].pop(0)))
        end = start + model(fields, chip, memory)
        times.append((start, end))
        if fields["post"]:
            sent.append((end, fields["post"]))
        ready = end + sequencer.DECODE
    return SliceRun(times, sent, memory)


def difference(
    expected: SliceRun, found: SliceRun, names: Iterable[str] = ("spike_out", "residual", "psum", "reduce")
) -> str:
    """The first difference of two runs, empty if there is none: instruction times, posts, then memories row by row."""
    for index, (ours, theirs) in enumerate(zip(expected.times, found.times, strict=False)):
        if ours != theirs:
            return f"instruction {index}: start and end {ours} expected, found {theirs}"
    if len(expected.times) != len(found.times):
        return f"{len(expected.times)} instructions expected, found {len(found.times)}"
    if expected.posts != found.posts:
        return f"posts {expected.posts} expected, found {found.posts}"
    for name in names:
        ours, theirs = getattr(expected.memory, name), getattr(found.memory, name)
        where = np.argwhere(ours != theirs)
        if len(where):
            at = tuple(where[0].tolist())
            return f"{name}{list(at)}: {int(ours[at])} expected, found {int(theirs[at])} ({len(where)} differences)"
    return ""


# ------------------------------------------------------------------------------ the Verilog


class Design(NamedTuple):
    """A core's Verilog (module ``core``) and its ports but the clock, (name, width) each."""

    path: Path
    inputs: list[tuple[str, int]]
    outputs: list[tuple[str, int]]


@cache
def design(chip: ChipParams, make: Callable[[ChipParams], Component] = Core) -> Design:
    """The Verilog of a core in the build folder; ``make`` makes another one than ``Core``."""
    path = BUILD / f"core_{chip.name}_{make.__name__}.v"
    path.parent.mkdir(parents=True, exist_ok=True)
    component = make(chip)
    path.write_text(verilog(component, "core"))
    return Design(path, *simulation_ports(component))


@cache
def core_library(chip: ChipParams, make: Callable[[ChipParams], Component] = Core) -> Library:
    """The Verilator library of a core, built once per content."""
    core = design(chip, make)
    return build(core.path, "core", core.inputs, core.outputs, BUILD.parent / "verilated")


def run_slice(
    chip: ChipParams,
    queue: np.ndarray,
    memory: CoreMemory,
    posts: Iterable[tuple[int, int]] = (),
    limit: int = 1 << 20,
    library: Library | None = None,
) -> SliceRun:
    """Run a queue on the Verilog of one core.

    Args:
        chip: the chip; the core does not know its own number.
        queue: instructions, uint8 [rows, INSTRUCTION_BYTES], ended by HALT.
        memory: the memories before the run; not changed.
        posts: (cycle, engine) of every post of another engine to this one.
        limit: cycles after which the run is given up.
        library: the built core, if it is another one than ``Core(chip)``.
    """  # fmt: skip
    library = library or core_library(chip)
    return observed(chip, memory, *run_queue(library, preload(chip, queue, memory), dump_inputs(chip), posts, limit))


def run_queue(
    library: Library,
    load: Mapping[str, np.ndarray],
    dump: Mapping[str, np.ndarray | int],
    posts: Iterable[tuple[int, int]],
    limit: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Reset an engine with its queue under ``load``, run it until it halts, then drive ``dump``.

    Returns start, done and post by cycle, and the outputs over the cycles of ``dump``.
    """
    idle = dict.fromkeys(library.inputs, 0) | {"go": 1}
    library.run(idle | {"rst": 1} | load)
    posts = list(posts)
    seen: dict[str, list[np.ndarray]] = {"start": [], "done": [], "post": []}
    for first in range(0, limit, CHUNK):
        posted = np.zeros(CHUNK, np.uint64)
        for cycle, engine in posts:
            if first <= cycle < first + CHUNK:
                posted[cycle - first] |= np.uint64(1 << engine)
        out = library.run(idle | {"posted": posted}, resume=True)
        for name, parts in seen.items():
            parts.append(out[name])
        if out["halted"][-1]:
            break
    else:
        raise AssertionError(f"the queue has not halted after {limit} cycles")
    start, done, post = (np.concatenate(parts) for parts in seen.values())
    return start, done, post, library.run(idle | dump, resume=True)


def stimulus(
    chip: ChipParams, queue: np.ndarray, memory: CoreMemory, posts: Iterable[tuple[int, int]], cycles: int
) -> tuple[dict[str, np.ndarray], dict[str, slice]]:
    """Every input of a core in every cycle of a whole run (see :func:`whole_run`)."""
    return whole_run(design(chip).inputs, preload(chip, queue, memory), dump_inputs(chip), posts, cycles)


def whole_run(
    ports: list[tuple[str, int]],
    load: Mapping[str, np.ndarray],
    dump: Mapping[str, np.ndarray | int],
    posts: Iterable[tuple[int, int]],
    cycles: int,
) -> tuple[dict[str, np.ndarray], dict[str, slice]]:
    """Every input in every cycle of a whole run, for a bench that cannot look at ``halted``.

    Returns the inputs, uint64 [cycles, words], and the parts of the run: ``reset``, ``preload``, ``run`` (``cycles`` of
    them), ``dump``.
    """
    posted = np.zeros(cycles, np.uint64)
    for cycle, engine in posts:
        posted[cycle] |= np.uint64(1 << engine)
    phases = {"reset": {"rst": np.ones(2)}, "preload": {"rst": 1} | load, "run": {"posted": posted}, "dump": dump}
    return replay.stimulus(ports, phases, {"go": 1})


def cocotb_outputs(
    verilog_file: Path,
    top: str,
    stimulus: Mapping[str, np.ndarray],
    parts: Mapping[str, slice],
    folder: Path,
    simulator: Literal["icarus", "verilator"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """A whole run through cocotb, in ``folder``, which also looks for X in every register; returns what ``run_queue`` does."""
    outputs = replay.on_cocotb(verilog_file, top, stimulus, folder, simulator=simulator)
    run = (outputs[name][parts["run"]] for name in ("start", "done", "post"))
    return *run, {name: values[parts["dump"]] for name, values in outputs.items()}


def observed(
    chip: ChipParams,
    memory: CoreMemory,
    start: np.ndarray,
    done: np.ndarray,
    post: np.ndarray,
    dump: Mapping[str, np.ndarray],
) -> SliceRun:
    """What was seen: start, done and post by cycle, and the outputs over the cycles of ``dump_inputs``."""  # fmt: skip
    memory = deepcopy(memory)
    words = dump["read_out__data"][1 : 2 * chip.spike_out_rows + 1].reshape(2 * chip.spike_out_rows, -1)
    memory.spike_out[:] = integers(words, chip.columns, chip.lanes).reshape(memory.spike_out.shape)
    half = 1 << (chip.membrane_bits - 1)
    for name in ("residual", "psum", "reduce"):
        rows = getattr(memory, name)
        words = dump[f"read_{name}__data"][1 : len(rows) + 1].reshape(len(rows), -1)
        rows[:] = (integers(words, chip.membrane_bits, chip.neurons).astype(np.int64) + half) % (2 * half) - half
    return SliceRun(*events_of(start, done, post), memory)


def events_of(
    start: np.ndarray, done: np.ndarray, post: np.ndarray
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(start, end) of each instruction and (cycle, engines) of each post, from the ports by cycle."""
    start, done, post = start.reshape(-1), done.reshape(-1), post.reshape(-1)
    times = list(zip(np.flatnonzero(start).tolist(), np.flatnonzero(done).tolist(), strict=True))
    return times, [(int(cycle), int(post[cycle])) for cycle in np.flatnonzero(post)]


def preload(chip: ChipParams, queue: np.ndarray, memory: CoreMemory) -> dict[str, np.ndarray]:
    """Inputs that write the queue and the memories, a row a cycle each; rows of 0 are left as they are at power-up."""
    param = [bits(memory.param[:, :, number], field.width) for number, field in enumerate(param_fields(chip))]
    data = {
        "program": bits(np.asarray(queue), 8),
        "write_spikes": bits(memory.spike_in, chip.columns),
        "write_out": bits(memory.spike_out, chip.columns),
        "write_weight": bits(memory.weight, chip.weight_bits),
        "write_param": np.concatenate(param, axis=-1),
        "write_residual": bits(memory.residual, chip.membrane_bits),
        "write_psum": bits(memory.psum, chip.membrane_bits),
        "write_reduce": bits(memory.reduce, chip.membrane_bits),
    }
    depths = {name: chip.queue_rows if name == "program" else contents.shape[-2] for name, contents in data.items()}
    return load_inputs(data, depths)


def dump_inputs(chip: ChipParams) -> dict[str, np.ndarray | int]:
    """Inputs that read every row of what a SYNAPSE writes; the answers come a cycle later."""
    cycle = np.arange(max(2 * chip.spike_out_rows, chip.residual_rows, chip.psum_rows, chip.reduce_rows) + 1)
    return {
        "read_out__en": 1, "read_out__bank": cycle // chip.spike_out_rows % 2, "read_out__row": cycle % chip.spike_out_rows,
        "read_residual__en": 1, "read_residual__row": cycle % chip.residual_rows,
        "read_psum__en": 1, "read_psum__row": cycle % chip.psum_rows,
        "read_reduce__en": 1, "read_reduce__row": cycle % chip.reduce_rows,
    }  # fmt: skip


def param_fields(chip: ChipParams):
    """Fields of a parameter row, in the order of :class:`CoreMemory`."""
    return param_layout(chip.neurons, chip.membrane_bits).fields
