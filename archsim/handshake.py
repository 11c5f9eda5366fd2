"""When a consumer takes: lookups in its trace of ready cycles, for laws over transactions."""

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError
from archsim.jit import njit


def waits(ready: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Cycles from each cycle of a cyclic trace to the next ready one (0 where it is ready itself), int64 [period].

    Raises ArchsimError for a trace that is never ready.
    """
    ready = np.asarray(ready, np.bool_)
    cycles = np.flatnonzero(ready)
    if not len(cycles):
        raise ArchsimError("ready: required a trace that is ready in some cycle, given one that never is")
    positions = np.arange(len(ready))
    after = np.append(cycles, cycles[0] + len(ready))
    return after[np.searchsorted(after, positions)] - positions


@njit
def taken(offered, waits):
    """Cycle in which something offered from cycle ``offered`` on is taken."""
    return offered + waits[offered % len(waits)]
