"""Mass runs of the expert engine: random layers of choices, packets to the experts, and answers."""

from tests.archsim.expert_programs import CHIPS, chip_of, filled, random_program
from tests.rtl.experts_slice import ENGINE, fast_experts, stepped_experts
from tests.rtl.mass.instructions import Cases, instructions


class ExpertCases(Cases):
    """TOPK, DISPATCH and COLLECT."""

    unit, engine = "experts", ENGINE
    sets = tuple(
        chip.replace(name=f"{chip.name}_queued", queue_rows=256)
        for chip in (*CHIPS, chip_of("experts_eight", 8, 2, 6, 2, 16, 3))
    )

    def memory(self, chip, rng):
        return filled(chip, rng)

    def program(self, chip, rng, count):
        steps = []
        while len(steps) < count:
            steps += random_program(chip, rng)
        return [step.fields | {"opcode": step.opcode} for step in steps[:count]]

    def fast(self, fields, chip, memory):
        return fast_experts(fields, chip, memory)

    def stepped(self, fields, chip, memory):
        return stepped_experts(fields, chip, memory)


run = instructions(ExpertCases())
