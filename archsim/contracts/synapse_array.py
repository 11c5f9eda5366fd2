"""Synapse array: L x M adders that add weight rows into accumulators, one event a cycle.

An event reads one row of the weight bank and adds it (or subtracts it) in the lanes of its mask; a SHIFT event doubles all
accumulators. The event that ends a group hands the accumulators over to a second bank, which leaves as blocks of P columns
(columns outside, time steps inside) while the next group accumulates.

Timing. Let ``a`` be the cycle in which an event is accepted (its weight row is read then) and ``x`` the cycle in which it is added.

* ``x = max(a + 1, x of the event before + 1)``, and the first event of a group is not added before the handover of the last;
* the next event is accepted from cycle ``x`` on;
* ``handover = max(x of the last event + 1, cycle in which the last block of the group before is taken)``;
* the first block is offered in ``handover + 1``, the next in the cycle after the one before was taken.
"""

from dataclasses import dataclass
from functools import cached_property

from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.law import Form
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.event_encoder import event_layout
from archsim.contracts.sram import SramParams

BANKS = 2
"""Weight banks: one is used while the other is loaded."""

ADD_LATENCY = 1
"""Cycles from the acceptance of an event to its addition (the weight read)."""

HANDOVER_LATENCY = 1
"""Cycles from the last addition of a group to its handover, and from the handover to the offer of the first block."""


@dataclass(frozen=True)
class SynapseArrayParams:
    """Sizes of a synapse array.

    Attributes:
        lanes: L, accumulators per column (1..16).
        columns: M, weights of a row (1..64).
        neurons: P, columns of a block; divides ``columns``.
        weight_bits: bits of a weight, two's complement (2..8).
        membrane_bits: bits of an accumulator, two's complement (more than ``weight_bits``, at most 24).
        weight_rows: rows of one weight bank (2..16384).
        max_steps: greatest number of time steps per group (for the width of the step counter).
    """

    lanes: int
    columns: int
    neurons: int
    weight_bits: int
    membrane_bits: int
    weight_rows: int
    max_steps: int = 255

    def __post_init__(self) -> None:
        """Check ranges and relations."""
        if not 1 <= self.lanes <= 16 or not 1 <= self.columns <= 64:
            raise ArchsimError(f"synapse array: lanes in 1..16 and columns in 1..64 required, given {self}")
        if self.neurons < 1 or self.columns % self.neurons:
            raise ArchsimError(f"synapse array: neurons must divide columns, given {self.neurons} and {self.columns}")
        if not 2 <= self.weight_bits <= 8 or not self.weight_bits < self.membrane_bits <= 24:
            raise ArchsimError(
                f"synapse array: 2 <= weight_bits <= 8 and weight_bits < membrane_bits <= 24, given {self}"
            )
        if not 2 <= self.weight_rows <= 1 << 14:
            raise ArchsimError(f"synapse array: weight_rows in 2..16384 required, given {self.weight_rows}")

    @property
    def row_bits(self) -> int:
        """Bits of a weight row address."""
        return self.weight.address_bits

    @cached_property
    def weight(self) -> SramParams:
        """One weight bank."""
        return SramParams(self.weight_rows, self.columns * self.weight_bits)

    @cached_property
    def i(self) -> Layout:
        """Input payload: an event."""
        return event_layout(self.lanes, self.row_bits)

    @cached_property
    def i_weight(self) -> Layout:
        """Load port (always ready): a row of weights and where it goes."""
        return Layout.of("weight_write", [
            Field("bank", 1), Field("row", self.row_bits), Field("data", self.weight_bits, True, self.columns),
        ])  # fmt: skip

    @cached_property
    def config(self) -> Layout:
        """Configuration, constant during an instruction.

        ``blocks``: blocks of a group (1..M/P). ``steps``: time steps emitted per block (1..L; more with replay).
        ``replay``: emit lane 0 for every step (planes: the sum is computed once).
        """
        return Layout.of("synapse_config", [
            Field("bank", 1), Field("blocks", 7), Field("steps", 8), Field("replay", 1),
        ])  # fmt: skip

    @cached_property
    def o(self) -> Layout:
        """Output payload: the accumulators of P columns at one time step, and whether the group ends with it."""
        return Layout.of("block", [
            Field("sums", self.membrane_bits, True, self.neurons), Field("block", 7), Field("step", 8), Field("last", 1),
        ])  # fmt: skip

    @cached_property
    def state(self) -> Layout:
        """Retired state: the accumulators, lane by lane."""
        return Layout.of("synapse_state", [Field("sums", self.membrane_bits, True, self.lanes * self.columns)])


LAW = Form(
    ("channels", "lane_events", "groups", "busy_groups"),
    ("cycles", "cycles lanes columns membrane_bits", "channels columns weight_bits", "channels lanes columns membrane_bits",
     "lane_events columns membrane_bits", "groups lanes columns", "busy_groups lanes columns membrane_bits"),
    ("1", "columns weight_bits", "lanes columns membrane_bits", "lanes neurons membrane_bits"),
)  # fmt: skip
"""Laws of energy and area. Counts: rows that are added, set bits of their lanes, groups handed over, and those of them with a
spike: the sums of the others are 0, of which a hand-over moves nothing but its controls."""


def step(total: int, weight: int, op: int, bits: int) -> int:
    """One accumulator after one event in a lane of its mask; wraps to ``bits`` bits (op as in the event encoder).

    A SHIFT event applies to every lane, with any ``weight``. The mapper proves that a mapped network never wraps.
    """
    if op == 0:
        total = total + weight
    elif op == 1:
        total = total - weight
    else:
        total = total + total
    half = 1 << (bits - 1)
    return ((total + half) & (2 * half - 1)) - half


def reference(
    events: list[tuple[int, int, int, int]], weights: list[list[int]], lanes: int, bits: int
) -> list[list[list[int]]]:
    """Accumulators [lane][column] at the end of each group of ``events`` (op, row, mask, last); no time."""
    columns = len(weights[0])
    half = 1 << (bits - 1)
    sums = [[0] * columns for _ in range(lanes)]
    groups = []
    for op, row, mask, last in events:
        for lane in range(lanes):
            for column in range(columns):
                old = sums[lane][column]
                new = 2 * old if op == 2 else old
                if op != 2 and mask >> lane & 1:
                    new = old - weights[row][column] if op == 1 else old + weights[row][column]
                sums[lane][column] = (new + half) % (2 * half) - half
        if last:
            groups.append(sums)
            sums = [[0] * columns for _ in range(lanes)]
    return groups


def corners() -> list[SynapseArrayParams]:
    """Parameter sets at the ends of the ranges; the 4-by-9-bit one wraps both ways on constant weights of a rail."""
    return [
        SynapseArrayParams(1, 1, 1, 2, 3, 2), SynapseArrayParams(1, 16, 4, 8, 16, 64),
        SynapseArrayParams(4, 16, 4, 8, 16, 64), SynapseArrayParams(2, 8, 8, 4, 9, 32),
        SynapseArrayParams(3, 6, 2, 8, 24, 16),
    ]  # fmt: skip
