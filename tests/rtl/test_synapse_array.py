"""Is the synapse array's Verilog the law and the stepped model, on every bit and in every cycle?"""

import numpy as np
import pytest

from archsim.contracts import synapse_array as contract
from archsim.contracts.event_encoder import ADD, SHIFT, SUBTRACT
from archsim.contracts.synapse_array import BANKS, SynapseArrayParams
from archsim.stepped import synapse_array as stepped
from archsim.units import synapse_array as fast
from rtl.units.synapse_array import SynapseArray
from tests.rtl import driver
from tests.rtl.bench import STALLS, Case, compare, pack, require_same, words_of
from tests.rtl.late import Late
from tests.rtl.levels import Cocotb, Mass, component_library, library


def make(params, config, weights, events, gaps, ready):
    """A case of these events [events, 4] with its expectation: the law's, which must be the stepped model's.

    During the run the bank that is not in use is filled with other weights.
    """
    law, model = (module.run(params, config, weights, events, gaps, ready) for module in (fast, stepped))
    row, bank = np.meshgrid(np.arange(params.weight_rows), np.arange(BANKS))
    load = {"bank": bank.ravel(), "row": row.ravel(), "data": weights.reshape(-1, params.columns)}
    noise = {"bank": np.full(params.weight_rows, 1 - config["bank"]), "row": row[0], "data": ~weights[config["bank"]]}
    output = dict(zip(("block", "step", "last"), law.marks.T, strict=True)) | {"sums": law.sums}
    case = Case(
        constants={"config": params.config.pack(config)}, load=pack(params.i_weight, load),
        noise=pack(params.i_weight, noise), gaps=gaps, ready=ready,
        payload=pack(params.i, dict(zip(("op", "row", "mask", "last"), events.T, strict=True))),
        accepted=law.accepted, output=pack(params.o, output), transferred=law.transferred,
        state=words_of(params.state.pack({"sums": law.state.ravel().tolist()}), params.state.width),
    )  # fmt: skip
    return require_same(law, model, case)


def random_config(params, rng):
    """Any number of blocks; steps in the lanes or, replayed, often more than those."""
    replay = int(rng.integers(0, 2))
    return {
        "bank": int(rng.integers(0, BANKS)),
        "blocks": int(rng.integers(1, params.columns // params.neurons + 1)),
        "steps": int(rng.integers(1, 10 if replay else params.lanes + 1)),
        "replay": replay,
    }


def random_weights(params, rng):
    """Two banks of weights: all values, or the ends of their range."""
    low, top = -(1 << params.weight_bits - 1), (1 << params.weight_bits - 1) - 1
    shape = (BANKS, params.weight_rows, params.columns)
    return (rng.choice([low, top], shape) if rng.integers(2) else rng.integers(low, top + 1, shape)).astype(np.int8)


def random_events(params, rng, count, granules):
    """Events of every kind in groups from 1 event to several times the time that a group takes to leave."""
    op = rng.choice([ADD, SUBTRACT, SHIFT], count, p=[0.5, 0.45, 0.05])
    mask = rng.integers(0, 1 << params.lanes, count) * (rng.random(count) < 0.9)
    length = rng.choice([1, 2, granules, granules + 1, 3 * granules], count)
    last = np.zeros(count, np.int64)
    ends = np.cumsum(length) - 1
    last[ends[ends < count - 2]] = 1  # the last group stays open: its sums are the retired state
    return np.stack([op, rng.integers(0, params.weight_rows, count), mask, last], axis=1).astype(np.int64)


def rail_events(params, op, row, groups):
    """Groups that add (subtract) one row until every lane has wrapped, each twice the time of the sums' range."""
    count = 2 * -(-(1 << params.membrane_bits) // (1 << params.weight_bits - 1)) if params.membrane_bits < 12 else 40
    events = np.tile([op, row, (1 << params.lanes) - 1, 0], (groups * count, 1))
    events[count - 1 :: count, 3] = 1
    events[-1, 3] = 0
    return events


class SynapseArrayCases:
    unit = "synapse_array"
    sets = [*contract.corners(), SynapseArrayParams(4, 32, 8, 8, 20, 100)]

    def corners(self, params, stalls, rng):
        """Both rails, passed both ways; doubling up to there; groups of one event; the longest replay."""
        blocks, rows = params.columns // params.neurons, params.weight_rows
        low, top = -(1 << params.weight_bits - 1), (1 << params.weight_bits - 1) - 1
        full = {"bank": 1, "blocks": blocks, "steps": params.lanes, "replay": 0}
        shape = (BANKS, rows, params.columns)
        for weight in (low, top):
            for op in (ADD, SUBTRACT):
                yield self.case(params, full, np.full(shape, weight), rail_events(params, op, rows - 1, 2), stalls, rng)
            doubling = np.tile([SHIFT, 0, 0, 0], (params.membrane_bits + 2, 1))
            doubling[0] = [ADD, 0, (1 << params.lanes) - 1, 0]
            doubling[-1, 3] = 1
            yield self.case(params, full, np.full(shape, weight), np.tile(doubling, (3, 1)), stalls, rng)
        single = random_events(params, rng, 40, 1)
        single[:, 3] = 1
        yield self.case(params, full, random_weights(params, rng), single, stalls, rng)
        replay = {"bank": 0, "blocks": 1, "steps": params.max_steps, "replay": 1}
        yield self.case(params, replay, random_weights(params, rng), single[:3], stalls, rng)

    def random(self, params, stalls, rng, transactions):
        config = random_config(params, rng)
        events = random_events(params, rng, transactions, config["blocks"] * config["steps"])
        return self.case(params, config, random_weights(params, rng), events, stalls, rng)

    @staticmethod
    def case(params, config, weights, events, stalls, rng):
        gaps, ready = stalls.gaps(rng, len(events)), stalls.trace(rng)
        return make(params, config, weights.astype(np.int8), events, gaps, ready)


class TestLibrary(SynapseArrayCases, Mass):
    def test_open_groups(self, params, stalls):
        """The retired sums after any number of events."""
        for count in range(1, 25):
            self.run(params, self.random(params, STALLS[stalls], np.random.default_rng(count), count))


class TestIcarus(SynapseArrayCases, Cocotb):
    simulator = "icarus"
    sets = SynapseArrayCases.sets[:-1]  # without the widest: a minute


class TestCocotbVerilator(SynapseArrayCases, Cocotb):
    simulator = "verilator"
    sets = SynapseArrayCases.sets[3:4]


LATE = SynapseArrayParams(2, 8, 8, 4, 9, 32)


@pytest.mark.parametrize("side", ["i", "o"])
def test_a_register_too_many_is_seen(side, stalls):
    case = SynapseArrayCases().random(LATE, STALLS[stalls], np.random.default_rng(4), 200)
    seen, _ = driver.run(component_library(f"late_array_{side}", Late(SynapseArray(LATE), side)), case)
    with pytest.raises(AssertionError, match=r"^(acceptance|transfer) \d+: expected \d+, seen \d+$"):
        compare(case, seen, LATE.o)
    count = min(len(case.output), len(seen.output))
    assert np.array_equal(case.output[:count], seen.output[:count])  # the bits are right: only the cycles tell


@pytest.mark.parametrize("value", [0, 2])
@pytest.mark.parametrize("constant", ["ADD_LATENCY", "HANDOVER_LATENCY"])
def test_a_wrong_latency_of_the_law_is_seen(monkeypatch, constant, value):
    rng = np.random.default_rng(5)
    config, weights = {"bank": 0, "blocks": 1, "steps": 2, "replay": 0}, random_weights(LATE, rng)
    run = LATE, config, weights, random_events(LATE, rng, 200, 2), np.zeros(200, np.int64), np.ones(1, np.bool_)
    case = make(*run)
    monkeypatch.setattr(contract, constant, value)
    with pytest.raises(AssertionError, match="law and stepped model differ in (accepted|transferred)"):
        make(*run)
    wrong = fast.run(*run)
    case.accepted, case.transferred = wrong.accepted, wrong.transferred
    seen, _ = driver.run(library("synapse_array", LATE), case)
    with pytest.raises(AssertionError, match=r"^(acceptance|transfer) \d+: expected \d+, seen \d+$"):
        compare(case, seen, LATE.o)
