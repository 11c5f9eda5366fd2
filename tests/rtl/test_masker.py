"""Is the masker's Verilog the law, the stepped model and the sequence bit by bit, in every cycle?"""

import numpy as np
import pytest

from archsim.contracts import masker as contract
from archsim.contracts.masker import KEEP_ALL, MaskerParams
from archsim.stepped import masker as stepped
from archsim.units import masker as fast
from rtl.units.masker import Masker
from tests.rtl import driver
from tests.rtl.bench import STALLS, Case, compare, number, pack, require_same, words_of
from tests.rtl.late import Late
from tests.rtl.levels import Cocotb, Mass, component_library, library


def make(params, config, words, gaps, ready):
    """A case of these words (arrays by field) with its expectation: the law's, which must be the stepped model's."""
    law, model = (module.run(params, config, words, gaps, ready) for module in (fast, stepped))
    case = Case(
        constants={"config": params.config.pack(config)}, load=np.zeros((0, 1), np.uint64),
        noise=np.zeros((0, 1), np.uint64), payload=pack(params.i, words), gaps=gaps, ready=ready, accepted=law.accepted,
        output=pack(params.o, {"spikes": law.spikes}), transferred=law.transferred,
        state=words_of(params.state.pack(law.state), params.state.width),
    )  # fmt: skip
    return require_same(law, model, case)


def random_words(params, rng, count):
    """Words of any spikes, a fifth of them full; the sequence begins anew now and then, or with every word."""
    full = (1 << params.word_bits) - 1
    spikes = rng.integers(0, full, (count, params.lanes), np.uint64, endpoint=True)
    spikes[rng.random(count) < 0.2] = full
    return {"spikes": spikes, "first": (rng.random(count) < rng.choice([0, 0.02, 0.5, 1])).astype(np.int64)}


class MaskerCases:
    unit = "masker"
    sets = [*contract.corners(), MaskerParams(16, 8)]

    def corners(self, params, stalls, rng):
        """Both ends of ``keep`` and of the seeds."""
        for keep in (0, 1, KEEP_ALL - 1, KEEP_ALL):
            for seed in (0, (1 << contract.SEED_BITS) - 1):
                yield self.case(params, {"seed": seed, "keep": keep}, stalls, rng, 30)

    def random(self, params, stalls, rng, transactions):
        config = {"seed": int(rng.integers(1 << contract.SEED_BITS)), "keep": int(rng.integers(1, KEEP_ALL))}
        return self.case(params, config, stalls, rng, transactions)

    @staticmethod
    def case(params, config, stalls, rng, count):
        return make(params, config, random_words(params, rng, count), stalls.gaps(rng, count), stalls.trace(rng))


class TestLibrary(MaskerCases, Mass):
    def test_register_in_every_cycle(self, params, stalls):
        """The register follows the acceptances, and nothing else."""
        rng = np.random.default_rng(3)
        case = self.random(params, STALLS[stalls], rng, 60)
        seen, states = driver.run(library(self.unit, params), case, trace=True)
        compare(case, seen, params.o)
        config = params.config.unpack(case.constants["config"])
        words = [params.i.unpack(number(row)) for row in case.payload]
        spikes = [[word["spikes"]] if params.lanes == 1 else word["spikes"] for word in words]
        first = [word["first"] for word in words]
        registers = [
            contract.reference(spikes[:count], first[:count], **config, width=params.word_bits)[1]
            for count in range(len(words) + 1)
        ]
        accepted = np.searchsorted(case.accepted, np.arange(case.limit))  # words before each cycle
        assert states.ravel().tolist() == [registers[count] for count in accepted]


class TestIcarus(MaskerCases, Cocotb):
    simulator = "icarus"
    sets = [MaskerCases.sets[index] for index in (0, 1, 2, 4)]  # without the widest: half a minute


class TestCocotbVerilator(MaskerCases, Cocotb):
    simulator = "verilator"
    sets = MaskerCases.sets[2:3]


LATE = MaskerParams(3, 5)


@pytest.mark.parametrize("side", ["i", "o"])
def test_a_register_too_many_is_seen(side, stalls):
    case = MaskerCases().random(LATE, STALLS[stalls], np.random.default_rng(4), 200)
    seen, _ = driver.run(component_library(f"late_masker_{side}", Late(Masker(LATE), side)), case)
    with pytest.raises(AssertionError, match=r"^(acceptance|transfer) \d+: expected \d+, seen \d+$"):
        compare(case, seen, LATE.o)
    assert np.array_equal(case.output, seen.output)  # the bits are right: only the cycles tell


@pytest.mark.parametrize("latency", [0, 2])
def test_a_wrong_latency_of_the_law_is_seen(monkeypatch, latency):
    words, gaps, ready = random_words(LATE, np.random.default_rng(5), 50), np.zeros(50, np.int64), np.ones(1, np.bool_)
    monkeypatch.setattr(contract, "LATENCY", latency)
    with pytest.raises(AssertionError, match="law and stepped model differ in"):
        make(LATE, {"seed": 5, "keep": 100}, words, gaps, ready)


@pytest.mark.parametrize("field", ["seed", "keep"])
def test_another_configuration_is_seen(field):
    count, config = 200, {"seed": 1234, "keep": 100}
    words = {
        "spikes": np.full((count, LATE.lanes), (1 << LATE.word_bits) - 1, np.uint64),
        "first": np.arange(count) == 0,
    }
    case = make(LATE, config, words, np.zeros(count, np.int64), np.ones(1, np.bool_))
    case.constants = {"config": LATE.config.pack(config | {field: config[field] ^ 1})}
    seen, _ = driver.run(library("masker", LATE), case)
    assert np.array_equal(case.transferred, seen.transferred)
    with pytest.raises(AssertionError, match=r"^output \d+"):
        compare(case, seen, LATE.o)
