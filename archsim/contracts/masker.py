"""Masker: drops spikes at random, each with its own byte of one linear-feedback shift register.

The spike of channel c in lane l takes byte ``l * word_bits + c`` of the sequence that begins at the register, and stays if that
is below ``keep``: with probability ``keep`` / 256, exactly 0 for 0, exactly 1 for 256. Nothing is rescaled. A word
uses up ``lanes * word_bits`` bytes, whether its spikes are set or not, so a mask depends on the number of the word alone. A word
marked ``first`` begins the sequence of ``seed`` anew; after a reset the sequence is that of seed 0.

The sequence obeys ``s[t + 61] = s[t + 27] ^ s[t + 18] ^ s[t + 10] ^ s[t]``; byte q is ``s[8q .. 8q+7]``, the lowest bit first.
Its polynomial ``x^61 + x^27 + x^18 + x^10 + 1`` is irreducible, and 2^61 - 1 is prime (Pervushin 1883), so the period of every
state but 0 is 2^61 - 1. No state is 0: the 29 bits above the seed are a constant. The taps come from a search for exponents that
are 8 or more apart, so that the five bits of the relation always belong to five different bytes: any two bytes less than
5000 apart, and any three within 128, are independent over the period (tests/archsim/test_stepped_masker.py proves it).
Five are not: one bit of a byte is the sum of a bit of each of four others, all within nine channels.

Timing: a word accepted in cycle t is offered in t+1; the next is accepted in the cycle in which it is taken. A word a cycle.
"""

from dataclasses import dataclass
from functools import cached_property

from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.law import Form
from archsim.contracts.common.layout import Field, Layout

LATENCY = 1
"""Cycles from the acceptance of a word to its offer."""

DEGREE = 61
"""Bits of the register."""

TAPS = (27, 18, 10, 0)
"""Exponents of the polynomial below its degree; the differences of any two exponents are 8 or more."""

SEED_BITS = 32
"""Bits of a seed: the lowest bits of the register."""

FILL = 0x9E3779B9 >> 3
"""The bits above the seed: the first 29 of the fraction of the golden ratio, neither 0 nor sparse."""

KEEP_ALL = 256
"""``keep`` that keeps every spike; that of 0 drops every one."""


@dataclass(frozen=True)
class MaskerParams:
    """Sizes of a masker: L time steps in a word (1..16), W channels (1..64)."""

    lanes: int
    word_bits: int

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 1 <= self.lanes <= 16:
            raise ArchsimError(f"masker: lanes must be in 1..16, given {self.lanes}")
        if not 1 <= self.word_bits <= 64:
            raise ArchsimError(f"masker: word_bits must be in 1..64, given {self.word_bits}")

    @cached_property
    def i(self) -> Layout:
        """Input payload: a word, and whether the sequence begins anew with it."""
        return Layout.of("unmasked", [Field("spikes", self.word_bits, count=self.lanes), Field("first", 1)])

    @cached_property
    def o(self) -> Layout:
        """Output payload: what is left of the word."""
        return Layout.of("masked", [Field("spikes", self.word_bits, count=self.lanes)])

    @cached_property
    def config(self) -> Layout:
        """Configuration, constant during an instruction: see :func:`check`."""
        return Layout.of("masker_config", [Field("seed", SEED_BITS), Field("keep", 9)])

    @cached_property
    def state(self) -> Layout:
        """Retired state: the register, from whose bits the next word's bytes follow."""
        return Layout.of("masker_state", [Field("register", DEGREE)])


LAW = Form(
    ("words", "spikes"),
    ("cycles", "cycles lanes word_bits", "words", "words lanes word_bits", "spikes"),
    ("1", "lanes word_bits"),
)
"""Laws of energy and area. Counts: rows of a word for each lane, their spikes before they are masked."""


def check(seed: int, keep: int) -> None:
    """Raise ArchsimError unless the seed has 32 bits and ``keep`` is in 0..256."""
    if not 0 <= seed < 1 << SEED_BITS:
        raise ArchsimError(f"masker: seed must be in 0..{(1 << SEED_BITS) - 1}, given {seed}")
    if not 0 <= keep <= KEEP_ALL:
        raise ArchsimError(f"masker: keep must be in 0..{KEEP_ALL} (of 256 spikes), given {keep}")


def seed_of(number: int) -> int:
    """A seed for a small number (of a layer, a time step, an image): sequences of seeds that differ in few bits begin alike.

    The finaliser of MurmurHash3 (Appleby 2011), a bijection of 32-bit numbers.
    """
    word = (number + 1) & 0xFFFFFFFF
    word = (word ^ word >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    word = (word ^ word >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return word ^ word >> 16


def begin(seed: int) -> int:
    """The register at the begin of a seed's sequence."""
    return FILL << SEED_BITS | seed


def step(register: int) -> int:
    """The register after the eight bits of its lowest byte."""
    fresh = (register ^ register >> 10 ^ register >> 18 ^ register >> 27) & 255
    return register >> 8 | fresh << (DEGREE - 8)


def reference(
    words: list[list[int]], first: list[int], seed: int, keep: int, width: int
) -> tuple[list[list[int]], int]:
    """Masked words [word][lane] of ``width`` channels and the last register, bit by bit; no time."""
    bits = [begin(0) >> index & 1 for index in range(DEGREE)]

    def draw() -> int:
        bits.append(sum(bits[tap] for tap in TAPS) % 2)
        return bits.pop(0)

    masked: list[list[int]] = []
    for lanes, restart in zip(words, first, strict=True):
        if restart:
            bits[:] = [begin(seed) >> index & 1 for index in range(DEGREE)]
        masked.append([])
        for spikes in lanes:
            left = 0
            for channel in range(width):
                byte = sum(draw() << place for place in range(8))
                if byte < keep:
                    left += spikes & 1 << channel
            masked[-1].append(left)
    return masked, sum(bit << index for index, bit in enumerate(bits))


def corners() -> list[MaskerParams]:
    """Parameter sets at the ends of the ranges; a word uses fewer bits than the register has, or more, or many times more."""
    return [
        MaskerParams(1, 1), MaskerParams(1, 8), MaskerParams(3, 5), MaskerParams(2, 64), MaskerParams(4, 16),
    ]  # fmt: skip
