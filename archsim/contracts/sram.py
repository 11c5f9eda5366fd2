"""SRAM bank: one synchronous read port, one write port, written in granules.

A read presented in cycle t is answered in t+1 and the answer holds until the next read. A write presented in cycle t is
visible to reads presented from t+1 on. Reading a row in the cycle in which it is written is forbidden: the ownership rule
of the program excludes it between instructions, the pipelines exclude it inside one.
"""

from dataclasses import dataclass

from archsim.contracts.common.errors import ArchsimError

READ_LATENCY = 1
"""Cycles from a presented read to its data."""

WRAPPED_BITS = 1024
"""Storage of this many bits or more is an instance of this unit (a black box in standard-cell synthesis)."""


@dataclass(frozen=True)
class SramParams:
    """A bank of ``rows`` rows of ``granules`` granules of ``granule_bits`` bits; a write selects granules by a mask."""

    rows: int
    granule_bits: int
    granules: int = 1

    def __post_init__(self) -> None:
        """Check that every size is positive."""
        if min(self.rows, self.granule_bits, self.granules) < 1:
            raise ArchsimError(f"sram: rows, granule_bits and granules must be 1 or more, given {self}")

    @property
    def row_bits(self) -> int:
        """Bits of a row."""
        return self.granule_bits * self.granules

    @property
    def address_bits(self) -> int:
        """Bits of a row address (at least 1)."""
        return max(1, (self.rows - 1).bit_length())

    @property
    def bits(self) -> int:
        """Bits of the bank."""
        return self.rows * self.row_bits
