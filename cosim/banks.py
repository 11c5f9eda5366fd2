"""Banks by the names of the ownership rule: where they stand in the Verilog, and what the simulator holds of them, bit for bit."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from archsim.contracts import sequencer
from archsim.contracts.attention_softmax import ENTRY_BITS
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.ownership import EXPONENTIALS, Bank
from archsim.contracts.experts import ENTRY, RouteTables
from archsim.contracts.neuron import param_layout
from archsim.units.sram import Memories

COUNTS: Bank = ("attention", 0, "counts", 0)
"""Of its rows those that are marked in ``CLEARED`` hold 0, whatever is stored."""

CLEARED: Bank = ("attention", 0, "cleared", 0)
"""The marks, a row a block of M rows of the count memory."""

_CORE = {
    "weight": "array.weight_{}", "param": "neuron.param{}", "spike_in": "fetch.bank{}", "spike_out": "writer.bank{}",
    "residual": "neuron.residual", "psum": "neuron.psum", "reduce": "neuron.reduce", "v": "neuron.v",
    "pool_columns": "writer.pool.columns", "pool_lines": "writer.pool.lines",
}  # fmt: skip
_QUEUES = {
    sequencer.DMA: "dma_queue",
    sequencer.MULTICAST: "multicast_queue",
    sequencer.ATTENTION: "attention.sequencer",
    sequencer.EXPERTS: "experts.sequencer",
    sequencer.NORMALISER: "normaliser.sequencer",
}
_ATTENTION = {
    "spikes": "bank{}", "out": "writer.bank{}", "counts": "counts.counts", "cleared": "counts.cleared", "v": "neuron.v",
}  # fmt: skip
_SOFTMAX = {"scores": "softmax.scores", "table": "softmax.table"}


def path(bank: Bank) -> str:
    """Path of a bank's module in the Verilog of a system."""
    unit, number, memory, index = bank
    if unit == "queue":
        return f"system.chip.{_QUEUES.get(number, f'core{number - sequencer.CORE0}.sequencer')}.memory"
    if unit == "core":
        return f"system.chip.core{number}.{_CORE[memory].format(index)}"
    if unit == "experts":
        return f"system.chip.experts.unit.{memory}{number}"
    if unit == "normaliser":
        return f"system.chip.normaliser.unit.unit.{memory}_{index}"
    return f"system.chip.attention.unit.{(_ATTENTION | _SOFTMAX)[memory].format(index)}"


def chip_banks(chip: ChipParams) -> list[Bank]:
    """Every bank of every engine, those that the simulator does not hold included, and the program memories ("queue", engine)."""
    double, attention = ("weight", "param", "spike_in", "spike_out"), {"spikes": 4, "out": 2}
    found: list[Bank] = [
        ("core", core, memory, index)
        for core in range(chip.cores) for memory in _CORE for index in range(2 if memory in double else 1)
    ]  # fmt: skip
    found += [("queue", engine, "program", 0) for engine in sequencer.engines(chip)]
    if chip.crossbar_depth:
        found += [("experts", core, table, 0) for core in range(chip.cores) for table in ("routes", "replies")]
    found += copies(chip) if chip.normaliser_operand_bits else []
    return found + [
        ("attention", 0, memory, index)
        for memory in (*_ATTENTION, *(_SOFTMAX if chip.softmax_tokens else ()))
        for index in range(attention.get(memory, 1))
    ]


def copies(chip: ChipParams) -> list[Bank]:
    """The copies of the normaliser's table, one an element."""
    return [(*EXPONENTIALS[:3], index) for index in range(chip.neurons)]


def held(bank: Bank) -> bool:
    """Whether the simulator's memories hold the bank."""
    return bank[2] not in ("v", "program", "pool_columns", "pool_lines")


def array_of(memories: Memories, bank: Bank) -> NDArray[Any]:
    """The array in which the simulator holds a bank."""
    unit, number, memory, index = bank
    if unit == "normaliser":
        return memories.normaliser.table[:, None]
    if unit == "experts":
        table: NDArray[Any] = getattr(memories.experts, memory)
        return table[number]
    array: NDArray[Any] = getattr(memories.cores[number] if unit == "core" else memories.attention, memory)
    if array.ndim == 1:  # marks, or membranes of scores
        return array[:, None]
    return array[index] if array.ndim - (memory == "param") == 3 else array


def rows(chip: ChipParams, memories: Memories, bank: Bank) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Elements of the rows of a bank, int64 [rows, elements], and the bits of each element."""
    memory, array = bank[2], array_of(memories, bank)
    if bank[0] == "experts":
        layout = ENTRY if memory == "routes" else RouteTables(chip).asked
        return array, np.array([field.width for field in layout.fields])
    if memory == "param":
        widths = [
            field.width for field in param_layout(chip.neurons, chip.membrane_bits).fields for _ in range(field.count)
        ]
        return array.reshape(len(array), -1).astype(np.int64), np.array(widths)
    width = {
        "weight": chip.weight_bits, "counts": chip.count_bits, "residual": chip.membrane_bits, "psum": chip.membrane_bits,
        "reduce": chip.membrane_bits, "scores": chip.membrane_bits,
        "table": chip.membrane_bits if bank[0] == "normaliser" else ENTRY_BITS,
    }.get(memory, chip.columns)  # fmt: skip
    values = array.view(np.int64) if array.dtype == np.uint64 else array.astype(np.int64)
    return values, np.full(array.shape[1], width)


@njit(cache=True)
def pack(values: NDArray[np.int64], widths: NDArray[np.int64], target: NDArray[np.uint8]) -> None:
    """Write rows of elements into ``target``, uint8 [rows, bytes], the first element in the lowest bits; the rest is 0."""
    target[:] = 0
    for row in range(len(values)):
        position = 0
        for element, width in enumerate(widths):
            value, left = values[row, element], width
            while left > 0:
                shift = position % 8
                taken = min(left, 8 - shift)
                target[row, position // 8] |= (value & ((1 << taken) - 1)) << shift
                value >>= taken
                left -= taken
                position += taken
