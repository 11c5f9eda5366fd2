"""Is the bit transposer's Verilog the law and the stepped model, on every bit and in every cycle?"""

import numpy as np
import pytest

from archsim.contracts import transposer as contract
from archsim.contracts.transposer import TransposerParams
from archsim.stepped import transposer as stepped
from archsim.units import transposer as fast
from rtl.units.transposer import Transposer
from tests.rtl import driver
from tests.rtl.bench import STALLS, Case, compare, pack, require_same, words_of
from tests.rtl.late import Late
from tests.rtl.levels import Cocotb, Mass, component_library, library


def make(params, words, gaps, ready):
    """A case of these words (arrays by field) with its expectation: the law's, which must be the stepped model's."""
    law, model = (module.run(params, words, gaps, ready) for module in (fast, stepped))
    case = Case(
        constants={}, load=np.zeros((0, 1), np.uint64), noise=np.zeros((0, 1), np.uint64),
        payload=pack(params.i, words), gaps=gaps, ready=ready, accepted=law.accepted,
        output=pack(params.o, {"bits": law.columns, "last": law.last}), transferred=law.transferred,
        state=words_of(params.state.pack(law.state), params.state.width),
    )  # fmt: skip
    return require_same(law, model, case)


def random_words(params, rng, count):
    """Words of any bits, in blocks of any length; the last block is rarely complete."""
    bits = rng.integers(0, (1 << params.word_bits) - 1, count, np.uint64, endpoint=True)
    return {"bits": bits, "last": (rng.random(count) < rng.choice([0, 0.5 / params.word_bits, 0.3])).astype(np.int64)}


class TransposerCases:
    unit = "transposer"
    words = dict(contract.corners())
    sets = [*words]

    def corners(self, params, stalls, rng):
        """The contract's corner words."""
        words = {name: np.array([word[name] for word in self.words[params]], np.uint64) for name in ("bits", "last")}
        count = len(words["bits"])
        yield make(params, words, stalls.gaps(rng, count), stalls.trace(rng))

    def random(self, params, stalls, rng, transactions):
        words = random_words(params, rng, transactions)
        return make(params, words, stalls.gaps(rng, transactions), stalls.trace(rng))


class TestLibrary(TransposerCases, Mass):
    def test_output_equals_numpy(self, params, stalls):
        """What is expected of the Verilog is the transposition of NumPy and, block by block, the contract's reference."""
        rng = np.random.default_rng(3)
        words, size = random_words(params, rng, 300), params.word_bits
        case = make(params, words, STALLS[stalls].gaps(rng, 300), STALLS[stalls].trace(rng))
        bits = words["bits"][:, None] >> np.arange(size, dtype=np.uint64) & np.uint64(1)
        first, columns, reference = 0, [], []
        for count in contract.block_sizes(words["last"].tolist(), size):
            block = np.zeros((size, size), np.uint64)
            block[:count] = bits[first : first + count]
            columns += (block.T << np.arange(size, dtype=np.uint64)).sum(axis=1, dtype=np.uint64).tolist()
            reference += contract.reference(words["bits"][first : first + count].tolist(), size)
            first += count
        assert columns == reference
        marks = (np.arange(len(columns)) % size == size - 1).astype(np.int64)
        assert np.array_equal(case.output, pack(params.o, {"bits": np.array(columns, np.uint64), "last": marks}))
        seen, states = driver.run(library(self.unit, params), case, trace=True)
        compare(case, seen, params.o)
        assert np.array_equal(states, expected_states(params, words, case))


class TestIcarus(TransposerCases, Cocotb):
    simulator = "icarus"
    sets = TransposerCases.sets[:-1]  # without the widest: slow


class TestCocotbVerilator(TransposerCases, Cocotb):
    simulator = "verilator"
    sets = TransposerCases.sets[2:3]


def expected_states(params, words, case):
    """State in every cycle, from the arithmetic of the contract and the handshakes alone."""
    size = params.word_bits
    arrivals = {int(cycle): number for number, cycle in enumerate(case.accepted)}
    takes, rows, index, draining, states = set(case.transferred.tolist()), [0] * size, 0, 0, []
    for cycle in range(case.limit):
        state = {"rows": rows if size > 1 else rows[0], "index": index, "draining": draining}
        states.append(words_of(params.state.pack(state), params.state.width))
        if cycle in takes:
            rows, index = contract.step(rows)[1], (index + 1) % size
            draining = int(index > 0)
        elif cycle in arrivals:
            number = arrivals[cycle]
            rows = [int(words["bits"][number]) if at == index else row for at, row in enumerate(rows)]
            draining = int(words["last"][number] or index == size - 1)
            index = 0 if draining else index + 1
    return np.array(states)


LATE = TransposerParams(5)


@pytest.mark.parametrize("side", ["i", "o"])
def test_a_register_too_many_is_seen(side, stalls):
    case = TransposerCases().random(LATE, STALLS[stalls], np.random.default_rng(4), 200)
    seen, _ = driver.run(component_library(f"late_transposer_{side}", Late(Transposer(LATE), side)), case)
    with pytest.raises(AssertionError, match=r"^(acceptance|transfer) \d+: expected \d+, seen \d+$"):
        compare(case, seen, LATE.o)
    assert np.array_equal(case.output, seen.output)  # the bits are right: only the cycles tell


@pytest.mark.parametrize("constant", ["LATENCY", "TURN"])
def test_a_wrong_constant_of_the_law_is_seen(monkeypatch, constant):
    words, gaps = random_words(LATE, np.random.default_rng(5), 200), np.zeros(200, np.int64)
    monkeypatch.setattr(contract, constant, 2)
    with pytest.raises(AssertionError, match="law and stepped model differ in accepted"):
        make(LATE, words, gaps, np.ones(1, np.bool_))
