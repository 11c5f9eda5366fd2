"""Does every picojoule of a netlist have one module, by hand, and do their sums make the energy of the whole?"""

import shutil

import numpy as np
import pytest

from archsim.contracts.common.errors import ArchsimError
from rtl.build import UNITS, verilog
from rtl.characterize import energy, modules
from rtl.characterize.attribution import KINDS, Activity, energies_pj, leakages_nw
from rtl.characterize.gates import Netlist
from rtl.characterize.liberty import Power
from rtl.characterize.modules import TOP, Modular, Program
from rtl.synthesis.library import LIBERTY, Library
from tests.rtl.test_characterize import CHAIN, CLK, CONDITIONS, IN, LIBRARY, MIDDLE, OUT, toggling

READ, WRITE = 6, 7
TWO = Modular(  # in -> inverter of a -> flip-flop of b -> out; what b's memory reads -> inverter of the top -> its write enable
    Netlist(
        [*CHAIN.cells, ("INVX1", {"A": READ, "Y": WRITE})],
        CHAIN.ports | {"x.b.memory.read__data": ("input", [READ]), "x.b.memory.write__en": ("output", [WRITE])},
    ),
    ("x.a", "x.b", TOP),
)
LOAD = 0.020 * 10 / 9.32456
"""pF at an output: 20 fF x the inverter's 10 fF / that of Debian's."""


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.lib"
    path.write_text(LIBRARY)
    return Power(Library(path))


def activity_of(netlist, power, values, edges=()):
    """Of values, [cycles + 1, nets], added in stretches that end at ``edges``."""
    activity = Activity(netlist, power)
    for start, end in zip([0, *edges], [*edges, len(values) - 1], strict=True):
        activity.add(values[start : end + 1])
    return activity


def test_every_energy_has_its_module_by_hand(tiny):
    values = toggling(TWO.netlist.nets, 10, n2=7, n3=5, n4=3, n6=2, n7=1)
    found = energies_pj(TWO, tiny, activity_of(TWO.netlist, tiny, values))
    assert set(found) == {TOP, "x.a", "x.b"}
    # V = 2: 2 pJ/pF. The input is the top's, what the memory of b reads is b's; each other net is its driver's.
    assert found[TOP]["switching"] == pytest.approx(2 * (7 * 0.010 + 1 * LOAD))
    assert found["x.a"]["switching"] == pytest.approx(2 * 5 * 0.020)
    assert found["x.b"]["switching"] == pytest.approx(2 * (3 * LOAD + 2 * 0.010))
    # An inverter from no load to 0.1 pF: 0.03 to 0.07. The flip-flop: D 0.05 a toggle, Q 0.07.
    assert found[TOP]["internal"] == pytest.approx(1 * (0.03 + LOAD / 0.1 * 0.04))
    assert found["x.a"]["internal"] == pytest.approx(5 * (0.03 + 0.2 * 0.04))
    assert found["x.b"]["internal"] == pytest.approx(5 * 0.05 + 3 * 0.07)
    assert {name: entry["clock"] for name, entry in found.items()} == {
        TOP: 0, "x.a": 0, "x.b": pytest.approx(2 * 10 * (2 * 0.030 + (0.1 + 0.3) / 2)),
    }  # fmt: skip
    assert leakages_nw(TWO, tiny) == {TOP: 0.5, "x.a": 0.5, "x.b": 2.0}


def whole(found):
    return {kind: sum(entry[kind] for entry in found.values()) for kind in KINDS}


@pytest.mark.parametrize("edges", [(), (1, 4), (9,)], ids=str)
def test_the_sum_is_the_energy_of_the_netlist_in_any_stretches(edges, tiny):
    values = np.random.default_rng(1).integers(0, 2, (11, TWO.netlist.nets), dtype=np.uint8)
    found = energies_pj(TWO, tiny, activity_of(TWO.netlist, tiny, values, edges))
    assert whole(found) == pytest.approx(energy.energy_pj(TWO.netlist, tiny, values))
    assert sum(leakages_nw(TWO, tiny).values()) == energy.leakage_nw(TWO.netlist, tiny)


@pytest.mark.parametrize("enable", ["1", MIDDLE], ids=["constant", "net"])
def test_the_sum_has_the_conditions_of_inputs(enable, tmp_path):
    path = tmp_path / "other.lib"
    path.write_text(CONDITIONS + LIBRARY.partition("/*")[2].partition("*/")[2].replace("cell (BAD) { area : 1; pin Y }", ""))
    power = Power(Library(path))
    netlist = Netlist([("GATED", {"CLK": CLK, "D": IN, "E": enable, "Q": OUT})], {"clk": ("input", [CLK])})
    values = np.random.default_rng(2).integers(0, 2, (31, 6), dtype=np.uint8)
    found = energies_pj(Modular(netlist, ("m",)), power, activity_of(netlist, power, values, (7, 20)))
    assert whole(found) == pytest.approx(energy.energy_pj(netlist, power, values))
    assert found["m"]["clock"] > 30 * 2 * 2 * 0.003  # more than its pin's capacitance: tables held


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """A small spike writer, module by module: its banks are black boxes, the memories of its pool are flip-flops."""
    folder = tmp_path_factory.mktemp("spike_writer")
    unit = UNITS["spike_writer"]
    changes = {"lanes": "1", "neurons": "2", "blocks": "2", "rows": "512"}
    code, power = verilog(unit.create(unit.parameters(changes)), "spike_writer"), Power(Library(LIBERTY))
    modules.synthesise(code, "spike_writer", power.library, folder)
    return folder, power, Modular.read("spike_writer", folder)


def given(design, cycles):
    """The nets of the inputs but the clock, and random values of them; reset in the first two cycles."""
    nets = [net for name, (way, bits) in design.netlist.ports.items() if way == "input" and name != "clk" for net in bits]
    rows = np.random.default_rng(3).integers(0, 2, (cycles, len(nets)), dtype=np.uint8)
    reset = nets.index(design.netlist.ports["rst"][1][0])
    rows[:, reset] = np.arange(cycles) < 2
    return nets, rows


def test_cells_keep_their_modules_and_runs_go_on(writer, tmp_path):
    _, power, design = writer
    assert {"", "pool", "pool.columns"} <= set(design.owners) and len(design.owners) == len(design.netlist.cells)
    assert not any("bank" in owner for owner in design.owners)  # black boxes; their pins are ports
    assert design.netlist.ports["bank0.read__data"][0] == "input"
    nets, rows = given(design, 200)
    for name in ("once", "twice"):
        (tmp_path / name).mkdir()
    once = Program(design.netlist, power, tmp_path / "once", nets).run(rows)
    program = Program(design.netlist, power, tmp_path / "twice", nets)
    assert np.array_equal(np.vstack([program.run(rows[:77]), program.run(rows[77:])]), once)
    assert not np.array_equal(program.run(rows), once)  # it goes on, and does not begin anew
    found = energies_pj(design, power, activity_of(design.netlist, power, once, (50,)))
    assert whole(found) == pytest.approx(energy.energy_pj(design.netlist, power, once))
    assert all(found[module]["switching"] > 0 for module in ("", "pool", "pool.columns"))
    flip_flops = [owner for (kind, _), owner in zip(design.netlist.cells, design.owners, strict=True) if kind.startswith("DFF")]
    # Every flip-flop of the library has the same clock: the modules share its energy by their numbers.
    share = found["pool.columns"]["clock"] / whole(found)["clock"]
    assert share == pytest.approx(flip_flops.count("pool.columns") / len(flip_flops))


def test_cells_without_a_module_are_refused(writer, tmp_path):
    folder, _, design = writer
    text = (folder / "netlist.json").read_text()
    (tmp_path / "netlist.json").write_text(text.replace(f'"{modules.OWNER}": "spike_writer.pool"', '"other": "x"'))
    lost = sum(owner == "pool" for owner in design.owners)
    with pytest.raises(ArchsimError, match=rf"spike_writer: required a module .* given {lost} cells without; synthesise again"):
        Modular.read("spike_writer", tmp_path)


def test_inputs_of_another_number_are_refused(writer, tmp_path):
    _, power, design = writer
    nets, rows = given(design, 3)
    program = Program(design.netlist, power, tmp_path, nets)
    with pytest.raises(ArchsimError, match=rf"inputs of a netlist: required \[cycles, {len(nets)}\], given \[3, {len(nets) - 1}\]"):
        program.run(rows[:, 1:])


def test_without_a_compiler(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ArchsimError, match="gcc: required for gate-level simulation and not found; for Debian"):
        Program(CHAIN, tiny, tmp_path, [IN])
