"""Energy and area of the multicast's masker, which only some chips have."""

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.masker import DEGREE
from archsim.energy.coefficients import by_width, single
from archsim.energy.term import Term

BYTE = 8
"""Bits of the masker's comparison of a spike."""

ADDERS = 2
"""Adders of a byte that stand for what the masker does for a spike: its comparison, and its bits of each of three XORs."""


def masker_bits(chip: ChipParams) -> tuple[int, int]:
    """Bits of adders and of registers that only a masker has: those of each spike of a row; shift register and row."""
    row = chip.masker * chip.lanes * chip.columns
    return ADDERS * BYTE * row, row + chip.masker * DEGREE


def masker_terms(chip: ChipParams) -> list[Term]:
    """A word of a lane that is masked."""
    columns = chip.columns, "columns"
    held = chip.columns + DEGREE / chip.lanes, "bits: what is left of the word, its share of the shift register"
    return [
        Term("masker", "masked", (columns, (ADDERS, "adders of a byte")), (by_width("adder_energy", BYTE),)),
        Term("masker", "masked", (held,), (single("register_energy"),)),
    ]


def masker_area(chip: ChipParams) -> list[Term]:
    """Areas of a masker, if there is one."""
    if not chip.masker:
        return []
    scale = 1e-6, "mm2 of a um2"
    adders, registers = masker_bits(chip)
    spikes = (adders / BYTE, "adders of a byte of each spike of a row"), scale
    held = (registers, "bits of the shift register and of a row"), scale
    return [
        Term("masker", "adders", spikes, (by_width("adder_area", BYTE),)),
        Term("masker", "registers", held, (single("register_area"),)),
    ]
