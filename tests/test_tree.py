"""Is the tree what the architecture says: the same units under the same names everywhere, each tested, in files of modest size?"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtl.build import UNITS

ROOT = Path(__file__).parents[1]

NO_FAST_MODEL = {"sequencer": "its fast model is the event simulation itself, archsim/timing.py"}
NO_STEPPED_MODEL = {"sram": "a memory of one cycle is an array in the models; archsim/units/sram.py holds the contents"}
SHARED = {
    "bits": "bit operations that the stepped models share",
    "fifo": "a part of several stepped models, no unit of the chip",
}
"""Modules beside the stepped models that are no unit."""

TESTED_WITH = {
    "multicast": ("tests/archsim/test_stepped_dma.py", "both move rows and share their cases"),
    "spike_writer": ("tests/rtl/test_core_slice.py", "what it stores is the output of the core's instructions"),
}
"""Units whose stepped model or RTL is tested in a module of another name."""

PACKAGES = ("archsim", "benchmarks", "mapping", "rtl", "cosim", "workloads", "scripts")
MODULE_LINES, FUNCTION_LINES = 300, 60
"""Greatest length of a module and of a function."""


def names(folder: str) -> set[str]:
    """Units with a module in a folder; a module that is named after a unit, ``unit_part``, is a part of it."""
    units = {path.stem for path in (ROOT / "archsim/contracts").glob("*.py")} - {"__init__"}
    found = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"}
    return {name for name in found if not any(name.startswith(f"{unit}_") for unit in units)}


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_the_walk_finds_something():
    assert {"core", "sram"} <= names("archsim/contracts")
    assert len(modules()) > 50


def test_every_contract_has_a_fast_model_and_no_other_has():
    assert names("archsim/units") == names("archsim/contracts") - set(NO_FAST_MODEL)


def test_every_contract_has_a_stepped_model_and_no_other_has():
    assert names("archsim/stepped") - set(SHARED) == names("archsim/contracts") - set(NO_STEPPED_MODEL)
    assert set(SHARED) <= names("archsim/stepped")


def test_every_unit_in_hardware_has_a_contract_and_every_contract_hardware():
    assert names("rtl/units") == names("archsim/contracts")


@pytest.mark.parametrize("unit", sorted(names("archsim/contracts")))
def test_every_unit_has_a_test_module(unit):
    own = {path.stem for path in (ROOT / "tests").rglob("test_*.py")} & {f"test_{unit}", f"test_stepped_{unit}"}
    if not own:
        place, _ = TESTED_WITH[unit]
        assert unit in (ROOT / place).read_text()


def test_every_unit_in_hardware_can_be_built():
    assert names("rtl/units") == set(UNITS)


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_modules_and_functions_are_short(path):
    text, name = path.read_text(), path.relative_to(ROOT).as_posix()
    lines = len(text.splitlines())
    assert lines <= MODULE_LINES, f"{name}: {lines} lines"
    for function in functions(ast.parse(text)):
        length = (function.end_lineno or 0) - function.lineno + 1
        assert length <= FUNCTION_LINES, f"{name}: {function.name} has {length} lines"
