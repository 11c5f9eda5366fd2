"""Test support: random windows for ATTEND_SOFTMAX, and what the unit leaves behind by the references of the contracts alone."""

import numpy as np

from archsim.contracts import attention_softmax as contract
from archsim.contracts import neuron
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.sequencer import ATTEND_SOFTMAX
from archsim.units.sram import AttentionMemory
from tests.rtl.slice_programs import random_words

ROWS = 1024
"""Rows of each spike bank."""


def chip_of(name: str, lanes: int, columns: int, neurons: int, bits: int, tokens: int) -> ChipParams:
    """A small chip with a softmax."""
    return ChipParams(
        name=name, clock_mhz=100.0, cores=2, lanes=lanes, columns=columns, neurons=neurons, weight_bits=8,
        membrane_bits=bits, weight_rows=64, param_rows=4, spike_in_rows=64, spike_out_rows=64, residual_rows=64,
        psum_rows=64, reduce_rows=4, attention_rows=ROWS, count_rows=64, count_bits=8, dram_bus_bytes=8,
        dram_latency_cycles=5, dram_burst_bytes=32, dram_outstanding=4, queue_rows=64, softmax_tokens=tokens,
    )  # fmt: skip


CHIPS = [
    chip_of("softmax_usual", 1, 16, 4, 24, 16), chip_of("softmax_least", 2, 4, 1, 11, 4),
    chip_of("softmax_odd", 3, 9, 3, 13, 9), chip_of("softmax_wide", 4, 64, 16, 15, 64),
]  # fmt: skip
"""A usual one; the least, one neuron and the narrowest membranes; no power of two; the most tokens and channels."""


def filled(chip: ChipParams, rng: np.random.Generator, density: float) -> AttentionMemory:
    """Memories of random spikes (some words empty, some full), old outputs, membranes and entries, some of them 0 or 255."""
    memory = AttentionMemory.empty(chip)
    for banks in (memory.spikes, memory.out):
        banks[:] = random_words(rng, banks.shape, chip.columns, density, empty=0.1, full=0.1)
    half = 1 << (chip.membrane_bits - 1)
    memory.scores[:] = rng.integers(-half, half, memory.scores.shape)
    memory.table[:] = random_table(chip, rng)
    return memory


def random_table(chip: ChipParams, rng: np.random.Generator) -> np.ndarray:
    """Entries uint8 [rows, 2], some of them 0 or 255."""
    table = rng.integers(0, 256, (chip.softmax_tokens**2, 2)) * rng.choice([0, 1, 1], chip.softmax_tokens**2)[:, None]
    table[rng.random(table.shape) < 0.1] = 255
    return table.astype(np.uint8)


def window(chip: ChipParams, tokens: int, steps: int, **fields: int) -> dict[str, int]:
    """Fields of the first head, of one block, of maps of one word that begin at row 0; ``fields`` replace or add."""
    lanes, slices = chip.lanes_used(steps), chip.slices(steps)
    whole = {
        "opcode": ATTEND_SOFTMAX, "tokens": tokens, "tile": tokens, "steps": steps, "lanes": lanes, "token_rows": slices,
        "map_words": 1, "words": 1, "head_words": 1, "segment": chip.neurons, "blocks": 1, "out_token_rows": slices,
        "out_words": 1, "neuron": neuron.IF_HALF, "threshold": 1, "score_threshold": 1, "keep": 256, "fraction": 8,
    }  # fmt: skip
    found = {field.name: 0 for field in contract.SOFTMAX_FIELDS} | whole | fields
    found["blocks"] = found["segment"] // chip.neurons
    return found


def random_window(chip: ChipParams, rng: np.random.Generator) -> dict[str, int]:
    """Any ATTEND_SOFTMAX whose rows exist; about one in three takes the corners of the contract."""
    while True:
        fields = _any_window(chip, rng)
        rows = max(fields["tokens"] * fields["token_rows"], fields["tile"] * fields["out_token_rows"])
        if rows + 4 <= chip.attention_rows:
            return fields


def _any_window(chip: ChipParams, rng: np.random.Generator) -> dict[str, int]:
    most, bits = chip.softmax_tokens, chip.membrane_bits
    tokens = int(rng.choice([contract.SCORE_DISTANCE, most, rng.integers(contract.SCORE_DISTANCE, most + 1)]))
    tile = int(rng.choice([1, min(tokens, 6), rng.integers(1, min(tokens, 9) + 1)]))
    steps, blocks = int(rng.integers(1, 6)), int(rng.integers(1, chip.blocks + 1))
    map_words, out_words, first = int(rng.integers(2, 4)), int(rng.integers(2, 4)), int(rng.integers(2))
    slices, fraction = chip.slices(steps), int(rng.integers(0, min(15, bits - 2) + 1))
    threshold = 1 << max(0, fraction - int(rng.integers(0, 4)))
    fields = {
        "q_bank": int(rng.integers(2)), "out_bank": int(rng.integers(2)), "tile": tile,
        **{name: int(rng.integers(4)) for name in ("q_base", "k_base", "v_base", "out_base")},
        "token_rows": slices * map_words + int(rng.integers(2)), "map_words": map_words, "first_word": first,
        "out_token_rows": slices * out_words + int(rng.integers(2)), "out_words": out_words,
        "segment": blocks * chip.neurons, "channel": int(rng.integers(chip.blocks - blocks + 1)) * chip.neurons,
        "neuron": int(rng.choice([neuron.IF_HALF, neuron.IF_HALF, *range(4)])), "threshold": threshold,
        "shift": int(rng.integers(-1, 2)), "score_threshold": int(rng.integers(1, 40)),
        "score_shift": int(rng.integers(0, 4)), "seed": int(rng.integers(1 << 32)),
        "keep": int(rng.choice([0, 64, 200, 256])), "fraction": fraction,
        "table_base": int(rng.integers(most * most - tile * tokens + 1)),
    }  # fmt: skip
    if rng.random() < 0.3:
        fields |= contract.corners(bits)[rng.integers(4)]
    return window(chip, tokens, steps, **fields)


def words_of(chip: ChipParams, fields, memory: AttentionMemory) -> tuple[list, list, list]:
    """Q, K and V of an instruction, [token][step]."""
    found = []
    for bank, base, tokens in ((fields["q_bank"], "q_base", "tile"), (2, "k_base", "tokens"), (3, "v_base", "tokens")):
        rows = memory.spikes[bank, fields[base] + fields["first_word"] :]
        found.append([
            [int(rows[token * fields["token_rows"] + step // fields["lanes"] * fields["map_words"], step % fields["lanes"]])
             for step in range(fields["steps"])]
            for token in range(fields[tokens])
        ])  # fmt: skip
    return tuple(found)


def reference_out(chip: ChipParams, fields, memory: AttentionMemory) -> np.ndarray:
    """The output bank behind an instruction, uint64 [rows, L], by whole divisions and neuron by neuron."""
    bits = chip.membrane_bits
    inputs = contract.reference_softmax(words_of(chip, fields, memory), memory.table.tolist(), fields, bits)
    out = [[int(word) for word in row] for row in memory.out[fields["out_bank"]]]
    for token in range(fields["tile"]):
        for column in range(fields["segment"]):
            y = [
                neuron.membrane_input(inputs[token][step][column], 0, 0, fields["shift"], 0, bits)
                for step in range(fields["steps"])
            ]
            spikes, _ = neuron.reference(y, fields["threshold"], fields["neuron"], bits)
            for step, spike in enumerate(spikes):
                row = fields["out_base"] + fields["first_word"] + token * fields["out_token_rows"]
                row, lane = row + step // fields["lanes"] * fields["out_words"], step % fields["lanes"]
                if fields["channel"] == column == lane == 0:
                    out[row] = [0] * chip.lanes
                bit = 1 << (fields["channel"] + column)
                out[row][lane] = out[row][lane] & ~bit | spike * bit
    return np.array(out, np.uint64)
