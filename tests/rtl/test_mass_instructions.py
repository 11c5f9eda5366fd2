"""Do the mass runs of units that work by instructions find what is wrong, and say in which cycle and where?"""

import numpy as np
import pytest

from tests.rtl import slice_programs
from tests.rtl.bench import ModelsDiffer
from tests.rtl.mass import divergence
from tests.rtl.mass.cores import CoreCases
from tests.rtl.mass.divergence import Divergence
from tests.rtl.mass.instructions import random_case, random_posts, run_case
from tests.rtl.mass.queues import SequencerCases, run_program
from tests.rtl.sequencers import SequencerBench
from tests.rtl.slice import CORE
from tests.rtl.slice_programs import chip_of
from tests.rtl.test_core_gangs import HastyGangs
from tests.rtl.test_core_slice import ONE, LateGranules, LatePlanes


class Synapses(CoreCases):
    """SYNAPSE alone, on a core without probes."""

    engine, output_stalls, full = CORE, None, None

    def instruction(self, chip, rng):
        return slice_programs.random_synapse(chip, rng)


class Planes(Synapses):
    """PLANES alone."""

    def instruction(self, chip, rng):
        return slice_programs.random_planes(chip, rng)


class SlowModel(Synapses):
    """A fast model that is a cycle too long."""

    def fast(self, fields, chip, memory):
        return super().fast(fields, chip, memory) + 1


class SlowSteps(Synapses):
    """A stepped model that is a cycle too long."""

    def stepped(self, fields, chip, memory):
        return super().stepped(fields, chip, memory) + 1


@pytest.fixture(autouse=True)
def waves(monkeypatch, tmp_path):
    monkeypatch.setattr(divergence, "WAVES", tmp_path)


def located(run, *arguments):
    """The divergence of a run; its waveform is there."""
    with pytest.raises(Divergence) as caught:
        run(*arguments)
    assert caught.value.wave.stat().st_size > 1000
    return caught.value


def test_a_register_too_many_is_located():
    case = random_case(Synapses(), ONE, np.random.default_rng(1), 4)
    found = located(run_case, Synapses(), ONE, case, LateGranules)
    end = case.wanted.times[0][1]
    assert (found.unit, found.cycle, found.field, found.expected, found.seen) == ("core", end, "done", 1, 0)


def test_wrong_bits_are_located():
    case = random_case(Planes(), ONE, np.random.default_rng(1), 4)
    found = located(run_case, Planes(), ONE, case, LatePlanes)
    assert found.field.startswith("spike_out[")
    assert found.cycle in [end for _, end in case.wanted.times]


def test_a_wrong_law_is_located():
    case = random_case(SlowModel(), ONE, np.random.default_rng(1), 4)
    found = located(run_case, SlowModel(), ONE, case)
    assert (found.cycle, found.field, found.expected, found.seen) == (case.wanted.times[0][1] - 1, "done", 0, 1)


def test_a_wrong_stepped_model_is_found():
    case = random_case(SlowSteps(), ONE, np.random.default_rng(1), 4)
    with pytest.raises(ModelsDiffer, match="instruction 0: start and end"):
        run_case(SlowSteps(), ONE, case)


def hasty(chip):
    return SequencerBench(chip, HastyGangs)


def test_gangs_that_do_not_wait_are_located():
    cases, chip = SequencerCases(), chip_of("pair", queue_rows=64, attention_rows=64)
    program, memories = cases.program(chip, np.random.default_rng(2), 40)
    found = located(run_program, cases, program, memories, hasty)
    assert found.field in ("core 0 start", "core 1 start")
    assert (found.expected, found.seen) == (0, 1)


@pytest.mark.parametrize("seed", range(20))
def test_random_posts_let_every_instruction_start(seed):
    rng = np.random.default_rng(seed)
    headers, posts = random_posts(ONE, rng, rng.integers(1, 100, 50).tolist())
    for engine in range(64):
        waits = sum(header["wait"] >> engine & 1 for header in headers)
        assert waits == sum(poster == engine for _, poster in posts)
    assert len(set(posts)) == len(posts)
