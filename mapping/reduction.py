"""Reductions: how many words of a layer's sums over positions are there at a time, and sums of a stream apart from its layer.

A reduction bank, and the room for the parts that cores send to core 0, may hold only some words. The layer then leaves its stream
alone, and its words are added up some at a time: a SYNAPSE without operand passes the stream through the neuron unit. So is a
stream that is normed in between.
"""

from mapping.context import Context
from mapping.integer_nodes import IntSum
from mapping.layer_norm import IntLayerNorm
from mapping.partition import tiles, words
from mapping.place import collected, require
from mapping.quantise import IntLayer, IntNetwork, IntPlanes, IntSynapse
from mapping.spill import Spill
from mapping.tile import unit_layer
from mapping.unit_sums import EMPTY, NOTHING, UnitSums


def reduced(context: Context, layer: IntPlanes) -> IntSynapse | IntSum:
    """The layer whose reduction the planes are of."""
    return next(x for x in context.network.layers if x.name == layer.source and isinstance(x, IntSynapse | IntSum))


def sums_at_once(context: Context, layer: IntPlanes) -> int:
    """Words of the reduction that have room at a time, in all cores and where their parts come together: all if possible.

    Raises ArchsimError when not even one has.
    """
    chip, source = context.chip, reduced(context, layer)
    count, gang, parts = words(chip, source), context.partitions[source.name].gang, context.regions.get(collected(layer))
    here = -(-count // gang) if parts is None else count  # core 0 holds the sums of all words
    if here * chip.blocks <= chip.reduce_rows and (parts is None or parts.words == count):
        return count
    require(chip.blocks, chip.reduce_rows, source.name, "reduce", chip)
    return min(chip.reduce_rows // chip.blocks, count if parts is None else parts.words)


def normed(network: IntNetwork, source: str) -> IntLayerNorm | None:
    """The layer norm of the stream that the layer ``source`` leaves, or None."""
    return next((layer for layer in network.layers if isinstance(layer, IntLayerNorm) and layer.source == source), None)


def apart(context: Context, source: str) -> bool:
    """Whether the sums of the layer ``source`` are made when its planes are: some words at a time, or of a normed stream."""
    if normed(context.network, source):
        return True
    for layer in context.network.layers:
        if isinstance(layer, IntPlanes) and layer.source == source:
            return sums_at_once(context, layer) < words(context.chip, reduced(context, layer))
    return False


class StreamSums:
    """Emits sums over a core's positions of the stream that a layer left, one word at a time.

    ``kept``: rows at the end of the residual bank that nothing is loaded over, if the stream lies in DRAM.
    """

    def __init__(self, context: Context, spill: Spill, units: UnitSums, source: IntSynapse, kept: int = 0) -> None:
        self.context, self.chip, self.spill, self.units, self.source = context, context.chip, spill, units, source
        self.position = context.network.timesteps * context.chip.blocks
        self.room = (context.chip.residual_rows - kept) // self.position
        if context.spilled(source):
            require(self.position + kept, self.chip.residual_rows, source.name, "residual", self.chip)

    def emit(self, index: int, word: int, row: int, step: int | None = None) -> None:
        """The sum of one word in gang ``index``, into rows ``row * blocks`` of the reduction; of all steps, or of one."""
        context, chip, steps = self.context, self.chip, self.context.network.timesteps
        partition, unit = context.partitions[self.source.name], unit_layer(chip, reduce=True)
        first, end = partition.ranges[index]
        group, member = divmod(word, partition.gang)
        core, longest = index * partition.gang + member, max(b - a for a, b in partition.ranges)
        spilled = context.spilled(self.source)
        base = 0 if spilled else group * longest * self.position
        several = {} if step is not None else {
            "slices": chip.slices(steps), "steps": chip.lanes_used(steps), "residual_step": chip.blocks,
        }  # fmt: skip
        for a, b in tiles(first, end, end - first, self.room, False) if spilled else [(first, end)]:
            if spilled:
                self.spill.range(self.source, core, a, b, word)
            fields = {
                "residual_in": 1, "residual_in_base": base + (step or 0) * chip.blocks, "residual_position": self.position,
                "reduce_base": row * chip.blocks, "reduce_first": int(a == first),
            }  # fmt: skip
            self.units.emit(core, unit, b - a, EMPTY, NOTHING | several | fields, self._note(a, word, step))

    def _note(self, position: int, word: int, step: int | None) -> dict[str, object]:
        """What a run can record of the normed stream: the only place where it passes."""
        norm = normed(self.context.network, self.source.name)
        return {"recording": norm.name, "input_position": position, "word": word} if norm and step is None else {}


def stream_sums(context: Context, spill: Spill, source: IntLayer, group: range) -> None:
    """The sums of some words of the stream that ``source`` left, in all cores, from row 0 of their reduction banks on."""
    assert isinstance(source, IntSynapse)
    partition = context.partitions[source.name]
    units = UnitSums(context, source.name, (1 << context.chip.cores) - 1)
    sums = StreamSums(context, spill, units, source)
    for index in range(len(partition.ranges)):
        for word in group:
            sums.emit(index, word, word - group.start)
