"""Does the stepped event encoder show the cycles and events of its contract, with gaps and back-pressure?"""

import numpy as np
import pytest

from archsim.contracts import event_encoder as contract
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.event_encoder import ADD, SHIFT, SUBTRACT, EventEncoderParams
from archsim.stepped import event_encoder

ALWAYS = np.array([True])


def word(spikes, row=0, shift=0, subtract=0, last=0):
    return {"spikes": spikes, "row": row, "shift": shift, "subtract": subtract, "last": last}


def test_words_without_stalls():
    # word 0 (two channels): accepted 0, events 1, 2; word 1 (empty): accepted 2, event 3; word 2 (shift, one channel):
    # accepted 3, shift 4, event 5.
    words = [word([0b101, 0b001], 8), word([0, 0], 16), word([0, 0b1000], 24, shift=1, subtract=1, last=1)]
    run = event_encoder.run(EventEncoderParams(2, 4, 6), words, np.zeros(3), ALWAYS)
    assert run.accepted.tolist() == [0, 2, 3]
    assert run.transferred.tolist() == [1, 2, 3, 4, 5]
    assert run.events.tolist() == [
        [ADD, 8, 0b11, 0], [ADD, 10, 0b01, 0], [ADD, 16, 0, 0], [SHIFT, 24, 0, 0], [SUBTRACT, 27, 0b10, 1],
    ]  # fmt: skip
    assert run.state == {"busy": 0, "remaining": [0, 0], "shift": 0}


def test_gaps_and_back_pressure():
    # ready in odd cycles; word 0 offered from 2: accepted 2, events 3, 5; word 1 offered from 2 + 1 + 1 = 4, accepted with the
    # last event in 5, event 7.
    run = event_encoder.run(
        EventEncoderParams(1, 4, 4), [word([0b11]), word([1])], np.array([2, 1]), np.array([False, True])
    )
    assert run.accepted.tolist() == [2, 5]
    assert run.transferred.tolist() == [3, 5, 7]


def expected_cycles(sizes, gaps, ready):
    """Ports by the contract's "Timing" paragraph; ``sizes``: events of each word."""
    accepted, transferred = [], []
    free, offered = 0, int(gaps[0])
    for number, size in enumerate(sizes):
        accepted.append(max(offered, free))
        cycle = accepted[-1]
        for _ in range(size):
            cycle += 1
            while not ready[cycle % len(ready)]:
                cycle += 1
            transferred.append(cycle)
        free = cycle
        if number + 1 < len(sizes):
            offered = accepted[-1] + 1 + int(gaps[number + 1])
    return accepted, transferred


def check(params, words, gaps, ready):
    run = event_encoder.run(params, words, gaps, ready)
    groups = [contract.reference(**item) for item in words]
    assert run.events.tolist() == [list(event) for group in groups for event in group]
    accepted, transferred = expected_cycles([len(group) for group in groups], gaps, ready)
    assert run.accepted.tolist() == accepted
    assert run.transferred.tolist() == transferred


@pytest.mark.parametrize("case", range(len(contract.corners())))
@pytest.mark.parametrize("load", [0.3, 1.0])
def test_corners(case, load):
    params, words = contract.corners()[case]
    rng = np.random.default_rng(case)
    ready = np.append(rng.random(37) < load, True)
    check(params, words, rng.integers(0, 3, len(words)) * (load < 1), ready)


def test_law_without_stalls():
    params, words = contract.corners()[2]
    run = event_encoder.run(params, words, np.zeros(len(words)), ALWAYS)
    cycles = [
        contract.word_cycles(bin(int(np.bitwise_or.reduce(item["spikes"]))).count("1"), item["shift"]) for item in words
    ]
    assert np.diff(run.accepted).tolist() == cycles[:-1]
    assert run.transferred[-1] == sum(cycles)


def test_a_million_words():
    rng = np.random.default_rng(1)
    count = 1_000_000
    spikes = rng.integers(0, 1 << 16, (count, 4), np.uint64) & rng.integers(0, 1 << 16, (count, 4), np.uint64)
    zeros = np.zeros(count, np.int64)
    words = {"spikes": spikes & spikes[:, ::-1], "row": zeros, "shift": zeros, "subtract": zeros, "last": zeros}
    run = event_encoder.run(EventEncoderParams(4, 16, 8), words, zeros, ALWAYS)
    assert len(run.events) == np.maximum(1, np.bitwise_count(np.bitwise_or.reduce(words["spikes"], axis=1))).sum()


def test_a_consumer_that_never_takes_is_refused():
    with pytest.raises(ArchsimError, match="ready must be true in some cycle"):
        event_encoder.run(EventEncoderParams(1, 4, 4), [word([1])], np.zeros(1), np.array([False]))
