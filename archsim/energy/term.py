"""A product of the energy model: a count, factors, figures of the table."""

import math
from dataclasses import dataclass

from archsim.energy.coefficients import Reading

ATTENTION = "attention."
"""Prefix of counters of the attention unit, where its banks differ from the cores'."""

CYCLES = "cycles"
"""Name by which terms count the cycles of a run."""

ATTENTION_NEURON = "attention neuron"
"""The attention unit's neuron unit, among the names of units; everything else there but the sequencer is ``attention``."""

SCALE = "scale_"
"""Beginning of the names of the factors between nodes."""


def place(engine: str, unit: str) -> str:
    """Name of a unit of an engine: the attention unit has neurons of its own."""
    return ATTENTION_NEURON if (engine, unit) == ("attention", "neuron") else unit


@dataclass(frozen=True)
class Term:
    """One product of the model: a count times factors times figures of the table.

    Attributes:
        component: entry of the reports that it belongs to.
        counter: what is counted: a counter, `CYCLES`, or for an area what the chip has of it.
        factors: numbers, each with what it is.
        readings: figures from the table, or of a law.
        unit: the unit of logic that switches, as `cosim.gates` names units; empty for memories, leakage and DRAM.
    """

    component: str
    counter: str
    factors: tuple[tuple[float, str], ...]
    readings: tuple[Reading, ...]
    unit: str = ""

    @property
    def value(self) -> float:
        """Energy of one count in pJ, or area in the unit of the readings."""
        return math.prod([factor for factor, _ in self.factors] + [reading.value for reading in self.readings])

    @property
    def scaled(self) -> float:
        """The product of the factors between nodes in it, by which its value is divided for that of the laws' node; 1 if none."""
        return math.prod(reading.value for reading in self.readings if reading.entries[0].startswith(SCALE))

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the most that it may be, by the ranges of its figures; counts and factors are exact."""
        exact = math.prod(factor for factor, _ in self.factors)
        return (
            exact * math.prod(reading.low for reading in self.readings),
            exact * math.prod(reading.high for reading in self.readings),
        )
