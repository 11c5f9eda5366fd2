"""Stream: a schedule for networks whose maps no bank holds. Every spike map lies in DRAM and passes through the cores in pieces.

Positions are shared out to the cores, so all cores use the same weights at a time, and each loads what its own tile reads. In DRAM
the words of a map lie one behind the other, each as rows of (position, slice); in a bank they lie side by side.
"""

from dataclasses import dataclass, replace

from archsim.contracts import dma, sequencer
from archsim.contracts.common.errors import ArchsimError
from mapping.context import Context
from mapping.integer_nodes import IntAttention, IntSum, IntTranspose
from mapping.ir import IMAGE, Map
from mapping.place import Region
from mapping.quantise import IntLayer, IntNetwork, IntSynapse
from mapping.tile import Piece, Tile, is_pointwise, runs
from mapping.window_attention import IntWindowAttention


@dataclass(frozen=True)
class Stored:
    """A map in DRAM: address of its first row, shape as the layers see it, slices and words of a position, bytes of a row.

    ``stride``: bytes between rows.
    """

    address: int
    shape: Map
    slices: int
    words: int
    row_bytes: int
    stride: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.shape.positions * self.slices * self.words * self.stride

    def row(self, word: int, position: int) -> int:
        """Address of the first slice of a word of a position."""
        return self.address + (word * self.shape.positions + position) * self.slices * self.stride


class Streams:
    """The maps in DRAM, and what the input banks hold of them.

    A map lies in the place of one that no layer reads any more if there is such a place.

    Attributes:
        maps: that have a place.
        held: per (core, bank) the piece that lies there, as (map, piece).
        last: per core, the input bank that was taken last.
        readers: by map, the layers that have not been emitted yet and read it.
        free: places that nobody needs, as address and bytes in order of address.
    """

    def __init__(self, context: Context) -> None:
        self.context, self.chip = context, context.chip
        self.maps: dict[str, Stored] = {}
        self.readers = read_by_layer(context.network)
        self.free: list[tuple[int, int]] = []
        self.held: dict[tuple[int, int], tuple[str, Piece]] = {}
        self.last = [0] * context.chip.cores

    def image(self, planes: int) -> None:
        """Room for the image's bit planes, which the host writes."""
        shape = self.context.network.maps[IMAGE]
        size = -(-shape.channels // 8)
        if shape.channels > self.chip.columns:
            raise ArchsimError(f"image: {shape.channels} channels need more than one word of {self.chip.columns}")
        self.maps[IMAGE] = self._reserve(shape, planes, 1, size)
        place = {
            "address": self.maps[IMAGE].address,
            "planes": planes,
            "row_bytes": size,
            "rows": shape.positions * planes,
        }
        self.context.notes["image"] = place

    def add(self, name: str) -> None:
        """Room for a map of spikes."""
        shape = self.context.network.maps[name]
        words = -(-shape.channels // self.chip.columns)
        slices = self.context.rows(name)
        self.maps[name] = self._reserve(shape, slices, words, -(-self.chip.columns * self.chip.lanes // 8))

    def _reserve(self, shape: Map, slices: int, words: int, row_bytes: int) -> Stored:
        dram = self.context.dram
        new = Stored(0, shape, slices, words, row_bytes, dram.stride(row_bytes))
        place = min((place for place in self.free if place[1] >= new.size), key=lambda place: place[1], default=None)
        if place is None:
            return replace(new, address=dram.reserve(shape.positions * slices * words, row_bytes))
        self.free.remove(place)
        self._give_back(place[0] + new.size, place[1] - new.size)
        return replace(new, address=place[0])

    def emitted(self, layer: IntLayer) -> None:
        """A layer's loads are all in the queue: the maps that it was the last to read leave their places to others."""
        for name in [name for name, layers in self.readers.items() if layer.name in layers]:
            self.readers[name].remove(layer.name)
            if not self.readers[name] and name in self.maps and name != IMAGE:  # the host's
                self._give_back(self.maps[name].address, self.maps[name].size)

    def _give_back(self, address: int, size: int) -> None:
        """Add a place to the free ones, joined with those that it touches."""
        joined: list[tuple[int, int]] = []
        for start, count in sorted([*self.free, (address, size)]):
            if joined and sum(joined[-1]) == start:
                joined[-1] = joined[-1][0], joined[-1][1] + count
            elif count:
                joined.append((start, count))
        self.free = joined

    def window(self, layer: IntSynapse, tile: Tile) -> tuple[int, int, int, int]:
        """Rectangle (y, x, height, width) of the source map that a tile reads."""
        if is_pointwise(layer):
            return tile.first, 0, tile.end - tile.first, 1
        return read_by(layer, self.context.network.maps[layer.source], tile)

    def piece(
        self, layer: IntSynapse, core: int, tile: Tile, words: tuple[int, int], maps: tuple[int, int] | None = None
    ) -> Piece:
        """The piece of the layer's source that a tile reads, words ``words[0] .. words[1] - 1``; loaded unless it is there.

        ``maps``: first of the maps that are added or side by side, and the one behind the last; None: all.
        """
        window, maps = self.window(layer, tile), maps or (0, len(self.context.network.addends(layer.source)))
        for bank in (0, 1):
            name, there = self.held.get((core, bank), ("", None))
            if there and name == layer.source and _covers(there, window, words, maps):
                self.last[core] = bank
                return there
        if any(name not in self.maps for name in self.context.network.addends(layer.source)):
            raise ArchsimError(
                f"layer '{layer.name}': it must read '{layer.source}' where the attention unit left it, but the banks of chip "
                f"'{self.chip.name}' hold only a part; use a chip with larger spike_in banks or more cores"
            )
        return self.fetch(layer.source, core, window, words, is_pointwise(layer), maps)

    def fetch(
        self, name: str, core: int, window: tuple[int, int, int, int], words: tuple[int, int], column: bool = True,
        maps: tuple[int, int] | None = None,
    ) -> Piece:  # fmt: skip
        """Load a piece of a map, or of the maps of a sum one behind the other, into the bank that was not taken last.

        ``column``: the map is taken as one column of positions; ``maps``: as for :meth:`piece`.
        """
        bank, addends = self.last[core] ^ 1, [self.maps[addend] for addend in self.context.network.addends(name)]
        first, end = maps or (0, len(addends))
        addends = addends[first:end]
        piece = self.place(name, core, bank, window, words, addends[0].slices, len(addends), first)
        for number, stored in enumerate(addends):
            for index in range(words[1] - words[0]):
                self._load(stored, core, piece, index, column, number * piece.region.spacing)
        self.last[core] = bank
        return piece

    def place(
        self, name: str, core: int, bank: int, window: tuple[int, int, int, int], words: tuple[int, int], slices: int,
        addends: int = 1, first_map: int = 0,
    ) -> Piece:  # fmt: skip
        """Give a bank to a piece; raises ArchsimError when it does not fit."""
        y, x, height, width = window
        region = Region(bank, 0, height * width, slices, words[1] - words[0], addends)
        if region.rows > self.chip.spike_in_rows:
            raise ArchsimError(
                f"map '{name}': a piece of {region.positions} positions needs {region.rows} rows of spike_in, but a bank of chip "
                f"'{self.chip.name}' has {self.chip.spike_in_rows}; use a chip with larger spike_in banks or more cores"
            )
        piece = Piece(region, y, x, height, width, words[0], first_map)
        self.held[core, bank] = name, piece
        return piece

    def _load(self, stored: Stored, core: int, piece: Piece, index: int, column: bool, base: int) -> None:
        """LOAD one word of a piece from row ``base`` on: at once where its rows lie one behind the other, else row by row."""
        pitch = 1 if column else stored.shape.width
        whole = piece.width == pitch
        for row in range(1 if whole else piece.height):
            positions = piece.region.positions if whole else piece.width
            fields = {
                "dram_address": stored.row(piece.word + index, (piece.y + row) * pitch + piece.x), "memory": dma.SPIKE_IN,
                "cores": 1 << core, "bank": piece.region.bank, "rows": positions * stored.slices,
                "row": base + row * piece.width * stored.slices * piece.region.words + index, "row_bytes": stored.row_bytes,
                "row_skip": piece.region.words - 1,
            }  # fmt: skip
            self.context.emitter.emit([sequencer.DMA], sequencer.LOAD, fields, [{"layer": self.context.layer}])

    def store(self, name: str, core: int, tile: Tile, word: int, bank: int) -> None:
        """STORE a tile's word from an output bank."""
        stored, row = self.maps[name], 0
        for first, end in runs(tile, stored.shape.width):
            rows = (end - first) * stored.slices
            fields = {
                "dram_address": stored.row(word, first), "memory": dma.SPIKE_OUT, "cores": 1 << core, "bank": bank, "row": row,
                "rows": rows, "row_bytes": stored.row_bytes,
            }  # fmt: skip
            self.context.emitter.emit([sequencer.DMA], sequencer.STORE, fields, [{"layer": self.context.layer}])
            row += rows


def read_by_layer(network: IntNetwork) -> dict[str, set[str]]:
    """By map, the names of the layers that read it: alone, among others that are added or lie side by side, or turned."""
    turned = {layer.name: layer.source for layer in network.layers if isinstance(layer, IntTranspose)}
    result: dict[str, set[str]] = {}
    for layer in network.layers:
        names: tuple[str, ...] = ()
        if isinstance(layer, IntAttention | IntWindowAttention):
            names = layer.q, layer.k, layer.v
        elif isinstance(layer, IntSum):
            names = layer.sources if layer.reduce else ()
        elif isinstance(layer, IntSynapse):
            names = network.addends(layer.source)
        for name in names:
            result.setdefault(turned.get(name, name), set()).add(layer.name)
    return result


def _covers(piece: Piece, window: tuple[int, int, int, int], words: tuple[int, int], maps: tuple[int, int]) -> bool:
    """Whether a piece holds a rectangle (y, x, height, width) of its map, the words ``words[0] .. words[1] - 1``, and the maps."""
    y, x, height, width = window
    return (
        piece.y <= y and y + height <= piece.y + piece.height and piece.x <= x and x + width <= piece.x + piece.width
        and piece.word <= words[0] and words[1] <= piece.word + piece.region.words
        and piece.first_map <= maps[0] and maps[1] <= piece.first_map + piece.region.addends
    )  # fmt: skip


def read_by(layer: IntSynapse, source: Map, tile: Tile) -> tuple[int, int, int, int]:
    """Rectangle (y, x, height, width) of the source map that the windows of a tile cover; one position at least."""
    kernel, stride, padding = layer.weight.shape[2:], layer.stride, layer.padding
    if layer.sums:  # three windows, the first of them a stride before
        kernel, stride, padding = tuple(taps + 2 * stride for taps in kernel), 2 * stride, padding + stride
    edges = []
    for first, count, taps, size in (
        (tile.y, tile.height, kernel[0], source.height),
        (tile.x, tile.width, kernel[1], source.width),
    ):
        low = first * stride - padding
        start = min(max(0, low), size - 1)
        edges.append((start, max(1, min(size, low + (count - 1) * stride + taps) - start)))
    return edges[0][0], edges[1][0], edges[0][1], edges[1][1]
