"""Does the stepped router show the choices and cycles of its contract, with gaps and back-pressure?"""

import numpy as np
import pytest

from archsim.contracts import router as contract
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.router import RouterParams
from archsim.stepped import router
from archsim.units import router as fast

ALWAYS = np.array([True])


def test_two_tokens_by_hand():
    # Two blocks of two scores, k = 2, capacity 1. Token 0: blocks in 0, 1; choices in 2 (expert 1, the lower of two fives) and 3
    # (expert 2). Token 1: its first block in 3, its second in 4; choices in 5 (expert 2, which is full) and 6 (expert 0).
    params = RouterParams(2, 4, 4, 3)
    scores = np.array([[1, 5, 5, -8], [-1, -3, 7, -2]])
    run = router.run(params, (4, 2, 1), scores, np.array([1, 0, 0, 0]), np.zeros(4), ALWAYS)
    assert run.accepted.tolist() == [0, 1, 3, 4]
    assert run.transferred.tolist() == [2, 3, 5, 6]
    assert run.choices.tolist() == [[1, 0, 1, 0], [2, 0, 1, 1], [2, 1, 0, 0], [0, 0, 1, 1]]
    assert run.state == {"counts": [1, 1, 1, 0], "left": 0, "open": 0b1010}


def test_gaps_and_back_pressure():
    # Ready in odd cycles. Token 0 from 2: accepted 2, choices 3, 5; token 1 offered from 2 + 1 + 1 = 4, accepted with the last
    # choice in 5, choices 7, 9. A first block sets the counts to 0, also that of the choice taken in the same cycle.
    params = RouterParams(4, 4, 4, 3)
    scores, ready = np.array([[3, 2, 1, 0]] * 2), np.array([False, True])
    run = router.run(params, (3, 2, 0), scores, np.array([0, 1]), np.array([2, 1]), ready)
    assert run.accepted.tolist() == [2, 5]
    assert run.transferred.tolist() == [3, 5, 7, 9]
    assert run.choices[:, :2].tolist() == [[0, 0], [1, 0], [0, 0], [1, 0]]


def test_law_without_stalls():
    params, config = contract.corners()[2]
    blocks = params.blocks(config[0])
    run = router.run(params, config, np.zeros((9, 16)), np.zeros(9 * blocks), np.zeros(9 * blocks), ALWAYS)
    assert np.diff(run.accepted[::blocks]).tolist() == [contract.token_cycles(blocks, config[1])] * 8


@pytest.mark.parametrize("case", range(len(contract.corners())))
@pytest.mark.parametrize("load", [0.3, 1.0])
def test_against_sorting_and_the_law(case, load):
    params, config = contract.corners()[case]
    rng = np.random.default_rng(case)
    blocks, half = params.blocks(config[0]), 1 << (params.score_bits - 1)
    scores = rng.integers(-half, half, (60, blocks * params.neurons))
    scores[::3] = scores[::3] % 3 - 1  # many ties
    scores[-2:] = [[-half], [half - 1]]
    firsts, gaps = np.zeros(60 * blocks), rng.integers(0, 3, 60 * blocks) * (load < 1)
    arguments = params, config, scores, firsts, gaps, np.append(rng.random(37) < load, True)
    run = router.run(*arguments)
    expected = contract.reference(scores[:, : config[0]].tolist(), *config[1:], params.slot_bits)
    assert run.choices.tolist() == [list(choice) for choice in expected]
    law = fast.run(*arguments)
    assert law.accepted.tolist() == run.accepted.tolist()
    assert law.transferred.tolist() == run.transferred.tolist()
    assert np.array_equal(law.choices, run.choices)
    assert law.state == run.state


def test_a_consumer_that_never_takes_is_refused():
    arguments = RouterParams(4, 4, 4, 3), (3, 2, 0), np.zeros((1, 4)), np.zeros(1), np.zeros(1), np.array([False])
    for module in (router, fast):
        with pytest.raises(ArchsimError, match=r"ready.* true in some cycle|required a trace that is ready"):
            module.run(*arguments)


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ((0, 8, 4, 4), "neurons must be in 1..64"), ((4, 25, 4, 4), "score_bits must be in 2..24"),
        ((4, 8, 17, 4), "experts must be in 2..16"), ((4, 8, 4, 0), "slot_bits must be in 1..16"),
    ],
)  # fmt: skip
def test_illegal_parameters_are_refused(sizes, reason):
    with pytest.raises(ArchsimError, match=reason):
        RouterParams(*sizes)


@pytest.mark.parametrize(
    ("experts", "config", "reason"),
    [
        (4, (5, 1, 0), "2..4 experts"), (4, (3, 4, 0), "1..3 choices"), (4, (3, 0, 0), "1..3 choices"),
        (16, (16, 9, 0), "1..8 choices"), (4, (3, 2, 8), "in 0..7"),
    ],
)  # fmt: skip
def test_illegal_configurations_are_refused(experts, config, reason):
    with pytest.raises(ArchsimError, match=reason):
        fast.run(RouterParams(4, 4, experts, 3), config, np.zeros((1, 4)), np.zeros(1), np.zeros(1), ALWAYS)
