"""A product of the energy model: a count, factors, figures of the table."""

import math
from dataclasses import dataclass

from archsim.energy.coefficients import Reading

ATTENTION = "attention."
"""Prefix of counters of the attention unit, where its banks differ from the cores'."""

CYCLES = "cycles"
"""Name by which terms count the cycles of a run."""


@dataclass(frozen=True)
class Term:
    """One product of the model: a count times factors times figures of the table.

    Attributes:
        component: entry of the reports that it belongs to.
        counter: what is counted: a counter, `CYCLES`, or for an area what the chip has of it.
        factors: numbers, each with what it is.
        readings: figures from the table.
    """

    component: str
    counter: str
    factors: tuple[tuple[float, str], ...]
    readings: tuple[Reading, ...]

    @property
    def value(self) -> float:
        """Energy of one count in pJ, or area in the unit of the readings."""
        return math.prod([factor for factor, _ in self.factors] + [reading.value for reading in self.readings])

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the most that it may be, by the ranges of its figures; counts and factors are exact."""
        exact = math.prod(factor for factor, _ in self.factors)
        return (
            exact * math.prod(reading.low for reading in self.readings),
            exact * math.prod(reading.high for reading in self.readings),
        )
