"""Random masks on spikes: accuracy, spikes, and energy by the formula and on the chip, at several shares of masked spikes.

    python -m scripts.masking [WORKLOAD] [--shares SHARE ...] [--images N]

The workload's trained network runs once for each share; q, k and scores are masked, as in the published code. The formula is that
of `archsim account`, at the rates of the recorded images (of the share that the network was trained with); energies are modelled at
45 nm.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import archsim
from archsim.account import define, figures
from archsim.config import load_workload
from archsim.summary import summarise

WORKLOAD = Path(__file__).resolve().parents[1] / "workloads" / "masked_spiking_transformer.yaml"
SHARES = (0.0, 0.5, 0.75)


@dataclass(frozen=True)
class Row:
    """Means per image at a share of masked spikes: images right, cycles, operations, energies in uJ."""

    share: float
    right: int
    cycles: float
    operations: float
    formula_uj: float
    chip_uj: float
    chip_without_dram_uj: float


def with_share(workload: Path, share: float, folder: Path) -> Path:
    """A copy of a workload file in ``folder`` whose share of masked spikes is another."""
    artefact, lines = load_workload(workload).artefact.resolve(), []
    for line in workload.read_text(encoding="utf-8").splitlines():
        key = line.partition(":")[0].strip()
        if key == "artefact":
            lines += [f"  artefact: {artefact}", f"  masked: {share}"]
        elif key != "masked":
            lines.append(line)
    path = folder / f"masked_{share:g}.yaml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def measure(workload: Path, share: float, images: int) -> Row:
    """One share, on the first test images."""
    with tempfile.TemporaryDirectory() as folder:
        path = with_share(workload, share, Path(folder))
        definition, result = define(path), archsim.run(path, images=images)
    found, energy = summarise(result), figures(definition, definition.rates).energy_mj
    assert result.accuracy is not None  # a trained network has labels
    total, dram = found["energy_uj"]["total"], found["energy_uj"]["dram"]
    right = round(result.accuracy * images)
    return Row(share, right, found["cycles"], found["synaptic_operations"], energy * 1e3, total, total - dram)


def table(rows: list[Row], images: int) -> str:
    """The rows as a table, changes against the first in parentheses."""
    names = {
        "cycles": "cycles", "operations": "operations", "formula_uj": "formula, uJ", "chip_uj": "chip, uJ",
        "chip_without_dram_uj": "without DRAM, uJ",
    }  # fmt: skip
    lines = ["share   right     " + "".join(f"{heading:<24}" for heading in names.values())]
    for row in rows:
        pairs = [(getattr(row, name), getattr(rows[0], name)) for name in names]
        cells = [
            f"{value:,.{0 if value > 1e4 else 3}f} ({100 * (value / first - 1):+.2f} %)" for value, first in pairs
        ]
        lines.append(f"{row.share:<8g}{f'{row.right}/{images}':<10}" + "".join(f"{cell:<24}" for cell in cells))
    return "\n".join(line.rstrip() for line in lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure a network at several shares of masked spikes.")
    parser.add_argument("workload", type=Path, nargs="?", default=WORKLOAD)
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES)
    parser.add_argument("--images", type=int, default=360)
    arguments = parser.parse_args()
    rows = [measure(arguments.workload, share, arguments.images) for share in arguments.shares]
    print(table(rows, arguments.images))


if __name__ == "__main__":
    main()
