"""Does the queue start each instruction in the cycle of the law, whatever is posted and whenever the gang is ready?

The engine is a list of durations; posts and the gang's permission are random traces. Starts are computed first, then run.
"""

import numpy as np
import pytest

from archsim.contracts import sequencer
from archsim.contracts.sequencer import DECODE, SYNAPSE, encode
from rtl.build import UNITS
from tests.rtl.levels import library
from tests.rtl.rows import bits, to_words

CHIP = UNITS["sequencer"].parameters({"cores": "3", "queue_rows": "7"})
ENGINES = sequencer.CORE0 + CHIP.cores
CYCLES = 2000


def expected_starts(waits, durations, posted, go):
    """(start, end) of each instruction: posted [cycles, engines] and go [cycles] are 0 or 1."""
    available = np.zeros(ENGINES, int)
    times, running, ready, index = [], 0, DECODE, 0
    for cycle in range(CYCLES):
        # A post of the cycle before is visible now.
        available += posted[cycle - 1] if cycle else 0
        wait = waits[index] if index < len(waits) else None
        if wait is not None and cycle >= ready and go[cycle] and (available >= wait).all():
            available -= wait
            running = cycle + durations[index]
            times.append((cycle, running))
            ready, index = running + DECODE, index + 1
    return times


def run(rows, durations, posted, go):
    """Drive the Verilog: ``done`` answers each start; the trace of every output."""
    unit = library("sequencer", CHIP)
    idle = dict.fromkeys(unit.inputs, 0)
    unit.reset_model()
    payload = np.concatenate([bits(np.arange(len(rows))[:, None], 3), bits(rows, 8)], axis=1)
    unit.run(idle | {"rst": 1, "program__valid": 1, "program__payload": to_words(payload)}, resume=True)
    words = posted @ (1 << np.arange(ENGINES))
    trace, end, count = {name: [] for name in unit.outputs}, -1, 0
    for cycle in range(CYCLES):
        out = unit.step(idle | {"posted": int(words[cycle]), "go": int(go[cycle]), "done": int(cycle == end)})
        for name, value in out.items():
            trace[name].append(value)
        if out["start"]:
            end, count = cycle + durations[count], count + 1
    return trace


@pytest.mark.parametrize("seed", range(12))
def test_starts_and_posts(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, CHIP.queue_rows))  # one row is left for HALT
    waits = (rng.random((count, ENGINES)) < 0.3).astype(int)
    posts = rng.integers(0, 1 << ENGINES, count).tolist()
    durations = rng.integers(1, 60, count).tolist()
    posted = (rng.random((CYCLES, ENGINES)) < rng.choice([0.004, 0.02, 0.1])).astype(int)
    posted[rng.integers(200) :] = 0  # counters stay below their limit, and some queues wait for ever
    go = rng.random(CYCLES) < rng.choice([0.1, 0.5, 1])
    fields = {"out_width": 5}
    program = [
        encode(SYNAPSE, fields, int(wait @ (1 << np.arange(ENGINES))), post)
        for wait, post in zip(waits, posts, strict=True)
    ]  # fmt: skip
    program.append(encode(sequencer.HALT, {}))
    rows = np.frombuffer(b"".join(program), np.uint8).reshape(len(program), -1)
    times = expected_starts(waits, durations, posted, go)
    trace = run(rows, durations, posted, go)
    assert np.flatnonzero(trace["start"]).tolist() == [start for start, _ in times]
    sent = [(end, post) for (_, end), post in zip(times, posts, strict=False) if post]
    assert [(int(cycle), trace["post"][cycle]) for cycle in np.flatnonzero(trace["post"])] == sent
    for (start, end), wanted in zip(times, program, strict=False):
        # The instruction stands from its set-up, two cycles before it may start, to its end.
        assert {trace["instruction"][cycle] for cycle in range(start - 2, end + 1)} == {
            int.from_bytes(wanted, "little")
        }
    # HALT is decoded like any other instruction; it ends the queue where it would have started.
    ended = DECODE if not times else times[-1][1] + DECODE
    assert np.flatnonzero(trace["halted"]).tolist() == (list(range(ended, CYCLES)) if len(times) == count else [])


def test_semaphores_count_to_their_limit():
    limit = (1 << sequencer.SEMAPHORE_BITS) - 1
    posted = np.zeros((CYCLES, ENGINES), int)
    posted[:limit, 1] = 1
    go = np.arange(CYCLES) >= limit + 10
    rows = np.frombuffer(b"".join(encode(SYNAPSE, {}, 2) for _ in range(CHIP.queue_rows)), np.uint8)
    durations = [1] * CYCLES  # the queue has no HALT: it goes round and takes every post
    trace = run(rows.reshape(CHIP.queue_rows, -1), durations, posted, go)
    assert np.count_nonzero(trace["start"]) == limit
