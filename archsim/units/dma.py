"""DMA engine, fast: rows between DRAM and the banks of the cores."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import dma as contract
from archsim.contracts.attention_softmax import ENTRY_BITS
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.neuron import SHIFT_BITS
from archsim.contracts.normaliser import TABLE_BANK as EXPONENTIALS
from archsim.contracts.sequencer import LOAD, STORE
from archsim.jit import copy, entry, kernel, lowest_bit
from archsim.results import COUNT, COUNTERS
from archsim.units.sram import Memories
from archsim.vectors import PACKED, PART, load_word, pack, store_word, unpack

LOADED = {
    contract.WEIGHT: "loaded_weight_rows", contract.PARAM: "loaded_param_rows", contract.SPIKE_IN: "loaded_spike_rows",
    contract.RESIDUAL: "residual_writes", contract.PSUM: "psum_writes", contract.REDUCE: "reduce_writes",
    contract.TABLE: "loaded_table_rows",
}  # fmt: skip
"""Counter of the rows that LOAD writes to a memory."""

STORED = {
    contract.RESIDUAL: "residual_reads", contract.PSUM: "psum_reads", contract.REDUCE: "reduce_reads",
    contract.SPIKE_OUT: "stored_spike_rows",
}  # fmt: skip
"""Counter of the rows that STORE reads of a memory."""


def bursts(fields: Mapping[str, int], chip: ChipParams) -> int:
    """Bursts of a LOAD."""
    beats = fields["rows"] * contract.row_beats(fields["row_bytes"], chip.dram_bus_bytes)
    return -(-beats * chip.dram_bus_bytes // chip.dram_burst_bytes)


class Sizes(NamedTuple):
    """Of the chip, what kernels need to take rows apart."""

    bus_bytes: int
    weight_bits: int
    membrane_bits: int

    @classmethod
    def of(cls, chip: ChipParams) -> "Sizes":
        """Those of ``chip``."""
        return cls(chip.dram_bus_bytes, chip.weight_bits, chip.membrane_bits)


@kernel
def bits_at(data, start, end, first, width):
    """The ``width`` bits (64 at most) from bit ``first`` of the bytes ``start..end-1`` on; bytes that are missing are 0."""
    byte, shift = start + (first >> 3), first & 7
    word = np.uint64(0)
    if byte + 8 <= end:
        word = load_word(data, byte) >> np.uint64(shift)
    else:
        for number in range(max(0, end - byte)):
            word |= np.uint64(data[byte + number]) << np.uint64(8 * number)
        word >>= np.uint64(shift)
    if shift + width > 64 and byte + 8 < end:
        word |= np.uint64(data[byte + 8]) << np.uint64(64 - shift)
    return word & (np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - width))


@kernel
def put_bits(data, start, end, first, width, word):
    """Add the lowest ``width`` bits of ``word`` to bytes that are 0 there; those from ``end`` on are left out."""
    byte, shift = start + (first >> 3), first & 7
    word &= np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - width)
    if shift == 0 and width == 64 and byte + 8 <= end:
        store_word(data, byte, word)
        return
    for number in range(min((shift + width + 7) >> 3, end - byte)):
        part = word << np.uint64(shift) if number == 0 else word >> np.uint64(8 * number - shift)
        data[byte + number] |= np.uint8(part & np.uint64(255))


@kernel
def integers(data, start, end, first, width, target):
    """Two's-complement integers of ``width`` bits, from bit ``first`` on."""
    half = 1 << (width - 1)
    for number in range(len(target)):
        target[number] = (np.int64(bits_at(data, start, end, first + number * width, width)) ^ half) - half


@kernel
def membranes(data, start, end, first, width, target):
    """:func:`integers` of int32, a part at a time where they lie as :func:`unpack` has them."""
    byte, size = start + (first >> 3), len(target) * PACKED // 8
    if width != PACKED or first & 7 or len(target) % PART or byte + size > end:
        integers(data, start, end, first, width, target)
        return
    for number in range(0, len(target), PART):
        unpack(data, byte + number * PACKED // 8, target[number:])


@kernel
def load_weights(f, core, stride, sizes, stack):
    """The rows of a LOAD of weights."""
    dram, bank, columns = stack.dram, stack.weight[core, f.bank], stack.weight.shape[3]
    if sizes.weight_bits == 8 and stride == columns == f.row_bytes and f.row_skip == 0:
        count, first, source = f.rows * columns, f.row * columns, f.dram_address
        weights, data = bank.reshape(-1)[first : first + count], dram[source : source + count]
        for byte in range(count):
            weights[byte] = np.int8(data[byte])
        return
    for number in range(f.rows):
        start = f.dram_address + number * stride
        integers(dram, start, start + f.row_bytes, 0, sizes.weight_bits, bank[f.row + number * (1 + f.row_skip)])


@kernel
def load_spikes(f, core, stride, stack):
    """The rows of a LOAD of spikes."""
    dram, bank, width = stack.dram, stack.spike_in[core, f.bank], stack.weight.shape[3]
    for number in range(f.rows):
        start, row = f.dram_address + number * stride, f.row + number * (1 + f.row_skip)
        for lane in range(bank.shape[1]):
            bank[row, lane] = bits_at(dram, start, start + f.row_bytes, lane * width, width)


@kernel
def load_params(f, core, first, stride, bits, stack):
    """The rows of a LOAD of parameters; another core than the ``first`` takes over what was taken apart for that one."""
    dram, bank, taken = stack.dram, stack.param[core, f.bank], stack.param[first, f.bank]
    neurons = bank.shape[2]
    for number in range(f.rows):
        row = f.row + number * (1 + f.row_skip)
        start, params = f.dram_address + number * stride, bank[row]
        if core != first:
            copy(params.reshape(-1), taken[row].reshape(-1))
            continue
        end = start + f.row_bytes
        membranes(dram, start, end, 0, bits, params[0])
        membranes(dram, start, end, neurons * bits, bits, params[1])
        integers(dram, start, end, 2 * neurons * bits, SHIFT_BITS, params[2])


@kernel
def load_integers(f, stride, bits, dram, bank):
    """The rows of a LOAD of membranes, sums or reductions int32 [rows, P]."""
    for number in range(f.rows):
        start = f.dram_address + number * stride
        membranes(dram, start, start + f.row_bytes, 0, bits, bank[f.row + number * (1 + f.row_skip)])


@kernel
def load_table(f, stride, dram, table):
    """The rows of a LOAD of the table of a softmax uint8 [rows, 2]."""
    for number in range(f.rows):
        start, row = f.dram_address + number * stride, f.row + number * (1 + f.row_skip)
        for kind in range(2):
            table[row, kind] = bits_at(dram, start, start + f.row_bytes, kind * ENTRY_BITS, ENTRY_BITS)


@kernel
def move_in(f, cores, sizes, stack):
    """The rows of a LOAD into the memories of the cores of a mask, or into the table of the attention unit or the normaliser."""
    stride, bits = -(-f.row_bytes // sizes.bus_bytes) * sizes.bus_bytes, sizes.membrane_bits
    if f.memory == contract.TABLE and f.bank == EXPONENTIALS:
        load_integers(f, stride, bits, stack.dram, stack.exponentials.reshape(-1, 1))
    elif f.memory == contract.TABLE:
        load_table(f, stride, stack.dram, stack.table)
    for core in range(stack.weight.shape[0]):
        if not cores >> core & 1:
            continue
        if f.memory == contract.WEIGHT:
            load_weights(f, core, stride, sizes, stack)
        elif f.memory == contract.SPIKE_IN:
            load_spikes(f, core, stride, stack)
        elif f.memory == contract.PARAM:
            load_params(f, core, lowest_bit(np.uint64(cores)), stride, bits, stack)
        elif f.memory == contract.RESIDUAL:
            load_integers(f, stride, bits, stack.dram, stack.residual[core])
        elif f.memory == contract.PSUM:
            load_integers(f, stride, bits, stack.dram, stack.psum[core])
        elif f.memory == contract.REDUCE:
            load_integers(f, stride, bits, stack.dram, stack.reduce[core])


@kernel
def store_integers(dram, start, end, width, values):
    """A row of integers as bytes, which are 0; a part at a time where :func:`pack` can."""
    if width == PACKED and len(values) % PART == 0 and start + len(values) * PACKED // 8 <= end:
        for number in range(0, len(values), PART):
            pack(dram, start + number * PACKED // 8, values[number:])
        return
    for number in range(len(values)):
        put_bits(dram, start, end, number * width, width, np.uint64(values[number]))


@kernel
def move_out(f, sizes, stack):
    """The rows of a STORE into DRAM."""
    stride, core, dram = -(-f.row_bytes // sizes.bus_bytes) * sizes.bus_bytes, lowest_bit(np.uint64(f.cores)), stack.dram
    for number in range(f.rows):
        start, row = f.dram_address + number * stride, f.row + number * (1 + f.row_skip)
        end = start + f.row_bytes
        dram[start:end] = 0
        if f.memory == contract.SPIKE_OUT:
            words, width = stack.spike_out[core, f.bank, row], stack.weight.shape[3]
            for lane in range(len(words)):
                put_bits(dram, start, end, lane * width, width, words[lane])
        elif f.memory == contract.RESIDUAL:
            store_integers(dram, start, end, sizes.membrane_bits, stack.residual[core, row])
        elif f.memory == contract.PSUM:
            store_integers(dram, start, end, sizes.membrane_bits, stack.psum[core, row])
        else:
            store_integers(dram, start, end, sizes.membrane_bits, stack.reduce[core, row])


def target_cores(fields: Mapping[str, int]) -> int:
    """Mask of the cores whose memories a LOAD writes or a STORE reads: none if it is of a program memory."""
    return 0 if fields["memory"] == contract.PROGRAM else fields["cores"]


def account(
    fields: Mapping[str, int], chip: ChipParams, latencies: Sequence[int] | None = None
) -> tuple[int, NDArray[np.int64]]:
    """Cycles and counters int64 [COUNTERS] of a LOAD or STORE, which follow from its fields; arguments as for :func:`load`."""
    beats, rows = fields["rows"] * contract.row_beats(fields["row_bytes"], chip.dram_bus_bytes), fields["rows"]
    counts = np.zeros(len(COUNTERS), np.int64)
    counts[COUNT.dram_bytes] = beats * chip.dram_bus_bytes
    if fields["opcode"] == STORE:
        counts[getattr(COUNT, STORED[fields["memory"]])] = rows
        return contract.store_cycles(beats), counts
    counts[COUNT.row_starts] = contract.row_starts(rows, fields["row_bytes"], chip.dram_bus_bytes)
    if fields["memory"] == contract.PROGRAM:
        counts[COUNT.loaded_program_rows] = rows
    else:
        table = fields["memory"] == contract.TABLE
        name = "loaded_exponential_rows" if table and fields["bank"] == EXPONENTIALS else LOADED[fields["memory"]]
        counts[getattr(COUNT, name)] = rows * (1 if table else fields["cores"].bit_count())
    burst_beats = chip.dram_burst_bytes // chip.dram_bus_bytes
    waits = latencies or [chip.dram_latency_cycles]
    return contract.load_cycles(beats, burst_beats, chip.dram_outstanding, waits), counts


def load(
    fields: Mapping[str, int], chip: ChipParams, memories: Memories, latencies: Sequence[int] | None = None
) -> tuple[int, NDArray[np.int64]]:
    """Run a LOAD; ``latencies`` per burst (cycles) replace the chip's constant. Returns cycles and counters.

    One of a program memory takes its time and changes nothing here: the queues were decoded before the run.
    """
    move_in(entry(contract.TRANSFER_FIELDS, fields), target_cores(fields), Sizes.of(chip), memories.stack)
    return account({**fields, "opcode": LOAD}, chip, latencies)


def store(fields: Mapping[str, int], chip: ChipParams, memories: Memories) -> tuple[int, NDArray[np.int64]]:
    """Run a STORE of rows of one core. Returns cycles and counters."""
    move_out(entry(contract.TRANSFER_FIELDS, fields), Sizes.of(chip), memories.stack)
    return account({**fields, "opcode": STORE}, chip)
