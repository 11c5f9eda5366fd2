"""Files of results: a row a point."""

import json
import re
from pathlib import Path
from typing import Any

from archsim.contracts.common.errors import ArchsimError


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of results; none if there is no such file. Raises ArchsimError for a line that is no row."""
    rows = []
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], 1):
        try:
            row = json.loads(line)
            place(row)
        except (ValueError, KeyError, TypeError) as error:
            raise ArchsimError(
                f"{path}, line {number}: required a row of results, given something else; remove it"
            ) from error
        rows.append(row)
    return rows


def place(row: dict[str, Any]) -> tuple[str, str]:
    """Unit and parameters of a row, in an order that reads well."""
    return row["unit"], re.sub(r"\d+", lambda match: f"{int(match[0]):06}", text_of(row["parameters"]))


def text_of(point: dict[str, int]) -> str:
    """A point in words."""
    return " ".join(f"{name}={value}" for name, value in point.items())
