"""Multicast, cycle by cycle: loop counters, the source bank's answer, a hold register, and a write to every destination.

Between answer and hold register stand the transposers of a TRANSPOSE, the masker of a MASK.
"""

from collections.abc import Mapping

import numpy as np

from archsim.contracts import masker as masker_contract
from archsim.contracts import multicast as contract
from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.jit import njit
from archsim.stepped import masker, transposer
from archsim.stepped.bits import checked
from archsim.units.sram import Memories


@njit
def _advance(place, strides, count):
    """The loops' next row: ``place`` holds that of the inner loop's start and the present one; at its end the outer steps."""
    count[1] += 1
    place[1] += strides[1]
    if count[1] == count[2]:
        count[1] = 0
        count[0] += 1
        place[0] += strides[0]
        place[1] = place[0]


@checked
def _copy(source, targets, read, write, outer, inner):
    """Cycles of COPY; ``read`` and ``write``: base, outer and inner stride. ``targets`` [destinations][rows, L]."""
    answer, held = np.zeros(source.shape[1], np.int64), np.zeros(source.shape[1], np.int64)
    reads, writes = np.full(2, read[0]), np.full(2, write[0])
    read_count, write_count = np.array([0, 0, inner]), np.array([0, 0, inner])
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
            answer[:] = source[reads[1]]
            row_of_answer = writes[1]
            _advance(reads, read[1:], read_count)
            _advance(writes, write[1:], write_count)
            active = read_count[0] < outer
    return cycle + 1


@checked
def _mask(source, targets, read, write, outer, inner, begin, keep, width):
    """Cycles of MASK; arguments as of :func:`_copy`, the register at the begin, of 256 spikes those kept, bits of a word."""
    answer, held = np.zeros(source.shape[1], np.int64), np.zeros(source.shape[1], np.int64)
    left, regs = np.zeros(source.shape[1], np.int64), np.zeros(2, np.int64)
    reads, writes = np.full(2, read[0]), np.full(2, write[0])
    read_count, write_count = np.array([0, 0, inner]), np.array([0, 0, inner])
    active, answered, waiting, first = True, False, False, True
    row_of_answer, row_of_left, row_of_held, cycle = 0, 0, 0, 0
    while active or answered or regs[masker.FULL] or waiting:
        cycle += 1
        if waiting:
            for index in range(len(targets)):
                targets[index][row_of_held] = held
        held[:] = left
        row_of_held, waiting = row_of_left, regs[masker.FULL] == 1
        regs[masker.FULL] = 0
        if answered:
            masker.put(regs, left, answer, first, begin, keep, width)
            row_of_left, first = row_of_answer, False
        answered = active
        if active:
            answer[:] = source[reads[1]]
            row_of_answer = writes[1]
            _advance(reads, read[1:], read_count)
            _advance(writes, write[1:], write_count)
            active = read_count[0] < outer
    return cycle + 1


@checked
def _transpose(source, targets, read, write, outer, inner, turned, width):
    """Cycles of TRANSPOSE; arguments as of :func:`_copy`, the columns to write of each block, bits of a word."""
    lanes = source.shape[1]
    answer, held = np.zeros(lanes, np.int64), np.zeros(lanes, np.int64)
    turns, blocks = np.zeros((lanes, 2), np.int64), np.zeros((lanes, width), np.int64)
    reads, writes = np.full(2, read[0]), np.full(2, write[0])
    read_count, write_count = np.array([0, 0, inner]), np.array([0, 0, width])
    active, paused, answered, ends, offered, waiting = True, False, False, False, False, False
    row_of_held, cycle = 0, 0
    while active or answered or turns[0, transposer.DRAINING] or offered:
        cycle += 1
        if waiting:
            for index in range(len(targets)):
                targets[index][row_of_held] = held
        offered = turns[0, transposer.DRAINING] == 1
        waiting = offered and turns[0, transposer.INDEX] < turned
        leaves = offered and turns[0, transposer.INDEX] == width - 1
        row_of_held = writes[1]
        for lane in range(lanes):
            if offered:
                held[lane] = transposer.column(blocks[lane])
                transposer.take(turns[lane], blocks[lane])
            elif answered:
                transposer.put(turns[lane], blocks[lane], answer[lane], ends)
        if offered:
            _advance(writes, write[1:], write_count)
        answered = active and (leaves or not paused)
        if answered:
            answer[:] = source[reads[1]]
            _advance(reads, read[1:], read_count)
            paused = ends = read_count[1] == 0
            active = read_count[0] < outer
    return cycle + 1


def copy(fields: Mapping[str, int], chip: ChipParams, memories: Memories) -> int:
    """Run a COPY, a TRANSPOSE (``turned`` among its fields) or a MASK (``keep``); returns the cycles from the start to the end.

    Raises ArchsimError for a copy of no row, and for a TRANSPOSE or MASK that the chip cannot do.
    """
    contract.check(fields, chip)
    f = {field.name: int(fields.get(field.name, 0)) for field in contract.MULTICAST_FIELDS}
    if min(f["outer"], f["inner"]) < 1:
        raise ArchsimError(f"multicast: outer and inner of 1 or more required, given {f}")
    if f["source"] == sequencer.ATTENTION:
        source = memories.attention.out
    else:
        source = memories.cores[f["source"] - sequencer.CORE0].spike_out
    banks = [memories.cores[core].spike_in for core in range(chip.cores) if f["cores"] >> core & 1]
    targets = tuple(bank[f["bank"]].view(np.int64) for bank in banks or [memories.attention.spikes])
    rows = source[f["source_bank"]].view(np.int64)
    read = np.array([f["source_base"], f["source_outer"], f["source_inner"]])
    write = np.array([f["base"], f["base_outer"], f["base_inner"]])
    if "turned" in fields:
        return _transpose(rows, targets, read, write, f["outer"], f["inner"], fields["turned"], chip.columns)
    if "keep" in fields:
        begin = masker_contract.begin(fields["seed"])
        return _mask(rows, targets, read, write, f["outer"], f["inner"], begin, fields["keep"], chip.columns)
    return _copy(rows, targets, read, write, f["outer"], f["inner"])
