"""Test support: what a queue of instructions does: expected by the law of the queue and a model of instructions, or seen.

The expectation never sees the Verilog.
"""

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np

from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams

Posts = Iterable[tuple[int, int]]
"""(cycle, engine) of every post of another engine to the one that runs."""

Model = Callable[[Mapping[str, int], ChipParams, Any], int]
"""A model of an engine's instructions: changes the memory, returns the cycles from start to end."""


class QueueRun(NamedTuple):
    """What a queue did: cycles (start, end) per instruction, (cycle, engines) of each post, memories afterwards."""

    times: list[tuple[int, int]]
    posts: list[tuple[int, int]]
    memory: Any


def waiting_queue(program: Iterable[Any], rng: np.random.Generator, pause: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The rows of steps (``opcode``, ``fields``), with waits for and posts to any other engine, and the posts that they wait for.

    ``pause``: cycles from one post to the next at most.
    """
    rows, posts, time = [], [], 0
    for step in program:
        time += int(rng.integers(1, pause))
        wait = int(rng.integers(8)) if rng.random() < 0.3 else 0
        posts += [(time, engine) for engine in range(3) if wait >> engine & 1]
        rows.append(sequencer.encode(step.opcode, step.fields, wait, int(rng.integers(16))))
    rows.append(sequencer.encode(sequencer.HALT, {}))
    return np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1), sorted(set(posts))


def expected(chip: ChipParams, queue: np.ndarray, memory: Any, posts: Posts, model: Model) -> QueueRun:
    """What the queue does by the contract's law of the queue and ``model`` (arguments as in :meth:`Engine.run`)."""
    memory = deepcopy(memory)
    waiting: dict[int, list[int]] = {}
    for cycle, engine in sorted(posts, reverse=True):
        waiting.setdefault(engine, []).append(cycle)
    times, sent, ready = [], [], sequencer.DECODE
    for fields in decoded(queue):
        start = ready
        for engine in engines(fields["wait"]):
            start = max(start, sequencer.start(ready, waiting[engine].pop()))
        end = start + model(fields, chip, memory)
        times.append((start, end))
        if fields["post"]:
            sent.append((end, fields["post"]))
        ready = end + sequencer.DECODE
    return QueueRun(times, sent, memory)


def decoded(queue: np.ndarray) -> list[dict[str, int]]:
    """The fields of the instructions of a queue up to its HALT."""
    found = []
    for row in queue:
        fields = sequencer.decode(row.tobytes())
        if fields["opcode"] == sequencer.HALT:
            break
        found.append(fields)
    return found


def engines(mask: int) -> list[int]:
    """The engines of a mask."""
    return [engine for engine in range(mask.bit_length()) if mask >> engine & 1]


def times_difference(expected: QueueRun, found: QueueRun) -> str:
    """The first difference of instruction times or posts."""
    for index, (ours, theirs) in enumerate(zip(expected.times, found.times, strict=False)):
        if ours != theirs:
            return f"instruction {index}: start and end {ours} expected, found {theirs}"
    if len(expected.times) != len(found.times):
        return f"{len(expected.times)} instructions expected, found {len(found.times)}"
    for ours, theirs in zip(expected.posts, found.posts, strict=False):
        if ours != theirs:
            return f"post (cycle, engines) {ours} expected, found {theirs}"
    if len(expected.posts) != len(found.posts):
        return f"{len(expected.posts)} posts expected, found {len(found.posts)}"
    return ""


def contents_difference(expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> str:
    """The first difference of memories' contents."""
    for name, ours in expected.items():
        theirs = found[name]
        where = np.argwhere(ours != theirs)
        if len(where):
            at = tuple(where[0].tolist())
            return f"{name}{list(at)}: {int(ours[at])} expected, found {int(theirs[at])} ({len(where)} differences)"
    return ""


def events_of(
    outputs: Mapping[str, np.ndarray], suffix: str = ""
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(start, end) of each instruction (-1: there is none) and (cycle, engines) of each post, from the ports by cycle."""
    start, done, post = (outputs[f"{name}{suffix}"].reshape(-1) for name in ("start", "done", "post"))
    times = list(zip_longest(np.flatnonzero(start).tolist(), np.flatnonzero(done).tolist(), fillvalue=-1))
    return times, [(int(cycle), int(post[cycle])) for cycle in np.flatnonzero(post)]
