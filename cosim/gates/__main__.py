"""One digit on the chip's gates, and what the simulator says of the same run: energy of the logic by unit.

    python -m cosim.gates [--chip PRESET|FILE] [--workload FILE] [--image N] [--liberty FILE...] [--out PATH]
    python -m cosim.gates --simulator [--out PATH]
    python -m cosim.gates --report [--out PATH]

Writes ``PATH.json``, the results, and ``PATH.md``, their table; with ``--report`` only the table. With ``--simulator`` the run on
gates is that of the results, and only the simulator's side is made again, in seconds. See docs/decisions/0036 and 0045.
"""

import argparse
import json
import math
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.program import Program
from archsim.counters import add, tally
from archsim.energy.model import energy_pj
from archsim.results import RunResult
from archsim.simulate import Workload, load, run_image, write_image
from cosim.gates import replay, simulator
from cosim.gates.report import report
from cosim.gates.units import UNITS, unit_of
from cosim.machine import Machine, written
from cosim.run import SLACK
from rtl.characterize import scaling
from rtl.characterize.attribution import KINDS, Activity, energies_pj, leakages_nw
from rtl.characterize.liberty import Power
from rtl.characterize.modules import TOP as MODULE_TOP
from rtl.characterize.modules import Modular
from rtl.characterize.results import read
from rtl.characterize.wholes import plain
from rtl.synthesis import tools
from rtl.synthesis.library import LIBERTY, Library

RESULTS = Path("reports/characterisation")
"""Results of single units, and of this."""

BUILD = Path("build/cosim")

TOP = "system.chip"
"""The chip in the Verilog of a system."""


def on_gates(program: Program, dram: NDArray[np.uint8], cycles: int, power: Power) -> tuple[Modular, Activity, dict[str, int]]:
    """Netlist of the chip, its toggles in a run of ``cycles`` cycles, and how many cycles and values were compared.

    ``dram``: before the run, uint8 [bytes]. Raises ArchsimError when netlist and Verilog differ, or the Verilog does not end in the
    last of these cycles.
    """
    text = written(program.chip, len(dram), BUILD).read_text()
    _say("netlist of the chip, module by module")
    design = replay.netlist(text, TOP, power, BUILD / "gates")
    shared = replay.pins(design, TOP)
    _say("Verilog, with the pins that both have")
    machine = Machine(program.chip, len(dram), BUILD, large=True, pins=shared)
    record = machine.record(program, dram, 2 * cycles + SLACK)
    if (end := replay.last_end(record, shared)) != cycles:
        raise ArchsimError(f"the simulator ends in cycle {cycles}, the Verilog in {end}; `archsim cosim` shows where they part")
    activity = Activity(design.netlist, power)
    with tempfile.TemporaryDirectory(prefix="gates-") as folder:
        _say("netlist as a program")
        gates = replay.Replay(design, power, Path(folder), shared)
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("cycles at gate level", total=len(record))
            compared = gates.run(record, activity, cycles, lambda done, _: bar.update(task, completed=done))
    return design, activity, {"recorded": len(record), "compared": compared}


def results(mapped: Workload, image: int, power: Power, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Everything of the report but date and command. ``rows``: results of single units by library."""
    chip, name = mapped.program.chip, power.library.name
    dram, said = mapped.program.dram.copy(), simulated(mapped, image, name, rows)
    write_image(mapped, dram, mapped.images(image + 1)[image])
    design, activity, seen = on_gates(mapped.program, dram, said["run"]["cycles"], power)
    by_module = energies_pj(design, power, activity)
    _conserved(design, power, activity, by_module)
    units = _units(design, power, by_module, said)
    for law in said["laws"]:
        law |= _of_instance(design, power, by_module, law["module"])
    said["run"]["recorded"] = seen["recorded"]
    return {
        "library": power.library.hashes, "tools": tools.versions(), "node_nm": simulator.NODE,
        "netlist": {
            "cells": len(design.netlist.cells), "compared": seen["compared"],
            "area_um2": round(sum(power.library.area(kind) for kind, _ in design.netlist.cells), 1),
            "flip_flops": sum(row["flip_flops"] for row in units.values()),
        },
        **said, "units": units, "total": _total(units),
        "modules": {module: {kind: round(pj, 2) for kind, pj in by_module[module].items()} for module in sorted(by_module)},
        "chip": asdict(chip),
    }  # fmt: skip


def simulated(mapped: Workload, image: int, library: str, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The simulator's side: run, factor, energies of the logic by provider and unit, laws by instance, counters."""
    chip = mapped.program.chip
    run, _ = run_image(mapped, mapped.images(image + 1)[image], image)
    whole = RunResult(mapped.config.name, "execute", mapped.program, [run], None, None, None, None)
    counters = add(tally(whole, len(mapped.program.notes["layers"])))
    factor, by = simulator.factor(rows, library), {}
    for provider, laws in simulator.PROVIDERS.items():
        found = simulator.logic(chip.replace(energy_laws=laws), counters, run.cycles, factor, library)
        by[provider] = {unit: {kind: value._asdict() for kind, value in entry.items()} for unit, entry in found.items()}
    leakage = energy_pj(chip, counters, run.cycles)["logic_leakage"] / (run.cycles * 1000 / chip.clock_mhz)  # pJ a ns: mW
    return {
        "factor": factor._asdict(), "register_bits": simulator.register_bits(chip), "by_provider": by,
        "run": {
            "workload": mapped.config.name, "chip": chip.name, "image": image, "cycles": run.cycles,
            "clock_mhz": chip.clock_mhz, "seconds": run.cycles / (chip.clock_mhz * 1e6),
        },
        "laws_of": f"{library}.jsonl",
        "laws": [law._asdict() for law in simulator.by_law(chip, run.records, run.cycles, rows[library])],
        "simulator_leakage_uw": leakage * 1000, "counters": counters,
    }  # fmt: skip


def simulated_again(found: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """Results of an earlier run on gates with the simulator's side of now. Raises ArchsimError if it is another run."""
    run = found["run"]
    if said["run"] != {name: run[name] for name in said["run"]}:
        raise ArchsimError(
            f"required the run on gates, {run}, given {said['run']}; run `python -m cosim.gates` without --simulator"
        )
    gates = {law["module"]: {name: law[name] for name in ("gate_pj", "flip_flops")} for law in found["laws"]}
    units = {unit: _said(row, unit, said) for unit, row in found["units"].items()}
    for law in said["laws"]:
        law |= gates[law["module"]]
    said["run"]["recorded"] = run["recorded"]
    return found | said | {"units": units, "total": _total(units)}


def _said(row: Mapping[str, Any], unit: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a unit's gates, with what the simulator says."""
    nothing = {kind: simulator.NOTHING._asdict() for kind in ("data", "clock")}
    return {name: row[name] for name in ("gate_pj", "leakage_nw", "flip_flops")} | {
        "register_bits": said["register_bits"].get(unit, 0),
        "simulator_pj": {provider: by.get(unit, nothing) for provider, by in said["by_provider"].items()},
    }


def _conserved(design: Modular, power: Power, activity: Activity, by_module: Mapping[str, Mapping[str, float]]) -> None:
    """The energies of the modules add up to that of a netlist whose cells nobody tells apart."""
    whole = energies_pj(Modular(design.netlist, (MODULE_TOP,) * len(design.owners)), power, activity)
    for kind in KINDS:
        parts, total = (sum(entry[kind] for entry in found.values()) for found in (by_module, whole))
        assert math.isclose(parts, total, rel_tol=1e-9), f"{kind}: {parts} pJ by module, {total} pJ of the netlist"


def _units(
    design: Modular, power: Power, by_module: Mapping[str, Mapping[str, float]], said: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Both sides by unit, those that the chip has."""
    found: dict[str, dict[str, Any]] = {
        unit: {"gate_pj": dict.fromkeys(KINDS, 0.0), "leakage_nw": 0.0, "flip_flops": 0}
        for unit in UNITS
        if any(unit_of(module) == unit for module in by_module)
    }
    lost = sorted({unit for by in said["by_provider"].values() for unit in by} - set(found))
    assert not lost, f"the simulator has energies of {', '.join(lost)}, the netlist no cells"
    for module, energies in by_module.items():
        own = found[unit_of(module)]["gate_pj"]
        for kind, pj in energies.items():
            own[kind] += pj
    for module, leakage in leakages_nw(design, power).items():
        found[unit_of(module)]["leakage_nw"] += leakage
    for (kind, _), module in zip(design.netlist.cells, design.owners, strict=True):
        found[unit_of(module)]["flip_flops"] += kind in power.library.flip_flops
    return {unit: _said(row, unit, said) for unit, row in found.items()}


def _total(units: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Sums over the units."""
    rows = list(units.values())
    return {
        "gate_pj": {kind: sum(row["gate_pj"][kind] for row in rows) for kind in KINDS},
        "leakage_nw": sum(row["leakage_nw"] for row in rows),
        "flip_flops": sum(row["flip_flops"] for row in rows), "register_bits": sum(row["register_bits"] for row in rows),
        "simulator_pj": {
            provider: {
                kind: {end: sum(row["simulator_pj"][provider][kind][end] for row in rows) for end in ("value", "low", "high")}
                for kind in ("data", "clock")
            }
            for provider in simulator.PROVIDERS
        },
    }  # fmt: skip


def _of_instance(
    design: Modular, power: Power, by_module: Mapping[str, Mapping[str, float]], path: str
) -> dict[str, Any]:
    """Energy by kind, and flip-flops, of an instance and all that is in it."""
    inside = dict.fromkeys(module for module in by_module if f"{plain(module)}.".startswith(f"{path}."))  # in an order: sums
    cells = zip(design.netlist.cells, design.owners, strict=True)
    return {
        "gate_pj": {kind: sum(by_module[module][kind] for module in inside) for kind in KINDS},
        "flip_flops": sum(kind in power.library.flip_flops for (kind, _), module in cells if module in inside),
    }


def _say(what: str) -> None:
    print(f"{what} ...", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cosim.gates", description="One image on a chip's gates, beside the simulator.")
    parser.add_argument("--chip", metavar="PRESET|FILE", default="small", help="(default %(default)s)")
    parser.add_argument("--workload", metavar="FILE", default="workloads/spikingformer.yaml", help="(default %(default)s)")
    parser.add_argument("--image", metavar="N", type=int, default=0, help="number of the test image (default %(default)s)")
    parser.add_argument(
        "--liberty", metavar="FILE", type=Path, nargs="+", default=[LIBERTY],
        help=f"files of one library, .lib or .lib.gz (default {LIBERTY})",
    )
    parser.add_argument("--out", metavar="PATH", type=Path, default=RESULTS / "whole_chip", help="(default %(default)s)")
    parser.add_argument("--report", action="store_true", help="only write the table of results that are there")
    parser.add_argument("--simulator", action="store_true", help="only make the simulator's side of results again")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    path = options.out.with_suffix(".json")
    try:
        found = _read(path) if options.report or options.simulator else _measured(options)
        if options.simulator:
            found = simulated_again(found, _simulated(found))
    except ArchsimError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not options.report:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n")
    text = report(found)
    options.out.with_suffix(".md").write_text(text)
    print(text)
    return 0


def _read(path: Path) -> dict[str, Any]:
    """Results of an earlier run. Raises ArchsimError if there are none."""
    if not path.is_file():
        raise ArchsimError(f"{path}: required results for --report or --simulator, given none; run `python -m cosim.gates` first")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _simulated(found: Mapping[str, Any]) -> dict[str, Any]:
    """The simulator's side of a run that is kept, by the options of its command."""
    options = _parser().parse_args(shlex.split(found["command"])[3:])
    rows = {name: read(RESULTS / f"{name}.jsonl") for name in scaling.LIBRARIES}
    mapped = load(options.workload, options.chip, "execute")
    return simulated(mapped, options.image, found["laws_of"].removesuffix(".jsonl"), rows)


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    """Results of a run with these options."""
    if options.image < 0:
        raise ArchsimError(f"--image: required 0 or more, given {options.image}")
    rows = {name: read(RESULTS / f"{name}.jsonl") for name in scaling.LIBRARIES}
    power = Power(Library(*options.liberty))
    mapped = load(options.workload, options.chip, "execute")
    # Where the library lies is the user's; what it is is not.
    files = ["--liberty", *(file.name for file in options.liberty)] if options.liberty != [LIBERTY] else []
    given = ["--chip", options.chip, "--workload", options.workload, "--image", str(options.image), *files]
    command = shlex.join(["python", "-m", "cosim.gates", *given])
    return {"date": date.today().isoformat(), "command": command} | results(mapped, options.image, power, rows)


if __name__ == "__main__":
    sys.exit(main())
