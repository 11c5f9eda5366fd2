"""The first divergence of the Verilog from what was expected: cycle, unit, field, both values, a window of ports, a waveform.

A run is repeated from its inputs alone (:class:`Trace`): on the Verilator library for the window, on Icarus for the waveform.
"""

import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from amaranth.lib.wiring import Component

from archsim.contracts.common.layout import Layout
from rtl.build import verilog
from rtl.verilator import require_tools
from rtl.verilator_driver import words_of
from rtl.verilator_library import Library
from tests.rtl.bench import number

WINDOW = 8
"""Cycles that are shown on either side of the divergence."""

LEAD = 64
"""Cycles before the divergence with which the waveform begins."""

WAVES = Path(__file__).parents[3] / "build" / "divergence"
"""Folder of the waveforms."""

PERIOD = 10
"""Nanoseconds of a cycle in a waveform; the clock rises in their middle."""


@dataclass(frozen=True)
class Trace:
    """A run of a unit's Verilog that can be repeated.

    Attributes:
        unit: its name; also that of the module.
        component: the hardware, not yet elaborated elsewhere (its Verilog is written again for the waveform).
        library: the Verilator library of the same Verilog.
        rows: every input in every cycle from power-up on, uint64 [cycles, words], in the order of ``library.inputs``.
        origin: the row that is cycle 0.
        layouts: how to read the payloads of ports, by their names.
    """

    unit: str
    component: Component
    library: Library
    rows: np.ndarray
    origin: int
    layouts: Mapping[str, Layout] = field(default_factory=dict)


class Divergence(AssertionError):
    """A difference between the Verilog and what was expected; the text is the whole report.

    Attributes:
        unit: the unit.
        cycle: the first cycle with a difference.
        field: port, or ``port.field``, that differs in it.
        expected: its value by the law and the stepped model.
        seen: its value in the Verilog.
        wave: the waveform, a VCD file that begins ``LEAD`` cycles before.
        origin: clock cycles before cycle 0 in it, those of the reset among them.
    """

    def __init__(self, trace: Trace, cycle: int, field: str, expected: object, seen: object):
        self.unit, self.cycle, self.field, self.expected, self.seen = trace.unit, cycle, field, expected, seen
        self.wave, self.origin = waveform(trace, cycle), trace.origin
        begin = (trace.origin + cycle) * PERIOD
        super().__init__(
            f"first divergence: cycle {cycle}, unit {self.unit}, field {field}: expected {expected}, seen {seen}\n"
            f"{window(trace, cycle)}\nwaveform: {self.wave} (cycle {cycle} is {begin}..{begin + PERIOD} ns)"
        )


def first_field(layout: Layout, expected: int, seen: int) -> tuple[str, object, object]:
    """Name and both values of the first field (or element, ``name[3]``) in which two payloads differ."""
    one, other = layout.unpack(expected), layout.unpack(seen)
    for name in one:
        ours, theirs = one[name], other[name]
        if isinstance(ours, list):
            for index, (mine, yours) in enumerate(zip(ours, theirs, strict=True)):
                if mine != yours:
                    return f"{name}[{index}]", mine, yours
        elif ours != theirs:
            return name, ours, theirs
    raise AssertionError("the payloads are equal")


def _columns(ports: Mapping[str, int], rows: np.ndarray, layouts: Mapping[str, Layout]) -> dict[str, list[str]]:
    """Values of each port as text, cycle by cycle."""
    found, position = {}, 0
    for name, width in ports.items():
        size = words_of(width)
        values = [number(row[position : position + size]) for row in rows]
        found[name] = [str(layouts[name].unpack(value)) if name in layouts else f"{value:#x}" for value in values]
        position += size
    return found


def window(trace: Trace, cycle: int) -> str:
    """All ports from ``WINDOW`` cycles before to ``WINDOW`` after, a line a port; a value stands where it changes."""
    at = trace.origin + cycle
    rows = np.pad(trace.rows, ((0, max(0, at + WINDOW + 1 - len(trace.rows))), (0, 0)), mode="edge")
    rows = rows[: at + WINDOW + 1]
    trace.library.reset_model()
    out = trace.library.run_rows(rows)
    first = max(0, at - WINDOW)
    columns = _columns(trace.library.inputs, rows[first:], trace.layouts)
    columns |= _columns(trace.library.outputs, out[first:], trace.layouts)
    lines = []
    for name, values in columns.items():
        changes = [
            f"{first + index - trace.origin}: {value}"
            for index, value in enumerate(values) if index == 0 or value != values[index - 1]
        ]  # fmt: skip
        lines.append(f"  {name:<{max(map(len, columns))}}  {', '.join(changes)}")
    cycles = f"cycles {first - trace.origin}..{cycle + WINDOW}"
    return "\n".join([f"ports in {cycles} (cycle: value from there on)", *lines])


def waveform(trace: Trace, cycle: int) -> Path:
    """Repeat the run on Icarus up to ``WINDOW`` cycles after ``cycle``; returns the VCD file."""
    require_tools("iverilog", "vvp")
    WAVES.mkdir(parents=True, exist_ok=True)
    path = WAVES / f"{trace.unit}-{cycle}.vcd"
    at = trace.origin + cycle
    rows = trace.rows[: at + WINDOW + 1]
    with tempfile.TemporaryDirectory(dir=WAVES) as work:
        folder = Path(work)
        (folder / "design.v").write_text(verilog(trace.component, trace.unit))
        (folder / "bench.v").write_text(_bench(trace, len(rows), max(0, at - LEAD)))
        words = ("".join(f"{word:016x}" for word in reversed(row)) for row in rows.tolist())
        (folder / "rows.hex").write_text("\n".join(words) + "\n")
        for command in (
            ["iverilog", "-g2005", "-s", "bench", "-o", "run", "bench.v", "design.v"],
            ["vvp", "-N", "run"],
        ):
            done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            assert done.returncode == 0, f"{command[0]}: {done.stdout}"
        (folder / "wave.vcd").replace(path)
    return path


def _bench(trace: Trace, cycles: int, first: int) -> str:
    """A Verilog module that drives the rows of a file and dumps every signal from row ``first`` on."""
    connections, position = [".clk(clk)"], 0
    for name, width in trace.library.inputs.items():
        # Escaped, because a port may have the name of a keyword: config.
        connections.append(f".\\{name} (inputs[{64 * position} +: {width}])")
        position += words_of(width)
    return f"""\
`timescale 1ns/1ps
module bench;
  reg clk = 0;
  reg [{64 * position - 1}:0] rows [0:{cycles - 1}];
  reg [{64 * position - 1}:0] inputs;
  integer cycle;
  {trace.unit} dut ({", ".join(connections)});
  initial begin
    $readmemh("rows.hex", rows);
    $dumpfile("wave.vcd");
    for (cycle = 0; cycle < {cycles}; cycle = cycle + 1) begin
      inputs = rows[cycle];
      if (cycle == {first}) $dumpvars(0, dut);
      #{PERIOD // 2} clk = 1;
      #{PERIOD // 2} clk = 0;
    end
    $finish;
  end
endmodule
"""
