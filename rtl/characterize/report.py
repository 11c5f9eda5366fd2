"""The table of the laws: how far each is from what was held out, and its coefficients."""

from collections.abc import Mapping, Sequence
from typing import Any

from archsim.contracts.common.errors import ArchsimError
from rtl.characterize import laws
from rtl.characterize.grid import GRIDS, HELD_OUT_RATE, WHOLES
from rtl.characterize.laws import Fit
from rtl.characterize.stimuli import RATES, RECORDED, WINDOW, WINDOWS


def report(rows: Sequence[Mapping[str, Any]], source: str) -> str:
    """Markdown from the rows of ``source``. Raises ArchsimError if there are none."""
    if not rows:
        raise ArchsimError(f"{source}: no results to report; measure with `python -m rtl.characterize`")
    rates, clock = ", ".join(map(str, RATES)), laws.flip_flop_pj(rows)
    lines = [
        "# Laws of energy and area", "",
        f"Written by `python -m rtl.characterize --report` from {source}.", "",
        f"* Energies are of netlists without wires, clock tree and glitches, in windows of {WINDOW} cycles; rates {rates}.",
        "* Held out of the energy fits: at every rate the parameters that `rtl/characterize/grid.py` names,",
        f"  and at every parameter the rate {HELD_OUT_RATE} and the spikes recorded of the trained network ({RECORDED}).",
        "* Errors are relative; the worst ones count.",
        "* The simulator uses the laws of Debian's library (archsim/energy/laws.json), scaled to its chips' node.",
        "* Parts that are measured in a whole have no path: "
        f"{', '.join(unit for unit, entry in GRIDS.items() if entry.part)}.",
        "* No part of a fit are memories made of registers and their like: "
        f"{clock:.4g} pJ a bit and cycle, {laws.KNOWN_NAND2:g} NAND2.",
        f"* Of what is no clock {laws.switching_share(rows):.0%} is the switching of driven pins, in all windows together.", "",
        "| unit | law | points fitted | held out | worst error in the fit | worst error held out | where | bound | holds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    details: list[str] = []
    judged: dict[str, list[tuple[Fit, str]]] = {"energy": [], "area": []}
    for unit in GRIDS:
        own = [row for row in rows if row["unit"] == unit]
        points = len(list(GRIDS[unit].points()))
        if not GRIDS[unit].whole(own):
            lines.append(f"| {unit} | {len(own)} of {points} points measured: no law yet | | | | | | | |")
            details += _points(unit, own) if own else []
            continue
        for name, fit in (("energy", laws.energy(unit, own)), ("area", laws.area(unit, own))):
            judged[name].append((fit, unit))
            part = f" ({len(own)} of {points} points)" if len(own) < points else ""
            lines.append(_row(unit + part, name, fit))
            details += _coefficients(unit, name, fit)
        details += _points(unit, own)
    wholes = "; ".join(f"{name}: {reason}" for name, reason in WHOLES.items())
    worst = [_worst(name, fits) for name, fits in judged.items() if fits]
    return "\n".join([*lines, "", *worst, f"* Units without a grid of their own. {wholes}.", "", *details])


def _worst(name: str, fits: Sequence[tuple[Fit, str]]) -> str:
    """The law of all that is farthest beyond, or nearest to, its bound; and how many hold."""
    fit, unit = max(fits, key=lambda entry: entry[0].worst[0] / entry[0].worst[1])
    error, bound, where = fit.worst
    hold = sum(other.worst[0] <= other.worst[1] for other, _ in fits)
    return f"* Worst {name}: {error:.1%} (bound {bound:.0%}), {unit}, {where}; {hold} of {len(fits)} laws hold."


def _row(unit: str, name: str, fit: Fit) -> str:
    error, bound, where = fit.worst
    fitted = f"{fit.fitted} | {len(fit.errors)} | {fit.largest_fit_error:.1%}"
    return f"| {unit} | {name} | {fitted} | {error:.1%} | {where} | {bound:.0%} | {'yes' if error <= bound else 'NO'} |"


def _coefficients(unit: str, name: str, fit: Fit) -> list[str]:
    unit_of = "pJ" if name == "energy" else "um2"
    terms = [f"{value:.4g} {unit_of} x {text.replace(' ', ' x ')}" for text, value in fit.coefficients.items() if value]
    return [f"* {unit}, {name}: {' + '.join(terms)}"]


def _points(unit: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What was measured: a line a point."""
    names = GRIDS[unit].names()
    energies_of = [f"pJ a cycle, {laws.label(window)}" for window in WINDOWS]
    heads = [*names, "area um2", "NAND2", "flip-flops", "path ns", "leakage nW", *energies_of]
    lines = ["", f"## {unit}", "", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in rows:
        energies = [f"{sum(window['pj'].values()) / window['cycles']:.4g}" for window in row["windows"]]
        figures = [
            f"{row['area_um2']:.5g}",
            str(row["nand2"]),
            str(row["flip_flops"]),
            str(row["critical_path_ns"] or "-"),
            f"{row['leakage_nw']:.1f}",
        ]
        given = laws.sizes(unit, row)
        lines.append(f"| {' | '.join([*(str(given[name]) for name in names), *figures, *energies])} |")
    return [*lines, ""]
