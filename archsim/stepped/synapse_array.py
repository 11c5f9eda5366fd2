"""Synapse array, cycle by cycle: an event register with its weight row, L x M accumulators, and the hand-over bank behind them."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import synapse_array as contract
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.event_encoder import SHIFT
from archsim.contracts.synapse_array import SynapseArrayParams
from archsim.jit import njit
from archsim.stepped.bits import checked

PENDING, OP, MASK, LAST, COMPLETE, OFFERED, BLOCK, STEP = range(8)
"""Control registers: an event waits to be added (operation, lanes, end of group); the accumulators hold a finished group; the
hand-over bank holds one, whose next block and step are these."""

_step = njit(contract.step)


class ArrayRun(NamedTuple):
    """What a run of the array shows at its ports.

    Attributes:
        accepted: cycle in which each event was accepted.
        sums: int64 [blocks, P].
        marks: int64 [blocks, 3]: block, step, last.
        transferred: cycle in which each block was taken.
        state: retired accumulators [lanes, columns]; 0 after a hand-over.
    """

    accepted: NDArray[np.int64]
    sums: NDArray[np.int64]
    marks: NDArray[np.int64]
    transferred: NDArray[np.int64]
    state: NDArray[np.int64]


@njit
def last_block(regs, blocks, steps):
    """Whether the offered block ends its group."""
    return regs[BLOCK] == blocks - 1 and regs[STEP] == steps - 1


@njit
def take(regs, blocks, steps):
    """Clock edge of a cycle in which the offered block was taken: steps inside, blocks outside, then the bank is free."""
    regs[STEP] += 1
    if regs[STEP] == steps:
        regs[STEP] = 0
        regs[BLOCK] += 1
    if regs[BLOCK] == blocks:
        regs[OFFERED] = 0


@njit
def add(regs, row, sums, bank, bits):
    """Clock edge of the adders, after ``take``: hand over a finished group if the bank is free, then add the waiting event."""
    if regs[COMPLETE] and regs[OFFERED] == 0:
        bank[:] = sums
        sums[:] = 0
        regs[COMPLETE] = 0
        regs[OFFERED] = 1
        regs[BLOCK] = regs[STEP] = 0
    if regs[PENDING] and regs[COMPLETE] == 0:
        for lane in range(sums.shape[0]):
            if regs[OP] == SHIFT or regs[MASK] >> lane & 1:
                for column in range(sums.shape[1]):
                    sums[lane, column] = _step(sums[lane, column], row[column], regs[OP], bits)
        regs[PENDING] = 0
        regs[COMPLETE] = regs[LAST]


@njit
def put(regs, op, mask, last):
    """Clock edge of a cycle in which an event was accepted, after ``add`` freed its register; the caller reads the row."""
    regs[PENDING], regs[OP], regs[MASK], regs[LAST] = 1, op, mask, last


@checked
def _run(weights, events, gaps, ready, sizes, config):
    lanes, neurons, bits = sizes
    blocks, steps, replay = config
    regs, row = np.zeros(8, np.int64), np.zeros(weights.shape[1], np.int64)
    sums, bank = np.zeros((lanes, len(row)), np.int64), np.zeros((lanes, len(row)), np.int64)
    accepted = np.zeros(len(events), np.int64)
    groups = np.sum(events[:, 3])
    out, marks = (
        np.zeros((groups * blocks * steps, neurons), np.int64),
        np.zeros((groups * blocks * steps, 4), np.int64),
    )
    taken, event, cycle = 0, 0, 0
    offered_from = gaps[0] if len(events) else 0
    while event < len(events) or regs[PENDING] or regs[COMPLETE] or regs[OFFERED]:
        if regs[OFFERED] and ready[cycle % len(ready)]:
            first = regs[BLOCK] * neurons
            out[taken] = bank[0 if replay else regs[STEP], first : first + neurons]
            marks[taken, 0], marks[taken, 1] = regs[BLOCK], regs[STEP]
            marks[taken, 2], marks[taken, 3] = last_block(regs, blocks, steps), cycle
            taken += 1
            take(regs, blocks, steps)
        add(regs, row, sums, bank, bits)
        if event < len(events) and cycle >= offered_from and regs[PENDING] == 0:
            put(regs, events[event, 0], events[event, 2], events[event, 3])
            row[:] = weights[events[event, 1]]
            accepted[event] = cycle
            event += 1
            if event < len(events):
                offered_from = cycle + 1 + gaps[event]
        cycle += 1
    return accepted, out, marks, sums


def run(
    params: SynapseArrayParams,
    config: Mapping[str, int],
    weights: NDArray[np.int8],
    events: NDArray[np.int64],
    gaps: NDArray[np.int64],
    ready: NDArray[np.bool_],
) -> ArrayRun:
    """Feed events to an idle array until the last one is added and the last block taken.

    Args:
        params: sizes.
        config: blocks, steps, replay (and bank, which selects in ``weights`` if it holds two).
        weights: [rows, M], or [2, rows, M].
        events: [events, 4]: op, row, mask, last.
        gaps: event k is offered from ``accepted[k - 1] + 1 + gaps[k]`` on, event 0 from ``gaps[0]`` on.
        ready: whether the consumer takes a block in each cycle; cyclic.

    Raises ArchsimError when ``ready`` never is.
    """
    if not np.any(ready):
        raise ArchsimError("synapse array: ready must be true in some cycle, given a consumer that never takes a block")
    weights = np.asarray(weights)
    if weights.ndim == 3:
        weights = weights[config.get("bank", 0)]
    accepted, sums, marks, state = _run(
        np.ascontiguousarray(weights),
        np.asarray(events, np.int64).reshape(-1, 4),
        np.asarray(gaps, np.int64),
        np.asarray(ready, np.bool_),
        (params.lanes, params.neurons, params.membrane_bits),
        (config["blocks"], config["steps"], config.get("replay", 0)),
    )
    return ArrayRun(accepted, sums, marks[:, :3].copy(), marks[:, 3].copy(), state)
