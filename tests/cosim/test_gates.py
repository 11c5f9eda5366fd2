"""Is what a run on gates is set beside that run's, unit by unit, and is a netlist that differs seen?"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from archsim.config import load_chip
from archsim.contracts import sequencer
from archsim.contracts.common.errors import ArchsimError
from archsim.counters import DERIVED
from archsim.energy.clock import registers
from archsim.energy.coefficients import by_width, single
from archsim.energy.laws import package
from archsim.energy.model import energy_pj, energy_terms
from archsim.energy.providers import LOGIC
from archsim.energy.term import CYCLES
from archsim.kernel import Simulation, decode
from archsim.results import COUNTERS, RECORD
from archsim.tensors import Capture
from archsim.units.sram import Memories
from cosim import recorder
from cosim.gates import __main__ as gates
from cosim.gates import replay, simulator
from cosim.gates.report import report
from cosim.gates.units import CHIP, UNITS, unit_of
from cosim.recorder import Pin
from rtl.characterize import laws, scaling
from rtl.characterize.attribution import KINDS
from rtl.characterize.grid import GRIDS
from rtl.characterize.liberty import Power
from rtl.characterize.modules import Modular
from rtl.characterize.wholes import plain
from rtl.synthesis.library import LIBERTY, Library
from tests.cosim.moves import CHIPS, program

RESULTS = Path(__file__).parents[2] / "reports" / "characterisation"

SMALL = load_chip("small")

ONE, OSU = simulator.Bounds(1, 1, 1), "osu018_stdcells"


@pytest.mark.parametrize(
    ("module", "unit"),
    [
        ("core0.array", "synapse_array"), ("core0.array.weight_0", "synapse_array"),
        ("dma_queue.memory", "sequencer"), ("core11.encoder", "event_encoder"), ("core1.fetch.walker", "spike_fetch"),
        ("core0.neuron.U$6", "neuron"), ("core0.writer.pool.lines", "spike_writer"), ("core0.planes", "planes"), ("core0", "core"),
        ("core0.sequencer", "sequencer"), ("attention.sequencer", "sequencer"), ("dma_queue", "sequencer"),
        ("multicast_queue", "sequencer"), ("attention.unit.neuron.v", "attention neuron"), ("attention", "attention"),
        ("attention.unit.encoder", "attention"), ("attention.unit.popcount$192.transposer", "attention"),
        ("dma.requester", "dma"), ("multicast.masker", "multicast"), ("experts.unit.topk", "experts"), ("gangs", CHIP), ("", CHIP),
        ("normaliser.unit.unit.table_3", "normaliser"), ("normaliser.sequencer.memory", "sequencer"),
    ],
)  # fmt: skip
def test_modules_have_units(module, unit):
    assert unit_of(module) == unit and unit in UNITS


def test_a_module_of_no_unit_is_refused():
    with pytest.raises(ArchsimError, match="module 'core0.router' of the chip: required one of a unit"):
        unit_of("core0.router")


def test_a_path_without_amaranths_numbers():
    assert plain("attention.unit.popcount$192.transposer") == "attention.unit.popcount.transposer"


def test_the_table_by_unit_by_hand():
    adder, bit = by_width("adder_energy", 24).value, single("register_energy").value
    chip = SMALL.replace(energy_laws=0)
    counts = {"additions": 3, "groups": 1, "attention.granules": 2, "attention.popcounts": 5}
    found = simulator.logic(chip, counts, 7, ONE, OSU)
    # 16 accumulators of 24 bits are handed over; 4 neurons cost 4 adders each; a word of 16 bits an adder bit each.
    assert found["synapse_array"]["data"].value == pytest.approx(3 * (adder + 24 * bit) + 16 * 24 * bit)
    assert found["attention neuron"]["data"].value == pytest.approx(2 * 4 * single("neuron_adders").value * adder)
    assert found["attention"]["data"].value == pytest.approx(5 * 16 * by_width("adder_energy", 1).value)
    assert found["neuron"]["data"].value == found["multicast"]["data"].value == 0
    tenfold = simulator.logic(chip, counts, 7, simulator.Bounds(10, 5, 20), OSU)["attention"]["data"]
    assert tenfold.value == pytest.approx(10 * found["attention"]["data"].value)
    assert (tenfold.low, tenfold.high) == pytest.approx((5 * found["attention"]["data"].low, 20 * found["attention"]["data"].high))
    # Two cores: 13 + 16 bits of an encoder each, 7 cycles; the tree is not in it.
    assert found["event_encoder"]["clock"].value == pytest.approx(2 * 7 * 29 * single("register_clock").value)
    assert found["synapse_array"]["data"].low < found["synapse_array"]["data"].value < found["synapse_array"]["data"].high


def test_laws_by_unit_by_hand():
    """At their own node laws are taken as they are; elsewhere, and what has none, by the factor."""
    own = package().units["neuron"].energy_pj
    wanted = 5 * (own["granules"] + 4 * 24 * own["changes neurons membrane_bits"])
    ten = simulator.Bounds(10, 5, 20)
    home = simulator.logic(SMALL, {"granules": 5, "shifts": 3}, 7, ten, OSU)
    assert home["neuron"]["data"].value == pytest.approx(wanted)
    assert home["synapse_array"]["data"].value == pytest.approx(10 * 3 * 16 * 24 * single("register_energy").value)
    # What joins the units of a core, a register bit in each of two, has none.
    assert home["core"]["clock"].value == pytest.approx(10 * 7 * 2 * single("register_clock").value)
    # Five queues: six semaphores and a row's number of ten bits each.
    assert home["sequencer"]["clock"].value == pytest.approx(7 * 5 * (0.60184 + 6 * 1.69407 + 10 * 0.216109), rel=1e-5)
    own = package().units["attention_neurons"].energy_pj
    # The registers of the membranes have 4 rows of 4 x 24 bits, and the row that was read.
    a_cycle = own["cycles"] + 24 * own["cycles membrane_bits"] + 96 * own["cycles neurons membrane_bits"] + 5 * 96 * 0.211773
    assert home["attention neuron"]["clock"].value == pytest.approx(7 * a_cycle, rel=1e-4)
    away = simulator.logic(SMALL, {"granules": 5}, 7, ten, "sky130hd_tt")["neuron"]["data"]
    assert away.value == pytest.approx(10 * wanted * 0.018823)


def test_the_units_together_are_the_models_logic():
    counters = {counter.name: 3 + number for number, counter in enumerate(COUNTERS)}
    counters |= {f"attention.{name}": value + 100 for name, value in counters.items()}
    chip = SMALL.replace(transposer=1, masker=1, softmax_tokens=16)
    counters |= dict.fromkeys(DERIVED, 9)
    for provider in simulator.PROVIDERS.values():
        other = chip.replace(energy_laws=provider)
        found, model = simulator.logic(other, counters, 11, ONE, "sky130hd_tt"), energy_pj(other, counters, 11)
        data = sum(entry["data"].value for entry in found.values())
        counts, wires = {**counters, CYCLES: 11}, 1 - 1 / single("wires").value
        drawn = sum(
            term.value * counts.get(term.counter, 0) * wires for term in energy_terms(other)
            if any("wires" in reading.entries for reading in term.readings)
        )  # fmt: skip
        assert (drawn > 0) == (provider == 1)
        assert data == pytest.approx(sum(model[component] for component in LOGIC) - drawn)
        clock = sum(entry["clock"].value for entry in found.values())
        assert clock == pytest.approx(model["clock"] / single("clock_tree").value)
    bits = registers(chip)
    assert sum(simulator.register_bits(chip).values()) == sum(bits.values()) + bits["core"]  # two cores


def test_gated_clocks_are_refused():
    with pytest.raises(ArchsimError, match="chip small: required clock_gating 0, given 2; the Verilog has no gates"):
        simulator.logic(SMALL.replace(clock_gating=2), {}, 1, ONE, OSU)


def test_a_record_holds_its_pins_bit_by_bit():
    pins = [Pin("system.chip", "halted", 1), Pin("system.chip.core0", "port$7$0", 12)]
    assert recorder.row_bytes(pins) == 3 and recorder.columns(pins) == [range(0, 1), range(8, 20)]
    bits = recorder.bits(np.array([[1, 0x05, 0x0A]], np.uint8))[0]
    assert [int("".join(str(bits[at]) for at in reversed(place)), 2) for place in recorder.columns(pins)] == [1, 0xA05]
    assert recorder.control(pins[1:]) == 'public_flat_rd -module "system.chip.core0" -var "port$7$0"\n'
    assert "memcpy(out + 1, &root->system__DOT__chip__DOT__core0__DOT__port__0247__0240, 2);" in recorder.source(pins)
    assert recorder.source([]) == ""


def test_the_last_end_is_that_of_the_chips_own_port():
    pins = [Pin("system.chip.core0", "done", 8), Pin("system.chip", "halted", 1), Pin("system.chip", "done", 6)]
    record = np.zeros((5, 3), np.uint8)
    assert replay.last_end(record, pins) == -1
    record[1, 2], record[2, 2], record[3, 1], record[4, 0] = 32, 1, 1, 1
    assert replay.last_end(record, pins) == 2


def measured(**pj):
    """Results of a point of a unit in every library, with so many pJ in one window."""
    return {
        name: [{"unit": "masker", "parameters": {"lanes": 1}, "area_um2": 1.0, "windows": [{"pj": {"clock": value}}]}]
        for name, value in pj.items()
    }


def test_the_factor_is_that_of_the_scaling_upside_down():
    rows = measured(osu018_stdcells=100.0, sky130hd_tt=20.0, asap7sc7p5t=0.4)
    ends = [(scaling.LIBRARIES["sky130hd_tt"], 0.2), (scaling.LIBRARIES["asap7sc7p5t"], 0.004)]
    value, low, high = scaling.between(scaling.ENERGY_OF, ends, 45, 0.9)
    assert simulator.factor(rows, "osu018_stdcells") == pytest.approx((1 / value, 1 / high, 1 / low))
    assert simulator.factor(rows, "asap7sc7p5t") == pytest.approx((0.004 / value, 0.004 / high, 0.004 / low))


def test_a_library_of_no_known_node_is_refused():
    with pytest.raises(ArchsimError, match="library other: required one whose node is known: osu018_stdcells"):
        simulator.factor(measured(osu018_stdcells=1.0, sky130hd_tt=1.0, asap7sc7p5t=1.0), "other")


def test_libraries_without_a_common_unit_are_refused():
    rows = measured(osu018_stdcells=1.0, sky130hd_tt=1.0, asap7sc7p5t=1.0) | {"sky130hd_tt": []}
    with pytest.raises(ArchsimError, match="scaling: required a unit that every library has measured"):
        simulator.factor(rows, "osu018_stdcells")


def gang():
    """Records of a gang of two cores: events of both, words of the leader alone, who encodes for both."""
    records = np.zeros(2, RECORD)
    records["opcode"], records["cores"], records["engine"] = sequencer.SYNAPSE, 3, [sequencer.CORE0, sequencer.CORE0 + 1]
    records["events"], records["words"], records["granules"] = [10, 8], [5, 0], [2, 3]
    return records


def points(*units):
    return [{"unit": unit, "parameters": point} for unit in units for point in GRIDS[unit].points()]


def said(rows, records, monkeypatch, **coefficients):
    terms = {name.replace("__", " "): value for name, value in coefficients.items()}
    monkeypatch.setattr(laws, "energy", lambda unit, own: laws.Fit(terms, 0.5, 1, [], 0.0))
    return {law.module: law for law in simulator.by_law(SMALL, records, 1000, rows)}


def test_laws_take_the_counts_of_their_own_instance(monkeypatch):
    found = said(points("event_encoder", "synapse_array"), gang(), monkeypatch, cycles=2.0, channels=3.0, words__lanes=5.0)
    # The member's encoder idles while its array adds what the leader's sends.
    assert found["core0.encoder"].pj == 2000 + 30 + 25 and found["core1.encoder"].pj == 2000
    assert found["core0.array"].pj == 2000 + 30 + 25 and found["core1.array"].pj == 2000 + 24
    assert found["attention.unit.encoder"].pj == 2000 and found["attention.unit.encoder"].events_pj == 0
    assert found["core1.array"].events_pj == 24  # not the term of the cycles
    assert found["core0.encoder"].note == "" and found["core0.array"].note == ""
    assert found["core0.neuron"].pj is None and found["core0.neuron"].note == "no law: 0 of 11 points measured"


def test_the_writer_is_told_spikes_and_what_is_pooled(monkeypatch):
    records = gang()
    records["spikes"], records["pool_column_writes"] = [7, 4], [0, 1]
    terms = {"granules": 1.0, "spikes__lanes": 10.0, "pooled": 100.0, "words": 1e3}
    found = said(points("spike_writer"), records, monkeypatch, **terms)
    # Its pool has 4 x 4 x 4 and 16 x 4 x 4 bits, which are registers, and the rows that were read: 1000 cycles at 0.5.
    assert found["core0.writer"].pj == 2 + 70 + 5000 + 164000 and found["core1.writer"].pj == 3 + 40 + 300 + 164000
    assert found["core0.writer"].events_pj == 2 + 70 + 5000
    law = said(points("spike_fetch"), records, monkeypatch, cycles=1.0, words=1e4, groups=5.0)
    assert law["core0.fetch"].note.startswith("extrapolated: rows 2048, measured 512")
    assert law["core0.fetch"].pj == 1000 + 50000 and law["core1.fetch"].pj == 1000  # a member's fetch idles


def test_a_law_of_what_the_simulator_does_not_count_has_no_figure(monkeypatch):
    found = said(points("transposer"), gang(), monkeypatch, cycles=2.0, spikes__word_bits=1.0)
    assert found["attention.unit.popcount.transposer"].pj == 2000  # no word was transposed: no spike of one
    records = np.zeros(1, RECORD)
    records["engine"], records["transposed"] = sequencer.ATTENTION, 1
    law = said(points("transposer"), records, monkeypatch, spikes__word_bits=1.0)["attention.unit.popcount.transposer"]
    assert law.pj is None and law.note == "no law: the simulator does not count spikes"
    law = said(points("transposer"), records, monkeypatch, cycles=2.0, spikes__word_bits=0.0)["attention.unit.popcount.transposer"]
    assert law.pj == 2000  # a term that the fit has left out needs no count


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--liberty", "/nowhere.lib"], "/nowhere.lib: no Liberty file; for Debian: qflow-tech-osu018"),
        (["--image", "-1"], "--image: required 0 or more, given -1"),
        (["--workload", "nothing.yaml"], "nothing.yaml"),
        (["--report"], "x.json: required results for --report or --simulator, given none; run `python -m cosim.gates` first"),
        (["--simulator"], "x.json: required results for --report or --simulator, given none"),
    ],
)
def test_what_is_refused(arguments, message, tmp_path, capsys):
    assert gates.main([*arguments, "--out", str(tmp_path / "x")]) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", sorted(RESULTS.glob("whole_chip*.json")), ids=lambda path: path.stem)
def test_the_report_is_that_of_the_results_and_conserves_energy(path):
    found = json.loads(path.read_text())
    assert report(found) == path.with_suffix(".md").read_text()
    for kind in KINDS:
        total = found["total"]["gate_pj"][kind]
        assert sum(entry["gate_pj"][kind] for entry in found["units"].values()) == pytest.approx(total)
        assert sum(entry[kind] for entry in found["modules"].values()) == pytest.approx(total)
    for law in found["laws"]:
        unit = found["units"][unit_of(law["module"])]
        assert 0 < sum(law["gate_pj"].values()) <= sum(unit["gate_pj"].values()) and law["flip_flops"] <= unit["flip_flops"]
    for unit, entry in found["units"].items():
        own = sum(sum(pj.values()) for module, pj in found["modules"].items() if unit_of(module) == unit)
        assert own == pytest.approx(sum(entry["gate_pj"].values()), rel=1e-6)


@pytest.mark.parametrize("path", sorted(RESULTS.glob("whole_chip*.json")), ids=lambda path: path.stem)
def test_laws_are_nearer_to_the_gates_than_the_table(path):
    """The units' deviations, all of them, add up to less; four lanes cost the arrays what they cost the gates."""
    found = json.loads(path.read_text())
    off = {
        provider: sum(
            abs(sum(kind["value"] for kind in row["simulator_pj"][provider].values()) - sum(row["gate_pj"].values()))
            for row in found["units"].values()
        )
        for provider in ("laws", "table")
    }  # fmt: skip
    assert off["laws"] < off["table"]
    arrays = found["units"]["synapse_array"]
    gate = arrays["gate_pj"]["switching"] + arrays["gate_pj"]["internal"]
    assert arrays["simulator_pj"]["laws"]["data"]["value"] / gate == pytest.approx(1, abs=0.1)


def test_another_run_than_that_on_gates_is_refused():
    found = {"run": {"workload": "digits", "cycles": 5, "recorded": 9}, "laws": [], "units": {}}
    with pytest.raises(ArchsimError, match="required the run on gates, .*'cycles': 5.* without --simulator"):
        gates.simulated_again(found, {"run": {"workload": "digits", "cycles": 6}})


@pytest.mark.slow
def test_a_chip_on_gates_does_what_its_verilog_does(tmp_path, monkeypatch):
    """A run of copies, spikes and attention on a small chip: equal in every cycle; not if a kind of cell is another."""
    made = program(CHIPS["lanes_1"], 1)
    records = Simulation(made.chip, decode(made), Memories.empty(made.chip, made.dram), Capture(made.chip, made.notes)).run()
    cycles, power = int(records["end"].max()), Power(Library(LIBERTY))
    design, activity, seen = gates.on_gates(made, made.dram, cycles, power)
    assert activity.cycles == cycles < seen["recorded"] and seen["compared"] > 1000 * cycles
    assert {unit_of(module) for module in design.owners} == set(UNITS) - {"experts", "normaliser"}
    with pytest.raises(ArchsimError, match=f"the simulator ends in cycle {cycles + 1}, the Verilog in {cycles}; `archsim cosim`"):
        gates.on_gates(made, made.dram, cycles + 1, power)
    swapped = {"NAND2X1": "NOR2X1"}
    cells = [(swapped.get(kind, kind), pins) for kind, pins in design.netlist.cells]
    wrong = Modular(dataclasses.replace(design.netlist, cells=cells), design.owners)
    monkeypatch.setattr(replay, "netlist", lambda *_: wrong)
    differs = r"the netlist differs from the Verilog in \d+ bits of cycles 0 to .* first in cycle \d+ at \w+"
    with pytest.raises(ArchsimError, match=differs):
        gates.on_gates(made, made.dram, cycles, power)
