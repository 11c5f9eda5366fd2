"""The Icarus test bench of a unit: it drives a stimulus and prints every port, and the pins of its memories, in every cycle."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from archsim.contracts.common.errors import ArchsimError
from rtl.build import CLOCK, RESET
from rtl.characterize.stimuli import Stimulus

KEYWORDS = {"config", "event"}
"""Ports whose names are keywords of SystemVerilog."""

Ports = Mapping[str, tuple[str, list[int | str]]]
"""Direction and nets of each port of a netlist; a name with a dot is a pin of a memory."""


class Bench:
    """The test bench of the Verilog: its text, and hexadecimal files of a stimulus."""

    def __init__(self, top: str, ports: Ports, names: list[str], stimulus: Stimulus) -> None:
        self.top, self.ports, self.names, self.stimulus = top, ports, names, stimulus
        self.inputs = {
            name: len(bits) for name, (direction, bits) in ports.items() if direction == "input" and "." not in name
        }
        others = {CLOCK, RESET, *stimulus.answers}
        self.levels = [name for name in self.inputs if name not in others and not self._stream_of(name)]
        missing = sorted(set(self.levels) - set(stimulus.levels))
        if missing:
            raise ArchsimError(f"{top}: no stimulus for the inputs {', '.join(missing)}")

    def _stream_of(self, port: str) -> str:
        stream = port.rpartition("__")[0]
        return stream if stream in self.stimulus.streams and port.endswith(("__valid", "__payload")) else ""

    def write(self, folder: Path) -> None:
        """Write ``bench.v`` and the files that it reads."""
        for name, items in self.stimulus.items.items():
            (folder / f"{name}.hex").write_text("".join(f"{item:x}\n" for window in items for item in [*window, 0]))
        rows = []
        for cycle in range(self.stimulus.cycles):
            row, shift = 0, 0
            for name in self.levels:
                row |= self.stimulus.level(name, cycle) << shift
                shift += self.inputs[name]
            for offers, _ in self.stimulus.streams.values():
                row |= int(offers[cycle]) << shift
                shift += 1
            rows.append(f"{row:x}\n")
        (folder / "cycles.hex").write_text("".join(rows))
        (folder / "bench.v").write_text("\n".join(self._lines()) + "\n")

    def _lines(self) -> Iterator[str]:
        """The text of the bench: in each cycle, print, then drive new inputs at the edge."""
        width = sum(self.inputs[name] for name in self.levels) + len(self.stimulus.streams)
        cycles, edges = self.stimulus.cycles, self.stimulus.edges
        yield f"module bench;\n  reg [{width - 1}:0] rows [0:{cycles - 1}]; reg [{width - 1}:0] row; integer cycle;"
        for name, bits in self.inputs.items():
            yield f"  reg [{bits - 1}:0] {_escape(name)} = {int(name == RESET)};"
        for name, items in self.stimulus.items.items():
            port = f"{name}__payload" if name in self.stimulus.streams else name
            bits, size = self.inputs[port], sum(len(window) + 1 for window in items)
            yield f"  reg [{bits - 1}:0] items_{name} [0:{size - 1}]; reg free_{name};"
            yield f"  integer next_{name} = 0, taken_{name} = 0;"
        yield f"  {self.top} rtl({', '.join(f'.{_escape(name)}({_escape(name)})' for name in self.inputs)});"
        yield '  initial begin\n    $readmemh("cycles.hex", rows);'
        yield from (f'    $readmemh("{name}.hex", items_{name});' for name in self.stimulus.items)
        counts = ", ".join(f"taken_{name}" for name in self.stimulus.items)
        report = f'$display("taken{" %0d" * len(self.stimulus.items)}", {counts})'
        yield f"    for (cycle = 0; cycle < {cycles}; cycle = cycle + 1) begin\n      #4;"
        yield f"      if ({' || '.join(f'cycle == {edge}' for edge in edges[:-1])}) {report};"
        yield f'      $display("{"%b" * len(self.names)}", {", ".join(map(_inside, self.names))});'
        for name, items in self.stimulus.items.items():
            for index, edge in enumerate(edges[:-1]):
                start = sum(len(window) + 1 for window in items[: index + 1])
                yield f"      if (cycle == {edge}) next_{name} = {start};"
        yield "      row = rows[cycle];"
        yield from self._drive()
        yield f"      clk = 1; rst <= cycle < {self.stimulus.reset - 1};\n      #5 clk = 0; #1;\n    end"
        yield f"    {report}; $finish;\n  end\nendmodule"

    def _drive(self) -> Iterator[str]:
        """New inputs: levels as given; a stream offers its next item and holds it until it is taken; a read gets its word."""
        shift = 0
        for name in self.levels:
            yield f"      {_escape(name)} <= row[{shift + self.inputs[name] - 1}:{shift}];"
            shift += self.inputs[name]
        for stream in self.stimulus.streams:
            ready = f"rtl.{stream}__ready" if f"{stream}__ready" in self.ports else "1'b1"
            yield f"      if ({stream}__valid && {ready}) taken_{stream} = taken_{stream} + 1;"
            yield f"      free_{stream} = !{stream}__valid || {ready};"
            yield f"      if (free_{stream}) begin\n        {stream}__valid <= row[{shift}];"
            offer = f"{stream}__payload <= items_{stream}[next_{stream}]; next_{stream} = next_{stream} + 1;"
            yield f"        if (row[{shift}]) begin {offer} end"
            yield "      end"
            shift += 1
        for name, (asked, _) in self.stimulus.answers.items():
            yield f"      if ({' && '.join(map(_inside, asked))}) begin"
            yield f"        {_escape(name)} <= items_{name}[next_{name}];"
            yield f"        next_{name} = next_{name} + 1; taken_{name} = taken_{name} + 1;\n      end"


def _inside(name: str) -> str:
    """A port of the netlist within the Verilog: ``weight_0.read__data`` is a pin of a memory."""
    return ".".join(["rtl", *map(_escape, name.split("."))])


def _escape(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) and name not in KEYWORDS else f"\\{name} "
