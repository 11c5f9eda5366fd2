"""Tiles of streamed layers: pieces of its positions whose input, sums and output fit the banks of a core."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from archsim.contracts.common.errors import ArchsimError
from mapping.context import Context
from mapping.partition import Chunk, chunk_maps, tiles
from mapping.place import require
from mapping.quantise import IntSynapse
from mapping.stream import read_by
from mapping.stream_costs import Cut, cycles
from mapping.tile import Tile, is_pointwise, output_tile, rectangle, stored_width

Round = list[tuple[int, Tile]]
"""Tiles that the cores compute at the same time, a core each."""


@dataclass(frozen=True)
class Room:
    """What limits a tile: rows of the banks that a position takes, and that there are.

    Attributes:
        words: channel words of the input that are there at a time.
        slices: rows of a word of an input position.
        stored: rows of a stored position; 0 if none is.
        sums: rows of a position's partial sums; 0 if the layer's inputs come all at once.
        sum_rows: rows for partial sums.
        residual: rows of a position's membranes if the residual stream lies in DRAM, else 0.
        maps: spike maps, of those that the input is the sum of or that lie side by side, that are there at a time.
        moves: tiles are chosen by an estimate of cycles, not by their additions alone.
    """

    words: int
    slices: int
    stored: int
    sums: int
    sum_rows: int
    residual: int
    maps: int
    moves: bool


def needed(context: Context, layer: IntSynapse, tile: Tile, room: Room) -> dict[str, tuple[int, int]]:
    """Rows that a tile needs of each bank, and rows that there are."""
    chip = context.chip
    if is_pointwise(layer):
        inputs = tile.end - tile.first
    else:
        _, _, height, width = read_by(layer, context.network.maps[layer.source], tile)
        inputs = height * width
    stored = tile.stored(stored_width(layer))
    return {
        "spike_in": (inputs * room.slices * room.words * room.maps, chip.spike_in_rows),
        "spike_out": (stored * room.stored, chip.spike_out_rows),
        # Maxima are taken of some sums at a time.
        "partial sums": ((1 if layer.sums else tile.height * tile.width) * room.sums, room.sum_rows),
        "pool lines": ((tile.width // 2 + 1) * context.network.timesteps if layer.pool else 0, chip.pool_rows),
        "residual": (stored * room.residual, chip.residual_rows - context.spill_base(layer)),
    }


def fits(context: Context, layer: IntSynapse, tile: Tile, room: Room) -> bool:
    """Whether a tile has room in the banks."""
    return all(rows <= there for rows, there in needed(context, layer, tile, room).values())


def rounds(
    context: Context, layer: IntSynapse, parts: list[Chunk], sum_rows: int, opened: bool
) -> tuple[list[Round], Room]:
    """The tiles of a layer, round by round, and the room that they were cut to.

    All words of the input are there at once if a single position has room for them, else those of a chunk (but of maps side by
    side); of a diagonal layer on several maps one word of those of a chunk, if a tile is larger then. Once a residual stream
    has ``opened`` tiles are chosen by an estimate of cycles, of what is there at a time too; before, by their additions.
    Raises ArchsimError, with what a single position needs, when not even one fits.
    """
    chip, steps = context.chip, context.network.timesteps
    count = -(-context.network.maps[layer.source].channels // chip.columns)
    slices = layer.planes or context.rows(layer.source)
    estimated = opened or context.spilled(layer)
    best: tuple[float, list[Round], Room] | None = None
    for held, maps in _held(context, layer, parts, count):
        room = Room(
            held,
            slices,
            context.rows(layer.spikes) if layer.spikes else 0,
            steps * chip.blocks if len(parts) > 1 or layer.sums else 0,
            sum_rows,
            steps * chip.blocks if context.spilled(layer) else 0,
            maps,
            estimated or held < count,
        )
        found = list(_cut(context, layer, room, parts))
        if found:
            cost = cycles(context, layer, parts, Cut(found[0][0][1], len(found), held, count, slices))
            cost = float(len(found)) if layer.beside > 1 and layer.diagonal else cost
            if best is None or cost < best[0]:
                best = cost, found, room
            if (is_pointwise(layer) or not estimated) and not (layer.beside > 1 and layer.diagonal):
                break
    if best:
        return best[1:]
    for memory, (rows, there) in needed(context, layer, _single(layer), room).items():
        require(rows, there, layer.name, memory, chip)
    raise ArchsimError(
        f"layer '{layer.name}': no division of its map fits the banks of chip '{chip.name}'; use a chip with larger banks"
    )


def _held(context: Context, layer: IntSynapse, parts: list[Chunk], count: int) -> Iterator[tuple[int, int]]:
    """Words of the input, and maps of it, that may be there at a time; ``count``: all words."""
    maps = len(context.network.addends(layer.source))
    yield count, maps
    most = max(-(-part.channels // context.chip.columns) for part in parts)
    if layer.beside > 1 and layer.diagonal:
        yield 1, max(end - first for first, end in (chunk_maps(context.chip, layer, part) for part in parts))
    elif layer.beside == 1 and not layer.sums and most < count:
        yield most, maps


def _single(layer: IntSynapse) -> Tile:
    """A single stored position, not at a border if that can be."""
    height = (layer.shape.height + 1) // 2 if layer.pool else layer.shape.height
    return rectangle(layer, 0, min(1, height - 1), min(1, stored_width(layer) - 1), 1, 1)


def _cut(context: Context, layer: IntSynapse, room: Room, parts: list[Chunk]) -> Iterator[Round]:
    if is_pointwise(layer) or layer.reduce or (layer.stream and not context.spilled(layer)):
        yield from _ranges(context, layer, room)
    else:
        yield from _grid(context, layer, room, parts)


def _ranges(context: Context, layer: IntSynapse, room: Room) -> Iterator[Round]:
    """Pieces of each core's range: of equal length for pointwise layers, else pieces of its rows."""
    lists: list[list[Tile]] = []
    for core, (first, end) in enumerate(context.partitions[layer.name].ranges):
        longest = end - first
        while longest and not all(
            fits(context, layer, tile, room) for tile in _pieces(layer, core, first, end, longest)
        ):
            longest -= 1
        if not longest:
            return
        lists.append(list(_pieces(layer, core, first, end, longest)))
    for number in range(max(map(len, lists))):
        yield [(core, tiles[number]) for core, tiles in enumerate(lists) if number < len(tiles)]


def _pieces(layer: IntSynapse, core: int, first: int, end: int, longest: int) -> Iterator[Tile]:
    """Tiles of at most ``longest`` positions of a range: even, or each within a row."""
    if is_pointwise(layer):
        edges = list(tiles(first, end, end - first, longest, False))
    else:
        width, edges = layer.shape.width, []
        while first < end:
            stop = min(end, (first // width + 1) * width)
            edges += tiles(first, stop, width, longest, False)
            first = stop
    yield from (output_tile(layer, core, a, b, edges[0][0]) for a, b in edges)


def _grid(context: Context, layer: IntSynapse, room: Room, parts: list[Chunk]) -> Iterator[Round]:
    """Equal rectangles of the stored map, as many at a time as there are cores; those that take least."""
    shape, cores = layer.shape, context.chip.cores
    height, width = ((shape.height + 1) // 2, (shape.width + 1) // 2) if layer.pool else (shape.height, shape.width)
    total = -(-context.network.maps[layer.source].channels // context.chip.columns)
    best: tuple[float, int, int] | None = None
    for rows in range(1, height + 1):
        for columns in range(1, width + 1):
            down, across = -(-height // rows), -(-width // columns)
            if (rows, columns) != (-(-height // down), -(-width // across)):
                continue  # a smaller one makes as many tiles
            places = product(_central(height - rows), _central(width - columns))
            if not all(fits(context, layer, rectangle(layer, 0, y, x, rows, columns), room) for y, x in places):
                break
            tile = rectangle(layer, 0, min(1, height - rows), min(1, width - columns), rows, columns)
            count = -(-down * across // cores)
            cost = float(count * tile.height * tile.width)
            if room.moves:
                cost = cycles(context, layer, parts, Cut(tile, count, room.words, total, room.slices))
            if best is None or cost < best[0]:
                best = cost, down, across
    if best is None:
        return
    _, down, across = best
    edges = [height * part // down for part in range(down + 1)], [width * part // across for part in range(across + 1)]
    whole = [
        (y, x, bottom - y, right - x)
        for y, bottom in zip(edges[0][:-1], edges[0][1:], strict=True)
        for x, right in zip(edges[1][:-1], edges[1][1:], strict=True)
    ]
    for number in range(0, len(whole), cores):
        yield [(core, rectangle(layer, core, *place)) for core, place in enumerate(whole[number : number + cores])]


def _central(last: int) -> set[int]:
    """First rows (columns) of the tiles that read most, of those that begin at 0 .. ``last``; not the first if possible."""
    return {max(min(1, last), last // 2), -(-last // 2)}
