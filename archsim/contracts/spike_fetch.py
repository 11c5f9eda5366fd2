"""Spike fetch: walks the windows of a tile of output positions over a spike bank and feeds the event encoder.

For every output position, in raster order, and every slice it reads the words of the window in the order (kernel row, kernel
column, word), skipping taps that fall on padding. A (position, slice) whose window lies wholly on padding still sends one empty
word, so that its group exists. Addresses come from counters and stored strides; there is no multiplier.

A *group* ends with the last word of each (position, slice) for spikes, and of each position for planes. For planes the first
word of every slice but the first is marked ``shift``; the words of the first slice are marked ``subtract`` if signed.

Timing: with the start in cycle s the first word is offered in ``s + FIRST_WORD``, and from then on one a cycle; a FIFO
covers the read latency, so the encoder (one word a cycle at most) is never starved afterwards.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.law import Form
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.event_encoder import EventEncoderParams
from archsim.contracts.sram import SramParams

BANKS = 2
"""Input spike banks of a core."""

FIRST_WORD = 3
"""Cycles from the start of an instruction to the offer of its first word: address, read, FIFO."""

FIFO_DEPTH = 4
"""Words that wait between the bank and the encoder; 3 would cover the read latency at one word a cycle."""

ADDRESS_BITS = 20
"""Bits of a row address in an instruction; addresses wrap modulo 2**20 while a window's origin lies on padding."""

TILE_FIELDS = (
    Field("in_bank", 1),
    Field("in_origin", ADDRESS_BITS),  # row of the window origin of the tile's first position, slice 0, word 0
    Field("in_y", 12, True),  # input coordinates of that origin; negative on padding
    Field("in_x", 12, True),
    Field("in_height", 11),
    Field("in_width", 11),
    Field("y_stride", ADDRESS_BITS),  # rows between input rows
    Field("x_stride", ADDRESS_BITS),  # rows between input columns
    Field("slice_stride", 10),  # rows between slices: channel words of the map
    Field("slices", 8),
    Field("words", 10),  # channel words that are read of each tap
    Field("planes", 1),  # slices are bit planes, the greatest first
    Field("signed", 1),  # the first plane is the sign
    Field("kernel_height", 4),
    Field("kernel_width", 9),
    Field("stride", 3),
    Field("out_height", 11),
    Field("out_width", 11),
    Field("weight_base", 14),  # weight row of tap (0, 0), word 0, channel 0
    Field("tap_rows", 14),  # weight rows between taps (0: all taps share their weights)
)
"""What the fetch takes from an instruction."""


@dataclass(frozen=True)
class SpikeFetchParams:
    """Sizes of a spike fetch: lanes and channels of a word, rows of a bank, bits of a weight row address."""

    lanes: int
    word_bits: int
    rows: int
    row_bits: int

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 2 <= self.rows <= 1 << ADDRESS_BITS:
            raise ArchsimError(f"spike fetch: rows must be in 2..{1 << ADDRESS_BITS}, given {self.rows}")

    @cached_property
    def bank(self) -> SramParams:
        """One input spike bank: a row holds a word for each lane."""
        return SramParams(self.rows, self.word_bits, self.lanes)

    @cached_property
    def o(self) -> Layout:
        """Output payload: the encoder's input."""
        return EventEncoderParams(self.lanes, self.word_bits, self.row_bits).i


LAW = Form(
    ("words", "groups", "spikes"),
    ("cycles", "cycles lanes word_bits", "words", "words lanes word_bits", "groups", "spikes"),
    ("1", "lanes word_bits"),
)
"""Laws of energy and area. Counts: words, groups, spikes of the words."""


def corners() -> list[SpikeFetchParams]:
    """Parameter sets at the ends of the ranges: one lane and channel, the widest words, sizes that are no power of two."""
    return [
        SpikeFetchParams(1, 1, 2, 1), SpikeFetchParams(1, 8, 512, 8), SpikeFetchParams(3, 21, 300, 9),
        SpikeFetchParams(4, 16, 1024, 14), SpikeFetchParams(16, 64, 256, 11),
    ]  # fmt: skip


def clip(origin: int, kernel: int, size: int) -> tuple[int, int]:
    """First tap and end tap (exclusive) of a window of ``kernel`` taps from ``origin`` that lie in 0..size-1."""
    return max(0, -origin), min(kernel, size - origin)


def reference(tile: dict[str, int], word_bits: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Words of an instruction as (bank row or -1 for an empty word, weight row, shift, subtract, last).

    ``tile`` holds TILE_FIELDS. Rows are absolute (no wrap) when the instruction is well-formed.
    """
    for out_y in range(tile["out_height"]):
        for out_x in range(tile["out_width"]):
            y, x = tile["in_y"] + out_y * tile["stride"], tile["in_x"] + out_x * tile["stride"]
            origin = tile["in_origin"] + tile["stride"] * (out_y * tile["y_stride"] + out_x * tile["x_stride"])
            taps = [
                (origin + dy * tile["y_stride"] + dx * tile["x_stride"], dy * tile["kernel_width"] + dx)
                for dy in range(*clip(y, tile["kernel_height"], tile["in_height"]))
                for dx in range(*clip(x, tile["kernel_width"], tile["in_width"]))
            ]
            for index in range(tile["slices"]):
                words = [
                    (
                        (row + index * tile["slice_stride"] + word) % (1 << ADDRESS_BITS),
                        tile["weight_base"] + tap * tile["tap_rows"] + word * word_bits,
                    )
                    for row, tap in taps for word in range(tile["words"])
                ] or [(-1, 0)]  # fmt: skip
                for number, (row, weight) in enumerate(words):
                    shift = int(bool(tile["planes"]) and index > 0 and number == 0)
                    subtract = int(bool(tile["planes"] and tile["signed"]) and index == 0)
                    end = number == len(words) - 1 and (not tile["planes"] or index == tile["slices"] - 1)
                    yield row, weight, shift, subtract, int(end)
