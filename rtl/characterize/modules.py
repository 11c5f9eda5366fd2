"""A whole design at gate level in which every cell knows the module it came from, and its run in stretches of cycles.

Each module is synthesised by itself, and only then is the design made flat; constants, and what nobody reads, still pass between
modules before (``-hieropt`` of yosys), so that the whole is nearly as small as one that was flat from the beginning.
Memories are black boxes as in `rtl.synthesis.cells`: their pins are ports of the netlist.

Synthesis, netlist and C of single units (`rtl.synthesis.cells`, `rtl.characterize.gates`) are used as they are: their text is part
of the key of every point that was measured, so that a change there would have all of them measured again.
"""

import ctypes
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError
from rtl.characterize.gates import Netlist
from rtl.characterize.liberty import Power
from rtl.synthesis import tools
from rtl.synthesis.cells import TARGET_PS
from rtl.synthesis.library import Library

OWNER = "owner"
"""Attribute by which yosys keeps the module of a cell."""

TOP = ""
"""Path of the design itself."""

SETTLE = "opt -hier\nopt -hier"
"""What takes registers away whose bits nobody reads outside of their module, where the first pass has not."""

_COMPILER = "gcc"

_MODULE = re.compile(r"^(?=module \\?([^\s(]+))(.*?^endmodule)", re.MULTILINE | re.DOTALL)
"""A module of a Verilog text: name and text."""

_FRESH = "  memset(n, 0, sizeof n); memset(s, 0, sizeof s);\n"
"""The line of the C of `Netlist.code` that begins every run anew."""


@dataclass(frozen=True)
class Modular:
    """A netlist and where its cells came from.

    Attributes:
        netlist: the cells.
        owners: of each cell the path of its module within the design; `TOP` for the design's own.
    """

    netlist: Netlist
    owners: tuple[str, ...]

    @classmethod
    def read(cls, top: str, folder: Path) -> "Modular":
        """The netlist that `synthesise` left in ``folder``. Raises ArchsimError if a cell has lost its module."""
        module = json.loads((folder / "netlist.json").read_text())["modules"][top]
        paths = [cell["attributes"].get(OWNER, "") for cell in module["cells"].values()]
        lost = sum(path != top and not path.startswith(f"{top}.") for path in paths)
        if lost:
            raise ArchsimError(f"{top}: required a module of it for every cell, given {lost} cells without; synthesise again")
        return cls(Netlist.read(top, folder), tuple(path.removeprefix(top).removeprefix(".") for path in paths))


def synthesise(code: str, top: str, library: Library, folder: Path, again: str = "") -> float:
    """Leave in ``folder`` the netlist of module ``top`` of a Verilog text, module by module; returns the area of its cells, um2.

    ``again``: commands behind the synthesis, for what a small design has left between its modules (`SETTLE`).

    Raises ArchsimError when yosys fails, and when cells are left that are not in the library.
    """
    found = tools.memories(within(code, top), top, folder)
    timing = library.write(folder)
    (folder / "abc.constr").write_text(f"set_driving_cell {library.inverter}\nset_load {library.load_ff} [all_outputs]\n")
    boxes = [name for name, memory in found.items() if tools.is_wrapped(memory)]
    modules = [name for name in json.loads((folder / "design.json").read_text())["modules"] if name not in boxes]
    tools.yosys(_script(top, modules, boxes, timing, again), folder)
    stat = json.loads((folder / "stat.json").read_text())["modules"][f"\\{top}"]
    odd = sorted(set(stat["num_cells_by_type"]) - set(library.cells))
    if odd:
        raise ArchsimError(f"{top}: cells that are not in the library are left: {', '.join(odd)}")
    return float(stat["area"])


def within(code: str, top: str) -> str:
    """Module ``top`` of a Verilog text by `rtl.build`, and the modules in it, whose names begin with its own.

    Yosys takes minutes to read a model of DRAM that it is not asked for.
    """
    own = [text for name, text in _MODULE.findall(code) if name == top or name.startswith(f"{top}.")]
    return "\n".join([*own, ""])


def _script(top: str, modules: Sequence[str], boxes: Sequence[str], timing: Sequence[str], again: str) -> str:
    """The flow of `rtl.synthesis.cells`, flat at the end in place of the beginning."""
    box = ["blackbox " + " ".join(f"\\{name}" for name in boxes)] if boxes else []
    evert = ["expose -evert t:*.*", "delete -output w:*.clk w:*.rst"] if boxes else []
    return "\n".join([
        "read_rtlil design.il", *box, f"synth -hieropt -top {top}", *([again] if again else []), "dfflibmap -liberty functions.lib",
        f"abc {' '.join(f'-liberty {name}' for name in timing)} -D {TARGET_PS} -constr abc.constr", "setundef -zero",
        *(f'setattr -set {OWNER} "{name}" \\{name}/c:*' for name in modules),
        "flatten", "opt_clean -purge", *evert, "opt_clean -purge",
        "tee -o stat.json stat -json -liberty functions.lib", "write_json netlist.json", "",
    ])  # fmt: skip


class Program:
    """A netlist as a program that goes on where it was: cycles in, the values of all nets out. All states are 0 at first.

    Args:
        netlist: the cells.
        power: their library.
        folder: for C and library; no other program's, since a library of the same path is loaded only once in a process.
        inputs: the nets that are given in every cycle.

    Raises ArchsimError without a compiler.
    """

    def __init__(self, netlist: Netlist, power: Power, folder: Path, inputs: Sequence[int]) -> None:
        if not shutil.which(_COMPILER):
            raise ArchsimError(f"{_COMPILER}: required for gate-level simulation and not found; for Debian: apt-get install gcc")
        code = netlist.code(power)
        assert code.count(_FRESH) == 1, "the C of a netlist begins its runs in another way"
        (folder / "program.c").write_text(code.replace(_FRESH, ""))
        command = [_COMPILER, "-O0", "-shared", "-fPIC", "-o", "program.so", "program.c"]
        done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise ArchsimError(f"{_COMPILER} failed with status {done.returncode}:\n{done.stdout[-1500:]}")
        self._library = ctypes.CDLL(str(folder / "program.so"))
        self._nets, self._inputs = netlist.nets, np.array(inputs, np.int32)

    def run(self, given: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Value of each net in each cycle, uint8 [cycles, nets], from those of the inputs, uint8 [cycles, inputs]."""
        if given.ndim != 2 or given.shape[1] != len(self._inputs):
            raise ArchsimError(f"inputs of a netlist: required [cycles, {len(self._inputs)}], given {list(given.shape)}")
        rows, values = np.ascontiguousarray(given, np.uint8), np.zeros((len(given), self._nets), np.uint8)
        nets, source, target = (ctypes.c_void_p(array.ctypes.data) for array in (self._inputs, rows, values))
        self._library.run(ctypes.c_long(len(rows)), len(self._inputs), nets, source, target)
        return values
