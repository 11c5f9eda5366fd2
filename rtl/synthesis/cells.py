"""Standard cells: area and critical path of a unit. Memories of 1 kbit or more are black boxes.

Their pins become ports of the netlist, so paths begin and end there; a memory's own time is not in the critical path, nor
are wires, clock tree and test logic.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from archsim.contracts.common.errors import ArchsimError
from rtl.synthesis import tools
from rtl.synthesis.library import Library

TARGET_PS = 4000
"""Delay that abc sizes for."""

def synthesise(code: str, top: str, library: Library, folder: Path) -> dict[str, Any]:
    """Figures of a unit: cells, area in um2 and NAND2, flip-flops, memories, critical path in ns.

    The critical path is None without OpenSTA: abc does not tell its own estimate.
    """
    found = tools.memories(code, top, folder)
    result: dict[str, Any] = {"memories": [{"name": name, **memory} for name, memory in found.items()]}
    if top in found:  # nothing but a memory
        return result | {"cells": 0, "area_um2": 0.0, "nand2": 0, "flip_flops": 0, "critical_path_ns": None}
    timing = library.write(folder)
    load = f"set_load {library.load_ff} [all_outputs]"
    (folder / "abc.constr").write_text(f"set_driving_cell {library.inverter}\n{load}\n")
    boxes = " ".join(f"\\{name}" for name, memory in found.items() if tools.is_wrapped(memory))
    tools.yosys(_script(top, boxes, timing), folder)
    stat = json.loads((folder / "stat.json").read_text())["modules"][f"\\{top}"]
    counts = stat["num_cells_by_type"]
    odd = sorted(set(counts) - set(library.cells))
    if odd:
        raise ArchsimError(f"{top}: cells that are not in the library are left: {', '.join(odd)}")
    path = _critical_path(top, library, timing, folder) if shutil.which("sta") else None
    return result | {
        "cells": stat["num_cells"], "area_um2": round(stat["area"], 1),
        "nand2": round(stat["area"] / library.area(library.nand2)),
        "flip_flops": sum(count for name, count in counts.items() if name in library.flip_flops),
        "critical_path_ns": path and round(path, 3),
    }  # fmt: skip


def _script(top: str, boxes: str, timing: list[str]) -> str:
    """Without ``-constr`` abc would neither buffer nor size anything."""
    box = [f"blackbox {boxes}"] if boxes else []
    evert = ["expose -evert t:*.*", "delete -output w:*.clk w:*.rst"] if boxes else []
    return "\n".join([
        "read_rtlil design.il", *box, f"synth -flatten -top {top}", *evert, "dfflibmap -liberty functions.lib",
        f"abc {' '.join(f'-liberty {name}' for name in timing)} -D {TARGET_PS} -constr abc.constr",
        "setundef -zero", "opt_clean -purge",
        "tee -o stat.json stat -json -liberty functions.lib", "write_verilog -noattr -noexpr netlist.v",
        "write_json netlist.json", "",
    ])  # fmt: skip


def _critical_path(top: str, library: Library, timing: list[str], folder: Path) -> float:
    """Longest path in ns between registers, ports and pins of memories, flip-flops' own times included."""
    nanoseconds, femtofarads = library.units
    period = 1000 / nanoseconds
    read = "\n".join(f"read_liberty {name}" for name in timing)
    netlist = folder / "netlist.v"
    netlist.write_text(tools.without_concatenations(netlist.read_text()))
    text = tools.opensta(
        f"""{read}
read_verilog netlist.v
link_design {top}
create_clock -name clk -period {period} [get_ports clk]
set_input_delay 0 -clock clk [all_inputs]
set_output_delay 0 -clock clk [all_outputs]
set_driving_cell -lib_cell {library.inverter} [all_inputs]
set_load {library.load_ff / femtofarads} [all_outputs]
report_checks -path_delay max -digits 4
exit
""",
        folder,
    )
    slack = tools.number(r"(-?[\d.]+)\s+slack", text)
    if slack is None:
        raise ArchsimError(f"{top}: OpenSTA found no path:\n{text[-1500:]}")
    return (period - slack) * nanoseconds
