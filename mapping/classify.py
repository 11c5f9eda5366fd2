"""Schedule of the classifier: bit planes of the reduction, the sum of the gangs' parts, the logits."""

from dataclasses import replace

from archsim.contracts import dma, sequencer
from mapping.context import Context
from mapping.data import param_rows, sum_bytes, weight_rows
from mapping.partition import chunks, words
from mapping.place import Region, collected, require
from mapping.quantise import IntPlanes, IntSynapse
from mapping.tile import output_tile, synapse_fields, unit_layer, whole_map


class ClassifierScheduler:
    """Emits what stands between the last layer's reduction and the logits in DRAM."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def planes(self, layer: IntPlanes) -> None:
        """Bit planes of the reduction for the classifier; the parts of several gangs are added up in core 0 first."""
        context = self.context
        source = next(x for x in context.synapses() if x.name == layer.source)
        partition, count, target = (
            context.partitions[source.name],
            words(context.chip, source),
            context.regions[layer.spikes],
        )
        leaders = context.readers(layer.spikes)
        places = {word: (word % partition.gang, word // partition.gang) for word in range(count)}  # core, group
        if len(partition.ranges) > 1:
            parts = context.regions[collected(layer)]
            for index in range(len(partition.ranges)):
                for word, (member, group) in places.items():
                    core = index * partition.gang + member
                    self._planes_of(core, group, parts.slices, 0, 1, parts, index, word, collected(layer))
            self._collect(layer, parts)
            places = {word: (0, word) for word in range(count)}
        for word, (core, group) in places.items():
            self._planes_of(core, group, layer.planes, layer.right_shift, leaders, target, 0, word, layer.spikes)

    def _planes_of(
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
    ) -> None:
        """PLANES of one word of a reduction, copied to position ``position`` of a region in ``cores``."""
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
        copy = {
            "source": sequencer.CORE0 + core, "source_bank": bank, "source_base": 0, "source_outer": 0,
            "source_inner": 1, "outer": 1, "inner": planes, "cores": cores, "bank": region.bank,
            "base": region.base + position * planes * region.words + word, "base_outer": 0, "base_inner": region.words,
        }  # fmt: skip
        context.emitter.emit([sequencer.MULTICAST], sequencer.COPY, copy, [{"layer": context.layer}])

    def _collect(self, layer: IntPlanes, parts: Region) -> None:
        """Add the parts of a reduction in core 0: one SYNAPSE with unit weights per word, into the reduction bank.

        None of its columns counts as carrying a channel: these additions are the mapping's, not the network's.
        """
        context, chip = self.context, self.context.chip
        unit = unit_layer(chip, parts.slices)
        require(chip.columns, chip.weight_rows, layer.name, "weight", chip)
        require(parts.words * chip.blocks, chip.reduce_rows, layer.name, "reduce", chip)
        context.weight_bank ^= 1
        context.load(
            dma.WEIGHT, 1, context.weight_bank, 0, weight_rows(chip, unit, 0, chunks(chip, unit, chip.columns)[0])
        )
        context.param_bank ^= 1
        context.load(dma.PARAM, 1, context.param_bank, 0, param_rows(chip, unit, 0))
        tile = output_tile(unit, 0, 0, 1, 0)
        for word in range(parts.words):
            piece = whole_map(unit, replace(parts, base=parts.base + word), unit.shape)
            fields = synapse_fields(chip, context.network, unit, tile, chunks(chip, unit, chip.columns)[0], piece)
            fields |= {
                "words": 1, "gang": 1, "weight_bank": context.weight_bank, "psum_in": 0, "psum_out": 0, "param_base": 0,
                "param_bank": context.param_bank, "out_bank": 0, "reduce": 1, "reduce_first": 1, "columns": 0,
                "reduce_base": word * chip.blocks, "residual_in": 0, "residual_out": 0, "residual_in_base": 0,
                "residual_out_base": 0, "residual_position": 0, "residual_step": 0,
            }  # fmt: skip
            context.emitter.emit([sequencer.CORE0], sequencer.SYNAPSE, fields, [{"layer": context.layer}])

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
