"""Mass runs of units that work by instructions: queues of random instructions, delayed by random posts, of one engine.

A queue runs on the Verilog without a look at it from Python before its end. What it is to do is known before: by the law of the
queue with the fast model, and with the stepped model.
"""

import time
from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np

from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.sequencer import CORE0
from tests.rtl.bench import ModelsDiffer
from tests.rtl.engine import CHUNK, Engine, Outputs, whole_run
from tests.rtl.mass.divergence import Divergence, Trace
from tests.rtl.mass.record import RANDOM, RECORDED, Goal, Result
from tests.rtl.queue_run import QueueRun, decoded, expected
from tests.rtl.slice_programs import queue_of

QUEUE = 250
"""Instructions of a queue at most."""


class Cases:
    """What a unit gives to its mass run.

    Attributes:
        unit: its name.
        engine: the hardware with its queue and, as outputs ``probe_...``, its probes: 1 in a cycle with such a state.
        output_stalls, full: names of the probes for the columns of the table; None without.
        sets: chips of different names.
    """

    unit: str
    engine: Engine
    output_stalls: str | None = None
    full: str | None = None
    sets: tuple[ChipParams, ...]

    def memory(self, chip: ChipParams, rng: np.random.Generator) -> Any:
        """Random memories."""
        raise NotImplementedError

    def instruction(self, chip: ChipParams, rng: np.random.Generator) -> dict[str, int]:
        """A random instruction, its opcode among its fields; any that the contract allows."""
        raise NotImplementedError

    def program(self, chip: ChipParams, rng: np.random.Generator, count: int) -> list[dict[str, int]]:
        """``count`` of them, where one is not independent of those before."""
        return [self.instruction(chip, rng) for _ in range(count)]

    def fast(self, fields, chip: ChipParams, memory: Any) -> int:
        """The fast model: changes the memory, returns the cycles."""
        raise NotImplementedError

    def stepped(self, fields, chip: ChipParams, memory: Any) -> int:
        """The stepped model, likewise."""
        raise NotImplementedError

    def recorded(self) -> Iterable[tuple[ChipParams, list["Case"]]]:
        """Cases of the trained network by chip; none."""
        return ()


class Case(NamedTuple):
    """A queue: its instructions, the memories before, the posts to it, and what it does by the fast model, in seconds."""

    queue: np.ndarray
    memory: Any
    posts: list[tuple[int, int]]
    wanted: QueueRun
    seconds: float


class Difference(NamedTuple):
    """A first difference: cycle, field, both values."""

    cycle: int
    field: str
    expected: object
    seen: object


def random_posts(
    chip: ChipParams, rng: np.random.Generator, durations: Iterable[int]
) -> tuple[list[dict[str, int]], list[tuple[int, int]]]:
    """``wait`` and ``post`` of each instruction, and posts that come long before, about when, or after it could start."""
    engines, ready, headers = CORE0 + chip.cores, sequencer.DECODE, []
    posts: dict[tuple[int, int], None] = {}
    for cycles in durations:
        producers = rng.choice(engines, int(rng.choice([0, 0, 1, 2, min(3, engines)])), replace=False).tolist()
        start = ready
        for engine in producers:
            cycle = max(0, ready + int(rng.choice([-1, 0, 1, *rng.integers(-80, 40, 3)])))
            while (cycle, engine) in posts:  # one post of an engine in a cycle
                cycle += 1
            posts[cycle, engine] = None
            start = max(start, sequencer.start(ready, cycle))
        post = int(rng.integers(1 << engines)) if rng.random() < 0.5 else 0
        headers.append({"wait": sum(1 << engine for engine in producers), "post": post})
        ready = start + cycles + sequencer.DECODE
    return headers, list(posts)


def random_case(cases: Cases, chip: ChipParams, rng: np.random.Generator, count: int) -> Case:
    """A queue of ``count`` instructions."""
    memory = cases.memory(chip, rng)
    program = decoded(queue_of(cases.program(chip, rng, count)))
    after = deepcopy(memory)
    begin = time.perf_counter()
    durations = [int(cases.fast(fields, chip, after)) for fields in program]
    seconds = time.perf_counter() - begin
    headers, posts = random_posts(chip, rng, durations)
    queue = queue_of([fields | header for fields, header in zip(program, headers, strict=True)])
    known = iter(durations)
    wanted = expected(chip, queue, None, posts, lambda *arguments: next(known))
    return Case(queue, memory, posts, wanted._replace(memory=after), seconds)


def run_case(cases: Cases, chip: ChipParams, case: Case, make=None) -> Outputs:
    """Run a case on the stepped model and on the Verilog (of ``make``, if it is not the unit's own).

    Raises ModelsDiffer, Divergence.
    """
    engine, (queue, memory, posts, wanted, _) = cases.engine, case
    library = engine.library(chip, make)
    outputs = engine.outputs(chip, queue, memory, posts, library, limit=last_cycle(wanted) + CHUNK)
    if found := located(engine, wanted, engine.observed(chip, memory, outputs)):
        component, library = (make or engine.make)(chip), engine.library(chip, make)
        if found.cycle < 0:
            found = found._replace(cycle=_wrong_end(cases, chip, case, library))
        trace = _trace(engine, chip, case, component, library)
        raise Divergence(trace, *found)
    other = expected(chip, queue, memory, posts, cases.stepped)
    if text := engine.difference(wanted, other):
        raise ModelsDiffer(text, case)
    return outputs


def last_cycle(run: QueueRun) -> int:
    """The cycle in which the last instruction ends."""
    return run.times[-1][1] if run.times else 0


def located(engine: Engine, wanted: QueueRun, found: QueueRun) -> Difference | None:
    """The first difference of two runs, in time; cycle -1 for one of the memories alone."""
    events = []
    for name, place in (("start", 0), ("done", 1)):
        events.append(_first(name, [time[place] for time in wanted.times], [time[place] for time in found.times]))
    events.append(_first("post", wanted.posts, found.posts))
    events = [event for event in events if event]
    if events:
        return min(events, key=lambda event: event.cycle)
    ours, theirs = engine.contents(wanted.memory), engine.contents(found.memory)
    for name, rows in ours.items():
        where = np.argwhere(rows != theirs[name])
        if len(where):
            at = tuple(where[0].tolist())
            return Difference(-1, f"{name}{list(at)}", int(rows[at]), int(theirs[name][at]))
    return None


def _first(name: str, ours: list, theirs: list) -> Difference | None:
    """The first event that is not in both lists: cycles, or (cycle, value)."""
    for index in range(max(len(ours), len(theirs))):
        mine, its = (events[index] if index < len(events) else None for events in (ours, theirs))
        if mine != its:
            one, other = (_cycle(event) for event in (mine, its))
            if one == other:
                return Difference(one, name, mine[1], its[1])
            return Difference(min(one, other), name, int(one < other), int(other < one))
    return None


def _cycle(event) -> int:
    cycle = event[0] if isinstance(event, tuple) else event
    return 1 << 62 if cycle is None or cycle < 0 else cycle


def _wrong_end(cases: Cases, chip: ChipParams, case: Case, library) -> int:
    """End of the first instruction after which the memories differ, found by runs of beginnings of the queue."""
    program, low, high = decoded(case.queue), 1, len(case.wanted.times)
    while low < high:
        middle = (low + high) // 2
        queue, after = np.concatenate([case.queue[:middle], case.queue[-1:]]), deepcopy(case.memory)
        for fields in program[:middle]:
            cases.fast(fields, chip, after)
        found = cases.engine.run(chip, queue, case.memory, case.posts, library)
        theirs = cases.engine.contents(found.memory)
        if all(np.array_equal(rows, theirs[name]) for name, rows in cases.engine.contents(after).items()):
            low = middle + 1
        else:
            high = middle
    return case.wanted.times[low - 1][1]


def _trace(engine: Engine, chip: ChipParams, case: Case, component, library) -> Trace:
    """The whole run, its dump included, from its inputs alone."""
    load, dump = engine.preload(chip, case.queue, case.memory), engine.dump(chip)
    cycles = last_cycle(case.wanted) + CHUNK
    inputs, parts = whole_run(list(library.inputs.items()), load, dump, case.posts, cycles)
    rows = np.concatenate([inputs[name] for name in library.inputs], axis=1)
    return Trace(engine.name, component, library, rows, parts["run"].start)


def collect(cases: Cases, chip: ChipParams, source: str, made: Iterable[Case]) -> Result:
    """Run cases of a chip."""
    counts = dict.fromkeys(("transactions", "cycles", "input_stalls", "output_stalls", "full"), 0)
    model, verilog = 0.0, 0.0
    for case in made:
        outputs = run_case(cases, chip, case)
        times = case.wanted.times
        ready = [sequencer.DECODE, *(end + sequencer.DECODE for _, end in times)]
        counts["transactions"] += len(times)
        counts["cycles"] += last_cycle(case.wanted) + 1
        counts["input_stalls"] += sum(start - at for (start, _), at in zip(times, ready, strict=False))
        for column in ("output_stalls", "full"):
            if probe := getattr(cases, column):
                counts[column] += int(outputs.run[f"probe_{probe}"].sum())
        model, verilog = model + case.seconds, verilog + outputs.seconds
    for column in ("output_stalls", "full"):
        if not getattr(cases, column):
            counts[column] = None
    return Result(cases.unit, chip.name, source, verilog_seconds=verilog, model_seconds=model, **counts)


def instructions(cases: Cases):
    """A unit's :data:`~tests.rtl.mass.registry.Run`."""

    def run(goal: Goal) -> Iterator[Result]:
        random_case(cases, cases.sets[0], np.random.default_rng(0), 40)  # compiles what is timed
        for chip in goal.chosen(cases.sets):
            yield collect(cases, chip, RANDOM, _random(cases, chip, goal.of(len(cases.sets))))
        for chip, some in cases.recorded():
            yield collect(cases, chip, RECORDED, some)

    return run


def _random(cases: Cases, chip: ChipParams, count: int) -> Iterator[Case]:
    most = min(QUEUE, chip.queue_rows - 1)  # and HALT
    for index, first in enumerate(range(0, count, most)):
        yield random_case(cases, chip, np.random.default_rng([14, index]), min(most, count - first))
