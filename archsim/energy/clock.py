"""Clock of the registers: how many there are in the generated Verilog, and what they take in a cycle.

The numbers of registers follow from the chip's parameters. Their constants were read off the Verilog of the presets before
synthesis (flip-flops, and memories below a kilobit, which become such); tests/rtl/test_registers.py holds them against it.
"""

from collections.abc import Mapping

from archsim.contracts.attention import AttentionParams
from archsim.contracts.attention_softmax import ENTRY_BITS, QUOTIENT_BITS, SoftmaxParams
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.law import small
from archsim.contracts.core import CoreParams
from archsim.contracts.dma import widest_row
from archsim.contracts.experts import ExpertsParams
from archsim.contracts.multicast import masker_of, transposer_of
from archsim.contracts.sequencer import slots
from archsim.energy.coefficients import Reading, single
from archsim.energy.normaliser import vector_unit
from archsim.energy.term import ATTENTION, CYCLES, Term, place

BUSY = "busy."
"""Prefix of the cycles of instructions of an engine of a kind: ``busy.core`` counts every core of a gang."""

ADDERS = {"core": "synapse_array", "attention": "attention"}
"""Units with accumulators, by engine."""

def registers(chip: ChipParams) -> dict[str, int]:
    """Register bits of one core (``core``) and of each shared engine that the chip has, with their sequencers."""
    return {engine: sum(units.values()) for engine, units in registers_by_unit(chip).items()}


def registers_by_unit(chip: ChipParams) -> dict[str, dict[str, int]]:
    """Register bits of each unit in one core (``core``) and in each shared engine that the chip has; an engine's own by its name.

    L lanes, M columns, P neurons, B bits of a membrane; memories below a kilobit are their unit's.
    """
    row, bits = chip.lanes * chip.columns, chip.membrane_bits
    core, attention = CoreParams(chip), AttentionParams(chip)
    sequencer = 13 + 8 * slots(chip)  # a semaphore for each producer
    neurons = 317 + chip.neurons * (5 * bits + 1)
    counting = _softmax(chip) + 1095 + 47 * chip.columns + 2 * (row - chip.columns) + 2 * chip.columns * (chip.columns + bits)
    found = {
        "core": {
            "core": 1, "spike_fetch": 407 + 4 * row, "event_encoder": 13 + row, "synapse_array": 31 + 2 * row * bits,
            "neuron": neurons + small(core.neuron.v), "planes": 46 + chip.neurons,
            "spike_writer": 165 + 3 * chip.neurons + small(core.writer.columns, core.writer.lines),
        },
        "attention": {"attention": counting + small(attention.cleared), "neuron": neurons + small(attention.neuron.v)},
        "dma": {"dma": 670 + round(1.15 * widest_row(chip))},
        "multicast": {"multicast": 156 + row + _way(chip)},
    }  # fmt: skip
    found |= {"experts": {"experts": _experts(chip)}} if chip.crossbar_depth else {}
    found |= {"normaliser": {"normaliser": 252 + bits + _vector(chip)}} if chip.normaliser_operand_bits else {}
    return {engine: {"sequencer": sequencer} | units for engine, units in found.items()}


def _way(chip: ChipParams) -> int:
    """Register bits of what stands in the way of the multicast's rows: transposers and masker with their control."""
    bits = 0
    if chip.transposer:
        bits += chip.lanes * transposer_of(chip).state.width + 2
    if chip.masker:
        bits += masker_of(chip).state.width + masker_of(chip).o.width + 23
    return bits


def _experts(chip: ChipParams) -> int:
    """Register bits of the expert engine: queues of two crossbars with their control, a row of membranes a core, scores, walks."""
    sizes, queues = ExpertsParams(chip), chip.cores**2
    flits = sizes.request.data_bits + sizes.reply.data_bits + 2  # each with the mark of a packet's last
    control = chip.crossbar_depth.bit_length() + 2 * (chip.crossbar_depth - 1).bit_length()
    rows = chip.cores * sizes.membrane_bits + sizes.router.experts * chip.membrane_bits
    return queues * (chip.crossbar_depth * flits + 2 * control) + rows + 360 + 134 * chip.cores


def _softmax(chip: ChipParams) -> int:
    """Register bits of a softmax: stages of the scores, addends (as wide as an entry), totals, dividers of P columns."""
    if not chip.softmax_tokens:
        return 0
    sizes, columns = SoftmaxParams(chip), chip.columns
    count = max(chip.count_bits, columns.bit_length())
    stages = 190 + 3 * columns + columns.bit_length() + 15 + chip.membrane_bits + sizes.scores.address_bits
    addends = columns * (ENTRY_BITS + max(0, ENTRY_BITS - count))
    quotients = chip.neurons * (sizes.total_bits + min(QUOTIENT_BITS, chip.membrane_bits - 1))
    return stages + addends + 3 * sizes.total_bits + 24 + quotients + small(sizes.scores, sizes.table)


def _vector(chip: ChipParams) -> int:
    """Register bits of the normaliser's vector unit: of each element its row, digits, product, result; total, divider, control."""
    unit, bits = vector_unit(chip), chip.membrane_bits
    element = 3 * (unit.operand_bits + bits) + unit.product_bits + small(unit.table)
    return unit.elements * element + 2 * (unit.sum_bits + unit.operand_bits) + bits + 39


def clock_terms(chip: ChipParams) -> list[Term]:
    """Clock of all registers, by ``clock_gating``.

    0: in every cycle. 1: while their engine works on an instruction. 2: likewise, but the accumulators of the adders (both banks,
    of cores and attention unit) only where they are written: by additions, shifts and hand-overs.
    """
    sums = {"core": chip.lanes * chip.columns, "attention": chip.columns} if chip.clock_gating > 1 else {}
    found = registers_by_unit(chip)
    for engine, accumulators in sums.items():
        found[engine][ADDERS[engine]] -= 2 * accumulators * chip.membrane_bits
    terms, width = register_terms(chip, found), (chip.membrane_bits, "bits of an accumulator")
    for engine, accumulators in sums.items():
        prefix = ATTENTION if engine == "attention" else ""
        written = accumulators, "accumulators of a core" if engine == "core" else "accumulators of the attention unit"
        for counter, factors in (("additions", (width,)), ("shifts", (written, width)), ("groups", (written, width))):
            terms.append(Term("clock", prefix + counter, factors, _figures(), ADDERS[engine]))
    return terms


def register_terms(chip: ChipParams, bits: Mapping[str, Mapping[str, int]]) -> list[Term]:
    """Clock of so many register bits of each unit, by engine: in every cycle or, gated, while the engine works."""
    terms = []
    for engine, units in bits.items():
        copies = ((chip.cores, "cores"),) if engine == "core" and not chip.clock_gating else ()
        counter = BUSY + engine if chip.clock_gating else CYCLES
        of = "a core" if engine == "core" else engine
        for unit, count in units.items():
            if count:
                factors = (*copies, (count, f"register bits of {of}: {unit}"))
                terms.append(Term("clock", counter, factors, _figures(), place(engine, unit)))
    return terms


def _figures() -> tuple[Reading, ...]:
    return single("register_clock"), single("clock_tree")
