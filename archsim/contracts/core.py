"""Core: spike fetch, event encoder, synapse array, neuron unit and spike writer as one pipeline, and its instructions.

SYNAPSE computes a tile of output positions for one group of columns. Its duration follows from the cycles of its groups alone:
the stages form a tandem queue with one group in the adders and one in the hand-over bank.
PLANES turns rows of the reduction bank into bit planes of spikes for an integer operand.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from archsim.contracts import event_encoder, neuron, spike_fetch, spike_writer, synapse_array
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.law import Form
from archsim.contracts.common.layout import Field

SYNAPSE_FIELDS = (
    *spike_fetch.TILE_FIELDS,
    Field("gang", 32),  # cores in lockstep, a bit each; the lowest is the leader, whose fetch and encoder all share
    Field("weight_bank", 1),
    Field("columns", 7),  # columns that carry a channel (accounting only: the others have zero weights)
    Field("blocks", 7),
    Field("steps", 8),  # time steps of a group
    Field("replay", 1),  # lane 0 serves every step
    Field("neuron", 2),
    Field("psum_in", 1),
    Field("psum_out", 1),  # the sum is stored and nothing else happens
    Field("residual_in", 1),
    Field("residual_out", 1),
    Field("spike_out", 1),
    Field("reduce", 1),
    Field("reduce_first", 1),  # the reduction starts from 0
    Field("pool", 1),
    Field("pool_first_odd", 1),  # the tile begins with an odd row before the pool
    Field("pool_left_odd", 1),  # and with an odd column
    Field("param_bank", 1),
    Field("param_base", 10),
    Field("psum_base", 20),
    Field("psum_position", 12),
    Field("psum_step", 8),
    Field("residual_in_base", 20),
    Field("residual_out_base", 20),
    Field("residual_position", 16),
    Field("residual_step", 12),
    Field("reduce_base", 10),
    Field("out_bank", 1),
    Field("out_base", 20),
    Field("out_position", 16),
    Field("out_slice", 10),
    Field("lanes", 5),  # time steps of a row of the output
    Field("maximum", 1),  # the greater of sum and residual in place of their sum (chips with residual_maximum)
)
"""Fields of SYNAPSE. Positions count through the tile, before the pool for psum and residual, after it for out."""

PLANES_FIELDS = (
    Field("reduce_base", 10),
    Field("blocks", 7),
    Field("planes", 6),
    Field("right_shift", 5),
    Field("out_bank", 1),
    Field("out_base", 20),
)
"""Fields of PLANES: blocks of one word; plane number i (the sign plane first) goes to row out_base + i, lane 0."""


@dataclass(frozen=True)
class CoreParams:
    """Sizes of a core's units: those of the chip that bear on them."""

    chip: ChipParams

    @cached_property
    def array(self) -> synapse_array.SynapseArrayParams:
        """The adders and the weight banks."""
        chip = self.chip
        return synapse_array.SynapseArrayParams(
            chip.lanes, chip.columns, chip.neurons, chip.weight_bits, chip.membrane_bits, chip.weight_rows
        )

    @cached_property
    def fetch(self) -> spike_fetch.SpikeFetchParams:
        """The fetch and the input spike banks; its rows are those of the weights."""
        chip = self.chip
        return spike_fetch.SpikeFetchParams(chip.lanes, chip.columns, chip.spike_in_rows, self.array.row_bits)

    @cached_property
    def encoder(self) -> event_encoder.EventEncoderParams:
        """The encoder of the fetch's words."""
        return event_encoder.EventEncoderParams(self.chip.lanes, self.chip.columns, self.array.row_bits)

    @cached_property
    def neuron(self) -> neuron.NeuronParams:
        """The neuron unit with the banks of parameters, residual, partial sums and reduction."""
        chip = self.chip
        return neuron.NeuronParams(
            chip.neurons, chip.blocks, chip.membrane_bits, chip.param_rows, chip.residual_rows, chip.psum_rows,
            chip.reduce_rows, chip.residual_maximum,
        )  # fmt: skip

    @cached_property
    def writer(self) -> spike_writer.SpikeWriterParams:
        """The writer with its pool and the output spike banks."""
        chip = self.chip
        return spike_writer.SpikeWriterParams(
            chip.lanes, chip.neurons, chip.blocks, chip.spike_out_rows, chip.pool_steps, chip.pool_rows
        )


def plane_value(total: int, right_shift: int, planes: int) -> int:
    """Operand of PLANES: the sum shifted (floor), saturated to ``planes`` bits, two's complement."""
    half = 1 << (planes - 1)
    return min(max(total >> right_shift, -half), half - 1)


def check(fields: Mapping[str, int], chip: ChipParams) -> None:
    """Raise ArchsimError unless the chip can do a SYNAPSE: ``maximum`` needs ``residual_maximum``."""
    if fields["maximum"] and not chip.residual_maximum:
        raise ArchsimError(
            f"core: SYNAPSE with 'maximum' needs a chip with residual_maximum, given chip '{chip.name}' with residual_maximum 0; "
            "set 'residual_maximum: 1' in its file and map the network again"
        )


FIRST_ADD = spike_fetch.FIRST_WORD + event_encoder.LATENCY + synapse_array.ADD_LATENCY
"""Cycles from the start to the addition of the first event."""

PLANES_OVERHEAD = 3
"""Cycles of PLANES besides one per granule: read, select, write."""


def group_end(handover: int, taken: int, cycles: int, granules: int) -> tuple[int, int]:
    """Law of a group: when it is handed over and when its last block is taken.

    Args:
        handover: cycle in which the group before was handed over (start + FIRST_ADD for the first).
        taken: cycle in which its last block was taken (the start for the first).
        cycles: events of this group, empty words and shifts included.
        granules: blocks x steps.

    A group's additions begin with the handover of the one before; it is handed over when they end and the bank is free.
    """
    handover = max(handover + cycles, taken)
    first = max(handover + synapse_array.HANDOVER_LATENCY, taken + neuron.GROUP_GAP)
    return handover, first + granules - 1


def drain(pool: int) -> int:
    """Cycles from the last block taken to the end of the instruction."""
    return neuron.LATENCY + (spike_writer.POOL_DONE if pool else spike_writer.DONE)


PLANES_LAW = Form(
    ("granules",),
    ("cycles", "cycles neurons", "granules", "granules neurons membrane_bits"),
    ("1", "neurons", "neurons membrane_bits"),
    fixed=("reduce_rows",),
)
"""Laws of the reader of PLANES, of the neuron unit's parameters: walk, and a selection of a bit for each sum. Count: granules."""


def planes_cycles(planes: int, blocks: int) -> int:
    """Law of PLANES: duration in cycles."""
    return planes * blocks + PLANES_OVERHEAD
