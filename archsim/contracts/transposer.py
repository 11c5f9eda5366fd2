"""Bit transposer: takes a block of words, gives it back as its columns: bit t of word c of the result is bit c of word t.

A block is W words of W bits; a word marked ``last`` ends it early, and the words that are missing are 0. The result always has W
words, column 0 first, the last one marked. W x W registers hold the block, which is written row by row and leaves column by
column: every row shifts down by a bit, with 0 behind, so nothing of a block is left when the next one comes.

Timing: while a block comes in, a word is accepted in every cycle in which one is offered; nothing is offered. The first word of the
result is offered in the cycle after the block's last word was accepted, the next in the cycle after the one before was taken.
The next block is accepted from the cycle after the last word of the result was taken. Without stalls a block of n words
occupies ``block_cycles(n, W)``.
"""

from dataclasses import dataclass
from functools import cached_property

from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.law import Form
from archsim.contracts.common.layout import Field, Layout

LATENCY = 1
"""Cycles from the acceptance of a block's last word to the offer of the first word of the result."""

TURN = 1
"""Cycles from the cycle in which the last word of the result is taken to the first in which a word is accepted again."""


@dataclass(frozen=True)
class TransposerParams:
    """Size of a transposer: W, bits of a word and words of a block (1..64)."""

    word_bits: int

    def __post_init__(self) -> None:
        """Check the range."""
        if not 1 <= self.word_bits <= 64:
            raise ArchsimError(f"transposer: word_bits must be in 1..64, given {self.word_bits}")

    @property
    def index_bits(self) -> int:
        """Bits of the number of a word in its block."""
        return max(1, (self.word_bits - 1).bit_length())

    @cached_property
    def i(self) -> Layout:
        """Input payload: a word, and whether it ends its block (the W-th word does so without a mark)."""
        return Layout.of("row", [Field("bits", self.word_bits), Field("last", 1)])

    @cached_property
    def o(self) -> Layout:
        """Output payload: a column of the block, and whether it is the last."""
        return Layout.of("column", [Field("bits", self.word_bits), Field("last", 1)])

    @cached_property
    def state(self) -> Layout:
        """Retired state: the registers, the words that came or left (of the block that comes or leaves), and which of the two."""
        return Layout.of("transposer_state", [
            Field("rows", self.word_bits, count=self.word_bits), Field("index", self.index_bits), Field("draining", 1),
        ])  # fmt: skip


LAW = Form(
    ("transposed", "spikes"),
    ("cycles", "cycles word_bits word_bits", "transposed word_bits", "spikes word_bits"),
    ("1", "word_bits", "word_bits word_bits"),
)
"""Laws of energy and area. Counts: words that come, their spikes."""


def block_cycles(count: int, word_bits: int) -> int:
    """Law: cycles that a block of ``count`` words occupies, from its first word to that of the next block."""
    return count + LATENCY - 1 + word_bits + TURN - 1


def block_sizes(last: list[int], word_bits: int) -> list[int]:
    """Words of each block of a stream with these marks; a block that is not complete at the end of the stream is none."""
    sizes, count = [], 0
    for mark in last:
        count += 1
        if mark or count == word_bits:
            sizes.append(count)
            count = 0
    return sizes


def step(rows: list[int]) -> tuple[int, list[int]]:
    """A column leaves: its bits (row 0 in the lowest bit), and the rows without it."""
    return sum((row & 1) << number for number, row in enumerate(rows)), [row >> 1 for row in rows]


def reference(words: list[int], word_bits: int) -> list[int]:
    """The transposed words of one block, digit by digit of the words as text; arithmetic only, no time."""
    rows = [format(word, f"0{word_bits}b")[::-1] for word in words]
    return [int("".join(row[column] for row in reversed(rows)), 2) for column in range(word_bits)]


def corners() -> list[tuple[TransposerParams, list[dict[str, int]]]]:
    """Parameter sets with streams that reach every case.

    Blocks of 1 and of W words, with and without the mark, every bit alone, empty and full words, and a block that the end of
    the stream leaves incomplete.
    """
    cases = []
    for size in (1, 2, 5, 16, 64):
        full = (1 << size) - 1
        blocks = [[1 << bit for bit in range(size)], [full] * size, [0] * size, [full], [1], [1 << size - 1] * size]
        blocks += [[full] * count for count in sorted({1, size // 2, size - 1} - {0})]
        words = [
            # Every other full block ends without a mark.
            {"bits": bits, "last": int(number == len(block) - 1 and (len(block) < size or index % 2))}
            for index, block in enumerate(blocks) for number, bits in enumerate(block)
        ]  # fmt: skip
        left = [{"bits": full, "last": 0}] * (size // 2)
        cases.append((TransposerParams(size), words + left))
    return cases
