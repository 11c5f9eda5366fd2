"""Synthesis of the units: standard cells and ECP5, as tables.

    python -m rtl.synthesis [--chip PRESET|FILE] [--unit NAME ...] [--top] [--place] [--liberty FILE...] [--out DIR]

Without ``--chip`` each unit has its default parameters. ``--top`` adds the whole chip. Results are kept in ``OUT/cache`` by the
content of Verilog, library and tools, so that a run goes on where the last one ended. ``OUT/NAME.json`` and ``OUT/NAME.md``
(NAME: the chip's, or ``defaults``) hold what was asked for last.
"""

import argparse
import inspect
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from amaranth.lib.wiring import Component

from archsim.contracts.common.errors import ArchsimError
from rtl.build import UNITS, chosen, ports, verilog
from rtl.chip import Chip
from rtl.synthesis import cells, ecp5, tools
from rtl.synthesis.library import LIBERTY, Library
from rtl.synthesis.report import TOP, report


def designs(chip: str | None, units: Sequence[str], top: bool) -> dict[str, Any]:
    """Parameters of the designs by name; raises ArchsimError for what is unknown."""
    if top and chip is None:
        raise ArchsimError("--top is a whole chip: give --chip too")
    found = chosen(None, chip, {}) if chip and not units else {}
    for unit in units or ([] if chip else UNITS):
        found |= chosen(unit, chip, {})
    if TOP not in units:
        found.pop(TOP, None)
    return found | ({TOP: chosen("core", chip, {})["core"]} if top else {})


def create(name: str, params: Any) -> Component:
    """The component of a design."""
    return Chip(params) if name == TOP else UNITS[name].create(params)


def synthesise(name: str, component: Component, library: Library, out: Path, place: bool) -> dict[str, Any]:
    """All figures of one design; what has been computed before is read."""
    code, versions = verilog(component, name), json.dumps(tools.versions())
    result: dict[str, Any] = {}

    def step(part: str, flow: ModuleType, keys: list[str], compute: Callable[[Path], dict[str, Any]]) -> None:
        begin = time.monotonic()
        parts = [part, name, code, versions, inspect.getsource(flow), *keys]
        result[part], known = tools.kept(out, parts, compute)
        print(f"{name:16} {part:7} {'known' if known else f'{time.monotonic() - begin:.0f} s'}", flush=True)

    step("cells", cells, [library.text], lambda folder: cells.synthesise(code, name, library, folder))
    step("ecp5", ecp5, [], lambda folder: ecp5.synthesise(code, name, folder))
    if place:
        device = ecp5.device_of(result["ecp5"])
        listed = ports(component)
        step("placed", ecp5, [device.option], lambda folder: ecp5.place(code, name, listed, device, folder))
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m rtl.synthesis", description="Area and frequency of the units.")
    parser.add_argument("--chip", metavar="PRESET|FILE", help="parameters of this chip (default: those of each unit)")
    parser.add_argument("--unit", metavar="NAME", nargs="+", default=[], help="only these units")
    parser.add_argument("--top", action="store_true", help="the whole chip too")
    parser.add_argument("--place", action="store_true", help="place and route on an ECP5 too")
    parser.add_argument(
        "--liberty", metavar="FILE", type=Path, nargs="+", default=[LIBERTY],
        help=f"files of one library, .lib or .lib.gz (default {LIBERTY})",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("reports/synthesis"), help="(default %(default)s)"
    )
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(given)
    try:
        library, found = Library(*options.liberty), designs(options.chip, options.unit, options.top)
        files = ", ".join(path.name for path in library.paths)
        head = {"name": files, "nand2": library.nand2, "nand2_um2": library.area(library.nand2)}
        results = [
            {
                "unit": name, "parameters": asdict(params),
                **synthesise(name, create(name, params), library, options.out, options.place),
            }
            for name, params in found.items()
        ]  # fmt: skip
    except ArchsimError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    run = {
        "command": shlex.join(["python", "-m", "rtl.synthesis", *given]), "tools": tools.versions(), "chip": options.chip,
        "library": head,
    }  # fmt: skip
    text = report(run, results)
    name = Path(options.chip).stem if options.chip else "defaults"
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{name}.json").write_text(json.dumps({"run": run, "results": results}, indent=1) + "\n")
    (options.out / f"{name}.md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
