"""Does the stepped synapse array show the cycles and blocks of its contract, with gaps and back-pressure?"""

import numpy as np
import pytest

from archsim.contracts import synapse_array as contract
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.event_encoder import ADD, SHIFT, SUBTRACT
from archsim.contracts.synapse_array import SynapseArrayParams
from archsim.stepped import synapse_array

ALWAYS = np.array([True])
PARAMS = SynapseArrayParams(lanes=2, columns=4, neurons=2, weight_bits=8, membrane_bits=12, weight_rows=4)
WEIGHTS = np.array([[1, 2, 3, 4], [10, -20, 30, -40], [127, 127, -128, -128], [0, 0, 0, 0]], np.int8)


def test_one_group_then_an_unfinished_one():
    # event 0: accepted 0, added 1; event 1: accepted 1, added 2 (last); hand-over 3, blocks (0,0) (0,1) (1,0) (1,1) in 4..7;
    # event 2: accepted 2, added in the cycle of the hand-over, 3.
    events = np.array([[ADD, 0, 0b11, 0], [SUBTRACT, 1, 0b10, 1], [ADD, 2, 0b01, 0]])
    run = synapse_array.run(PARAMS, {"blocks": 2, "steps": 2}, WEIGHTS, events, np.zeros(3), ALWAYS)
    assert run.accepted.tolist() == [0, 1, 2]
    assert run.transferred.tolist() == [4, 5, 6, 7]
    assert run.sums.tolist() == [[1, 2], [-9, 22], [3, 4], [-27, 44]]
    assert run.marks.tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 1]]
    assert run.state.tolist() == [[127, 127, -128, -128], [0, 0, 0, 0]]


def test_a_full_bank_holds_the_adders():
    # Three groups of one event, one block of one step each; ready in 8, 17, ... Group 0: added 1, hand-over 2, offered 3, taken 8.
    # Group 1: accepted 1, added 2, complete, hand-over in 8 with the block taken, offered 9, taken 17. Group 2: accepted 2,
    # waits for the hand-over of group 1, added 8, handed over 17, taken 26.
    ready = np.arange(9) == 8
    events = np.array([[ADD, row, 1, 1] for row in range(3)])
    run = synapse_array.run(PARAMS, {"blocks": 1, "steps": 1}, WEIGHTS, events, np.zeros(3), ready)
    assert run.accepted.tolist() == [0, 1, 2]
    assert run.transferred.tolist() == [8, 17, 26]


def test_shift_doubles_every_lane_and_replay_repeats_lane_0():
    events = np.array([[SUBTRACT, 0, 0b01, 0], [SHIFT, 3, 0, 0], [ADD, 1, 0b01, 1]])
    run = synapse_array.run(PARAMS, {"blocks": 1, "steps": 3, "replay": 1}, WEIGHTS, events, np.zeros(3), ALWAYS)
    assert run.sums.tolist() == [[8, -24]] * 3
    assert run.marks[:, 1].tolist() == [0, 1, 2]


def expected_cycles(events, gaps, granules, ready):
    """Ports by the contract's "Timing" paragraph."""
    accepted, taken = [], []
    added, handover, offered, complete = -1, -1, int(gaps[0]), False
    for number, event in enumerate(events):
        accepted.append(max(offered, added))
        if complete:  # the group before ended with the last event
            handover = max(added + 1, taken[-1] if taken else -1)
            cycle = handover
            for _ in range(granules):
                cycle += 1
                while not ready[cycle % len(ready)]:
                    cycle += 1
                taken.append(cycle)
        added = max(accepted[-1] + 1, added + 1, handover if complete else -1)
        complete = bool(event[3])
        if number + 1 < len(events):
            offered = accepted[-1] + 1 + int(gaps[number + 1])
    return accepted, taken


@pytest.mark.parametrize("case", range(len(contract.corners())))
@pytest.mark.parametrize("load", [0.2, 0.6, 1.0])
def test_random_events(case, load):
    params = contract.corners()[case]
    rng = np.random.default_rng([case, int(10 * load)])
    count = 300
    top = 1 << (params.weight_bits - 1)
    weights = rng.integers(-top, top, (2, params.weight_rows, params.columns)).astype(np.int8)
    events = np.stack([
        rng.choice(3, count, p=(0.6, 0.2, 0.2)), rng.integers(0, params.weight_rows, count),
        rng.integers(0, 1 << params.lanes, count), rng.random(count) < 0.3,
    ], axis=1).astype(np.int64)  # fmt: skip
    events[-1, 3] = 0
    gaps, ready = rng.integers(0, 3, count) * (load == 0.6), np.append(rng.random(41) < load, True)
    blocks = params.columns // params.neurons
    config = {"bank": 1, "blocks": blocks, "steps": params.lanes, "replay": 0}
    run = synapse_array.run(params, config, weights, events, gaps, ready)
    groups = contract.reference(events.tolist(), weights[1].tolist(), params.lanes, params.membrane_bits)
    sums = np.array(groups).reshape(len(groups), params.lanes, blocks, params.neurons).transpose(0, 2, 1, 3)
    assert np.array_equal(run.sums, sums.reshape(-1, params.neurons))
    accepted, taken = expected_cycles(events.tolist(), gaps, blocks * params.lanes, ready)
    assert run.accepted.tolist() == accepted
    # The expectation hands a group over when it comes to the event behind it: the last event ends no group.
    assert run.transferred.tolist() == taken


def test_a_million_events():
    rng = np.random.default_rng(1)
    count = 1_000_000
    events = np.stack([
        np.zeros(count), rng.integers(0, 4, count), rng.integers(0, 4, count), np.arange(count) % 50 == 49,
    ], axis=1).astype(np.int64)  # fmt: skip
    run = synapse_array.run(PARAMS, {"blocks": 2, "steps": 2}, WEIGHTS, events, np.zeros(count), ALWAYS)
    assert run.accepted[-1] == count - 1
    assert len(run.sums) == count // 50 * 4


def test_a_consumer_that_never_takes_is_refused():
    with pytest.raises(ArchsimError, match="ready must be true in some cycle"):
        synapse_array.run(PARAMS, {"blocks": 1, "steps": 1}, WEIGHTS, np.zeros((1, 4)), np.zeros(1), np.array([False]))
