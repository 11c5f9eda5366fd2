"""Test support: a program with ATTEND_SOFTMAX, by hand: tables and spikes from DRAM, heads of a word and a whole one, a copy."""

import numpy as np

from archsim.contracts import dma, multicast, neuron
from archsim.contracts.common.program import Program
from archsim.contracts.sequencer import ATTENTION, COPY, CORE0, DMA, LOAD, MULTICAST, PLANES
from tests.archsim.softmax_windows import chip_of, random_table, window
from tests.rtl.slice_programs import queue_of

TOKENS, STEPS = 4, 2
ROWS = TOKENS * STEPS
"""Rows of each of Q, K and V: 24 in all, as many as an integer of 24 bits has planes."""

CHIP = chip_of("softmax_program", 1, 8, 4, 24, TOKENS).replace(attention_rows=16)
FIRST, SECOND = 64, 256
"""Bytes of DRAM at which the two tables begin, 16 rows each, a beat of 8 bytes each; the integers lie before them."""


def softmax_program(seed: int) -> Program:
    """Core 0 makes 24 random rows from 8 random integers; core 1 gets the rows that the attention unit leaves."""
    chip, rng = CHIP, np.random.default_rng(seed)
    dram = np.zeros(512, np.uint8)
    dram[:24].reshape(2, 12)[:] = rng.integers(0, 256, (2, 12))  # two rows of 4 integers, on beats 0, 1 and 2, 3
    dram[:32] = np.pad(dram[:24].reshape(2, 12), ((0, 0), (0, 4))).reshape(-1)
    for start in (FIRST, SECOND):
        dram[start : start + 128].reshape(16, 8)[:, :2] = random_table(chip, rng)
    table = {"opcode": LOAD, "memory": dma.TABLE, "rows": 16, "row_bytes": 2}
    copy = {"opcode": COPY, "source": CORE0, "outer": 1, "inner": ROWS, "source_inner": 1, "base_inner": 1}
    heads = {"neuron": neuron.IF_HALF, "fraction": 5, "threshold": 12, "score_threshold": 3, "keep": 200}
    attends = [
        window(chip, TOKENS, STEPS, seed=seed, **heads) | {"wait": 1 << DMA | 1 << MULTICAST},
        window(chip, TOKENS, STEPS, channel=4, seed=seed + 1, **heads) | {"post": 1 << DMA},
        window(chip, TOKENS, STEPS, channel=0, segment=8, out_base=ROWS, **heads) | {"wait": 1 << DMA, "post": 1 << MULTICAST},
    ]
    queues = {
        DMA: [
            {"opcode": LOAD, "memory": dma.REDUCE, "cores": 1, "rows": 2, "row_bytes": 12, "post": 1 << CORE0},
            table | {"dram_address": FIRST, "post": 1 << ATTENTION},
            table | {"dram_address": SECOND, "wait": 1 << ATTENTION, "post": 1 << ATTENTION},
        ],
        MULTICAST: [
            copy | {"bank": multicast.Q0, "wait": 1 << CORE0},
            copy | {"bank": multicast.K, "source_base": ROWS},
            copy | {"bank": multicast.V, "source_base": 2 * ROWS, "post": 1 << ATTENTION},
            copy | {"source": ATTENTION, "cores": 2, "inner": 2 * ROWS, "wait": 1 << ATTENTION},
        ],
        ATTENTION: attends,
        CORE0: [{"opcode": PLANES, "blocks": 2, "planes": 24, "wait": 1 << DMA, "post": 1 << MULTICAST}],
        CORE0 + 1: [],
    }  # fmt: skip
    rows = {"layer": 0, "position": 0, "word": 0, "words": 1}
    notes = {str(engine): [{"layer": 0} for _ in queue] for engine, queue in queues.items()}
    notes[str(ATTENTION)] = [rows | {"tensor": name, "positions": TOKENS} for name in ("heads", "heads", "whole")]
    notes[str(CORE0)] = [rows | {"tensor": "planes", "positions": 1}]
    tensors = {name: {"positions": TOKENS, "slices": STEPS, "words": 1} for name in ("heads", "whole")}
    tensors["planes"] = {"positions": 1, "slices": 24, "words": 1}
    return Program(
        chip, {engine: queue_of(queue) for engine, queue in queues.items()}, dram,
        {"layers": [{"name": "window", "kind": "attention", "macs": 0, "operand": "spikes"}], "instructions": notes,
         "tensors": tensors, "recordings": {}},
    )  # fmt: skip
