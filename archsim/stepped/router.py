"""Router, cycle by cycle: registers for the scores of one token, a count per expert, a valid/ready port on each side."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import router as contract
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.router import RouterParams
from archsim.jit import njit

BLOCK, LEFT, OPEN = range(3)
"""Control registers: blocks of the token that are here; choices still to offer; experts that the token has not chosen."""

_step, _keeps = njit(contract.step), njit(contract.keeps)


class RouterRun(NamedTuple):
    """What a run of the router shows at its ports.

    Attributes:
        accepted: cycle in which each block was accepted.
        choices: int64 [choices, 4]: expert, slot, kept, last.
        transferred: cycle in which each choice was taken.
        state: retired state, fields of ``RouterParams.state``.
    """

    accepted: NDArray[np.int64]
    choices: NDArray[np.int64]
    transferred: NDArray[np.int64]
    state: dict[str, int | list[int]]


@njit
def offer(regs, scores, counts, capacity, choice):
    """Drive the output from the registers: fill ``choice`` and return valid."""
    if regs[LEFT] == 0:
        return False
    expert = _step(scores, regs[OPEN])
    choice[0], choice[1] = expert, counts[expert]
    choice[2], choice[3] = _keeps(counts[expert], capacity), regs[LEFT] == 1
    return True


@njit
def take(regs, counts, choice, bits):
    """Clock edge of a cycle in which the offered choice was taken."""
    expert = choice[0]
    counts[expert] = (counts[expert] + choice[2]) % (1 << bits)
    regs[OPEN] -= 1 << expert
    regs[LEFT] -= 1


@njit
def put(regs, scores, counts, block, first, last, experts, count):
    """Clock edge of a cycle in which a block was accepted: no choice is left, or the last was taken in this cycle."""
    for number in range(len(block)):
        expert = regs[BLOCK] * len(block) + number
        if expert < len(scores):
            scores[expert] = block[number]
    if first:
        counts[:] = 0
    regs[BLOCK] += 1
    if last:
        regs[BLOCK], regs[LEFT], regs[OPEN] = 0, count, (1 << experts) - 1


@njit
def _run(blocks, firsts, lasts, config, width, bits, gaps, ready):
    experts, count, capacity = config
    regs, scores, counts = np.zeros(3, np.int64), np.zeros(width, np.int64), np.zeros(width, np.int64)
    total = len(blocks)
    accepted, choice = np.zeros(total, np.int64), np.zeros(4, np.int64)
    log, place, taken, cycle = np.zeros((total * count, 5), np.int64), 0, 0, 0
    offered_from = gaps[0] if total else 0
    while place < total or regs[LEFT]:
        if offer(regs, scores, counts, capacity, choice) and ready[cycle % len(ready)]:
            log[taken, :4] = choice
            log[taken, 4] = cycle
            taken += 1
            take(regs, counts, choice, bits)
        if place < total and cycle >= offered_from and regs[LEFT] == 0:
            put(regs, scores, counts, blocks[place], firsts[place], lasts[place], experts, count)
            accepted[place] = cycle
            place += 1
            if place < total:
                offered_from = cycle + 1 + gaps[place]
        cycle += 1
    return accepted, log[:taken], regs, counts


def run(
    params: RouterParams,
    config: tuple[int, int, int],
    scores: NDArray[np.int64],
    firsts: NDArray[np.int64],
    gaps: NDArray[np.int64],
    ready: NDArray[np.bool_],
) -> RouterRun:
    """Feed tokens to an idle router, all its counts 0, until the last choice is taken.

    Args:
        params: sizes.
        config: experts, choices, capacity.
        scores: int64 [tokens, blocks x P].
        firsts: int64 [tokens x blocks], whether each block begins a layer.
        gaps: block k is offered from ``accepted[k - 1] + 1 + gaps[k]`` on, block 0 from ``gaps[0]`` on.
        ready: whether the consumer takes a choice in each cycle; cyclic.

    Raises ArchsimError for a configuration that the router does not have, and when ``ready`` never is true.
    """
    params.check(*config)
    if not np.any(ready):
        raise ArchsimError("router: ready must be true in some cycle, given a consumer that never takes a choice")
    blocks = np.asarray(scores, np.int64).reshape(-1, params.neurons)
    lasts = np.arange(1, len(blocks) + 1) % params.blocks(config[0]) == 0
    accepted, log, regs, counts = _run(
        blocks, np.asarray(firsts, np.int64), lasts, config, params.experts, params.slot_bits,
        np.asarray(gaps, np.int64), np.asarray(ready, np.bool_),
    )  # fmt: skip
    state = {"counts": counts.tolist(), "left": int(regs[LEFT]), "open": int(regs[OPEN])}
    return RouterRun(accepted, log[:, :4], log[:, 4], state)
