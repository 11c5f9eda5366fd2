"""From measured libraries to nodes between them: Stillmaker and Baas, bent to pass through what was measured at both ends.

    python -m rtl.characterize.scaling [--out DIR]

Reads the results of the libraries in `LIBRARIES` and writes ``OUT/scaling.md``. A quantity at another node is first predicted from
each measured node with the published factors; their error is seen where they predict 130 and 7 nm, which are measured, from 180.
Between two measured nodes the published curve is multiplied by the power of the node with which it passes through both. The range
of a scaled figure are the two predictions from one end alone.

Source of all factors: A. Stillmaker, B. Baas, "Scaling equations for the accurate prediction of CMOS device performance from 180 nm
to 7 nm", Integration 58 (2017), 74-81: area of table 3, energy polynomials of table 5 with the published erratum, as transcribed in
wromaszkan/nodeScale. Nodes that are not in them lie on the line between their neighbours on logarithmic axes.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any, NamedTuple

from archsim.contracts.common.errors import ArchsimError
from rtl.characterize.results import read

AREA = {
    180: 1.0, 130: 0.34, 90: 0.15, 65: 0.08, 45: 0.053, 32: 0.025, 20: 0.011, 16: 0.01, 14: 0.0093, 10: 0.0055, 7: 0.0032,
}  # fmt: skip
"""Area by node, nm, relative to 180 nm (table 3)."""

ENERGY = {
    180: (0.0, 24.64, -17.98), 130: (7.171, -6.709, 2.904), 90: (4.762, -4.781, 2.092), 65: (3.755, -4.398, 1.975),
    45: (1.018, -0.3107, 0.1539), 32: (0.8367, -0.4341, 0.1701), 20: (0.373, -0.1582, 0.04104), 16: (0.2958, -0.1241, 0.03024),
    14: (0.2363, -0.09675, 0.02239), 10: (0.2068, -0.09311, 0.02375), 7: (0.1776, -0.09097, 0.02447),
}  # fmt: skip
"""Energy factor by node: coefficients of V^2, V and 1 (table 5; from 45 nm on the high-performance devices)."""


class Source(NamedTuple):
    """A measured library: node in nm and supply in V."""

    node: int
    volts: float


LIBRARIES = {
    "osu018_stdcells": Source(180, 1.8), "sky130hd_tt": Source(130, 1.8), "asap7sc7p5t": Source(7, 0.7),
}  # fmt: skip
"""Libraries by the name of their results, from the largest node. Sky130's 1.8 V are 0.5 V above the usual 1.3 V of 130 nm."""

TARGETS = {45: 0.9, 28: 0.9, 22: 0.8}
"""Supply in V assumed for each scaled node: 0.9 V at 45 nm as Horowitz (ISSCC 2014); those of 28 and 22 nm are assumed."""

ENERGY_OF, AREA_OF = "energy", "area"


def factor(what: str, node: int, volts: float) -> float:
    """The published factor of a node at a supply. Raises ArchsimError for a node outside of the table."""
    if not min(AREA) <= node <= max(AREA):
        raise ArchsimError(f"{node} nm: required a node from {min(AREA)} to {max(AREA)} nm, as the published factors have")
    if node in AREA:
        square, linear, constant = ENERGY[node]
        return AREA[node] if what == AREA_OF else square * volts**2 + linear * volts + constant
    low, high = max(n for n in AREA if n < node), min(n for n in AREA if n > node)
    return _between(node, (low, factor(what, low, volts)), (high, factor(what, high, volts)))


def _between(node: int, first: tuple[int, float], second: tuple[int, float]) -> float:
    """The value at a node on the line through two others, on logarithmic axes."""
    place = math.log(node / first[0]) / math.log(second[0] / first[0])
    return first[1] * (second[1] / first[1]) ** place


def predicted(what: str, source: Source, node: int, volts: float) -> float:
    """Published ratio of a quantity at a node to that at a measured one."""
    return factor(what, node, volts) / factor(what, *source)


def between(what: str, ends: Sequence[tuple[Source, float]], node: int, volts: float) -> tuple[float, float, float]:
    """A quantity at a node between two measured ones: value, low and high.

    Args:
        what: `ENERGY_OF` or `AREA_OF`.
        ends: measured nodes and what was measured there, in any unit.
        node: the other node, nm.
        volts: its supply, V.

    The value follows the published curve, times the power of the node with which it meets both ends. Low and high are the
    predictions from either end alone. Raises ArchsimError if the node is not between them.
    """
    (first, one), (second, other) = ends
    if not min(first.node, second.node) <= node <= max(first.node, second.node):
        raise ArchsimError(f"{node} nm: required a node between the measured {first.node} and {second.node} nm")
    alone = one * predicted(what, first, node, volts), other * predicted(what, second, node, volts)
    return _between_ends(node, (first.node, alone[0]), (second.node, alone[1])), min(alone), max(alone)


def _between_ends(node: int, first: tuple[int, float], second: tuple[int, float]) -> float:
    """Mean of two predictions, weighted by how near the node is to where each was measured (logarithmic)."""
    place = math.log(node / first[0]) / math.log(second[0] / first[0])
    return first[1] ** (1 - place) * second[1] ** place


def measured(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Of each unit whose points are in every library: energy and area of each library relative to the first.

    Geometric means: of the energies of every window and of the areas of every point that all libraries have.
    """
    tables = {name: {(row["unit"], *sorted(row["parameters"].items())): row for row in own} for name, own in rows.items()}
    first, *others = tables
    common = [place for place in tables[first] if all(place in tables[other] for other in others)]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for unit in dict.fromkeys(str(place[0]) for place in common):
        own = [place for place in common if place[0] == unit]
        found[unit] = {
            name: {
                ENERGY_OF: geometric_mean(
                    [_pj(window) / _pj(base) for place in own
                     for window, base in zip(table[place]["windows"], tables[first][place]["windows"], strict=True)]
                ),
                AREA_OF: geometric_mean([table[place]["area_um2"] / tables[first][place]["area_um2"] for place in own]),
                "points": len(own),
            }
            for name, table in tables.items()
        }  # fmt: skip
    return found


def mean(
    found: Mapping[str, Mapping[str, Mapping[str, float]]], what: str, library: str, node: int
) -> tuple[float, float, float]:
    """A quantity at a node of `TARGETS`, relative to that of a measured library: value, low and high.

    ``found``: as `measured` gives it. The geometric mean of its units, and the ends of their ranges.
    """
    _, *others = LIBRARIES
    values, lows, highs = zip(
        *(
            (end / own[library][what] for end in between(
                what, [(LIBRARIES[name], own[name][what]) for name in others], node, TARGETS[node]
            ))
            for own in found.values()
        ), strict=True,
    )  # fmt: skip
    return geometric_mean(values), min(lows), max(highs)


def _pj(window: Mapping[str, Any]) -> float:
    return sum(window["pj"].values())


def report(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Markdown: how far the published factors are from what was measured, and figures of the nodes between."""
    first, *others = LIBRARIES
    base, ends = LIBRARIES[first], [LIBRARIES[name] for name in others]
    lines = [
        "# From measured nodes to others", "",
        "Written by `python -m rtl.characterize.scaling` from the results of the libraries beside it. Figures are relative "
        f"to {base.node} nm at {base.volts:g} V ({first}). Every library has its own netlist of the same Verilog; same stimuli.",
        "Source of the factors: Stillmaker and Baas, Integration 58 (2017), tables 3 and 5; high-performance devices from 45 nm.",
        "", f"## The published factors' own error: predicted from {base.node} nm, and measured", "",
        "| unit | points | quantity | node | predicted | measured | measured / predicted |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for unit, by_library in found.items():
        for what in (ENERGY_OF, AREA_OF):
            for name in others:
                end, value = LIBRARIES[name], by_library[name][what]
                guess = predicted(what, base, *end)
                place = f"{unit} | {by_library[name]['points']:g} | {what} | {end.node} nm, {end.volts:g} V"
                lines.append(f"| {place} | {guess:.3g} | {value:.3g} | {value / guess:.2f} |")
    low, high = ends
    heads = " | ".join(f"{node} nm, {volts:g} V" for node, volts in TARGETS.items())
    lines += [
        "", f"## Between the measured {low.node} and {high.node} nm", "",
        "The published curve, bent to meet both ends; in parentheses what either end alone predicts: that is the range to state.",
        "", f"| unit | quantity | {heads} |", "|---|---|" + "---|" * len(TARGETS),
    ]  # fmt: skip
    for unit, by_library in found.items():
        for what in (ENERGY_OF, AREA_OF):
            pair = [(LIBRARIES[name], by_library[name][what]) for name in others]
            cells = [
                "{:.3g} ({:.3g} .. {:.3g})".format(*between(what, pair, node, volts)) for node, volts in TARGETS.items()
            ]
            lines.append(f"| {unit} | {what} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m rtl.characterize.scaling", description="Energy and area at nodes between measured ones."
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("reports/characterisation"), help="(default %(default)s)"
    )
    folder = parser.parse_args(arguments).out
    try:
        rows = {name: read(folder / f"{name}.jsonl") for name in LIBRARIES}
        missing = [name for name, own in rows.items() if not own]
        if missing:
            raise ArchsimError(
                f"{folder}: no results of {', '.join(missing)}; measure with `python -m rtl.characterize --liberty FILE...`"
            )
        text = report(measured(rows))
    except ArchsimError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    (folder / "scaling.md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
