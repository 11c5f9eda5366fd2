"""What energies take for granted and leave out, in words, and the figures that they rest on, by the chip's provider."""

from archsim.contracts.common.chip import ChipParams
from archsim.energy.coefficients import Coefficient, coefficients
from archsim.energy.laws import entries
from archsim.energy.model import ASSUMPTIONS, NOT_MODELLED, area_terms, energy_terms

LAW_ASSUMPTIONS = (
    "units with a law: energy and area by laws fitted to our own netlists at 180 nm (laws.json), times a factor to 45 nm that is "
    "known to a factor of seven; what follows of adders, registers and neurons holds for what has no law: shifts between bit "
    "planes, comparisons of a maximum, roots and reciprocals of the normaliser, leakage",
    "a law's terms of the cycles are the clock of its unit's registers, gated where the chip says so; registers without a law have "
    "the table's price; half as much again for the tree",
    "laws are of netlists without wires, for which what switches by counts is taken half as much again (1 .. 2 times), and without "
    "glitches; memories made of registers have their clock by the laws, accesses and area as banks",
    "accumulators that additions write are in the law of the arrays, with the adders; columns without a channel add zeros, which "
    "cost nothing; the pool's spikes are those that are stored",
    "bits are not counted: of those that DMA loads 0.45 are taken to be unlike the beat before (0.1 .. 0.5), of those in rows that "
    "multicast and AND-popcount engine take a tenth to be set (0.02 .. 0.5), of the counts K^T V and of scores that are added half "
    "not to be 0 (0.05 .. 1); an addition of the vector unit changes three quarters of a row's elements (a quarter to all); two "
    "choices a token (1 .. 4); with given spikes the elements that change in rows of a token without room are those of older sums; "
    "all blocks of neurons have sums unlike those before, and beats of LOAD follow each other",
    "outside of the sizes that were measured a law's error doubles with each doubling of a size; it is a warning of the report",
)
"""What is taken for granted where laws are used, beside `archsim.energy.model.ASSUMPTIONS`."""

LAW_NOT_MODELLED = (
    "selection of banks and engines, gangs; what joins the units of a core, and transposers and masker in the multicast's way (the "
    "clock of both is modelled)",
    "glitches; clock gates; wires of what has no law, beyond the ranges of the table's figures",
    "DRAM interface and DRAM background power",
    "rows that STORE reads",
)
"""What has no figure where laws are used, by name."""


def assumptions(chip: ChipParams) -> list[str]:
    """What the energies of a chip take for granted, in words."""
    return [*(LAW_ASSUMPTIONS if chip.energy_laws else ()), *ASSUMPTIONS]


def not_modelled(chip: ChipParams) -> list[str]:
    """What has no figure, by name; nothing of it is in any total."""
    return list(LAW_NOT_MODELLED if chip.energy_laws else NOT_MODELLED)


def figures_used(chip: ChipParams) -> dict[str, Coefficient]:
    """The table of cited figures, and of the laws' coefficients those that the chip's energies and areas rest on."""
    used = {name for term in (*energy_terms(chip), *area_terms(chip)) for reading in term.readings for name in reading.entries}
    return coefficients() | {name: entry for name, entry in entries().items() if name in used}
