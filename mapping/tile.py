"""Tile: a piece of a layer's output positions, and the fields of the SYNAPSE instruction that computes it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from archsim.contracts import neuron, sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.spike_fetch import ADDRESS_BITS
from mapping.ir import Map
from mapping.partition import Chunk
from mapping.place import Region
from mapping.quantise import IntNetwork, IntSynapse

UNIT = "unit"
"""Source of a :func:`unit_layer`, which stands for no map of the network."""

SUMS_ONLY = {"residual_in": 0, "residual_out": 0, "spike_out": 0, "reduce": 0, "neuron": 0, "pool": 0}
"""Fields of a SYNAPSE that stores nothing but partial sums."""


@dataclass(frozen=True)
class Tile:
    """Stored positions of a layer, computed by gang number ``gang``: ``first .. end - 1``, or ``columns`` of each of some rows.

    Attributes:
        gang, first, end: first stored position, and the one behind the last.
        range_first: first stored position of the gang's range.
        y, x, height, width: rectangle before the pool, with the row above the first pooled row if there is one, and the column
            to the left of the first pooled column likewise.
        first_odd, left_odd: the rectangle begins with that row (column).
        input_position: raster number of (y, x) before the pool.
        psum_first: positions before the pool of the gang's tiles before this one in the same pass.
        columns: stored columns of each row; 0: the positions lie one behind the other.
    """

    gang: int
    first: int
    end: int
    range_first: int
    y: int
    x: int
    height: int
    width: int
    first_odd: int
    input_position: int
    psum_first: int = 0
    left_odd: int = 0
    columns: int = 0

    def stored(self, pitch: int) -> int:
        """Number of stored positions, in a map of ``pitch`` columns."""
        length = self.end - self.first
        return ((length - self.columns) // pitch + 1) * self.columns if self.columns else length


@dataclass(frozen=True)
class Piece:
    """A rectangle of a map, and of its words, that lies in a region: all of it, or what a tile reads.

    Attributes:
        region: where it lies; its ``positions`` are those of the rectangle, its ``words`` those of the piece.
        y, x, height, width: the rectangle in the map; in a column of positions for pointwise layers.
        word: first word of the map.
        first_map: first that lies there of the maps that are added or side by side.
    """

    region: Region
    y: int
    x: int
    height: int
    width: int
    word: int = 0
    first_map: int = 0


def whole_map(layer: IntSynapse, region: Region, source: Map) -> Piece:
    """The piece that is a whole map."""
    height, width = (source.positions, 1) if is_pointwise(layer) else (source.height, source.width)
    return Piece(region, 0, 0, height, width)


def is_pointwise(layer: IntSynapse) -> bool:
    """Whether positions are independent, so that the map can be taken as one column of positions."""
    alone = layer.weight.shape[2:] == (1, 1) and layer.stride == 1 and not layer.padding
    return alone and not layer.pool and layer.sums is None


def output_tile(layer: IntSynapse, gang: int, first: int, end: int, range_first: int) -> Tile:
    """The tile of stored positions ``first .. end - 1``: whole rows, or a piece of one row."""
    if is_pointwise(layer):
        return Tile(gang, first, end, range_first, first, 0, end - first, 1, 0, first)
    width = layer.shape.width
    if layer.pool:
        pooled = (width + 1) // 2
        top, bottom = first // pooled, end // pooled
        y = max(0, 2 * top - 1)
        height = min(2 * bottom, layer.shape.height) - y
        return Tile(gang, first, end, range_first, y, 0, height, width, int(top > 0), y * width)
    y, x = divmod(first, width)
    if end - first < width:
        return Tile(gang, first, end, range_first, y, x, 1, end - first, 0, first)
    return Tile(gang, first, end, range_first, y, 0, (end - first) // width, width, 0, first)


def rectangle(layer: IntSynapse, gang: int, y: int, x: int, height: int, width: int) -> Tile:
    """The tile of ``height`` stored rows of ``width`` columns from (y, x) on."""
    whole = layer.shape
    if not layer.pool:
        first = y * whole.width + x
        end = first + (height - 1) * whole.width + width
        return Tile(gang, first, end, first, y, x, height, width, 0, first, columns=width)
    top, left, pitch = max(0, 2 * y - 1), max(0, 2 * x - 1), stored_width(layer)
    bottom, right = min(2 * (y + height), whole.height), min(2 * (x + width), whole.width)
    first = y * pitch + x
    return Tile(
        gang, first, first + (height - 1) * pitch + width, first, top, left, bottom - top, right - left, int(y > 0),
        top * whole.width + left, left_odd=int(x > 0), columns=width,
    )  # fmt: skip


def stored_width(layer: IntSynapse) -> int:
    """Columns of the map that a layer stores."""
    return (layer.shape.width + 1) // 2 if layer.pool else layer.shape.width


def runs(tile: Tile, pitch: int) -> Iterator[tuple[int, int]]:
    """Ranges (first, end) of a tile's stored positions that lie one behind the other, in a map of ``pitch`` columns."""
    if not tile.columns:
        yield tile.first, tile.end
        return
    for first in range(tile.first, tile.end, pitch):
        yield first, first + tile.columns


def unit_layer(chip: ChipParams, planes: int = 0, reduce: bool = False) -> IntSynapse:
    """A layer that adds words of ``planes``-bit operands (0: of spikes) channel by channel: unit weights, no neuron."""
    zeros = np.zeros(chip.columns, np.int64)
    weight = np.eye(chip.columns, dtype=np.int8)[:, :, None, None]
    shape = Map(1, 1, chip.columns)
    return IntSynapse("unit", UNIT, weight, zeros, zeros, zeros, neuron.NONE, shape, reduce=reduce, planes=planes)


def identity_layer(chip: ChipParams, name: str, source: Map) -> IntSynapse:
    """A layer that stores the words of the map ``name`` as they are, one word at a time: unit weights, a threshold of 1."""
    zeros, weight = np.zeros(chip.columns, np.int64), np.eye(chip.columns, dtype=np.int8)[:, :, None, None]
    shape = Map(source.height, source.width, chip.columns)
    return IntSynapse(name, name, weight, zeros, zeros + 1, zeros, neuron.IF_ZERO, shape, spikes=name)


def synapse_fields(
    chip: ChipParams, network: IntNetwork, layer: IntSynapse, tile: Tile, chunk: Chunk, piece: Piece
) -> dict[str, int]:
    """Fields that follow from the layer, the tile and its input; the scheduler adds cores, banks and residual."""
    region, classifier = piece.region, layer.classifies
    if classifier and not layer.planes:  # on spikes: the time steps are parts of its operand, a row each
        region = replace(region, positions=region.slices, slices=1)
    steps = network.timesteps
    number, channel, taken = 0, chunk.channel_first, chunk.channels
    if layer.beside > 1:
        channels = layer.weight.shape[1] // layer.beside  # of one map
        number, channel = divmod(chunk.channel_first, channels)
        taken = min(chunk.channels, channels)
    x_stride = region.slices * region.words
    y_stride = piece.width * x_stride
    in_y = tile.y * layer.stride - layer.padding + chunk.kernel_first - piece.y
    in_x = tile.x * layer.stride - layer.padding - piece.x
    origin = region.base + in_y * y_stride + in_x * x_stride + channel // chip.columns - piece.word
    origin += (number - piece.first_map) * region.spacing
    height, width = piece.height, piece.width
    fields = {
        "in_bank": region.bank, "in_origin": origin % (1 << ADDRESS_BITS), "in_y": in_y, "in_x": in_x,
        "in_height": height, "in_width": width, "y_stride": y_stride, "x_stride": x_stride,
        "slice_stride": region.words, "slices": region.slices, "words": -(-taken // chip.columns),
        "planes": int(bool(layer.planes)), "signed": int(bool(layer.planes)), "kernel_height": chunk.kernel_rows,
        "kernel_width": layer.weight.shape[3], "stride": layer.stride, "out_height": tile.height,
        "out_width": tile.width, "weight_base": 0, "tap_rows": taken,
    }  # fmt: skip
    if classifier:
        # The parts of the operand lie side by side; every part meets the same weights.
        fields |= {"in_width": region.positions, "kernel_width": region.positions, "tap_rows": 0}
    if region.addends > 1:
        # So do the maps of a sum: they are the columns of a window, as far apart as a map is long.
        # Those side by side have weights of their own.
        count, rows = (chunk.channels // taken, taken) if layer.beside > 1 else (region.addends, 0)
        fields |= {"in_width": count, "kernel_width": count, "x_stride": region.spacing, "tap_rows": rows}
    replay = bool(layer.planes) and not classifier
    total = 1 if classifier else steps
    slices = chip.slices(steps)
    return fields | {
        "blocks": -(-min(chip.columns, layer.shape.channels) // chip.neurons),
        "steps": total if layer.planes or classifier else chip.lanes_used(steps), "replay": int(replay), "neuron": layer.kind,
        "spike_out": int(layer.spikes is not None), "reduce": int(layer.reduce),
        "reduce_first": int(tile.first == tile.range_first), "pool": int(layer.pool), "pool_first_odd": tile.first_odd,
        "pool_left_odd": tile.left_odd,
        "psum_base": tile.psum_first * total * chip.blocks, "psum_position": total * chip.blocks, "psum_step": chip.blocks,
        "out_base": 0, "out_position": slices, "out_slice": 1, "lanes": 1 if classifier else chip.lanes_used(steps),
    }  # fmt: skip


def source_fields(core: int, fields: dict[str, int]) -> dict[str, int]:
    """Source of the COPY that brings the output of a SYNAPSE of a core to its readers."""
    return {
        "source": sequencer.CORE0 + core, "source_bank": fields["out_bank"], "source_base": fields["out_base"],
        "source_outer": fields["out_position"], "source_inner": fields["out_slice"],
    }  # fmt: skip
