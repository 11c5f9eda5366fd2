"""Is the Verilog of every unit deterministic, described, reset, and refused where the contract refuses?"""

import hashlib
import json
import os
import re
import subprocess
import sys

import pytest

from archsim.config import load_chip
from rtl.build import DESIGNS, chosen, main, ports, simulation_ports, verilog, write


@pytest.fixture(params=DESIGNS)
def unit(request):
    return request.param


def test_same_parameters_same_bytes(unit, tmp_path):
    here = write(unit, tmp_path / "here", DESIGNS[unit].parameters())
    env = os.environ | {"PYTHONHASHSEED": "7"}
    command = [sys.executable, "-m", "rtl.build", "--unit", unit, "--out", str(tmp_path / "there")]
    subprocess.run(command, env=env, check=True, capture_output=True)
    for path in here:
        assert path.read_bytes() == (tmp_path / "there" / path.name).read_bytes()


def test_sidecar_describes_the_verilog(unit, tmp_path):
    code, beside = write(unit, tmp_path, DESIGNS[unit].parameters())
    text, data = code.read_text(), json.loads(beside.read_text())
    assert data["unit"] == unit
    assert data["sha256"] == hashlib.sha256(code.read_bytes()).hexdigest()
    assert set(data["parameters"]) >= set(DESIGNS[unit].defaults)
    module = text[text.index(f"\nmodule {unit}(") :]
    for port in data["ports"]:
        size = f"[{port['width'] - 1}:0] " if port["width"] > 1 else ""
        declared = re.search(rf"^  {port['direction']} {re.escape(size)}\\?{port['name']} ?;$", module, re.MULTILINE)
        assert declared, port
    assert str(tmp_path) not in text and "/rtl/" not in text  # no place of this machine


def test_every_register_is_reset(unit):
    """Every flip-flop but a memory's own has a value at power-up."""
    text = verilog(DESIGNS[unit].create(DESIGNS[unit].parameters()), unit)
    total = 0
    for module in text.split("\nendmodule"):
        clocked = set(re.findall(r"always @\(posedge clk\)\n    (\S+) +<=", module))
        started = set(re.findall(r"^  reg (?:\[\d+:\d+\] )?(\S+) += ", module, re.MULTILINE))
        assert clocked <= started, clocked - started
        total += len(clocked)
    assert total > 0 or unit == "sram"


def test_simulation_ports_leave_out_the_clock(unit):
    component = DESIGNS[unit].create(DESIGNS[unit].parameters())
    inputs, outputs = simulation_ports(component)
    assert ("rst", 1) in inputs and all(name != "clk" for name, _ in inputs + outputs)
    header = verilog(component, unit).split(f"\nmodule {unit}(")[1].split(");")[0]
    assert header.count(",") + 1 == len(ports(component)) == len(inputs) + len(outputs) + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--unit", "event_encoder", "--params", "lanes=17"], "lanes must be in 1..16, given 17"),
        (["--unit", "synapse_array", "--params", "neurons=3"], "neurons must divide columns, given 3 and 16"),
        (["--unit", "synapse_array", "--params", "membrane_bits=8"], "weight_bits < membrane_bits <= 24"),
        (["--unit", "sram", "--params", "rows=0"], "must be 1 or more"),
        (["--unit", "sram", "--params", "rows=many"], "parameter rows: required int, given 'many'"),
        (["--unit", "sram", "--params", "row=1"], "unknown parameters row; required some of rows, granule_bits"),
        (["--unit", "sram", "--params", "rows"], "required name=value, each name once, given 'rows'"),
        (["--unit", "sram", "--params", "rows=1", "rows=2"], "each name once, given 'rows=2'"),
        (["--unit", "encoder"], "unknown unit 'encoder'; required one of sram, event_encoder"),
        ([], "--unit, --chip or --list is required"),
        (["--chip", "smal"], "required a preset's name or a YAML file"),
        (["--chip", "small", "--unit", "crossbar"], "chip 'small' has no crossbar"),
        (["--chip", "small", "--unit", "sram", "--params", "rows=1"], "change the chip's file instead"),
    ],
)
def test_what_is_refused_writes_nothing(arguments, message, tmp_path, capsys):
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_list_names_every_unit(capsys):
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(DESIGNS)
    assert "lanes=4 word_bits=16 row_bits=9" in lines[1]


def test_parameters_change_the_hash(tmp_path):
    encoder = DESIGNS["event_encoder"]
    changed = (encoder.parameters({"lanes": lanes}) for lanes in ("1", "2"))
    first, second = (write("event_encoder", tmp_path, params)[1].read_text() for params in changed)
    assert json.loads(first)["sha256"] != json.loads(second)["sha256"]
    assert json.loads(second)["parameters"]["lanes"] == 2


def test_a_chip_gives_every_unit_its_parameters(tmp_path, capsys):
    assert main(["--chip", "small", "--unit", "synapse_array", "--out", str(tmp_path)]) == 0
    chip, found = load_chip("small"), json.loads((tmp_path / "synapse_array.json").read_text())["parameters"]
    assert found["weight_rows"] == chip.weight_rows
    assert (found["lanes"], found["columns"], found["neurons"]) == (chip.lanes, chip.columns, chip.neurons)
    assert {path.name for path in tmp_path.iterdir()} == {"synapse_array.v", "synapse_array.json"}
    units = chosen(None, "small", {})
    assert "crossbar" not in units and units["core"] == chip
