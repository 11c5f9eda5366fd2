"""Maximum over sums: a layer whose sums pass a maximum over 3x3 windows, stride 2, padding 1, before they open a residual stream.

The sums of a piece of the map before the windows go to the partial-sum bank, each once. From there they are compared into the
stream: a SYNAPSE without operand takes, for a run of stored positions of one row, one element of each of their windows, and the
greater of it and of what the stream holds. The first element that a position meets opens the stream there, the last one fires its
neurons. What a window has on padding is never met.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import neuron
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from mapping.ir import Map
from mapping.partition import Chunk, chunks, tiles, words
from mapping.place import require
from mapping.quantise import IntNetwork, IntSynapse
from mapping.tile import SUMS_ONLY, Piece, Tile, output_tile, synapse_fields, unit_layer, whole_map
from mapping.unit_sums import EMPTY

if TYPE_CHECKING:
    from mapping.schedule import Scheduler

ROWS, COLUMNS = (-1, 0, 1), (0, -1, 1)
"""Elements of a window in the order in which they are met: the first and the last column then reach, as a rule, every position."""


@dataclass(frozen=True)
class Sums:
    """A rectangle of sums that are in the partial-sum bank at a time, in the map before the windows."""

    y: int
    x: int
    height: int
    width: int


@dataclass(frozen=True)
class Visit:
    """A run of ``count`` stored positions from (y, x) on, in one row, each of which meets one element of its window.

    Attributes:
        source: place among the :class:`Sums` of the element of the first one; the others follow, two columns apart.
        opens: no element was met there before.
        fires: all others were.
    """

    y: int
    x: int
    count: int
    source: int
    opens: bool
    fires: bool


def require_comparators(network: IntNetwork, chip: ChipParams) -> None:
    """Raise ArchsimError, naming the layer, unless a chip can take the maxima over sums that a network wants."""
    layer = next((layer for layer in network.layers if isinstance(layer, IntSynapse) and layer.sums), None)
    if layer and not chip.residual_maximum:
        raise ArchsimError(
            f"layer '{layer.name}': takes the maximum over sums before its neuron, which needs a chip with residual_maximum, given "
            f"'{chip.name}' without; use such a chip, as adders_512_maximum is, or set 'residual_maximum: 1' in its file"
        )


def pieces(shape: Map, tile: Tile, room: int) -> list[Sums]:
    """The sums, of a map of ``shape``, that the windows of a tile reach, in pieces of at most ``room``: rows, or parts of a row."""
    top, left = max(0, 2 * tile.y - 1), max(0, 2 * tile.x - 1)
    height = min(shape.height, 2 * (tile.y + tile.height)) - top
    width = min(shape.width, 2 * (tile.x + tile.width)) - left
    rows = list(tiles(top, top + height, 1, max(1, room // width), False))
    columns = list(tiles(left, left + width, 1, min(room, width), False))
    return [Sums(y, x, bottom - y, right - x) for y, bottom in rows for x, right in columns]


def visits(shape: Map, tile: Tile, parts: Sequence[Sums]) -> list[list[Visit]]:
    """What the stored positions of a tile meet of each piece of sums, of a map of ``shape``."""
    met = np.zeros((tile.height, tile.width), np.int64)
    all_rows, all_columns = _inside(tile.y, tile.height, shape.height), _inside(tile.x, tile.width, shape.width)
    return [list(_of_piece(tile, part, met, np.outer(all_rows, all_columns))) for part in parts]


def _inside(first: int, count: int, size: int) -> NDArray[np.int64]:
    """Elements in one direction of the windows ``first .. first + count - 1`` that lie within ``size``."""
    elements = 2 * np.arange(first, first + count)[:, None] + np.array(ROWS)
    return np.asarray(((elements >= 0) & (elements < size)).sum(axis=1))


def _of_piece(tile: Tile, part: Sums, met: NDArray[np.int64], there: NDArray[np.int64]) -> Iterator[Visit]:
    """The visits of one piece; ``met`` counts the elements that each position has met, ``there`` has those of its window."""
    for y in range(tile.height):
        for down in ROWS:
            row = 2 * (tile.y + y) + down - part.y
            for right in COLUMNS if 0 <= row < part.height else ():
                columns = [x for x in range(tile.width) if 0 <= 2 * (tile.x + x) + right - part.x < part.width]
                met[y, columns] += 1
                kinds = [(bool(met[y, x] == 1), bool(met[y, x] == there[y, x])) for x in columns]
                for (opens, fires), run in groupby(zip(kinds, columns, strict=True), lambda pair: pair[0]):
                    first, *others = (x for _, x in run)
                    source = row * part.width + 2 * (tile.x + first) + right - part.x
                    yield Visit(tile.y + y, tile.x + first, 1 + len(others), source, opens, fires)


class MaximumScheduler:
    """Emits such layers with the help of the scheduler that it belongs to."""

    def __init__(self, scheduler: "Scheduler") -> None:
        self.scheduler, self.context, self.chip = scheduler, scheduler.context, scheduler.chip
        require_comparators(scheduler.network, scheduler.chip)
        self.rows = scheduler.network.timesteps * scheduler.chip.blocks

    def synapse(self, layer: IntSynapse) -> None:
        """All column groups of a layer whose maps lie in the input banks; raises ArchsimError when something does not fit."""
        context, scheduler = self.context, self.scheduler
        partition, parts = context.partitions[layer.name], chunks(self.chip, layer, context.chunk_rows)
        piece = whole_map(layer, context.regions[layer.source], context.network.maps[layer.source])
        limit, width = scheduler.tile_limit(layer), layer.shape.width
        cut = [
            [output_tile(layer, gang, a, b, first) for a, b in tiles(first, end, width, limit, False)]
            for gang, (first, end) in enumerate(partition.ranges)
        ]
        for group in range(-(-words(self.chip, layer) // partition.gang)):
            loaded = [-1]

            def weights(index: int, group: int = group, loaded: list[int] = loaded) -> None:
                if loaded != [index]:
                    scheduler.loads.weights(layer, group, index, index == len(parts) - 1)
                    loaded[0] = index

            for row in zip_longest(*cut):
                found = [(tile, piece) for tile in row if tile]
                self.word(layer, group, found, parts, weights)
                for tile, _ in found:
                    out = {"out_bank": context.out_bank[partition.cores(tile.gang, words(self.chip, layer), group)[0]]}
                    scheduler.finish(layer, group, tile, self._nothing(layer, tile.end - tile.first) | out)

    def word(
        self, layer: IntSynapse, group: int, found: Sequence[tuple[Tile, Piece]], parts: Sequence[Chunk],
        weights: Callable[[int], None],
    ) -> None:  # fmt: skip
        """One column group of some tiles, each of another gang, and what they read; ``weights`` loads those of a chunk."""
        assert layer.sums is not None
        require(self.rows, self.chip.psum_rows, layer.name, "psum", self.chip)
        plans = []
        for tile, piece in found:
            cut = pieces(layer.sums, tile, self.chip.psum_rows // self.rows)
            plans.append([(tile, piece, *both) for both in zip(cut, visits(layer.sums, tile, cut), strict=True)])
        for step in zip_longest(*plans):
            present = [part for part in step if part]
            for index, chunk in enumerate(parts):
                weights(index)
                for tile, piece, sums, _ in present:
                    self._sums(layer, group, tile, sums, (index, chunk), piece)
            for tile, piece, _, met in present:
                for visit in met:
                    self._visit(layer, group, tile, visit, piece)

    def _sums(
        self, layer: IntSynapse, group: int, tile: Tile, sums: Sums, step: tuple[int, Chunk], piece: Piece
    ) -> None:
        """The sums of a chunk of the inputs, added to those of the chunks before it."""
        assert layer.sums is not None
        index, chunk = step
        place = sums.y * layer.sums.width + sums.x
        rectangle = Tile(tile.gang, place, place, place, sums.y, sums.x, sums.height, sums.width, 0, place)
        alone = replace(layer, shape=layer.sums, sums=None)
        fields = synapse_fields(self.chip, self.context.network, alone, rectangle, chunk, piece)
        fields |= {"psum_in": int(index > 0), "psum_out": 1} | SUMS_ONLY | self._banks(layer)
        self.scheduler.emit(layer, group, tile, fields, False)

    def _visit(self, layer: IntSynapse, group: int, tile: Tile, visit: Visit, piece: Piece) -> None:
        """Compare sums into the stream."""
        shape, place = layer.shape, (visit.y - tile.y) * tile.width + visit.x - tile.x
        first, slices = visit.y * shape.width + visit.x, self.chip.slices(self.context.network.timesteps)
        part = Tile(tile.gang, first, first + visit.count, tile.range_first, visit.y, visit.x, 1, visit.count, 0, first)
        fields = self._nothing(layer, visit.count) | self.scheduler.residual(layer, group, tile) | self._banks(layer)
        offset, fires = place * fields["residual_position"], visit.fires and layer.spikes is not None
        fields |= {
            "in_bank": piece.region.bank, "psum_in": 1, "psum_out": 0, "psum_base": visit.source * self.rows,
            "psum_position": 2 * self.rows, "psum_step": self.chip.blocks, "residual_in": int(not visit.opens),
            "residual_in_base": fields["residual_in_base"] + offset, "residual_out_base": fields["residual_out_base"] + offset,
            "maximum": 1, "neuron": layer.kind if fires else neuron.NONE, "spike_out": int(fires), "out_base": place * slices,
        }  # fmt: skip
        self.scheduler.emit(layer, group, part, fields, visit.fires)

    def _nothing(self, layer: IntSynapse, count: int) -> dict[str, int]:
        """Fields of a SYNAPSE without operand for ``count`` stored positions of the layer."""
        chip, shape = self.chip, Map(count, 1, layer.shape.channels)
        unit = replace(unit_layer(chip), shape=shape, spikes=layer.spikes or layer.name)
        tile = output_tile(unit, 0, 0, count, 0)
        fields = synapse_fields(chip, self.context.network, unit, tile, Chunk(0, 1, 0, chip.columns), EMPTY)
        return fields | {"slices": chip.slices(self.context.network.timesteps)}

    def _banks(self, layer: IntSynapse) -> dict[str, int]:
        """Banks of weights and parameters."""
        resident = (layer.name, 0) in self.scheduler.loads.param_base
        return {"weight_bank": self.context.weight_bank, "param_bank": 0 if resident else self.context.param_bank}
