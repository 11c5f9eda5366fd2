"""Router: the k experts with the greatest scores for each token, and a place at each of them.

A token comes as blocks of P signed scores, expert by expert; its last block is marked. The router then offers its k choices, one
a cycle, in the order of falling scores, ties to the lowest expert. A choice carries its *slot*: how many tokens the expert has
accepted before it, in the order of the tokens. It is *kept* while the slot is below the capacity; a choice that is not kept takes
no slot. So slots depend on scores alone, never on the time at which packets travel.

A block marked ``first`` begins a new layer: it sets every expert's count to 0. Scores beyond the last expert are ignored.

Timing: a token's last block accepted in cycle t offers its first choice in t+1, the next in the cycle after the last was taken;
the next token's first block is accepted in the cycle in which the last choice is taken. Its other blocks are accepted at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.law import Form
from archsim.contracts.common.layout import Field, Layout

LATENCY = 1
"""Cycles from the acceptance of a token's last block to the offer of its first choice."""

MAX_EXPERTS, MAX_CHOICES = 16, 8
"""Greatest number of experts, and of choices of a token."""


@dataclass(frozen=True)
class RouterParams:
    """Sizes of a router.

    Attributes:
        neurons: P, scores of a block (1..64).
        score_bits: bits of a score, two's complement (2..24).
        experts: experts that it can choose among (2..16).
        slot_bits: bits of a slot and of the capacity (1..16); counts wrap.
    """

    neurons: int
    score_bits: int
    experts: int
    slot_bits: int

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 1 <= self.neurons <= 64:
            raise ArchsimError(f"router: neurons must be in 1..64, given {self.neurons}")
        if not 2 <= self.score_bits <= 24:
            raise ArchsimError(f"router: score_bits must be in 2..24, given {self.score_bits}")
        if not 2 <= self.experts <= MAX_EXPERTS:
            raise ArchsimError(f"router: experts must be in 2..{MAX_EXPERTS}, given {self.experts}")
        if not 1 <= self.slot_bits <= 16:
            raise ArchsimError(f"router: slot_bits must be in 1..16, given {self.slot_bits}")

    @property
    def expert_bits(self) -> int:
        """Bits of an expert's number."""
        return (self.experts - 1).bit_length()

    @cached_property
    def config(self) -> Layout:
        """What a layer sets: its experts, choices of a token, and tokens that an expert accepts (0: no limit)."""
        return Layout.of("router_config", [
            Field("experts", 5), Field("choices", 4), Field("capacity", self.slot_bits),
        ])  # fmt: skip

    @cached_property
    def i(self) -> Layout:
        """Input payload: a block of scores, whether it begins a layer, and whether it ends its token."""
        scores = Field("scores", self.score_bits, True, self.neurons)
        return Layout.of("scores", [scores, Field("first", 1), Field("last", 1)])

    @cached_property
    def o(self) -> Layout:
        """Output payload: a choice, and whether it is its token's last."""
        return Layout.of("choice", [
            Field("expert", self.expert_bits), Field("slot", self.slot_bits), Field("kept", 1), Field("last", 1),
        ])  # fmt: skip

    @cached_property
    def state(self) -> Layout:
        """Retired state: tokens that each expert has accepted, choices still to offer, experts not chosen by the token."""
        return Layout.of("router_state", [
            Field("counts", self.slot_bits, count=self.experts), Field("left", 4), Field("open", self.experts),
        ])  # fmt: skip

    def check(self, experts: int, choices: int, capacity: int) -> None:
        """Raise ArchsimError for a configuration that this router does not have."""
        if not 2 <= experts <= self.experts:
            raise ArchsimError(f"router: required 2..{self.experts} experts, given {experts}")
        if not 1 <= choices <= min(experts, MAX_CHOICES):
            raise ArchsimError(f"router: required 1..{min(experts, MAX_CHOICES)} choices, given {choices}")
        if not 0 <= capacity < 1 << self.slot_bits:
            raise ArchsimError(f"router: required a capacity in 0..{(1 << self.slot_bits) - 1}, given {capacity}")

    def blocks(self, experts: int) -> int:
        """Blocks of a token."""
        return -(-experts // self.neurons)


LAW = Form(
    ("blocks", "tokens"),
    ("cycles", "cycles experts", "cycles experts score_bits", "blocks neurons score_bits", "tokens experts score_bits"),
    ("1", "experts", "experts score_bits"),
)
"""Laws of energy and area. Counts: blocks of scores, tokens."""


def step(scores: Sequence[int], candidates: int) -> int:
    """The next choice: the lowest of the experts with the greatest score among ``candidates``, a bit each (1 or more)."""
    best = -1
    for expert in range(len(scores)):
        if candidates >> expert & 1 and (best < 0 or scores[expert] > scores[best]):
            best = expert
    return best


def keeps(slot: int, capacity: int) -> bool:
    """Whether an expert that has accepted ``slot`` tokens accepts one more."""
    return capacity == 0 or slot < capacity


def token_cycles(blocks: int, choices: int) -> int:
    """Law: cycles between the first blocks of two tokens where nothing stalls."""
    return blocks + choices - 1


def reference(
    tokens: Sequence[Sequence[int]], choices: int, capacity: int, slot_bits: int
) -> list[tuple[int, int, int, int]]:
    """Choices (expert, slot, kept, last) of tokens, each the scores of all experts; by sorting, no time."""
    counts: dict[int, int] = {}
    chosen = []
    for scores in tokens:
        order = sorted(range(len(scores)), key=lambda expert: (-scores[expert], expert))[:choices]
        for expert in order:
            slot = counts.get(expert, 0) % (1 << slot_bits)
            kept = not capacity or slot < capacity
            counts[expert] = counts.get(expert, 0) + kept
            chosen.append((expert, slot, int(kept), int(expert == order[-1])))
    return chosen


def corners() -> list[tuple[RouterParams, tuple[int, int, int]]]:
    """Parameter sets with (experts, choices, capacity) at the ends of the ranges, whole and broken blocks, counts that wrap."""
    return [
        (RouterParams(1, 2, 2, 1), (2, 1, 0)), (RouterParams(1, 3, 3, 2), (3, 3, 2)),
        (RouterParams(4, 8, 16, 6), (16, 8, 5)), (RouterParams(4, 8, 16, 6), (5, 2, 0)),
        (RouterParams(16, 24, 16, 12), (16, 1, 3)), (RouterParams(3, 20, 7, 4), (7, 7, 1)),
        (RouterParams(64, 5, 9, 16), (8, 2, 0)),
    ]  # fmt: skip
