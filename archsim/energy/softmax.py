"""Energy and area of the attention unit's softmax, which only some chips have."""

from archsim.contracts.attention_softmax import ENTRY_BITS, QUOTIENT_BITS, SoftmaxParams
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.masker import DEGREE
from archsim.energy.coefficients import by_width, single
from archsim.energy.term import ATTENTION, Term


def softmax_bits(chip: ChipParams) -> tuple[float, int]:
    """Bits of adders and of registers that only a softmax has: the score's neuron, total, masker, and the dividers of P columns."""
    if not chip.softmax_tokens:
        return 0, 0
    bits = SoftmaxParams(chip).total_bits
    adders = single("neuron_adders").value * chip.membrane_bits + bits + 2 * ENTRY_BITS
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
        Term("softmax_logic", score, ((2, "adders of a byte"),), (by_width("adder_energy", ENTRY_BITS),)),
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
