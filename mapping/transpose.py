"""Transpositions: maps whose axes are exchanged on their way from an output bank to the input banks.

A TRANSPOSE takes the words of one channel word along an axis of the source, which becomes the channels, and writes them as columns:
its source channels become positions. It can take what lies in an output bank, so tiles of the layer before it hold the axis whole.
"""

from collections.abc import Iterator
from dataclasses import replace

from archsim.contracts import multicast, sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from mapping.context import Context
from mapping.integer_nodes import IntTranspose
from mapping.ir import Map
from mapping.place import Region
from mapping.quantise import IntNetwork, IntSynapse
from mapping.sums import places
from mapping.turned import turned

WIDTHS = {field.name: field.width for field in multicast.TRANSPOSE_FIELDS}
"""Bits of the fields."""


def require_transposer(network: IntNetwork, chip: ChipParams) -> None:
    """Raise ArchsimError, naming the layer, unless a chip can exchange the axes that a network wants exchanged."""
    layer = next((layer for layer in network.layers if isinstance(layer, IntTranspose)), None)
    if layer and not chip.transposer:
        raise ArchsimError(
            f"layer '{layer.name}': exchanges axes of map '{layer.source}', which needs a chip with a transposer, given "
            f"'{chip.name}' without one; use such a chip, as small_complete is, or set 'transposer: 1' in its file"
        )


def deliver(
    context: Context, layer: IntSynapse, first: int, end: int, word: int, source: dict[str, int]
) -> None:
    """Emit the TRANSPOSEs of one word of the positions ``first .. end - 1`` of a layer's map to every core that reads it turned."""
    network, chip = context.network, context.chip
    for layer_turned in turned(network, layer.spikes or ""):
        for place, number in places(network, layer_turned.name):
            region = context.regions[place]
            region = replace(region, base=region.base + number * region.spacing)
            shapes = network.maps[layer_turned.source], layer_turned.shape
            for fields in blocks(chip, layer_turned, shapes, region, (first, end), word, source):
                fields["cores"] = context.readers(place)
                context.emitter.emit([sequencer.MULTICAST], sequencer.TRANSPOSE, source | fields, [{"layer": context.layer}])


def blocks(
    chip: ChipParams, layer: IntTranspose, shapes: tuple[Map, Map], region: Region, positions: tuple[int, int], word: int,
    source: dict[str, int],
) -> Iterator[dict[str, int]]:  # fmt: skip
    """Fields, but ``cores``, of the TRANSPOSEs of one word of positions (first, end): for each slice and word of the new channels.

    ``shapes``: of the source and of the turned map, or of a piece of both; ``region``: where the turned map lies.
    Raises ArchsimError, naming the layer, for strides that no instruction holds.
    """
    (shape, result), (first, end), slices = shapes, positions, region.slices
    inner, columns = layer.order[2], chip.columns
    outer, lengths, pitch = 1 - inner, (shape.height, shape.width), (shape.width, 1)
    step = {axis: size * slices * region.words for axis, size in zip(layer.order[:2], (result.width, 1), strict=True)}
    begin, count = (0, shape.width) if inner == 0 else (first // shape.width, (end - first) // shape.width)
    position = source["source_outer"]
    base = region.base + begin * step[outer] + word * columns * step[2]
    for number in range(slices):
        for channels in range(region.words):
            along = channels * columns
            fields = {
                "source_base": source["source_base"] + number * source["source_inner"] + along * pitch[inner] * position,
                "source_outer": pitch[outer] * position, "source_inner": pitch[inner] * position,
                "outer": count, "inner": min(columns, lengths[inner] - along), "bank": region.bank,
                "base": base + number * region.words + channels, "base_outer": step[outer], "base_inner": step[2],
                "turned": min(columns, shape.channels - word * columns),
            }  # fmt: skip
            _require_widths(layer, fields, chip)
            yield fields


def _require_widths(layer: IntTranspose, fields: dict[str, int], chip: ChipParams) -> None:
    wide = {name: value for name, value in fields.items() if value >> WIDTHS[name]}
    if wide:
        raise ArchsimError(
            f"layer '{layer.name}': exchanges axes of map '{layer.source}', which needs strides of {wide} rows, but an instruction "
            f"holds { {name: WIDTHS[name] for name in wide} } bits of them; use a chip with more columns than "
            f"'{chip.name}', or a smaller map"
        )
