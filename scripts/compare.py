"""Spikingformer against Spikformer on a chip: does the published saving survive when memory, neurons and control are counted?

    python -m scripts.compare [--size 8-512] [--chip adders_512] [--rates RATE ...] [--figure FILE] [--out FILE]

Spikingformer fires at its published rates. Those of Spikformer are not published: all its maps fire at one ASSUMED rate, each of
the given ones. Spikes are SYNTHETIC, drawn twice: independently, and with the spread over channels and the correlation over time
and tokens of the small trained network of the family. What differs between the two draws is printed as undecided.
Energies are modelled at 45 nm; the formula is that of each network's paper (`archsim account`).
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from archsim import simulate
from archsim.account import define, figures
from archsim.accounting import CAUSES
from archsim.report.charts import STYLE
from archsim.summary import summarise
from scripts.published import RATES, rates, workload

ARTEFACTS = RATES.parent / "artefacts"

INDEPENDENT, CLUSTERED = "independent", "clustered"
"""How spikes are drawn."""

GROUPS = {
    "adders": ("synapse_adders", "accumulator_registers", "attention_adders", "attention_control", "transposer"),
    "weights": ("weight_memory", "parameter_memory"),
    "DRAM": ("dram",),
    "spikes": (
        "spike_memory", "pool_memory", "count_memory", "masker", "spike_fetch", "event_encoders", "spike_writers", "plane_readers",
    ),
    "sums": ("residual_memory", "psum_memory", "reduction_memory", "membrane_memory"),
    "neurons": ("neuron_units",),
    "control": (
        "program_memory", "clock", "logic_leakage", "memory_leakage", "route_memory", "dma_engine", "multicast", "expert_engine",
        "sequencers",
    ),
}
"""Components of the energy by group, in the order of the table: on-chip memories by what they hold."""

COLOURS = ("#1f5fa8", "#8ab6e0", "#8e5ea2", "#56a3a6", "#9fd3c7", "#e08e2b", "#6b6b6b")


@dataclass(frozen=True)
class Row:
    """One run: family, its rates, how spikes were drawn, mJ by the formula and on the chip by group, cycles, greatest loss."""

    family: str
    rates: str
    drawn: str
    formula_mj: float
    groups_mj: dict[str, float]
    cycles: float
    bound: str
    seconds: float

    @property
    def chip_mj(self) -> float:
        """All groups."""
        return sum(self.groups_mj.values())


def measure(family: str, size: str, chip: str, rate: float, drawn: str) -> Row:
    """Run one image; ``rate`` is taken where none is published."""
    start, (given, source) = time.monotonic(), rates(family, size, rate)
    like = {"spikes_like": str(ARTEFACTS / f"{family}_digits")} if drawn == CLUSTERED else {}
    with tempfile.TemporaryDirectory() as folder:
        path = workload(Path(folder), family, size, given, like)
        summary, definition = summarise(simulate.run(path, chip)), define(path)
    energy, causes = summary["energy_uj"], summary["adder_slots_all_images"]["causes"]
    lost = max((name for name in causes if name != "additions"), key=lambda name: causes[name]["slots"])
    groups = {group: sum(energy[name] for name in names) / 1000 for group, names in GROUPS.items()}
    formula = figures(definition, definition.rates).energy_mj
    return Row(family, source, drawn, formula, groups, summary["cycles"], CAUSES[lost], time.monotonic() - start)


def verdicts(rows: Iterable[Row]) -> list[str]:
    """For each assumed rate: formula and chip compared, in both draws, and what the draws disagree on."""
    found = {(row.family, row.rates, row.drawn): row for row in rows}
    lines = []
    for rate in dict.fromkeys(rate for family, rate, _ in found if family == "spikformer"):
        pairs = [
            (own, found["spikformer", rate, drawn])
            for (family, _, drawn), own in found.items() if family == "spikingformer"
        ]  # fmt: skip
        chip = " / ".join(f"{_saving(own.chip_mj, other.chip_mj)} ({own.drawn})" for own, other in pairs)
        time_ = " / ".join(f"{_saving(own.cycles, other.cycles)} ({own.drawn})" for own, other in pairs)
        own, other = pairs[0]
        lines.append(
            f"Spikformer {rate}: Spikingformer takes {_saving(own.formula_mj, other.formula_mj)} by the formulas; energy on the "
            f"chip {chip}; cycles {time_}"
        )
        for what, outcomes in {
            "which of the two takes less energy": {own.chip_mj < other.chip_mj for own, other in pairs},
            "which of the two takes less time": {own.cycles < other.cycles for own, other in pairs},
            "what Spikingformer loses most to": {own.bound for own, _ in pairs},
            "what Spikformer loses most to": {other.bound for _, other in pairs},
        }.items():
            if len(outcomes) > 1:
                lines.append(f"  UNDECIDED, differs between the draws: {what}")
    return lines


def _saving(own: float, other: float) -> str:
    return f"{abs(1 - own / other):.1%} {'less' if own < other else 'more'}"


HEAD = (
    f"{'network':<14} {'rates':<14} {'drawn':<12} {'formula':>8} {'chip':>8} {' '.join(f'{group:>8}' for group in GROUPS)} "
    f"{'cycles':>12}  greatest loss"
)


def line(row: Row) -> str:
    """A line of the table, mJ an image."""
    groups = " ".join(f"{value:8.3f}" for value in row.groups_mj.values())
    return (
        f"{row.family:<14} {row.rates:<14} {row.drawn:<12} {row.formula_mj:8.3f} {row.chip_mj:8.3f} {groups} "
        f"{row.cycles:12,.0f}  {row.bound}"
    )


def draw(rows: list[Row], title: str, path: Path) -> None:
    """Bars of the chip's energy by group, a mark where the formula is; the same rows give the same bytes."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": "compare"}):
        figure = Figure((9.0, 0.6 + 0.36 * len(rows)))
        axes, left = figure.subplots(), [0.0] * len(rows)
        names = [f"{row.family}, {row.rates}, {row.drawn}" for row in rows]
        for group, colour in zip(GROUPS, COLOURS, strict=True):
            widths = [row.groups_mj[group] for row in rows]
            axes.barh(names, widths, left=left, color=colour, label=group, height=0.7)
            left = [before + width for before, width in zip(left, widths, strict=True)]
        axes.plot([row.formula_mj for row in rows], names, "k|", markersize=14, label="formula")
        axes.invert_yaxis()
        axes.set_xlabel("mJ an image, modelled at 45 nm; SYNTHETIC spikes")
        axes.set_title(title, loc="left", fontsize=10)
        axes.legend(frameon=False, ncols=4, fontsize=8, loc="best")
        figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})


def main() -> None:
    """Run all, print table and verdicts."""
    parser = argparse.ArgumentParser(description="Spikingformer against Spikformer on a chip.")
    parser.add_argument("--size", default="8-512", help="published size of both (default: 8-512)")
    parser.add_argument("--chip", default="adders_512", help="preset or chip file")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.04, 0.084, 0.145], help="rates 0..1 of Spikformer")
    parser.add_argument("--own-rate", type=float, default=0.1, help="of Spikingformer where none is published")
    parser.add_argument("--figure", type=Path, help="SVG file to write")
    parser.add_argument("--out", type=Path, help="JSON file of the rows")
    arguments = parser.parse_args()
    runs = [("spikingformer", arguments.own_rate), *(("spikformer", rate) for rate in arguments.rates)]
    title = f"Spikingformer and Spikformer {arguments.size} on {arguments.chip}"
    print(f"{title}: mJ an image, modelled at 45 nm; SYNTHETIC spikes, random weights\n{HEAD}", flush=True)
    rows = []
    for (family, rate), drawn in product(runs, (INDEPENDENT, CLUSTERED)):
        rows.append(measure(family, arguments.size, arguments.chip, rate, drawn))
        print(line(rows[-1]), flush=True)
    print("\n".join(["", *verdicts(rows)]))
    if arguments.figure:
        draw(rows, title, arguments.figure)
    if arguments.out:
        arguments.out.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
