"""cocotb bench of an engine: drive a stimulus cycle by cycle, keep the outputs, look for X in every register."""

import os
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.handle import ArrayObject, HierarchyObject
from cocotb.triggers import FallingEdge, ReadOnly

FOLDER = Path(os.environ["SLICE_FOLDER"])
OUTPUTS = os.environ["SLICE_OUTPUTS"].split()
"""Outputs to keep."""

EVERY = os.environ["SLICE_EVERY"] == "1"
"""Whether every register is known at the end: the program reads every memory."""

REGISTERS = int(os.environ["SLICE_REGISTERS"])
"""Registers that are unknown before the reset; -1 on a simulator without X."""


def signals(handle, path=""):
    """(name, handle) of every signal below ``handle``; memories are left out."""
    for child in handle:
        name = f"{path}{child._name}"
        if isinstance(child, HierarchyObject):
            yield from signals(child, f"{name}.")
        elif not isinstance(child, ArrayObject):
            yield name, child


def unknown(handle):
    """Names of the signals with a bit that is neither 0 nor 1, but for indices of no bits: ``[-1:0]``, driven by nothing."""
    return [
        name for name, signal in signals(handle)
        if not signal.value.is_resolvable and (len(signal) != 2 or signal.range.left != -1)
    ]  # fmt: skip


@cocotb.test()
async def slice_of_the_core(dut):
    """Inputs change at the falling edge; outputs are sampled when they have settled, before the rising edge."""
    with np.load(FOLDER / "stimulus.npz") as stimulus:
        inputs = {name: [int.from_bytes(row.tobytes(), "little") for row in stimulus[name]] for name in stimulus}
    cycles = len(inputs["rst"])
    seen = {name: [] for name in OUTPUTS}
    assert len(unknown(dut)) > REGISTERS, "every register is unknown before the reset"
    Clock(dut.clk, 10, unit="ns").start(start_high=True)
    driven = {}
    for cycle in range(cycles):
        await FallingEdge(dut.clk)
        for name, values in inputs.items():
            if driven.get(name) != values[cycle]:
                getattr(dut, name).value = driven[name] = values[cycle]
        await ReadOnly()
        for name, values in seen.items():
            value = getattr(dut, name).value
            data = "data" in name or name.endswith("payload")
            known = value.is_resolvable or data or driven["rst"]  # nothing was read yet
            assert known, f"{name} is {value} in cycle {cycle}"
            values.append(int(value) if value.is_resolvable else 0)
    await FallingEdge(dut.clk)
    assert not EVERY or unknown(dut) == []
    widths = {name: 8 * -(-len(getattr(dut, name)) // 64) for name in seen}
    words = {
        name: np.frombuffer(b"".join(value.to_bytes(widths[name], "little") for value in values), np.uint64)
        for name, values in seen.items()
    }
    np.savez(FOLDER / "outputs.npz", **{name: column.reshape(cycles, -1) for name, column in words.items()})
