"""DMA, cycle by cycle: a burst requester, an in-order DRAM with a latency counter per burst, a row assembler; and back."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import dma as contract
from archsim.contracts import normaliser
from archsim.contracts.attention_softmax import SoftmaxParams
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.neuron import param_layout
from archsim.stepped.bits import checked
from archsim.units.sram import CoreMemory, Memories


def row_layout(chip: ChipParams, memory: int) -> Layout:
    """Bits of a row of a DMA memory."""
    if memory == contract.PARAM:
        return param_layout(chip.neurons, chip.membrane_bits)
    if memory == contract.WEIGHT:
        field = Field("data", chip.weight_bits, True, chip.columns)
    elif memory in (contract.SPIKE_IN, contract.SPIKE_OUT):
        field = Field("data", chip.columns, False, chip.lanes)
    else:
        field = Field("data", chip.membrane_bits, True, chip.neurons)
    return Layout.of("row", [field])


def _bank(memory: CoreMemory, fields: Mapping[str, int]) -> NDArray[np.generic]:
    array = getattr(memory, contract.MEMORIES[fields["memory"]])
    return array[fields["bank"]] if fields["memory"] in contract.BANKED else array


def _check(fields: Mapping[str, int], memories: Sequence[int], coreless: Sequence[int] = ()) -> None:
    """Raise ArchsimError for a transfer without work, and for none of ``memories``, of which ``coreless`` belong to no core."""
    if min(fields["rows"], fields["row_bytes"]) < 1 or (fields["cores"] < 1 and fields["memory"] not in coreless):
        raise ArchsimError(f"dma: rows, row_bytes and cores of 1 or more required, given {dict(fields)}")
    if fields["memory"] not in memories:
        raise ArchsimError(
            f"dma: a memory of {contract.names(memories, bool(coreless))} required, given {fields['memory']}"
        )


@checked
def _load(dram, address, bus, burst, outstanding, latencies, rows):
    """Cycles of LOAD; ``rows`` [rows, bytes of whole beats] gets what the assembler writes; ``burst``: beats of a full burst."""
    count, width = rows.shape
    unrequested = count * (width // bus)
    timers, sizes = np.zeros(outstanding, np.int64), np.zeros(outstanding, np.int64)
    head, pending, number, row, filled, cycle = 0, 0, 0, 0, 0, 0
    assembled = np.zeros(width, np.uint8)
    while row < count:
        cycle += 1
        if filled == width:  # the row whose last beat came in the cycle before is written
            rows[row] = assembled
            row += 1
            filled = 0
        ended = False
        if unrequested and pending < outstanding:  # a burst is requested
            slot = (head + pending) % outstanding
            timers[slot], sizes[slot] = latencies[number % len(latencies)], min(burst, unrequested)
            unrequested -= sizes[slot]
            number += 1
            pending += 1
        if pending and timers[head] == 0:  # DRAM delivers a beat of the oldest burst
            assembled[filled : filled + bus] = dram[address : address + bus]
            filled += bus
            address += bus
            sizes[head] -= 1
            ended = sizes[head] == 0
        for index in range(outstanding):
            timers[index] = max(0, timers[index] - 1)
        if ended:
            head = (head + 1) % outstanding
            pending -= 1
    return cycle + 1


@checked
def _store(dram, address, bus, row_bytes, rows):
    """Cycles of STORE: address counter, bank, a row register that sends a beat a cycle; bytes behind the row's are not written."""
    count, width = rows.shape
    presented, answered, left, sent, cycle = 0, False, 0, 0, 0
    answer, held = np.zeros(width, np.uint8), np.zeros(width, np.uint8)
    while presented < count or answered or left:
        cycle += 1
        if left:  # a beat leaves
            for index in range(bus):
                if sent + index < row_bytes:
                    dram[address + index] = held[sent + index]
            address += bus
            sent += bus
            left -= 1
        if answered and left == 0:  # the row register is free, or was in this cycle
            held[:] = answer
            sent, left, answered = 0, width // bus, False
        if presented < count and not answered:
            answer[:] = rows[presented]
            presented += 1
            answered = True
    return cycle + 1


def _table(
    fields: Mapping[str, int], chip: ChipParams, memories: Memories
) -> tuple[NDArray[np.generic] | None, Layout]:
    """The table that a LOAD fills, if it is one, [rows, entries], and the bits of a row."""
    if fields["memory"] != contract.TABLE:
        return None, row_layout(chip, fields["memory"])
    if fields["bank"] == normaliser.TABLE_BANK:
        return memories.normaliser.table[:, None], Layout.of("entry", [Field("data", chip.membrane_bits, True)])
    return memories.attention.table, SoftmaxParams(chip).row


def load(
    fields: Mapping[str, int], chip: ChipParams, memories: Memories, latencies: Sequence[int] | None = None
) -> int:
    """Run a LOAD (TRANSFER_FIELDS of the contract).

    ``latencies``: cycles from request to first beat, burst by burst, cyclic; None: the chip's constant. Returns the cycles from
    the start to the end. Raises ArchsimError for a transfer without rows, bytes or cores.
    """
    coreless = (contract.TABLE, contract.PROGRAM)
    _check(fields, (*contract.LOADED, *coreless), coreless)
    bus, count = chip.dram_bus_bytes, fields["rows"]
    rows = np.zeros((count, -(-fields["row_bytes"] // bus) * bus), np.uint8)
    waits = np.array([chip.dram_latency_cycles] if latencies is None else latencies, np.int64)
    burst = chip.dram_burst_bytes // bus
    cycles = _load(memories.dram, fields["dram_address"], bus, burst, chip.dram_outstanding, waits, rows)
    if fields["memory"] == contract.PROGRAM:  # the stepped sequencer decodes its program before it runs
        return cycles
    table, layout = _table(fields, chip, memories)
    for index, data in enumerate(rows[:, : fields["row_bytes"]]):
        word = int.from_bytes(data.tobytes(), "little") & ((1 << layout.width) - 1)
        values = list(layout.unpack(word).values())
        if table is not None:
            table[fields["row"] + index * (1 + fields["row_skip"])] = values
            continue
        for core in range(chip.cores):
            if fields["cores"] >> core & 1:
                target = _bank(memories.cores[core], fields)
                target[fields["row"] + index * (1 + fields["row_skip"])] = np.array(values, target.dtype).reshape(
                    target.shape[1:]
                )
    return cycles


def store(fields: Mapping[str, int], chip: ChipParams, memories: Memories) -> int:
    """Run a STORE (TRANSFER_FIELDS of the contract); returns the cycles from the start to the end.

    Raises ArchsimError for a transfer without rows or bytes, or of other than one core.
    """
    _check(fields, contract.STORED)
    if fields["cores"].bit_count() != 1:
        raise ArchsimError(f"store: one core required, given mask {fields['cores']:#x}")
    source = _bank(memories.cores[fields["cores"].bit_length() - 1], fields)
    layout = row_layout(chip, fields["memory"])
    bus, count = chip.dram_bus_bytes, fields["rows"]
    width = -(-fields["row_bytes"] // bus) * bus
    rows = np.zeros((count, width), np.uint8)
    for index in range(count):
        parts = source[fields["row"] + index * (1 + fields["row_skip"])].reshape(len(layout.fields), -1)
        values = {field.name: [int(value) for value in part] for field, part in zip(layout.fields, parts, strict=True)}
        data = layout.pack(values).to_bytes(max(width, -(-layout.width // 8)), "little")
        rows[index] = np.frombuffer(data[:width], np.uint8)
    return _store(memories.dram, fields["dram_address"], bus, fields["row_bytes"], rows)
