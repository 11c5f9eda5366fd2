"""Is the time right? Every instruction, fast model against cycle-stepped model: same start, same end, same memories."""

import numpy as np
import pytest

from archsim import simulate
from archsim.stepped import sequencer as stepped
from archsim.tensors import Capture
from archsim.units.sram import Memories

IMAGES = 20


@pytest.mark.parametrize("chip", ["small", "small_t4", "adders_128", "adders_512"])
def test_fast_equals_stepped_for_every_instruction(mapped, chip):
    for number in range(IMAGES):
        same(mapped(chip), number)


def same(workload: simulate.Workload, number: int) -> None:
    """Fail unless the fast and the stepped chip agree on an image: start and end of every instruction, every memory."""
    program, pixels = workload.program, workload.trained.normalised()
    fast = Memories.empty(program.chip, program.dram)
    simulate.write_image(workload, fast.dram, pixels[number])
    slow = Memories.empty(program.chip, fast.dram)
    records = simulate.Simulation(program.chip, workload.queues, fast, Capture(program.chip, program.notes)).run()
    timeline = stepped.run(program, slow)
    assert len(records) == sum(len(times) for times in timeline.instructions.values())
    for engine, times in timeline.instructions.items():
        mine = records[records["engine"] == engine]
        mine = mine[np.argsort(mine["index"])]
        assert np.array_equal(mine["start"], times[:, 0]), f"image {number}, engine {engine}: starts differ"
        assert np.array_equal(mine["end"], times[:, 1]), f"image {number}, engine {engine}: ends differ"
    same_memories(fast, slow)


def same_memories(fast: Memories, slow: Memories) -> None:
    """Retired state: every bank of every core, of the attention unit, the expert engine and the normaliser, and DRAM.

    The stepped chip reads the count memory without marks: a row that is marked must be 0 there.
    """
    assert np.array_equal(fast.dram, slow.dram)
    parts = ([*of.cores, of.attention, of.experts, of.normaliser] for of in (fast, slow))
    for one, other in zip(*parts, strict=True):
        for name, bank in vars(one).items():
            if name != "cleared":
                assert np.array_equal(bank, getattr(other, name)), name
    columns = slow.attention.counts.shape[1]
    marked = (fast.attention.cleared[:, None] >> np.arange(columns, dtype=np.uint64) & np.uint64(1)).reshape(-1) > 0
    assert not slow.attention.counts[marked[: len(slow.attention.counts)]].any()
