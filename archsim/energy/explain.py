"""Where a figure of a report comes from: counts x factors x coefficients, or a formula over other figures of it.

Every chain is computed again from the report's counts and the present table, and refused if it does not give the report's figure.
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from archsim.config.validate import nearest
from archsim.contracts.common.errors import ArchsimError
from archsim.energy.formulas import COUNTS, chip_of, counts_of, figures, formula_of
from archsim.energy.laws import known as known_coefficients
from archsim.energy.laws import native
from archsim.energy.model import COMPONENTS, area_terms, energy_terms
from archsim.energy.term import Term

CLOSE = 1e-9
"""Relative difference that the order of a sum makes at most; more is another table or model than the report's."""


def read(run: Path) -> dict[str, Any]:
    """The figures of a run; ``run`` is its folder, its report.json, or its name below ``reports``.

    Raises ArchsimError when there is no report, or one without the counts that a chain begins with.
    """
    candidates = (run, run / "report.json", Path("reports") / run / "report.json")
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        raise ArchsimError(
            f"{run}: required a report's folder, its report.json or its name in reports/, found none of them"
        )
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArchsimError(f"{path}: required a report in JSON, given something else ({error})") from error
    if not isinstance(report, dict) or any(COUNTS not in layer for layer in report.get("layers", [{}])):
        raise ArchsimError(f"{path}: required the counts of every layer, given none; make it again with `archsim run`")
    return report


def explain(report: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """The chain behind one figure, as JSON data.

    Args:
        report: as `read` gives it.
        metric: one of `figures`: ``energy_uj.weight_memory``, ``layers.NAME.energy_uj``, ``cycles``.

    Returns:
        ``metric``, its ``value``, what the chain gives (``computed``), and either ``terms`` (products that add up to it, largest
        first) with the ``coefficients`` that they use and the ``range``, or ``formula`` in words with its ``inputs``.

    Raises ArchsimError for an unknown figure, and for one that the present model does not give.
    """
    known = figures(report)
    if metric not in known:
        raise ArchsimError(f"no figure '{metric}' in this report; {nearest(metric, list(known))}")
    key, _, component = metric.partition(".")
    chip = chip_of(report)
    if metric.endswith(".energy_uj"):
        counts = next(layer[COUNTS] for layer in report["layers"] if metric == f"layers.{layer['name']}.energy_uj")
        chain = _chain(energy_terms(chip), counts, "total", 1e-6 / report["images"])
    elif key == "energy_uj":
        chain = _chain(energy_terms(chip), counts_of(report), component, 1e-6 / report["images"])
    elif key == "area_mm2":
        chain = _chain(area_terms(chip), None, component, 1)
    else:
        formula = formula_of(report, metric)
        chain = {"formula": formula.words, "inputs": formula.inputs, "computed": formula.value}
    if not math.isclose(chain["computed"], known[metric], rel_tol=CLOSE, abs_tol=CLOSE**2):
        raise ArchsimError(
            f"{metric}: the report says {known[metric]:g}, its counts and the present model give {chain['computed']:g}; "
            "required a report of this version: make it again with `archsim run`"
        )
    return {"metric": metric, "value": known[metric]} | chain


def _chain(terms: Iterable[Term], counts: Mapping[str, int] | None, component: str, scale: float) -> dict[str, Any]:
    """The products of a component, or of all for ``total``; ``counts`` None: each counts once."""
    rows: list[dict[str, Any]] = []
    for term in terms:
        count = 1 if counts is None else counts.get(term.counter, 0)
        if component in ("total", term.component) and count:
            rows.append({
                "component": term.component, "confidence": COMPONENTS[term.component][1], "counted": term.counter,
                "count_all_images": None if counts is None else count,
                "factors": [{"value": value, "what": what} for value, what in term.factors],
                "figures": [vars(reading) | {"entries": list(reading.entries)} for reading in term.readings],
                "native": term.value / term.scaled * count * scale if native(term.readings) else None,
                "value": term.value * count * scale, "range": [end * count * scale for end in term.bounds],
            })  # fmt: skip
    rows.sort(key=lambda row: -row["value"])
    used = {name for row in rows for figure in row["figures"] for name in figure["entries"]}
    table = {name: entry.model_dump() for name, entry in known_coefficients().items() if name in used}
    ends = [sum(row["range"][end] for row in rows) for end in (0, 1)]
    return {"terms": rows, "coefficients": table, "computed": sum(row["value"] for row in rows), "range": ends}


def show(chain: Mapping[str, Any], console: Console) -> None:
    """Print a chain: the figure, its products or formula, the laws of the coefficients, their sources."""
    ends = "{:.4g} .. {:.4g}".format(*chain["range"]) if "range" in chain else ""
    console.print(f"[bold]{chain['metric']}[/] = {chain['value']:.6g}{ends and f' ({ends})'}", highlight=False)
    if "formula" in chain:
        console.print(f"  {chain['formula']}", highlight=False)
        for name, value in chain["inputs"].items():
            console.print(f"  {name} = {value}", highlight=False, soft_wrap=True)
        return
    table = Table(title="count x factors x figures of the table; the sum is the figure")
    for heading in ("component", "counted", "count", "product", "value", "share"):
        table.add_column(heading, justify="left" if heading in ("component", "counted", "product") else "right")
    for row in chain["terms"]:
        product = [f"{entry['value']:g} ({entry['what']})" for entry in row["factors"]]
        product += [f"{entry['value']:.4g} {entry['unit']}" for entry in row["figures"]]
        count = "" if row["count_all_images"] is None else f"{row['count_all_images']:,}"
        share = row["value"] / chain["value"] if chain["value"] else 0.0
        table.add_row(
            row["component"], row["counted"], count, " x ".join(product), f"{row['value']:.4g}", f"{share:.1%}"
        )
    console.print(table)
    laws = {
        f"{entry['value']:.4g} ({entry['low']:.4g} .. {entry['high']:.4g}) {entry['unit']}: {entry['law']}": None
        for row in chain["terms"]
        for entry in row["figures"]
    }
    console.print("[bold]figures[/]", *laws, sep="\n  ", highlight=False, soft_wrap=True)
    natives = [row["native"] for row in chain["terms"] if row["native"] is not None]
    if natives:
        console.print(f"[bold]native[/] {sum(natives):.4g}: by laws, before the factor to the chip's node", highlight=False)
    console.print("[bold]table and laws[/] (archsim/energy/coefficients.yaml, laws.json)", highlight=False)
    for name, entry in chain["coefficients"].items():
        node = "no node" if entry["node_nm"] is None else f"{entry['node_nm']} nm"
        console.print(
            f"  {name}: {entry['value']:g} {entry['unit']}, {node}, {entry['confidence']}; {entry['source']}"
            + (f"; {entry['low']:g} .. {entry['high']:g}: {entry['range']}" if entry["range"] else ""),
            highlight=False,
        )


def show_figures(report: Mapping[str, Any], console: Console) -> None:
    """Print the figures that can be explained."""
    for name, value in figures(report).items():
        console.print(f"{name} = {value:.6g}", highlight=False, soft_wrap=True)
