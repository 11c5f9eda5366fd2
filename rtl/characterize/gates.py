"""Gate-level simulation: the netlist replays what the Verilog did, and every net's toggles are counted.

The Verilog runs in Icarus under the stimulus; its inputs and what its memories read go to the netlist, compiled to C in the
order of its cells, and every output and every pin of a memory must be equal in every cycle, where the Verilog defines it. Cells
have no delay: a net toggles at most once a cycle, glitches are not counted.
"""

import ctypes
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError
from rtl.build import CLOCK
from rtl.characterize.bench import Bench
from rtl.characterize.liberty import Power, expression
from rtl.characterize.stimuli import Stimulus


@dataclass(frozen=True)
class Netlist:
    """A netlist of cells; nets are numbers, constants texts.

    Attributes:
        cells: type and connections (pin to net) of each cell.
        ports: direction and nets of each port; a name with a dot is a pin of a memory.
    """

    cells: list[tuple[str, dict[str, int | str]]]
    ports: dict[str, tuple[str, list[int | str]]]

    @classmethod
    def read(cls, top: str, folder: Path) -> "Netlist":
        """The netlist that synthesis left in ``folder``."""
        module = json.loads((folder / "netlist.json").read_text())["modules"][top]
        cells = [
            (cell["type"], {pin: bits[0] for pin, bits in cell["connections"].items() if bits})
            for cell in module["cells"].values()
        ]
        return cls(cells, {name: (port["direction"], port["bits"]) for name, port in module["ports"].items()})

    @property
    def nets(self) -> int:
        """One more than the greatest number of a net."""
        every = [
            *(bit for _, bits in self.ports.values() for bit in bits),
            *(bit for _, pins in self.cells for bit in pins.values()),
        ]
        return 1 + max(bit for bit in every if isinstance(bit, int))

    def code(self, power: Power) -> str:
        """C that runs the netlist: a statement a cell, each behind those that drive it, then the flip-flops."""
        driver = {
            pins[pin]: index
            for index, (kind, pins) in enumerate(self.cells)
            for pin in power.cell(kind).outputs
            if pin in pins
        }
        waits: dict[int, list[int]] = {}
        flip_flops = []
        for index, (kind, pins) in enumerate(self.cells):
            cell = power.cell(kind)
            if cell.flip_flop:
                flip_flops.append(index)
                continue
            before = [driver.get(bit) for pin, bit in pins.items() if pin not in cell.outputs]
            waits[index] = [
                other for other in before if other is not None and not power.cell(self.cells[other][0]).flip_flop
            ]
        try:
            order = list(TopologicalSorter(waits).static_order())
        except CycleError as error:
            raise ArchsimError(f"netlist: a loop of cells without a flip-flop: {error.args[1][:4]}") from error
        logic = [line for index in order for line in _statements(*self.cells[index], power)]
        next_states = [f"    s[{place}] = {self._next_state(index, place, power)};" for place, index in enumerate(flip_flops)]
        states = [line for place, index in enumerate(flip_flops) for line in self._outputs(index, place, power)]
        return _C.format(
            nets=self.nets, states=max(1, len(flip_flops)), logic="\n".join(logic),
            next="\n".join(next_states), out="\n".join(states),
        )  # fmt: skip

    def _next_state(self, index: int, place: int, power: Power) -> str:
        kind, pins = self.cells[index]
        function, _, true, false = power.cell(kind).flip_flop  # type: ignore[misc]
        return _c(function, pins, {true: f"s[{place}]", false: f"(1 ^ s[{place}])"})

    def _outputs(self, index: int, place: int, power: Power) -> Iterator[str]:
        kind, pins = self.cells[index]
        cell = power.cell(kind)
        _, _, true, false = cell.flip_flop  # type: ignore[misc]
        for pin, entry in cell.outputs.items():
            if pin in pins:
                yield f"    n[{pins[pin]}] = {'' if entry.function.strip() == true else '1 ^ '}s[{place}];"


_C = """#include <string.h>
static unsigned char n[{nets}], s[{states}];
static void logic(void) {{
{logic}
}}
void run(long cycles, int inputs, const int *in_net, const unsigned char *in, unsigned char *out) {{
  memset(n, 0, sizeof n); memset(s, 0, sizeof s);
  for (long c = 0; c < cycles; c++) {{
    for (int i = 0; i < inputs; i++) n[in_net[i]] = *in++;
    logic();
    memcpy(out, n, sizeof n);
    out += sizeof n;
{next}
{out}
  }}
}}
"""


def _c(function: str, pins: dict[str, int | str], states: Mapping[str, str] = MappingProxyType({})) -> str:
    """A function of a cell over the nets at its pins and the states of a flip-flop; constants stand as they are."""

    def net(match: re.Match[str]) -> str:
        if match[0] in states:
            return states[match[0]]
        bit = pins.get(match[0], "0")
        return f"n[{bit}]" if isinstance(bit, int) else "1" if bit == "1" else "0"

    return "1 & (" + re.sub(r"[A-Za-z_]\w*", net, expression(function)) + ")"


def _statements(kind: str, pins: dict[str, int | str], power: Power) -> Iterator[str]:
    for pin, entry in power.cell(kind).outputs.items():
        if pin in pins:
            yield f"  n[{pins[pin]}] = {_c(entry.function, pins)};"


@dataclass(frozen=True)
class Window:
    """What happened in one window.

    Attributes:
        values: of each net at the end of the cycle before the window and of each of its cycles, [cycles + 1, nets], 0 or 1.
        taken: the items that were taken from each stream, read as each answer, and taken from each output that is counted.
    """

    values: NDArray[np.uint8]
    taken: dict[str, list[int]]


def simulate(top: str, netlist: Netlist, power: Power, stimulus: Stimulus, folder: Path) -> list[Window]:
    """Run the stimulus on ``design.v`` and ``netlist`` in ``folder``; a window for each of the stimulus.

    Raises ArchsimError when a tool is missing or fails, and when the netlist differs from the Verilog in any cycle.
    """
    names = [name for name in netlist.ports if name not in (CLOCK,)]
    lines = _verilog(top, netlist, names, stimulus, folder)
    rows = [line for line in lines if line[0] in "01xz"]
    if len(rows) != stimulus.cycles:
        raise ArchsimError(f"{top}: the Verilog stopped in cycle {len(rows)} of {stimulus.cycles}: {lines[-1][:200]}")
    # What a memory shows before it is read for the first time is undefined: 0 for the netlist, and not compared.
    printed = np.array([np.frombuffer(row.encode(), np.uint8) for row in rows])
    trace = (printed == ord("1")).astype(np.uint8)
    inputs: list[tuple[int, int]] = []  # column of the trace, net
    outputs: list[tuple[int, int]] = []
    column = 0
    for name in names:
        direction, bits = netlist.ports[name]
        for bit in reversed(bits):  # the highest bit is printed first
            if isinstance(bit, int):
                (inputs if direction == "input" else outputs).append((column, bit))
            column += 1
    values = _run(netlist, power, trace, inputs, folder)
    # In the first cycle registers have what they began with, of which a netlist knows nothing; then the reset has come.
    seen, expected = values[1:, [net for _, net in outputs]], printed[1:, [place for place, _ in outputs]]
    wrong = np.argwhere((seen + ord("0") != expected) & (expected != ord("x")))
    if len(wrong):
        raise ArchsimError(
            f"{top}: the netlist differs from the Verilog in {len(wrong)} bits, first in cycle {wrong[0][0] + 1}"
        )
    totals = np.array([[int(number) for number in line.split()[1:]] for line in lines if line.startswith("taken")])
    windows = []
    for index, (counts, (begin, end)) in enumerate(zip(np.diff(totals, axis=0), pairwise(stimulus.edges), strict=True)):
        sources = zip(stimulus.items.items(), counts, strict=True)
        taken = {name: items[index + 1][:count] for (name, items), count in sources}
        taken |= {name: _given(netlist, names, name, rows[begin:end]) for name in stimulus.outputs}
        windows.append(Window(values[begin - 1 : end], taken))
    return windows


def _given(netlist: Netlist, names: list[str], stream: str, rows: list[str]) -> list[int]:
    """Items of an output stream that were taken in the cycles of ``rows``, lines of the bits of the ports ``names``."""
    bounds = np.cumsum([0, *(len(netlist.ports[name][1]) for name in names)]).tolist()
    place = {name: slice(*bounds[index : index + 2]) for index, name in enumerate(names)}
    marks = [place[f"{stream}__{mark}"] for mark in ("valid", "ready") if f"{stream}__{mark}" in place]
    payload = place[f"{stream}__payload"]
    return [int(row[payload].replace("x", "0"), 2) for row in rows if all(row[mark] == "1" for mark in marks)]


def _run(
    netlist: Netlist, power: Power, trace: NDArray[np.uint8], inputs: list[tuple[int, int]], folder: Path
) -> NDArray[np.uint8]:
    """Value of each net of the netlist in each cycle, [cycles, nets]."""
    (folder / "netlist.c").write_text(netlist.code(power))
    _call("gcc", ["gcc", "-O0", "-shared", "-fPIC", "-o", "netlist.so", "netlist.c"], folder)
    library = ctypes.CDLL(str(folder / "netlist.so"))
    values = np.zeros((len(trace), netlist.nets), np.uint8)
    given = np.ascontiguousarray(trace[:, [place for place, _ in inputs]])
    nets = np.array([net for _, net in inputs], np.int32)

    def at(array: NDArray[np.generic]) -> ctypes.c_void_p:
        return ctypes.c_void_p(array.ctypes.data)

    library.run(ctypes.c_long(len(trace)), len(inputs), at(nets), at(given), at(values))
    return values


def _verilog(top: str, netlist: Netlist, names: list[str], stimulus: Stimulus, folder: Path) -> list[str]:
    """What the bench of the Verilog prints: a line of bits a cycle (ports ``names``), and the items taken at each edge."""
    Bench(top, netlist.ports, names, stimulus).write(folder)
    _call("iverilog", ["iverilog", "-g2012", "-o", "bench.vvp", "-s", "bench", "bench.v", "design.v"], folder)
    return _call("iverilog", ["vvp", "-n", "bench.vvp"], folder).splitlines()


def _call(tool: str, command: list[str], folder: Path) -> str:
    """Run a command; ``tool`` is the Debian package to install where it is missing."""
    if not shutil.which(command[0]):
        raise ArchsimError(
            f"{command[0]}: required for gate-level simulation and not found; for Debian: apt-get install {tool}"
        )
    done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise ArchsimError(f"{command[0]} failed with status {done.returncode}:\n{done.stdout[-1500:]}")
    return done.stdout
