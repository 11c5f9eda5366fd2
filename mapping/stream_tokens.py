"""Layers with a norm by token whose maps lie in DRAM: a SYNAPSE for each token of a tile, with parameter rows of its own.

All cores need the same copy of the weights at a time, and each the parameters of its own tokens, as many at a time as a bank holds.
The tile's input, sums, membranes and output lie in the banks as those of any other layer.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from mapping.partition import Chunk
from mapping.place import require
from mapping.stream_tiles import Round
from mapping.tile import Piece, output_tile
from mapping.token_norm import IntTokenSynapse

if TYPE_CHECKING:
    from mapping.stream_layers import StreamedLayers


class TokenLayers:
    """Emits such layers with the help of the scheduler that it belongs to.

    ``rows``: of a parameter bank, from row 0 on, that hold the parameters of tokens in turns.
    """

    def __init__(self, scheduler: "StreamedLayers", rows: int) -> None:
        self.scheduler, self.blocks, self.rows = scheduler, scheduler.chip.blocks, rows

    def emit(
        self, layer: IntTokenSynapse, tiles: Round, word: int, place: tuple[int, int], chunk: tuple[int, Chunk],
        pieces: dict[int, Piece],
    ) -> None:  # fmt: skip
        """One word of a round, of chunk number ``chunk[0]``: number ``place[0]`` of ``place[1]`` in the order of the sums."""
        scheduler, (number, part), last = self.scheduler, chunk, place[0] == place[1] - 1
        resident = (layer.name, 0) in scheduler.loads.param_base
        if not resident:
            require(self.blocks, self.rows, layer.name, "param", scheduler.chip)
        for copy in range(len(layer.copies)):
            tokens = {core: [x for x in range(tile.first, tile.end) if layer.kinds[x] == copy] for core, tile in tiles}
            longest = max(map(len, tokens.values()))
            room = longest if resident or not last else self.rows // self.blocks
            if longest:
                scheduler.weights(layer, word, number, last, copy)
            for first in range(0, longest, max(1, room)):
                some = {core: these[first : first + room] for core, these in tokens.items()}
                if last and not resident:
                    scheduler.loads.token_params(layer, word, some)
                for core, tile in tiles:
                    for row, token in enumerate(some[core]):
                        one = output_tile(layer, core, token, token + 1, tile.range_first)
                        params = (token if resident else row) * self.blocks * last
                        offset = token - tile.first
                        scheduler.emit_tile(
                            layer, core, replace(one, psum_first=offset), word, place, part, pieces[core], offset, params
                        )
