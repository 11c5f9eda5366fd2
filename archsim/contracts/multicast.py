"""Multicast: copies rows of one output spike bank to the input banks of any set of cores, or to the attention unit.

Two nested loops of affine addresses; one row a cycle to all destinations at once.
"""

from archsim.contracts.common.layout import Field

Q0, Q1, K, V = 0, 1, 2, 3
"""Input banks of the attention unit."""

MULTICAST_FIELDS = (
    Field("source", 6),  # engine that owns the output bank: the attention unit or a core
    Field("source_bank", 1),
    Field("source_base", 20),
    Field("source_outer", 16),
    Field("source_inner", 10),
    Field("outer", 20),
    Field("inner", 10),
    Field("cores", 32),  # destination cores, a bit each; 0: the attention unit
    Field("bank", 2),  # input bank of the cores, or Q0, Q1, K, V
    Field("base", 20),
    Field("base_outer", 16),
    Field("base_inner", 10),
)
"""Fields of MULTICAST."""

OVERHEAD = 3
"""Cycles besides one per row: read, hold, write."""


def cycles(rows: int) -> int:
    """Law: duration in cycles."""
    return rows + OVERHEAD
