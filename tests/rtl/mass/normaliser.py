"""Mass runs of the normaliser: random layer norms and weights of experts, over memories of random membranes."""

from tests.archsim.normaliser_programs import CHIPS, filled, random_program
from tests.rtl.mass.instructions import Cases, instructions
from tests.rtl.normaliser_slice import ENGINE, fast_normaliser, stepped_normaliser


class NormaliserCases(Cases):
    """NORMALISE and WEIGH."""

    unit, engine = "normaliser", ENGINE
    sets = tuple(chip.replace(name=f"{chip.name}_queued", queue_rows=256) for chip in CHIPS)

    def memory(self, chip, rng):
        return filled(chip, rng)

    def program(self, chip, rng, count):
        return [step.fields | {"opcode": step.opcode} for step in random_program(chip, rng, count)]

    def fast(self, fields, chip, memory):
        return fast_normaliser(fields, chip, memory)

    def stepped(self, fields, chip, memory):
        return stepped_normaliser(fields, chip, memory)


run = instructions(NormaliserCases())
