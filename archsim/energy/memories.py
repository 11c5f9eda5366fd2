"""Every memory of a chip: how many banks of which size, by the contracts of the units that own them."""

from dataclasses import dataclass

from archsim.contracts.attention import AttentionParams
from archsim.contracts.attention_softmax import SoftmaxParams
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.core import CoreParams
from archsim.contracts.experts import RouteTables
from archsim.contracts.sequencer import INSTRUCTION_BYTES, engines
from archsim.contracts.spike_fetch import BANKS as SPIKE_IN_BANKS
from archsim.contracts.spike_writer import BANKS as SPIKE_OUT_BANKS
from archsim.contracts.sram import SramParams
from archsim.contracts.synapse_array import BANKS as WEIGHT_BANKS
from archsim.energy.normaliser import vector_unit

PARAM_BANKS = 2
"""Parameter banks of a core."""

ATTENTION_BANKS = 6
"""Spike banks of the attention unit: q0, q1, k, v, out0, out1."""


@dataclass(frozen=True)
class Memory:
    """Banks of one kind.

    Attributes:
        component: which entry of the energy and area reports they belong to.
        bank: size of one bank.
        count: banks in the whole chip.
    """

    component: str
    bank: SramParams
    count: int

    @property
    def bank_bytes(self) -> float:
        """Capacity of one bank, bytes."""
        return self.bank.bits / 8


def memories(chip: ChipParams) -> dict[str, Memory]:
    """All memories of ``chip`` by name; those of an engine or a softmax that it does not have are 0 banks."""
    core = CoreParams(chip)
    tables, ports = RouteTables(chip), chip.cores if chip.crossbar_depth else 0
    attention, softmax, exponentials = AttentionParams(chip), SoftmaxParams(chip), vector_unit(chip)
    cores = chip.cores
    return {
        "weight": Memory("weight_memory", core.array.weight, cores * WEIGHT_BANKS),
        "param": Memory("parameter_memory", core.neuron.param_bank, cores * PARAM_BANKS),
        "spike_in": Memory("spike_memory", core.fetch.bank, cores * SPIKE_IN_BANKS),
        "spike_out": Memory("spike_memory", core.writer.bank, cores * SPIKE_OUT_BANKS),
        "attention": Memory("spike_memory", attention.bank, ATTENTION_BANKS),
        "residual": Memory("residual_memory", core.neuron.residual, cores),
        "psum": Memory("psum_memory", core.neuron.psum, cores),
        "reduce": Memory("reduction_memory", core.neuron.reduce, cores),
        "v": Memory("membrane_memory", core.neuron.v, cores + 1),
        "count": Memory("count_memory", attention.counts, 1),
        "pool_columns": Memory("pool_memory", core.writer.columns, cores),
        "pool_lines": Memory("pool_memory", core.writer.lines, cores),
        "count_cleared": Memory("count_memory", attention.cleared, 1),
        "scores": Memory("softmax_memory", softmax.scores, int(chip.softmax_tokens > 0)),
        "table": Memory("softmax_memory", softmax.table, int(chip.softmax_tokens > 0)),
        "exponentials": Memory("normaliser_memory", exponentials.table, chip.neurons * int(chip.normaliser_operand_bits > 0)),
        "route": Memory("route_memory", tables.routes, ports),
        "reply": Memory("route_memory", tables.replies, ports),
        "program": Memory("program_memory", SramParams(chip.queue_rows, INSTRUCTION_BYTES * 8), len(engines(chip))),
    }
