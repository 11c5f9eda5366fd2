"""DMA engine, fast: rows between DRAM and the banks of the cores."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import dma as contract
from archsim.contracts.common.chip import ChipParams
from archsim.results import COUNT, COUNTERS
from archsim.units.sram import CoreMemory, Memories, row_format, rows_from_bytes, rows_to_bytes


def bank_of(memory: CoreMemory, number: int, bank: int) -> NDArray[np.generic]:
    """The array that holds the rows of memory ``number`` (a constant of the contract), bank ``bank``."""
    array: NDArray[np.generic] = getattr(memory, contract.MEMORIES[number])
    return array[bank] if number in (contract.WEIGHT, contract.PARAM, contract.SPIKE_IN) else array


def load(
    fields: Mapping[str, int], chip: ChipParams, memories: Memories, latencies: Sequence[int] | None = None
) -> tuple[int, NDArray[np.int64]]:
    """Run a LOAD; ``latencies`` per burst (cycles) replace the chip's constant. Returns cycles and counters."""
    beats_per_row = contract.row_beats(fields["row_bytes"], chip.dram_bus_bytes)
    beats, stride = fields["rows"] * beats_per_row, beats_per_row * chip.dram_bus_bytes
    start, rows = fields["dram_address"], fields["rows"]
    data = memories.dram[start : start + rows * stride].reshape(rows, stride)[:, : fields["row_bytes"]]
    values = rows_from_bytes(chip, fields["memory"], data)
    cores = [core for core in range(chip.cores) if fields["cores"] >> core & 1]
    for core in cores:
        bank_of(memories.cores[core], fields["memory"], fields["bank"])[fields["row"] : fields["row"] + rows] = values
    counts = np.zeros(len(COUNTERS), np.int64)
    counts[COUNT.dram_bytes] = beats * chip.dram_bus_bytes
    name = {contract.WEIGHT: "loaded_weight_rows", contract.PARAM: "loaded_param_rows"}
    counts[getattr(COUNT, name.get(fields["memory"], "loaded_spike_rows"))] = rows * len(cores)
    burst_beats = chip.dram_burst_bytes // chip.dram_bus_bytes
    return contract.load_cycles(
        beats, burst_beats, chip.dram_outstanding, latencies or [chip.dram_latency_cycles]
    ), counts


def store(fields: Mapping[str, int], chip: ChipParams, memories: Memories) -> tuple[int, NDArray[np.int64]]:
    """Run a STORE of integer rows of one core. Returns cycles and counters."""
    beats_per_row = contract.row_beats(fields["row_bytes"], chip.dram_bus_bytes)
    stride, rows = beats_per_row * chip.dram_bus_bytes, fields["rows"]
    core = fields["cores"].bit_length() - 1
    bank = bank_of(memories.cores[core], fields["memory"], fields["bank"])[fields["row"] : fields["row"] + rows]
    width, _ = row_format(chip, fields["memory"])
    data = rows_to_bytes(width, np.asarray(bank, np.int32), fields["row_bytes"])
    target = memories.dram[fields["dram_address"] : fields["dram_address"] + rows * stride].reshape(rows, stride)
    target[:, : fields["row_bytes"]] = data
    counts = np.zeros(len(COUNTERS), np.int64)
    counts[COUNT.dram_bytes] = rows * stride
    name = {contract.RESIDUAL: "residual_reads", contract.PSUM: "psum_reads", contract.REDUCE: "reduce_reads"}
    counts[getattr(COUNT, name[fields["memory"]])] = rows
    return contract.store_cycles(rows * beats_per_row), counts
