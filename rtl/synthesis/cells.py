"""Standard cells: area and critical path of a unit. Memories of 1 kbit or more are black boxes.

Their pins become ports of the netlist, so paths begin and end there; a memory's own time is not in the critical path, nor
are wires, clock tree and test logic.
"""

import json
import re
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from archsim.contracts.common.errors import ArchsimError
from rtl.synthesis import tools

LIBERTY = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")
"""Library unless another is given: OSU, 0.18 um, 1.8 V (Debian: qflow-tech-osu018)."""

TARGET_PS = 4000
"""Delay that abc sizes for."""

LOAD_FF = 20.0
"""Load of every output."""

_CELL = re.compile(r"^\s*cell\s*\(\s*\"?(\w+)\"?\s*\)", re.MULTILINE)
_AREA = re.compile(r"\barea\s*:\s*([\d.eE+-]+)")
_FLIP_FLOP = re.compile(r"\bff\s*\(")
_TIME = re.compile(r"time_unit\s*:\s*\"?([\d.]+)\s*(ns|ps)")
_LOAD = re.compile(r"capacitive_load_unit\s*\(\s*([\d.]+)\s*,\s*\"?(pf|ff)", re.IGNORECASE)


@dataclass(frozen=True)
class Library:
    """A Liberty file."""

    path: Path

    @cached_property
    def text(self) -> str:
        """Its content."""
        if not self.path.is_file():
            raise ArchsimError(f"{self.path}: no Liberty file; for Debian: qflow-tech-osu018, or give --liberty FILE")
        return self.path.read_text(errors="replace")

    @cached_property
    def cells(self) -> dict[str, str]:
        """The text of each cell by its name."""
        found = list(_CELL.finditer(self.text))
        ends = [match.start() for match in found[1:]] + [len(self.text)]
        return {match[1]: self.text[match.end() : end] for match, end in zip(found, ends, strict=False)}

    def area(self, name: str) -> float:
        """Area of a cell in the library's unit."""
        return float(_AREA.search(self.cells[name])[1])  # type: ignore[index]

    @cached_property
    def units(self) -> tuple[float, float]:
        """Its unit of time in ns and of capacitance in fF."""
        time, load = _TIME.search(self.text), _LOAD.search(self.text)
        if not time or not load:
            raise ArchsimError(f"{self.path}: time_unit in ns or ps and capacitive_load_unit in pf or ff required")
        nanoseconds = float(time[1]) * (1 if time[2] == "ns" else 1e-3)
        return nanoseconds, float(load[1]) * (1000 if load[2].lower() == "pf" else 1)

    @cached_property
    def flip_flops(self) -> set[str]:
        """Names of the flip-flops."""
        return {name for name, text in self.cells.items() if _FLIP_FLOP.search(text)}

    def smallest(self, pattern: str, what: str) -> str:
        """The smallest cell whose name matches."""
        names = [
            name for name in self.cells if re.search(pattern, name, re.IGNORECASE) and _AREA.search(self.cells[name])
        ]
        if not names:
            raise ArchsimError(f"{self.path}: no {what} found by its name")
        return min(names, key=lambda name: (self.area(name), name))

    @cached_property
    def nand2(self) -> str:
        """The two-input NAND by which areas are stated."""
        return self.smallest(r"nand2(?!\d)", "two-input NAND")

    @cached_property
    def inverter(self) -> str:
        """The inverter that drives every input."""
        return self.smallest(r"inv", "inverter")


def synthesise(code: str, top: str, library: Library, folder: Path) -> dict[str, Any]:
    """Figures of a unit: cells, area in um2 and NAND2, flip-flops, memories, critical path in ns.

    The critical path is None without OpenSTA: abc does not tell its own estimate.
    """
    found = tools.memories(code, top, folder)
    result: dict[str, Any] = {"memories": [{"name": name, **memory} for name, memory in found.items()]}
    if top in found:  # nothing but a memory
        return result | {"cells": 0, "area_um2": 0.0, "nand2": 0, "flip_flops": 0, "critical_path_ns": None}
    (folder / "library.lib").write_text(library.text)
    (folder / "abc.constr").write_text(f"set_driving_cell {library.inverter}\nset_load {LOAD_FF} [all_outputs]\n")
    boxes = " ".join(f"\\{name}" for name, memory in found.items() if tools.is_wrapped(memory))
    tools.yosys(_script(top, boxes), folder)
    stat = json.loads((folder / "stat.json").read_text())["modules"][f"\\{top}"]
    counts = stat["num_cells_by_type"]
    odd = sorted(set(counts) - set(library.cells))
    if odd:
        raise ArchsimError(f"{top}: cells that are not in the library are left: {', '.join(odd)}")
    path = _critical_path(top, library, folder) if shutil.which("sta") else None
    return result | {
        "cells": stat["num_cells"], "area_um2": round(stat["area"], 1),
        "nand2": round(stat["area"] / library.area(library.nand2)),
        "flip_flops": sum(count for name, count in counts.items() if name in library.flip_flops),
        "critical_path_ns": path and round(path, 3),
    }  # fmt: skip


def _script(top: str, boxes: str) -> str:
    """Without ``-constr`` abc would neither buffer nor size anything."""
    box = [f"blackbox {boxes}"] if boxes else []
    evert = ["expose -evert t:*.*", "delete -output w:*.clk w:*.rst"] if boxes else []
    return "\n".join([
        "read_rtlil design.il", *box, f"synth -flatten -top {top}", *evert, "dfflibmap -liberty library.lib",
        f"abc -liberty library.lib -D {TARGET_PS} -constr abc.constr", "setundef -zero", "opt_clean -purge",
        "tee -o stat.json stat -json -liberty library.lib", "write_verilog -noattr -noexpr netlist.v", "",
    ])  # fmt: skip


def _critical_path(top: str, library: Library, folder: Path) -> float:
    """Longest path in ns between registers, ports and pins of memories, flip-flops' own times included."""
    nanoseconds, femtofarads = library.units
    period = 1000 / nanoseconds
    netlist = folder / "netlist.v"
    netlist.write_text(tools.without_concatenations(netlist.read_text()))
    text = tools.opensta(
        f"""read_liberty library.lib
read_verilog netlist.v
link_design {top}
create_clock -name clk -period {period} [get_ports clk]
set_input_delay 0 -clock clk [all_inputs]
set_output_delay 0 -clock clk [all_outputs]
set_driving_cell -lib_cell {library.inverter} [all_inputs]
set_load {LOAD_FF / femtofarads} [all_outputs]
report_checks -path_delay max -digits 4
exit
""",
        folder,
    )
    slack = tools.number(r"(-?[\d.]+)\s+slack", text)
    if slack is None:
        raise ArchsimError(f"{top}: OpenSTA found no path:\n{text[-1500:]}")
    return (period - slack) * nanoseconds
