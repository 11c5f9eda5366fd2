"""Energy and area of what only some chips have: the multicast's masker, the attention unit's softmax."""

from archsim.contracts.attention_softmax import QUOTIENT_BITS, SoftmaxParams
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.masker import DEGREE
from archsim.energy.coefficients import by_width, single
from archsim.energy.terms import ATTENTION, Term

BYTE = 8
"""Bits of the masker's comparison of a spike."""


def masker_bits(chip: ChipParams) -> int:
    """Registers of the multicast's masker."""
    return chip.masker * (DEGREE + chip.lanes * chip.columns)


def masker_adders(chip: ChipParams) -> int:
    """Adders of a byte that stand for the multicast's masker: a comparison and the bits of each spike."""
    return chip.masker * 2 * chip.lanes * chip.columns


def masker_area(chip: ChipParams) -> list[Term]:
    """Areas of the multicast's masker, if there is one."""
    if not chip.masker:
        return []
    scale = 1e-6, "mm2 of a um2"
    adders = masker_adders(chip), "adders of a byte of each spike of a row"
    bits = masker_bits(chip), "bits of the shift register and of a row"
    return [
        Term("masker", "adders", (adders, scale), (by_width("adder_area", BYTE),)),
        Term("masker", "registers", (bits, scale), (single("register_area"),)),
    ]


def softmax_bits(chip: ChipParams) -> tuple[float, int]:
    """Bits of adders and of registers that only a softmax has: the score's neuron, total, masker, and the dividers of P columns."""
    if not chip.softmax_tokens:
        return 0, 0
    bits = SoftmaxParams(chip).total_bits
    adders = single("neuron_adders").value * chip.membrane_bits + bits + 2 * BYTE
    registers = 3 * bits + DEGREE + chip.neurons * (bits + QUOTIENT_BITS)  # totals: running, handed over, in the divider
    return adders + single("division_adders").value * chip.neurons * (bits + 1), registers


def softmax_terms(chip: ChipParams) -> list[Term]:
    """A score (its neuron, the total, the masker's register and comparison), and a bit of P quotients."""
    bits, score, register = SoftmaxParams(chip).total_bits, ATTENTION + "score_writes", single("register_energy")
    step, neurons = ATTENTION + "division_steps", (chip.neurons, "columns of a block")
    held = bits + QUOTIENT_BITS, "bits of a remainder and its quotient"
    return [
        Term("softmax_logic", score, (), (single("neuron_adders"), by_width("adder_energy", chip.membrane_bits))),
        Term("softmax_logic", score, (), (by_width("adder_energy", bits),)),
        Term("softmax_logic", score, ((2, "adders of a byte"),), (by_width("adder_energy", BYTE),)),
        Term("softmax_logic", score, ((bits + DEGREE, "bits of the total and of the masker's register"),), (register,)),
        Term("softmax_logic", step, (neurons,), (single("division_adders"), by_width("adder_energy", bits + 1))),
        Term("softmax_logic", step, (neurons, held), (register,)),
    ]


def softmax_area(chip: ChipParams) -> list[Term]:
    """Areas of a softmax's logic, if there is one."""
    if not chip.softmax_tokens:
        return []
    scale = 1e-6, "mm2 of a um2"
    adders, registers = softmax_bits(chip)
    return [
        Term("softmax_logic", "adder bits", ((adders, "bits of adders"), scale), (by_width("adder_area", 1),)),
        Term("softmax_logic", "registers", ((registers, "bits of registers"), scale), (single("register_area"),)),
    ]
