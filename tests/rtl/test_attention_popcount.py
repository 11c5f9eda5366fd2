"""Does the AND-popcount engine in Verilog compute K^T V in the cycles of its law, and leave what the event engine leaves?

Random programs of both engines run in ``test_attention``; here are the blocks of tokens, the heads, and what can go wrong.
"""

import numpy as np
import pytest

from archsim.contracts import attention as contract
from archsim.contracts import transposer
from archsim.contracts.neuron import IF_ZERO
from archsim.contracts.sequencer import ATTEND_KV, ATTEND_Q
from rtl.units.attention import Attention, AttentionEngine
from rtl.units.attention_popcount import PopcountEngine
from tests.rtl.attention_slice import ENGINE, attention_of, fast_attend, law_attend, random_memory
from tests.rtl.queue_run import expected
from tests.rtl.slice_programs import chip_of, queue_of
from tests.rtl.test_attention import CHIPS, ONE, check, heads_as_segments, heads_of_words


def by_popcount(program):
    """The same program with the other engine for every K^T V."""
    return [entry | {"popcount": int(entry["opcode"] == ATTEND_KV)} for entry in program]


def blocks_of_tokens(chip):
    """One token, a block and one token less and more, several blocks, as far as the counts go."""
    program, most = [], min((1 << chip.count_bits) - 1, 2 * chip.columns + 3)
    for tokens in sorted({min(count, most) for count in (1, chip.columns - 1, chip.columns, chip.columns + 1, most)}):
        common = {"tokens": tokens, "steps": 2, "words": 2, "popcount": 1, "count_base": 1}
        program += [
            attention_of(chip, opcode, **common, tile=1, out_bank=tokens % 2) for opcode in (ATTEND_KV, ATTEND_Q)
        ]
    return program


@pytest.mark.parametrize("density", [0.05, 0.4])
@pytest.mark.parametrize("program", [blocks_of_tokens, heads_as_segments, heads_of_words])
@pytest.mark.parametrize("chip", CHIPS)
def test_handmade_program(chip, program, density):
    memory = random_memory(chip, 1, density)
    found = check(chip, by_popcount(program(chip)), memory)
    # Not vacuous: the run changed what it was to change.
    assert not np.array_equal(found.memory.counts, memory.counts)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("chip", CHIPS)
def test_both_engines_leave_the_same_counts(chip, seed):
    """The counts as ATTEND_Q reads them, whichever engine ran, also over what the other left; and the contract's reference."""
    memory, tokens = random_memory(chip, seed, (0.02, 0.2, 0.6, 1)[seed]), min((1 << chip.count_bits) - 1, 20)
    base = attention_of(chip, ATTEND_KV, tokens, 2, 2)
    runs = []
    for order in ((0, 1), (1, 0), (1,)):
        runs.append(check(chip, [base | {"popcount": popcount} for popcount in order], memory).memory.counts)
        assert np.array_equal(runs[-1], runs[0])
    for step, word in np.ndindex(2, 2):
        rows = np.arange(tokens) * base["token_rows"] + step // base["lanes"] * 2 + word
        k, v = (memory.spikes[bank, rows, step % base["lanes"]].tolist() for bank in (2, 3))
        first = contract.count_row(0, 2, step, word, 0, 0, 1, chip.columns)
        wanted = contract.reference_kv(k, v, chip.columns, chip.columns)
        assert runs[0][first : first + chip.columns].tolist() == wanted
    # Not vacuous: a row differs from its neighbours and within itself.
    rows = runs[0][: 4 * chip.columns]
    assert seed in (0, 3) or (np.diff(rows, axis=0).any() and np.diff(rows, axis=1).any())


@pytest.mark.parametrize("chip", CHIPS)
def test_a_whole_block_first_after_the_reset(chip):
    """Nothing stands before the engine then: one word more would open a second block."""
    tokens = min((1 << chip.count_bits) - 1, chip.columns)
    check(chip, [attention_of(chip, ATTEND_KV, tokens, 1, 1, popcount=1)], random_memory(chip, 1, 0.5))


@pytest.mark.parametrize("spikes", ["empty", "full"])
@pytest.mark.parametrize("chip", CHIPS)
def test_empty_and_full_words(chip, spikes):
    memory, tokens = random_memory(chip, 2, 0.5), min((1 << chip.count_bits) - 1, chip.columns + 1)
    memory.spikes[:] = 0 if spikes == "empty" else (1 << chip.columns) - 1
    program = [attention_of(chip, opcode, tokens, 1, 2, tile=1, threshold=1, neuron=IF_ZERO, popcount=1)
               for opcode in (ATTEND_KV, ATTEND_Q)]  # fmt: skip
    found = check(chip, program, memory)
    assert (found.memory.counts[: 2 * chip.columns] == (0 if spikes == "empty" else tokens)).all()


# ------------------------------------------------------------------------------ the comparison can fail


class MixedColumns(PopcountEngine):
    """Takes two channels of V for each other."""

    def _row(self, m, valid, part, numbers):
        row = super()._row(m, valid, part, numbers)
        return [row[1], row[0], *row[2:]]


class OldBits(PopcountEngine):
    """Looks at bits of V that belong to the token before."""

    def _numbers(self, m, key, held, part):
        return super()._numbers(m, key, [held[-1], *held[:-1]], part)


@pytest.mark.parametrize("wrong", [MixedColumns, OldBits])
def test_wrong_hardware_is_found(monkeypatch, wrong):
    queue, memory = queue_of(by_popcount(heads_as_segments(ONE))), random_memory(ONE, 1, 0.3)
    wanted = expected(ONE, queue, memory, [], fast_attend)
    monkeypatch.setattr("rtl.units.attention.PopcountEngine", wrong)

    class WrongEngine(AttentionEngine):
        def __init__(self, chip):
            super().__init__(chip, Attention)

    WrongEngine.__name__ = wrong.__name__  # the file is named by it
    found = ENGINE.run(ONE, queue, memory, library=ENGINE.library(ONE, WrongEngine))
    assert wanted.times == found.times
    assert ENGINE.difference(wanted, found) != ""


@pytest.mark.parametrize(
    ("module", "constant"),
    [(contract, "FIRST_PAIR"), (contract, "KV_OVERHEAD"), (transposer, "LATENCY"), (transposer, "TURN"), (None, "")],
)
def test_a_changed_constant_is_found(monkeypatch, module, constant):
    queue, memory = queue_of([attention_of(ONE, ATTEND_KV, 3, 2, 2, popcount=1)]), random_memory(ONE, 1, 0.1)
    if module is not None:
        monkeypatch.setattr(module, constant, getattr(module, constant) + 1)
    wanted = expected(ONE, queue, memory, [], law_attend)
    assert (wanted.times == ENGINE.run(ONE, queue, memory).times) == (module is None)


# ------------------------------------------------------------------------------ Icarus


def test_icarus(tmp_path):
    chip = chip_of(
        "small_popcount", lanes=2, columns=4, neurons=2, attention_rows=64, count_rows=32, count_bits=3, queue_rows=8
    )
    # Both banks of Q are read: no memory stays unknown.
    program = [
        attention_of(chip, opcode, 5, 2, 2, tile=2, threshold=1, segment=2, popcount=1, q_bank=bank)
        for opcode, bank in ((ATTEND_KV, 0), (ATTEND_Q, 0), (ATTEND_Q, 1))
    ]
    queue, memory = queue_of(program), random_memory(chip, 5, 0.4)
    wanted = expected(chip, queue, memory, [], fast_attend)
    outputs = ENGINE.on_cocotb(chip, queue, memory, [], wanted.times[-1][1] + 20, tmp_path)
    assert ENGINE.difference(wanted, ENGINE.observed(chip, memory, outputs)) == ""
