"""Spike writer: stores granules of spikes in the output bank, or the OR of 3x3 windows of them.

Without pooling a granule (P spikes of one block and lane) accepted in cycle t is written in t. The granule of block 0 and lane 0,
which comes first, clears the rest of its row: blocks and lanes that are not used hold no old spikes. With pooling (3x3
windows, stride 2, padding 1) no map before the pool is ever stored: a running OR over three columns and a line buffer over
three rows of a tile give the pooled granule at odd columns and odd rows and at the last ones. A tile may begin with the row above
its first pooled row (``pool_first_odd``) and with the column to the left of its first pooled column (``pool_left_odd``), which it
then only adds in; so a map can be cut into tiles in both directions.

Timing: never stalls. ``DONE`` cycles after the acceptance of its last granule the instruction is done (``POOL_DONE`` with pooling).
"""

from dataclasses import dataclass
from functools import cached_property

from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.law import Form, registers
from archsim.contracts.sram import SramParams

BANKS = 2
"""Output spike banks of a core."""

DONE = 1
"""Cycles from the acceptance of the last granule to the end of the instruction."""

POOL_DONE = 3
"""The same with pooling: one cycle for the columns, one for the rows."""

POOL_STEPS, POOL_ROWS = 8, 512
"""Usual sizes of the pool's memories: 112 columns after the pool at 4 time steps, as an image of 224 pixels needs."""


@dataclass(frozen=True)
class SpikeWriterParams:
    """Sizes of a spike writer.

    Attributes:
        lanes: L, words of a row.
        neurons: P, spikes of a granule.
        blocks: blocks of P channels of a word.
        rows: rows of an output bank.
        pool_steps: time steps of a pooled position at most, in whole words.
        pool_rows: words of the line buffer: columns after the pool x time steps at most.
    """

    lanes: int
    neurons: int
    blocks: int
    rows: int
    pool_steps: int = POOL_STEPS
    pool_rows: int = POOL_ROWS

    def __post_init__(self) -> None:
        """Check ranges."""
        if min(self.lanes, self.neurons, self.blocks) < 1 or self.rows < 2:
            raise ArchsimError(f"spike writer: lanes, neurons, blocks of 1 or more and 2 rows required, given {self}")
        if min(self.pool_steps, self.pool_rows) < 1:
            raise ArchsimError(f"spike writer: pool_steps and pool_rows of 1 or more required, given {self}")

    @cached_property
    def bank(self) -> SramParams:
        """One output spike bank: a row holds L words, written P bits at a time."""
        return SramParams(self.rows, self.neurons, self.lanes * self.blocks)

    @cached_property
    def columns(self) -> SramParams:
        """Running ORs over the columns of a window: a granule a row, in the order in which those of a position come."""
        return SramParams(self.pool_steps * self.blocks, self.neurons)

    @cached_property
    def lines(self) -> SramParams:
        """The line buffer: a granule a row, column after column."""
        return SramParams(self.pool_rows * self.blocks, self.neurons)


LAW = Form(
    ("granules", "spikes", "pooled"),
    ("cycles", "cycles neurons", "granules", "spikes lanes", "pooled"),
    ("1", "neurons", "lanes", "neurons lanes"),
    known=lambda params: registers(params.columns, params.lines),
)
"""Laws of energy and area. Counts: granules that come, their spikes, those of the granules that the pool takes."""


def corners() -> list[SpikeWriterParams]:
    """Parameter sets at the ends of the ranges: one granule a row, the widest rows, the smallest pool, no power of two."""
    return [
        SpikeWriterParams(1, 1, 1, 2, 1, 1), SpikeWriterParams(1, 4, 2, 64, 4, 16), SpikeWriterParams(3, 7, 3, 300, 8, 20),
        SpikeWriterParams(4, 4, 4, 512), SpikeWriterParams(16, 64, 1, 100, 16, 32),
    ]  # fmt: skip


def pooled_size(size: int, first_odd: int = 0) -> int:
    """Rows (columns) of a tile after 3x3 windows with stride 2 and padding 1; its first one is odd (1) or even (0)."""
    return (size - first_odd + 1) // 2


def pool_accesses(height: int, width: int, first_odd: int, left_odd: int, granules: int) -> tuple[int, int, int, int]:
    """Law: reads and writes of the running ORs over columns, and reads and writes of the line buffer, of a tile.

    Args:
        height: rows of the tile, before the pool.
        width: columns of the tile, before the pool.
        first_odd: 1 if its first row is odd.
        left_odd: 1 if its first column is odd.
        granules: granules of a position: blocks x time steps.

    Every granule writes its OR over columns, and reads the one before except in the first column; with the last column of a window
    it writes its line, and reads the one before except in the first row.
    """
    ends = pooled_size(width, left_odd)
    return granules * height * (width - 1), granules * height * width, granules * (height - 1) * ends, granules * height * ends


def emits(index: int, size: int, first_odd: int = 0) -> bool:
    """Whether windows of the tile are complete with its row (column) ``index`` of ``size``.

    An odd one ends a window; the first of the tile, if it is odd, that of the tile before. So does the last one.
    """
    odd = (index + first_odd) % 2 == 1
    return index > 0 if odd else index == size - 1
