"""Multicast, fast: copies rows of an output bank to input banks."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import multicast as contract
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.sequencer import ATTENTION, CORE0
from archsim.jit import copy as copy_row
from archsim.jit import entry, kernel
from archsim.results import COUNT, COUNTERS
from archsim.units.sram import Memories


@kernel
def move(f, cores, stack):
    """The rows of a COPY into the input banks of the cores of a mask, or (0) of the attention unit."""
    source = stack.out[f.source_bank] if f.source == ATTENTION else stack.spike_out[f.source - CORE0, f.source_bank]
    for outer in range(f.outer):
        for inner in range(f.inner):
            words = source[f.source_base + outer * f.source_outer + inner * f.source_inner]
            row = f.base + outer * f.base_outer + inner * f.base_inner
            if cores == 0:
                copy_row(stack.spikes[f.bank, row], words)
            for core in range(stack.spike_in.shape[0]):
                if cores >> core & 1:
                    copy_row(stack.spike_in[core, f.bank, row], words)


def account(fields: Mapping[str, int]) -> tuple[int, NDArray[np.int64]]:
    """Cycles and counters int64 [COUNTERS] of a COPY, which follow from its fields."""
    counts, rows = np.zeros(len(COUNTERS), np.int64), fields["outer"] * fields["inner"]
    counts[COUNT.copied_rows] = rows
    counts[COUNT.copied_row_writes] = rows * max(1, fields["cores"].bit_count())
    return contract.cycles(rows), counts


def copy(fields: Mapping[str, int], chip: ChipParams, memories: Memories) -> tuple[int, NDArray[np.int64]]:
    """Run a COPY. Returns the duration in cycles and counters int64 [COUNTERS]."""
    move(entry(contract.MULTICAST_FIELDS, fields), fields["cores"], memories.stack)
    return account(fields)
