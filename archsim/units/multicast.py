"""Multicast, fast: brings rows of an output bank to input banks, as they are, transposed or masked."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import masker
from archsim.contracts import multicast as contract
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.sequencer import ATTENTION, CORE0
from archsim.jit import copy as copy_row
from archsim.jit import entry, kernel
from archsim.results import COUNT, COUNTERS
from archsim.units.sram import Memories

FIELDS = tuple(
    {field.name: field for fields in (contract.TRANSPOSE_FIELDS, contract.MASK_FIELDS) for field in fields}.values()
)
"""Fields of all instructions of the multicast, each once; those that an instruction does not have are 0."""

begin, step = kernel(masker.begin), kernel(masker.step)
"""The masker's register at the begin of a sequence, and after a byte, from the contract."""


@kernel
def take(f, stack, row, lane):
    """A word of a row of the output bank that an instruction reads."""
    if f.source == ATTENTION:
        return stack.out[f.source_bank, row, lane]
    return stack.spike_out[f.source - CORE0, f.source_bank, row, lane]


@kernel
def put(f, cores, stack, row, lane, word):
    """Write a word of a row into the input banks of the cores of a mask, or (0) of the attention unit."""
    if cores == 0:
        stack.spikes[f.bank, row, lane] = word
    for core in range(stack.spike_in.shape[0]):
        if cores >> core & 1:
            stack.spike_in[core, f.bank, row, lane] = word


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


@kernel
def turn(f, cores, stack):
    """The columns of the blocks of a TRANSPOSE: bit i of a column comes from word i of its block."""
    for outer in range(f.outer):
        first = f.source_base + outer * f.source_outer
        for column in range(f.turned):
            row = f.base + outer * f.base_outer + column * f.base_inner
            for lane in range(stack.out.shape[2]):
                word = np.uint64(0)
                for inner in range(f.inner):
                    bits = take(f, stack, first + inner * f.source_inner, lane)
                    word |= (bits >> np.uint64(column) & np.uint64(1)) << np.uint64(inner)
                put(f, cores, stack, row, lane, word)


@kernel
def mask(f, cores, stack):
    """The rows of a MASK: what is left of each word, in the order in which rows are read."""
    register, columns = begin(f.seed), stack.weight.shape[3]
    for outer in range(f.outer):
        for inner in range(f.inner):
            place = f.source_base + outer * f.source_outer + inner * f.source_inner
            row = f.base + outer * f.base_outer + inner * f.base_inner
            for lane in range(stack.out.shape[2]):
                kept = np.uint64(0)
                for channel in range(columns):
                    if register & 255 < f.keep:
                        kept |= np.uint64(1) << np.uint64(channel)
                    register = step(register)
                put(f, cores, stack, row, lane, take(f, stack, place, lane) & kept)


def completed(fields: Mapping[str, int]) -> dict[str, int]:
    """The fields of an instruction as kernels take them, those that it does not have as 0."""
    return {field.name: fields.get(field.name, 0) for field in FIELDS}


def account(fields: Mapping[str, int], chip: ChipParams) -> tuple[int, NDArray[np.int64]]:
    """Cycles and counters int64 [COUNTERS] of an instruction, which follow from its fields."""
    counts, rows = np.zeros(len(COUNTERS), np.int64), fields["outer"] * fields["inner"]
    counts[COUNT.copied_rows] = rows
    written = fields["outer"] * contract.written(fields)
    counts[COUNT.copied_row_writes] = written * max(1, fields["cores"].bit_count())
    if "turned" in fields:
        counts[COUNT.transposed] = fields["outer"] * chip.columns * chip.lanes
    if "keep" in fields:
        counts[COUNT.masked] = rows * chip.lanes
    return contract.duration(fields, chip), counts


def copy(fields: Mapping[str, int], chip: ChipParams, memories: Memories) -> tuple[int, NDArray[np.int64]]:
    """Run a COPY, a TRANSPOSE (``turned`` among its fields) or a MASK (``keep``); all other fields as in the contract.

    Returns the duration in cycles and counters int64 [COUNTERS].
    """
    f, cores = entry(FIELDS, fields), fields["cores"]
    if "turned" in fields:
        turn(f, cores, memories.stack)
    elif "keep" in fields:
        mask(f, cores, memories.stack)
    else:
        move(f, cores, memories.stack)
    return account(fields, chip)
