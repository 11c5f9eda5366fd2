"""Does every unit without a stream bench do on Icarus and on Verilator, through cocotb, what its models expect?

A short case of the mass run is checked against the models on the Verilator library, and its inputs are replayed: every output
in every cycle must be the library's, and no register unknown after the reset. Units with one stream in and one out have such
benches in their own modules; so have whole engines on Icarus.
"""

from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pytest
from amaranth.lib.wiring import Component

from archsim.contracts import crossbar as crossbar_contract
from archsim.contracts import spike_fetch, spike_writer
from rtl.arbiter import RoundRobin
from rtl.build import UNITS, verilog
from rtl.verilator_driver import words_of
from rtl.verilator_library import Library
from tests.rtl import driver, levels
from tests.rtl.bench import STALLS
from tests.rtl.engine import whole_run
from tests.rtl.mass import (
    arbiter,
    cores,
    crossbar,
    fetch,
    fifo,
    instructions,
    movers,
    neuron,
    queues,
    script,
    sram,
    streams,
    writer,
)
from tests.rtl.mass.record import name_of
from tests.rtl.queues import by_kernel
from tests.rtl.replay import on_cocotb
from tests.rtl.test_crossbar import Traffic

TRANSACTIONS = 120
"""Transactions of a case, about."""

STALL = STALLS["both"]


QUEUES = [chip.replace(name=f"{chip.name}_short", queue_rows=32) for chip in queues.SequencerCases.sets]
"""Chips with short queues: Icarus takes seconds to write the initial zeros of long ones."""


class Run(NamedTuple):
    """What is replayed.

    Attributes:
        component: the hardware, not yet elaborated.
        library: the Verilator library of the same.
        rows: every input in every cycle from power-up on, uint64 [cycles, words].
        every: whether every register is known at the end.
    """

    component: Component
    library: Library
    rows: np.ndarray
    every: bool = True


# ------------------------------------------------------------------------------ units: a short case, checked on the library


def of_fetch(params, rng) -> Run:
    with mock.patch.object(fetch, "WORDS", TRANSACTIONS // 3):
        tiles = [fetch.random_tile(params, rng) for _ in range(8)]
    case = fetch.case_of(params, tiles, fetch.random_banks(params, rng), STALL, rng)
    fetch.run_case(params, case)
    arguments = params, case.tiles, case.banks, case.gaps, case.ready
    rows = fetch.script_of(params, case, fetch.fast.run(*arguments)).rows
    return Run(fetch.Probed(params), fetch.library(params), rows, every=False)  # a bank may not be read


def of_neuron(params, rng) -> Run:
    library, made = (
        levels.library("neuron", params),
        (neuron.random_case(params, rng, STALL, TRANSACTIONS) for _ in range(99)),
    )
    case = next(case for case in made if case.retires)  # without a neuron the state stays what was never written
    neuron.run_case(params, case)
    _, rows = driver.record(library, case.case, case.before)
    dump, _ = neuron._dump(params, case)
    rows = np.concatenate([rows, dump])
    return Run(UNITS["neuron"].create(params), library, rows, every=False)  # an instruction does not read all memories


def of_writer(params, rng) -> Run:
    with mock.patch.object(writer, "GRANULES", TRANSACTIONS // 10):
        case = writer.random_case(params, rng, STALL)
    writer.run_case(params, case)
    after = case.banks.copy()
    rows = writer.script_of(params, case, writer.fast.run(params, *case[:-1], after), after).rows
    return Run(UNITS["spike_writer"].create(params), levels.library("spike_writer", params), rows)


def of_sram(params, rng) -> Run:
    library, create = levels.library("sram", params), UNITS["sram"].create
    written, _ = sram.script_of(params, rng, STALL, 2 * TRANSACTIONS)
    script.run("sram", lambda: create(params), library, written, {})
    return Run(create(params), library, written.rows)


def of_arbiter(count, rng) -> Run:
    library = levels.component_library("arbiter", RoundRobin(count))
    written, _ = arbiter.script_of(library, count, rng, 3, 3 * TRANSACTIONS)
    script.run("arbiter", lambda: RoundRobin(count), library, written, {})
    return Run(RoundRobin(count), library, written.rows)


def of_fifo(params, rng) -> Run:
    library = levels.component_library("fifo", fifo.FifoStream(params))
    case = fifo.FifoCases().random(params, STALL, rng, TRANSACTIONS)
    streams.run_case("fifo", params, case, library, lambda: fifo.FifoStream(params))
    return Run(fifo.FifoStream(params), library, driver.record(library, case)[1])


def of_crossbar(params, rng) -> Run:
    library, traffic = levels.library("crossbar", params), Traffic(params, 3, TRANSACTIONS // params.ports, hot=True)
    last, targets = np.concatenate(traffic.lasts), np.concatenate(traffic.destinations)
    words = rng.integers(0, 1 << 64, (len(last), words_of(params.data_bits)), np.uint64)
    data = crossbar.data_of(params, words)
    flits = crossbar.payloads(params.i, data, destination=targets, last=last)
    expected = crossbar.expectation(params, traffic, data)
    seen, rows = crossbar.drive(library, params, traffic, flits, expected.cycles, log=True)
    starts = np.cumsum([0, *map(len, traffic.lasts)])
    assert crossbar.difference(params, starts, expected, seen) is None
    return Run(UNITS["crossbar"].create(params), library, rows)


def of_sequencer(chip, rng) -> Run:
    cases = queues.SequencerCases()
    program, memories = cases.program(chip, rng, TRANSACTIONS // 5)
    queues.run_program(cases, program, memories)
    runs = by_kernel(program, memories)
    inputs = cases.inputs(program, memories, runs)
    cycles = max(map(instructions.last_cycle, runs.values())) + 20
    return of_engine(cases.engine, chip, inputs.queues, inputs.memory, (), cycles, every=False)


def instructions_of(cases: instructions.Cases, count: int) -> Callable[[Any, np.random.Generator], Run]:
    def run(chip, rng) -> Run:
        case = instructions.random_case(cases, chip, rng, count)
        instructions.run_case(cases, chip, case)
        cycles = instructions.last_cycle(case.wanted) + 20
        return of_engine(cases.engine, chip, case.queue, case.memory, case.posts, cycles)

    return run


def of_engine(engine, chip, queue, memory, posts, cycles, every=True) -> Run:
    library = engine.library(chip)
    load, dump = engine.preload(chip, queue, memory), engine.dump(chip)
    inputs, _ = whole_run(list(library.inputs.items()), load, dump, posts, cycles)
    rows = np.concatenate([inputs[name] for name in library.inputs], axis=1)
    return Run(engine.make(chip), library, rows, every)


# ------------------------------------------------------------------------------ replay


class Unit(NamedTuple):
    """What makes a unit's run of a parameter set, and the sets that are run on each simulator."""

    make: Callable[[Any, np.random.Generator], Run]
    icarus: list
    verilator: list


def each(make, sets, on_verilator: int) -> Unit:
    """All sets on Icarus, one on Verilator."""
    return Unit(make, list(sets), [sets[on_verilator]])


def engine(cases, count: int, on_verilator: int) -> Unit:
    """One set on Verilator; Icarus has its own bench beside the unit."""
    return Unit(instructions_of(cases, count), [], [cases.sets[on_verilator]])


CASES = {
    "spike_fetch": each(of_fetch, spike_fetch.corners(), 2),
    "neuron": each(of_neuron, neuron.SETS, 1),
    "spike_writer": each(of_writer, spike_writer.corners(), 2),
    "sram": each(of_sram, sram.SETS, 2),
    "arbiter": each(of_arbiter, arbiter.COUNTS, 2),
    "fifo": each(of_fifo, fifo.FifoCases.sets, 2),
    "crossbar": each(of_crossbar, crossbar_contract.corners(), 2),
    "sequencer": each(of_sequencer, QUEUES, 1),
    "core": engine(cores.CoreCases(), 3, 4),
    "attention": engine(cores.AttentionCases(), 4, 1),
    "dma": engine(movers.DmaCases(), 6, 3),
    "multicast": engine(movers.MulticastCases(), 6, 2),
}


def label(params) -> str:
    if isinstance(params, int):
        return str(params)
    return getattr(params, "name", None) or name_of(params)


CHOICES = [
    pytest.param(name, params, simulator, marks=[pytest.mark.slow] if not unit.icarus else [],
                 id=f"{name}-{label(params)}-{simulator}")
    for name, unit in CASES.items() for simulator in ("icarus", "verilator") for params in getattr(unit, simulator)
]  # fmt: skip


def difference(unit: str, run: Run, simulator: str, folder) -> script.Difference | None:
    """The first output, in time, that is not the library's; the registers have their values from the first edge on."""
    library, path = run.library, folder / f"{unit}.v"
    path.write_text(verilog(run.component, unit))
    inputs = script.columns_of(library.inputs, run.rows)
    found = on_cocotb(path, unit, inputs, folder, list(library.outputs.items()), simulator, run.every)
    library.reset_model()
    wanted = script.columns_of(library.outputs, library.run_rows(run.rows))
    cycles = np.arange(1, len(run.rows))
    checks = [script.Check(name, cycles, values[1:]) for name, values in wanted.items()]
    return script.difference({name: found[name].reshape(len(run.rows), -1) for name in wanted}, checks, {})


@pytest.mark.parametrize(("unit", "params", "simulator"), CHOICES)
def test_outputs(unit, params, simulator, tmp_path):
    run = CASES[unit].make(params, np.random.default_rng(21))
    assert difference(unit, run, simulator, tmp_path) is None
