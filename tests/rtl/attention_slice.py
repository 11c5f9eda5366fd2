"""Test support: programs of ATTEND instructions, run on the attention unit with its queue in Verilog and on models of it."""

from collections.abc import Mapping

import numpy as np

from archsim.contracts import attention as contract
from archsim.contracts import attention_softmax as softmax
from archsim.contracts import core, event_encoder, neuron
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.sequencer import ATTEND_GATE, ATTEND_KV, ATTEND_Q, ATTEND_SCORES, ATTEND_SOFTMAX
from archsim.stepped import attention as stepped
from archsim.units import attention as fast
from archsim.units.sram import AttentionMemory
from rtl.units.attention import AttentionEngine
from tests.archsim.softmax_windows import random_table, random_window
from tests.rtl.engine import Engine
from tests.rtl.rows import bits, integers, load_inputs
from tests.rtl.slice_programs import random_words

OPCODES = (ATTEND_KV, ATTEND_Q, ATTEND_SCORES, ATTEND_GATE)
"""Those of every chip."""

MEMORIES = ("out", "counts")
"""What an ATTEND instruction writes in every chip."""


# ------------------------------------------------------------------------------ the models


def fast_attend(fields, chip, memory):
    """The fast simulator's ATTEND."""
    return fast.attend(fields["opcode"], fields, chip, memory)[0]


def stepped_attend(fields, chip, memory):
    """The cycle-stepped model's ATTEND."""
    return stepped.attend(fields["opcode"], fields, chip, memory)


def law_attend(fields, chip, memory):
    """The cycles alone, from the contracts' own functions in plain Python; the memory stays as it is."""
    opcode, steps, words, head_words = (fields[name] for name in ("opcode", "steps", "words", "head_words"))

    def events(bank, base, token, step, word):
        row = fields[base] + token * fields["token_rows"] + step // fields["lanes"] * fields["map_words"]
        spikes = int(memory.spikes[bank, row + fields["first_word"] + word, step % fields["lanes"]])
        return event_encoder.word_cycles(spikes.bit_count(), 0)

    if opcode == ATTEND_KV and fields["popcount"]:
        return contract.popcount_cycles(fields["tokens"], steps * words * head_words, chip.columns, chip.neurons)
    if opcode == ATTEND_KV:
        places = np.ndindex(fields["tokens"], steps, words)
        return contract.kv_cycles(head_words * sum(events(2, "k_base", *place) for place in places))
    if opcode == ATTEND_SOFTMAX:
        return softmax.softmax_cycles(fields["tokens"], fields["tile"] * steps, fields["blocks"], fields["fraction"])[0]
    handover, taken = {
        ATTEND_Q: contract.FIRST_ADD, ATTEND_SCORES: contract.FIRST_SCORE, ATTEND_GATE: contract.FIRST_GATE,
    }[opcode], 0  # fmt: skip
    for token, word, step in np.ndindex(1 if opcode == ATTEND_GATE else fields["tile"], words, steps):
        cycles = fields["tokens"] * (1 if opcode == ATTEND_GATE else head_words)
        if opcode == ATTEND_Q:
            head = word // head_words * head_words
            cycles = sum(events(fields["q_bank"], "q_base", token, step, head + n) for n in range(head_words))
        handover, taken = core.group_end(handover, taken, cycles, fields["blocks"])
    if opcode == ATTEND_GATE:
        return taken + neuron.LATENCY + fields["tile"] * steps // fields["lanes"] * words + contract.GATE_OVERHEAD
    return taken + core.drain(0)


# ------------------------------------------------------------------------------ the Verilog


def preload(chip: ChipParams, queue: np.ndarray, memory: AttentionMemory) -> dict[str, np.ndarray]:
    """Inputs that write the queue and the memories."""
    blocks, columns = contract.AttentionParams(chip).cleared.rows, chip.columns
    counts = np.zeros((blocks * columns, columns), np.int64)
    counts[: chip.count_rows] = memory.counts
    data = {
        "program": bits(np.asarray(queue), 8),
        "write_spikes": bits(memory.spikes, columns),
        "write_out": bits(memory.out, columns),
        "write_counts": bits(counts, chip.count_bits).reshape(blocks, columns, -1),
    }
    depths = {
        "program": chip.queue_rows, "write_spikes": chip.attention_rows, "write_out": chip.attention_rows,
        "write_counts": columns,
    }  # fmt: skip
    if chip.softmax_tokens:
        data["write_table"], depths["write_table"] = bits(memory.table, softmax.ENTRY_BITS), len(memory.table)
    return load_inputs(data, depths)


def dump_inputs(chip: ChipParams) -> dict[str, np.ndarray | int]:
    """Inputs that read every row of what the unit writes; the answers come a cycle later."""
    cycle = np.arange(max(2 * chip.attention_rows, chip.count_rows) + 1)
    row = np.minimum(cycle, chip.count_rows - 1)
    return {
        "read_out__en": 1, "read_out__bank": cycle // chip.attention_rows % 2, "read_out__row": cycle % chip.attention_rows,
        "read_counts__en": 1, "read_counts__block": row // chip.columns, "read_counts__channel": row % chip.columns,
        **({"read_scores__en": 1, "read_scores__row": cycle % chip.softmax_tokens} if chip.softmax_tokens else {}),
    }  # fmt: skip


def retired(chip: ChipParams, memory: AttentionMemory, dump: Mapping[str, np.ndarray]) -> AttentionMemory:
    """The memory after a run, from the outputs over the cycles of ``dump_inputs``; ``memory`` is changed."""
    shapes = {"out": (chip.columns, chip.lanes), "counts": (chip.count_bits, chip.columns)}
    if chip.softmax_tokens:
        shapes["scores"] = (chip.membrane_bits, 1)
    for name, shape in shapes.items():
        rows = getattr(memory, name)
        count = rows.size // shape[1]
        words = dump[f"read_{name}__data"][1 : count + 1].reshape(count, -1)
        rows[:] = integers(words, *shape).reshape(rows.shape)
    return memory


def written(memory: AttentionMemory) -> dict[str, np.ndarray]:
    """What ATTEND instructions write."""
    return {name: getattr(memory, name) for name in (*MEMORIES, "scores")}


ENGINE = Engine("attention", AttentionEngine, preload, dump_inputs, retired, written)
"""The attention unit with its queue."""


# ------------------------------------------------------------------------------ programs


def random_memory(chip: ChipParams, seed: int, density: float) -> AttentionMemory:
    """Memories full of random rows: spikes of a density with empty and full words among them, any counts and old outputs."""
    rng = np.random.default_rng(seed)
    memory = AttentionMemory.empty(chip)
    for banks in (memory.spikes, memory.out):
        banks[:] = random_words(rng, banks.shape, chip.columns, density, empty=0.15, full=0.07)
    memory.counts[:] = rng.integers(0, 1 << chip.count_bits, memory.counts.shape)
    if chip.softmax_tokens:
        memory.table[:] = random_table(chip, rng)
    return memory


def attention_of(chip: ChipParams, opcode: int, tokens: int, steps: int, words: int, **fields: int) -> dict[str, int]:
    """Fields of an ATTEND of whole maps of ``words`` words that begin at row 0; ``fields`` replace or add."""
    lanes, slices = chip.lanes_used(steps), chip.slices(steps)
    rows = slices * words
    whole = {
        "opcode": opcode, "tokens": tokens, "tile": tokens, "steps": steps, "lanes": lanes, "token_rows": rows,
        "map_words": words, "words": words, "head_words": 1, "segment": chip.columns, "count_step": words,
        "neuron": neuron.LIF, "threshold": 2, "blocks": chip.blocks, "out_token_rows": rows, "out_words": words,
    }  # fmt: skip
    return whole | fields


def random_instruction(chip: ChipParams, rng: np.random.Generator) -> dict[str, int]:
    """An ATTEND with any geometry whose rows exist; half of them ATTEND_SOFTMAX, if the chip has it."""
    if chip.softmax_tokens and rng.random() < 0.5:
        return random_window(chip, rng)
    divisors = [size for size in range(1, chip.columns + 1) if chip.columns % size == 0]
    while True:
        steps, head_words = int(rng.integers(1, 9)), int(rng.choice([1, 1, 2, 3]))
        words, first = head_words * int(rng.integers(1, 4)), head_words * int(rng.integers(0, 2))
        map_words, out_words = (first + words + int(rng.integers(0, 3)) for _ in range(2))
        most = min(int(rng.choice([10, 36])), 1 << chip.count_bits)  # more tokens than a block of words
        tokens, tile = int(rng.integers(1, most)), int(rng.integers(1, 10))
        segment = int(rng.choice(divisors)) if head_words == 1 else chip.columns
        slices = chip.slices(steps)
        token_rows, out_rows = (slices * number + int(rng.integers(0, 2)) for number in (map_words, out_words))
        count_step, base = words * head_words + int(rng.integers(0, 2)), int(rng.integers(0, 2))
        room = chip.attention_rows - 4
        fits = max(tokens, tile) * max(token_rows, out_rows) <= room
        if fits and (base + steps * count_step) * chip.columns <= chip.count_rows:
            break
    half = 1 << (chip.membrane_bits - 1)
    return attention_of(
        chip, int(rng.choice(OPCODES)), tokens, steps, words, q_bank=int(rng.integers(2)),
        out_bank=int(rng.integers(2)), **{name: int(rng.integers(4)) for name in ("q_base", "k_base", "v_base", "out_base")},
        tile=tile, token_rows=token_rows, map_words=map_words, first_word=first, head_words=head_words,
        segment=segment, count_base=base, count_step=count_step, neuron=int(rng.integers(4)),
        threshold=int(rng.choice([1, 2, 5, half - 1, -half])), shift=int(rng.integers(-3, 3)),
        blocks=int(rng.choice([chip.blocks, rng.integers(1, chip.blocks + 1)])), out_token_rows=out_rows,
        out_words=out_words, popcount=int(rng.integers(2)),
    )  # fmt: skip


def without_opcode(instruction: Mapping[str, int]) -> dict[str, int]:
    """The fields of the unit alone, all there."""
    names = [field.name for field in contract.ATTEND_FIELDS]
    return {name: instruction.get(name, 0) for name in names}
