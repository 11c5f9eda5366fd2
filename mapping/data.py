"""Data of a program in DRAM: weight rows, neuron parameters, the image and the logits."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import dma
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.neuron import param_layout
from mapping.partition import Chunk
from mapping.quantise import IntSynapse


@dataclass
class DramImage:
    """Bytes of DRAM, appended in order; every row starts on a beat.

    Attributes:
        parts: what is known of the contents: address, and uint8 [bytes]; the rest is 0.
        size: bytes in all.
    """

    chip: ChipParams
    parts: list[tuple[int, NDArray[np.uint8]]] = field(default_factory=list)
    size: int = 0

    def stride(self, row_bytes: int) -> int:
        """Bytes between rows of ``row_bytes``."""
        return dma.row_beats(row_bytes, self.chip.dram_bus_bytes) * self.chip.dram_bus_bytes

    def add(self, rows: NDArray[np.uint8]) -> int:
        """Append rows uint8 [rows, bytes]; returns the address of the first."""
        address = self.size
        padded = np.zeros((len(rows), self.stride(rows.shape[1])), np.uint8)
        padded[:, : rows.shape[1]] = rows
        self.parts.append((address, padded.reshape(-1)))
        self.size += padded.size
        return address

    def reserve(self, rows: int, row_bytes: int) -> int:
        """Room for ``rows`` rows that the host or the chip writes; returns the address of the first."""
        address = self.size
        self.size += rows * self.stride(row_bytes)
        return address

    def content(self) -> NDArray[np.uint8]:
        """All bytes."""
        result = np.zeros(self.size, np.uint8)  # pages that nothing is written to take no memory
        for address, data in self.parts:
            result[address : address + len(data)] = data
        return result


def sum_bytes(chip: ChipParams) -> int:
    """Bytes of a row of membranes or sums."""
    return -(-chip.neurons * chip.membrane_bits // 8)


def bits_to_bytes(values: NDArray[np.int64], width: int) -> NDArray[np.uint8]:
    """Integers [rows, elements] as packed two's complement, ``width`` bits an element, lowest first: uint8 [rows, bytes]."""
    bits = ((values[:, :, None] >> np.arange(width)) & 1).astype(np.uint8)
    return np.packbits(bits.reshape(len(values), -1), axis=1, bitorder="little")


def weight_rows(chip: ChipParams, layer: IntSynapse, word: int, chunk: Chunk) -> NDArray[np.uint8]:
    """Rows of a weight bank for one channel word of a chunk: order (kernel row, kernel column, input channel)."""
    first = word * chip.columns
    kernel = slice(chunk.kernel_first, chunk.kernel_first + chunk.kernel_rows)
    inputs = slice(chunk.channel_first, chunk.channel_first + chunk.channels)
    part = layer.weight[first : first + chip.columns, inputs, kernel]
    rows = part.transpose(2, 3, 1, 0).reshape(-1, len(part)).astype(np.int64)
    return bits_to_bytes(np.pad(rows, ((0, 0), (0, chip.columns - len(part)))), chip.weight_bits)


def param_rows(chip: ChipParams, layer: IntSynapse, word: int) -> NDArray[np.uint8]:
    """Rows of a parameter bank for one channel word; columns without a channel never fire."""
    first = word * chip.columns
    part = slice(first, first + chip.columns)
    missing = chip.columns - len(layer.bias[part])
    never = (1 << (chip.membrane_bits - 1)) - 1
    fields = {
        "bias": np.pad(layer.bias[part], (0, missing)),
        "threshold": np.pad(layer.threshold[part], (0, missing), constant_values=never),
        "shift": np.pad(layer.shift[part], (0, missing)),
    }
    layout, rows = param_layout(chip.neurons, chip.membrane_bits), []
    for block in range(chip.blocks):
        columns = slice(block * chip.neurons, (block + 1) * chip.neurons)
        word_bits = layout.pack({name: values[columns].tolist() for name, values in fields.items()})
        rows.append(np.frombuffer(word_bits.to_bytes(-(-layout.width // 8), "little"), np.uint8))
    return np.stack(rows)


SPREAD = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).view("<u8")[:, 0]
"""A byte's bits as the bytes of a word, its highest bit in the lowest byte."""


def image_rows(image: NDArray[np.int64], planes: int) -> NDArray[np.uint8]:
    """Bit planes of a quantised image [positions, channels], the sign plane first: uint8 [positions x planes, bytes]."""
    count = -(-planes // 8)
    rows = np.zeros((len(image), 8 * count, -(-image.shape[1] // 8)), np.uint8)
    for channel, column in enumerate(image.T << 8 * count - planes):
        for number in range(count):  # bytes of the value, the one with the sign first
            bits = SPREAD[column >> 8 * (count - 1 - number) & 255] << np.uint64(channel % 8)
            rows[:, 8 * number : 8 * number + 8, channel // 8] |= bits.view(np.uint8).reshape(-1, 8)
    return rows[:, :planes].reshape(-1, rows.shape[2])
