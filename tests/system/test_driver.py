"""Does the compiled driver do what instruction by instruction does, on one thread and on two, in both modes?"""

import os
from pathlib import Path

import numpy as np
import pytest

from archsim import simulate
from archsim.execute import Task
from archsim.tensors import Capture
from archsim.units.sram import Memories

DIGITS = Path(__file__).parents[2] / "workloads/spikingformer.yaml"


def run(workload, number, trace=None, observe=None, latencies=None):
    chip, program = workload.program.chip, workload.program
    memories = Memories.empty(chip, program.dram)
    simulate.write_image(workload, memories.dram, workload.trained.normalised()[number])
    capture = Capture(chip, program.notes, trace)
    records = simulate.Simulation(chip, workload.queues, memories, capture, latencies, observe).run()
    return records, memories, capture.words


def same(one, other):
    assert np.array_equal(one[0], other[0])
    assert all(np.array_equal(mine, its) for mine, its in zip(one[1].stack, other[1].stack, strict=True))
    assert all(np.array_equal(words, other[2][name]) for name, words in one[2].items())


@pytest.mark.parametrize("chip", ["small", "small_t4", "adders_128", "adders_512", "adders_512_half"])
@pytest.mark.parametrize("processors", [1, 2])
def test_driver_equals_instruction_by_instruction(mapped, monkeypatch, chip, processors):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)))
    workload, seen = mapped(chip), []
    stepwise = run(workload, 3, observe=lambda *place: seen.append(place))
    assert len(seen) == len(stepwise[0])
    same(run(workload, 3), stepwise)
    latencies = [7, 0, 120, 31]
    same(run(workload, 3, latencies=latencies), run(workload, 3, observe=lambda *_: None, latencies=latencies))
    replayed = run(workload, 3, stepwise[2])
    assert np.array_equal(replayed[0], stepwise[0])
    for memory in ("spike_in", "spike_out", "spikes", "out"):  # what is replayed is also stored
        assert np.array_equal(getattr(replayed[1].stack, memory), getattr(stepwise[1].stack, memory))


def test_a_thread_waits_for_what_it_reads(mapped):
    """With no waiting at all a gang's second half would read spikes that are not there yet; some task must wait."""
    workload = mapped("adders_512")
    program = workload.queues.prepare(workload.program.chip, workload.program.notes)
    assert all(isinstance(tasks, Task) and tasks.need.any() for tasks in program.tasks[2])
    assert (
        sum(len(tasks.number) for tasks in program.tasks[2]) >= len(program.places) == len(program.tasks[1][0].number)
    )


@pytest.mark.parametrize("mode", ["execute", "trace"])
def test_images_side_by_side_are_as_one_after_the_other(monkeypatch, mode):
    """More of them at a time than there are processors here, so that they take turns within an image too."""
    results = []
    for processors in (1, 5):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, count=processors: set(range(count)))
        results.append(simulate.run(DIGITS, "small", images=8, mode=mode))
    one, beside = results
    assert len({run.cycles for run in one.images}) > 4  # they differ, so an exchange shows
    for mine, its in zip(one.images, beside.images, strict=True):
        assert np.array_equal(mine.records, its.records) and np.array_equal(mine.logits, its.logits)


def test_a_run_has_a_seat_of_its_own(mapped):
    workload = mapped("small")
    program = workload.queues.prepare(workload.program.chip, workload.program.notes)
    with program.seat() as one, program.seat() as other:
        assert not np.shares_memory(one.counters, other.counters)
        assert all(mine is not its for mine, its in zip(one.work, other.work, strict=True))
    with program.seat() as again:
        assert again is one or again is other
