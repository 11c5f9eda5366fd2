"""Contents of the chip's memories during a run, and how DRAM bytes become rows."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import dma, router
from archsim.contracts.attention import AttentionParams
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.neuron import param_layout
from archsim.threads import halves, together
from archsim.vectors import aligned

SHARED_COPY = 1 << 22
"""Bytes from which on a copy of DRAM is shared by two threads."""

COPY_BLOCK = 1 << 16
"""Bytes that such a copy looks at at a time."""


@dataclass
class CoreMemory:
    """The memories of one core.

    Attributes:
        weight: int8 [2 banks, weight_rows, M].
        param: int32 [2 banks, param_rows, 3, P]: bias, threshold, shift.
        spike_in: uint64 [2 banks, spike_in_rows, L], channel c of a word in bit c.
        spike_out: uint64 [2 banks, spike_out_rows, L].
        residual, psum, reduce: int32 [rows, P].
    """

    weight: NDArray[np.int8]
    param: NDArray[np.int32]
    spike_in: NDArray[np.uint64]
    spike_out: NDArray[np.uint64]
    residual: NDArray[np.int32]
    psum: NDArray[np.int32]
    reduce: NDArray[np.int32]

    @classmethod
    def empty(cls, chip: ChipParams) -> "CoreMemory":
        """Memories of a core of ``chip``, all 0."""
        return cls(
            weight=np.zeros((2, chip.weight_rows, chip.columns), np.int8),
            param=np.zeros((2, chip.param_rows, 3, chip.neurons), np.int32),
            spike_in=np.zeros((2, chip.spike_in_rows, chip.lanes), np.uint64),
            spike_out=np.zeros((2, chip.spike_out_rows, chip.lanes), np.uint64),
            residual=np.zeros((chip.residual_rows, chip.neurons), np.int32),
            psum=np.zeros((chip.psum_rows, chip.neurons), np.int32),
            reduce=np.zeros((chip.reduce_rows, chip.neurons), np.int32),
        )


@dataclass
class AttentionMemory:
    """The memories of the attention unit.

    Attributes:
        spikes: uint64 [4 banks (Q0, Q1, K, V), attention_rows, L].
        out: uint64 [2 banks, attention_rows, L].
        counts: int32 [count_rows, M]; rows that are marked are 0.
        cleared: uint64 [blocks of M count rows], marks of the rows that nothing was added to: the hardware does not read them.
        scores: int32 [softmax_tokens], membranes of the score neurons of a softmax.
        table: uint8 [softmax_tokens^2, 2], its entries low and high.
    """

    spikes: NDArray[np.uint64]
    out: NDArray[np.uint64]
    counts: NDArray[np.int32]
    cleared: NDArray[np.uint64]
    scores: NDArray[np.int32]
    table: NDArray[np.uint8]

    @classmethod
    def empty(cls, chip: ChipParams) -> "AttentionMemory":
        """Memories of the attention unit of ``chip``, all 0."""
        return cls(
            spikes=np.zeros((4, chip.attention_rows, chip.lanes), np.uint64),
            out=np.zeros((2, chip.attention_rows, chip.lanes), np.uint64),
            counts=np.zeros((chip.count_rows, chip.columns), np.int32),
            cleared=np.zeros(AttentionParams(chip).cleared.rows, np.uint64),
            scores=np.zeros(chip.softmax_tokens, np.int32),
            table=np.zeros((chip.softmax_tokens**2, 2), np.uint8),
        )


@dataclass
class ExpertsMemory:
    """The memories of the expert engine, and what its router keeps from one instruction to the next.

    Attributes:
        routes: int64 [cores, route_rows, 5]: the fields of a route table's row.
        replies: int64 [cores, route_rows, 3]: home core, source row and target row of a request.
        counts: int64 [16]: tokens that each expert has accepted.
    """

    routes: NDArray[np.int64]
    replies: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def empty(cls, chip: ChipParams) -> "ExpertsMemory":
        """Memories of the expert engine of ``chip``, all 0; without rows if it has none."""
        rows = chip.route_rows if chip.crossbar_depth else 0
        tables = (np.zeros((chip.cores, rows, fields), np.int64) for fields in (5, 3))
        return cls(*tables, np.zeros(router.MAX_EXPERTS, np.int64))


@dataclass
class NormaliserMemory:
    """The memory of the normaliser.

    Attributes:
        table: int32 [2^normaliser_table_bits]: the entries, of which every element of its vector unit has a copy.
    """

    table: NDArray[np.int32]

    @classmethod
    def empty(cls, chip: ChipParams) -> "NormaliserMemory":
        """Memory of the normaliser of ``chip``, all 0; without entries if it has none."""
        return cls(np.zeros((1 << chip.normaliser_table_bits) * (chip.normaliser_operand_bits > 0), np.int32))


class Stack(NamedTuple):
    """The arrays of all memories as kernels take them: those of CoreMemory with a first axis of cores, then the others."""

    weight: NDArray[np.int8]
    param: NDArray[np.int32]
    spike_in: NDArray[np.uint64]
    spike_out: NDArray[np.uint64]
    residual: NDArray[np.int32]
    psum: NDArray[np.int32]
    reduce: NDArray[np.int32]
    spikes: NDArray[np.uint64]
    out: NDArray[np.uint64]
    counts: NDArray[np.int32]
    cleared: NDArray[np.uint64]
    scores: NDArray[np.int32]
    table: NDArray[np.uint8]
    exponentials: NDArray[np.int32]
    dram: NDArray[np.uint8]


@dataclass
class Memories:
    """Every memory of a chip: the cores', the attention unit's, the normaliser's, DRAM (uint8 [bytes]), the expert engine's."""

    stack: Stack
    experts: ExpertsMemory

    @classmethod
    def empty(cls, chip: ChipParams, dram: NDArray[np.uint8]) -> "Memories":
        """Memories of ``chip``, all 0, with a copy of ``dram``."""
        cores = (aligned((chip.cores, *array.shape), array.dtype) for array in vars(CoreMemory.empty(chip)).values())
        attention = (aligned(array.shape, array.dtype) for array in vars(AttentionMemory.empty(chip)).values())
        return cls(Stack(*cores, *attention, NormaliserMemory.empty(chip).table, _copied(dram)), ExpertsMemory.empty(chip))

    @property
    def cores(self) -> list[CoreMemory]:
        """The memories of each core; views."""
        own = self.stack[:7]
        return [CoreMemory(*(array[core] for array in own)) for core in range(len(self.stack.weight))]

    @cores.setter
    def cores(self, contents: Sequence[CoreMemory]) -> None:
        """Copy the contents of the memories of every core."""
        for core, memory in zip(self.cores, contents, strict=True):
            for name, array in vars(memory).items():
                getattr(core, name)[:] = array

    @property
    def attention(self) -> AttentionMemory:
        """The attention unit's memories; views."""
        return AttentionMemory(*self.stack[7:13])

    @property
    def normaliser(self) -> NormaliserMemory:
        """The normaliser's memory; a view."""
        return NormaliserMemory(self.stack.exponentials)

    @property
    def dram(self) -> NDArray[np.uint8]:
        """DRAM."""
        return self.stack.dram


class Pool:
    """Memories that serve one run after another, as if each were new; as many as there are runs at the same time.

    Args:
        chip: the chip.
        dram: contents of DRAM at the start of a run, uint8 [bytes].
        written: the bytes of DRAM that a run may write; only these are copied again.
    """

    def __init__(self, chip: ChipParams, dram: NDArray[np.uint8], written: Iterable[range]) -> None:
        self._chip, self._dram, self._written = chip, dram, _joined(written)
        self._free: list[Memories] = []

    @contextmanager
    def take(self) -> Iterator[Memories]:
        """Memories as a run finds them: all 0, DRAM as given."""
        try:
            memories = self._free.pop()
        except IndexError:
            memories = Memories.empty(self._chip, self._dram)
        else:
            for array in (*memories.stack[:-1], *vars(memories.experts).values()):
                array.fill(0)
            for part in self._written:
                memories.dram[part] = self._dram[part]
        yield memories
        self._free.append(memories)  # not after an exception, which says that the run broke a rule


def _joined(parts: Iterable[range]) -> list[slice]:
    """Parts of DRAM, in order and without overlap."""
    joined: list[slice] = []
    for part in sorted(parts, key=lambda one: one.start):
        if joined and part.start <= joined[-1].stop:
            joined[-1] = slice(joined[-1].start, max(joined[-1].stop, part.stop))
        else:
            joined.append(slice(part.start, part.stop))
    return joined


def _copied(dram: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy; of much by two threads, since fresh pages cost as much as their contents. Blocks of zeros take none."""
    copy = aligned(dram.shape, dram.dtype)

    def fill(part: slice) -> None:
        start, stop, _ = part.indices(len(dram))
        for first in range(start, stop, COPY_BLOCK):
            block = slice(first, min(first + COPY_BLOCK, stop))
            if dram[block].any():
                copy[block] = dram[block]

    together([partial(fill, part) for part in halves(dram, SHARED_COPY)])
    return copy


def row_format(chip: ChipParams, memory: int) -> tuple[int, int]:
    """Bits of an element and elements of a row of a DMA memory (the row's fields lie packed, lowest first)."""
    if memory == dma.WEIGHT:
        return chip.weight_bits, chip.columns
    if memory in (dma.SPIKE_IN, dma.SPIKE_OUT):
        return chip.columns, chip.lanes
    return chip.membrane_bits, chip.neurons


def rows_from_bytes(chip: ChipParams, memory: int, data: NDArray[np.uint8]) -> NDArray[np.int64] | NDArray[np.uint64]:
    """Rows of a memory from DRAM bytes [rows, bytes]; missing bytes are 0.

    Returns the rows in the shape in which the memory holds them, int64 (uint64 for spikes).
    """
    bits = np.unpackbits(data, axis=1, bitorder="little")
    if memory == dma.PARAM:
        layout = param_layout(chip.neurons, chip.membrane_bits)
        bits = _fit(bits, layout.width)
        parts = np.split(bits, [layout.offsets["threshold"], layout.offsets["shift"]], axis=1)
        return np.stack([_integers(part, chip.neurons) for part in parts], axis=1)
    width, count = row_format(chip, memory)
    bits = _fit(bits, width * count)
    if memory == dma.SPIKE_IN:
        packed = np.zeros((len(bits), count, 64), np.uint8)
        packed[:, :, :width] = bits.reshape(len(bits), count, width)
        return np.packbits(packed, axis=2, bitorder="little").view("<u8")[:, :, 0]
    return _integers(bits, count)


def integers_from_bytes(data: NDArray[np.uint8], width: int, count: int) -> NDArray[np.int64]:
    """Two's-complement integers [rows, count] of ``width`` bits from packed bytes [rows, bytes]; missing bytes are 0."""
    return _integers(_fit(np.unpackbits(data, axis=1, bitorder="little"), width * count), count)


def rows_to_bytes(width: int, rows: NDArray[Any], row_bytes: int) -> NDArray[np.uint8]:
    """Rows of words or two's-complement integers [rows, elements] as bytes [rows, row_bytes], ``width`` bits an element."""
    octets = np.ascontiguousarray(rows.astype("<i8" if rows.dtype.kind == "i" else "<u8")).view(np.uint8)
    bits = np.unpackbits(octets.reshape(*rows.shape, 8), axis=2, bitorder="little")[:, :, :width]
    data = np.packbits(bits.reshape(len(rows), -1), axis=1, bitorder="little")
    return np.pad(data, ((0, 0), (0, max(0, row_bytes - data.shape[1]))))[:, :row_bytes]


def _fit(bits: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    missing = max(0, width - bits.shape[1])
    return np.pad(bits, ((0, 0), (0, missing))) if missing else bits[:, :width]


def _integers(bits: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    width = bits.shape[1] // count
    powers = np.int64(1) << np.arange(width, dtype=np.int64)
    powers[-1] = -powers[-1]
    return bits.reshape(len(bits), count, width).astype(np.int64) @ powers
