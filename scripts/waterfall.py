"""From the energy of a network's formula to what the chip spends: a waterfall, step by step, as table and figure.

    python -m scripts.waterfall [WORKLOAD | --size FAMILY SIZE [--rate RATE] | --from FILE] [--chip adders_512] [--figure FILE]
                                [--out FILE]

The formula prices operations alone. Each step replaces or adds one part: operations at the price of the chip, then what the
formula leaves out; together they are the energy of the chip. ``--out`` keeps the figures of the run, ``--from`` takes kept ones.
Energies are modelled at 45 nm; spikes of a published size are SYNTHETIC.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from archsim.account.report import GROUPS, MULTIPLIED, report
from archsim.contracts.common.errors import ArchsimError
from archsim.energy import COMPONENTS
from archsim.report.charts import STYLE
from archsim.simulate import run
from archsim.summary import summarise
from archsim.workload import SIZES
from scripts.published import rates, workload

KEPT = (
    "workload", "chip", "spikes", "cycles", "images_per_s", "latency_ms", "synaptic_operations", "dense_macs", "utilization",
    "energy_uj", "energy_range_uj", "range_widest", "area_mm2", "chip_parameters",
)  # fmt: skip
"""Figures of the summary that are kept beside the account."""

REPLACED = {"additions": ("additions", MULTIPLIED), "attention": ("attention",)}
"""Groups of the chip that stand in the place of groups of the formula; the others are added."""

DOWN, UP, WHOLE = "#56a3a6", "#e08e2b", "#1f5fa8"


def measure(file: str, chip: str) -> dict[str, Any]:
    """One image on a chip: the account's parts in mJ and the kept figures. Raises ArchsimError without rates for the formula."""
    account = report(file, run=False)
    if account["formula_groups"] is None:
        raise ArchsimError(f"{file}: required firing rates for the formula, given none; nothing to start from")
    summary = summarise(run(file, chip=chip, images=1))
    groups = {group: sum(summary["energy_uj"][name] for name in names) / 1000 for group, names in GROUPS.items()}
    ranges = {group: [0.0, 0.0] for group in GROUPS}
    for group, names in GROUPS.items():
        for name in names:
            ranges[group] = [end + more / 1000 for end, more in zip(ranges[group], summary["energy_range_uj"][name], strict=True)]
    return {
        "network": account["network"], "rates": account["rates"], "timesteps": account["timesteps"],
        "formula_mj": account["formula_groups"],
        "dense_operations": account["timesteps"] * (account["dense_macs"] + account["dense_macs_attention"]),
        "chip_mj": groups, "chip_range_mj": ranges, **{name: summary[name] for name in KEPT},
    }  # fmt: skip


def steps(row: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Label and change in mJ of each step from the formula's energy to the chip's, in the order of the chip's groups.

    They add up to the difference.
    """
    formula, chip = row["formula_mj"], row["chip_mj"]
    found = [
        (f"{group}, at the chip's price", chip[group] - sum(formula[name] for name in names))
        for group, names in REPLACED.items()
    ]
    return found + [(group, value) for group, value in chip.items() if group not in REPLACED]


def table(row: Mapping[str, Any]) -> list[str]:
    """The waterfall as lines: label, change, what is reached, and between what the chip's part may lie."""
    level, ranges = sum(row["formula_mj"].values()), row["chip_range_mj"]
    lines = [f"{row['network']} on {row['chip']}, mJ an image ({row['spikes'] or 'recorded spikes'}; rates: {row['rates']})"]
    lines.append(f"{'':<34}{'change':>10}{'reached':>10}   the chip's part: low .. high")
    lines.append(f"{'formula':<34}{'':>10}{level:10.4f}")
    for (label, change), group in zip(steps(row), row["chip_mj"], strict=True):
        level += change
        lines.append(f"{label:<34}{change:+10.4f}{level:10.4f}   {ranges[group][0]:.4g} .. {ranges[group][1]:.4g}")
    low, high = (sum(ends) for ends in zip(*ranges.values(), strict=True))
    lines.append(f"{'chip':<34}{'':>10}{sum(row['chip_mj'].values()):10.4f}   {low:.4g} .. {high:.4g}")
    return [*lines, f"the range is widened most by {COMPONENTS[row['range_widest']['energy']][0]}"]


def draw(row: Mapping[str, Any], path: Path) -> None:
    """The waterfall as SVG; the same figures give the same bytes."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": "waterfall"}):
        figure = Figure((9.0, 4.2))
        axes = figure.subplots()
        start, end = sum(row["formula_mj"].values()), sum(row["chip_mj"].values())
        labels, level = ["formula"], start
        axes.bar(0, start, color=WHOLE)
        axes.annotate(f"{start:.2f}", (0, start), ha="center", va="bottom", fontsize=8)
        for place, (label, change) in enumerate(steps(row), 1):
            axes.bar(place, change, bottom=level, color=UP if change > 0 else DOWN)
            axes.plot([place - 1.4, place + 0.4], [level, level], color="#999999", linewidth=0.6)
            level += change
            top = max(level, level - change)
            axes.annotate(f"{change:+.2f}", (place, top), ha="center", va="bottom", fontsize=8)
            labels.append(label.replace(", ", ",\n").replace(" and ", "\nand "))
        low, high = (sum(ends) for ends in zip(*row["chip_range_mj"].values(), strict=True))
        axes.bar(len(labels), end, color=WHOLE, yerr=[[end - low], [high - end]], capsize=6, ecolor="#555555")
        axes.annotate(f"{end:.2f}", (len(labels) - 0.05, end), ha="right", va="bottom", fontsize=8)
        labels.append("chip")
        axes.set_xticks(range(len(labels)), labels, fontsize=7, rotation=30, ha="right")
        axes.set_ylabel("mJ an image, modelled at 45 nm")
        title = f"{row['network']} on {row['chip']}: from the formula to the chip"
        axes.set_title(title, loc="left", fontsize=10)
        figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="From the formula's energy to the chip's, step by step.")
    parser.add_argument(
        "workload", nargs="?", default="workloads/spikingformer_imagenet.yaml", help="(default %(default)s)"
    )
    parser.add_argument("--size", nargs=2, metavar=("FAMILY", "SIZE"), help="a published size instead of a workload")
    parser.add_argument("--rate", type=float, default=0.1, help="rate 0..1 ASSUMED where none is published (default %(default)s)")
    parser.add_argument("--chip", default="adders_512", help="preset or chip file (default %(default)s)")
    parser.add_argument("--from", dest="kept", type=Path, metavar="FILE", help="figures kept with --out, instead of a run")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="SVG file to write")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file of the figures")
    options = parser.parse_args(arguments)
    try:
        row = read(options.kept) if options.kept else _run(options)
    except ArchsimError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(table(row)))
    if options.figure:
        draw(row, options.figure)
    if options.out:
        options.out.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    return 0


def _run(options: argparse.Namespace) -> dict[str, Any]:
    if not options.size:
        return measure(options.workload, options.chip)
    family, size = options.size
    if size not in SIZES.get(family, {}):
        known = ", ".join(f"{name} {own}" for name, sizes in SIZES.items() for own in sizes)
        raise ArchsimError(f"--size: required one of {known}; given {family} {size}")
    given, source = rates(family, size, options.rate)
    with TemporaryDirectory() as folder:
        return measure(str(workload(Path(folder), family, size, given)), options.chip) | {"rates": source}


def read(path: Path) -> dict[str, Any]:
    """Figures kept with ``--out``. Raises ArchsimError for a file that holds none."""
    try:
        row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        table(row)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArchsimError(f"{path}: required figures kept with --out, given something else ({error})") from error
    return row


if __name__ == "__main__":
    sys.exit(main())
