"""cocotb bench of a system: drive a stimulus cycle by cycle, keep the outputs. After the reset no pulse of an engine is unknown."""

import os
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

FOLDER = Path(os.environ["SYSTEM_FOLDER"])

OUTPUTS = ("start", "done", "halted", "moved", "dump__data")


@cocotb.test()
async def system(dut):
    """Inputs change at the falling edge; outputs are sampled at the rising edge, before the registers change."""
    with np.load(FOLDER / "stimulus.npz") as stimulus:
        inputs = {name: [int.from_bytes(row.tobytes(), "little") for row in stimulus[name]] for name in stimulus}
    Clock(dut.clk, 10, unit="ns").start(start_high=True)
    seen = {name: [] for name in OUTPUTS}
    driven = {}
    for cycle, reset in enumerate(inputs["rst"]):
        await FallingEdge(dut.clk)
        for name, values in inputs.items():
            if driven.get(name) != values[cycle]:
                getattr(dut, name).value = driven[name] = values[cycle]
        await RisingEdge(dut.clk)
        for name, values in seen.items():
            value = getattr(dut, name).value
            assert value.is_resolvable or reset or name == "dump__data", f"{name} is {value} in cycle {cycle}"
            values.append(int(value) if value.is_resolvable else 0)
    np.savez(FOLDER / "outputs.npz", **{name: np.array(values, np.uint64) for name, values in seen.items()})
