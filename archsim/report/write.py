"""Writes a run's report folder, whole or not at all."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from archsim.contracts.common.errors import ArchsimError
from archsim.report.timeline import timeline
from archsim.results import RunResult
from mapping.program import write

DATA, PAGE, TIMELINE, PROGRAM = "report.json", "report.html", "timeline.json", "program.safetensors"
"""Files of a report; the program is the one that ran, with its weights and buffer map."""


def write_report(result: RunResult, summary: Mapping[str, Any], folder: Path) -> Path:
    """Write ``report.json``, ``report.html``, ``timeline.json`` and the program into ``folder``; returns it.

    They are written beside it and moved into place together, so that no partial report is ever there; an
    older report of that name is replaced. The same result gives the same bytes.

    Raises ArchsimError when the folder holds something else than a report, or cannot be written.
    """
    from archsim.report.page import page  # matplotlib takes half a second to load

    check_folder(folder)
    files = {
        DATA: json.dumps({**summary, "provenance": result.provenance}, indent=2, default=str) + "\n",
        PAGE: page(result, summary),
        TIMELINE: json.dumps(timeline(result), separators=(",", ":"), default=str) + "\n",
    }
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as place:
            new, old = Path(place) / "new", Path(place) / "old"
            new.mkdir()
            for name, text in files.items():
                (new / name).write_text(text, encoding="utf-8")
            write(result.program, new / PROGRAM)
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise ArchsimError(
            f"{folder}: required a folder that can be written, given one that cannot ({error})"
        ) from error
    return folder


def check_folder(folder: Path) -> None:
    """Raise ArchsimError unless a report may be written to ``folder``: absent, empty, or an older report."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ArchsimError(f"{folder}: required a folder for the report, given a file; choose another with --out")
    others = sorted(entry.name for entry in folder.iterdir() if entry.name not in (DATA, PAGE, TIMELINE, PROGRAM))
    if others:
        raise ArchsimError(
            f"{folder}: required a new folder or an older report, given one that holds "
            f"{', '.join(others[:3])}; choose another with --out"
        )
