"""Test support: a stimulus that is known before the run, cycle by cycle, on a Verilator library or with cocotb."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rtl.simulate import Simulator, run_cocotb
from rtl.verilator_library import Library

Ports = Sequence[tuple[str, int]]
Values = Mapping[str, np.ndarray | int]


def stimulus(ports: Ports, phases: Mapping[str, Values], idle: Mapping[str, int]) -> tuple[Values, dict[str, slice]]:
    """Phases of a run, one after the other.

    Args:
        ports: every input, (name, width).
        phases: values by input, an array of cycles or [cycles, words], or one number; an array in each phase at least.
        idle: values of inputs that a phase does not name, 0 where there is none.

    Returns the inputs, uint64 [cycles, words], and the cycles of each phase.
    """
    parts, first = {}, 0
    columns: dict[str, list[np.ndarray]] = {name: [] for name, _ in ports}
    for phase, inputs in phases.items():
        unknown = set(inputs) - set(columns)
        assert not unknown, unknown
        length = max(len(value) for value in inputs.values() if np.ndim(value))
        parts[phase] = slice(first, first + length)
        first += length
        for name, width in ports:
            value = np.asarray(inputs.get(name, idle.get(name, 0))).astype(np.uint64)
            value = value.reshape(length, -1) if value.ndim else np.full((length, 1), value)
            columns[name].append(np.pad(value, ((0, 0), (0, -(-width // 64) - value.shape[1]))))
    return {name: np.concatenate(values) for name, values in columns.items()}, parts


def on_verilator(library: Library, inputs: Values) -> dict[str, np.ndarray]:
    """Every output in every cycle."""
    return library.run({name: value if value.shape[1] > 1 else value[:, 0] for name, value in inputs.items()})


def on_cocotb(
    verilog: Path,
    top: str,
    inputs: Values,
    folder: Path,
    outputs: Ports,
    simulator: Simulator = "icarus",
    every: bool = True,
) -> dict[str, np.ndarray]:
    """Every output in every cycle, through cocotb in ``folder``.

    No output is unknown after the reset, but data before its first read; with ``every`` no register is at the end. Amaranth
    gives every register its reset value at power-up too: without, X shows what the reset forgets, on Icarus.
    """
    np.savez(folder / "stimulus.npz", **inputs)
    initial = re.compile(r"^(  reg (?:\[\d+:0\] )?\S+ *) = \d+'[hd][0-9a-f]+;$", re.M)
    text, count = initial.subn(r"\1;", verilog.read_text())
    path = folder / f"{top}_without_values.v"
    path.write_text(text)
    env = {"SLICE_FOLDER": str(folder), "SLICE_OUTPUTS": " ".join(name for name, _ in outputs)}
    env |= {"SLICE_EVERY": str(int(every)), "SLICE_REGISTERS": str(count if simulator == "icarus" else -1)}
    assert run_cocotb(path, top, "tests.rtl.cocotb_slice", simulator, folder / "sim", env=env) == 1
    with np.load(folder / "outputs.npz") as found:
        return {name: found[name] if found[name].shape[1] > 1 else found[name][:, 0] for name in found}
