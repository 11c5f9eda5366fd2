"""Clock of the registers: how many there are in the generated Verilog, and what they take in a cycle.

The numbers of registers follow from the chip's parameters. Their constants were read off the Verilog of the presets before
synthesis (flip-flops, and memories below a kilobit, which become such); tests/rtl/test_registers.py holds them against it.
"""

from archsim.contracts.attention import AttentionParams
from archsim.contracts.attention_softmax import ENTRY_BITS, QUOTIENT_BITS, SoftmaxParams
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.core import CoreParams
from archsim.contracts.multicast import masker_of, transposer_of
from archsim.contracts.sequencer import slots
from archsim.contracts.sram import WRAPPED_BITS, SramParams
from archsim.energy.coefficients import single
from archsim.energy.normaliser import vector_unit
from archsim.energy.term import ATTENTION, CYCLES, Term

BUSY = "busy."
"""Prefix of the cycles of instructions of an engine of a kind: ``busy.core`` counts every core of a gang."""

ROUTED = 662
"""Register bits of the expert engine for a pair of ports: 10,593 of the 4 x 4 of `small_experts`."""


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
            "neuron": neurons + _small(core.neuron.v), "planes": 46 + chip.neurons,
            "spike_writer": 165 + 3 * chip.neurons + _small(core.writer.columns, core.writer.lines),
        },
        "attention": {"attention": counting + _small(attention.cleared), "neuron": neurons + _small(attention.neuron.v)},
        "dma": {"dma": 670 + round(1.15 * max(_row_bits(core)))},
        "multicast": {"multicast": 156 + row + _way(chip)},
    }  # fmt: skip
    found |= {"experts": {"experts": ROUTED * chip.cores**2}} if chip.crossbar_depth else {}
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


def _softmax(chip: ChipParams) -> int:
    """Register bits of a softmax: stages of the scores, addends (as wide as an entry), totals, dividers of P columns."""
    if not chip.softmax_tokens:
        return 0
    sizes, columns = SoftmaxParams(chip), chip.columns
    count = max(chip.count_bits, columns.bit_length())
    stages = 190 + 3 * columns + columns.bit_length() + 15 + chip.membrane_bits + sizes.scores.address_bits
    addends = columns * (ENTRY_BITS + max(0, ENTRY_BITS - count))
    quotients = chip.neurons * (sizes.total_bits + min(QUOTIENT_BITS, chip.membrane_bits - 1))
    return stages + addends + 3 * sizes.total_bits + 24 + quotients + _small(sizes.scores, sizes.table)


def _vector(chip: ChipParams) -> int:
    """Register bits of the normaliser's vector unit: of each element its row, digits, product, result; total, divider, control."""
    unit, bits = vector_unit(chip), chip.membrane_bits
    element = 3 * (unit.operand_bits + bits) + unit.product_bits + _small(unit.table)
    return unit.elements * element + 2 * (unit.sum_bits + unit.operand_bits) + bits + 39


def _row_bits(core: CoreParams) -> list[int]:
    """Bits of a row of each memory of a core that DMA fills."""
    units = core.array.weight, core.neuron.param_bank, core.fetch.bank, core.neuron.residual, core.neuron.psum
    return [memory.row_bits for memory in units]


def _small(*memories: SramParams) -> int:
    """Bits of those memories that are made of registers."""
    return sum(memory.bits for memory in memories if memory.bits < WRAPPED_BITS)


def clock_terms(chip: ChipParams) -> list[Term]:
    """Clock of all registers, by ``clock_gating``.

    0: in every cycle. 1: while their engine works on an instruction. 2: likewise, but the accumulators of the adders (both banks,
    of cores and attention unit) only where they are written: by additions, shifts and hand-overs.
    """
    terms, figures = [], (single("register_clock"), single("clock_tree"))
    sums = {"core": chip.lanes * chip.columns, "attention": chip.columns} if chip.clock_gating > 1 else {}
    for engine, count in registers(chip).items():
        named = f"register bits of {'a core' if engine == 'core' else engine}"
        bits = count - 2 * sums.get(engine, 0) * chip.membrane_bits, named
        copies = ((chip.cores, "cores"),) if engine == "core" and not chip.clock_gating else ()
        counter = BUSY + engine if chip.clock_gating else CYCLES
        terms.append(Term("clock", counter, (*copies, bits), figures))
    width = chip.membrane_bits, "bits of an accumulator"
    for engine, accumulators in sums.items():
        prefix = ATTENTION if engine == "attention" else ""
        written = accumulators, "accumulators of a core" if engine == "core" else "accumulators of the attention unit"
        terms.append(Term("clock", prefix + "additions", (width,), figures))
        terms += [Term("clock", prefix + counter, (written, width), figures) for counter in ("shifts", "groups")]
    return terms
