"""Neuron unit: partial sums, bias, shift, residual, leak, threshold and reset for P columns a cycle.

A block (P accumulators of one time step) becomes membrane input ``y = (sum + psum + bias) shifted + residual``; y goes to the
residual stream, to the reduction, into a neuron, or to several of them. A group's blocks come columns outside, time steps
inside, so the membrane of a block stays in registers over the steps of a group and in the ``v`` memory between the slices of
a position.

On chips with ``residual_maximum`` an instruction marked ``maximum`` that reads the residual takes the greater of both in place
of their sum: ``y = max((sum + psum + bias) shifted, residual)``. Where it does not read the residual the mark means nothing.

Timing: a block accepted in cycle t leaves as a granule of P spikes offered in ``t + LATENCY``; one block a cycle. The first
block of a group is accepted ``GROUP_GAP`` cycles after the last of the group before at the earliest, so that a row written
by one group is never read too early by the next.
"""

from dataclasses import dataclass
from functools import cached_property

from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.law import Form, registers
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.sram import SramParams

LATENCY = 3
"""Cycles from the acceptance of a block to the offer of its spikes (read, membrane input, neuron)."""

GROUP_GAP = 3
"""Least distance in cycles from the last block of a group to the first of the next."""

NONE, LIF, IF_HALF, IF_ZERO = 0, 1, 2, 3
"""Neuron kinds: none (no spikes); LIF with tau = 2, decaying input and hard reset to 0; IF with soft reset and initial
membrane threshold/2 (floor) or 0."""

SHIFT_BITS = 5
"""Bits of a shift, two's complement."""

SHIFT_LIMIT = 15
"""Greatest shift to the right; the left shift is at most 16 (a field of SHIFT_BITS, positive to the right)."""


@dataclass(frozen=True)
class NeuronParams:
    """Sizes of a neuron unit.

    Attributes:
        neurons: P, neurons per cycle (1..64).
        blocks: blocks of P columns that the unit serves, M / P (1..64).
        membrane_bits: bits of sums, membranes, biases and thresholds, two's complement (4..24).
        param_rows, residual_rows, psum_rows, reduce_rows: rows of its memories.
        maximum: 1: it has the comparators of ``maximum``; 0: the sum alone.
    """

    neurons: int
    blocks: int
    membrane_bits: int
    param_rows: int
    residual_rows: int
    psum_rows: int
    reduce_rows: int
    maximum: int = 0

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 1 <= self.neurons <= 64 or not 1 <= self.blocks <= 64:
            raise ArchsimError(f"neuron unit: neurons and blocks must be in 1..64, given {self}")
        if not 4 <= self.membrane_bits <= 24:
            raise ArchsimError(f"neuron unit: membrane_bits must be in 4..24, given {self.membrane_bits}")
        if min(self.param_rows, self.residual_rows, self.psum_rows, self.reduce_rows) < 1:
            raise ArchsimError(f"neuron unit: every memory needs a row, given {self}")
        if self.maximum not in (0, 1):
            raise ArchsimError(f"neuron unit: maximum must be 0 or 1, given {self.maximum}")

    @cached_property
    def param(self) -> Layout:
        """A row of the parameter bank: the parameters of P columns, field by field."""
        return param_layout(self.neurons, self.membrane_bits)

    @cached_property
    def param_bank(self) -> SramParams:
        """One of the two parameter banks."""
        return SramParams(self.param_rows, self.param.width)

    @cached_property
    def residual(self) -> SramParams:
        """The residual bank: a row holds P membranes."""
        return SramParams(self.residual_rows, self.neurons * self.membrane_bits)

    @cached_property
    def psum(self) -> SramParams:
        """The partial-sum bank: a row holds P sums."""
        return SramParams(self.psum_rows, self.neurons * self.membrane_bits)

    @cached_property
    def reduce(self) -> SramParams:
        """The reduction bank: a row holds P sums over positions and time."""
        return SramParams(self.reduce_rows, self.neurons * self.membrane_bits)

    @cached_property
    def v(self) -> SramParams:
        """Membranes kept between the slices of a position: a row a block."""
        return SramParams(self.blocks, self.neurons * self.membrane_bits)

    @cached_property
    def o(self) -> Layout:
        """Output payload: a granule of spikes, its block and step, and the last mark of its group."""
        return Layout.of("granule", [
            Field("spikes", self.neurons), Field("block", 7), Field("step", 8), Field("last", 1),
        ])  # fmt: skip

    @cached_property
    def state(self) -> Layout:
        """Retired state: the membranes of the block last processed."""
        return Layout.of("neuron_state", [Field("v", self.membrane_bits, True, self.neurons)])


LAW = Form(
    ("granules", "changes", "runs"),
    ("cycles", "cycles neurons membrane_bits", "granules", "changes neurons membrane_bits", "runs", "runs neurons membrane_bits"),
    ("1", "neurons", "neurons membrane_bits"),
    known=lambda params: registers(params.v),
)
"""Laws of energy and area. Counts: blocks, those with other sums than the block before, and runs of blocks in successive cycles, as
a group of the array comes. Behind the last of a run the new membranes meet the old inputs, and all that follows from both switches
once more, for nothing."""


def param_layout(neurons: int, membrane_bits: int) -> Layout:
    """A row of neuron parameters: bias, threshold and shift (positive to the right) for each of ``neurons`` columns."""
    return Layout.of("neuron_param", [
        Field("bias", membrane_bits, True, neurons), Field("threshold", membrane_bits, True, neurons),
        Field("shift", SHIFT_BITS, True, neurons),
    ])  # fmt: skip


def membrane_input(total: int, psum: int, bias: int, shift: int, residual: int, bits: int) -> int:
    """Membrane input y of one neuron, wrapped to ``bits`` bits; right shifts are arithmetic (floor)."""
    y = total + psum + bias
    y = y << -shift if shift < 0 else y >> shift
    half = 1 << (bits - 1)
    return ((y + residual + half) & (2 * half - 1)) - half


def membrane_maximum(alone: int, residual: int) -> int:
    """Membrane input y where ``maximum`` is marked: the greater of ``alone``, that to a residual of 0, and ``residual``."""
    return max(alone, residual)


def potential(v: int, y: int, kind: int, bits: int) -> int:
    """Membrane potential h before the reset.

    LIF: ``floor((v + y) / 2)``. IF: ``v + y``, saturating at the rails of ``bits`` bits (part of its definition).
    """
    if kind == 1:
        return (v + y) >> 1
    half = 1 << (bits - 1)
    return min(max(v + y, -half), half - 1)


def reset(h: int, threshold: int, kind: int, bits: int) -> int:
    """Membrane after the comparison ``h >= threshold``: 0 (LIF) or ``h - threshold`` saturated (IF) where it fired."""
    if kind == 0 or h < threshold:
        return h
    if kind == 1:
        return 0
    half = 1 << (bits - 1)
    return min(max(h - threshold, -half), half - 1)


def initial(threshold: int, kind: int) -> int:
    """Membrane before the first time step."""
    return threshold >> 1 if kind == 2 else 0


def reference(inputs: list[int], threshold: int, kind: int, bits: int) -> tuple[list[int], list[int]]:
    """Spikes and membranes after each step of one neuron for its membrane inputs; arithmetic only."""
    v = threshold // 2 if kind == IF_HALF else 0
    top, bottom = 2 ** (bits - 1) - 1, -(2 ** (bits - 1))
    spikes, membranes = [], []
    for y in inputs:
        h = (v + y) // 2 if kind == LIF else max(bottom, min(top, v + y))
        fired = kind != NONE and h >= threshold
        if fired:
            h = 0 if kind == LIF else max(bottom, min(top, h - threshold))
        v = h
        spikes.append(int(fired))
        membranes.append(v)
    return spikes, membranes


def corners() -> list[tuple[NeuronParams, list[dict[str, object]]]]:
    """Parameter sets with input sequences for one neuron that reach both rails, the threshold and its neighbours."""
    cases = []
    for params in (
        NeuronParams(1, 1, 4, 1, 2, 2, 1),
        NeuronParams(4, 4, 8, 4, 16, 16, 4),
        NeuronParams(16, 4, 24, 8, 64, 64, 8),
    ):
        top = (1 << (params.membrane_bits - 1)) - 1
        low = -top - 1
        sequences = []
        for kind in (LIF, IF_HALF, IF_ZERO):
            for threshold in (1, top // 4 + 1, top, low):
                near = [2 * threshold - 1, 2 * threshold, 2 * threshold + 1]
                inputs = [top, top, top, low, low, low, 0, -1, 1] + [min(max(value, low), top) for value in near]
                sequences.append({"kind": kind, "threshold": threshold, "inputs": inputs})
        cases.append((params, sequences))
    return cases
