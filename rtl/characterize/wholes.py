"""A part of a unit, measured in the whole unit: what stands between its parts, and cannot be driven without them.

The whole is synthesised module by module and run as the chip runs it (`rtl.characterize.modules`); every picojoule and every cell
has a module (`rtl.characterize.attribution`), and those of the part's modules are added up. What an input of the whole switches
is its own module's, as it is a single unit's.
"""

import re
from pathlib import Path
from typing import Any

from archsim.contracts.common.errors import ArchsimError
from rtl.characterize import attribution, bench, gates, modules
from rtl.characterize.attribution import Activity
from rtl.characterize.liberty import Power
from rtl.characterize.modules import TOP, Modular
from rtl.characterize.stimuli import WINDOW, WINDOWS, Stimulus

SOURCES = (attribution, modules)
"""Modules whose text is part of the key of such a point, beside those of every point."""


# A keyword too, and the path of a memory here. The set has it from here since the text of that module is part of every point's key.
bench.KEYWORDS.add("table")


def measured(unit: str, part: str, code: str, stimulus: Stimulus, power: Power, folder: Path) -> dict[str, Any]:
    """What `rtl.characterize.__main__.characterise` gives, of the modules whose whole path ``part``, an expression, matches.

    No path in ns: it would be that of the whole. Raises ArchsimError if no module matches.
    """
    modules.synthesise(code, unit, power.library, folder, modules.SETTLE)
    design = Modular.read(unit, folder)
    chosen = {module for module in (TOP, *design.owners) if re.fullmatch(part, plain(module))}
    if not chosen:
        raise ArchsimError(f"{unit}: required modules like '{part}', given {', '.join(sorted(set(design.owners)))}")
    rows = []
    windows = gates.simulate(unit, design.netlist, power, stimulus, folder)
    for rate, window, instruction in zip(WINDOWS, windows, stimulus.instructions, strict=True):
        activity = Activity(design.netlist, power)
        activity.add(window.values)
        found = attribution.energies_pj(design, power, activity)
        pj = {kind: sum(own[kind] for module, own in found.items() if module in chosen) for kind in attribution.KINDS}
        rows.append({
            "rate": rate, "cycles": WINDOW, "counts": {**stimulus.counts(window.taken), **instruction},
            "pj": {kind: round(value, 4) for kind, value in pj.items()},
        })  # fmt: skip
    kinds = [kind for (kind, _), module in zip(design.netlist.cells, design.owners, strict=True) if module in chosen]
    area, leaks = sum(map(power.library.area, kinds)), attribution.leakages_nw(design, power)
    return {
        "area_um2": round(area, 1), "nand2": round(area / power.library.area(power.library.nand2)), "cells": len(kinds),
        "flip_flops": sum(kind in power.library.flip_flops for kind in kinds), "critical_path_ns": None,
        "leakage_nw": round(sum(value for module, value in leaks.items() if module in chosen), 2), "windows": rows,
    }  # fmt: skip


def plain(module: str) -> str:
    """A module's path without the numbers by which Amaranth tells names apart (``popcount$192``)."""
    return re.sub(r"\$\d+", "", module)
