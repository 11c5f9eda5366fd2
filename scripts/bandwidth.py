"""Sweep the DRAM bus of a chip: images a second, utilization, and every cause of lost adder slots, of one image in trace mode.

    python -m scripts.bandwidth WORKLOAD [--chip CHIP] [--bytes 8 16 32]

A bus of other width is another chip: rows lie in DRAM on beats of their own, so a row of fewer bytes than the bus takes a beat.
"""

import argparse
from pathlib import Path
from typing import Any

from archsim import simulate
from archsim.accounting import CAUSES
from archsim.config import read_chip
from archsim.summary import summarise


def sweep(workload: Path, chip: str, widths: list[int]) -> dict[int, dict[str, Any]]:
    """Summary of the first image by bus width in bytes."""
    params = read_chip(chip).params
    return {
        width: summarise(simulate.run(workload, params.replace(dram_bus_bytes=width), 1, "trace")) for width in widths
    }


def table(found: dict[int, dict[str, Any]]) -> list[str]:
    """Lines of a table: a column a width, a row for each figure and for each cause that any width loses slots to."""
    rows = {
        "images/s": [f"{entry['images_per_s']:.2f}" for entry in found.values()],
        "cycles": [f"{entry['cycles']:,}" for entry in found.values()],
        "DRAM bytes moved": [f"{entry['dram_bytes']:,}" for entry in found.values()],
    }
    causes = [entry["adder_slots_all_images"]["causes"] for entry in found.values()]
    for name, label in CAUSES.items():
        if any(entry[name]["slots"] for entry in causes):
            rows[label] = [f"{entry[name]['share']:.2%}" for entry in causes]
    head = f"{'bytes a cycle':<34}" + "".join(f"{width:>16}" for width in found)
    return [head, *(f"{label:<34}" + "".join(f"{value:>16}" for value in values) for label, values in rows.items())]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Sweep the DRAM bus of a chip.")
    parser.add_argument("workload", type=Path)
    parser.add_argument("--chip", default="adders_512", help="preset or chip file")
    parser.add_argument("--bytes", type=int, nargs="+", default=[8, 16, 32], help="widths of the bus")
    arguments = parser.parse_args()
    found = sweep(arguments.workload, arguments.chip, arguments.bytes)
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
