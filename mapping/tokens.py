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
from mapping.reduction import StreamSums
from mapping.spill import Spill
from mapping.tile import Piece, unit_layer
from mapping.unit_sums import EMPTY, NOTHING, UnitSums


class TokenScheduler:
    """Emits what makes spikes of the sums over tokens, step by step."""

    def __init__(self, context: Context, classifier: ClassifierScheduler, spill: Spill) -> None:
        self.context, self.chip, self.classifier, self.spill = context, context.chip, classifier, spill

    def fire(self, layer: IntTokenNeuron) -> None:
        """Sums over tokens of each step, and the neurons on them in core 0, as many words and steps at a time as have room."""
        context, chip, steps = self.context, self.chip, self.context.network.timesteps
        source = next(x for x in context.synapses() if x.name == layer.source)
        count, parts = words(chip, source), context.regions[collected(layer)]
        gangs = len(context.partitions[source.name].ranges)
        at_once = min(count, chip.param_rows // chip.blocks - 1)  # words whose thresholds have room
        require(2 * chip.blocks, chip.param_rows, layer.name, "param", chip)
        self._load(layer, range(at_once))
        self.base = self._base(source, count, whole=parts.words == count and parts.positions == steps * gangs)
        sums = StreamSums(context, self.spill, self.units, source, chip.residual_rows - self.base)
        for first in range(0, count, parts.words):
            group = range(first, min(first + parts.words, count))
            for step in range(0, steps, parts.positions // gangs):
                part = range(step, min(step + parts.positions // gangs, steps))
                for number in part:
                    self._sums(layer, source, sums, number, group, part.start)
                self._collect(layer, group, part, gangs)
        for word in range(count):
            if word and word % at_once == 0:
                self._load(layer, range(word, min(word + at_once, count)))
            self._fire(layer, word, word % at_once)

    def _load(self, layer: IntTokenNeuron, group: range) -> None:
        """Load unit weights, and the thresholds of some words."""
        zeros = np.zeros(layer.shape.channels, np.int64)
        fires = replace(unit_layer(self.chip), bias=zeros, threshold=layer.threshold, shift=zeros)
        params = np.concatenate([param_rows(self.chip, fires, word) for word in group])
        self.units = UnitSums(self.context, layer.name, (1 << self.chip.cores) - 1, params)

    def _base(self, source: IntSynapse, count: int, whole: bool) -> int:
        """First row of core 0's residual bank for the sums of all parts: over what has been read of the stream, if it can be."""
        context, chip = self.context, self.chip
        rows, share = count * context.network.timesteps * chip.blocks, context.share_rows(source)
        if context.spilled(source):
            require(rows + context.network.timesteps * chip.blocks, chip.residual_rows, source.name, "residual", chip)
            return chip.residual_rows - rows
        # A row of step s of the sums lies on step s of the stream of the same word or an earlier one; not so in gangs.
        base = 0 if whole or context.partitions[source.name].gang == 1 else share
        require(base + rows, chip.residual_rows, source.name, "residual", chip)
        return base

    def _sums(
        self, layer: IntTokenNeuron, source: IntSynapse, sums: StreamSums, step: int, group: range, first: int
    ) -> None:
        """Some words of the stream of one step, added up over each core's positions, as bit planes to core 0.

        ``first``: step that core 0 holds first at this time.
        """
        context = self.context
        partition, parts = context.partitions[source.name], context.regions[collected(layer)]
        gangs = len(partition.ranges)
        for index in range(gangs):
            for word in group:
                row, member = word // partition.gang % (self.chip.reduce_rows // self.chip.blocks), word % partition.gang
                sums.emit(index, word, row, step)
                core, place = index * partition.gang + member, step * gangs + index
                held = first * gangs, group.start
                self.classifier.planes_of(core, row, parts.slices, 0, 1, parts, place, word, collected(layer), held)

    def _collect(self, layer: IntTokenNeuron, group: range, part: range, gangs: int) -> None:
        """Add up the parts of some steps and words: one position a step, into the residual bank of core 0."""
        steps, blocks = self.context.network.timesteps, self.chip.blocks
        parts = self.context.regions[collected(layer)]
        unit = unit_layer(self.chip, parts.slices)
        for word in group:
            piece = Piece(
                replace(parts, base=parts.base + word - group.start, positions=gangs), 0, 0, len(part), gangs
            )
            base = self.base + (word * steps + part.start) * blocks
            fields = {"residual_out": 1, "residual_out_base": base, "residual_position": blocks}
            self.units.emit(0, unit, len(part), piece, fields, {})

    def _fire(self, layer: IntTokenNeuron, word: int, loaded: int) -> None:
        """The neurons of one word, number ``loaded`` of those whose thresholds are there.

        Every step is a row of one lane, so that the classifier can add the steps up.
        """
        context, chip, steps = self.context, self.chip, self.context.network.timesteps
        bank = context.out_bank[0]
        context.out_bank[0] ^= 1
        require(steps, chip.spike_out_rows, layer.name, "spike_out", chip)
        fields = {
            "slices": chip.slices(steps), "steps": chip.lanes_used(steps), "neuron": neuron.LIF, "spike_out": 1,
            "residual_in": 1, "residual_in_base": self.base + word * steps * chip.blocks, "residual_step": chip.blocks,
            "param_base": (1 + loaded) * chip.blocks, "out_bank": bank, "out_position": steps, "out_slice": 1, "lanes": 1,
        }  # fmt: skip
        note = {
            "tensor": layer.spikes, "position": 0, "positions": 1, "word": word, "words": 1, "recording": layer.name,
            "input_position": 0,
        }  # fmt: skip
        self.units.emit(0, replace(unit_layer(chip), spikes=layer.spikes), 1, EMPTY, NOTHING | fields, note)
        target = context.regions[layer.spikes]
        self.classifier.copy(0, bank, steps, context.readers(layer.spikes), target, 0, word)
