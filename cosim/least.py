"""The smallest chip for a network: memories of the least rows with which the mapper accepts it."""

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.kernel import decode
from archsim.ownership import prove
from archsim.simulate import Workload
from mapping.schedule import schedule

MEMORIES = (
    "weight_rows", "spike_in_rows", "spike_out_rows", "residual_rows", "psum_rows", "attention_rows", "count_rows",
    "param_rows", "reduce_rows", "queue_rows",
)  # fmt: skip
"""Sizes that are shrunk, each after those before it."""


def least_chip(mapped: Workload) -> ChipParams:
    """The chip of ``mapped`` with each of its memories at the least that holds its network, the others being as they are."""
    chip = mapped.program.chip
    for name in MEMORIES:
        refused, accepted = 0, getattr(chip, name)
        while accepted - refused > 1:
            rows = (refused + accepted) // 2
            if _accepts(mapped, chip, name, rows):
                accepted = rows
            else:
                refused = rows
        chip = chip.replace(**{name: accepted})
    return chip.replace(name=f"{chip.name}_least")


def _accepts(mapped: Workload, chip: ChipParams, name: str, rows: int) -> bool:
    try:
        program = schedule(mapped.network, chip.replace(**{name: rows}))
        prove(program.chip, decode(program), len(program.dram))
    except ArchsimError:
        return False
    return True
