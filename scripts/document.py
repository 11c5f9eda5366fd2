"""Write the generated documentation: docs/units from the contracts, and the outputs of commands in the documents that have some.

    python -m scripts.document

A marker ``<!-- output: COMMAND | head N -->`` (or ``tail N``, or nothing) stands before a block that this script fills with what
the command prints on standard output.
"""

import os
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from scripts.unit_pages import ROOT, pages

OUTPUTS = ("README.md", "docs/networks.md")
"""Documents with outputs of commands."""

_OUTPUT = re.compile(
    r"<!-- output: (?P<command>[^|\n]+?)(?: \| (?P<cut>head|tail) (?P<count>\d+))? -->\n```console\n.*?```", re.DOTALL
)


@cache
def output(command: str) -> list[str]:
    """Lines that a command of the environment prints on standard output, run where it can leave its report."""
    program, *arguments = command.split()
    environment = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "COLUMNS")}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "workloads").symlink_to(ROOT / "workloads")
        done = subprocess.run(
            [Path(sys.executable).parent / program, *arguments], cwd=folder, env=environment, check=True, text=True,
            stdout=subprocess.PIPE,
        )  # fmt: skip
    return [line.rstrip() for line in done.stdout.rstrip("\n").split("\n")]


def with_outputs(text: str) -> str:
    """The text with the block behind every marker filled anew."""

    def fill(match: re.Match[str]) -> str:
        command, cut, count = match["command"], match["cut"], int(match["count"] or 0)
        lines = output(command)
        if cut == "head":
            lines = [*lines[:count], "..."]
        elif cut == "tail":
            lines = ["...", *lines[-count:]]
        marker = match[0].split("\n", 1)[0]
        return "\n".join([marker, "```console", f"$ {command}", *lines, "```"])

    return _OUTPUT.sub(fill, text)


def main() -> None:
    """Write every page, remove those of units that are gone, and refresh the outputs of commands."""
    written = pages()
    for old in (ROOT / "docs/units").glob("*.md"):
        if old.relative_to(ROOT) not in written:
            old.unlink()
    for path, text in written.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text, encoding="utf-8")
    for name in OUTPUTS:
        document = ROOT / name
        document.write_text(with_outputs(document.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
