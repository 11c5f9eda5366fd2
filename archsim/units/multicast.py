"""Multicast, fast: copies rows of an output bank to input banks."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import multicast as contract
from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.results import COUNT, COUNTERS
from archsim.units.sram import Memories


def copy(fields: Mapping[str, int], chip: ChipParams, memories: Memories) -> tuple[int, NDArray[np.int64]]:
    """Run a COPY. Returns the duration in cycles and counters int64 [COUNTERS]."""
    outer, inner = np.arange(fields["outer"])[:, None], np.arange(fields["inner"])[None, :]
    rows = (fields["source_base"] + outer * fields["source_outer"] + inner * fields["source_inner"]).reshape(-1)
    targets = (fields["base"] + outer * fields["base_outer"] + inner * fields["base_inner"]).reshape(-1)
    if fields["source"] == sequencer.ATTENTION:
        source = memories.attention.out
    else:
        source = memories.cores[fields["source"] - sequencer.CORE0].spike_out
    words = source[fields["source_bank"]][rows]
    banks = [memories.cores[core].spike_in for core in range(chip.cores) if fields["cores"] >> core & 1]
    for bank in banks or [memories.attention.spikes]:
        bank[fields["bank"]][targets] = words
    counts = np.zeros(len(COUNTERS), np.int64)
    counts[COUNT.copied_rows] = len(rows)
    counts[COUNT.copied_row_writes] = len(rows) * max(1, len(banks))
    return contract.cycles(len(rows)), counts
