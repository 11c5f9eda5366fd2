"""Test support: run a queue of instructions on one core in Verilog, and the same on a model of its SYNAPSE.

``run_slice`` preloads any :class:`CoreMemory` and any queue, runs the Verilator library and dumps the memories.
``expected_slice`` does the same with a simulator of single instructions and the contract's law of the queue; it never
sees the Verilog.
"""

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import NamedTuple

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

BUILD = Path(__file__).parents[2] / "build" / "rtl"

CHUNK = 4096
"""Cycles between two looks at ``halted``."""

Synapse = Callable[[Mapping[str, int], ChipParams, CoreMemory], int]
"""A model of SYNAPSE: changes the memory, returns the cycles from start to end."""


class SliceRun(NamedTuple):
    """What a queue did: cycles (start, end) per instruction, (cycle, engines) of each post, memories afterwards."""

    times: list[tuple[int, int]]
    posts: list[tuple[int, int]]
    memory: CoreMemory


# ------------------------------------------------------------------------------ the model


def expected_slice(
    chip: ChipParams, queue: np.ndarray, memory: CoreMemory, posts: Iterable[tuple[int, int]], synapse: Synapse
) -> SliceRun:
    """What the queue does by the contract's law of the queue and the model ``synapse`` (arguments as in ``run_slice``)."""
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
        end = start + synapse(fields, chip, memory)
        times.append((start, end))
        if fields["post"]:
            sent.append((end, fields["post"]))
        ready = end + sequencer.DECODE
    return SliceRun(times, sent, memory)


def difference(expected: SliceRun, found: SliceRun) -> str:
    """The first difference of two runs, empty if there is none: instruction times, posts, then memories row by row."""
    for index, (ours, theirs) in enumerate(zip(expected.times, found.times, strict=False)):
        if ours != theirs:
            return f"instruction {index}: start and end {ours} expected, found {theirs}"
    if len(expected.times) != len(found.times):
        return f"{len(expected.times)} instructions expected, found {len(found.times)}"
    if expected.posts != found.posts:
        return f"posts {expected.posts} expected, found {found.posts}"
    for name in ("spike_out", "residual", "psum", "reduce"):
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
    idle = dict.fromkeys(library.inputs, 0) | {"go": 1}
    library.run(idle | {"rst": 1} | preload(chip, queue, memory))
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
    out = library.run(idle | dump_inputs(chip), resume=True)
    return observed(chip, memory, *(np.concatenate(parts) for parts in seen.values()), out)


def stimulus(
    chip: ChipParams, queue: np.ndarray, memory: CoreMemory, posts: Iterable[tuple[int, int]], cycles: int
) -> tuple[dict[str, np.ndarray], dict[str, slice]]:
    """Every input in every cycle of a whole run, for a bench that cannot look at ``halted``.

    Returns the inputs, uint64 [cycles, words], and the parts of the run: ``reset``, ``preload``, ``run`` (``cycles`` of
    them), ``dump``.
    """
    posted = np.zeros(cycles, np.uint64)
    for cycle, engine in posts:
        posted[cycle] |= np.uint64(1 << engine)
    phases = {
        "reset": {"rst": np.ones(2)}, "preload": {"rst": 1} | preload(chip, queue, memory), "run": {"posted": posted},
        "dump": dump_inputs(chip),
    }  # fmt: skip
    ports, parts, first = design(chip).inputs, {}, 0
    columns: dict[str, list[np.ndarray]] = {name: [] for name, _ in ports}
    for phase, inputs in phases.items():
        length = max(len(value) for value in inputs.values() if np.ndim(value))
        parts[phase] = slice(first, first + length)
        first += length
        for name, width in ports:
            value = np.asarray(inputs.get(name, int(name == "go"))).astype(np.uint64)
            value = value.reshape(length, -1) if value.ndim else np.full((length, 1), value)
            columns[name].append(np.pad(value, ((0, 0), (0, -(-width // 64) - value.shape[1]))))
    return {name: np.concatenate(values) for name, values in columns.items()}, parts


def observed(
    chip: ChipParams,
    memory: CoreMemory,
    start: np.ndarray,
    done: np.ndarray,
    post: np.ndarray,
    dump: Mapping[str, np.ndarray],
) -> SliceRun:
    """What was seen: start, done and post by cycle, and the outputs over the cycles of ``dump_inputs``."""  # fmt: skip
    start, done, post = start.reshape(-1), done.reshape(-1), post.reshape(-1)
    times = list(zip(np.flatnonzero(start).tolist(), np.flatnonzero(done).tolist(), strict=True))
    sent = [(int(cycle), int(post[cycle])) for cycle in np.flatnonzero(post)]
    memory = deepcopy(memory)
    words = dump["read_out__data"][1 : 2 * chip.spike_out_rows + 1].reshape(2 * chip.spike_out_rows, -1)
    memory.spike_out[:] = integers(words, chip.columns, chip.lanes).reshape(memory.spike_out.shape)
    half = 1 << (chip.membrane_bits - 1)
    for name in ("residual", "psum", "reduce"):
        rows = getattr(memory, name)
        words = dump[f"read_{name}__data"][1 : len(rows) + 1].reshape(len(rows), -1)
        rows[:] = (integers(words, chip.membrane_bits, chip.neurons).astype(np.int64) + half) % (2 * half) - half
    return SliceRun(times, sent, memory)


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
    cycles = max(1, *(np.count_nonzero(contents.any(axis=-1)) for contents in data.values()))
    inputs = {}
    for name, contents in data.items():
        where = np.argwhere(contents.any(axis=-1))  # [rows, (bank,) row]
        depth = chip.queue_rows if name == "program" else contents.shape[-2]
        address = [bits(where[:, -1:], max(1, (depth - 1).bit_length()))]
        bank = [bits(where[:, :1], 1)] if where.shape[1] == 2 else []
        payload = np.concatenate([*bank, *address, contents[tuple(where.T)]], axis=1)
        words = to_words(np.pad(payload, ((0, cycles - len(where)), (0, 0))))
        inputs[f"{name}__valid"] = np.arange(cycles) < len(where)
        inputs[f"{name}__payload"] = words if payload.shape[1] > 64 else words[:, 0]
    return inputs


def dump_inputs(chip: ChipParams) -> dict[str, np.ndarray | int]:
    """Inputs that read every row of what a SYNAPSE writes; the answers come a cycle later."""
    cycle = np.arange(max(2 * chip.spike_out_rows, chip.residual_rows, chip.psum_rows, chip.reduce_rows) + 1)
    return {
        "read_out__en": 1, "read_out__bank": cycle // chip.spike_out_rows % 2, "read_out__row": cycle % chip.spike_out_rows,
        "read_residual__en": 1, "read_residual__row": cycle % chip.residual_rows,
        "read_psum__en": 1, "read_psum__row": cycle % chip.psum_rows,
        "read_reduce__en": 1, "read_reduce__row": cycle % chip.reduce_rows,
    }  # fmt: skip


# ------------------------------------------------------------------------------ bits


def param_fields(chip: ChipParams):
    """Fields of a parameter row, in the order of :class:`CoreMemory`."""
    return param_layout(chip.neurons, chip.membrane_bits).fields


def bits(values: np.ndarray, width: int) -> np.ndarray:
    """Bits of integers [..., elements] as uint8 [..., elements * width], lowest first."""
    taken = values[..., None] >> np.arange(width).astype(values.dtype) & values.dtype.type(1)
    return taken.astype(np.uint8).reshape(*values.shape[:-1], values.shape[-1] * width)


def to_words(rows: np.ndarray) -> np.ndarray:
    """Rows of bits as uint64 [rows, words]."""
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 64)))
    return np.packbits(padded, axis=1, bitorder="little").view(np.uint64)


def integers(words: np.ndarray, width: int, count: int) -> np.ndarray:
    """``count`` unsigned integers of ``width`` bits from the low end of each row of words, uint64 [rows, count]."""
    rows = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1, bitorder="little")
    parts = rows[:, : width * count].reshape(len(rows), count, width).astype(np.uint64)
    return (parts << np.arange(width, dtype=np.uint64)).sum(axis=-1, dtype=np.uint64)
