"""Partition: which cores compute which positions and which channel words of a layer, and in which pieces."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from mapping.integer_nodes import IntSum
from mapping.ir import Map
from mapping.quantise import IntSynapse


@dataclass(frozen=True)
class Partition:
    """Cores in gangs of ``gang``; gang number i computes the positions ``ranges[i]`` (first, end) of the stored map.

    A range is made of whole rows or lies within one row. Member j of a gang computes the words ``group * gang + j``.
    """

    gang: int
    ranges: tuple[tuple[int, int], ...]

    @property
    def leaders(self) -> int:
        """Mask of the cores that lead a gang."""
        return sum(1 << (index * self.gang) for index in range(len(self.ranges)))

    @property
    def longest(self) -> int:
        """Positions of the longest range."""
        return max(end - first for first, end in self.ranges)

    def member_mask(self, member: int) -> int:
        """Mask of the cores that are member ``member`` of their gang."""
        return self.leaders << member

    def cores(self, index: int, words: int, group: int) -> list[int]:
        """Cores of gang ``index`` that have a word in column group ``group`` of a layer of ``words`` words."""
        present = min(self.gang, words - group * self.gang)
        return [index * self.gang + member for member in range(present)]


def split(shape: Map, parts: int, whole_rows: bool) -> tuple[tuple[int, int], ...]:
    """Positions of a map in at most ``parts`` even ranges: of rows, or of pieces of rows when there are more parts."""
    if parts <= shape.height or whole_rows:
        parts = min(parts, shape.height)
        edges = [shape.height * part // parts * shape.width for part in range(parts + 1)]
    else:
        pieces = min(shape.width, parts // shape.height)
        columns = [shape.width * piece // pieces for piece in range(pieces)]
        edges = [row * shape.width + column for row in range(shape.height) for column in columns] + [shape.positions]
    return tuple(zip(edges[:-1], edges[1:], strict=True))


def choose(chip: ChipParams, layers: Sequence[IntSynapse], shape: Map, whole_rows: bool) -> Partition:
    """The partition of layers that share their stored map's positions with the least additions one after another.

    Cost of a layer: weight rows read per position x column groups x positions of the largest range (four times as many where it
    stores maxima of sums). Among equals the widest gang wins: it shares its input and loads each weight once.
    """
    best: tuple[int, int] | None = None
    chosen = Partition(1, split(shape, 1, whole_rows))
    for gang in (size for size in range(1, chip.cores + 1) if chip.cores % size == 0):
        ranges = split(shape, chip.cores // gang, whole_rows)
        longest = max(end - first for first, end in ranges)
        cost = sum(
            layer.weight[0].size * max(1, layer.planes) * -(-words(chip, layer) // gang) * longest * (4 if layer.sums else 1)
            for layer in layers
        )
        if best is None or (cost, -gang) < best:
            best, chosen = (cost, -gang), Partition(gang, ranges)
    return chosen


def words(chip: ChipParams, layer: IntSynapse | IntSum) -> int:
    """Channel words that a layer writes, or those of a sum."""
    return -(-layer.shape.channels // chip.columns)


@dataclass(frozen=True)
class Chunk:
    """A part of a layer's inputs whose weight rows fit in one bank: kernel rows and channels (whole words).

    Of maps side by side, whose channels count through all of them: whole maps, or whole words of one.
    """

    kernel_first: int
    kernel_rows: int
    channel_first: int
    channels: int


def chunks(chip: ChipParams, layer: IntSynapse, limit: int) -> list[Chunk]:
    """Split a layer's inputs so that each chunk has at most ``limit`` weight rows: by kernel rows first, then by channel words.

    Inputs that are known to have no weights are in none.

    Raises ArchsimError when even one kernel row of one channel word does not fit.
    """
    if layer.diagonal:
        return chunks(chip, of_word(chip, layer, 0), limit)
    if layer.beside > 1:
        return _beside(chip, layer, limit)
    _, channels, height, width = layer.weight.shape
    start, stop = layer.reads or (0, channels)
    start, stop = start - start % chip.columns, min(channels, -(-stop // chip.columns) * chip.columns)  # whole words
    channels = stop - start
    rows = limit // (width * channels)
    if rows:
        count = -(-height // min(rows, height))
        edges = [height * part // count for part in range(count + 1)]
        return [Chunk(first, end - first, start, channels) for first, end in zip(edges[:-1], edges[1:], strict=True)]
    fitting = limit // (width * chip.columns)
    if not fitting:
        raise ArchsimError(
            f"layer '{layer.name}': one kernel row of one channel word needs {width * min(channels, chip.columns)} weight rows, "
            f"but a weight bank of chip '{chip.name}' gives {limit}; use a chip with larger weight banks"
        )
    total = -(-channels // chip.columns)
    count = -(-total // fitting)
    edges = [start + total * part // count * chip.columns for part in range(count)] + [stop]
    return [
        Chunk(row, 1, first, end - first)
        for row in range(height) for first, end in zip(edges[:-1], edges[1:], strict=True)
    ]  # fmt: skip


def of_word(chip: ChipParams, layer: IntSynapse, word: int) -> IntSynapse:
    """What computes one word of a diagonal layer: the weights of that word of each of its maps. Of another layer, the layer."""
    if not layer.diagonal:
        return layer
    first = word * chip.columns
    maps = np.split(layer.weight[first : first + chip.columns], layer.beside, axis=1)
    weight = np.concatenate([one[:, first : first + chip.columns] for one in maps], axis=1)
    return replace(layer, weight=weight, diagonal=False)


def word_chunks(chip: ChipParams, layer: IntSynapse, word: int, limit: int) -> list[Chunk]:
    """Chunks of what computes one word of a layer; of a diagonal one those of the same maps for each word, whatever its size."""
    parts = chunks(chip, layer, limit)
    if not layer.diagonal:
        return parts
    size = of_word(chip, layer, word).weight.shape[1] // layer.beside  # channels of that word
    spans = [(first, end - first) for first, end in (chunk_maps(chip, layer, part) for part in parts)]
    return [Chunk(0, 1, first * size, count * size) for first, count in spans]


def chunk_maps(chip: ChipParams, layer: IntSynapse, part: Chunk) -> tuple[int, int]:
    """First of the maps side by side that a chunk of a diagonal layer reads, and the one behind the last."""
    size = min(chip.columns, layer.weight.shape[1] // layer.beside)
    return part.channel_first // size, -(-(part.channel_first + part.channels) // size)


def _beside(chip: ChipParams, layer: IntSynapse, limit: int) -> list[Chunk]:
    """Chunks of a layer on maps side by side."""
    size = layer.weight.shape[1] // layer.beside
    if limit >= size:
        count = -(-layer.beside // (limit // size))
        edges = [layer.beside * part // count * size for part in range(count + 1)]
        return [Chunk(0, 1, first, end - first) for first, end in zip(edges[:-1], edges[1:], strict=True)]
    one = chunks(chip, replace(layer, weight=layer.weight[:, :size], beside=1), limit)
    return [
        replace(chunk, channel_first=number * size + chunk.channel_first)
        for number in range(layer.beside) for chunk in one
    ]  # fmt: skip


def tiles(first: int, end: int, width: int, limit: int, whole_rows: bool) -> Iterator[tuple[int, int]]:
    """Pieces of a range of at most ``limit`` positions (one unit at least), even.

    The unit is a row of ``width`` where the range spans several or ``whole_rows`` says so, else a position.
    """
    unit = width if whole_rows or end - first > width else 1
    units = (end - first) // unit
    count = -(-units // max(1, limit // unit))
    for piece in range(count):
        yield first + units * piece // count * unit, first + units * (piece + 1) // count * unit
