"""How good is extrapolation: laws fitted to the small points alone, held against the larger ones.

    python -m rtl.characterize.extrapolation [--out DIR]

Small are the combinations of a grid's axes, larger its further points (`Grid.tests`, `Grid.more`). Prints a table and writes
``OUT/extrapolation.md``; it measures nothing.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from archsim.contracts.common.errors import ArchsimError
from rtl.characterize import laws
from rtl.characterize.grid import GRIDS
from rtl.characterize.package import NATIVE
from rtl.characterize.results import read

NAME = "extrapolation.md"
"""The file that is written, beside the results."""


def report(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown from results of one library. Raises ArchsimError if no larger point is measured."""
    lines = [
        "# Laws of the small points, at the larger ones", "",
        f"Written by `python -m rtl.characterize.extrapolation` from {NATIVE}.jsonl. The laws here are fitted to the combinations",
        "of the grids' axes, without any further point; law / gates - 1, of an energy the least and the most of its windows.", "",
        "| unit | point | its size is a preset's | energy | data alone | area |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    before = len(lines)
    for unit, grid in GRIDS.items():
        own = [row for row in rows if row["unit"] == unit]
        small = [row for row in own if row["parameters"] in list(grid.combinations())]
        if len(small) < len(own) and grid.whole(own):
            lines += _unit(unit, small, [row for row in own if row not in small])
    if len(lines) == before:
        raise ArchsimError(f"{NATIVE}.jsonl: required points beside the combinations of a grid's axes, given none; "
                           "measure with `python -m rtl.characterize`")  # fmt: skip
    return "\n".join([*lines, ""])


def _unit(unit: str, small: Sequence[Mapping[str, Any]], larger: Sequence[Mapping[str, Any]]) -> list[str]:
    energy, area, lines = laws.energy(unit, small), laws.area(unit, small), []
    for row in larger:
        whole, data = [], []
        for _, window, pj, events in laws.said(unit, [row], energy):
            whole.append(pj / sum(window["pj"].values()) - 1)
            if window["rate"]:
                data.append(events / (window["pj"]["switching"] + window["pj"]["internal"]) - 1)
        preset = "yes" if GRIDS[unit].held(row["parameters"]) else "no"
        size = f"{laws.area_of(unit, row, area) / row['area_um2'] - 1:+.1%}"
        lines.append(f"| {unit} | {laws.point_text(unit, row)} | {preset} | {_ends(whole)} | {_ends(data)} | {size} |")
    return lines


def _ends(errors: Sequence[float]) -> str:
    return f"{min(errors):+.1%} .. {max(errors):+.1%}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m rtl.characterize.extrapolation", description="Laws of small units, held against larger ones."
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("reports/characterisation"), help="(default %(default)s)"
    )
    folder = parser.parse_args(arguments).out
    try:
        text = report(read(folder / f"{NATIVE}.jsonl"))
    except ArchsimError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    (folder / NAME).write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
