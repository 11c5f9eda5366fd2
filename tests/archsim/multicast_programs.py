"""Test support: random instructions of the multicast, and what they write, worked out from the references of its units."""

from copy import deepcopy

import numpy as np

from archsim.contracts import masker, sequencer, transposer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.masker import KEEP_ALL, SEED_BITS
from archsim.contracts.sequencer import ATTENTION, COPIES, CORE0, MASK, TRANSPOSE
from archsim.units.sram import Memories

KEEPS = (0, KEEP_ALL, 1, KEEP_ALL - 1)
"""Those at the ends."""

SEEDS = (0, (1 << SEED_BITS) - 1)


def loops(rng, most: int) -> tuple[int, int]:
    """Rows of the two loops: many of one, or of both."""
    outer, inner = rng.integers(1, most + 1), rng.integers(1, most + 1)
    return (int(outer), int(inner)) if rng.random() < 0.5 else (int(rng.integers(1, 5)), int(rng.integers(1, 5)))


def walk(rng, rows: int, outer: int, inner: int) -> tuple[int, int, int]:
    """Base and strides whose rows exist; a stride may be 0, so that later rows come upon earlier ones, or the greatest."""
    strides, room = [0, 0], rows - 1
    for place in rng.permutation(2):
        steps = (outer, inner)[place] - 1
        most = room // steps if steps else rows - 1
        strides[place] = int(rng.choice([0, most, rng.integers(most + 1), rng.integers(most + 1)]))
        room -= steps * strides[place]
    return int(rng.integers(room + 1)), *strides


def of_rails(rng, rails, low: int, high: int) -> int:
    """A number in ``low..high``, often one of ``rails``."""
    return int(rng.choice(rails)) if rng.random() < 0.5 else int(rng.integers(low, high + 1))


def random_instruction(chip: ChipParams, rng, rows: int, opcode: int | None = None) -> dict[str, int]:
    """A COPY, TRANSPOSE or MASK from any engine's bank of ``rows`` rows to the cores of a mask, or to the attention unit."""
    opcode = int(rng.choice(COPIES)) if opcode is None else opcode
    outer, inner = loops(rng, min(rows, 16))
    extra = {}
    if opcode == TRANSPOSE:
        most = chip.columns
        outer, inner, turned = int(rng.integers(1, 4)), of_rails(rng, (1, most), 1, most), of_rails(rng, (1, most), 1, most)
        extra = {"turned": turned}
    elif opcode == MASK:
        extra = {"seed": of_rails(rng, SEEDS, *SEEDS), "keep": of_rails(rng, KEEPS, 0, KEEP_ALL)}
    source, target = walk(rng, rows, outer, inner), walk(rng, rows, outer, extra.get("turned", inner))
    cores = int(rng.integers(1, 1 << chip.cores)) if rng.random() < 0.7 else 0
    return extra | {
        "opcode": opcode, "source": int(rng.choice([ATTENTION, *range(CORE0, CORE0 + chip.cores)])),
        "source_bank": int(rng.integers(2)), "source_base": source[0], "source_outer": source[1], "source_inner": source[2],
        "outer": outer, "inner": inner, "cores": cores, "bank": int(rng.integers(2 if cores else 4)),
        "base": target[0], "base_outer": target[1], "base_inner": target[2],
    }  # fmt: skip


def written(fields: dict[str, int], chip: ChipParams, memories: Memories) -> list[tuple[int, list[int]]]:
    """The rows that an instruction writes, in order: (row, its words)."""
    out = memories.attention.out if fields["source"] == ATTENTION else memories.cores[fields["source"] - CORE0].spike_out
    bank = out[fields["source_bank"]].tolist()
    blocks = [
        [bank[fields["source_base"] + o * fields["source_outer"] + i * fields["source_inner"]] for i in range(fields["inner"])]
        for o in range(fields["outer"])
    ]  # fmt: skip
    if fields["opcode"] == TRANSPOSE:
        lanes = [
            [transposer.reference([row[lane] for row in block], chip.columns) for block in blocks] for lane in range(chip.lanes)
        ]
        blocks = [
            [[columns[number][j] for columns in lanes] for j in range(fields["turned"])] for number in range(fields["outer"])
        ]  # fmt: skip
    elif fields["opcode"] == MASK:
        words = [row for block in blocks for row in block]
        first = [int(number == 0) for number in range(len(words))]
        words, _ = masker.reference(words, first, fields["seed"], fields["keep"], chip.columns)
        blocks = [words[at : at + fields["inner"]] for at in range(0, len(words), fields["inner"])]
    return [
        (fields["base"] + o * fields["base_outer"] + i * fields["base_inner"], row)
        for o, block in enumerate(blocks) for i, row in enumerate(block)
    ]  # fmt: skip


def moved(fields: dict[str, int], chip: ChipParams, memories: Memories) -> Memories:
    """The memories after an instruction."""
    after = deepcopy(memories)
    cores = [after.cores[core].spike_in for core in range(chip.cores) if fields["cores"] >> core & 1]
    for bank in cores or [after.attention.spikes]:
        for row, words in written(fields, chip, memories):
            bank[fields["bank"], row] = words
    return after


def random_memories(chip: ChipParams, rng) -> Memories:
    """Memories whose spike banks are full of random rows."""
    memories = Memories.empty(chip, np.zeros(1, np.uint8))
    top = np.iinfo(np.uint64).max >> np.uint64(64 - chip.columns)
    banks = [memories.attention.spikes, memories.attention.out]
    banks += [bank for core in memories.cores for bank in (core.spike_in, core.spike_out)]
    for bank in banks:
        bank[:] = rng.integers(0, top, bank.shape, np.uint64, endpoint=True)
    return memories


def same(one: Memories, other: Memories) -> bool:
    """Whether the spike banks hold the same rows."""
    pairs = [(one.attention, other.attention, ("spikes", "out"))]
    pairs += [(core, twin, ("spike_in", "spike_out")) for core, twin in zip(one.cores, other.cores, strict=True)]
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for a, b, names in pairs for name in names)


def instruction_of(fields: dict[str, int]) -> dict[str, int]:
    """As decoded from a program's row."""
    other = {name: value for name, value in fields.items() if name != "opcode"}
    return sequencer.decode(sequencer.encode(fields["opcode"], other))


