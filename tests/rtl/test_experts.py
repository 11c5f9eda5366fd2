"""Does the expert engine's Verilog do every instruction in the cycles of the law and leave every bit where the models do?

Every expectation is made before the Verilog runs, by the law of the queue with the fast and the stepped model.
"""

import numpy as np
import pytest

from archsim.contracts import experts as contract
from archsim.units import experts as fast
from tests.archsim.expert_programs import CHIPS, filled, random_program
from tests.rtl.experts_slice import ENGINE, ExpertsBench, fast_experts, stepped_experts
from tests.rtl.queue_run import expected, waiting_queue


def random_run(chip, seed, layers=3):
    """Queue, memories, posts; the rows of a program and memories full of random bits."""
    rng = np.random.default_rng(seed)
    memories = filled(chip, rng)
    queue, posts = waiting_queue(random_program(chip, rng, layers), rng, 60)
    return queue, memories, posts


def check(chip, seed):
    """Law, stepped model and Verilog, in everything."""
    run = random_run(chip, seed)
    runs = [expected(chip, *run, model) for model in (fast_experts, stepped_experts)]
    found = ENGINE.run(chip, *run)
    for one in runs:
        assert ENGINE.difference(one, found) == ""


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_random_programs(chip, seed):
    check(chip, seed)


def test_a_program_on_icarus(tmp_path):
    chip, run = CHIPS[1], random_run(CHIPS[1], 3, layers=1)
    law = expected(chip, *run, fast_experts)
    outputs = ENGINE.on_cocotb(chip, *run, law.times[-1][1] + 20, tmp_path)
    assert ENGINE.difference(law, ENGINE.observed(chip, run[1], outputs)) == ""


class LateBench(ExpertsBench):
    """Banks that answer a cycle late."""

    def __init__(self, chip):
        super().__init__(chip, late=True)


def test_a_late_bank_is_found():
    run = random_run(CHIPS[1], 3, layers=1)
    law = expected(CHIPS[1], *run, fast_experts)
    late = ENGINE.run(CHIPS[1], *run, library=ENGINE.library(CHIPS[1], LateBench))
    assert "expected" in ENGINE.difference(law, late)


@pytest.mark.parametrize("law", ["FIRST_SCORE", "FIRST_FLIT", "QUIET"])
def test_a_changed_constant_is_found(monkeypatch, law):
    monkeypatch.setattr(contract, law, getattr(contract, law) + 1)
    monkeypatch.setattr(fast, law, getattr(contract, law), raising=False)
    run = random_run(CHIPS[1], 3, layers=1)
    wrong = expected(CHIPS[1], *run, fast_experts)
    assert "start and end" in ENGINE.difference(wrong, ENGINE.run(CHIPS[1], *run))
