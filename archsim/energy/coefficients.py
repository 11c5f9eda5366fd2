"""The table of coefficients, checked when it is read, and interpolation between its points."""

import math
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Reading:
    """A figure taken from the table, and how.

    Attributes:
        value: the figure, in ``unit``.
        unit: as in the table.
        law: how it follows from the entries, in words; says so where it lies outside of them.
        entries: names of the entries that it rests on.
    """

    value: float
    unit: str
    law: str
    entries: tuple[str, ...]


def single(name: str) -> Reading:
    """One entry as it stands."""
    entry = coefficients()[name]
    return Reading(entry.value, entry.unit, "as it stands in the table", (name,))


def by_capacity(prefix: str, capacity_bytes: float) -> Reading:
    """A memory's figure, interpolated on logarithmic axes between the points ``prefix_*`` of the table.

    Outside of the points the nearest segment's slope goes on; a capacity of less than 1 byte counts as 1.
    """
    size = max(1.0, capacity_bytes)
    points = _points(prefix, "bytes")
    index = next((i for i in range(1, len(points) - 1) if size <= points[i][0]), len(points) - 1)
    (low, low_value, first), (high, high_value, second) = points[index - 1], points[index]
    slope = math.log(high_value / low_value) / math.log(high / low)
    found = low_value * (size / low) ** slope
    law = f"{size:g} bytes on the power law (exponent {slope:.3f}) through {first} and {second}"
    return _reading(found, law, size, low, high, first, second)


def by_width(prefix: str, bits: int) -> Reading:
    """An operator's figure, linear between the points ``prefix_*`` of the table, proportional below them."""
    points = _points(prefix, "bits")
    if bits <= points[0][0]:
        bits_of_first, first_value, first = points[0]
        found = first_value * bits / bits_of_first
        return Reading(found, coefficients()[first].unit, f"{bits} bits, in proportion to {first}", (first,))
    index = next((i for i in range(1, len(points)) if bits <= points[i][0]), len(points) - 1)
    (low, low_value, first), (high, high_value, second) = points[index - 1], points[index]
    found = low_value + (high_value - low_value) * (bits - low) / (high - low)
    return _reading(found, f"{bits} bits on the line through {first} and {second}", bits, low, high, first, second)


def _points(prefix: str, size: str) -> list[tuple[int, float, str]]:
    """The entries ``prefix_*`` in the order of their ``size``: size, value, name."""
    own = [(name, entry) for name, entry in coefficients().items() if name.startswith(prefix + "_")]
    return sorted((getattr(entry, size) or 1, entry.value, name) for name, entry in own)


def _reading(found: float, law: str, size: float, low: float, high: float, first: str, second: str) -> Reading:
    for point, name in ((low, first), (high, second)):
        if size == point:
            return single(name)
    outside = "" if low < size < high else ", EXTRAPOLATED: outside of every point"
    return Reading(found, coefficients()[first].unit, law + outside, (first, second))
