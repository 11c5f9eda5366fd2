"""Test support: a program of a chip with a normaliser, by hand: its table, rows of a core, scores of TOPK, results stored."""

import numpy as np

from archsim.contracts import dma
from archsim.contracts.common.program import Program
from archsim.contracts.normaliser import TABLE_BANK
from archsim.contracts.sequencer import (
    ATTENTION,
    CORE0,
    DMA,
    EXPERTS,
    LOAD,
    MULTICAST,
    NORMALISE,
    NORMALISER,
    PLANES,
    STORE,
    TOPK,
    WEIGH,
)
from mapping.data import DramImage
from mapping.emit import Emitter
from tests.archsim.normaliser_programs import chip_of, filled
from tests.rtl.slice_programs import queue_of

CHIP = chip_of(
    "normaliser_program", 2, 8, 4, 20, 16, 4, softmax_tokens=4, crossbar_depth=1, route_rows=8, residual_rows=48, psum_rows=24
)
"""Two cores of two blocks, and every other engine and table that a row or an instruction could be mistaken for."""

ROW_BYTES, BEATS = 10, 3
"""Bytes of a row of 4 membranes of 20 bits, and its beats of 4 bytes."""

NORM = {
    "core": 1, "base": 1, "tokens": 2, "token_rows": 12, "steps": 2, "step_rows": 2, "words": 2, "word_rows": 4, "blocks": 2,
    "last_blocks": 1, "elements": 12, "center_shift": 4, "square_shift": 18, "reciprocal_shift": 24, "scale_shift": 10,
    "digits": 31,
}  # fmt: skip
WEIGHT = {
    "core": 1, "score_base": 25, "score_token": 3, "tokens": 3, "blocks": 2, "experts": 7, "offset": 7 << 12, "table_shift": 12,
    "reciprocal_shift": 24, "base": 2, "token_rows": 7, "rows": 5, "scale_shift": 12, "digits": 2,
}  # fmt: skip
SCORES = {
    "core": 1, "score_base": 25, "score_token": 3, "tokens": 3, "blocks": 2, "experts": 7, "choices": 1, "first": 1,
}  # fmt: skip
"""Fields of the instructions: tokens of 2 x 2 (position x step), three rows each, side by side; then three tokens of 7 experts."""

LONG = 150
"""Instructions of the long program; a program memory holds 64."""

LAYERS = [{"name": "norm", "kind": "norm", "macs": 0, "operand": "membranes"}]
"""Notes of the one layer."""

RESIDUAL, PSUM, TABLE, SOFTMAX, KEPT = 0, 600, 900, 1000, 1100
"""Bytes of DRAM at which the rows of the banks, the tables and what is stored begin."""


def long_program(seed: int) -> Program:
    """More instructions of the normaliser than its program memory holds: DMA brings parts of them; the emitter orders all."""
    chip, rng = CHIP, np.random.default_rng(seed)
    emitter = Emitter(chip, DramImage(chip))
    rows = rng.integers(0, 256, (8, ROW_BYTES), np.uint8)
    load = {"memory": dma.RESIDUAL, "cores": 1, "bank": 0, "row": 0, "rows": 8, "row_bytes": ROW_BYTES, "row_skip": 0}
    emitter.emit([DMA], LOAD, load | {"dram_address": emitter.dram.add(rows)}, [{"layer": 0}])
    one = NORM | {"core": 0, "tokens": 1, "steps": 1, "words": 1, "last_blocks": 2, "elements": 8}
    for number in range(LONG):
        fields = one | {"base": number % 7, "scale_shift": 12 + number % 3}
        emitter.emit([NORMALISER], NORMALISE, fields, [{"layer": 0}])
    notes = {"layers": LAYERS, "instructions": emitter.notes(), "tensors": {}, "recordings": {}}
    return Program(chip, emitter.rows(), emitter.dram.content(), notes)


def normaliser_program(seed: int, **wait: int) -> Program:
    """The program with random rows; ``wait`` changes that of the instructions of the normaliser (``normalise``, ``weigh``)."""
    chip, rng = CHIP, np.random.default_rng(seed)
    contents = filled(chip, rng)
    dram = np.zeros(2048, np.uint8)
    for start, bank in ((RESIDUAL, contents.cores[1].residual), (PSUM, contents.cores[1].psum)):
        for number, row in enumerate(bank.tolist()):
            word = sum((value & 0xFFFFF) << 20 * element for element, value in enumerate(row))
            at = start + 4 * BEATS * number
            dram[at : at + ROW_BYTES] = np.frombuffer(word.to_bytes(ROW_BYTES, "little"), np.uint8)
    for start, entries in ((TABLE, contents.normaliser.table.tolist()), (SOFTMAX, rng.integers(1 << 16, size=16).tolist())):
        for number, value in enumerate(entries):
            dram[start + 4 * number :][:3] = np.frombuffer((value & 0xFFFFF).to_bytes(3, "little"), np.uint8)
    load = {"opcode": LOAD, "cores": 2, "row_bytes": ROW_BYTES}
    store = {"opcode": STORE, "cores": 2, "row_bytes": ROW_BYTES}
    queues = {
        DMA: [
            load | {"memory": dma.RESIDUAL, "rows": 48, "dram_address": RESIDUAL, "post": 1 << NORMALISER},
            load | {"memory": dma.PSUM, "rows": 24, "dram_address": PSUM},
            load | {"memory": dma.TABLE, "cores": 0, "bank": TABLE_BANK, "rows": 16, "row_bytes": 3, "dram_address": TABLE},
            load | {"memory": dma.TABLE, "cores": 0, "rows": 16, "row_bytes": 2, "dram_address": SOFTMAX, "post": 1 << NORMALISER},
            store | {"memory": dma.RESIDUAL, "rows": 48, "dram_address": KEPT, "wait": 1 << NORMALISER},
            store | {"memory": dma.PSUM, "rows": 24, "dram_address": KEPT + 600},
        ],
        MULTICAST: [],
        ATTENTION: [],
        EXPERTS: [SCORES | {"opcode": TOPK, "wait": 1 << NORMALISER, "post": 1 << NORMALISER}],
        CORE0: [{"opcode": PLANES, "blocks": 1, "planes": 3, "wait": 1 << NORMALISER, "post": 1 << NORMALISER}],
        CORE0 + 1: [],
        NORMALISER: [
            NORM | {"opcode": NORMALISE, "wait": wait.get("normalise", 1 << DMA), "post": 1 << EXPERTS | 1 << CORE0},
            WEIGHT | {"opcode": WEIGH, "wait": wait.get("weigh", 1 << DMA | 1 << EXPERTS), "post": 1 << DMA},
            NORM | {"opcode": NORMALISE, "core": 0, "wait": 1 << CORE0},
        ],
    }  # fmt: skip
    notes = {str(engine): [{"layer": 0} for _ in queue] for engine, queue in queues.items()}
    rows = {"layer": 0, "position": 0, "word": 0, "words": 1, "tensor": "planes", "positions": 1}
    notes[str(CORE0)] = [rows]
    tensors = {"planes": {"positions": 1, "slices": 3, "words": 1}}
    return Program(
        chip, {engine: queue_of(queue) for engine, queue in queues.items()}, dram,
        {"layers": LAYERS, "instructions": notes, "tensors": tensors, "recordings": {}},
    )  # fmt: skip
