"""Weight banks of cores that hold the same: one core's rows serve them all.

Layers that are split by positions have the same weights in every core, and a LOAD brings them to all at once. In a run the rows
are written once, at one holder, which also keeps them in the cache that the cores' instructions use one after the other. A core
whose bank is to differ gets a copy first; when the run ends, all have their own.
"""

import numpy as np
from numpy.typing import NDArray

from archsim.jit import copy, kernel, lowest_bit, njit


def first_holders(cores: int, threads: int) -> NDArray[np.int64]:
    """Whose rows are those of each weight bank of each core at the start, where all hold 0; int64 [cores, 2].

    Threads share out the cores, and no rows.
    """
    half = -(-cores // threads)
    return np.repeat(np.arange(cores)[:, None] // half * half, 2, axis=1)


@kernel
def holder_of(cores, bank, holders):
    """Whose rows a LOAD to a mask of cores writes for all: those of their one holder, if it serves nobody else; -1: no such."""
    holder = holders[lowest_bit(np.uint64(cores)), bank]
    for core in range(len(holders)):
        if (holders[core, bank] == holder) != (cores >> core & 1 == 1):
            return -1
    return holder


@kernel
def part(cores, bank, holders, weight):
    """Rows of its own for each core that shares them with one of a mask; ``weight`` int8 [cores, 2, rows, M]."""
    for core in range(len(holders)):
        if cores >> core & 1:
            holder = holders[core, bank]
            for other in range(len(holders)):
                if other != holder and holders[other, bank] == holder:
                    copy(weight[other, bank].reshape(-1), weight[holder, bank].reshape(-1))
                    holders[other, bank] = other


@kernel
def sharing(cores, bank, holders, weight):
    """Mask of the cores whose rows a LOAD to a mask of cores has to write, when those that must differ have parted."""
    holder = holder_of(cores, bank, holders)
    if holder >= 0:
        return 1 << holder
    part(cores, bank, holders, weight)
    return cores


@njit
def part_all(holders, weight):
    """Rows of its own for every core."""
    for bank in range(holders.shape[1]):
        part((1 << len(holders)) - 1, bank, holders, weight)
