"""Counts of a sum of spike maps that lies in DRAM, for the classifier."""

from dataclasses import replace

from mapping.context import Context
from mapping.integer_nodes import IntSum
from mapping.partition import tiles
from mapping.place import require
from mapping.stream import Streams
from mapping.tile import unit_layer
from mapping.unit_sums import UnitSums


def count_streamed(context: Context, streams: Streams, layer: IntSum, group: range, kept: int | None) -> None:
    """Count the spikes of some words of a sum: each core those of its positions, channel by channel, piece by piece of a word.

    ``kept``: input bank that holds what other words have become; None if none does. The counts lie from row 0 of the reduction
    banks on. Raises ArchsimError when a position of one word does not fit.
    """
    chip, partition = context.chip, context.partitions[layer.name]
    rows = chip.slices(context.network.timesteps) * len(layer.sources)
    require(rows, chip.spike_in_rows, layer.name, "spike_in", chip)
    unit, units = unit_layer(chip, reduce=True), UnitSums(context, layer.name, partition.leaders)
    for word in group:
        for core, (first, end) in enumerate(partition.ranges):
            for a, b in tiles(first, end, end - first, chip.spike_in_rows // rows, False):
                streams.last[core] = streams.last[core] if kept is None else kept
                piece = replace(streams.fetch(layer.name, core, (a, 0, b - a, 1), (word, word + 1)), word=0)
                fields = {"reduce_base": (word - group.start) * chip.blocks, "reduce_first": int(a == first)}
                units.emit(core, unit, b - a, piece, fields, {}, a)
