"""Energy and area of the normaliser, which only some chips have; not spike-driven: it costs the same whatever the spikes."""

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.normaliser import NormaliserParams
from archsim.contracts.vector import VectorParams
from archsim.energy.coefficients import by_width, single
from archsim.energy.sram import bank
from archsim.energy.term import Term


def vector_unit(chip: ChipParams) -> VectorParams:
    """The normaliser's vector unit; of a chip without one, that of factors as wide as a membrane."""
    bits = chip.normaliser_operand_bits or chip.membrane_bits
    table = min(chip.normaliser_table_bits, chip.membrane_bits)
    return NormaliserParams(chip.replace(normaliser_operand_bits=bits, normaliser_table_bits=table)).unit


def normaliser_bits(chip: ChipParams) -> tuple[float, int]:
    """Bits of adders and of registers that only a normaliser has.

    Adders: of each element a product, a bias, its part of the sum, its signed digits, score less maximum and comparison; the
    divider. Registers: of each element row, operands' digits, product and result; total, scalar, remainder and quotient, maximum.
    """
    if not chip.normaliser_operand_bits:
        return 0, 0
    unit, bits = vector_unit(chip), chip.membrane_bits
    adders = unit.product_bits + 4 * bits + unit.operand_bits
    registers = 3 * bits + 3 * unit.operand_bits + unit.product_bits
    divider = single("division_adders").value * (unit.sum_bits + 2)
    single_registers = 2 * unit.sum_bits + unit.operand_bits + 2 * bits
    return unit.elements * adders + divider, unit.elements * registers + single_registers


def normaliser_terms(chip: ChipParams) -> list[Term]:
    """Its tables; a row that the vector unit takes, an addition to it, a step of its divider, a row compared or looked up."""
    unit, bits, register = vector_unit(chip), chip.membrane_bits, single("register_energy")
    elements = unit.elements, "elements of a row"
    product, step = unit.product_bits, (unit.sum_bits + bits - 1, "bits of a remainder and its quotient")
    adder, table = by_width("adder_energy", bits), unit.table
    read, write = (bank(kind, table.bits / 8, table.row_bits) for kind in ("read", "write"))
    copies = unit.elements, "copies of the table"
    return [
        Term("normaliser_memory", "exponential_reads", (copies,), (read,)),
        Term("normaliser_memory", "loaded_exponential_rows", (copies,), (write,)),
        Term("normaliser_logic", "vector_rows", (elements, (2, "additions: bias, sum of the row")), (adder,)),
        Term("normaliser_logic", "vector_rows", (elements,), (by_width("adder_energy", unit.operand_bits),)),  # signed digits
        Term("normaliser_logic", "vector_rows", (elements, (2 * bits, "bits of an element and its result")), (register,)),
        Term("normaliser_logic", "vector_additions", (elements,), (by_width("adder_energy", product),)),
        Term("normaliser_logic", "vector_additions", (elements, (product, "bits of a product")), (register,)),
        Term("normaliser_logic", "vector_steps", (), (single("division_adders"), by_width("adder_energy", unit.sum_bits + 2))),
        Term("normaliser_logic", "vector_steps", (step,), (register,)),
        Term("normaliser_logic", "compared_rows", (elements,), (adder,)),
        Term("normaliser_logic", "exponential_reads", (elements, (1, "subtraction of the maximum")), (adder,)),
    ]  # fmt: skip


def normaliser_area(chip: ChipParams) -> list[Term]:
    """Areas of a normaliser's logic, if there is one."""
    if not chip.normaliser_operand_bits:
        return []
    scale = 1e-6, "mm2 of a um2"
    adders, registers = normaliser_bits(chip)
    return [
        Term("normaliser_logic", "adder bits", ((adders, "bits of adders"), scale), (by_width("adder_area", 1),)),
        Term("normaliser_logic", "registers", ((registers, "bits of registers"), scale), (single("register_area"),)),
    ]
