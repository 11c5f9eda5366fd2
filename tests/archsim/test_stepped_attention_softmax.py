"""Is ATTEND_SOFTMAX a softmax, and do the fast and the cycle-stepped model do it, bit for bit and cycle for cycle?"""

from copy import deepcopy
from functools import partial

import numpy as np
import pytest

from archsim.contracts import attention_softmax as contract
from archsim.contracts import dma, neuron, sequencer
from archsim.contracts.attention_softmax import reference_softmax, softmax_cycles, softmax_group_end
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.sequencer import ATTEND_SOFTMAX, ATTENTION, DMA
from archsim.kernel import Simulation, decode
from archsim.ownership import check_intervals, prove
from archsim.results import COUNT
from archsim.stepped import attention as stepped
from archsim.stepped import dma as stepped_dma
from archsim.stepped import sequencer as stepped_sequencer
from archsim.tensors import Capture
from archsim.units import attention as fast
from archsim.units import dma as fast_dma
from archsim.units.sram import AttentionMemory, Memories
from tests.archsim.softmax_program import ROWS, SECOND, softmax_program
from tests.archsim.softmax_windows import CHIPS, filled, random_window, reference_out, window, words_of
from tests.system.test_stepped import same_memories

USUAL = CHIPS[0]
IDS = {"argvalues": CHIPS, "ids": lambda chip: chip.name}


def contents(memory):
    return {name: rows.copy() for name, rows in vars(memory).items()}


def equal(one, other):
    return [name for name, rows in vars(one).items() if not np.array_equal(rows, getattr(other, name))] == []


# ------------------------------------------------------------------------------ arithmetic


@pytest.mark.parametrize("seed", range(40))
def test_reference_is_a_softmax_within_its_bound(seed):
    """Against float: scores of theta times spike plus bias, some pairs of tokens hidden from each other as in a shifted window."""
    rng = np.random.default_rng(seed)
    tokens, steps, theta, fraction = (
        int(rng.choice([4, 9, 16, 49])),
        2,
        rng.choice([0.3, 1.0, 2.5, -1.0]),
        int(rng.integers(2, 15)),
    )
    bias, hidden = (
        rng.normal(0, rng.choice([0.1, 1.5]), (tokens, tokens)),
        rng.random((tokens, tokens)) < rng.choice([0, 0.5]),
    )
    hidden[np.arange(tokens), np.arange(tokens)] = False
    spikes = rng.integers(0, 1 << 16, (3, tokens, steps)).tolist()
    both = np.stack([bias, bias + theta], axis=-1)
    both[hidden] = -np.inf
    most = both.max(axis=(1, 2), keepdims=True)
    table = np.rint(255 * np.exp(both - most)).astype(int)
    fields = window(USUAL.replace(columns=16, softmax_tokens=64), tokens, steps, segment=16, channel=0, fraction=fraction,
                    score_threshold=int(rng.integers(1, 12)), keep=int(rng.choice([256, 128])), seed=seed)  # fmt: skip
    found = reference_softmax(tuple(spikes), [tuple(row) for row in table.reshape(-1, 2).tolist()], fields, 24)
    draws, _ = contract.masker.reference(
        [[1]] * (tokens * steps * tokens), [1] + [0] * (tokens * steps * tokens - 1), seed, fields["keep"], 1
    )
    for i in range(tokens):
        v = np.full(tokens, fields["score_threshold"] // 2)
        for t in range(steps):
            v = v + [(spikes[0][i][t] & spikes[1][j][t]).bit_count() for j in range(tokens)]
            fired = v >= fields["score_threshold"]
            v = v - fired * fields["score_threshold"]
            kept = fired & np.array([draws[(i * steps + t) * tokens + j][0] for j in range(tokens)], bool)
            chosen = np.where(kept, both[i, :, 1], both[i, :, 0])
            weights = np.exp(chosen - chosen.max()) / np.exp(chosen - chosen.max()).sum()
            values = np.array([[spikes[2][j][t] >> c & 1 for c in range(16)] for j in range(tokens)])
            entries = np.where(kept, table[i, :, 1], table[i, :, 0])
            bound = (~hidden[i]).sum() / (2 * entries.sum()) + 2.0**-fraction
            error = np.abs(np.array(found[i][t]) / 2**fraction - weights @ values)
            assert error.max() <= bound
            assert bound < 0.75  # it says something


def test_quotient_of_a_sum_that_is_its_total():
    for total in (1, 7, 255, 16320):
        for value in {0, 1, total // 3, total - 1, total}:
            remainder, quotient = value, 0
            for bit in range(11):
                remainder, quotient = contract.division_step(remainder, quotient, total, int(bit == 0))
            assert quotient == value * 1024 // total
    assert contract.division_step(0, 0, 0, 1) == (0, 0)


# ------------------------------------------------------------------------------ time, worked out by hand


def cycles_of(**fields):
    chip = USUAL
    memory = filled(chip, np.random.default_rng(0), 0.4)
    f = window(chip, **fields)
    found = stepped.attend(ATTEND_SOFTMAX, f, chip, deepcopy(memory))
    assert fast.attend(ATTEND_SOFTMAX, f, chip, memory)[0] == found
    return found


def test_one_query_of_three_tokens():
    # Read in 1..3, words 2..4, counts 3..5, neurons 4..6, added 5..7; handed over 8, into the divider 9, bits in 10..12, taken 13,
    # written 16, end 17.
    assert cycles_of(tokens=3, steps=1, tile=1, fraction=2) == 17


def test_two_blocks_follow_each_other_through_the_divider():
    # The second block goes in when the first leaves, in 13, has its bits in 14..16, is taken 17, written 20, end 21.
    assert cycles_of(tokens=3, steps=1, tile=1, fraction=2, segment=8) == 21


def test_a_second_group_waits_for_the_divider():
    # Group 1 is complete at the end of 10 (handed over 11, the bank is free since 9); the divider is free in 13, when it takes
    # it; bits in 14..16, taken 17, written 20, end 21.
    assert cycles_of(tokens=3, steps=2, tile=1, fraction=2) == 21


def test_a_bank_that_is_not_free_holds_the_sums():
    # 4 blocks with a bit of fraction (3 cycles each): group 0 into the divider in 9, 12, 15, 18, its last taken in 21. Group 1 is
    # complete in 11 and handed over in 18; blocks in 21, 24, 27, 30; group 2 is handed over in 30; blocks in 33 .. 42, the
    # last taken in 45, end 49.
    fields = {"tokens": 3, "steps": 3, "tile": 1, "fraction": 1, "segment": 16}
    assert cycles_of(**fields) == 49
    assert softmax_cycles(3, 3, 4, 1) == (49, 30 - 14)


def test_quotients_without_a_fraction_wait_for_the_gap_of_the_neuron_unit():
    # A block takes 2 cycles of the divider, but groups are 3 apart at the neuron unit: taken 11, 14, 17; end 21.
    assert cycles_of(tokens=3, steps=3, tile=1, fraction=0) == 21
    assert softmax_group_end(8, 9, 11, 3, 1, 0) == (11, 12, 14)
    assert softmax_group_end(8, 9, 11, 1, 1, 0) == (9, 11, 14)


def test_a_window_of_two_tokens_is_too_small():
    memory = AttentionMemory.empty(USUAL)
    with pytest.raises(ArchsimError, match="tokens of ATTEND_SOFTMAX must be 3 or more, given 2"):
        stepped.attend(ATTEND_SOFTMAX, window(USUAL, 2, 2), USUAL, memory)


# ------------------------------------------------------------------------------ models


@pytest.mark.parametrize("chip", **IDS)
def test_fast_and_stepped_models_do_as_the_reference(chip):
    changed = spikes = rails = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        fields, memory = random_window(chip, rng), filled(chip, rng, rng.choice([0.1, 0.4, 0.8]))
        wanted = memory.out.copy()
        wanted[fields["out_bank"]] = reference_out(chip, fields, memory)
        other, kept = deepcopy(memory), contents(memory)
        cycles, counts, _ = fast.attend(ATTEND_SOFTMAX, fields, chip, memory)
        assert np.array_equal(memory.out, wanted), fields
        assert stepped.attend(ATTEND_SOFTMAX, fields, chip, other) == cycles, fields
        assert equal(memory, other), fields
        for name in ("spikes", "counts", "cleared", "table"):
            assert np.array_equal(kept[name], getattr(memory, name))
        changed += not np.array_equal(kept["out"], memory.out)
        spikes += int(counts[COUNT.spikes])
        half = 1 << (chip.membrane_bits - 1)
        rails += np.isin(memory.scores[: fields["tokens"]], [half - 1, -half]).any()
        assert counts[COUNT.fill_cycles] + counts[COUNT.stall_cycles] + counts[COUNT.popcounts] == cycles
    assert changed > 50 and spikes > 100
    assert rails or chip.membrane_bits > 20  # counts of few channels do not reach the rail of the widest


def test_a_head_leaves_the_others_as_they_are_and_the_first_clears_the_row():
    chip = CHIPS[3].replace(neurons=8)
    memory = filled(chip, np.random.default_rng(3), 0.4)
    before = memory.out.copy()
    run = partial(fast.attend, ATTEND_SOFTMAX, chip=chip, memory=memory)
    run(fields=window(chip, 8, 4, channel=16, segment=24))
    others = np.uint64(~(((1 << 24) - 1) << 16) & (1 << 64) - 1)
    assert np.array_equal(memory.out & others, before & others)
    assert not np.array_equal(memory.out, before)
    run(fields=window(chip, 8, 4, channel=0, segment=8))
    assert not (memory.out[0, :8] >> np.uint64(8)).any()
    assert np.array_equal(memory.out[0, 8:], before[0, 8:])


@pytest.mark.parametrize("chip", **IDS)
def test_a_trace_takes_the_same_time_and_counts_the_same(chip):
    rng = np.random.default_rng(5)
    fields, memory = random_window(chip, rng), filled(chip, rng, 0.4)
    computed = deepcopy(memory)
    cycles, counts, _ = fast.attend(ATTEND_SOFTMAX, fields, chip, computed)
    first, slices = fields["out_base"] + fields["first_word"], fields["steps"] // fields["lanes"]
    places = [
        first + token * fields["out_token_rows"] + index * fields["out_words"]
        for token in range(fields["tile"])
        for index in range(slices)
    ]
    rows = computed.out[fields["out_bank"], places]
    replayed = fast.attend(ATTEND_SOFTMAX, fields, chip, memory, rows)
    assert replayed[0] == cycles
    assert np.array_equal(replayed[1], counts)
    assert np.array_equal(memory.out, computed.out)


def test_recording_is_that_of_the_head():
    chip, rng = USUAL, np.random.default_rng(6)
    fields, memory = window(chip, 8, 2, channel=4, segment=8, fraction=6, threshold=40), filled(chip, rng, 0.4)
    wanted = reference_softmax(words_of(chip, fields, memory), memory.table.tolist(), fields, chip.membrane_bits)
    _, _, recording = fast.attend(ATTEND_SOFTMAX, fields, chip, memory, record=True)
    assert recording.inputs.tolist() == wanted
    assert recording.potentials[:, 0].tolist() == (np.array(wanted)[:, 0] + 20).tolist()


# ------------------------------------------------------------------------------ the table


@pytest.mark.parametrize(("row", "rows", "skip", "size"), [(0, 256, 0, 2), (5, 7, 2, 2), (3, 4, 0, 1), (1, 3, 0, 12)])
def test_load_of_the_table(row, rows, skip, size):
    chip, rng = USUAL, np.random.default_rng(rows)
    fields = {"opcode": sequencer.LOAD, "dram_address": 16, "memory": dma.TABLE, "cores": 0, "bank": 0, "row": row, "rows": rows,
              "row_bytes": size, "row_skip": skip}  # fmt: skip
    dram = rng.integers(0, 256, 8192, np.uint8)
    stride = -(-size // chip.dram_bus_bytes) * chip.dram_bus_bytes
    found = [Memories.empty(chip, dram) for _ in range(2)]
    for memories in found:
        memories.attention.table[:] = 77
    cycles, counts = fast_dma.load(fields, chip, found[0])
    assert stepped_dma.load(fields, chip, found[1]) == cycles
    wanted = np.full((256, 2), 77, np.uint8)
    for number in range(rows):
        start = 16 + number * stride
        wanted[row + number * (1 + skip)] = [dram[start], dram[start + 1] if size > 1 else 0]
    for memories in found:
        assert np.array_equal(memories.attention.table, wanted)
        assert not any(rows.any() for core in memories.cores for rows in vars(core).values())
    assert counts[COUNT.loaded_table_rows] == rows


# ------------------------------------------------------------------------------ what a program's proof refuses

LOAD = {"opcode": sequencer.LOAD, "dram_address": 0, "memory": dma.TABLE, "cores": 0, "bank": 0, "row": 0, "rows": 256,
        "row_bytes": 2, "row_skip": 0, "wait": 0, "post": 0}  # fmt: skip


def proven(chip, **fields):
    head = window(chip, fields.pop("tokens", 8), 2) | {"wait": 0, "post": 0} | fields
    prove(chip, {ATTENTION: [head]}, 0)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"tokens": 2}, r"tokens of ATTEND_SOFTMAX must be in 3\.\.16 on chip 'softmax_usual', given 2"),
        ({"tokens": 17}, r"tokens of ATTEND_SOFTMAX must be in 3\.\.16 .* given 17"),
        ({"tile": 0}, r"tile .* must be in 1\.\.16"),
        ({"words": 2}, r"words .* must be in 1\.\.1"),
        ({"head_words": 2}, r"head_words .* must be in 1\.\.1"),
        ({"segment": 6, "blocks": 1}, r"segment .* must be a multiple of neurons \(4\) .* given 6; pad the heads"),
        ({"segment": 8}, r"blocks .* must be in 2\.\.2 .* given 1"),
        ({"channel": 6}, r"channel .* must be a multiple of neurons \(4\) .* given 6"),
        ({"channel": 16}, r"channel .* must be in 0\.\.12 .* given 16"),
        ({"keep": 257}, r"keep .* must be in 0\.\.256"),
        ({"score_threshold": 1 << 23}, r"score_threshold .* must be in -8388608\.\.8388607"),
        ({"table_base": 200}, "reaches row 263 of table, but chip 'softmax_usual' has 256 rows"),
        ({"out_base": 1020}, "reaches row 1035 of attention"),
    ],
)  # fmt: skip
def test_what_no_softmax_can_do(fields, text):
    proven(USUAL)
    with pytest.raises(ArchsimError, match=text):
        proven(USUAL, **fields)


def test_a_fraction_fits_the_membranes():
    proven(CHIPS[1], tokens=4, fraction=9)
    with pytest.raises(ArchsimError, match=r"fraction .* must be in 0\.\.9 .* given 10"):
        proven(CHIPS[1], tokens=4, fraction=10)


def test_a_chip_without_softmax_refuses_it():
    without = USUAL.replace(softmax_tokens=0)
    with pytest.raises(
        ArchsimError,
        match="ATTEND_SOFTMAX needs a chip with a softmax, given chip 'softmax_usual' with softmax_tokens 0",
    ):
        proven(without)
    with pytest.raises(ArchsimError, match=r"LOAD reaches \[.*'reduce', 'program'\], given memory number 6"):
        prove(without, {DMA: [LOAD]}, 4096)


def test_extent_of_the_table():
    prove(USUAL, {DMA: [LOAD]}, 2048)
    with pytest.raises(ArchsimError, match="reaches row 256 of table"):
        prove(USUAL, {DMA: [LOAD | {"row": 1}]}, 2048)
    with pytest.raises(ArchsimError, match="table of the attention unit: cores must be 0, given 0x1"):
        prove(USUAL, {DMA: [LOAD | {"cores": 1}]}, 2048)


def test_softmax_waits_for_its_table():
    softmax = window(USUAL, 8, 2) | {"wait": 0, "post": 0}
    with pytest.raises(ArchsimError, match=r"attention table\[0\]"):
        prove(USUAL, {DMA: [LOAD], ATTENTION: [softmax]}, 2048)
    prove(USUAL, {DMA: [LOAD | {"post": 1 << ATTENTION}], ATTENTION: [softmax | {"wait": 1 << DMA}]}, 2048)


def test_the_neuron_of_the_head_may_be_any():
    for kind in (neuron.NONE, neuron.LIF, neuron.IF_ZERO):
        proven(USUAL, neuron=kind)


# ------------------------------------------------------------------------------ a whole program


@pytest.mark.parametrize("seed", [1, 2])
def test_a_whole_program_takes_the_same_cycles_and_leaves_the_same_memories_stepped(seed):
    program = softmax_program(seed)
    queues = decode(program)
    prove(program.chip, queues, len(program.dram))
    found, other = (Memories.empty(program.chip, program.dram) for _ in range(2))
    records = Simulation(program.chip, queues, found, Capture(program.chip, program.notes)).run()
    check_intervals(program.chip, queues, records)
    timeline = stepped_sequencer.run(program, other)
    for engine, times in timeline.instructions.items():
        own = records[records["engine"] == engine]
        assert np.array_equal(times, np.stack([own["start"], own["end"]], axis=1)), engine
    same_memories(found, other)
    # Of the two heads and of the whole word, by the references; the second table stands.
    rows, attention = found.cores[1].spike_in[0, : 2 * ROWS, 0], found.attention
    fields = queues[ATTENTION][2]
    assert np.array_equal(rows[ROWS:], reference_out(program.chip, fields, attention)[ROWS:, 0])
    assert len(set(rows.tolist())) > 3
    assert attention.table.tolist() == program.dram[SECOND : SECOND + 128].reshape(16, 8)[:, :2].tolist()
