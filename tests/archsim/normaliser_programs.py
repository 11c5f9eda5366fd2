"""Test support: chips with a normaliser, random instructions of it, and what they do to the memories, token by token."""

from itertools import product
from typing import NamedTuple

import numpy as np

from archsim.contracts import normaliser as contract
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.normaliser import NormaliserParams
from archsim.contracts.router import MAX_EXPERTS
from archsim.contracts.sequencer import NORMALISE, WEIGH
from archsim.units.sram import Memories

ROWS = 256
"""Rows of each bank."""


def chip_of(
    name: str, cores: int, columns: int, neurons: int, bits: int, operand: int, table: int, **others: int
) -> ChipParams:
    """A chip with a normaliser."""
    return ChipParams(
        name=name, clock_mhz=100.0, cores=cores, lanes=2, columns=columns, neurons=neurons, weight_bits=4,
        membrane_bits=bits, weight_rows=64, param_rows=4, spike_in_rows=64, spike_out_rows=64,
        reduce_rows=4, attention_rows=8, count_rows=64, count_bits=8,
        dram_bus_bytes=4, dram_latency_cycles=5, dram_burst_bytes=4, dram_outstanding=4, queue_rows=64,
        normaliser_operand_bits=operand, normaliser_table_bits=table,
        **{"residual_rows": ROWS, "psum_rows": ROWS, **others},
    )  # fmt: skip


CHIPS = [
    chip_of("normaliser_usual", 3, 8, 4, 16, 12, 6), chip_of("normaliser_least", 1, 2, 1, 8, 5, 1),
    chip_of("normaliser_odd", 2, 6, 3, 9, 9, 9), chip_of("normaliser_wide", 2, 16, 16, 24, 24, 8),
    chip_of("normaliser_small", 2, 16, 4, 24, 16, 8),
]  # fmt: skip
"""A usual one; the least; no power of two, an operand as wide as a membrane; a row a word, the widest membranes; as the preset."""


class Step(NamedTuple):
    """An instruction: its opcode and fields."""

    opcode: int
    fields: dict[str, int]


def filled(chip: ChipParams, rng: np.random.Generator) -> Memories:
    """Memories of random membranes and entries; rows of 0 among them, and equal ones."""
    memories, half = Memories.empty(chip, np.zeros(1, np.uint8)), 1 << (chip.membrane_bits - 1)
    for core in memories.cores:
        for bank in (core.residual, core.psum):
            scale = half >> rng.integers(0, chip.membrane_bits - 1, (len(bank), 1))
            bank[:] = rng.integers(-scale, scale, bank.shape)
            bank[rng.random(len(bank)) < 0.1] = 0
    memories.normaliser.table[:] = rng.integers(-1, half, len(memories.normaliser.table))
    return memories


def random_normalise(chip: ChipParams, rng: np.random.Generator) -> Step:
    """A NORMALISE whose rows exist: any counts and distances; a shorter last word; positions outside steps or within."""
    most = ((1 << (chip.normaliser_operand_bits - 1)) - 1) // chip.neurons
    while True:
        blocks, words, steps, tokens = (int(rng.integers(1, high + 1)) for high in (chip.blocks, 4, 3, 3))
        last = int(rng.integers(1, blocks + 1))
        rows = (words - 1) * blocks + last
        word = blocks + int(rng.integers(3))
        step = words * word + int(rng.integers(3))
        reach = tokens * steps * step
        if rows <= most and reach <= ROWS:
            break
    inner, outer = (step, steps * step) if rng.integers(2) else (tokens * step, step)
    return Step(NORMALISE, {
        "core": int(rng.integers(chip.cores)), "base": int(rng.integers(0, ROWS - reach + 1)), "tokens": tokens, "steps": steps,
        "token_rows": outer, "step_rows": inner, "words": words, "word_rows": word, "blocks": blocks, "last_blocks": last,
        "elements": rows * chip.neurons, **shifts(chip, NORMALISE, rng),
    })  # fmt: skip


def random_weigh(chip: ChipParams, rng: np.random.Generator) -> Step:
    """A WEIGH whose rows exist."""
    experts, tokens, rows = int(rng.integers(2, MAX_EXPERTS + 1)), int(rng.integers(1, 5)), int(rng.integers(1, 12))
    blocks = -(-experts // chip.neurons)
    score, token = blocks + int(rng.integers(3)), rows + int(rng.integers(3))
    return Step(WEIGH, {
        "core": int(rng.integers(chip.cores)), "score_base": int(rng.integers(0, ROWS - tokens * score + 1)),
        "score_token": score, "tokens": tokens, "blocks": blocks, "experts": experts, "rows": rows, "token_rows": token,
        "base": int(rng.integers(0, ROWS - tokens * token + 1)), **shifts(chip, WEIGH, rng),
    })  # fmt: skip


def shifts(chip: ChipParams, opcode: int, rng: np.random.Generator) -> dict[str, int]:
    """Shifts, digits and offset: of a corner, or any that leave something."""
    bits, corners = chip.membrane_bits, contract.corners(chip.membrane_bits)
    ends = {"center_shift": bits, "square_shift": bits, "reciprocal_shift": 2 * bits, "scale_shift": bits, "table_shift": bits // 2}
    found = {name: int(rng.integers(0, end)) for name, end in ends.items()}
    found |= {"digits": int(rng.choice([1, 2, 3, 31])), "offset": int(rng.integers(0, 1 << bits))}
    if rng.integers(2):
        found = corners[int(rng.integers(len(corners)))]
    weighs = ("reciprocal_shift", "scale_shift", "digits", "table_shift", "offset")
    norms = ("reciprocal_shift", "scale_shift", "digits", "center_shift", "square_shift")
    return {name: min(found[name], 63) if "shift" in name else found[name] for name in (weighs if opcode == WEIGH else norms)}


def random_program(chip: ChipParams, rng: np.random.Generator, count: int = 4) -> list[Step]:
    """Instructions of both kinds."""
    return [random_weigh(chip, rng) if rng.integers(2) else random_normalise(chip, rng) for _ in range(count)]


def expected(step: Step, chip: ChipParams, memories: Memories) -> None:
    """Carry an instruction out by the contract's references, token by token, without time."""
    f, unit, core = step.fields, NormaliserParams(chip).unit, memories.cores[step.fields["core"]]
    if step.opcode == WEIGH:
        table = memories.normaliser.table.tolist()
        for token in range(f["tokens"]):
            first = f["score_base"] + token * f["score_token"]
            scores = core.residual[first : first + f["blocks"]].reshape(-1)[: f["experts"]].tolist()
            result = core.psum[f["base"] + token * f["token_rows"] :][: f["rows"]]
            result[:] = np.reshape(contract.reference_weigh(scores, result.reshape(-1).tolist(), table, f, unit), result.shape)
        return
    for token, step_number in product(range(f["tokens"]), range(f["steps"])):
        base = f["base"] + token * f["token_rows"] + step_number * f["step_rows"]
        rows = [
            base + word * f["word_rows"] + block
            for word in range(f["words"])
            for block in range(f["last_blocks"] if word == f["words"] - 1 else f["blocks"])
        ]
        values = core.residual[rows]
        core.residual[rows] = np.reshape(contract.reference_normalise(values.reshape(-1).tolist(), f, unit), values.shape)
