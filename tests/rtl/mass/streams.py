"""Mass runs of units with one stream in and one out, from their classes of cases (``UnitCases`` in ``tests/rtl/test_x.py``)."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from amaranth.lib.wiring import Component

from rtl.build import UNITS
from rtl.verilator_library import Library
from tests.rtl import driver
from tests.rtl.bench import STALLS, Case, ModelsDiffer, Observed, number
from tests.rtl.levels import CHUNK, component_library
from tests.rtl.mass.divergence import Divergence, Trace, first_field
from tests.rtl.mass.record import CORNERS, RANDOM, RECORDED, Goal, Result, name_of
from tests.rtl.mass.script import Difference

NEVER = np.iinfo(np.int64).max


def difference(case: Case, seen: Observed, layouts) -> Difference | None:
    """The first difference in time: of handshakes, output payloads (both by the cycle in which they happen), retired state."""
    found = [
        at for at in (
            cycles_differ(case.transferred, seen.transferred, "o.valid"), _payload(case, seen, layouts["o__payload"]),
            cycles_differ(case.accepted, seen.accepted, "i.ready"),
        ) if at
    ]  # fmt: skip
    if not found and not np.array_equal(case.state, seen.state):
        name, *values = first_field(layouts["state"], number(case.state), number(seen.state))
        found.append(Difference(case.limit - 1, f"state.{name}", *values))
    if not found and seen.broken:
        found.append(Difference(case.limit - 1, "cycles in which an offer was withdrawn or changed", 0, seen.broken))
    return min(found, key=lambda at: at.cycle, default=None)


def cycles_differ(expected: np.ndarray, seen: np.ndarray, field: str) -> Difference | None:
    """The first handshake that happens in one list only: the other side's valid (ready) is the difference."""
    count = max(len(expected), len(seen))
    ours, theirs = (np.append(cycles, np.full(count - len(cycles), NEVER)) for cycles in (expected, seen))
    theirs = np.where(theirs < 0, NEVER, theirs)
    where = np.flatnonzero(ours != theirs)
    if not len(where):
        return None
    mine, its = int(ours[where[0]]), int(theirs[where[0]])
    return Difference(min(mine, its), field, int(mine < its), int(its < mine))


def _payload(case: Case, seen: Observed, layout) -> Difference | None:
    """The first output payload that differs, in the cycle in which it is seen."""
    count = min(len(case.output), len(seen.output))
    where = np.flatnonzero(np.any(case.output[:count] != seen.output[:count], axis=1))
    if not len(where):
        return None
    name, *values = first_field(layout, number(case.output[where[0]]), number(seen.output[where[0]]))
    return Difference(int(seen.transferred[where[0]]), f"o.{name}", *values)


class Stopwatch:
    """Seconds in a fast model's ``run`` while it is watched, without the first call, which loads or compiles kernels."""

    def __init__(self, module: ModuleType):
        self.module, self.seconds, self.warm = module, 0.0, False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Measure: whoever calls the module's ``run`` meanwhile is timed."""
        run = self.module.run

        def timed(*arguments, **options):
            begin = time.perf_counter()
            try:
                return run(*arguments, **options)
            finally:
                self.seconds += (time.perf_counter() - begin) * self.warm
                self.warm = True

        self.module.run = timed
        try:
            yield
        finally:
            self.module.run = run


def layouts_of(params: Any, case: Case) -> dict:
    """How to read the ports of a unit with parameters ``params``."""
    found = {"i__payload": params.i, "o__payload": params.o, "state": params.state}
    return found | ({"config": params.config} if "config" in case.constants else {})


def run_case(
    unit: str, params: Any, case: Case, lib: Library, create: Callable[[], Component]
) -> tuple[Observed, float]:
    """Run a case on the library ``lib`` of what ``create`` makes; what was seen, and seconds. Raises Divergence."""
    warm, begin = driver.is_warm(), time.perf_counter()
    seen, _ = driver.run(lib, case)
    seconds = (time.perf_counter() - begin) * warm
    layouts = layouts_of(params, case)
    found = difference(case, seen, layouts)
    if found:
        again, rows = driver.record(lib, case)
        assert difference(case, again, layouts) == found, "the run does not repeat"
        raise Divergence(Trace(unit, create(), lib, rows, len(rows) - case.limit, layouts), *found)
    return seen, seconds


@cache
def _library(unit: str, create: Callable[[Any], Component], params: Any) -> Library:
    return component_library(unit, create(params))


def _collect(cases, params: Any, source: str, made: Iterable[Case], watch: Stopwatch) -> Result:
    """Run cases of a unit, which are made while the watch looks on."""
    create = getattr(cases, "create", None) or UNITS[cases.unit].create
    hardware = _library(cases.unit, create, params), lambda: create(params)
    transactions, cycles, seconds, stalls, left = 0, 0, 0.0, np.zeros(2, np.int64), iter(made)
    watch.seconds = 0.0
    while True:
        with watch.watching():
            try:
                case = next(left, None)
            except ModelsDiffer as error:
                # Raises Divergence if it is the law that is wrong.
                run_case(cases.unit, params, error.case, *hardware)
                raise
        if case is None:
            break
        seen, taken = run_case(cases.unit, params, case, *hardware)
        transactions, cycles, seconds = transactions + len(case.payload), cycles + case.limit, seconds + taken
        stalls += seen.input_stalls, seen.output_stalls
    counts = {"input_stalls": int(stalls[0]), "output_stalls": int(stalls[1])}
    if getattr(cases, "stalls_when_full", False):
        counts["full"] = int(stalls[0])
    return Result(cases.unit, name_of(params), source, transactions, cycles, seconds, watch.seconds, **counts)


def stream(cases, fast: ModuleType, recorded=None):
    """A unit's :data:`~tests.rtl.mass.registry.Run`.

    Args:
        cases: an instance of the unit's class of cases. Further attributes that it may have: ``create``, which makes the
            hardware of a parameter set (default: the unit of ``rtl.build``), and ``stalls_when_full``: the producer waits
            only for a full FIFO.
        fast: its fast model, whose ``run`` makes the expectations and is timed.
        recorded: function of the goal that yields (params, cases) from the trained network.
    """

    def run(goal: Goal) -> Iterator[Result]:
        watch = Stopwatch(fast)
        sets = goal.chosen(cases.sets)
        for params in sets:
            rng = np.random.default_rng(11)
            corners = (case for stalls in STALLS.values() for case in cases.corners(params, stalls, rng))
            yield _collect(cases, params, CORNERS, corners, watch)
            made = _random(cases, params, goal.of(len(sets)))
            yield _collect(cases, params, RANDOM, made, watch)
        if recorded:
            for params, some in recorded(goal):
                yield _collect(cases, params, RECORDED, some, watch)

    return run


def _random(cases, params: Any, transactions: int) -> Iterator[Case]:
    """Random cases of at least so many transactions in total, with all stall patterns in turn.

    A case may have fewer than it was asked for, where they come in groups.
    """
    patterns = list(STALLS.values())
    chunk = max(1, min(CHUNK, -(-transactions // len(patterns))))
    index, made = 0, 0
    while made < transactions:
        case = cases.random(params, patterns[index % len(patterns)], np.random.default_rng([12, index]), chunk)
        yield case
        index, made = index + 1, made + len(case.payload)
