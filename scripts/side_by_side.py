"""The chip beside published ones: pJ an operation by every definition, with and without DRAM, images a second.

    python -m scripts.side_by_side FILE ...

Each FILE holds the figures of a run, kept with `python -m scripts.waterfall ... --out FILE`. What an operation is differs by paper
and decides the figure, so each column says it:

* gated: an addition is counted where a spike is. *dense*: every synapse counts in every time step, spike or not.
* peak: all adders add in every cycle, memory other than the weight rows left out. *sustained*: the whole image, whole chip.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from archsim.contracts.common.errors import ArchsimError
from archsim.energy.formulas import chip_of
from scripts.architect import addition
from scripts.waterfall import read


class Published(NamedTuple):
    """A published chip: what was built at which node and clock, and its figures with the operation that they count."""

    name: str
    built: str
    figures: str
    source: str


CHIPS = (
    Published("Chen & Chang", "28 nm, 500 MHz, 198 k gates, 139 kB",
              "0.026 pJ: dense, peak, on chip (38.3 TSOPS/W)", "arXiv 2503.19643"),
    Published("VESTA", "28 nm, 500 MHz, 512 PEs, 107 kB, 0.844 mm2",
              "30 images/s at 224 x 224 (Spikformer V2)", "arXiv 2503.20246"),
    Published("Prosperity", "28 nm, 500 MHz, 128 adders, 446.5 mW",
              "Spikformer CIFAR-10: 267 images/s, 3.42 mJ, 1.67 of it on chip", "HPCA 2025"),
    Published("Tianjic", "general", "1.54 pJ an operation by its own definition; these vary", "SENECA paper, table 3"),
    Published("TrueNorth", "general", "2.5 pJ: as above", "SENECA paper, table 3"),
    Published("SENECA", "general", "2.8 pJ: as above", "SENECA paper, table 3"),
    Published("ReckOn", "general", "5.3 pJ: as above", "SENECA paper, table 3"),
    Published("SpiNNaker2", "general", "10 pJ: as above", "SENECA paper, table 3"),
    Published("ODIN", "general", "12.7 pJ: as above", "SENECA paper, table 3"),
    Published("Loihi", "general", "23.6 pJ: as above", "SENECA paper, table 3"),
)  # fmt: skip
"""Figures as their papers state them; none is scaled to another node."""


def operations_pj(row: Mapping[str, Any]) -> dict[str, float]:
    """Energy of an operation in pJ, of a run by definition.

    Peak figures: an addition at full speed, one weight row for the columns of a lane; dense-counted, that energy is shared by the
    synapses that did not spike (dense operations / additions of the run).
    """
    chip = chip_of(row)
    total, dram = row["energy_uj"]["total"] * 1e6, row["energy_uj"]["dram"] * 1e6
    gated, dense = row["synaptic_operations"], row["dense_operations"]
    peak = addition(chip, 1 / chip.lanes).total
    return {
        "gated, peak, on chip": peak, "dense, peak, on chip": peak * gated / dense,
        "gated, sustained, on chip": (total - dram) / gated, "gated, sustained, with DRAM": total / gated,
        "dense, sustained, on chip": (total - dram) / dense, "dense, sustained, with DRAM": total / dense,
    }  # fmt: skip


def _between(row: Mapping[str, Any], unit: float) -> str:
    """The range of a run's energy, in units of so many uJ."""
    return "{:.3g} .. {:.3g}".format(*(end / unit for end in row["energy_range_uj"]["total"]))


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines: the runs by definition, then the published chips."""
    lines = []
    for row in rows:
        parameters, energy = row["chip_parameters"], row["energy_uj"]
        lines += [
            f"{row['network']} on {row['chip']}: {parameters['adders']} adders at {parameters['clock_mhz']:g} MHz, modelled at "
            f"45 nm, {row['area_mm2']['total']:.2f} mm2; rates: {row['rates']}",
            f"  {row['images_per_s']:.1f} images/s, {energy['total'] / 1000:.2f} mJ an image ({_between(row, 1000)}), "
            f"{(energy['total'] - energy['dram']) / 1000:.2f} of it on chip, {row['utilization']:.1%} of the adders used",
            f"  {row['synaptic_operations']:,.0f} gated operations, {row['dense_operations']:,} dense ones",
            *(f"  {value:8.4f} pJ an operation: {name}" for name, value in operations_pj(row).items()),
        ]  # fmt: skip
    lines += ["", "published, each at its own node and by its own definition:"]
    return lines + [f"  {chip.name:<14}{chip.built:<46}{chip.figures} ({chip.source})" for chip in CHIPS]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="The chip beside published ones.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="figures kept with scripts.waterfall --out")
    options = parser.parse_args(arguments)
    try:
        print("\n".join(table([read(path) for path in options.files])))
    except ArchsimError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
