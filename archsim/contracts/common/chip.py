"""The chip's parameters and everything that follows from them."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.spike_writer import POOL_ROWS, POOL_STEPS

ROUTE_ROWS = 256
"""``route_rows`` where none is given."""

NORMALISER_TABLE_BITS = 8
"""``normaliser_table_bits`` where none is given."""

LEAST_SOFTMAX_TOKENS = 4
"""Tokens of the smallest window that a softmax is built for: a patch of 2 x 2."""


@dataclass(frozen=True)
class ChipParams:
    """A chip, complete: every size that the simulator, the RTL and the mapper need.

    Attributes:
        name: identifier of the preset or file.
        clock_mhz: clock frequency, MHz; turns cycles into time, nothing else.
        cores: K, number of cores.
        lanes: L, time steps that share one weight row read.
        columns: M, adders per lane and core; also the channels of a word (at most 64).
        neurons: P, neurons updated per cycle in each core and in the attention unit; divides ``columns``.
        weight_bits: bits of a weight, two's complement.
        membrane_bits: bits of accumulators, membranes, partial sums, biases and thresholds (at most 24).
        weight_rows: rows of one of a core's two weight banks; a row holds ``columns`` weights.
        param_rows: rows of one of a core's two parameter banks; a row holds the parameters of P columns.
        spike_in_rows: rows of one of a core's two input spike banks; a row holds ``lanes`` words.
        spike_out_rows: rows of one of a core's two output spike banks.
        residual_rows: rows of a core's residual bank; a row holds P membranes.
        psum_rows: rows of a core's partial-sum bank; a row holds P partial sums.
        reduce_rows: rows of a core's reduction bank; a row holds P sums.
        attention_rows: rows of each of the attention unit's spike banks (q0, q1, k, v, out0, out1).
        count_rows: rows of the attention unit's count memory; a row holds ``columns`` counts.
        count_bits: bits of a count, unsigned; bounds the number of tokens.
        dram_bus_bytes: bytes that DRAM delivers or takes per cycle.
        dram_latency_cycles: cycles from a burst's request to its first beat.
        dram_burst_bytes: bytes of a burst; a multiple of ``dram_bus_bytes``.
        dram_outstanding: bursts that may be requested and not yet delivered.
        queue_rows: instructions that each engine's program memory holds; a longer program is refilled from DRAM by halves.
        pool_steps: time steps of a pooled layer at most.
        pool_rows: words of a core's line buffer: columns after a pool x time steps at most.
        crossbar_depth: flits of a queue in the crossbars of the expert engine; 0: the chip has no expert engine.
        route_rows: rows of each core's tables in the expert engine: choices of its tokens, packets that it sends back.
        transposer: 1: the multicast has a bit transposer in every lane (TRANSPOSE); 0: it has none.
        masker: 1: the multicast has a masker (MASK); 0: it has none.
        softmax_tokens: tokens of a window at most that the attention unit's softmax serves (4..64); 0: it has no softmax.
        residual_maximum: 1: SYNAPSE may take the maximum of its sums and the residual stream; 0: it adds them.
        normaliser_operand_bits: bits of a factor in the normaliser (2..membrane_bits): of counts of channels, reciprocals, values
            to be squared; 0: the chip has no normaliser (NORMALISE, WEIGH).
        normaliser_table_bits: the table of exponentials of its elements has 2^normaliser_table_bits entries.
        dispatch_membranes: 1: DISPATCH may send membranes to the experts; 0: spikes alone. Needs an expert engine.
        clock_gating: 0: all registers are clocked; 1: not those of an engine without an instruction; 2: of the accumulators only
            those that are written. For the energy alone: there are no gates in the Verilog.
        energy_laws: 1: energy and area of units with a fitted law are by it; 0: all by the table of cited figures.

    Raises ArchsimError when a value is out of range or two of them do not fit together.
    """

    name: str
    clock_mhz: float
    cores: int
    lanes: int
    columns: int
    neurons: int
    weight_bits: int
    membrane_bits: int
    weight_rows: int
    param_rows: int
    spike_in_rows: int
    spike_out_rows: int
    residual_rows: int
    psum_rows: int
    reduce_rows: int
    attention_rows: int
    count_rows: int
    count_bits: int
    dram_bus_bytes: int
    dram_latency_cycles: int
    dram_burst_bytes: int
    dram_outstanding: int
    queue_rows: int
    pool_steps: int = POOL_STEPS
    pool_rows: int = POOL_ROWS
    crossbar_depth: int = 0
    route_rows: int = ROUTE_ROWS
    transposer: int = 0
    masker: int = 0
    softmax_tokens: int = 0
    residual_maximum: int = 0
    normaliser_operand_bits: int = 0
    normaliser_table_bits: int = NORMALISER_TABLE_BITS
    dispatch_membranes: int = 0
    clock_gating: int = 0
    energy_laws: int = 1

    def __post_init__(self) -> None:
        """Check ranges and relations."""
        limits = {
            "cores": (1, 32), "lanes": (1, 16), "columns": (2, 64), "neurons": (1, 64), "weight_bits": (2, 8),
            "membrane_bits": (8, 24), "count_bits": (2, 16), "dram_bus_bytes": (1, 256),
            "dram_latency_cycles": (0, 4095), "dram_outstanding": (1, 64), "queue_rows": (1, 1 << 20),
            "weight_rows": (2, 1 << 14), "param_rows": (1, 1 << 10), "spike_in_rows": (2, 1 << 20),
            "spike_out_rows": (2, 1 << 20), "residual_rows": (2, 1 << 20), "psum_rows": (2, 1 << 20),
            "reduce_rows": (1, 1 << 10), "attention_rows": (2, 1 << 20), "count_rows": (2, 1 << 20),
            "pool_steps": (1, 255), "pool_rows": (1, 1 << 16), "crossbar_depth": (0, 64), "route_rows": (1, 1 << 16),
            "transposer": (0, 1), "masker": (0, 1), "softmax_tokens": (0, 64), "residual_maximum": (0, 1),
            "normaliser_operand_bits": (0, 24), "normaliser_table_bits": (1, 12), "dispatch_membranes": (0, 1),
            "clock_gating": (0, 2), "energy_laws": (0, 1),
        }  # fmt: skip
        for field, (low, high) in limits.items():
            value = getattr(self, field)
            if not isinstance(value, int) or not low <= value <= high:
                raise ArchsimError(f"chip '{self.name}': {field} must be an integer in {low}..{high}, given {value!r}")
        if 0 < self.softmax_tokens < LEAST_SOFTMAX_TOKENS:
            raise ArchsimError(
                f"chip '{self.name}': softmax_tokens must be 0 (no softmax) or in {LEAST_SOFTMAX_TOKENS}..64, "
                f"given {self.softmax_tokens}"
            )
        if self.dispatch_membranes and not self.crossbar_depth:
            raise ArchsimError(
                f"chip '{self.name}': dispatch_membranes must be 0 on a chip without an expert engine (crossbar_depth 0), "
                f"given {self.dispatch_membranes}"
            )
        if self.clock_mhz <= 0:
            raise ArchsimError(f"chip '{self.name}': clock_mhz must be positive, given {self.clock_mhz}")
        if self.columns % self.neurons:
            raise ArchsimError(
                f"chip '{self.name}': neurons must divide columns, given {self.neurons} and {self.columns}"
            )
        if self.dram_burst_bytes < 1 or self.dram_burst_bytes % self.dram_bus_bytes:
            raise ArchsimError(
                f"chip '{self.name}': dram_burst_bytes must be a multiple of dram_bus_bytes "
                f"({self.dram_bus_bytes}), given {self.dram_burst_bytes}"
            )

    @property
    def adders(self) -> int:
        """Synapse adders of the whole chip: cores x lanes x columns."""
        return self.cores * self.lanes * self.columns

    @property
    def blocks(self) -> int:
        """Blocks of P columns in a core's columns."""
        return self.columns // self.neurons

    def lanes_used(self, timesteps: int) -> int:
        """Lanes of a row that hold time steps: the greatest divisor of ``timesteps`` not above L, so that slices are alike."""
        return max(lanes for lanes in range(1, self.lanes + 1) if timesteps % lanes == 0)

    def slices(self, timesteps: int) -> int:
        """Rows that hold ``timesteps`` steps of one word."""
        return timesteps // self.lanes_used(timesteps)

    def replace(self, **changes: Any) -> "ChipParams":
        """A copy with ``changes``, checked again."""
        return replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """The parameters as a plain dictionary, for JSON."""
        return asdict(self)
