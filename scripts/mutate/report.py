"""The summary of a mutation run, as Markdown."""

import shlex
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence

from scripts.mutate.operators import OPERATORS
from scripts.mutate.runner import HUNG, INVALID, KILLED, SURVIVED

VERDICTS = (KILLED, HUNG, SURVIVED, INVALID)


def summary(results: Sequence[dict], found: int, options: Namespace) -> tuple[str, list[dict]]:
    """The text, and the survivors that nobody has explained."""
    survivors = [entry for entry in results if entry["verdict"] == SURVIVED]
    unexplained = [entry for entry in survivors if not entry["reason"]]
    given = [
        *(["--sample", str(options.sample), "--seed", str(options.seed)] if options.sample else []),
        *(["--operator", options.operator] if options.operator else []), *(["--file", *options.file] if any(options.file) else []),
    ]  # fmt: skip
    command = shlex.join(["python", "-m", "scripts.mutate", *given])
    lines = [
        "# Mutation run", "", f"`{command}`: {len(results)} of {found} mutants. A *hung* one is killed by the time limit; an "
        "*invalid* one is refused by Amaranth or Numba and does not count.", "",
        *_table("operator", OPERATORS, results), "", *_table("file", sorted({entry["file"] for entry in results}), results), "",
        f"Survivors: {len(survivors)}, of which {len(survivors) - len(unexplained)} are explained in `explained.yaml`.", "",
        *(f"* **not explained** `{entry['file']}:{entry['number']}` ({entry['operator']}): `{entry['line']}` as `{entry['mutant']}`"
          for entry in unexplained),
        *(f"* `{entry['file']}:{entry['number']}` `{entry['mutant']}`: {entry['reason']}"
          for entry in survivors if entry["reason"]),
    ]  # fmt: skip
    return "\n".join(lines).rstrip() + "\n", unexplained


def _table(column: str, names: Sequence[str] | dict[str, str], results: Sequence[dict]) -> list[str]:
    """Verdicts by ``column``, with a row for the whole."""
    rows = [f"| {column} | {' | '.join(VERDICTS)} | explained |", "|---|" + "---:|" * (len(VERDICTS) + 1)]
    for name in (*names, "all"):
        entries = [entry for entry in results if name in ("all", entry[column])]
        counts = Counter(entry["verdict"] for entry in entries)
        reasons = sum(1 for entry in entries if entry["verdict"] == SURVIVED and entry["reason"])
        if entries:
            rows.append(f"| {name} | {' | '.join(str(counts[verdict]) for verdict in VERDICTS)} | {reasons} |")
    return rows
