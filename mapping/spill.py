"""Spill: a residual stream of which a core's share does not fit its residual bank lies in DRAM.

A tile's rows of one word come into the bank before the SYNAPSE that adds to them, and go back behind it. The bank has one owner
at a time, so a core waits for both; the other cores compute meanwhile.
"""

from archsim.contracts import dma, sequencer
from mapping.context import Context
from mapping.data import sum_bytes
from mapping.ir import Map
from mapping.partition import words
from mapping.quantise import IntSynapse
from mapping.tile import Tile, runs


class Spill:
    """The streams in DRAM, word by word; a word's rows as in a bank: (position, time step, block)."""

    def __init__(self, context: Context) -> None:
        self.context, self.chip = context, context.chip
        self.rows = context.network.timesteps * context.chip.blocks
        self.places: dict[tuple[str, Map], int] = {}

    def fields(self, layer: IntSynapse) -> dict[str, int]:
        """Residual addresses of a tile that lies in the bank alone."""
        base = self.context.spill_base(layer)
        return {
            "residual_in_base": base, "residual_out_base": base, "residual_position": self.rows, "residual_step": self.chip.blocks,
        }  # fmt: skip

    def load(self, layer: IntSynapse, core: int, tile: Tile, word: int) -> None:
        """LOAD what a tile adds to."""
        self._transfer(sequencer.LOAD, layer, layer.stream, core, tile, word)

    def store(self, layer: IntSynapse, core: int, tile: Tile, word: int) -> None:
        """STORE what it has become, in the place of the stream that the sums go into."""
        self._transfer(sequencer.STORE, layer, layer.into or layer.stream, core, tile, word)

    def range(self, layer: IntSynapse, core: int, first: int, end: int, word: int, row: int = 0) -> None:
        """LOAD a word of positions ``first .. end - 1`` of a layer's stream, from ``row`` of a core's bank on."""
        self._rows(sequencer.LOAD, layer, layer.stream, core, first, end, word, row)

    def keep(self, layer: IntSynapse, core: int, first: int, end: int, word: int, row: int) -> None:
        """STORE a word of positions ``first .. end - 1`` of a layer's stream, from ``row`` of a core's bank on."""
        self._rows(sequencer.STORE, layer, layer.stream, core, first, end, word, row)

    def piece(
        self, opcode: int, layer: IntSynapse, core: int, piece: tuple[int, int, int, int], word: int, row: int
    ) -> None:
        """LOAD or STORE positions (first, end) of the stream that a layer left, or some steps (first, end) of one, at ``row``."""
        first, end, step, last = piece
        part = (step * self.chip.blocks, (last - step) * self.chip.blocks)
        self._rows(opcode, layer, layer.stream, core, first, end, word, row, part if end - first == 1 else None)

    def _transfer(self, opcode: int, layer: IntSynapse, stream: str | None, core: int, tile: Tile, word: int) -> None:
        row = self.context.spill_base(layer)
        for first, end in runs(tile, layer.shape.width):
            self._rows(opcode, layer, stream, core, first, end, word, row)
            row += (end - first) * self.rows

    def _rows(
        self, opcode: int, layer: IntSynapse, stream: str | None, core: int, first: int, end: int, word: int, row: int,
        part: tuple[int, int] | None = None,
    ) -> None:
        """Rows of whole positions, or a ``part`` (first row, rows) of those of one."""
        place, positions, size = (stream or "", layer.shape), layer.shape.positions, sum_bytes(self.chip)
        if place not in self.places:  # a stream that is opened again may have another shape
            self.places[place] = self.context.dram.reserve(words(self.chip, layer) * positions * self.rows, size)
        begin, count = part or (0, (end - first) * self.rows)
        offset = ((word * positions + first) * self.rows + begin) * self.context.dram.stride(size)
        fields = {
            "dram_address": self.places[place] + offset, "memory": dma.RESIDUAL, "cores": 1 << core, "bank": 0, "row": row,
            "rows": count, "row_bytes": size,
        }  # fmt: skip
        self.context.emitter.emit([sequencer.DMA], opcode, fields, [{"layer": self.context.layer}])
