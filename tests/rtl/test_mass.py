"""Does the mass co-simulation find a wrong register and a wrong law, name the first divergence, and refuse void runs?"""

import re
from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import C, Cat, Module, Mux, Signal
from amaranth.lib.wiring import Component, connect, flipped

from archsim.contracts import event_encoder as contract
from archsim.contracts import spike_fetch
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.crossbar import CrossbarParams
from archsim.contracts.event_encoder import EventEncoderParams
from archsim.contracts.neuron import NeuronParams
from archsim.contracts.spike_fetch import SpikeFetchParams
from archsim.contracts.spike_writer import SpikeWriterParams
from archsim.contracts.sram import SramParams
from archsim.stepped import event_encoder as stepped
from archsim.units.neuron import NeuronBanks
from rtl.units.event_encoder import EventEncoder
from rtl.units.sram import Sram
from tests.rtl.bench import STALLS, ModelsDiffer, number
from tests.rtl.late import Late
from tests.rtl.levels import component_library
from tests.rtl.mass import __main__ as command
from tests.rtl.mass import crossbar, fetch, neuron, script, sram, writer
from tests.rtl.mass.divergence import LEAD, PERIOD, Divergence, first_field
from tests.rtl.mass.record import CORNERS, RANDOM, STREAM, Goal, Result, complaints, row, table
from tests.rtl.mass.registry import UNITS
from tests.rtl.mass.streams import run_case
from tests.rtl.test_crossbar import LateCrossbar, Traffic
from tests.rtl.test_event_encoder import EventEncoderCases

PARAMS = EventEncoderParams(3, 5, 3)

EACH = 300
"""Transactions of a parameter set in these tests."""


@pytest.mark.parametrize("name", UNITS)
def test_a_short_run_of_every_unit(name):
    """Of two parameter sets; a unit that works by instructions has one, as building its library takes most of the time."""
    stream = UNITS[name].goal.each > 1
    goal = UNITS[name].goal.reduced(EACH if stream else 20, sets=2 if stream else 1)
    results, divergence = command.run_unit(name, UNITS[name].load(), goal)
    assert divergence is None, str(divergence)
    assert complaints(results, goal) == []


# ------------------------------------------------------------------------------ first divergence


class Corrupted(Component):
    """An event encoder behind which lane 1 of every event is inverted once ``COUNT`` words were accepted."""

    COUNT = 40

    def __init__(self):
        self.unit = EventEncoder(PARAMS)
        super().__init__(self.unit.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = self.unit
        connect(m, flipped(self.i), unit.i)
        connect(m, unit.o, flipped(self.o))
        m.d.comb += self.state.eq(unit.state)
        count = Signal(range(self.COUNT + 1))
        with m.If(self.i.valid & self.i.ready & (count != self.COUNT)):
            m.d.sync += count.eq(count + 1)
        m.d.comb += self.o.payload.mask.eq(unit.o.payload.mask ^ Mux(count == self.COUNT, 2, 0))
        return m


def diverging(name, make_component, case):
    """The divergence of a case on another hardware than the event encoder; the waveform is looked at."""
    found = pytest.raises(
        Divergence, run_case, "event_encoder", PARAMS, case, component_library(name, make_component()), make_component
    ).value
    check_waveform(found)
    return found


def check_waveform(found):
    """The waveform holds values and covers the window."""
    text = found.wave.read_text()
    assert "$dumpvars" in text
    assert "clk" in text
    times = [int(time) // 1000 for time in re.findall(r"^#(\d+)$", text, re.M)]  # picoseconds
    first = max(0, found.origin + found.cycle - LEAD) * PERIOD
    assert min(times) == first
    assert max(times) >= (found.origin + found.cycle + 1) * PERIOD


def encoder_case(count=200, stalls="both"):
    return EventEncoderCases().random(PARAMS, STALLS[stalls], np.random.default_rng(7), count)


def test_a_wrong_register_is_located():
    case = encoder_case()
    found = diverging("corrupted_encoder", Corrupted, case)
    event = int(np.searchsorted(case.transferred, case.accepted[Corrupted.COUNT - 1], side="right"))
    mask = PARAMS.o.unpack(number(case.output[event]))["mask"]
    assert (found.unit, found.cycle, found.field) == ("event_encoder", case.transferred[event], "o.mask")
    assert (found.expected, found.seen) == (mask, mask ^ 2)
    assert f"{found.cycle}: {{'op'" in str(found) or "o__payload" in str(found)


def test_a_register_too_many_is_located():
    case = encoder_case(stalls="none")
    found = diverging("late_encoder", lambda: Late(EventEncoder(PARAMS), "o"), case)
    assert (found.cycle, found.field, found.expected, found.seen) == (case.transferred[0], "o.valid", 1, 0)


def test_a_wrong_law_is_located(monkeypatch):
    monkeypatch.setattr(contract, "LATENCY", 2)
    results, found = command.run_unit("event_encoder", UNITS["event_encoder"].load(), Goal(0, EACH))
    assert isinstance(found, Divergence)
    # The first word of the first set's corners has one event, which is offered a cycle before the law says so.
    assert (found.unit, found.field, found.expected, found.seen) == ("event_encoder", "o.valid", 0, 1)
    assert found.cycle == 1
    check_waveform(found)
    assert not results


def test_a_wrong_stepped_model_is_seen(monkeypatch):
    run = stepped.run

    def wrong(*arguments):
        result = run(*arguments)
        return result._replace(transferred=result.transferred + 1)

    monkeypatch.setattr(stepped, "run", wrong)
    _, found = command.run_unit("event_encoder", UNITS["event_encoder"].load(), Goal(0, EACH))
    assert isinstance(found, ModelsDiffer)
    assert str(found) == "law and stepped model differ in transferred"


# ------------------------------------------------------------------------------ the other benches


def test_neuron_with_a_wrong_gap(monkeypatch):
    monkeypatch.setattr("rtl.units.neuron.GROUP_GAP", 2)
    params = NeuronParams(2, 2, 8, 4, 16, 16, 3)
    banks = NeuronBanks(*(np.zeros(shape, np.int32) for shape in ((4, 3, 2), (16, 2), (16, 2), (3, 2))))
    fields = {"blocks": 2, "steps": 3, "slices": 1, "neuron": 1}
    case = neuron.make(params, fields, banks, np.ones((12, 2), np.int64), np.zeros(12, np.int64))
    found = pytest.raises(Divergence, neuron.run_case, params, case).value
    # Six blocks in cycles 0..5; the next group is taken in 8, here already in 7.
    assert (found.unit, found.cycle, found.field, found.expected, found.seen) == ("neuron", 7, "i.ready", 0, 1)
    check_waveform(found)


def test_writer_that_does_not_clear_a_row(monkeypatch):
    def wrong(params, lane, granule):
        return C(1, params.bank.granules), Cat(granule.spikes, C(0, params.bank.row_bits - params.neurons))

    monkeypatch.setattr("rtl.units.spike_writer.granule_write", wrong)
    params = SpikeWriterParams(1, 2, 2, 7, 1, 1)
    fields = {
        "out_height": 1,
        "out_width": 1,
        "slices": 1,
        "steps": 1,
        "blocks": 1,
        "lanes": 1,
        "spike_out": 1,
        "out_base": 5,
    }
    banks = np.full((2, 7, 1), 0b1101, np.uint64)
    case = writer.Writes([fields], [np.array([2], np.uint64)], np.zeros(1, np.int64), np.ones(1, np.int64), banks)
    found = pytest.raises(Divergence, writer.run_case, params, case).value
    assert (found.unit, found.field, found.expected, found.seen) == ("spike_writer", "spike_out[0, 5]", 0b0010, 0b1110)
    check_waveform(found)


def test_fetch_with_a_wrong_law(monkeypatch):
    monkeypatch.setattr(spike_fetch, "FIRST_WORD", 4)
    params = SpikeFetchParams(1, 3, 8, 3)
    case = next(fetch.random_cases(params))
    found = pytest.raises(Divergence, fetch.run_case, params, case).value
    assert (found.unit, found.field, found.expected, found.seen) == ("spike_fetch", "o.valid", 0, 1)
    assert found.cycle == case.gaps[0] + 3
    check_waveform(found)


def test_a_fifo_that_never_fills_is_refused(monkeypatch):
    """With a place less the fetch has the same cycles, but its FIFO does not hold what the contract says."""
    monkeypatch.setattr("rtl.units.spike_fetch.FIFO_DEPTH", 3)
    params = SpikeFetchParams(1, 3, 9, 3)
    rng = np.random.default_rng(8)
    tiles = [fetch.random_tile(params, rng) for _ in range(20)]
    case = fetch.case_of(params, tiles, fetch.random_banks(params, rng), STALLS["slow consumer"], rng)
    result = fetch.collect(params, RANDOM, [case])
    assert complaints([result], Goal(0, 1)) == ["no FIFO was ever full"]


def test_crossbar_with_a_register_too_many():
    params = CrossbarParams(3, 2, 16)
    lib = component_library("late_crossbar", LateCrossbar(params))
    found = pytest.raises(
        Divergence, crossbar.run_case, params, Traffic(params, 5, 100, hot=True), lib, LateCrossbar(params)
    ).value
    assert found.unit == "crossbar"
    assert re.match(r"[io]\[[012]\]\.", found.field)
    assert "o__0__valid" in found.wave.read_text()


def test_bank_that_is_not_zero():
    params = SramParams(3, 5, 2)
    written, _ = sram.script_of(params, np.random.default_rng(1), STALLS["none"], 200)
    lib = component_library("sram_not_zero", Sram(params, [1, 1, 1]))
    found = pytest.raises(Divergence, script.run, "sram", lambda: Sram(params, [1, 1, 1]), lib, written, {}).value
    assert (found.field, found.seen - found.expected) == ("read.data", 1)


@pytest.mark.parametrize(
    ("layout", "expected", "seen", "found"),
    [
        ([Field("a", 4), Field("b", 4, True)], {"a": 3, "b": -1}, {"a": 3, "b": 1}, ("b", -1, 1)),
        ([Field("a", 4, count=3)], {"a": [1, 2, 3]}, {"a": [1, 2, 4]}, ("a[2]", 3, 4)),
    ],
)
def test_the_first_field_that_differs(layout, expected, seen, found):
    layout = Layout.of("payload", layout)
    assert first_field(layout, layout.pack(expected), layout.pack(seen)) == found


# ------------------------------------------------------------------------------ what proves too little

GOOD = Result("x", "1-2", RANDOM, 200_000, 900, 3.0, 1.5, 10, 20, 30)
FULL = [replace(GOOD, params=str(index)) for index in range(5)]


@pytest.mark.parametrize(
    ("results", "goal", "reason"),
    [
        (FULL, STREAM, None),
        ([*FULL, replace(GOOD, source=CORNERS, transactions=1)], STREAM, None),
        (FULL[:4], STREAM, "4 parameter sets, required 5"),
        ([replace(result, transactions=100_000) for result in FULL], STREAM, "500000 random transactions"),
        ([*FULL[:4], replace(FULL[4], transactions=99_999)], STREAM, "set 4: 99999 transactions, required 100000"),
        ([replace(GOOD, source=CORNERS)], Goal(0, 1), "no random run"),
        ([replace(GOOD, input_stalls=0)], Goal(0, 1), "no producer ever waited"),
        ([replace(GOOD, output_stalls=0)], Goal(0, 1), "no consumer ever let the unit wait"),
        ([replace(GOOD, full=0)], Goal(0, 1), "no FIFO was ever full"),
        ([replace(GOOD, full=None, input_stalls=None)], Goal(0, 1), None),
    ],
)
def test_complaints(results, goal, reason):
    found = complaints(results, goal)
    assert found == [] if reason is None else any(reason in text for text in found)


def test_table():
    lines = table([row("x", FULL, 0)]).splitlines()
    assert lines[0].split()[:2] == ["unit", "sets"]
    assert lines[1].split() == ["x", "5", "1,000,000", "0", "4,500", "0", "50", "100", "150", "0", "2.0"]


def test_goal():
    assert STREAM.of(4) == 250_000 and STREAM.of(20) == 100_000
    assert STREAM.reduced(7).of(3) == 7


def test_the_command(capsys):
    assert command.main(["event_encoder", "--transactions", "50"]) == 0
    assert "event_encoder" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        command.main(["no_unit"])
