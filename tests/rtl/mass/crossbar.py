"""Mass run of the expert crossbar: compiled producers and consumers on all of its ports, packets that contend."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.crossbar import CrossbarParams, corners
from archsim.stepped import crossbar as stepped
from archsim.units import crossbar as fast
from rtl.build import UNITS
from rtl.verilator_driver import words_of
from rtl.verilator_library import Library
from tests.rtl.bench import TAIL, number, pack
from tests.rtl.driver import clock
from tests.rtl.levels import library
from tests.rtl.mass.divergence import Divergence, Trace, first_field
from tests.rtl.mass.record import RANDOM, Goal, Result, name_of
from tests.rtl.mass.script import RESET_CYCLES, Difference, rows_of
from tests.rtl.mass.streams import Stopwatch, cycles_differ
from tests.rtl.test_crossbar import Traffic

UNIT = "crossbar"

FLITS = 6000
"""Flits of a run, on all inputs together."""


@dataclass
class Expected:
    """What the law says.

    Attributes:
        accepted: cycle in which each flit is accepted, all inputs behind each other.
        outputs: flits of each output in order.
        departed: cycle in which each flit leaves.
        payload: each flit as it leaves, uint64 [flits, words].
        state: the retired state, as an integer.
    """

    accepted: np.ndarray
    outputs: list[np.ndarray]
    departed: np.ndarray
    payload: np.ndarray
    state: int

    @property
    def cycles(self) -> int:
        """Cycles to run."""
        return int(self.departed.max()) + TAIL


class Seen(NamedTuple):
    """What the bench saw: as in :class:`Expected`, arrivals by output and in their order, and counts as in ``Observed``."""

    accepted: np.ndarray
    payload: list[np.ndarray]
    transferred: list[np.ndarray]
    state: int
    broken: int
    input_stalls: int
    output_stalls: int


def narrow(layout: Layout) -> Layout:
    """The same bits, fields of more than 64 of them in parts."""
    fields = []
    for field in layout.fields:
        parts = range(0, field.width, 64)
        fields += [
            Field(f"{field.name}{first // 64 or ''}", min(64, field.width - first)) for first in parts
        ]  # fmt: skip
    return Layout.of(layout.name, fields)


def payloads(layout: Layout, data: np.ndarray, **fields: np.ndarray) -> np.ndarray:
    """Flits packed, uint64 [flits, words]; ``data`` uint64 [flits, words]."""
    parts = {f"data{word or ''}": data[:, word] for word in range(data.shape[1])}
    return pack(narrow(layout), parts | fields)


@njit
def _drive(entry, row, out, at, flits, starts, gaps, ready, places, accepted, arrivals, arrived, held, log, limit):
    """Cycles 0 to ``limit``; fills ``accepted`` and what arrived [output, n]; returns how many, broken rules, and stalls."""
    (i_valid, i_payload, o_ready), (i_ready, o_valid, o_payload) = at
    ports, width, size = len(i_valid), flits.shape[1], arrivals.shape[2]
    place, taken, waiting = starts[:-1].copy(), np.zeros(ports, np.int64), np.zeros(ports, np.bool_)
    since = np.zeros(ports, np.int64)
    broken, input_stalls, output_stalls = 0, 0, 0
    for port in range(ports):
        since[port] = gaps[place[port]] if place[port] < starts[port + 1] else 0
    for cycle in range(limit):
        for port in range(ports):
            offering = place[port] < starts[port + 1] and cycle >= since[port]
            row[i_valid[port]] = offering
            # A flit that is not valid is any other one.
            flit = place[port] if offering else (cycle * 7 + port) % len(flits)
            row[i_payload[port] : i_payload[port] + width] = flits[flit]
            row[o_ready[port]] = ready[places[port] + cycle % (places[port + 1] - places[port])]
        if cycle < len(log):
            log[cycle] = row
        if clock(entry[0], entry[1], row.ctypes.data, out.ctypes.data) != 1:
            return taken, -1, input_stalls, output_stalls
        for port in range(ports):
            if row[i_valid[port]] and out[i_ready[port]]:
                accepted[place[port]] = cycle
                place[port] += 1
                since[port] = cycle + 1 + (gaps[place[port]] if place[port] < starts[port + 1] else 0)
            elif row[i_valid[port]]:
                input_stalls += 1
            offered = out[o_payload[port] : o_payload[port] + size]
            if waiting[port] and (not out[o_valid[port]] or np.any(offered != held[port])):
                broken += 1
            held[port] = offered
            waiting[port] = bool(out[o_valid[port]]) and not row[o_ready[port]]
            output_stalls += waiting[port]
            if out[o_valid[port]] and row[o_ready[port]]:
                if taken[port] < arrivals.shape[1]:
                    arrivals[port, taken[port]], arrived[port, taken[port]] = offered, cycle
                taken[port] += 1
    return taken, broken, input_stalls, output_stalls


def _offsets(ports: dict[str, int]) -> tuple[dict[str, int], int]:
    offsets, position = {}, 0
    for name, width in ports.items():
        offsets[name] = position
        position += words_of(width)
    return offsets, position


def drive(
    lib: Library, params: CrossbarParams, traffic: Traffic, flits, cycles: int, log: bool
) -> tuple[Seen, np.ndarray]:
    """Run traffic on the Verilog; what was seen, and every input from power-up on (if ``log``)."""
    (inputs, row_words), (outputs, out_words) = _offsets(lib.inputs), _offsets(lib.outputs)
    before = rows_of(lib.inputs, RESET_CYCLES, {"rst": 1})
    lib.reset_model()
    lib.run_rows(before)
    at = tuple(
        tuple(np.array([offsets[f"{side}__{port}__{name}"] for port in range(params.ports)]) for side, name in names)
        for offsets, names in (
            (inputs, (("i", "valid"), ("i", "payload"), ("o", "ready"))),
            (outputs, (("i", "ready"), ("o", "valid"), ("o", "payload"))),
        )
    )
    starts = np.cumsum([0, *map(len, traffic.lasts)])
    size = words_of(params.o.width)
    arrivals = np.zeros((params.ports, len(flits), size), np.uint64)
    arrived, accepted = np.full((params.ports, len(flits)), -1), np.full(len(flits), -1)
    row, out = np.zeros(row_words, np.uint64), np.zeros(out_words, np.uint64)
    rows = np.zeros((cycles if log else 0, row_words), np.uint64)
    taken, *counts = _drive(
        lib.entry, row, out, at, flits, starts, np.concatenate(traffic.gaps).astype(np.int64),
        np.concatenate(traffic.ready), np.cumsum([0, *map(len, traffic.ready)]), accepted, arrivals, arrived,
        np.zeros((params.ports, size), np.uint64), rows, cycles,
    )  # fmt: skip
    state = number(out[outputs["state"] :][: words_of(params.state.width)])
    ends = np.minimum(taken, len(flits))
    seen = Seen(
        accepted, [arrivals[port, :end] for port, end in enumerate(ends)],
        [arrived[port, :end] for port, end in enumerate(ends)], state, *counts,
    )  # fmt: skip
    return seen, np.concatenate([before, rows])


def expectation(params: CrossbarParams, traffic: Traffic, data: np.ndarray) -> Expected:
    """By the law; the stepped model must say the same."""
    law, model = (module.run(*traffic.arguments) for module in (fast, stepped))
    accepted, departed, sources, outputs, state = law
    names = ("accepted", "departed", "sources")
    differing = [
        name for name, ours, theirs in zip(names, law, model, strict=False) if not np.array_equal(ours, theirs)
    ]
    differing += [f"o[{port}]" for port, own in enumerate(outputs) if not np.array_equal(own, model[3][port])]
    differing += [name for name in state if not np.array_equal(state[name], model[4][name])]
    assert not differing, f"law and stepped model differ in {differing[0]}"
    payload = payloads(params.o, data, source=sources, last=np.concatenate(traffic.lasts))
    packed = params.state.pack({name: values.ravel().tolist() for name, values in state.items()})
    return Expected(accepted, outputs, departed, payload, packed)


def difference(params: CrossbarParams, starts: np.ndarray, expected: Expected, seen: Seen) -> Difference | None:
    """The first difference in time: arrivals, acceptances, at the end the retired state."""
    found = []
    for port, flits in enumerate(expected.outputs):
        found.append(cycles_differ(expected.departed[flits], seen.transferred[port], f"o[{port}].valid"))
        count = min(len(flits), len(seen.payload[port]))
        ours, theirs = expected.payload[flits[:count]], seen.payload[port][:count]
        where = np.flatnonzero(np.any(ours != theirs, axis=1))
        if len(where):
            name, *values = first_field(params.o, number(ours[where[0]]), number(theirs[where[0]]))
            found.append(Difference(int(seen.transferred[port][where[0]]), f"o[{port}].{name}", *values))
        own = slice(starts[port], starts[port + 1])
        found.append(cycles_differ(expected.accepted[own], seen.accepted[own], f"i[{port}].ready"))
    found = [at for at in found if at]
    if not found and expected.state != seen.state:
        name, *values = first_field(params.state, expected.state, seen.state)
        found.append(Difference(expected.cycles - 1, f"state.{name}", *values))
    if not found and seen.broken:
        found.append(
            Difference(expected.cycles - 1, "cycles in which an offer was withdrawn or changed", 0, seen.broken)
        )
    return min(found, key=lambda at: at.cycle, default=None)


def run_case(
    params: CrossbarParams, traffic: Traffic, lib: Library | None = None, component=None
) -> tuple[Seen, int, float]:
    """Run traffic on both models and the Verilog; what was seen, cycles, seconds. Raises Divergence."""
    lib = lib or library(UNIT, params)
    rng = np.random.default_rng(len(traffic.lasts[0]))
    total = sum(map(len, traffic.lasts))
    data = rng.integers(0, 1 << 64, (total, words_of(params.data_bits)), np.uint64)
    expected = expectation(params, traffic, data_of(params, data))
    targets, last = np.concatenate(traffic.destinations), np.concatenate(traffic.lasts)
    flits = payloads(params.i, data_of(params, data), destination=targets, last=last)
    warm, begin = bool(_drive.signatures), time.perf_counter()
    seen, _ = drive(lib, params, traffic, flits, expected.cycles, log=False)
    seconds = (time.perf_counter() - begin) * warm
    starts = np.cumsum([0, *map(len, traffic.lasts)])
    if found := difference(params, starts, expected, seen):
        _, rows = drive(lib, params, traffic, flits, expected.cycles, log=True)
        layouts = {f"i__{port}__payload": params.i for port in range(params.ports)} | {"state": params.state}
        layouts |= {f"o__{port}__payload": params.o for port in range(params.ports)}
        component = component or UNITS[UNIT].create(params)
        raise Divergence(Trace(UNIT, component, lib, rows, RESET_CYCLES, layouts), *found)
    return seen, expected.cycles, seconds


def data_of(params: CrossbarParams, words: np.ndarray) -> np.ndarray:
    """Words with no bit beyond the data's width."""
    top = params.data_bits - 64 * (words.shape[1] - 1)
    words = words.copy()
    words[:, -1] &= np.uint64((1 << top) - 1)
    return words


def run(goal: Goal) -> Iterator[Result]:
    """The unit's mass run; a transaction is a flit. An input only waits for a full queue, so its stalls are those."""
    sets = goal.chosen(corners())
    for params in sets:
        watch, sums, seed, goal_of_set = Stopwatch(fast), np.zeros(5), 0, goal.of(len(sets))
        while sums[0] < goal_of_set:
            each = max(1, min(FLITS, goal_of_set) // params.ports)
            traffic = Traffic(params, seed, each, hot=seed % 3 == 0)
            with watch.watching():
                seen, cycles, seconds = run_case(params, traffic)
            sums += len(seen.accepted), cycles, seconds, seen.input_stalls, seen.output_stalls
            seed += 1
        flits, cycles, seconds, waits, blocked = sums.tolist()
        counts = int(waits), int(blocked), int(waits)
        yield Result(UNIT, name_of(params), RANDOM, int(flits), int(cycles), seconds, watch.seconds, *counts)
