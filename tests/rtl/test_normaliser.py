"""Does the normaliser's Verilog do every instruction in the cycles of the law and leave every bit where the models do?

Every expectation is made before the Verilog runs, by the law of the queue with the fast and the stepped model.
"""

import numpy as np
import pytest

from archsim.contracts import normaliser as contract
from tests.archsim.normaliser_programs import CHIPS, filled, random_normalise, random_program, random_weigh
from tests.rtl.normaliser_slice import ENGINE, NormaliserBench, fast_normaliser, stepped_normaliser
from tests.rtl.queue_run import expected, waiting_queue


def random_run(chip, seed, count=8):
    """Queue, memories, posts; the rows of a program of both instructions and memories full of random bits."""
    rng = np.random.default_rng(seed)
    memories = filled(chip, rng)
    program = [random_normalise(chip, rng), random_weigh(chip, rng), *random_program(chip, rng, count - 2)]
    queue, posts = waiting_queue(program, rng, 900)
    return queue, memories, posts


def check(chip, seed):
    """Law, stepped model and Verilog, in everything."""
    run = random_run(chip, seed)
    runs = [expected(chip, *run, model) for model in (fast_normaliser, stepped_normaliser)]
    found = ENGINE.run(chip, *run)
    for one in runs:
        assert ENGINE.difference(one, found) == ""


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_random_programs(chip, seed):
    check(chip, seed)


def test_a_program_on_icarus(tmp_path):
    chip, run = CHIPS[1], random_run(CHIPS[1], 3, count=2)
    law = expected(chip, *run, fast_normaliser)
    outputs = ENGINE.on_cocotb(chip, *run, law.times[-1][1] + 20, tmp_path)
    assert ENGINE.difference(law, ENGINE.observed(chip, run[1], outputs)) == ""


class LateBench(NormaliserBench):
    """Banks that answer a cycle late."""

    def __init__(self, chip):
        super().__init__(chip, late=True)


def test_a_late_bank_is_found():
    run = random_run(CHIPS[1], 3)
    law = expected(CHIPS[1], *run, fast_normaliser)
    late = ENGINE.run(CHIPS[1], *run, library=ENGINE.library(CHIPS[1], LateBench))
    assert "expected" in ENGINE.difference(law, late)


@pytest.mark.parametrize("law", ["FIRST_ROW", "PHASE_GAP", "DONE", "MAXIMUM_GAP"])
def test_a_changed_constant_is_found(monkeypatch, law):
    monkeypatch.setattr(contract, law, getattr(contract, law) + 1)
    run = random_run(CHIPS[1], 3)
    wrong = expected(CHIPS[1], *run, fast_normaliser)
    assert "start and end" in ENGINE.difference(wrong, ENGINE.run(CHIPS[1], *run))
