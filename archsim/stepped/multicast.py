"""Multicast, cycle by cycle: two loop counters, the source bank's answer, a hold register, and a write to every destination."""

from collections.abc import Mapping

import numpy as np

from archsim.contracts import multicast as contract
from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.stepped.bits import checked
from archsim.units.sram import Memories


@checked
def _copy(source, targets, read, write, outer, inner):
    """Cycles of COPY; ``read`` and ``write``: base, outer and inner stride. ``targets`` [destinations][rows, L]."""
    answer, held = np.zeros(source.shape[1], np.uint64), np.zeros(source.shape[1], np.uint64)
    # rows to read and to write: at the start of the inner loop, and now
    place, count = np.zeros((2, 2), np.int64), np.zeros(2, np.int64)
    place[0], place[1] = read[0], write[0]
    active, answered, waiting = True, False, False
    row_of_answer, row_of_held, cycle = 0, 0, 0
    while active or answered or waiting:
        cycle += 1
        if waiting:
            for index in range(len(targets)):
                targets[index][row_of_held] = held
        held[:] = answer
        row_of_held, waiting = row_of_answer, answered
        answered = active
        if active:
            answer[:] = source[place[0, 1]]
            row_of_answer = place[1, 1]
            count[1] += 1
            place[0, 1] += read[2]
            place[1, 1] += write[2]
            if count[1] == inner:
                count[1] = 0
                count[0] += 1
                place[0, 0] += read[1]
                place[1, 0] += write[1]
                place[:, 1] = place[:, 0]
            active = count[0] < outer
    return cycle + 1


def copy(fields: Mapping[str, int], chip: ChipParams, memories: Memories) -> int:
    """Run a COPY (MULTICAST_FIELDS of the contract); returns the cycles from the start to the end.

    Raises ArchsimError for a copy of no row.
    """
    f = {field.name: int(fields.get(field.name, 0)) for field in contract.MULTICAST_FIELDS}
    if min(f["outer"], f["inner"]) < 1:
        raise ArchsimError(f"multicast: outer and inner of 1 or more required, given {f}")
    if f["source"] == sequencer.ATTENTION:
        source = memories.attention.out
    else:
        source = memories.cores[f["source"] - sequencer.CORE0].spike_out
    banks = [memories.cores[core].spike_in for core in range(chip.cores) if f["cores"] >> core & 1]
    targets = tuple(bank[f["bank"]] for bank in banks or [memories.attention.spikes])
    read = (f["source_base"], f["source_outer"], f["source_inner"])
    write = (f["base"], f["base_outer"], f["base_inner"])
    return _copy(source[f["source_bank"]], targets, read, write, f["outer"], f["inner"])
