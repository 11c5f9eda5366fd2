"""Do memories that serve one run after another look new to each?"""

import numpy as np
import pytest

from archsim.config import load_chip
from archsim.units.sram import COPY_BLOCK, SHARED_COPY, Memories, Pool

CHIP = load_chip("small_experts")
DRAM = np.random.default_rng(1).integers(1, 256, 1000).astype(np.uint8)


def contents(memories):
    return [*memories.stack, *vars(memories.experts).values()]


def test_memories_look_new_to_every_run():
    """Parts of DRAM that a run writes may overlap, touch each other and come in any order."""
    pool = Pool(CHIP, DRAM, [range(500, 600), range(10, 20), range(550, 700), range(700, 710), range(15, 16)])
    fresh = contents(Memories.empty(CHIP, DRAM))
    with pool.take() as first:
        for array in contents(first):
            if array is not first.dram:
                array.fill(1)
        first.dram[10:20] = first.dram[500:710] = 0
    with pool.take() as second:
        assert second is first
        for given, required in zip(contents(second), fresh, strict=True):
            assert given.dtype == required.dtype and np.array_equal(given, required)


def test_runs_at_the_same_time_have_memories_of_their_own():
    pool = Pool(CHIP, DRAM, [])
    with pool.take() as first, pool.take() as second:
        assert first is not second and not np.shares_memory(first.dram, second.dram)


def test_memories_of_a_run_that_failed_are_not_used_again():
    pool = Pool(CHIP, DRAM, [])
    with pytest.raises(ZeroDivisionError), pool.take() as first:
        raise ZeroDivisionError
    with pool.take() as second:
        assert second is not first


@pytest.mark.parametrize("size", [3 * COPY_BLOCK + 5, SHARED_COPY + 7])
def test_a_copy_of_dram_has_its_blocks_with_anything_in_them(size):
    """A byte in the first block, the last one and the middle; by one thread and by two."""
    dram = np.zeros(size, np.uint8)
    dram[[5, size // 2 - 1, size // 2, size - 1]] = 1, 2, 3, 4
    copy = Memories.empty(CHIP, dram).dram
    assert np.array_equal(copy, dram) and not np.shares_memory(copy, dram)
