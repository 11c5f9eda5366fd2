"""The table of coefficients, checked when it is read, and interpolation between its points."""

import math
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal

from pydantic import Field

from archsim.config.validate import Strict, validate
from archsim.config.yaml_source import Document, parse_yaml

FILE = "coefficients.yaml"
"""Name of the table in this package."""


class Coefficient(Strict):
    """One figure and where it is from."""

    value: Annotated[float, Field(gt=0)]
    """the figure, in ``unit``"""
    unit: Literal["pJ", "mm2", "um2", "mW", "adders"]
    """unit of the value; energies are per access or operation"""
    bytes: Annotated[int, Field(ge=1)] | None = None
    """capacity of the memory that it holds for"""
    bits: Annotated[int, Field(ge=1)] | None = None
    """bits of the access or operation that it holds for"""
    node_nm: int | None
    """technology node, nm"""
    voltage: float | None
    """supply, V; null where the source does not say"""
    source: Annotated[str, Field(min_length=3)]
    """citation"""
    confidence: Literal["published", "indicative", "assumed"]
    """how sure it is"""


@cache
def coefficients() -> dict[str, Coefficient]:
    """The whole table by name. Raises ArchsimError with file, line and column if it is malformed."""
    document = parse_yaml(files("archsim.energy").joinpath(FILE).read_text(encoding="utf-8"), FILE)
    return {name: validate(Coefficient, _entry(document, name, index == 0)) for index, name in enumerate(document.data)}


def _entry(document: Document, name: str, first: bool) -> Document:
    """The part of the table under one name, as a document of its own with the positions of the whole."""
    part = Document(document.file, document.data[name])
    part.keys = {path[1:]: place for path, place in document.keys.items() if path[:1] == (name,)}
    part.values = {path[1:]: place for path, place in document.values.items() if path[:1] == (name,)}
    part.duplicates = [entry for entry in document.duplicates if entry[0][0] == name or first and len(entry[0]) == 1]
    return part


def value(name: str) -> float:
    """The value of a coefficient, in its unit."""
    return coefficients()[name].value


def by_capacity(prefix: str, capacity_bytes: float) -> float:
    """A memory's figure, interpolated on logarithmic axes between the points ``prefix_*`` of the table.

    Outside of the points the nearest segment's slope goes on; a capacity of less than 1 byte counts as 1.
    """
    points = sorted(
        (entry.bytes or 1, entry.value) for name, entry in coefficients().items() if name.startswith(prefix + "_")
    )
    size = max(1.0, capacity_bytes)
    index = next((i for i in range(1, len(points) - 1) if size <= points[i][0]), len(points) - 1)
    (low, low_value), (high, high_value) = points[index - 1], points[index]
    slope = math.log(high_value / low_value) / math.log(high / low)
    return low_value * (size / low) ** slope


def by_width(prefix: str, bits: int) -> float:
    """An operator's figure, linear between the points ``prefix_*`` of the table, proportional below them."""
    points = sorted(
        (entry.bits or 1, entry.value) for name, entry in coefficients().items() if name.startswith(prefix + "_")
    )
    points.insert(0, (0, 0.0))
    index = next((i for i in range(1, len(points)) if bits <= points[i][0]), len(points) - 1)
    (low, low_value), (high, high_value) = points[index - 1], points[index]
    return low_value + (high_value - low_value) * (bits - low) / (high - low)
