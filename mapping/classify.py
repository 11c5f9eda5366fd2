"""Schedule of the classifier: bit planes of the reduction, the sum of the gangs' parts, the logits."""

from collections.abc import Callable
from dataclasses import replace

from archsim.contracts import dma, sequencer
from mapping.context import Context
from mapping.data import sum_bytes
from mapping.integer_nodes import IntSum
from mapping.partition import words
from mapping.place import Region, collected, require
from mapping.quantise import IntPlanes, IntSynapse
from mapping.reduction import apart, reduced, sums_at_once
from mapping.tile import Piece, unit_layer, whole_map
from mapping.unit_sums import UnitSums


class ClassifierScheduler:
    """Emits what stands between the last layer's reduction and the logits in DRAM."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def planes(self, layer: IntPlanes, sums: Callable[[IntSynapse | IntSum, range], None]) -> None:
        """Bit planes of the reduction for the classifier; the parts of several gangs are added up in core 0 first.

        ``sums``: makes some words' sums, where not all have room at a time or the stream was normed first.
        """
        source, at_once = reduced(self.context, layer), sums_at_once(self.context, layer)
        count, later = words(self.context.chip, source), apart(self.context, source.name)
        for first in range(0, count, at_once):
            group = range(first, min(first + at_once, count))
            if later:
                sums(source, group)
            self._planes(layer, source, group, later)

    def _planes(self, layer: IntPlanes, source: IntSynapse | IntSum, group: range, apart: bool) -> None:
        """Bit planes of some words; ``apart``: their sums lie from row 0 of the reduction banks on, else in rows of their own."""
        context = self.context
        partition, target = context.partitions[source.name], context.regions[layer.spikes]
        leaders, gang = context.readers(layer.spikes), partition.gang
        places = {word: (word % gang, word - group.start if apart else word // gang) for word in group}  # core, group
        if len(partition.ranges) > 1:
            parts = context.regions[collected(layer)]
            for index in range(len(partition.ranges)):
                for word, (member, row) in places.items():
                    core, held = index * gang + member, (0, group.start)
                    self.planes_of(core, row, parts.slices, 0, 1, parts, index, word, collected(layer), held)
            self._collect(layer, parts, len(group))
            places = {word: (0, word - group.start) for word in group}
        for word, (core, row) in places.items():
            self.planes_of(core, row, layer.planes, layer.right_shift, leaders, target, 0, word, layer.spikes)

    def planes_of(
        self,
        core: int,
        group: int,
        planes: int,
        right_shift: int,
        cores: int,
        region: Region,
        position: int,
        word: int,
        tensor: str,
        held: tuple[int, int] = (0, 0),
    ) -> None:
        """PLANES of one word of a reduction, copied to position ``position`` of a region in ``cores``.

        ``held``: first position and first word of those that the region holds at this time.
        """
        context, chip = self.context, self.context.chip
        require(planes, chip.spike_out_rows, context.network.layers[context.layer].name, "spike_out", chip)
        bank = context.out_bank[core]
        context.out_bank[core] ^= 1
        fields = {
            "reduce_base": group * chip.blocks, "blocks": chip.blocks, "planes": planes,
            "right_shift": right_shift, "out_bank": bank, "out_base": 0,
        }  # fmt: skip
        note = {
            "layer": context.layer,
            "tensor": tensor,
            "position": position,
            "positions": 1,
            "word": word,
            "words": 1,
        }
        context.emitter.emit([sequencer.CORE0 + core], sequencer.PLANES, fields, [note])
        self.copy(core, bank, planes, cores, region, position - held[0], word - held[1])

    def copy(self, core: int, bank: int, rows: int, cores: int, region: Region, position: int, word: int) -> None:
        """COPY of ``rows`` rows of one word from an output bank to one position of a region in the cores of a mask."""
        fields = {
            "source": sequencer.CORE0 + core, "source_bank": bank, "source_base": 0, "source_outer": 0,
            "source_inner": 1, "outer": 1, "inner": rows, "cores": cores, "bank": region.bank,
            "base": region.base + position * rows * region.words + word, "base_outer": 0, "base_inner": region.words,
        }  # fmt: skip
        self.context.emitter.emit([sequencer.MULTICAST], sequencer.COPY, fields, [{"layer": self.context.layer}])

    def _collect(self, layer: IntPlanes, parts: Region, count: int) -> None:
        """Add the parts of ``count`` words in core 0: one SYNAPSE with unit weights per word, into the reduction bank."""
        chip = self.context.chip
        unit, units = unit_layer(chip, parts.slices), UnitSums(self.context, layer.name, 1)
        for word in range(count):
            piece = whole_map(unit, replace(parts, base=parts.base + word), unit.shape)
            fields = {"reduce": 1, "reduce_first": 1, "reduce_base": word * chip.blocks}
            units.emit(0, unit, 1, piece, fields, {})

    def count(self, layer: IntSum, group: range) -> None:
        """Count the spikes of some words of a sum of maps: each core those of its positions, channel by channel, from row 0 on."""
        context, chip = self.context, self.context.chip
        region, partition = context.regions[layer.name], context.partitions[layer.name]
        unit, units = unit_layer(chip, reduce=True), UnitSums(context, layer.name, partition.leaders)
        for core, (first, end) in enumerate(partition.ranges):
            for word in group:
                place = replace(region, base=region.base + word)
                piece = Piece(place, 0, 0, layer.shape.positions, 1)
                units.emit(core, unit, end - first, piece, {"reduce_base": (word - group.start) * chip.blocks}, {}, first)

    def logits(self, layer: IntSynapse, cores: list[int], group: int, fields: dict[str, int]) -> None:
        """Store the logits of a column group."""
        context, chip = self.context, self.context.chip
        row_bytes = sum_bytes(chip)
        for member, core in enumerate(cores):
            address = context.dram.reserve(fields["blocks"], row_bytes)
            store = {
                "dram_address": address, "memory": dma.RESIDUAL, "cores": 1 << core, "bank": 0,
                "row": fields["residual_out_base"], "rows": fields["blocks"], "row_bytes": row_bytes,
            }  # fmt: skip
            context.emitter.emit([sequencer.DMA], sequencer.STORE, store, [{"layer": context.layer}])
            places = context.notes.setdefault(
                "logits", {"classes": layer.shape.channels, "row_bytes": row_bytes, "words": []}
            )
            places["words"].append(
                {
                    "word": group * context.partitions[layer.name].gang + member,
                    "address": address,
                    "rows": fields["blocks"],
                }
            )
