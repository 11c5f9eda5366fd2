"""Bit layouts of payloads, memory rows and instructions: declared once, used by simulator, RTL and mapper."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from archsim.contracts.common.errors import ArchsimError


@dataclass(frozen=True)
class Field:
    """A named group of bits.

    Attributes:
        name: identifier, unique in its layout.
        width: bits of one element.
        signed: two's complement if true.
        count: number of elements; more than one makes the field an array, element 0 in the lowest bits.
    """

    name: str
    width: int
    signed: bool = False
    count: int = 1

    @property
    def bits(self) -> int:
        """Bits of all elements."""
        return self.width * self.count

    def check(self, value: int) -> int:
        """The element's bit pattern; raises ArchsimError if ``value`` does not fit."""
        low, high = (
            (-(1 << (self.width - 1)), (1 << (self.width - 1)) - 1) if self.signed else (0, (1 << self.width) - 1)
        )
        if not low <= value <= high:
            raise ArchsimError(
                f"field '{self.name}': required a value in {low}..{high} ({self.width} bits"
                f"{', signed' if self.signed else ''}), given {value}"
            )
        return value & ((1 << self.width) - 1)


@dataclass(frozen=True)
class Layout:
    """Fields packed from the lowest bit upwards, without gaps."""

    name: str
    fields: tuple[Field, ...]

    @classmethod
    def of(cls, name: str, fields: Iterable[Field]) -> "Layout":
        """A layout of ``fields``; raises ArchsimError when a name stands twice or a width is not positive."""
        fields = tuple(fields)
        names = [field.name for field in fields]
        if len(set(names)) != len(names):
            raise ArchsimError(f"layout '{name}': field names must be unique, given {names}")
        for field in fields:
            if field.width < 1 or field.count < 1:
                raise ArchsimError(f"layout '{name}': field '{field.name}' needs width and count of 1 or more")
        return cls(name, fields)

    @cached_property
    def width(self) -> int:
        """Bits of the whole layout."""
        return sum(field.bits for field in self.fields)

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Lowest bit of each field."""
        offsets, position = {}, 0
        for field in self.fields:
            offsets[field.name] = position
            position += field.bits
        return offsets

    @cached_property
    def by_name(self) -> dict[str, Field]:
        """The fields by their names."""
        return {field.name: field for field in self.fields}

    def pack(self, values: Mapping[str, int | Iterable[int]]) -> int:
        """The bit pattern of ``values`` (missing fields are 0).

        Raises ArchsimError for an unknown field, a value that does not fit, or an array of the wrong length.
        """
        unknown = set(values) - set(self.by_name)
        if unknown:
            raise ArchsimError(f"layout '{self.name}' has no field {sorted(unknown)}")
        word = 0
        for name, value in values.items():
            field = self.by_name[name]
            elements = [value] if isinstance(value, int) else [int(element) for element in value]
            if len(elements) != field.count:
                raise ArchsimError(f"field '{name}': required {field.count} elements, given {len(elements)}")
            for index, element in enumerate(elements):
                word |= field.check(element) << (self.offsets[name] + index * field.width)
        return word

    def unpack(self, word: int) -> dict[str, int | list[int]]:
        """The values of every field in ``word``; arrays come as lists."""
        values: dict[str, int | list[int]] = {}
        for field in self.fields:
            elements = []
            for index in range(field.count):
                element = (word >> (self.offsets[field.name] + index * field.width)) & ((1 << field.width) - 1)
                if field.signed and element >> (field.width - 1):
                    element -= 1 << field.width
                elements.append(element)
            values[field.name] = elements if field.count > 1 else elements[0]
        return values
