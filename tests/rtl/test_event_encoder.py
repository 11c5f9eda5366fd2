"""Is the event encoder's Verilog the law and the stepped model, on every bit and in every cycle?"""

import numpy as np
import pytest

from archsim.contracts import event_encoder as contract
from archsim.contracts.event_encoder import EventEncoderParams
from archsim.stepped import event_encoder as stepped
from archsim.units import event_encoder as fast
from rtl.units.event_encoder import EventEncoder
from tests.rtl import driver
from tests.rtl.bench import STALLS, Case, compare, pack, require_same, words_of
from tests.rtl.late import Late
from tests.rtl.levels import Cocotb, Mass, component_library, library

DENSITIES = (0, 0.02, 0.1, 0.3, 0.7, 1)


def columns(words):
    """Words, a mapping each, as arrays by field."""
    return {name: np.array([word[name] for word in words], np.uint64) for name in words[0]}


def make(params, words, gaps, ready):
    """A case of these words (arrays by field) with its expectation: the law's, which must be the stepped model's."""
    law, model = (module.run(params, words, gaps, ready) for module in (fast, stepped))
    case = Case(
        constants={}, load=np.zeros((0, 1), np.uint64), noise=np.zeros((0, 1), np.uint64),
        payload=pack(params.i, words), gaps=gaps, ready=ready, accepted=law.accepted,
        output=pack(params.o, dict(zip(("op", "row", "mask", "last"), law.events.T, strict=True))),
        transferred=law.transferred, state=words_of(params.state.pack(law.state), params.state.width),
    )  # fmt: skip
    return require_same(law, model, case)


def random_words(params, rng, count):
    """Words of every density, with every mark, at every row."""
    density = rng.choice(DENSITIES, (count, 1, 1))
    bits = rng.random((count, params.lanes, params.word_bits)) < density
    spikes = bits.astype(np.uint64) @ (np.uint64(1) << np.arange(params.word_bits, dtype=np.uint64))
    rows = (1 << params.row_bits) - params.word_bits
    marks = {name: rng.integers(0, 2, count) for name in ("shift", "subtract", "last")}
    return {"spikes": spikes, "row": rng.integers(0, rows + 1, count), **marks}


class EventEncoderCases:
    unit = "event_encoder"
    words = dict(contract.corners())
    sets = [*words, EventEncoderParams(16, 64, 14)]

    def corners(self, params, stalls, rng):
        """The contract's corner words (random ones for a set that is none of its own)."""
        words = self.words.get(params)
        words = columns(words) if words else random_words(params, rng, 64)
        count = len(words["row"])
        yield make(params, words, stalls.gaps(rng, count), stalls.trace(rng))

    def random(self, params, stalls, rng, transactions):
        words = random_words(params, rng, transactions)
        return make(params, words, stalls.gaps(rng, transactions), stalls.trace(rng))


class TestLibrary(EventEncoderCases, Mass):
    def test_state_in_every_cycle(self, params, stalls):
        """What is held follows from the handshakes: a word's channels, without those that were taken."""
        case = self.random(params, STALLS[stalls], np.random.default_rng(3), 100)
        words = random_words(params, np.random.default_rng(3), 100)
        seen, states = driver.run(library(self.unit, params), case, trace=True)
        assert np.array_equal(states, expected_states(params, words, case))
        compare(case, seen, params.o)


class TestIcarus(EventEncoderCases, Cocotb):
    simulator = "icarus"
    sets = EventEncoderCases.sets[:-1]  # without the widest: ten seconds


class TestCocotbVerilator(EventEncoderCases, Cocotb):
    simulator = "verilator"
    sets = EventEncoderCases.sets[2:3]


def expected_states(params, words, case):
    """State in every cycle, from the contract's reference and the handshakes alone."""
    states, end = [], 0
    for cycle in range(case.limit):
        held = int(np.count_nonzero(case.accepted < cycle)) - 1
        state = {"busy": 0, "shift": 0}
        if held >= 0:
            spikes = [int(word) for word in words["spikes"][held]]
            marks = [int(words[name][held]) for name in ("row", "shift", "subtract", "last")]
            first = int(np.count_nonzero(case.transferred <= case.accepted[held]))
            events = contract.reference(spikes, *marks)
            taken = int(np.count_nonzero(case.transferred < cycle)) - first
            union = 0
            for word in spikes:
                union |= word
            left = union
            for _ in range(max(0, taken - marks[1])):
                left &= left - 1
            remaining = [word & left for word in spikes]
            state = {"busy": int(taken < len(events)), "shift": int(marks[1] and taken == 0)}
            state["remaining"] = remaining if params.lanes > 1 else remaining[0]
            end = max(end, first + len(events))
        states.append(words_of(params.state.pack(state), params.state.width))
    assert end == len(case.transferred)
    return np.array(states)


LATE = EventEncoderParams(3, 5, 3)


@pytest.mark.parametrize("side", ["i", "o"])
def test_a_register_too_many_is_seen(side, stalls):
    case = EventEncoderCases().random(LATE, STALLS[stalls], np.random.default_rng(4), 200)
    seen, _ = driver.run(component_library(f"late_encoder_{side}", Late(EventEncoder(LATE), side)), case)
    with pytest.raises(AssertionError, match=r"^(acceptance|transfer) \d+: expected \d+, seen \d+$"):
        compare(case, seen, LATE.o)
    assert np.array_equal(case.output, seen.output)  # the bits are right: only the cycles tell


@pytest.mark.parametrize("latency", [0, 2])
def test_a_wrong_latency_of_the_law_is_seen(monkeypatch, latency):
    words, gaps = random_words(LATE, np.random.default_rng(5), 200), np.zeros(200, np.int64)
    case = make(LATE, words, gaps, np.ones(1, np.bool_))
    monkeypatch.setattr(contract, "LATENCY", latency)
    with pytest.raises(AssertionError, match="law and stepped model differ in accepted"):
        make(LATE, words, gaps, np.ones(1, np.bool_))
    wrong = fast.run(LATE, words, gaps, np.ones(1, np.bool_))
    case.accepted, case.transferred = wrong.accepted, wrong.transferred
    seen, _ = driver.run(library("event_encoder", LATE), case)
    with pytest.raises(AssertionError, match=r"^acceptance 1: expected \d+, seen \d+$"):
        compare(case, seen, LATE.o)
