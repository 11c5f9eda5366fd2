"""Router, fast: the choices of tokens and the cycles of their handshakes, from token to token."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import router as contract
from archsim.contracts.router import RouterParams
from archsim.handshake import taken, waits
from archsim.jit import njit

step = njit(contract.step)
"""The next choice of a token, from the contract."""

keeps = njit(contract.keeps)
"""Whether an expert accepts, from the contract."""


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
def choose(scores, count, capacity, mask, counts, choices):
    """The ``count`` choices (expert, slot, kept, last) of a token; ``counts`` wrap with ``mask``. Returns who is left."""
    candidates = (1 << len(scores)) - 1
    for number in range(count):
        expert = step(scores, candidates)
        candidates ^= 1 << expert
        kept = keeps(counts[expert], capacity)
        choices[number, 0], choices[number, 1] = expert, counts[expert]
        choices[number, 2], choices[number, 3] = kept, number == count - 1
        counts[expert] = (counts[expert] + kept) & mask
    return candidates


@njit
def route(scores, firsts, count, capacity, mask, counts, gaps, wait, blocks, latency):
    """Law over tokens, scores [tokens, experts]: accept cycles, choices, transfer cycles, experts left by the last one."""
    tokens = len(scores)
    accepted, left = np.zeros(tokens * blocks, np.int64), 0
    choices, transferred = np.zeros((tokens * count, 4), np.int64), np.zeros(tokens * count, np.int64)
    before, free = -1, 0  # acceptance of the block before; last choice of the token before taken
    for token in range(tokens):
        for block in range(token * blocks, (token + 1) * blocks):
            accepted[block] = max(before + 1 + gaps[block], free)
            before = accepted[block]
            if firsts[block]:
                counts[:] = 0
        part = slice(token * count, (token + 1) * count)
        left = choose(scores[token], count, capacity, mask, counts, choices[part])
        offered = before + latency
        for number in range(token * count, (token + 1) * count):
            transferred[number] = taken(offered, wait)
            offered = transferred[number] + 1
        free = transferred[(token + 1) * count - 1]
    return accepted, choices, transferred, left


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
    experts, count, capacity = config
    counts = np.zeros(params.experts, np.int64)
    accepted, choices, transferred, left = route(
        np.asarray(scores, np.int64)[:, :experts], np.asarray(firsts, np.int64), count, capacity,
        (1 << params.slot_bits) - 1, counts, np.asarray(gaps, np.int64), waits(ready), params.blocks(experts),
        contract.LATENCY,
    )  # fmt: skip
    return RouterRun(accepted, choices, transferred, {"counts": counts.tolist(), "left": 0, "open": left})
