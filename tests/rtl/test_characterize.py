"""Are energy and area at gate level those of the netlist: by hand, equal to the Verilog, and is a wrong law seen?"""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from archsim.contracts.common.errors import ArchsimError
from rtl.build import UNITS, verilog
from rtl.characterize import energy, gates, grid, laws
from rtl.characterize.__main__ import main, read
from rtl.characterize.gates import Netlist
from rtl.characterize.liberty import Power, expression
from rtl.characterize.report import report
from rtl.characterize.stimuli import RATES, WINDOW, array
from rtl.synthesis import cells

LIBRARY = """
library (tiny) {
  time_unit : "1ns"; capacitive_load_unit (1,pf); nom_voltage : 2.0; leakage_power_unit : "1nW";
  power_lut_template (by_load) { variable_1 : total_output_net_capacitance; variable_2 : input_transition_time; }
  power_lut_template (by_slew) { variable_1 : input_transition_time; }
  /* an inverter and a flip-flop */
  cell (INVX1) { area : 10; cell_leakage_power : 0.5;
    pin (A) { direction : input; capacitance : 0.010; }
    pin (Y) { direction : output; function : "(!A)"; internal_power () { related_pin : "A";
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
    return Power(cells.Library(path))


def test_energy_of_a_chain_by_hand(tiny):
    # V = 2: half the load x 4 = 2 pJ/pF. In: 0.010 pF; middle: 0.020; out: 20 fF.
    toggles = np.zeros(CHAIN.nets, np.uint32)
    toggles[[IN, MIDDLE, OUT]] = 7, 5, 3
    found = energy.energy_pj(CHAIN, tiny, toggles, cycles=10)
    assert found["switching"] == pytest.approx(2 * (7 * 0.010 + 5 * 0.020 + 3 * 0.020))
    # Inverter: the mean of rise and fall, a fifth of the way from no load to 0.1 pF; D 0.05 a toggle; Q 0.07.
    assert found["internal"] == pytest.approx(5 * (0.03 + 0.2 * 0.04) + 5 * 0.05 + 3 * 0.07)
    assert found["clock"] == pytest.approx(2 * 10 * (2 * 0.030 + (0.1 + 0.3) / 2))
    assert energy.leakage_nw(CHAIN, tiny) == pytest.approx(2.5)


def test_a_state_port_is_no_load(tiny):
    seen = dataclasses.replace(CHAIN, ports=CHAIN.ports | {"o": ("input", []), "state": ("output", [OUT])})
    toggles = np.zeros(CHAIN.nets, np.uint32)
    toggles[OUT] = 1
    assert energy.energy_pj(seen, tiny, toggles, 0)["switching"] == 0


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
    power = Power(cells.Library(cells.LIBERTY))
    cells.synthesise(
        verilog(UNITS["synapse_array"].create(params), "synapse_array"), "synapse_array", power.library, folder
    )
    return folder, params, power, Netlist.read("synapse_array", folder)


def test_netlist_equals_the_verilog_and_toggles_with_its_events(synthesised):
    folder, params, power, netlist = synthesised
    assert any("." in name for name in netlist.ports)  # pins of memories
    windows = gates.simulate("synapse_array", netlist, power, array(params), folder)
    counts = [array(params).counts(window.taken) for window in windows]
    assert counts[0] == {"events": 0, "lane_events": 0, "groups": 0}
    # An event a cycle at most; where spikes are dense, nearly every event carries one, and groups are long.
    assert all(0.5 * WINDOW < count["events"] <= WINDOW for count in counts[1:])
    assert counts[1]["groups"] > counts[2]["groups"] > counts[3]["groups"] > 0
    assert windows[0].toggles.sum() < 0.02 * windows[1].toggles.sum()
    energies = [energy.energy_pj(netlist, power, window.toggles, WINDOW) for window in windows]
    assert len({round(entry["clock"], 6) for entry in energies}) == 1


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
    small = dataclasses.replace(grid.GRIDS["transposer"], axes={"word_bits": (2,)})
    monkeypatch.setitem(grid.GRIDS, "transposer", small)
    arguments = ["--unit", "transposer", "--out", str(tmp_path)]
    assert main(arguments) == 0 and "word_bits=2 measured" in capsys.readouterr().out
    (row,) = read(tmp_path / "osu018_stdcells.jsonl")
    assert row["area_um2"] > 0 and [window["rate"] for window in row["windows"]] == list(RATES)
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
        (["--unit", "sram"], "unit 'sram' has no stimulus yet"),
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


def rows(bend=0.0):
    """Transposers of 3 pJ a cycle and 0.5 a moved bit, and ``bend`` more of it where a point is held out."""
    found = []
    for point in grid.GRIDS["transposer"].points():
        width = point["word_bits"]
        windows = [
            {"rate": rate, "cycles": WINDOW, "counts": {"transposed": int(1000 * rate)},
             "pj": {"clock": 3.0 * WINDOW, "switching": 0.5 * width * width * int(1000 * rate) * (1 + bend * (width == 24))}}
            for rate in RATES
        ]  # fmt: skip
        sizes = {"area_um2": 100.0 + 7 * width * width, "flip_flops": 1, "critical_path_ns": 1.0, "leakage_nw": 1.0}
        found.append({"unit": "transposer", "parameters": point, "windows": windows} | sizes)
    return found


def test_a_law_is_found_again():
    fit = laws.energy("transposer", rows())
    assert fit.coefficients["cycles"] == pytest.approx(3)
    assert fit.coefficients["transposed word_bits word_bits"] == pytest.approx(0.5)
    # 4 widths x 4 rates: one width is held out, and one rate of the others.
    assert (fit.fitted, len(fit.errors)) == (9, 7) and fit.worst[0] < 1e-9
    assert laws.area("transposer", rows()).coefficients["word_bits word_bits"] == pytest.approx(7)


def test_a_law_that_does_not_hold_is_seen():
    fit = laws.energy("transposer", rows(bend=0.25))
    error, bound, where = fit.worst
    assert 0.15 < error < 0.2 and bound == 0.1 and where == "word_bits 24 at rate 0.5"


def test_too_few_points_are_refused():
    with pytest.raises(ArchsimError, match="area of transposer: 1 points to fit 3 terms"):
        laws.area("transposer", rows()[:1])


def test_a_grid_that_is_not_whole_has_no_law():
    assert "| transposer | 3 of 4 points measured: no law yet |" in report(rows()[:3], "x.jsonl")


def test_the_report_is_that_of_the_results():
    folder = gates.Path(__file__).parents[2] / "reports" / "characterisation"
    path = folder / "osu018_stdcells.jsonl"
    assert report(read(path), path.name) == path.with_suffix(".md").read_text()
