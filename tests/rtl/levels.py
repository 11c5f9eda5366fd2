"""Levels at which a unit's cases run: the Verilator library (mass), cocotb on Icarus, cocotb on Verilator."""

import os
from functools import cache
from pathlib import Path

import numpy as np

from rtl.build import UNITS, simulation_ports, verilog
from rtl.simulate import run_cocotb
from rtl.verilator import Library, build
from tests.rtl import driver
from tests.rtl.bench import STALLS, compare, require_stalls

BUILD = Path(__file__).parents[2] / "build"
"""Generated files that are worth keeping between runs: libraries, named by the hash of their content."""

TRANSACTIONS = int(os.environ.get("ARCHSIM_RTL_TRANSACTIONS", "20000"))
"""Transactions at the input in a mass run of a parameter set."""

CHUNK = 4000
"""Transactions of one simulation of a mass run at most."""

COCOTB_TRANSACTIONS = 100
"""Transactions at the input in one simulation with cocotb."""


@cache
def library(unit: str, params) -> Library:
    """The Verilator library of a unit."""
    return component_library(unit, UNITS[unit].create(params))


def component_library(name: str, component) -> Library:
    """The Verilator library of a component with the ports of a unit."""
    folder = BUILD / "verilog"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{os.getpid()}.v"
    path.write_text(verilog(component, name))
    try:
        return build(path, name, *simulation_ports(component), BUILD / "verilated")
    finally:
        path.unlink()


class UnitCases:
    """What a unit's class of cases defines; each level's tests run them.

    ``unit`` is its name; ``sets`` its parameter sets; ``corners(params, stalls, rng)`` yields the cases that reach
    every corner; ``random(params, stalls, rng, transactions)`` is a case with ``transactions`` at the input. Every case
    comes with its expectation, computed twice: by the law and by the stepped model.
    """


class Mass(UnitCases):
    """The Verilator library, driven by compiled code."""

    def run(self, params, case):
        """Run one case and compare; the case and what was seen."""
        seen, _ = driver.run(library(self.unit, params), case)
        compare(case, seen, params.o)
        return case, seen

    def test_corners(self, params, stalls):
        for case in self.corners(params, STALLS[stalls], np.random.default_rng(1)):
            self.run(params, case)

    def test_random(self, params, stalls):
        left, runs = max(1, TRANSACTIONS // len(STALLS)), []
        while left:
            count = min(left, CHUNK)
            rng = np.random.default_rng(len(runs))
            runs.append(self.run(params, self.random(params, STALLS[stalls], rng, count)))
            left -= count
        require_stalls(runs)


class Cocotb(UnitCases):
    """cocotb on ``simulator``: every stall pattern, corners and random cases, in one simulation for each set."""

    simulator: str

    def test_corners_and_random(self, params, tmp_path):
        rng = np.random.default_rng(2)
        cases = [self.random(params, stalls, rng, COCOTB_TRANSACTIONS) for stalls in STALLS.values()]
        cases += self.corners(params, STALLS["both"], rng)
        component = UNITS[self.unit].create(params)
        path = tmp_path / f"{self.unit}.v"
        path.write_text(verilog(component, self.unit))
        for index, case in enumerate(cases):
            case.save(tmp_path / f"case{index:03}.npz")
        inputs = " ".join(name for name, _ in simulation_ports(component)[0])
        env = {"ARCHSIM_CASES": str(tmp_path), "ARCHSIM_INPUTS": inputs}
        folder = tmp_path / "sim"
        assert run_cocotb(path, self.unit, "tests.rtl.cocotb_stream", self.simulator, folder, env=env) == 1
