"""Area, path and energy of units over grids of parameters, from gate-level simulation.

    python -m rtl.characterize [--unit NAME ...] [--liberty FILE...] [--out DIR] | --list | --report

Results stand in ``OUT/LIBRARY.jsonl``, a line a point. A point is computed again only if its Verilog, its stimulus, the library or
this flow has changed, so that a run goes on where the last one ended. ``--report`` fits the laws and writes ``OUT/LIBRARY.md``;
those of the first library of `scaling.LIBRARIES` it also writes as data of the simulator's package (`package.FILE`).
"""

import argparse
import hashlib
import inspect
import json
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from archsim.contracts.common.errors import ArchsimError
from rtl.build import verilog
from rtl.characterize import bench, energy, gates, grid, groups, liberty, scaling, wholes
from rtl.characterize.gates import Netlist
from rtl.characterize.liberty import Power
from rtl.characterize.package import FILE, NATIVE, packaged
from rtl.characterize.report import report
from rtl.characterize.results import place, read, text_of
from rtl.characterize.stimuli import WINDOW, WINDOWS, Stimulus
from rtl.synthesis import cells, library, tools
from rtl.synthesis.library import LIBERTY, Library

FLOW = (bench, energy, gates, groups, liberty, cells, library, tools)
"""Modules whose text is part of a point's key."""


def key_of(code: str, stimulus: Stimulus, text: str, part: str = "") -> str:
    """What a point depends on, as a short hash; ``part``: modules of a whole that are measured (`grid.Grid.part`)."""
    levels = {name: value if isinstance(value, int) else list(value) for name, value in stimulus.levels.items()}
    streams = {name: [list(offers), items] for name, (offers, items) in stimulus.streams.items()}
    given = [levels, streams, dict(stimulus.answers), stimulus.reset, WINDOWS, WINDOW]
    counted = [inspect.getsource(stimulus.counts), stimulus.outputs, [dict(entry) for entry in stimulus.instructions]]
    parts = [code, json.dumps([given, counted]), text, json.dumps(tools.versions())]
    parts += [Path(str(module.__file__)).read_text() for module in FLOW]
    parts += [part, *(Path(str(module.__file__)).read_text() for module in wholes.SOURCES)] if part else []
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def characterise(unit: str, code: str, stimulus: Stimulus, power: Power, part: str = "") -> dict[str, Any]:
    """Synthesis and simulation of one point: area in um2, path in ns, leakage in nW, and each window's counts and energies.

    With ``part`` those of its modules alone, and no path.
    """
    with tempfile.TemporaryDirectory(prefix="characterize-") as name:
        folder = Path(name)
        if part:
            return wholes.measured(unit, part, code, stimulus, power, folder)
        found = cells.synthesise(code, unit, power.library, folder)
        netlist = Netlist.read(unit, folder)
        windows = gates.simulate(unit, netlist, power, stimulus, folder)
    rows = []
    for rate, window, instruction in zip(WINDOWS, windows, stimulus.instructions, strict=True):
        energies = energy.energy_pj(netlist, power, window.values)
        rows.append({
            "rate": rate, "cycles": WINDOW, "counts": {**stimulus.counts(window.taken), **instruction},
            "pj": {kind: round(value, 4) for kind, value in energies.items()},
        })  # fmt: skip
    kept = {name: found[name] for name in ("area_um2", "nand2", "cells", "flip_flops", "critical_path_ns")}
    return kept | {"leakage_nw": round(energy.leakage_nw(netlist, power), 2), "windows": rows}


def measure(units: Sequence[str], power: Power, path: Path, command: str) -> None:
    """Bring the points of ``units`` in ``path`` up to date, one by one; each stands in the file when it is done."""
    rows = {place(row): row for row in read(path)}
    todo = [(unit, point) for unit in units for point in grid.grid_of(unit).points()]
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("points"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("characterising", total=len(todo))
        for unit, point in todo:
            params = grid.DESIGNS[unit].parameters({name: str(value) for name, value in point.items()})
            code, stimulus = verilog(grid.DESIGNS[unit].create(params), unit), grid.GRIDS[unit].stimulus(params)
            part = grid.GRIDS[unit].part
            row = {"unit": unit, "parameters": point, "key": key_of(code, stimulus, power.library.text, part)}
            known = rows.get(place(row), {}).get("key") == row["key"]
            if not known:
                rows[place(row)] = (
                    row
                    | characterise(unit, code, stimulus, power, part)
                    | {"tools": tools.versions(), "library": power.library.hashes, "command": command}
                )
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("".join(json.dumps(rows[key]) + "\n" for key in sorted(rows)))
            print(f"{unit:18} {text_of(point)} {'known' if known else 'measured'}", flush=True)
            bar.advance(task)


def _list() -> Iterator[str]:
    for unit, entry in grid.GRIDS.items():
        points = list(entry.points())
        held = sum(map(entry.held, points))
        axes = "; ".join(f"{name} {', '.join(map(str, values))}" for name, values in entry.axes.items())
        further = len(points) - len(list(entry.combinations()))
        yield f"{unit:18} {len(points):3} points, {held} of them held out: {axes}{f'; {further} larger' if further else ''}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m rtl.characterize", description="Energy and area of units at gate level."
    )
    parser.add_argument("--unit", metavar="NAME", nargs="+", default=[], help="only these units")
    parser.add_argument(
        "--liberty", metavar="FILE", type=Path, nargs="+", default=[LIBERTY],
        help=f"files of one library, .lib or .lib.gz (default {LIBERTY})",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("reports/characterisation"), help="(default %(default)s)"
    )
    parser.add_argument("--list", action="store_true", help="list the units and their grids")
    parser.add_argument(
        "--report", action="store_true", help="only fit the laws to what has been measured, and write their table"
    )
    parser.add_argument(
        "--package", metavar="FILE", type=Path, default=None,
        help="with --report: the data of the simulator's package (default: those of this checkout, for results in the usual place)",
    )
    options = parser.parse_args(arguments)
    given_library = Library(*options.liberty)
    path = options.out / f"{given_library.name}.jsonl"
    try:
        for unit in options.unit:
            grid.grid_of(unit)
        if options.list:
            print("\n".join(_list()))
        elif options.report:
            text = report(read(path), path.name)
            path.with_suffix(".md").write_text(text)
            print(text)
            target = options.package or (FILE if options.out == parser.get_default("out") else None)
            if given_library.name == NATIVE and target:
                results = {name: read(options.out / f"{name}.jsonl") for name in scaling.LIBRARIES}
                target.write_text(json.dumps(packaged(results, path.read_bytes()), indent=1) + "\n")
        else:
            power = Power(given_library)
            # Where the library and the results lie is the user's; what they are is not.
            units = ["--unit", *options.unit] if options.unit else []
            files = ["--liberty", *(file.name for file in options.liberty)] if options.liberty != [LIBERTY] else []
            command = shlex.join(["python", "-m", "rtl.characterize", *units, *files])
            measure(options.unit or list(grid.GRIDS), power, path, command)
    except ArchsimError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
