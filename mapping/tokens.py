"""Schedule of the neurons between the mean over tokens and the classifier: existing instructions, no unit of their own.

For each time step the cores pass their part of the stream through the neuron unit once more, with no operand, into the reduction:
the sum over their tokens. The parts come to core 0 as bit planes, one position a step and core, which one SYNAPSE with unit weights
adds up into the residual bank. There they are membrane inputs of one position, from which a last SYNAPSE without operand fires.
"""

from dataclasses import replace

import numpy as np

from archsim.contracts import neuron
from mapping.classify import ClassifierScheduler
from mapping.context import Context
from mapping.data import param_rows
from mapping.integer_nodes import IntTokenNeuron
from mapping.partition import words
from mapping.place import collected, require
from mapping.quantise import IntSynapse
from mapping.tile import Piece, unit_layer
from mapping.unit_sums import EMPTY, NOTHING, UnitSums


class TokenScheduler:
    """Emits what makes spikes of the sums over tokens, step by step."""

    def __init__(self, context: Context, classifier: ClassifierScheduler) -> None:
        self.context, self.chip, self.classifier = context, context.chip, classifier

    def fire(self, layer: IntTokenNeuron) -> None:
        """Sums over tokens of each step, and the neurons on them in core 0."""
        context, chip, steps = self.context, self.chip, self.context.network.timesteps
        source = next(x for x in context.synapses() if x.name == layer.source)
        count = words(chip, source)
        zeros = np.zeros(layer.shape.channels, np.int64)
        fires = replace(unit_layer(chip), bias=zeros, threshold=layer.threshold, shift=zeros)
        params = np.concatenate([param_rows(chip, fires, word) for word in range(count)])
        self.units = UnitSums(context, layer.name, (1 << chip.cores) - 1, params)
        require(count * steps * chip.blocks, chip.residual_rows, layer.name, "residual", chip)
        for step in range(steps):
            self._sums(layer, source, step)
        self._collect(layer, count)
        for word in range(count):
            self._fire(layer, word)

    def _sums(self, layer: IntTokenNeuron, source: IntSynapse, step: int) -> None:
        """The stream of one step, added up over each core's positions, as bit planes to core 0."""
        context, chip = self.context, self.chip
        partition, parts = context.partitions[source.name], context.regions[collected(layer)]
        longest = max(end - first for first, end in partition.ranges)
        position, unit = context.network.timesteps * chip.blocks, unit_layer(chip, reduce=True)
        for index, (first, end) in enumerate(partition.ranges):
            for word in range(words(chip, source)):
                group, member = divmod(word, partition.gang)
                fields = {
                    "residual_in": 1, "residual_in_base": group * longest * position + step * chip.blocks,
                    "residual_position": position, "reduce_base": group * chip.blocks,
                }  # fmt: skip
                core, place = index * partition.gang + member, step * len(partition.ranges) + index
                self.units.emit(core, unit, end - first, EMPTY, NOTHING | fields, {})
                self.classifier.planes_of(core, group, parts.slices, 0, 1, parts, place, word, collected(layer))

    def _collect(self, layer: IntTokenNeuron, count: int) -> None:
        """Add up the parts of every step: one position a step, into the residual bank of core 0."""
        steps, blocks = self.context.network.timesteps, self.chip.blocks
        parts = self.context.regions[collected(layer)]
        gangs, unit = parts.positions // steps, unit_layer(self.chip, parts.slices)
        for word in range(count):
            piece = Piece(replace(parts, base=parts.base + word, positions=gangs), 0, 0, steps, gangs)
            fields = {"residual_out": 1, "residual_out_base": word * steps * blocks, "residual_position": blocks}
            self.units.emit(0, unit, steps, piece, fields, {})

    def _fire(self, layer: IntTokenNeuron, word: int) -> None:
        """The neurons of one word; every step is a row of one lane, so that the classifier can add the steps up."""
        context, chip, steps = self.context, self.chip, self.context.network.timesteps
        bank = context.out_bank[0]
        context.out_bank[0] ^= 1
        require(steps, chip.spike_out_rows, layer.name, "spike_out", chip)
        fields = {
            "slices": chip.slices(steps), "steps": chip.lanes_used(steps), "neuron": neuron.LIF, "spike_out": 1,
            "residual_in": 1, "residual_in_base": word * steps * chip.blocks, "residual_step": chip.blocks,
            "param_base": (1 + word) * chip.blocks, "out_bank": bank, "out_position": steps, "out_slice": 1, "lanes": 1,
        }  # fmt: skip
        note = {
            "tensor": layer.spikes, "position": 0, "positions": 1, "word": word, "words": 1, "recording": layer.name,
            "input_position": 0,
        }  # fmt: skip
        self.units.emit(0, replace(unit_layer(chip), spikes=layer.spikes), 1, EMPTY, NOTHING | fields, note)
        target = context.regions[layer.spikes]
        self.classifier.copy(0, bank, steps, context.readers(layer.spikes), target, 0, word)
