"""Schedule of a layer norm: NORMALISE on the rows of the stream in each core, in place; what adds them up comes with the planes.

Where the stream lies in DRAM, all words of some tokens come into the residual bank, are normed there, and go back.
"""

from collections.abc import Iterator

from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from mapping.context import Context
from mapping.layer_norm import IntLayerNorm
from mapping.partition import tiles, words
from mapping.place import require
from mapping.quantise import IntNetwork, IntSynapse
from mapping.spill import Spill


def require_normaliser(network: IntNetwork, chip: ChipParams) -> None:
    """Raise ArchsimError, naming the layer, unless a chip can norm the stream that a network wants normed."""
    layer = next((layer for layer in network.layers if isinstance(layer, IntLayerNorm)), None)
    if layer is None:
        return
    if chip.normaliser_operand_bits != layer.operand_bits:
        raise ArchsimError(
            f"layer '{layer.source}': a layer norm, which needs a chip with a normaliser of normaliser_operand_bits "
            f"{layer.operand_bits}, given '{chip.name}' with {chip.normaliser_operand_bits}; use such a chip, as small_normaliser "
            f"is, or set 'normaliser_operand_bits: {layer.operand_bits}' in its file"
        )
    if layer.shape.channels % chip.neurons:
        raise ArchsimError(
            f"layer '{layer.source}': a layer norm over {layer.shape.channels} channels, of which chip '{chip.name}' holds "
            f"{chip.neurons} in a row; required whole rows; use a chip whose neurons_per_cycle divides the channels"
        )


class NormScheduler:
    """Emits the NORMALISE instructions of a layer norm."""

    def __init__(self, context: Context, spill: Spill) -> None:
        self.context, self.chip, self.spill = context, context.chip, spill

    def normalise(self, layer: IntLayerNorm) -> None:
        """All tokens of all cores."""
        context, steps = self.context, self.context.network.timesteps
        source = next(x for x in context.synapses() if x.name == layer.source)
        partition = context.partitions[source.name]
        for core, (first, end) in enumerate(partition.ranges):
            if not context.spilled(source):
                self._emit(layer, core, end - first, steps, partition.longest * steps * self.chip.blocks)
                continue
            for a, b, step, last in self._pieces(source, first, end):
                self._move(sequencer.LOAD, source, core, (a, b, step, last))
                self._emit(layer, core, b - a, last - step, (b - a) * (last - step) * self.chip.blocks)
                self._move(sequencer.STORE, source, core, (a, b, step, last))

    def _emit(self, layer: IntLayerNorm, core: int, tokens: int, steps: int, word_rows: int) -> None:
        """One NORMALISE of rows that lie from row 0 on: word by word, positions in each, steps in these."""
        blocks, columns, channels = self.chip.blocks, self.chip.columns, layer.shape.channels
        last = channels - (-(-channels // columns) - 1) * columns
        fields = {
            "core": core, "base": 0, "tokens": tokens, "token_rows": steps * blocks, "steps": steps, "step_rows": blocks,
            "words": -(-channels // columns), "word_rows": word_rows,
            "blocks": blocks if channels > columns else last // self.chip.neurons, "last_blocks": last // self.chip.neurons,
        }  # fmt: skip
        self.context.emitter.emit(
            [sequencer.NORMALISER], sequencer.NORMALISE, layer.fields | fields, [{"layer": self.context.layer}]
        )

    def _pieces(self, source: IntSynapse, first: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Positions (first, end) and time steps (first, end) of which all words fit the residual bank at a time."""
        steps, chip = self.context.network.timesteps, self.chip
        step = words(chip, source) * chip.blocks
        require(step, chip.residual_rows, source.name, "residual", chip)
        room = chip.residual_rows // (step * steps)
        if room:
            yield from ((a, b, 0, steps) for a, b in tiles(first, end, end - first, room, False))
            return
        for position in range(first, end):
            for a, b in tiles(0, steps, steps, chip.residual_rows // step, False):
                yield position, position + 1, a, b

    def _move(self, opcode: int, source: IntSynapse, core: int, piece: tuple[int, int, int, int]) -> None:
        """All words of a piece of the stream, from DRAM or back."""
        first, end, step, last = piece
        rows = (end - first) * (last - step) * self.chip.blocks
        for word in range(words(self.chip, source)):
            self.spill.piece(opcode, source, core, piece, word, word * rows)
