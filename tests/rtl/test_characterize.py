"""Are energy and area at gate level those of the netlist: by hand, equal to the Verilog, and is a wrong law seen?"""

import dataclasses
import gzip
import json
import re
import shutil
from collections import Counter
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from archsim.contracts.common.errors import ArchsimError
from rtl.build import UNITS, verilog
from rtl.characterize import choices, energy, extrapolation, gates, grid, laws, package, recorded, scaling
from rtl.characterize.__main__ import main
from rtl.characterize.gates import Netlist
from rtl.characterize.liberty import Power, expression
from rtl.characterize.report import report
from rtl.characterize.results import read
from rtl.characterize.stimuli import RATES, RECORDED, WINDOW, WINDOWS, array, encoder
from rtl.synthesis import cells
from rtl.synthesis.library import LIBERTY, Library

REPORTS = Path(__file__).parents[2] / "reports" / "characterisation"

LIBRARY = """
library (tiny) {
  time_unit : "1ns"; capacitive_load_unit (1,pf); nom_voltage : 2.0; leakage_power_unit : "1nW";
  power_lut_template (by_load) { variable_1 : total_output_net_capacitance; variable_2 : input_transition_time; }
  power_lut_template (by_slew) { variable_1 : input_transition_time; }
  /* an inverter and a flip-flop */
  cell (INVX1) { area : 10; cell_leakage_power : 0.5;
    pin (A) { direction : input; capacitance : 0.010; }
    pin (Y) { direction : output; function : "(!A)";
      timing () { related_pin : "A"; rise_transition (scalar) { values ("0.08"); } fall_transition (scalar) { values ("0.12"); } }
      internal_power () { related_pin : "A";
      rise_power (by_load) { index_1 ("0, 0.1"); index_2 ("0.1, 0.3"); values ("0.02, 9", "0.06, 9"); }
      fall_power (by_load) { index_1 ("0, 0.1"); index_2 ("0.1, 0.3"); values ("0.04, 9", "0.08, 9"); } } } }
  cell (NAND2X1) { area : 20; cell_leakage_power : 1; pin (Y) { direction : output; function : "(!(A B))"; } }
  cell (DFF) { area : 50; cell_leakage_power : 2;
    ff (IQ, IQN) { next_state : "D"; clocked_on : "CLK"; }
    pin (CLK) { direction : input; capacitance : 0.030; internal_power () {
      rise_power (by_slew) { index_1 ("0.1, 1"); values ("0.1, 1"); }
      fall_power (by_slew) { index_1 ("0.1, 1"); values ("0.3, 1"); } } }
    pin (D) { direction : input; capacitance : 0.020; internal_power () {
      power (by_slew) { index_1 ("0.1, 1"); values ("0.05, 1"); } } }
    pin (Q) { direction : output; function : "IQ"; internal_power () { related_pin : "CLK";
      power (by_load) { index_1 ("0, 0.1"); index_2 ("0.1, 0.3"); values ("0.07, 9", "0.07, 9"); } } } }
  cell (BAD) { area : 1; pin Y }
}
"""
IN, MIDDLE, OUT, CLK = 2, 3, 4, 5
CHAIN = Netlist(  # in -> inverter -> flip-flop -> out
    [("INVX1", {"A": IN, "Y": MIDDLE}), ("DFF", {"CLK": CLK, "D": MIDDLE, "Q": OUT})],
    {"clk": ("input", [CLK]), "i": ("input", [IN]), "o": ("output", [OUT])},
)


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.lib"
    path.write_text(LIBRARY)
    return Power(Library(path))


def toggling(nets, cycles, **counts):
    """Values of nets over ``cycles`` behind the cycle before them: net N, given as nN, toggles in the first so many of them."""
    values = np.zeros((cycles + 1, nets), np.uint8)
    for name, count in counts.items():
        values[1:, int(name[1:])] = np.minimum(np.arange(1, cycles + 1), count) % 2
    return values


def test_energy_of_a_chain_by_hand(tiny):
    # V = 2: half the load x 4 = 2 pJ/pF. In: 0.010 pF; middle: 0.020; out: 20 fF x the inverter's 10 fF / that of Debian's.
    found = energy.energy_pj(CHAIN, tiny, toggling(CHAIN.nets, 10, n2=7, n3=5, n4=3))
    load = 0.020 * 10 / 9.32456
    assert found["switching"] == pytest.approx(2 * (7 * 0.010 + 5 * 0.020 + 3 * load), rel=1e-6)
    # Inverter: the mean of rise and fall, a fifth of the way from no load to 0.1 pF; D 0.05 a toggle; Q 0.07.
    assert found["internal"] == pytest.approx(5 * (0.03 + 0.2 * 0.04) + 5 * 0.05 + 3 * 0.07)
    assert found["clock"] == pytest.approx(2 * 10 * (2 * 0.030 + (0.1 + 0.3) / 2))
    assert energy.leakage_nw(CHAIN, tiny) == pytest.approx(2.5)


def test_a_state_port_is_no_load(tiny):
    seen = dataclasses.replace(CHAIN, ports=CHAIN.ports | {"o": ("input", []), "state": ("output", [OUT])})
    assert energy.energy_pj(seen, tiny, toggling(CHAIN.nets, 1, n4=1))["switching"] == 0
    assert energy.energy_pj(CHAIN, tiny, toggling(CHAIN.nets, 1, n4=1))["switching"] > 0


CONDITIONS = """
library (other) {
  time_unit : "1ps"; capacitive_load_unit (1,ff); nom_voltage : 2.0; leakage_power_unit : "1pW";
  cell (GATED) { area : 30
    leakage_power () { value : 300; related_pg_pin : VDD; } leakage_power () { value : 100; related_pg_pin : VSS; }
    leakage_power () { value : 9000; when : "D"; }
    ff (IQ, IQN) { next_state : "(D * E) + (IQ * !E)"; clocked_on : "CLK"; }
    pin (CLK) { direction : input; capacitance : 3;
      internal_power () { when : "D * !Q"; related_pg_pin : VDD; power (scalar) { values ("100"); } }
      internal_power () { when : "D * !Q"; related_pg_pin : VSS; power (scalar) { values ("300"); } }
      internal_power () { when : "!D"; rise_power (scalar) { values ("0"); } fall_power (scalar) { values ("20"); } } }
    pin (D) { direction : input; capacitance : 2; } pin (E) { direction : input; capacitance : 1; }
    pin (Q) { direction : output; function : "IQ"; } }
}
"""
"""Units of a second file: fF, ps, pW; a flip-flop with an enable whose clock costs what its state and input say."""


@pytest.fixture
def both(tmp_path):
    """The library of two files, the second compressed."""
    first, second = tmp_path / "lib_a.lib", tmp_path / "lib_b.lib.gz"
    first.write_text(LIBRARY)
    second.write_bytes(gzip.compress(CONDITIONS.encode()))
    return Power(Library(first, second))


def test_several_files_are_one_library(both):
    assert both.library.name == "lib" and set(both.library.cells) == {"INVX1", "NAND2X1", "DFF", "BAD", "GATED"}
    cell = both.cell("GATED")
    assert cell.pins["D"].capacitance == pytest.approx(0.002)  # fF of its own file
    assert cell.leakage == pytest.approx(0.4)  # pW; both supplies, no condition
    assert both.cell("INVX1").leakage == 0.5
    assert both.slew_ns == pytest.approx(0.1)


def test_a_clock_costs_what_its_conditions_say(both):
    netlist = Netlist([("GATED", {"CLK": CLK, "D": IN, "E": "1", "Q": OUT})], {"clk": ("input", [CLK])})
    values = np.zeros((5, 6), np.uint8)
    values[1:, IN], values[1:, OUT] = [0, 1, 1, 1], [0, 0, 1, 1]
    # Half of 3 fF x 4 V^2 twice a cycle; D and not Q once: 2 x the mean of 100 and 300 fJ; not D once: 20 fJ; D and Q: no table.
    found = energy.energy_pj(netlist, both, values)
    assert found["clock"] == pytest.approx(4 * 2 * 2 * 0.003 + 2 * 0.2 + 0.02)


def test_an_enabled_flip_flop_keeps_its_state(both):
    netlist = Netlist([("GATED", {"CLK": CLK, "D": IN, "E": MIDDLE, "Q": OUT})], {})
    assert f"s[0] = 1 & ((n[{IN}] & n[{MIDDLE}]) | (s[0] & ~n[{MIDDLE}]));" in netlist.code(both)


def test_tools_get_no_power_and_no_special_cells(tmp_path):
    path = tmp_path / "x.lib"
    special = "cell (x_lpflow_1) { area : 3; pin (A) { direction : input; } }\n  "
    path.write_text(LIBRARY.replace("cell (BAD)", special + "cell (BAD)"))
    library = Library(path)
    assert library.write(tmp_path) == ["timing0.lib"]
    timing, functions = ((tmp_path / name).read_text() for name in ("timing0.lib", "functions.lib"))
    assert "rise_transition" in timing and "nom_voltage" in timing
    for text in (timing, functions):
        assert "lpflow" not in text and "power ()" not in text and "cell (DFF)" in text and text.count("{") == text.count("}")
    assert "timing" not in functions and "ff (IQ, IQN)" in functions


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (LIBRARY, "required files with different cells, 'INVX1' is in two of them"),
        (CONDITIONS.replace("2.0", "1.0"), r"required files of one nom_voltage, given \[1.0, 2.0\]"),
        (CONDITIONS.replace("leakage_power_unit", "x"), "b.lib: nom_voltage and leakage_power_unit .* required"),
    ],
)
def test_files_that_do_not_fit_are_refused(second, message, tmp_path):
    (tmp_path / "a.lib").write_text(LIBRARY)
    (tmp_path / "b.lib").write_text(second)
    with pytest.raises(ArchsimError, match=message):
        Power(Library(tmp_path / "a.lib", tmp_path / "b.lib")).cell("INVX1")


def test_a_file_that_is_not_compressed_is_refused(tmp_path):
    (tmp_path / "a.lib.gz").write_text(LIBRARY)
    with pytest.raises(ArchsimError, match="a.lib.gz: required a file compressed with gzip, given something else"):
        _ = Library(tmp_path / "a.lib.gz").text


def test_other_operators_are_refused():
    with pytest.raises(ArchsimError, match="function 'A - B': required names, parentheses and the operators"):
        expression("A - B")


@pytest.mark.parametrize(
    ("function", "c"),
    [
        ("(!(A B))", "(~(A & B))"),
        ("((A B)+(B C))", "((A & B)|(B & C))"),
        ("A'", "(~A)"),
        ("A*B^C", "A&B^C"),
        ("A !B", "A & ~B"),
    ],
)
def test_functions(function, c):
    assert expression(function) == c


@pytest.mark.parametrize(
    ("cell", "message"),
    [("BAD", "cell BAD: required ':' or '\\(' behind 'pin', given 'Y'"), ("NONE", "no cell 'NONE'")],
)
def test_a_cell_that_cannot_be_read_is_refused(tiny, cell, message):
    with pytest.raises(ArchsimError, match=message):
        tiny.cell(cell)


def test_a_loop_of_cells_is_refused(tiny):
    loop = Netlist([("INVX1", {"A": IN, "Y": MIDDLE}), ("INVX1", {"A": MIDDLE, "Y": IN})], {})
    with pytest.raises(ArchsimError, match="a loop of cells without a flip-flop"):
        loop.code(tiny)


@pytest.fixture(scope="module")
def synthesised(tmp_path_factory):
    """The smallest synapse array (its weight banks are black boxes) in the library of Debian."""
    folder = tmp_path_factory.mktemp("synapse_array")
    changes = {
        "lanes": "1",
        "columns": "2",
        "neurons": "1",
        "weight_bits": "2",
        "membrane_bits": "4",
        "weight_rows": "512",
    }
    params = UNITS["synapse_array"].parameters(changes)
    power = Power(Library(LIBERTY))
    cells.synthesise(
        verilog(UNITS["synapse_array"].create(params), "synapse_array"), "synapse_array", power.library, folder
    )
    return folder, params, power, Netlist.read("synapse_array", folder)


def test_netlist_equals_the_verilog_and_toggles_with_its_events(synthesised):
    folder, params, power, netlist = synthesised
    assert any("." in name for name in netlist.ports)  # pins of memories
    windows = gates.simulate("synapse_array", netlist, power, array(params), folder)
    counts = [array(params).counts(window.taken) for window in windows]
    assert counts[0] == {"events": 0, "channels": 0, "lane_events": 0, "groups": 0}
    # An event a cycle at most; where spikes are dense, nearly every event carries one, and groups are long.
    assert all(0.5 * WINDOW < count["events"] <= WINDOW for count in counts[1:])
    assert counts[1]["groups"] > counts[2]["groups"] > counts[3]["groups"] > 0
    toggles = [int((window.values[1:] ^ window.values[:-1]).sum()) for window in windows]
    assert toggles[0] < 0.02 * toggles[1]
    energies = [energy.energy_pj(netlist, power, window.values) for window in windows]
    assert len({round(entry["clock"], 6) for entry in energies}) == 1


def test_recorded_spikes_are_those_of_the_artefact():
    every = recorded.spikes()
    assert every.shape[1:] == (4, 64) and 0.05 < every.mean() < 0.1  # sparse; random words would not agree over time
    assert (every[:, 1:] & every[:, :-1]).mean() > 2 * every.mean() ** 2
    with np.load(recorded.TRACES) as arrays:
        packed = arrays["block.0.attn.attn_lif"][0]  # the first map of 64 channels: step, position, bytes
    bits = [packed[step, 5, channel // 8] >> channel % 8 & 1 for step in range(4) for channel in range(64)]
    assert sum(bits) and every[5].reshape(-1).tolist() == bits
    # Two lanes are two steps of one position; four words of 16 channels follow each other, then the next two steps.
    words = recorded.words(8 * 200, 2, 16).reshape(200, 2, 4, 2, 16)
    for position, steps, word, lane in np.ndindex(200, 2, 4, 2):
        own = every[position, 2 * steps + lane, 16 * word : 16 * word + 16]
        assert (words[position, steps, word, lane] == own).all()
    sums = recorded.sums(40, 4, 2, 3)
    assert sums.shape == (40, 3) and 0.3 < sums.std() < 3
    assert not sums[~every[:5].any(axis=2).repeat(2, axis=0).reshape(5, 2, 4).reshape(-1)].any()


def test_the_window_of_recorded_spikes_has_them():
    params = UNITS["event_encoder"].parameters({"lanes": "1", "word_bits": "16", "row_bits": "9"})
    stimulus = encoder(params)
    items = stimulus.streams["i"][1][1 + WINDOWS.index(RECORDED)]
    counts = stimulus.counts({"i": items})
    assert counts["lane_events"] == recorded.words(WINDOW, 1, 16).sum()


@pytest.mark.parametrize("unit", grid.GRIDS)
def test_every_point_of_a_grid_has_a_stimulus_and_counts_for_its_law(unit):
    entry = grid.GRIDS[unit]
    points = list(entry.points())
    assert 0 < sum(map(entry.held, points)) < len(points)
    assert all(entry.held(point) for point in points[len(list(entry.combinations())) :][: len(entry.tests)])
    assert not any(entry.held(point) for point in points[len(points) - len(entry.more) :])
    params = grid.DESIGNS[unit].parameters({name: str(value) for name, value in points[0].items()})
    stimulus = entry.stimulus(params)
    assert all(len(items) == 1 + len(WINDOWS) for items in stimulus.items.values())
    assert len(stimulus.instructions) == len(WINDOWS)
    taken = {name: sum(items, []) for name, items in stimulus.items.items()}
    taken |= {name: [(1 << 256) - 1] for name in stimulus.outputs}  # any item will do: the Verilog alone gives them
    counts = dict(Counter(stimulus.counts(taken)) + sum(map(Counter, stimulus.instructions), Counter()))
    (further,) = entry.derived(params, [counts])
    further = {name: value or 1 for name, value in further.items()}  # nothing happens in the first window
    numbers = {**laws.sizes(unit, {"parameters": points[0]}), **counts, **further, "cycles": WINDOW}
    form = laws.FORMS[unit]
    assert all(laws.term(text)(numbers) > 0 for text in (*form.energy, *form.area))


def test_counts_of_a_masker():
    params = UNITS["masker"].parameters({"lanes": "2", "word_bits": "8"})
    words = [params.i.pack({"spikes": [3, 0x81], "first": 0}), params.i.pack({"spikes": [0, 1], "first": 0})]
    assert choices.masked(params).counts({"i": words}) == {"words": 2, "spikes": 5}


def test_counts_of_a_crossbar_are_of_all_its_inputs():
    stimulus = choices.packets(UNITS["crossbar"].parameters({"ports": "2", "depth": "4", "data_bits": "8"}))
    assert set(stimulus.streams) == {"i__0", "i__1"} and stimulus.counts({"i__0": [1, 2], "i__1": [3]}) == {"flits": 3}


def test_a_netlist_that_differs_is_seen(synthesised, tmp_path):
    folder, params, power, netlist = synthesised
    shutil.copy(folder / "design.v", tmp_path)  # a folder of its own: a library of the same path is loaded only once
    other = {"NAND2X1": "NOR2X1"}
    wrong = dataclasses.replace(netlist, cells=[(other.get(kind, kind), pins) for kind, pins in netlist.cells])
    with pytest.raises(ArchsimError, match="the netlist differs from the Verilog in .* first in cycle"):
        gates.simulate("synapse_array", wrong, power, array(params), tmp_path)


def test_without_icarus(synthesised, monkeypatch):
    folder, params, power, netlist = synthesised
    monkeypatch.setattr(gates.shutil, "which", lambda name: None)
    with pytest.raises(ArchsimError, match="iverilog: required for gate-level simulation and not found; for Debian"):
        gates.simulate("synapse_array", netlist, power, array(params), folder)


def test_a_run_goes_on_where_the_last_one_ended(tmp_path, monkeypatch, capsys):
    small = dataclasses.replace(grid.GRIDS["transposer"], axes={"word_bits": (2,)}, more=(), tests=())
    monkeypatch.setitem(grid.GRIDS, "transposer", small)
    arguments = ["--unit", "transposer", "--out", str(tmp_path)]
    assert main(arguments) == 0 and "word_bits=2 measured" in capsys.readouterr().out
    (row,) = read(tmp_path / "osu018_stdcells.jsonl")
    assert row["command"] == "python -m rtl.characterize --unit transposer"
    assert row["area_um2"] > 0 and [window["rate"] for window in row["windows"]] == list(WINDOWS)
    assert "opensta" in row["tools"] or row["critical_path_ns"] is None
    assert main(arguments) == 0 and "word_bits=2 known" in capsys.readouterr().out
    path = tmp_path / "osu018_stdcells.jsonl"
    path.write_text(json.dumps(row | {"key": "of another flow"}) + "\n")
    monkeypatch.setattr("rtl.characterize.__main__.characterise", lambda *_: {"windows": []})
    assert main(arguments) == 0 and "word_bits=2 measured" in capsys.readouterr().out
    assert len(read(path)) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--unit", "nothing"], "unknown unit 'nothing'; required one of event_encoder"),
        (["--unit", "sram"], "unit 'sram' has no grid of its own (a memory, which has a law of its own (archsim/energy/sram.csv))"),
        (["--unit", "core"], "unit 'core' has no grid of its own (spike_fetch, event_encoder, synapse_array, neuron, planes, "),
        (["--unit", "transposer", "--liberty", "/nowhere.lib", "/else.lib.gz"], "/nowhere.lib: no Liberty file"),
        (["--unit", "transposer", "--liberty", "/nowhere.lib"], "/nowhere.lib: no Liberty file"),
        (["--report"], "no results to report; measure with"),
    ],
)
def test_what_is_refused(arguments, message, tmp_path, capsys):
    assert main([*arguments, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_results_that_are_none_are_refused(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"unit": "neuron"}\n')
    with pytest.raises(ArchsimError, match="x.jsonl, line 1: required a row of results"):
        read(tmp_path / "x.jsonl")


def rows(bend=0.0, points=()):
    """Transposers of 3 pJ a cycle and 2 a bit of a word, and ``bend`` more of it where a point is held out."""
    found = []
    for point in points or grid.GRIDS["transposer"].combinations():
        width = point["word_bits"]
        windows = [
            {"rate": rate, "cycles": WINDOW, "counts": {"transposed": int(1000 * rate), "spikes": 0},
             "pj": {"clock": 3.0 * WINDOW, "internal": 0.0,
                    "switching": 2.0 * width * int(1000 * rate) * (1 + bend * (width in (24, 64)))}}
            for rate in RATES
        ]  # fmt: skip
        sizes = {"area_um2": 100.0 + 7 * width * width, "nand2": 2 * width * width}
        sizes |= {"flip_flops": 1, "critical_path_ns": 1.0, "leakage_nw": 1.0}
        found.append({"unit": "transposer", "parameters": point, "windows": windows} | sizes)
    return found


def test_a_law_is_found_again():
    fit = laws.energy("transposer", rows())
    assert fit.coefficients["cycles"] == pytest.approx(3)
    assert fit.coefficients["transposed word_bits"] == pytest.approx(2)
    # 4 widths x 4 rates: one width is held out, and one rate of the others.
    assert (fit.fitted, len(fit.errors)) == (9, 7) and fit.worst[0] < 1e-9
    assert laws.area("transposer", rows()).coefficients["word_bits word_bits"] == pytest.approx(7)


def test_a_memory_of_registers_is_no_part_of_a_fit():
    """Neuron units whose clock is 3 pJ a cycle and 0.2 a bit of the membranes' memory, their area 100 + 24 x 8.3 a bit.

    The memory has four rows, and the one that was read.
    """
    found = []
    for point in grid.GRIDS["neuron"].combinations():
        bits = 5 * point["neurons"] * point["membrane_bits"]
        windows = [
            {"rate": rate, "cycles": WINDOW, "counts": {"granules": int(1000 * rate)}, "pj": {
                "clock": 0.2 * (bits + 15) * WINDOW, "switching": 5.0 * int(1000 * rate), "internal": 0.0}}
            for rate in RATES
        ]  # fmt: skip
        area = 24 * (100 + 8.3 * bits)
        found.append({
            "unit": "neuron", "parameters": point, "windows": windows, "flip_flops": bits + 15, "area_um2": area,
            "nand2": area / 24,
        })  # fmt: skip
    energy, area = laws.energy("neuron", found), laws.area("neuron", found)
    assert energy.known == pytest.approx(0.2) and area.known == pytest.approx(24 * 8.3)
    assert energy.coefficients["cycles"] == pytest.approx(3) and energy.coefficients["granules"] == pytest.approx(5)
    assert energy.coefficients["cycles neurons membrane_bits"] == pytest.approx(0, abs=1e-9)
    assert area.coefficients["1"] == pytest.approx(2400)
    assert area.coefficients["neurons membrane_bits"] == pytest.approx(0, abs=1e-6)
    assert energy.worst[0] < 1e-9 and laws.events_error("neuron", found, energy) < 1e-9
    for row in found:
        for window in row["windows"]:
            window["pj"]["internal"] = window["pj"]["switching"]  # twice what the law says
    assert laws.events_error("neuron", found, energy) == pytest.approx(0.5)


def test_the_packages_laws_are_those_of_the_results():
    results = {name: read(REPORTS / f"{name}.jsonl") for name in scaling.LIBRARIES}
    made = package.packaged(results, (REPORTS / f"{package.NATIVE}.jsonl").read_bytes())
    assert json.loads(files("archsim.energy").joinpath("laws.json").read_text()) == made
    neuron = next(iter(made["units"]["neuron"]["measured"].items()))
    assert neuron == ("blocks", [4, 4]) and made["units"]["dma"]["measured"]["columns"] == [8, 64]


def test_further_points_are_held_out_or_fitted_as_the_grid_says():
    small = rows()
    wide = [small[0] | {"parameters": {"word_bits": bits}} for bits in (48, 64)]
    fits = [laws.energy("transposer", [*small, *further]) for further in ([], wide[:1], wide)]
    assert [(fit.fitted, len(fit.errors)) for fit in fits] == [(9, 7), (12, 8), (12, 12)]
    assert grid.GRIDS["transposer"].whole(small) and not grid.GRIDS["transposer"].whole(small[1:] + wide)
    assert grid.GRIDS["dma"].names() == ["dram_bus_bytes", "columns", "lanes", "neurons", "membrane_bits"]
    text = report(small, "some results")
    assert "| transposer (4 of 6 points) | energy | 9 | 7 |" in text


def test_extrapolation_is_seen_and_needs_a_larger_point(tmp_path, capsys):
    wide = rows(points=[{"word_bits": 48}]) + rows(bend=1.0, points=[{"word_bits": 64}])
    lines = extrapolation.report(rows() + wide).splitlines()
    zero = r"[+-]0\.0%"
    wanted = (
        rf"\| transposer \| word_bits 48 \| no \| {zero} .. {zero} \| {zero} .. {zero} \| {zero} \|",
        rf"\| transposer \| word_bits 64 \| yes \| -48.9% .. {zero} \| -50.0% .. -50.0% \| {zero} \|",
    )
    assert all(re.fullmatch(pattern, line) for pattern, line in zip(wanted, lines[-2:], strict=True))
    path = tmp_path / "osu018_stdcells.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    assert extrapolation.main(["--out", str(tmp_path)]) == 2
    assert "required points beside the combinations of a grid's axes, given none; measure with" in capsys.readouterr().err
    path.write_text("".join(json.dumps(row) + "\n" for row in rows() + wide))
    assert extrapolation.main(["--out", str(tmp_path)]) == 0
    assert (tmp_path / extrapolation.NAME).read_text().splitlines() == lines
    assert main(["--list"]) == 0 and "transposer           6 points, 2 of them held out" in capsys.readouterr().out


def test_the_table_of_extrapolation_is_that_of_the_results():
    assert (REPORTS / extrapolation.NAME).read_text() == extrapolation.report(read(REPORTS / f"{package.NATIVE}.jsonl"))


def test_a_unit_that_is_not_measured_whole_is_not_packaged():
    results = {name: read(REPORTS / f"{name}.jsonl") for name in scaling.LIBRARIES}
    results[package.NATIVE] = [row for row in results[package.NATIVE] if row["unit"] != "masker"]
    with pytest.raises(ArchsimError, match="masker: 0 of 10 points measured; measure its grid with `python -m rtl.characterize`"):
        package.packaged(results, b"")


def test_a_law_that_does_not_hold_is_seen():
    fit = laws.energy("transposer", rows(bend=0.25))
    error, bound, where = fit.worst
    assert 0.15 < error < 0.2 and bound == 0.1 and where == "word_bits 24 at rate 0.5"


def test_a_law_is_judged_by_recorded_spikes():
    every = rows()
    for row in every:
        width = row["parameters"]["word_bits"]
        energy_of = {"clock": 3.0 * WINDOW, "switching": 2 * 2.0 * width * 100}  # twice what the law says
        row["windows"].append({"rate": RECORDED, "cycles": WINDOW, "counts": {"transposed": 100, "spikes": 0}, "pj": energy_of})
    fit = laws.energy("transposer", every)
    assert fit.coefficients["transposed word_bits"] == pytest.approx(2)  # they are not in the fit
    assert fit.worst[0] > 0.4 and fit.worst[2].endswith("at recorded digits")


def test_too_few_points_are_refused():
    with pytest.raises(ArchsimError, match="area of transposer: 1 points to fit 3 terms"):
        laws.area("transposer", rows()[:1])


def test_a_grid_that_is_not_whole_has_no_law():
    assert "| transposer | 3 of 6 points measured: no law yet |" in report(rows()[:3], "x.jsonl")


def test_the_worst_law_is_named():
    text = report(rows(bend=0.25), "x.jsonl")
    error, _, where = laws.energy("transposer", rows(bend=0.25)).worst
    assert f"* Worst energy: {error:.1%} (bound 10%), transposer, {where}; 0 of 1 laws hold.\n" in text
    assert "* Worst area: 0.0% (bound 10%), transposer, word_bits 24; 1 of 1 laws hold.\n" in text
    (line,) = (line for line in text.splitlines() if line.startswith("* Units without a grid of their own. "))
    assert set(re.findall(r"(?:^|; |own\. )(\w+): ", line)) == set(UNITS) - set(grid.GRIDS) == {
        "attention", "core", "experts", "normaliser", "sram"
    }  # fmt: skip
    # The parts that a whole is made of have grids, and those of the grid that are no unit are parts of one.
    parts = {name for name in grid.GRIDS if re.search(rf"\b{name}\b", line)}
    assert parts >= set(grid.GRIDS) - set(UNITS) and parts >= {"sequencer", "router", "vector", "neuron"}


RESULTS = sorted(REPORTS.glob("*.jsonl"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_the_report_is_that_of_the_results(path):
    assert report(read(path), path.name) == path.with_suffix(".md").read_text()
