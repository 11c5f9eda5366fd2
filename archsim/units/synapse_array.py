"""Synapse array, fast: sums of groups and the cycles of their handshakes, from transaction to transaction."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import synapse_array as contract
from archsim.contracts.event_encoder import SHIFT
from archsim.contracts.synapse_array import SynapseArrayParams
from archsim.handshake import taken, waits
from archsim.jit import kernel, njit
from archsim.vectors import BLOCK, WIDTH, add_rows

step = njit(contract.step)
"""One accumulator after one event, from the contract."""


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


@kernel
def add_weights(scratch, weight, sign, fresh):
    """Add (sign 1) or subtract (-1) the weight rows of a slice's events; ``fresh``: to accumulators that begin at 0."""
    for lane in range(len(scratch.ends)):
        rows, end, sums = scratch.rows[lane], scratch.ends[lane], scratch.sums[lane]
        if len(sums) == WIDTH:
            add_rows(rows, 0, min(end, BLOCK), weight, sums, sign, fresh)
            for first in range(BLOCK, end, BLOCK):
                add_rows(rows, first, min(end, first + BLOCK), weight, sums, sign, False)
        else:
            if fresh:
                sums[:] = 0
            for number in range(end):
                weights = weight[rows[number]]
                for column in range(len(sums)):
                    sums[column] += sign * weights[column]


@njit
def event_times(events, gaps, wait, granules, add_latency, handover_latency):
    """Law over all events: cycle of each acceptance, and of each block's transfer (``granules`` blocks a group)."""
    accepted = np.zeros(len(events), np.int64)
    transferred = np.zeros(np.sum(events[:, 3]) * granules, np.int64)
    before, added, free = -1, -1, 0  # the event before: accepted, added; the hand-over bank is free
    begin, block = 0, 0  # first cycle in which the group may be added to; number of the next block
    for event in range(len(events)):
        accepted[event] = max(before + 1 + gaps[event], added)
        before = accepted[event]
        added = max(before + add_latency, added + 1, begin)
        if events[event, 3]:
            begin = max(added + handover_latency, free)
            offered = begin + handover_latency
            for _ in range(granules):
                free = taken(offered, wait)
                transferred[block] = free
                offered = free + 1
                block += 1
    return accepted, transferred


@njit
def add_events(weights, events, lanes, bits):
    """Accumulators [group][lane][column] when each group ends, and those that remain after the last event."""
    columns = weights.shape[1]
    groups = np.zeros((np.sum(events[:, 3]), lanes, columns), np.int64)
    sums = np.zeros((lanes, columns), np.int64)
    group = 0
    for event in range(len(events)):
        op, row, mask, last = events[event]
        for lane in range(lanes):
            if op == SHIFT or mask >> lane & 1:
                for column in range(columns):
                    sums[lane, column] = step(sums[lane, column], weights[row, column], op, bits)
        if last:
            groups[group] = sums
            sums[:] = 0
            group += 1
    return groups, sums


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
    blocks, steps = config["blocks"], config["steps"]
    weights = np.asarray(weights)
    if weights.ndim == 3:
        weights = weights[config.get("bank", 0)]
    events = np.asarray(events, np.int64).reshape(-1, 4)
    accepted, transferred = event_times(
        events, np.asarray(gaps, np.int64), waits(ready), blocks * steps, contract.ADD_LATENCY,
        contract.HANDOVER_LATENCY,
    )  # fmt: skip
    groups, state = add_events(np.ascontiguousarray(weights, np.int64), events, params.lanes, params.membrane_bits)
    # Blocks outside, time steps inside; a replayed step is lane 0 again.
    order = np.array(
        [(block, t, block == blocks - 1 and t == steps - 1) for block in range(blocks) for t in range(steps)]
    )
    lane = np.zeros(len(order), np.int64) if config.get("replay", 0) else order[:, 1]
    parts = groups.reshape(len(groups), params.lanes, params.columns // params.neurons, params.neurons)
    sums = parts[:, lane, order[:, 0]].reshape(-1, params.neurons)
    return ArrayRun(accepted, sums, np.tile(order.astype(np.int64), (len(groups), 1)), transferred, state)
