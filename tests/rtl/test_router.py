"""Is the router's Verilog the law and the stepped model, on every bit and in every cycle?"""

import numpy as np
import pytest

from archsim.contracts import router as contract
from archsim.contracts.router import RouterParams
from archsim.stepped import router as stepped
from archsim.units import router as fast
from rtl.units.router import Router
from tests.rtl import driver
from tests.rtl.bench import STALLS, Case, compare, pack, require_same, words_of
from tests.rtl.late import Late
from tests.rtl.levels import Cocotb, Mass, component_library


def make(params, config, tokens, stalls, rng):
    """A case of tokens, int64 [tokens, blocks x P], with its expectation: the law's, which must be the stepped model's."""
    blocks = params.blocks(config[0])
    count = len(tokens) * blocks
    firsts = (rng.random(count) < 0.03).astype(np.int64)
    gaps, ready = stalls.gaps(rng, count), stalls.trace(rng)
    law, model = (module.run(params, config, tokens, firsts, gaps, ready) for module in (fast, stepped))
    lasts = np.arange(1, count + 1) % blocks == 0
    scores = tokens.reshape(count, params.neurons) & ((1 << params.score_bits) - 1)
    word = params.config.pack(dict(zip(("experts", "choices", "capacity"), config, strict=True)))
    case = Case(
        constants={"config": word}, load=np.zeros((0, 1), np.uint64), noise=np.zeros((0, 1), np.uint64),
        payload=pack(params.i, {"scores": scores, "first": firsts, "last": lasts}), gaps=gaps, ready=ready,
        accepted=law.accepted,
        output=pack(params.o, dict(zip(("expert", "slot", "kept", "last"), law.choices.T, strict=True))),
        transferred=law.transferred, state=words_of(params.state.pack(law.state), params.state.width),
    )  # fmt: skip
    return require_same(law, model, case)


def random_tokens(params, config, rng, count):
    """Scores of the whole range, and tokens of few values, whose ties decide."""
    half = 1 << (params.score_bits - 1)
    tokens = rng.integers(-half, half, (count, params.blocks(config[0]) * params.neurons))
    few = rng.random(count) < 0.4
    tokens[few] = np.clip(rng.integers(-1, 2, tokens[few].shape) * rng.choice([1, half]), -half, half - 1)
    return tokens


def random_config(params, rng):
    experts = int(rng.integers(2, params.experts + 1))
    choices = int(rng.integers(1, min(experts, contract.MAX_CHOICES) + 1))
    return experts, choices, int(rng.integers(0, min(1 << params.slot_bits, 40)))


class RouterCases:
    unit = "router"
    sets = list(dict.fromkeys(params for params, _ in contract.corners()))

    def corners(self, params, stalls, rng):
        """The contract's configurations, with the rails and equal scores."""
        half = 1 << (params.score_bits - 1)
        for config in (config for own, config in contract.corners() if own == params):
            tokens = random_tokens(params, config, rng, 40)
            tokens[:4] = np.array([[half - 1], [-half], [0], [-1]])
            yield make(params, config, tokens, stalls, rng)

    def random(self, params, stalls, rng, transactions):
        config = random_config(params, rng)
        tokens = random_tokens(params, config, rng, max(1, transactions // params.blocks(config[0])))
        return make(params, config, tokens, stalls, rng)


class TestLibrary(RouterCases, Mass):
    pass


class TestIcarus(RouterCases, Cocotb):
    simulator = "icarus"


class TestCocotbVerilator(RouterCases, Cocotb):
    simulator = "verilator"
    sets = RouterCases.sets[2:3]


LATE = RouterParams(3, 6, 5, 4)


@pytest.mark.parametrize("side", ["i", "o"])
def test_a_register_too_many_is_seen(side, stalls):
    case = RouterCases().random(LATE, STALLS[stalls], np.random.default_rng(4), 200)
    seen, _ = driver.run(component_library(f"late_router_{side}", Late(Router(LATE), side)), case)
    with pytest.raises(AssertionError, match=r"^(acceptance|transfer) \d+: expected \d+, seen \d+$"):
        compare(case, seen, LATE.o)
    assert np.array_equal(case.output, seen.output)  # the bits are right: only the cycles tell


@pytest.mark.parametrize("latency", [0, 2])
def test_a_wrong_latency_of_the_law_is_seen(monkeypatch, latency):
    monkeypatch.setattr(contract, "LATENCY", latency)
    with pytest.raises(AssertionError, match="law and stepped model differ in"):
        RouterCases().random(LATE, STALLS["none"], np.random.default_rng(5), 200)
