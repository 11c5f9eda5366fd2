"""Mass run of the round-robin choice: requests and ends at random, every grant against the contract's cyclic order."""

from collections.abc import Iterator

import numpy as np
from numba import njit

from archsim.units.crossbar import turn
from rtl.arbiter import RoundRobin
from rtl.verilator_library import Library
from tests.rtl.bench import STALLS
from tests.rtl.levels import component_library
from tests.rtl.mass import script
from tests.rtl.mass.record import RANDOM, Goal, Result
from tests.rtl.mass.script import Check, Script

UNIT = "arbiter"

COUNTS = (2, 3, 5, 8, 16)
"""Numbers of those that wait."""

CYCLES = 40_000
"""Cycles of a run at most."""


@njit
def choices(count, waiting, ended, granted, chosen):
    """Fill ``granted`` and ``chosen`` of every cycle, by definition; returns how often somebody was chosen."""
    grant, choice, total = False, count - 1, 0
    for cycle in range(len(waiting)):
        granted[cycle], chosen[cycle] = grant, choice
        if grant and not ended[cycle]:
            continue
        grant = False
        for offset in range(count):
            number = turn(chosen[cycle], offset, count)
            if waiting[cycle] >> number & 1:
                grant, choice = True, number
                total += 1
                break
    return total


def script_of(library: Library, count: int, rng: np.random.Generator, index: int, cycles: int) -> tuple[Script, int]:
    """Random cycles, from nobody who waits to all, and the choices among them."""
    stalls = list(STALLS.values())[index % len(STALLS)]
    waiting = np.zeros(cycles, np.int64)
    for number in range(count):
        some = rng.random(cycles) < rng.choice([0.1, 0.5, 1.0])
        waiting |= (some & np.resize(stalls.trace(rng), cycles)).astype(np.int64) << number
    ended = rng.random(cycles) < rng.choice([0.2, 0.8, 1.0])
    granted, chosen = np.zeros(cycles, np.int64), np.zeros(cycles, np.int64)
    total = choices(count, waiting, ended, granted, chosen)
    before = script.rows_of(library.inputs, script.RESET_CYCLES, {"rst": 1})
    rows = script.rows_of(library.inputs, cycles, {"waiting": waiting, "ended": ended})
    at = len(before) + np.arange(cycles)
    checks = [
        Check(name, at, values.astype(np.uint64)[:, None]) for name, values in (("granted", granted), ("chosen", chosen))
    ]  # fmt: skip
    return Script(np.concatenate([before, rows]), len(before), checks), int(total)


def run(goal: Goal) -> Iterator[Result]:
    """The mass run; a transaction is a choice. There is no model but the definition."""
    counts = goal.chosen(COUNTS)
    for count in counts:
        library = component_library(UNIT, RoundRobin(count))
        rng, left = np.random.default_rng(19), goal.of(len(counts))
        made, cycles, seconds, index = 0, 0, 0.0, 0
        while made < left:
            length = min(CYCLES, 3 * (left - made) + 50)
            written, some = script_of(library, count, rng, index, length)
            _, taken = script.run(UNIT, lambda count=count: RoundRobin(count), library, written, {})
            made, cycles, seconds, index = made + some, cycles + length, seconds + taken, index + 1
        yield Result(UNIT, str(count), RANDOM, made, cycles, seconds, 0.0)
