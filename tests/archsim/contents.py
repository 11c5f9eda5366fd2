"""Test support: do two sets of memories hold the same?"""

import numpy as np

from archsim.units.sram import Memories


def same_bits(one: Memories, other: Memories) -> None:
    """Every bit of every memory."""
    for name, mine, yours in zip(one.stack._fields, one.stack, other.stack, strict=True):
        assert np.array_equal(mine, yours), name
    for name, table in vars(one.experts).items():
        assert np.array_equal(table, getattr(other.experts, name)), name
