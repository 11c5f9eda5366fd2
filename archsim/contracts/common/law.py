"""Form of a unit's laws of energy and area: sums of products of its parameters and of what it does in some cycles.

A product is what is thought to switch, or to be there: ``cycles lanes word_bits`` is the clock of the registers that hold a word.
The form stands with the unit's contract; its coefficients are measured (`rtl.characterize`), and the energy model takes both.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from archsim.contracts.sram import WRAPPED_BITS, SramParams

CYCLES, CONSTANT = "cycles", "1"
"""Names in a term that are no parameter and no count: the cycles in which the unit is clocked, and 1."""

KNOWN_BITS = "known_bits"
"""Size that every unit has: bits of registers that are no matter of proportion, as those of a memory that is made of registers only
if it is small. Their clock and area are known from the library and not fitted."""


def integers(params: Any) -> dict[str, int]:
    """The integer parameters of a unit, by name."""
    found = {field.name: getattr(params, field.name) for field in fields(params)}
    return {name: value for name, value in found.items() if isinstance(value, int)}


def nothing(params: Any) -> dict[str, int]:
    """No other sizes."""
    return {}


def none(params: Any) -> int:
    """No such registers."""
    return 0


def small(*memories: SramParams) -> int:
    """Bits of those memories that are made of registers, since they are small."""
    return sum(memory.bits for memory in memories if memory.bits < WRAPPED_BITS)


def registers(*memories: SramParams) -> int:
    """Register bits of those memories: their rows, and the row that was read last, which a bank keeps within itself."""
    return sum(memory.bits + memory.row_bits for memory in memories if memory.bits < WRAPPED_BITS)


def product(names: Iterable[str], numbers: Mapping[str, int]) -> int:
    """The product of the numbers of these names; `CONSTANT` is 1."""
    result = 1
    for name in names:
        result *= 1 if name == CONSTANT else numbers[name]
    return result


@dataclass(frozen=True)
class Form:
    """The terms of a unit's laws; a term is the product of the names in it, separated by blanks.

    Attributes:
        counts: what the unit does that costs energy.
        energy: terms of the energy of some cycles in pJ; each has `CYCLES` or one of ``counts``, once.
        area: terms of the area in um2: sizes, or `CONSTANT`.
        sizes: sizes that follow from the parameters, beside these.
        known: its `KNOWN_BITS`, by its parameters.
        fixed: parameters that matter, and that no term takes since they were not varied.
    """

    counts: tuple[str, ...]
    energy: tuple[str, ...]
    area: tuple[str, ...]
    sizes: Callable[[Any], dict[str, int]] = nothing
    known: Callable[[Any], int] = none
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that every term of the energy has one count or the cycles."""
        for text in self.energy:
            found = [name for name in text.split() if name in (CYCLES, *self.counts)]
            assert len(found) == 1, f"term '{text}': required the cycles or one count, given {found}"

    def numbers(self, params: Any) -> dict[str, int]:
        """Every size that terms may take, from the unit's parameters (those of a chip where it has no others)."""
        return {**integers(params), **self.sizes(params), KNOWN_BITS: self.known(params)}

    def counted(self, text: str) -> str:
        """The count, or `CYCLES`, of a term of the energy."""
        return next(name for name in text.split() if name in (CYCLES, *self.counts))

    def parameters(self, text: str) -> list[str]:
        """The sizes of a term."""
        return [name for name in text.split() if name not in (CYCLES, CONSTANT, *self.counts)]
