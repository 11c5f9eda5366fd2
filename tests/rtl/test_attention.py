"""Does the attention unit in Verilog do every instruction of its queue in the cycles of the law, and leave the same bits?

Every expectation is made before the Verilog runs: by the contract's law of the queue, with the fast model and the
cycle-stepped one for the instructions, and for cycles alone with the law in plain Python.
"""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

from archsim import kernel, simulate
from archsim.contracts import attention as contract
from archsim.contracts import attention_softmax as softmax
from archsim.contracts import neuron, sequencer
from archsim.contracts.neuron import IF_HALF, IF_ZERO, LIF, NONE
from archsim.contracts.sequencer import ATTEND_GATE, ATTEND_KV, ATTEND_Q, ATTEND_SCORES
from archsim.units import attention as fast
from rtl.units.attention import Attention, AttentionEngine
from rtl.units.attention_counts import CountMemory
from rtl.units.attention_softmax import Scores
from tests.archsim.softmax_windows import random_window, window
from tests.rtl import attention_slice
from tests.rtl.attention_slice import (
    ENGINE,
    attention_of,
    fast_attend,
    law_attend,
    random_instruction,
    random_memory,
    stepped_attend,
    without_opcode,
)
from tests.rtl.queue_run import QueueRun, expected
from tests.rtl.slice_programs import chip_of, queue_of

WORKLOAD = Path(__file__).parents[2] / "workloads" / "spikingformer.yaml"

ONE = chip_of("one", columns=8, neurons=4, attention_rows=256, count_rows=256, count_bits=4)
LEAST = chip_of("least", columns=4, neurons=1, membrane_bits=8, attention_rows=256, count_rows=128, count_bits=2)
ODD = chip_of("odd", lanes=2, columns=9, neurons=9, membrane_bits=10, attention_rows=200, count_rows=200, count_bits=3)
THREE = chip_of(
    "three", lanes=3, columns=12, neurons=2, membrane_bits=8, attention_rows=256, count_rows=600, count_bits=16
)
FOUR = chip_of(
    "four", lanes=4, columns=16, neurons=4, membrane_bits=12, attention_rows=256, count_rows=512, count_bits=5
)
WIDE = chip_of("wide", lanes=4, columns=64, neurons=64, attention_rows=256, count_rows=2048, count_bits=6)
SOFT = [
    chip_of("soft_one", columns=8, neurons=4, membrane_bits=24, attention_rows=256, count_rows=256, softmax_tokens=16),
    chip_of("soft_least", columns=4, neurons=1, membrane_bits=11, attention_rows=256, count_rows=128, count_bits=2,
            softmax_tokens=4),
    chip_of("soft_odd", lanes=3, columns=9, neurons=3, membrane_bits=13, attention_rows=200, count_rows=200, count_bits=3,
            softmax_tokens=9),
    chip_of("soft_wide", lanes=4, columns=32, neurons=8, membrane_bits=15, attention_rows=512, count_rows=1024,
            softmax_tokens=64),
]  # fmt: skip
"""With a softmax: a usual one; one neuron, the narrowest membranes; no power of two; the most tokens, four lanes."""
CHIPS = [pytest.param(chip, id=chip.name) for chip in (ONE, LEAST, ODD, THREE, FOUR, WIDE)]
"""One lane; one neuron and counts of 2 bits; a single block, M no power of two, a count memory that does not end with a block;
counts wider than the sums; four lanes; words of 64 channels, all neurons at once."""


def check(chip, instructions, memory, posts=()):
    """Run the program on the models and then on the Verilog; all of them must agree in everything."""
    queue = queue_of(instructions)
    runs = [expected(chip, queue, memory, posts, model) for model in (fast_attend, stepped_attend)]
    law = expected(chip, queue, runs[0].memory, posts, law_attend)
    assert law.times == runs[0].times
    found = ENGINE.run(chip, queue, memory, posts)
    for run in runs:
        assert ENGINE.difference(run, found) == ""
    return found


# ------------------------------------------------------------------------------ programs


def heads_as_segments(chip):
    """Two tiles of Q behind K and V; every size of a head; Q adds rows that no event of K has written."""
    sizes = [size for size in range(1, chip.columns + 1) if chip.columns % size == 0]
    program = []
    for number, size in enumerate(sizes):
        common = {"tokens": 3, "steps": 3, "words": 2, "segment": size, "out_bank": number % 2}
        program.append(attention_of(chip, ATTEND_KV, **common))
        for first in (0, 2):
            tile = {"tile": 2 - first // 2, "q_base": 6 * first, "out_base": 6 * first, "q_bank": first // 2}
            program.append(attention_of(chip, ATTEND_Q, **common | tile))
    return program


def heads_of_words(chip):
    """Heads of two and of three words, the words of a head after the other; K and V of a part of the map."""
    program = []
    for head_words, first, steps in ((2, 2, 2), (3, 0, 1)):
        for opcode in (ATTEND_KV, ATTEND_Q, ATTEND_SCORES):
            common = {"head_words": head_words, "first_word": first, "map_words": 7, "out_words": 7, "count_step": 12}
            rows = {"token_rows": 7 * steps, "out_token_rows": 7 * steps, "out_bank": opcode % 2}
            words = 2 * head_words if head_words == 2 else 3
            program.append(attention_of(chip, opcode, 3, steps, words, **common | rows, threshold=1))
    return program


def gates(chip):
    """One token of Q and several; every neuron; steps that are no multiple of the lanes."""
    return [
        attention_of(
            chip, ATTEND_GATE, 3, steps, 2, tile=tile, neuron=kind, threshold=1, out_base=40, out_bank=kind % 2
        )
        for kind, steps, tile in ((LIF, 4, 1), (IF_HALF, 6, 3), (IF_ZERO, 5, 2), (NONE, 1, 3))
    ]


@pytest.mark.parametrize("density", [0.05, 0.4])
@pytest.mark.parametrize("program", [heads_as_segments, heads_of_words, gates])
@pytest.mark.parametrize("chip", CHIPS)
def test_handmade_program(chip, program, density):
    memory = random_memory(chip, 1, density)
    found = check(chip, program(chip), memory)
    # Not vacuous: the run changed what it was to change.
    assert not np.array_equal(found.memory.out, memory.out)


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("chip", CHIPS)
def test_random_program(chip, seed):
    rng = np.random.default_rng(seed)
    program = [random_instruction(chip, rng) for _ in range(rng.integers(1, 6))]
    check(chip, program, random_memory(chip, seed, rng.choice([0.02, 0.1, 0.3, 0.8])))


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("chip", SOFT, ids=lambda chip: chip.name)
def test_random_program_with_softmax(chip, seed):
    rng = np.random.default_rng([7, seed])
    program = [random_window(chip, rng), *(random_instruction(chip, rng) for _ in range(rng.integers(1, 5)))]
    check(chip, program, random_memory(chip, seed, rng.choice([0.1, 0.3, 0.8])))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("chip", [pytest.param(ONE, id="one"), pytest.param(FOUR, id="four")])
def test_counts_on_their_way_to_the_memory(chip, seed):
    """Words of one event or none, of two channels alone: rows return one, two and three events later, and after pauses."""
    rng = np.random.default_rng(seed)
    memory = random_memory(chip, seed, 0.5)
    memory.spikes[2] = rng.choice([0, 1, 2, 3], memory.spikes[2].shape, p=[0.2, 0.4, 0.3, 0.1])
    tokens = (1 << chip.count_bits) - 1
    check(chip, [attention_of(chip, opcode, tokens, 2, 2, tile=2) for opcode in (ATTEND_KV, ATTEND_Q)], memory)


@pytest.mark.parametrize("spikes", ["empty", "full"])
@pytest.mark.parametrize("chip", CHIPS)
def test_empty_and_full_words(chip, spikes):
    memory = random_memory(chip, 2, 0.5)
    memory.spikes[:] = 0 if spikes == "empty" else (1 << chip.columns) - 1
    program = [
        attention_of(chip, opcode, 3, 2, 2, threshold=1, out_bank=opcode % 2, neuron=IF_ZERO)
        for opcode in attention_slice.OPCODES
    ]
    found = check(chip, program, memory)
    rows = found.memory.counts[: 2 * 2 * chip.columns]
    assert (rows == (0 if spikes == "empty" else 3)).all()


def test_counts_that_were_there_before():
    """ATTEND_Q alone reads what lies in the memory; an ATTEND_KV of some words leaves the others."""
    memory = random_memory(FOUR, 4, 0.2)
    rows = {"map_words": 4, "token_rows": 4, "out_words": 4, "out_token_rows": 4, "count_step": 4}
    found = check(FOUR, [
        attention_of(FOUR, ATTEND_Q, 3, 4, 4, **rows, threshold=9),
        attention_of(FOUR, ATTEND_KV, 3, 4, 2, **rows, first_word=1, count_base=1),
        attention_of(FOUR, ATTEND_Q, 3, 4, 4, **rows, threshold=9, out_bank=1),
    ], memory)  # fmt: skip
    assert np.array_equal(found.memory.counts[:16], memory.counts[:16])
    assert not np.array_equal(found.memory.counts[16:48], memory.counts[16:48])
    assert not np.array_equal(found.memory.out[0], found.memory.out[1])


def test_semaphores():
    program = [
        attention_of(ONE, ATTEND_KV, 3, 1, 2, wait=1, post=4), attention_of(ONE, ATTEND_Q, 3, 1, 2, wait=2, post=9),
        attention_of(ONE, ATTEND_GATE, 3, 1, 2, wait=1, post=2),
    ]  # fmt: skip
    found = check(ONE, program, random_memory(ONE, 3, 0.2), [(0, 0), (20, 0), (150, 1)])
    assert [engines for _, engines in found.posts] == [4, 9, 2]
    assert found.times[1][0] == 151


# ------------------------------------------------------------------------------ the trained network


class Recorder:
    """``archsim.units.attention`` that keeps instructions: (opcode, fields, memory before, memory after, cycles)."""

    def __init__(self):
        self.kept = []

    def attend(self, opcode, head, chip, memory, *arguments):
        before = deepcopy(memory)
        result = fast.attend(opcode, head, chip, memory, *arguments)
        self.kept.append((opcode, without_opcode(head), before, deepcopy(memory), result[0]))
        return result


@pytest.mark.parametrize("preset", ["small", "small_t4"])
def test_instructions_of_the_network(monkeypatch, preset):
    mapped = simulate.load(WORKLOAD, preset)
    recorder = Recorder()
    monkeypatch.setattr(kernel, "attention", recorder)
    simulate.run_image(mapped, mapped.trained.normalised()[0], 0, record=True)  # instruction by instruction
    assert {kept[0] for kept in recorder.kept} == {ATTEND_KV, ATTEND_Q}
    chip = mapped.program.chip
    for opcode, fields, before, after, cycles in recorder.kept:
        wanted = QueueRun([(sequencer.DECODE, sequencer.DECODE + cycles)], [], after)
        found = ENGINE.run(chip, queue_of([{"opcode": opcode, **fields}]), before)
        assert ENGINE.difference(wanted, found) == ""
        # The other two dataflows on the same spikes: all of the map in place of some words.
        for other in (ATTEND_SCORES, ATTEND_GATE) if opcode == ATTEND_KV else ():
            whole = [fields | {"opcode": other, "tile": fields["tokens"] // 4, "neuron": LIF, "out_bank": 1}]
            check(chip, whole, before)


# ------------------------------------------------------------------------------ the comparison can fail


class LateGranules(Attention):
    """A register too many between neurons and writer."""

    def _write(self, m, neuron):
        source, target = neuron.o, self.writer.i
        m.d.sync += [target.valid.eq(source.valid), target.payload.eq(source.payload)]


class LateEngine(AttentionEngine):
    """The engine with that register."""

    def __init__(self, chip):
        super().__init__(chip, LateGranules)


class ForgetfulCounts(CountMemory):
    """A count memory whose rows keep what was stored."""

    def _cleared(self, m):
        super()._cleared(m)
        return (1 << self.params.chip.columns) - 1


class ForgetfulEngine(AttentionEngine):
    """The engine with that count memory."""

    def __init__(self, chip):
        super().__init__(chip)
        self.unit.counts.__class__ = ForgetfulCounts


@pytest.mark.parametrize(
    ("wrong", "message"), [(LateEngine, "instruction 1: start and end"), (ForgetfulEngine, "out[")]
)
def test_wrong_hardware_is_found(wrong, message):
    queue, memory = queue_of(heads_as_segments(ONE)), random_memory(ONE, 1, 0.3)
    wanted = expected(ONE, queue, memory, [], fast_attend)
    found = ENGINE.run(ONE, queue, memory, library=ENGINE.library(ONE, wrong))
    assert ENGINE.difference(wanted, found).startswith(message)


@pytest.mark.parametrize(
    ("module", "constant"),
    [
        (contract, "FIRST_ADD"), (contract, "FIRST_SCORE"), (contract, "FIRST_GATE"), (contract, "KV_OVERHEAD"),
        (contract, "GATE_OVERHEAD"), (neuron, "LATENCY"), (neuron, "GROUP_GAP"), (None, ""),
    ],
)  # fmt: skip
def test_a_changed_constant_is_found(monkeypatch, module, constant):
    program = [attention_of(ONE, opcode, 3, 2, 2) for opcode in attention_slice.OPCODES]
    queue, memory = queue_of(program), random_memory(ONE, 1, 0.02)
    if module is not None:
        monkeypatch.setattr(module, constant, getattr(module, constant) + 1)
    wanted = expected(ONE, queue, memory, [], law_attend)
    assert (wanted.times == ENGINE.run(ONE, queue, memory).times) == (module is None)


@pytest.mark.parametrize("corner", range(4))
@pytest.mark.parametrize("chip", SOFT[1:3], ids=lambda chip: chip.name)
def test_corners_of_the_softmax(chip, corner):
    """Alone, so that the membranes that it leaves are compared; queries 0 and 1 have entries of 0 only."""
    tokens, memory = chip.softmax_tokens, random_memory(chip, corner, 0.6)
    memory.table[: 2 * tokens] = 0
    for kind in (IF_HALF, IF_ZERO):
        fields = window(chip, tokens, 4, neuron=kind, segment=chip.columns) | softmax.corners(chip.membrane_bits)[corner]
        check(chip, [fields], memory)


class UnmaskedScores(Scores):
    """Scores whose spikes all stay."""

    def _kept(self, m, taken):
        super()._kept(m, taken)
        return 1


class UnmaskedEngine(AttentionEngine):
    """The engine with them."""

    def __init__(self, chip):
        super().__init__(chip)
        self.unit.softmax.__class__ = UnmaskedScores


def softmax_program(chip):
    """Two windows, all of whose score spikes are masked."""
    heads = {"keep": 0, "score_threshold": 1, "fraction": 6, "threshold": 1, "neuron": IF_ZERO}
    return [window(chip, 4, 3, seed=seed, out_bank=seed, **heads) for seed in (0, 1)]


def test_wrong_scores_are_found():
    chip, memory = SOFT[1], random_memory(SOFT[1], 1, 0.5)
    memory.table[:] = 0, 255  # a spike that stays is all that counts
    queue = queue_of(softmax_program(chip))
    wanted = expected(chip, queue, memory, [], fast_attend)
    assert ENGINE.difference(wanted, ENGINE.run(chip, queue, memory)) == ""
    found = ENGINE.run(chip, queue, memory, library=ENGINE.library(chip, UnmaskedEngine))
    assert ENGINE.difference(wanted, found).startswith("out[")


@pytest.mark.parametrize("constant", ["FIRST_SOFTMAX", "DIVISION_OVERHEAD", ""])
def test_a_changed_constant_of_the_softmax_is_found(monkeypatch, constant):
    chip, memory = SOFT[1], random_memory(SOFT[1], 1, 0.5)
    queue = queue_of(softmax_program(chip))
    if constant:
        monkeypatch.setattr(softmax, constant, getattr(softmax, constant) + 1)
    monkeypatch.setattr(softmax, "softmax_cycles", softmax.softmax_cycles.__wrapped__)  # nothing of before
    wanted = expected(chip, queue, memory, [], law_attend)
    assert (wanted.times == ENGINE.run(chip, queue, memory).times) == (not constant)


def test_a_changed_bit_is_found():
    queue, memory = queue_of(heads_as_segments(ONE)), random_memory(ONE, 1, 0.3)
    found = ENGINE.run(ONE, queue, memory)
    assert ENGINE.difference(found, ENGINE.run(ONE, queue, memory)) == ""
    other = deepcopy(memory)
    other.spikes[2, 0, 0] ^= 1  # a spike of K: its cycle or its row
    assert ENGINE.difference(found, ENGINE.run(ONE, queue, other)) != ""
    for name in attention_slice.MEMORIES:
        changed = deepcopy(found)
        getattr(changed.memory, name)[-1, -1] ^= 1
        assert ENGINE.difference(found, changed).startswith(name)


# ------------------------------------------------------------------------------ Icarus


def test_icarus(tmp_path):
    chip = chip_of(
        "small_attention", lanes=2, columns=4, neurons=2, attention_rows=32, count_rows=32, count_bits=3, queue_rows=8
    )
    program = [
        attention_of(chip, opcode, 3, 4, 2, tile=2, threshold=1, segment=2, wait=opcode == ATTEND_Q,
                     q_bank=opcode % 2)  # fmt: skip
        for opcode in attention_slice.OPCODES
    ]  # fmt: skip
    queue, memory, posts = queue_of(program), random_memory(chip, 5, 0.4), [(9, 0)]
    wanted = expected(chip, queue, memory, posts, fast_attend)
    outputs = ENGINE.on_cocotb(chip, queue, memory, posts, wanted.times[-1][1] + 20, tmp_path)
    assert ENGINE.difference(wanted, ENGINE.observed(chip, memory, outputs)) == ""
