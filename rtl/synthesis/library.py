"""Liberty files that are one library: its cells, its units, and what the tools are given of it."""

import gzip
import hashlib
import re
import zlib
from functools import cached_property
from os.path import commonprefix
from pathlib import Path

from archsim.contracts.common.errors import ArchsimError

LIBERTY = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")
"""Library unless another is given: OSU, 0.18 um, 1.8 V (Debian: qflow-tech-osu018)."""

LOAD_FF = 20.0
"""Load of every output in the library of Debian; see `Library.load_ff` for others."""

INVERTER_FF = 9.32456
"""Capacitance of the input of INVX1 of the library of Debian, fF (its Liberty file)."""

SPECIAL = re.compile("lpflow|probe")
"""Cells that are not for logic by their names: isolation and level shifters, probes. The flow of the SkyWater libraries of
OpenROAD-flow-scripts leaves out the same two kinds (DONT_USE_CELLS of its platform sky130hd)."""

_CELL = re.compile(r"^\s*cell\s*\(\s*\"?(\w+)\"?\s*\)", re.MULTILINE)
_AREA = re.compile(r"\barea\s*:\s*([\d.eE+-]+)")
_CAPACITANCE = re.compile(r"(?<!\w)capacitance\s*:\s*([\d.eE+-]+)")
_FLIP_FLOP = re.compile(r"\bff\s*\(")
_TIME = re.compile(r"time_unit\s*:\s*\"?([\d.]+)\s*(ns|ps)")
_LOAD = re.compile(r"capacitive_load_unit\s*\(\s*([\d.]+)\s*,\s*\"?(pf|ff)", re.IGNORECASE)
_BRACE = re.compile("[{}]")


class Library:
    """Liberty files that are one library together, each a text or compressed with gzip."""

    def __init__(self, *paths: Path) -> None:
        self.paths = paths

    @property
    def name(self) -> str:
        """Its name: that of the file, or the beginning that the files' names share."""
        stems = [path.name.removesuffix(".gz").removesuffix(".lib") for path in self.paths]
        return commonprefix(stems).rstrip("_-.") or stems[0]

    def __str__(self) -> str:
        return ", ".join(map(str, self.paths))

    @cached_property
    def texts(self) -> list[str]:
        """The content of each file."""
        return [_content(path) for path in self.paths]

    @property
    def text(self) -> str:
        """The content of all files."""
        return "".join(self.texts)

    @property
    def hashes(self) -> dict[str, str]:
        """The beginning of the SHA-256 of each file's text, by its name."""
        pairs = zip(self.paths, self.texts, strict=True)
        return {path.name: hashlib.sha256(text.encode()).hexdigest()[:16] for path, text in pairs}

    @cached_property
    def files(self) -> dict[str, int]:
        """In which file (its place in ``texts``) each cell is. Raises ArchsimError if two files have the same cell."""
        found: dict[str, int] = {}
        for index, text in enumerate(self.texts):
            for match in _CELL.finditer(text):
                if found.setdefault(match[1], index) != index:
                    raise ArchsimError(f"{self}: required files with different cells, '{match[1]}' is in two of them")
        return found

    @cached_property
    def cells(self) -> dict[str, str]:
        """The text of each cell by its name."""
        cells: dict[str, str] = {}
        for text in self.texts:
            found = list(_CELL.finditer(text))
            ends = [match.start() for match in found[1:]] + [len(text)]
            cells |= {match[1]: text[match.end() : end] for match, end in zip(found, ends, strict=False)}
        return cells

    def area(self, name: str) -> float:
        """Area of a cell in the library's unit."""
        return float(_AREA.search(self.cells[name])[1])  # type: ignore[index]

    @cached_property
    def units(self) -> tuple[float, float]:
        """Unit of time in ns and of capacitance in fF, of its first file."""
        return units(self.texts[0], str(self.paths[0]))

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
            raise ArchsimError(f"{self}: no {what} found by its name")
        return min(names, key=lambda name: (self.area(name), name))

    @cached_property
    def nand2(self) -> str:
        """The two-input NAND by which areas are stated."""
        return self.smallest(r"nand2(?!\d)", "two-input NAND")

    @cached_property
    def inverter(self) -> str:
        """The inverter that drives every input."""
        return self.smallest(r"(?<![a-z])inv", "inverter")

    @cached_property
    def load_ff(self) -> float:
        """Load of every output, fF: as many inputs of its inverter as `LOAD_FF` is in the library of Debian."""
        found = _CAPACITANCE.findall(self.cells[self.inverter])
        if not found:
            raise ArchsimError(f"{self}, cell {self.inverter}: required the capacitance of its input, given none")
        _, femtofarads = units(self.texts[self.files[self.inverter]], str(self))
        return round(LOAD_FF * max(map(float, found)) * femtofarads / INVERTER_FF, 6)

    @cached_property
    def for_tools(self) -> dict[str, str]:
        """What the tools read, by file: ``functions.lib`` without timing and power, and for timing the rest of the files."""
        files = {}
        for index, text in enumerate(self.texts):
            timed = without(text, "internal_power|leakage_power")
            for match in reversed(list(_CELL.finditer(timed))):
                if SPECIAL.search(match[1]):
                    timed = timed[: match.start()] + timed[_end(timed, timed.index("{", match.end()) + 1) :]
            files[f"timing{index}.lib"] = timed
        cells = [f"cell ({name}) {_group(text)}" for name, text in self.cells.items() if not SPECIAL.search(name)]
        plain = without("\n".join(cells), "internal_power|leakage_power|timing|pg_pin")
        return files | {"functions.lib": f"library (functions) {{\n{plain}\n}}\n"}

    def write(self, folder: Path) -> list[str]:
        """Write `for_tools` to a folder; the names of the files for timing."""
        for name, text in self.for_tools.items():
            (folder / name).write_text(text)
        return [name for name in self.for_tools if name.startswith("timing")]


def units(text: str, where: str) -> tuple[float, float]:
    """Unit of time in ns and of capacitance in fF of a Liberty file. Raises ArchsimError if it does not say."""
    time, load = _TIME.search(text), _LOAD.search(text)
    if not time or not load:
        raise ArchsimError(f"{where}: time_unit in ns or ps and capacitive_load_unit in pf or ff required")
    nanoseconds = float(time[1]) * (1 if time[2] == "ns" else 1e-3)
    return nanoseconds, float(load[1]) * (1000 if load[2].lower() == "pf" else 1)


def without(text: str, names: str) -> str:
    """A Liberty text without the groups of these names (alternatives of a regular expression), and what is in them."""
    pieces, at = [], 0
    for match in re.finditer(rf"\b(?:{names})\s*\([^)]*\)\s*\{{", text):
        if match.start() >= at:
            pieces.append(text[at : match.start()])
            at = _end(text, match.end())
    return "".join([*pieces, text[at:]])


def _group(text: str) -> str:
    """The group in braces with which a text begins."""
    return text[text.index("{") : _end(text, text.index("{") + 1)]


def _end(text: str, start: int) -> int:
    """The place behind the brace that closes the group whose content begins at ``start``; the end if there is none."""
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return brace.end()
    return len(text)


def _content(path: Path) -> str:
    """A file's text. Raises ArchsimError if there is none, or it is not what its name says."""
    if not path.is_file():
        raise ArchsimError(f"{path}: no Liberty file; for Debian: qflow-tech-osu018, or give --liberty FILE...")
    if path.suffix != ".gz":
        return path.read_text(errors="replace")
    try:
        return gzip.decompress(path.read_bytes()).decode(errors="replace")
    except (OSError, EOFError, zlib.error) as error:
        raise ArchsimError(f"{path}: required a file compressed with gzip, given something else ({error})") from error
