"""Event encoder: turns words of spikes into row additions, one event a cycle.

A word carries the spikes of ``word_bits`` channels for ``lanes`` time steps. The encoder holds one word, scans the OR of its
lanes from channel 0 upwards, and offers an event per set bit: the weight row of the channel and the lanes that spiked. A word
without spikes offers one event with an empty mask, so every word, and every end of a group, leaves as at least one event. A
word marked ``shift`` (the first of a bit plane but the first) offers an event that doubles the accumulators before its own.

Timing: a word accepted in cycle t offers its first event in t+1, the next in the cycle after the last was taken; the next
word is accepted in the cycle in which the last event is taken. Without stalls a word therefore occupies ``word_cycles``.
"""

from dataclasses import dataclass
from functools import cached_property

from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.law import Form
from archsim.contracts.common.layout import Field, Layout

ADD, SUBTRACT, SHIFT = 0, 1, 2
"""Operations of an event: add the row, subtract it (sign plane), double the accumulators."""

LATENCY = 1
"""Cycles from the acceptance of a word to the offer of its first event."""


@dataclass(frozen=True)
class EventEncoderParams:
    """Widths of an event encoder.

    Attributes:
        lanes: L, time steps in a word (1..16).
        word_bits: W, channels in a word (1..64).
        row_bits: bits of a weight row address; W rows must be addressable.
    """

    lanes: int
    word_bits: int
    row_bits: int

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 1 <= self.lanes <= 16:
            raise ArchsimError(f"event encoder: lanes must be in 1..16, given {self.lanes}")
        if not 1 <= self.word_bits <= 64:
            raise ArchsimError(f"event encoder: word_bits must be in 1..64, given {self.word_bits}")
        if (1 << self.row_bits) < self.word_bits:
            raise ArchsimError(
                f"event encoder: row_bits must address the {self.word_bits} rows of a word, given {self.row_bits}"
            )

    @cached_property
    def i(self) -> Layout:
        """Input payload: a word, the weight row of its channel 0, and what it means."""
        return Layout.of("word", [
            Field("spikes", self.word_bits, count=self.lanes), Field("row", self.row_bits),
            Field("shift", 1), Field("subtract", 1), Field("last", 1),
        ])  # fmt: skip

    @cached_property
    def o(self) -> Layout:
        """Output payload: one event."""
        return event_layout(self.lanes, self.row_bits)

    @cached_property
    def state(self) -> Layout:
        """Retired state: what is left of the word that is held."""
        return Layout.of("event_encoder_state", [
            Field("busy", 1), Field("remaining", self.word_bits, count=self.lanes), Field("shift", 1),
        ])  # fmt: skip


LAW = Form(
    ("channels", "words", "lane_events"),
    ("cycles", "cycles lanes word_bits", "channels lanes", "channels word_bits", "words lanes word_bits", "lane_events"),
    ("1", "lanes", "word_bits", "lanes word_bits"),
)
"""Laws of energy and area. Counts: channels with a spike, words, set bits."""


def event_layout(lanes: int, row_bits: int) -> Layout:
    """Payload of an event: operation, weight row, lanes, and whether it ends its group."""
    return Layout.of("event", [Field("op", 2), Field("row", row_bits), Field("mask", lanes), Field("last", 1)])


def word_cycles(union_count: int, shift: int) -> int:
    """Law: cycles that a word occupies, from the set bits in the OR of its lanes and its shift mark."""
    return shift + max(1, union_count)


def step(union: int) -> int:
    """The channel of the next event as a one-hot word: the lowest set bit of the OR of the lanes (0 if none)."""
    return union & -union


def reference(spikes: list[int], row: int, shift: int, subtract: int, last: int) -> list[tuple[int, int, int, int]]:
    """Events (op, row, mask, last) of one word whose lanes are ``spikes``; arithmetic only, no time."""
    union = 0
    for lane in spikes:
        union |= lane
    op = SUBTRACT if subtract else ADD
    channels = [channel for channel in range(union.bit_length()) if union >> channel & 1]
    events = [(SHIFT, row, 0, 0)] if shift else []
    for channel in channels:
        mask = sum((word >> channel & 1) << lane for lane, word in enumerate(spikes))
        events.append((op, row + channel, mask, 0))
    if not channels:
        events.append((op, row, 0, 0))
    events[-1] = (*events[-1][:3], last)
    return events


def corners() -> list[tuple[EventEncoderParams, list[dict[str, object]]]]:
    """Parameter sets with words that reach every case: empty, full, both ends, one lane only, shift and subtract."""
    cases = []
    for params in (
        EventEncoderParams(1, 1, 1), EventEncoderParams(1, 16, 8), EventEncoderParams(4, 16, 8),
        EventEncoderParams(3, 5, 3), EventEncoderParams(2, 64, 12),
    ):  # fmt: skip
        full = (1 << params.word_bits) - 1
        top = 1 << (params.word_bits - 1)
        row = (1 << params.row_bits) - params.word_bits
        patterns = [[0] * params.lanes, [full] * params.lanes, [1] * params.lanes, [top] * params.lanes]
        patterns.append([full] + [0] * (params.lanes - 1))
        patterns.append([0] * (params.lanes - 1) + [top | 1])
        words: list[dict[str, object]] = [
            {"spikes": spikes, "row": row, "shift": shift, "subtract": subtract, "last": last}
            for spikes in patterns for shift in (0, 1) for subtract in (0, 1) for last in (0, 1)
        ]  # fmt: skip
        cases.append((params, words))
    return cases
