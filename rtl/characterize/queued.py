"""Stimuli of what stands at the ends of a core: its instruction queue, and the reader of PLANES."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.core import SYNAPSE_FIELDS
from archsim.contracts.neuron import LIF, NeuronParams
from archsim.contracts.sequencer import DECODE, SYNAPSE
from rtl.characterize import recorded
from rtl.characterize.moved import CENTRE, START
from rtl.characterize.stimuli import RECORDED, STEPS, WINDOW, WINDOWS, Stimulus
from rtl.units.core import PLANES_INSTRUCTION
from rtl.units.neuron import row_write_layout
from rtl.units.sequencer import program_bank

Levels = dict[str, int | Sequence[int]]
"""Inputs that are no stream."""

SUMMED = 2
"""Time steps of a recorded position whose spikes make the length of an instruction, a cycle each."""

EARLY, LATE = -3, 4
"""When a semaphore is posted: from so many cycles before its instruction is ready to so many behind, the last excluded."""

POSITIONS_OF_MAP = 64
"""Positions of that map."""

WORDS = 4
"""Words of a position of that map in a time step."""

BLOCKS, PLANES = 4, 8
"""Blocks and planes of an instruction of the reader."""

PERIODS = {0.05: 640, 0.2: 160, 0.5: 64, RECORDED: 160}
"""Cycles from one start of the reader to the next: blocks x planes granules in each make the rate."""

LAYER = {
    "in_height": 8, "in_width": 8, "y_stride": 32, "x_stride": 4, "slice_stride": 4, "slices": 4, "words": 4, "kernel_height": 3,
    "kernel_width": 3, "stride": 1, "out_height": 1, "out_width": 8, "tap_rows": 64, "gang": 3, "columns": 16, "blocks": 4,
    "steps": 4, "neuron": LIF, "residual_in": 1, "residual_out": 1, "spike_out": 1, "residual_position": 16, "residual_step": 4,
    "out_position": 4, "out_slice": 1, "lanes": 1, "in_x": -1,
}  # fmt: skip
"""Fields of a layer that all its instructions have: a map of 8 x 8 positions, 64 channels, row by row, 16 columns at a time."""

TILES = {"in_origin": 32, "in_y": 1, "out_base": 32, "residual_in_base": 128, "residual_out_base": 128}
"""Fields by which the rows of that map differ, and by how much."""

GROUPS = {"weight_base": 576, "param_base": 4}
"""Fields by which its groups of columns differ."""


def lengths(rng: np.random.Generator, window: float | str, count: int) -> NDArray[np.int64]:
    """Cycles from start to end of the instructions of a window.

    They end with the chance of its rate, or when the events of `SUMMED` time steps of a recorded position of 64 channels are done.
    """
    if not isinstance(window, str):
        return rng.geometric(window, count)
    first = WORDS * STEPS * CENTRE
    words = recorded.words(first + WORDS * SUMMED * count, 1, recorded.CHANNELS // WORDS)[first:, 0]
    return np.maximum(1, words.sum(axis=1)).reshape(count, -1).sum(axis=1)


def queued(chip: ChipParams) -> Stimulus:
    """A program of SYNAPSE, each of which waits for an engine and posts to one. Counted: instructions that start.

    Nothing is posted in the first window. Starts are those of the contract's law.
    """
    rng = np.random.default_rng(18)
    bank, slots = program_bank(chip.queue_rows), sequencer.slots(chip)
    waits, posts = rng.integers(slots, size=(2, bank.rows)).tolist()
    reset = bank.rows + 4
    warm_up = reset + 8
    posted, done = ([0] * (warm_up + WINDOW * len(WINDOWS)) for _ in range(2))
    ready, index = 0, 0
    counts: list[Mapping[str, int]] = [{"instructions": 0}]
    for number, window in enumerate(WINDOWS[1:], 1):
        begin, first = warm_up + WINDOW * number, index
        for length in lengths(rng, window, WINDOW // DECODE).tolist():
            late = max(ready, begin - EARLY) + int(rng.integers(EARLY, LATE))
            end = sequencer.start(ready, late) + length
            if end >= begin + WINDOW:
                break
            posted[late] |= 1 << waits[index % bank.rows]
            done[end] = 1
            ready, index = end + DECODE, index + 1
        counts.append({"instructions": index - first})
    load = row_write_layout(bank)
    program = [_instruction(row, *engines) for row, engines in enumerate(zip(waits, posts, strict=True))]
    rows = [load.pack({"row": row, "data": instruction}) for row, instruction in enumerate(program)]
    offers = [2 <= cycle < 2 + bank.rows for cycle in range(len(posted))]
    streams = {"program": (offers, [rows, *[[] for _ in WINDOWS]])}
    levels: Levels = {"posted": posted, "done": done, "go": 1}
    return Stimulus(warm_up, levels, streams, lambda taken: {}, instructions=tuple(counts), reset=reset)


def _instruction(number: int, waits: int, posts: int) -> int:
    """A row of the program: the rows of the map one behind the other, for one group of columns after the other."""
    group, tile = divmod(number, LAYER["in_height"])
    fields = {field.name: 0 for field in SYNAPSE_FIELDS} | LAYER
    fields |= {name: (tile * step) for name, step in TILES.items()} | {name: group % 16 * step for name, step in GROUPS.items()}
    return int.from_bytes(sequencer.encode(SYNAPSE, fields, 1 << waits, 1 << posts), "little")


def planes(params: NeuronParams) -> Stimulus:
    """Instructions of `PLANES` planes of `BLOCKS` blocks of sums. Counted: granules.

    Sums are normal with an eighth of the range, or of recorded spikes with random weights over all positions and steps of a map,
    as the reduction bank has them.
    """
    rng = np.random.default_rng(19)
    half, warm_up = 1 << (params.membrane_bits - 1), 8
    start = [0] * (warm_up + WINDOW * len(WINDOWS))
    counts: list[Mapping[str, int]] = [{"granules": 0}]
    items: list[list[int]] = [[], []]
    for number, window in enumerate(WINDOWS[1:], 1):
        begins = range(warm_up + WINDOW * number + START, warm_up + WINDOW * (number + 1) - 2 * BLOCKS * PLANES, PERIODS[window])
        size = (len(begins) * BLOCKS, params.neurons)
        sums = _reduced(len(begins), size[1]) if isinstance(window, str) else rng.normal(0, 1, size)
        whole = np.clip(np.rint(sums * half / 8), -half, half - 1).astype(int).reshape(len(begins), BLOCKS, -1)
        rows = [
            sum((value & 2 * half - 1) << params.membrane_bits * place for place, value in enumerate(row))
            for instruction in whole.tolist() for _ in range(PLANES) for row in instruction
        ]  # fmt: skip
        items.append(rows)
        for begin in begins:
            start[begin] = 1
        counts.append({"granules": len(rows)})
    shift = max(0, params.membrane_bits - 3 - PLANES)  # deviation: a quarter of the greatest operand
    fields = PLANES_INSTRUCTION.pack(dict.fromkeys((field.name for field in PLANES_INSTRUCTION.fields), 0) | {
        "opcode": sequencer.PLANES, "blocks": BLOCKS, "planes": PLANES, "right_shift": shift,
    })  # fmt: skip
    levels: Levels = {"fields": fields, "start": start}
    return Stimulus(
        warm_up, levels, {}, lambda taken: {}, {"read__data": (["read__en"], items)}, instructions=tuple(counts)
    )


def _reduced(maps: int, size: int) -> NDArray[np.float64]:
    """Sums of recorded spikes with random weights over whole maps, deviation 1: [maps x BLOCKS, size]."""
    found = recorded.sums(maps * POSITIONS_OF_MAP * STEPS * BLOCKS, STEPS, BLOCKS, size)  # position, block, step
    whole = found.reshape(maps, POSITIONS_OF_MAP, BLOCKS, STEPS, size).sum(axis=(1, 3)).reshape(-1, size)
    return whole / whole.std()
