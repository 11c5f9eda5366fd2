"""DMA engine, fast: rows between DRAM and the banks of the cores."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import dma as contract
from archsim.contracts.common.chip import ChipParams
from archsim.results import COUNT, COUNTERS
from archsim.units.sram import CoreMemory, Memories, row_format, rows_from_bytes, rows_to_bytes

LOADED = {
    contract.WEIGHT: "loaded_weight_rows", contract.PARAM: "loaded_param_rows", contract.SPIKE_IN: "loaded_spike_rows",
    contract.RESIDUAL: "residual_writes", contract.PSUM: "psum_writes", contract.REDUCE: "reduce_writes",
}  # fmt: skip
"""Counter of the rows that LOAD writes to a memory of the cores."""

STORED = {
    contract.RESIDUAL: "residual_reads", contract.PSUM: "psum_reads", contract.REDUCE: "reduce_reads",
    contract.SPIKE_OUT: "stored_spike_rows",
}  # fmt: skip
"""Counter of the rows that STORE reads of a memory."""


def bank_of(memory: CoreMemory, number: int, bank: int) -> NDArray[np.generic]:
    """The array that holds the rows of memory ``number`` (a constant of the contract), bank ``bank``."""
    array: NDArray[np.generic] = getattr(memory, contract.MEMORIES[number])
    return array[bank] if number in contract.BANKED else array


def rows_of(fields: Mapping[str, int]) -> slice:
    """The rows of the bank that a transfer reaches."""
    step = 1 + fields["row_skip"]
    return slice(fields["row"], fields["row"] + (fields["rows"] - 1) * step + 1, step)


def bursts(fields: Mapping[str, int], chip: ChipParams) -> int:
    """Bursts of a LOAD."""
    beats = fields["rows"] * contract.row_beats(fields["row_bytes"], chip.dram_bus_bytes)
    return -(-beats * chip.dram_bus_bytes // chip.dram_burst_bytes)


def load(
    fields: Mapping[str, int], chip: ChipParams, memories: Memories, latencies: Sequence[int] | None = None
) -> tuple[int, NDArray[np.int64]]:
    """Run a LOAD; ``latencies`` per burst (cycles) replace the chip's constant. Returns cycles and counters.

    One of a program memory takes its time and changes nothing here: the queues were decoded before the run.
    """
    beats_per_row = contract.row_beats(fields["row_bytes"], chip.dram_bus_bytes)
    beats, stride = fields["rows"] * beats_per_row, beats_per_row * chip.dram_bus_bytes
    start, rows, counts = fields["dram_address"], fields["rows"], np.zeros(len(COUNTERS), np.int64)
    counts[COUNT.dram_bytes] = beats * chip.dram_bus_bytes
    if fields["memory"] == contract.PROGRAM:
        counts[COUNT.loaded_program_rows] = rows
    else:
        data = memories.dram[start : start + rows * stride].reshape(rows, stride)[:, : fields["row_bytes"]]
        values = rows_from_bytes(chip, fields["memory"], data)
        cores = [core for core in range(chip.cores) if fields["cores"] >> core & 1]
        for core in cores:
            bank_of(memories.cores[core], fields["memory"], fields["bank"])[rows_of(fields)] = values
        counts[getattr(COUNT, LOADED[fields["memory"]])] = rows * len(cores)
    burst_beats = chip.dram_burst_bytes // chip.dram_bus_bytes
    return contract.load_cycles(
        beats, burst_beats, chip.dram_outstanding, latencies or [chip.dram_latency_cycles]
    ), counts


def store(fields: Mapping[str, int], chip: ChipParams, memories: Memories) -> tuple[int, NDArray[np.int64]]:
    """Run a STORE of rows of one core. Returns cycles and counters."""
    beats_per_row = contract.row_beats(fields["row_bytes"], chip.dram_bus_bytes)
    stride, rows = beats_per_row * chip.dram_bus_bytes, fields["rows"]
    core = fields["cores"].bit_length() - 1
    bank = bank_of(memories.cores[core], fields["memory"], fields["bank"])[rows_of(fields)]
    width, _ = row_format(chip, fields["memory"])
    data = rows_to_bytes(width, bank, fields["row_bytes"])
    target = memories.dram[fields["dram_address"] : fields["dram_address"] + rows * stride].reshape(rows, stride)
    target[:, : fields["row_bytes"]] = data
    counts = np.zeros(len(COUNTERS), np.int64)
    counts[COUNT.dram_bytes] = rows * stride
    counts[getattr(COUNT, STORED[fields["memory"]])] = rows
    return contract.store_cycles(rows * beats_per_row), counts
