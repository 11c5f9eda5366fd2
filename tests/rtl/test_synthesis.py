"""Does the synthesis flow count what is there: registers, memories as black boxes and block RAM, paths, and no multiplier?"""

import json
import re
from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import Component, In, Out

from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.sram import SramParams
from rtl.build import UNITS, ports, verilog
from rtl.synthesis import cells, ecp5, tools
from rtl.synthesis.__main__ import main
from rtl.synthesis.library import LIBERTY, Library
from rtl.synthesis.report import report
from rtl.units.sram import Sram

ROOT = Path(__file__).parents[2]


class Sum(Component):
    """Sums rows of a memory of ``rows`` x 16 bit in a register of 20 bits; the address counts, rows are written anywhere."""

    def __init__(self, rows: int):
        self.params = SramParams(rows, 16)
        super().__init__({"data": In(16), "write": In(1), "total": Out(20)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank = bank = Sram(self.params)
        address = Signal(self.params.address_bits)
        m.d.sync += [address.eq(address + 1), self.total.eq(self.total + bank.read.data)]
        m.d.comb += [
            bank.read.en.eq(1), bank.read.addr.eq(address), bank.write.en.eq(self.write),
            bank.write.addr.eq(self.data), bank.write.data.eq(self.data),
        ]  # fmt: skip
        return m


class Product(Component):
    """What no unit may do."""

    def __init__(self):
        super().__init__({"a": In(12), "b": In(12), "o": Out(24)})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.a * self.b)
        return m


class Adders(Component):
    """``count`` additions one behind the other, in a cycle."""

    def __init__(self, count: int):
        self.count = count
        super().__init__({"a": In(8), "o": Out(8)})

    def elaborate(self, platform):
        m = Module()
        value = self.a
        for _ in range(self.count):
            value = ((value + self.o) ^ (value >> 1))[:8]
        m.d.sync += self.o.eq(value)
        return m


@pytest.fixture(scope="module")
def library():
    return Library(LIBERTY)


def in_cells(component, library, folder):
    return cells.synthesise(verilog(component, "unit"), "unit", library, folder)


def test_a_memory_of_a_kilobit_is_a_black_box(library, tmp_path):
    found = in_cells(Sum(64), library, tmp_path)
    assert found["memories"] == [{"name": "unit.bank", "rows": 64, "bits": 16, "total": 1024}]
    assert found["flip_flops"] == 6 + 20  # address and sum; not one of the memory
    assert found["area_um2"] >= 26 * library.area("DFFPOSX1")
    assert found["nand2"] == round(found["area_um2"] / 24)
    assert 0.5 < found["critical_path_ns"] < 20  # an addition of 20 bits, in 0.18 um


def test_a_smaller_memory_is_made_of_registers(library, tmp_path):
    found = in_cells(Sum(4), library, tmp_path)
    assert found["memories"] == [{"name": "unit.bank", "rows": 4, "bits": 16, "total": 64}]
    assert found["flip_flops"] == 2 + 20 + 64 + 16  # address, sum, rows, and the row that was read


def test_a_unit_that_is_a_memory_has_no_cells(library, tmp_path):
    found = in_cells(Sram(SramParams(64, 8, 2)), library, tmp_path)
    assert (found["cells"], found["critical_path_ns"], found["memories"][0]["total"]) == (0, None, 1024)


def test_two_additions_take_longer_than_one(library, tmp_path):
    paths = []
    for count in (1, 3):
        folder = tmp_path / str(count)
        folder.mkdir()
        paths.append(in_cells(Adders(count), library, folder)["critical_path_ns"])
    assert paths[1] > 1.5 * paths[0]


def test_without_opensta_there_is_no_path(library, tmp_path, monkeypatch):
    monkeypatch.setattr(cells.shutil, "which", lambda name: None)
    assert in_cells(Adders(2), library, tmp_path)["critical_path_ns"] is None


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ('time_unit : "1ns"; capacitive_load_unit (1,pf);', (1, 1000)),
        ('time_unit : "1ps"; capacitive_load_unit (1, "ff");', (1e-3, 1)),
        ('time_unit : "10ps"; capacitive_load_unit (0.1,pF);', (1e-2, 100)),
    ],
)
def test_units_of_a_library(text, units, tmp_path):
    path = tmp_path / "library.lib"
    path.write_text(text)
    assert Library(path).units == pytest.approx(units, abs=1e-9)


def test_a_library_without_units_or_cells_is_refused(tmp_path):
    path = tmp_path / "library.lib"
    path.write_text("library (empty) {}")
    with pytest.raises(ArchsimError, match="time_unit in ns or ps"):
        _ = Library(path).units
    with pytest.raises(ArchsimError, match="no two-input NAND found by its name"):
        _ = Library(path).nand2


def test_block_ram_and_no_registers_for_it(tmp_path):
    found = ecp5.synthesise(verilog(Sum(1024), "unit"), "unit", tmp_path)
    assert (found["block_ram"], found["lut_ram"], found["flip_flops"]) == (1, 0, 10 + 20)


def test_a_multiplier_is_refused(tmp_path):
    with pytest.raises(ArchsimError, match="the chip only adds, and 1 multiplier cells were inferred"):
        ecp5.synthesise(verilog(Product(), "unit"), "unit", tmp_path)


def test_the_harness_has_a_register_at_every_port(tmp_path):
    component = Adders(1)
    text = ecp5.harness("unit", ports(component))
    assert ".clk(clk), .\\rst (drive[0:0]), .\\a (drive[8:1]), .\\o (seen[7:0])" in text
    (tmp_path / "design.v").write_text(verilog(component, "unit") + text)
    tools.yosys("read_verilog design.v\nhierarchy -check -top harness\nproc\ncheck -assert\n", tmp_path)


@pytest.mark.parametrize(("block_ram", "device"), [(0, "--25k"), (56, "--25k"), (57, "--45k"), (109, "--85k")])
def test_the_smallest_device_that_holds_it(block_ram, device):
    assert ecp5.device_of({"lut4": 100, "carry": 10, "lut_ram": 0, "block_ram": block_ram}).option == device


def test_what_no_device_holds_is_refused():
    with pytest.raises(ArchsimError, match="209 block RAMs required, more than any ECP5 has"):
        ecp5.device_of({"lut4": 0, "carry": 0, "lut_ram": 0, "block_ram": 209})


def test_concatenations_become_bits():
    netlist = """  wire [3:0] a;
  wire b;
  assign { a[2:1], b } = { 2'h2, \\c.d [7] };
  assign x = y;
  assign a = { b, e[5:3] };
"""
    assert tools.without_concatenations(netlist).splitlines()[2:] == [
        "  assign a[2] = 1'b1;", "  assign a[1] = 1'b0;", "  assign b = \\c.d [7];", "  assign x = y;", "  assign a[3] = b;",
        "  assign a[2] = e[5];", "  assign a[1] = e[4];", "  assign a[0] = e[3];",
    ]  # fmt: skip


def test_tables_and_a_second_run_that_computes_nothing(tmp_path, capsys):
    arguments = ["--unit", "event_encoder", "--out", str(tmp_path)]
    assert main(arguments) == 0
    first = (tmp_path / "defaults.md").read_text()
    assert main(arguments) == 0
    assert capsys.readouterr().out.count("known") == 2
    assert (tmp_path / "defaults.md").read_text() == first
    (result,) = json.loads((tmp_path / "defaults.json").read_text())["results"]
    assert result["parameters"] == {"lanes": 4, "word_bits": 16, "row_bits": 9}
    encoder = UNITS["event_encoder"].parameters()
    # The word that is held: spikes (the state), its row, subtract and last; an offer and the shift are marks of the state.
    assert result["cells"]["flip_flops"] == encoder.state.width + encoder.row_bits + 2
    assert result["ecp5"]["flip_flops"] == result["cells"]["flip_flops"]


@pytest.mark.parametrize("name", ["small", "defaults"])
def test_the_committed_tables_are_those_of_the_committed_figures(name):
    folder = ROOT / "reports" / "synthesis"
    figures = json.loads((folder / f"{name}.json").read_text())
    assert (folder / f"{name}.md").read_text() == report(figures["run"], figures["results"])


def test_the_report_says_what_limits_the_clock():
    figures = json.loads((ROOT / "reports" / "synthesis" / "small.json").read_text())
    paths = {unit["unit"]: unit["cells"]["critical_path_ns"] or 0 for unit in figures["results"]}
    placed = {unit["unit"]: unit["placed"]["mhz"] for unit in figures["results"]}
    del paths["chip"], placed["chip"]
    text = report(figures["run"], figures["results"])
    said = re.findall(r"What limits the clock of the chip, [0-9.]+ MHz: `(\w+)`", text)
    assert said == [max(paths, key=paths.get), min(placed, key=placed.get)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--unit", "nothing"], "unknown unit 'nothing'"),
        (["--top"], "--top is a whole chip: give --chip too"),
        (["--unit", "sram", "--liberty", "/nowhere.lib"], "no Liberty file"),
    ],
)
def test_what_is_refused(arguments, message, tmp_path, capsys):
    assert main([*arguments, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
