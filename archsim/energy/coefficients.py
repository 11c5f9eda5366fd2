"""The table of coefficients, checked when it is read, and interpolation between its points."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from archsim.config.validate import Strict, validate
from archsim.config.yaml_source import Document, parse_yaml

FILE = "coefficients.yaml"
"""Name of the table in this package."""


class Coefficient(Strict):
    """One figure and where it is from."""

    value: Annotated[float, Field(gt=0)]
    """the figure, in ``unit``"""
    unit: Literal["pJ", "mm2", "um2", "mW", "adders", "1"]
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
    low: Annotated[float, Field(gt=0)] | None = None
    """the least that it may be, in ``unit``; null: not said"""
    high: Annotated[float, Field(gt=0)] | None = None
    """the most that it may be"""
    range: Annotated[str, Field(min_length=3)] | None = None
    """where low and high are from"""

    @model_validator(mode="after")
    def _ordered(self) -> "Coefficient":
        given = [entry is not None for entry in (self.low, self.high, self.range)]
        if any(given) and not all(given):
            raise ValueError("low, high and range: required all of them or none")
        if not self.least <= self.value <= self.most:
            raise ValueError(f"low <= value <= high required, given {self.low} <= {self.value} <= {self.high}")
        return self

    @property
    def least(self) -> float:
        """``low``, or the value where none is said."""
        return self.value if self.low is None else self.low

    @property
    def most(self) -> float:
        """``high``, or the value where none is said."""
        return self.value if self.high is None else self.high


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
        low, high: between what it may be, by the ranges of the entries and, outside of them, by the slopes of all segments.
        extrapolated: whether it lies outside of the entries.
    """

    value: float
    unit: str
    law: str
    entries: tuple[str, ...]
    low: float
    high: float
    extrapolated: bool = False


def single(name: str) -> Reading:
    """One entry as it stands."""
    entry = coefficients()[name]
    return Reading(entry.value, entry.unit, "as it stands in the table", (name,), entry.least, entry.most)


def field_energy_pj(accumulates: float, multiply_accumulates: float) -> float:
    """The field's figure, pJ: 0.9 per accumulate, 4.6 per multiply-accumulate (fp32, 45 nm), no memory."""
    return single("field_ac").value * accumulates + single("field_mac").value * multiply_accumulates


class _Point(NamedTuple):
    """An entry by its size."""

    size: int
    name: str
    entry: Coefficient


def by_capacity(prefix: str, capacity_bytes: float) -> Reading:
    """A memory's figure on logarithmic axes between the points ``prefix_*`` of the table; beyond them that of the last point."""
    points = _points(prefix, "bytes")
    size = min(max(capacity_bytes, float(points[0].size)), float(points[-1].size))
    index = next((i for i in range(1, len(points) - 1) if size <= points[i].size), len(points) - 1)
    first, second = points[index - 1], points[index]

    def law(of: Callable[[Coefficient], float]) -> float:
        low, high = of(first.entry), of(second.entry)
        exponent = math.log(high / low) / math.log(second.size / first.size)
        return low * (size / first.size) ** exponent

    text = f"{size:g} bytes on the power law through {first.name} and {second.name}"
    return _reading(law(_value), text, size, first, second, law(_least), law(_most))


def by_width(prefix: str, bits: int) -> Reading:
    """An operator's figure, linear between the points ``prefix_*`` of the table, proportional below them."""
    points = _points(prefix, "bits")
    if bits <= points[0].size:
        first, entry, part = points[0].name, points[0].entry, bits / points[0].size
        text = f"{bits} bits, in proportion to {first}"
        return Reading(entry.value * part, entry.unit, text, (first,), entry.least * part, entry.most * part)
    index = next((i for i in range(1, len(points)) if bits <= points[i].size), len(points) - 1)
    first_point, second = points[index - 1], points[index]

    def law(of: Callable[[Coefficient], float]) -> float:
        low, high = of(first_point.entry), of(second.entry)
        return low + (high - low) * (bits - first_point.size) / (second.size - first_point.size)

    text = f"{bits} bits on the line through {first_point.name} and {second.name}"
    return _reading(law(_value), text, bits, first_point, second, law(_least), law(_most))


def _value(entry: Coefficient) -> float:
    return entry.value


def _least(entry: Coefficient) -> float:
    return entry.least


def _most(entry: Coefficient) -> float:
    return entry.most


def _points(prefix: str, size: str) -> list[_Point]:
    """The entries ``prefix_*`` in the order of their ``size``."""
    own = [(name, entry) for name, entry in coefficients().items() if name.startswith(prefix + "_")]
    return sorted(_Point(getattr(entry, size) or 1, name, entry) for name, entry in own)


def _reading(
    found: float, law: str, size: float, first: _Point, second: _Point, least: float, most: float
) -> Reading:
    for point in (first, second):
        if size == point.size:
            return single(point.name)
    outside = not first.size < size < second.size
    text = law + (", EXTRAPOLATED: outside of every point" if outside else "")
    return Reading(found, first.entry.unit, text, (first.name, second.name), least, most, outside)
