"""Energy and area of the logic by the laws of its units; what has no law keeps the table's figures.

A law's terms of the cycles are the clock of the unit's registers, and stand where reports have the clock; the others are what its
events cost, with a factor for the wires, which netlists do not have. What has no law (a register that joins the units of a core,
and what joins those in the multicast's way) has the clock of the registers that are left.
"""

from collections.abc import Iterable

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.law import CYCLES, KNOWN_BITS
from archsim.contracts.common.laws import FORMS
from archsim.energy.clock import BUSY, register_terms, registers_by_unit
from archsim.energy.coefficients import single
from archsim.energy.instances import Factors, Instance, instances
from archsim.energy.laws import AREA, ENERGY, WIRES, package, reading, scale
from archsim.energy.term import ATTENTION, Term, place
from archsim.energy.term import CYCLES as ALL_CYCLES

REPLACED = {
    "synapse_adders": ("additions",), "accumulator_registers": ("additions", "groups", ATTENTION + "groups"),
    "transposer": ("transposed", ATTENTION + "transposed"), "masker": ("masked",),
    "neuron_units": ("granules", ATTENTION + "granules"),
    "attention_adders": ("popcounts", "gates", *(ATTENTION + name for name in ("additions", "popcounts", "gates"))),
    "softmax_logic": (ATTENTION + "score_writes", ATTENTION + "division_steps"),
    "normaliser_logic": ("vector_rows", "vector_additions", "compared_rows", "exponential_reads"),
}  # fmt: skip
"""Products of the table in whose place laws stand: counters by component."""

REPLACED_AREAS = {
    "synapse_adders": ("adders",), "accumulator_registers": ("accumulators",), "attention_adders": ("adders", "popcounts"),
    "transposer": ("registers",), "neuron_units": ("neurons",), "masker": ("adders", "registers"),
    "softmax_logic": ("adder bits", "registers"), "normaliser_logic": ("adder bits", "registers"),
}  # fmt: skip
"""Areas of the table in whose place laws stand."""

ACCUMULATORS = {
    "synapse_array": "cycles lanes columns membrane_bits", "attention_sums": "cycles columns membrane_bits",
    "attention_softmax": "cycles columns membrane_bits",
}  # fmt: skip
"""Terms that are the clock of two accumulators for each adder: the one that adds, and the one that hands over."""


def logic_terms(chip: ChipParams, table: Iterable[Term]) -> list[Term]:
    """Products of what switches with counts: the laws' and, of the table's, those in whose place none stands."""
    kept = [term for term in table if term.counter not in REPLACED.get(term.component, ())]
    return [term for instance in instances(chip) for term in _events(instance)] + kept


def _events(instance: Instance) -> list[Term]:
    form, found = FORMS[instance.law], []
    for text in package().units[instance.law].energy_pj:
        name = form.counted(text)
        if name == CYCLES or not instance.counts:
            continue
        assert name in instance.counts, f"{instance.law}: a coefficient for {name}, and no counter of a run (instances.py)"
        component, counts = instance.components.get(name, instance.component), instance.counts[name]
        for count in counts if isinstance(counts, tuple) else (counts,):
            readings = (reading(instance.law, ENERGY, text, instance.numbers), scale(ENERGY), single(WIRES), *count.assumed)
            found.append(Term(component, count.counter, (*count.factors, *_sizes(instance, text)), readings, instance.unit))
    return found


def _sizes(instance: Instance, text: str) -> Factors:
    return tuple((instance.numbers[name], name.replace("_", " ")) for name in FORMS[instance.law].parameters(text))


def law_clock_terms(chip: ChipParams) -> list[Term]:
    """Clock of all registers, by ``clock_gating`` as `archsim.energy.clock.clock_terms` has it: of units with a law by the law."""
    terms = [term for instance in instances(chip) for term in _clock(chip, instance)]
    return terms + register_terms(chip, left(chip))


def _clock(chip: ChipParams, instance: Instance) -> list[Term]:
    copies = instance.copies * (chip.cores if instance.engine == "core" and not chip.clock_gating else 1)
    several: Factors = ((copies, f"{instance.law.replace('_', ' ')}, so many"),) if copies > 1 else ()
    counter, terms = BUSY + instance.engine if chip.clock_gating else ALL_CYCLES, []
    for text in _clocked(instance):
        readings = reading(instance.law, ENERGY, text, instance.numbers), scale(ENERGY), single("clock_tree")
        sizes = _sizes(instance, text)
        if chip.clock_gating > 1 and text == ACCUMULATORS.get(instance.law):
            terms += [Term("clock", name, factors, readings, instance.unit) for name, factors in _written(chip, instance)]
        else:
            terms.append(Term("clock", counter, (*several, *sizes), readings, instance.unit))
    return terms


def _written(chip: ChipParams, instance: Instance) -> list[tuple[str, Factors]]:
    """Accumulators that are clocked where they are written alone: one by an addition, all by a shift or a hand-over."""
    prefix = "" if instance.engine == "core" else ATTENTION
    all_of_them = chip.columns * (chip.lanes if instance.engine == "core" else 1), "accumulators"
    width, half = (chip.membrane_bits, "bits of an accumulator"), (0.5, "one of the two of an adder")
    return [
        (prefix + "additions", (width, half)), (prefix + "shifts", (all_of_them, width, half)),
        (prefix + "groups", (all_of_them, width, half)),
    ]  # fmt: skip


def _clocked(instance: Instance) -> list[str]:
    """The law's terms of the cycles, and that of memories made of registers if there are any."""
    texts = [text for text in package().units[instance.law].energy_pj if CYCLES in text.split()]
    return texts + ([f"{CYCLES} {KNOWN_BITS}"] if instance.numbers[KNOWN_BITS] else [])


def clocked_bits(instance: Instance) -> float:
    """Register bits of one unit by its law: what its clock takes in a cycle over that of a flip-flop."""
    form, laws = FORMS[instance.law], package()
    coefficients = laws.units[instance.law].energy_pj | {f"{CYCLES} {KNOWN_BITS}": laws.flip_flop_pj}
    pj = 0.0
    for text in _clocked(instance):
        product = coefficients[text]
        for name in form.parameters(text):
            product *= instance.numbers[name]
        pj += product
    return pj / laws.flip_flop_pj


def left(chip: ChipParams) -> dict[str, dict[str, int]]:
    """Register bits that no law has, by engine and unit as `registers_by_unit`: of a unit without a law, or between its parts."""
    covered: dict[str, float] = {}
    for instance in instances(chip):
        covered[instance.unit] = covered.get(instance.unit, 0.0) + instance.copies * clocked_bits(instance)
    return {
        engine: {
            unit: max(0, round(bits - covered.get(place(engine, unit), 0.0)))
            for unit, bits in units.items()
            if place(engine, unit) not in covered or place(engine, unit) in PARTLY
        }
        for engine, units in registers_by_unit(chip).items()
    }


PARTLY = ("multicast",)
"""Units that are made of parts with a law and of registers without one between them: what joins transposers and masker."""


def law_area_terms(chip: ChipParams, table: Iterable[Term]) -> list[Term]:
    """Products of areas: the laws' and, of the table's, those in whose place none stands; mm2."""
    kept = [term for term in table if term.counter not in REPLACED_AREAS.get(term.component, ())]
    terms = []
    for instance in instances(chip):
        copies = instance.copies * (chip.cores if instance.engine == "core" else 1), "so many"
        for text in (*package().units[instance.law].area_um2, *([KNOWN_BITS] if instance.own else [])):
            readings = reading(instance.law, AREA, text, instance.numbers), scale(AREA)
            factors = (copies, *_sizes(instance, text), (1e-6, "mm2 of a um2"))
            counted = f"{instance.law.replace('_', ' ')} ({instance.engine})"
            terms.append(Term(instance.component, counted, factors, readings, instance.unit))
    return kept + terms
