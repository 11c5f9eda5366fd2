"""The fitted laws as data of the simulator's package: coefficients, errors, where they were measured, and factors to other nodes.

The simulator needs nothing of `rtl` for them: it reads the file that ``python -m rtl.characterize --report`` writes.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.laws import FORMS
from rtl.characterize import laws, scaling
from rtl.characterize.grid import GRIDS

FILE = Path("archsim/energy/laws.json")
"""Where the data stand in a checkout."""

NODE = 45
"""Node of the simulator's memories and table, nm, to which the laws are scaled; its supply is that of `scaling.TARGETS`."""

NATIVE = next(iter(scaling.LIBRARIES))
"""Library whose laws the simulator uses."""

Rows = Sequence[Mapping[str, Any]]


def packaged(rows: Mapping[str, Rows], results: bytes) -> dict[str, Any]:
    """Everything that the simulator takes.

    Args:
        rows: results of each library of `scaling.LIBRARIES`.
        results: the file of results of `NATIVE`, whose hash stands in the data.

    Raises ArchsimError if a unit has points that are not measured, or if no unit is measured in every library.
    """
    native, node = rows[NATIVE], scaling.LIBRARIES[NATIVE]
    units = {unit: _unit(unit, [row for row in native if row["unit"] == unit]) for unit in GRIDS}
    found = scaling.measured(rows)
    if not found:
        raise ArchsimError(
            "scaling: required a unit that every library has measured; run `python -m rtl.characterize --liberty FILE...`"
        )
    factors = {what: _ends(scaling.mean(found, what, NATIVE, NODE)) for what in (scaling.ENERGY_OF, scaling.AREA_OF)}
    return {
        "written_by": "python -m rtl.characterize --report",
        "results": f"reports/characterisation/{NATIVE}.jsonl", "results_sha256": hashlib.sha256(results).hexdigest(),
        "library": _one(native, "library"), "tools": _one(native, "tools"), "node_nm": node.node, "volts": node.volts,
        "flip_flop_pj": _digits(laws.flip_flop_pj(native)), "nand2_um2": _digits(laws.nand2_um2(native)),
        "known_bit_um2": _digits(laws.KNOWN_NAND2 * laws.nand2_um2(native)),
        "scaled_nm": NODE, "scaled_volts": scaling.TARGETS[NODE], "factors": factors,
        "factors_source": "Stillmaker and Baas, Integration 58 (2017), bent to pass through our netlists at 130 and 7 nm: "
        f"geometric mean of {', '.join(found)}; low and high: from either end alone (reports/characterisation/scaling.md)",
        "units": units,
    }  # fmt: skip


def _unit(unit: str, own: Rows) -> dict[str, Any]:
    """Laws of a unit, their errors, and between which sizes it was measured."""
    points = len(list(GRIDS[unit].points()))
    if len(own) < points:
        raise ArchsimError(
            f"{unit}: {len(own)} of {points} points measured; measure its grid with `python -m rtl.characterize`"
        )
    energy, area = laws.energy(unit, own), laws.area(unit, own)
    sizes = [laws.sizes(unit, row) for row in own]
    form = FORMS[unit]
    taken = {name for text in form.energy for name in form.parameters(text)}
    taken |= {name for text in form.area for name in form.parameters(text)} | set(own[0]["parameters"])
    return {
        "energy_pj": {text: _digits(value) for text, value in energy.coefficients.items() if value},
        "area_um2": {text: _digits(value) for text, value in area.coefficients.items() if value},
        "error_energy": _digits(energy.worst[0]), "error_events": _digits(laws.events_error(unit, own, energy)),
        "error_area": _digits(area.worst[0]), "fitted": energy.fitted, "held_out": len(energy.errors),
        "measured": {name: [min(size[name] for size in sizes), max(size[name] for size in sizes)] for name in sorted(taken)},
    }  # fmt: skip


def _one(rows: Rows, name: str) -> Any:
    """What stands in every row under a name; raises ArchsimError if rows differ."""
    first = rows[0][name]
    if any(row[name] != first for row in rows):
        raise ArchsimError(f"{NATIVE}.jsonl: required one {name} for all rows, given several; measure all of them again")
    return first


def _ends(bounds: tuple[float, float, float]) -> dict[str, float]:
    return {name: _digits(value) for name, value in zip(("value", "low", "high"), bounds, strict=True)}


def _digits(value: float) -> float:
    """Six digits: more than any figure here is good for, and the same on every machine."""
    return float(f"{value:.6g}")
