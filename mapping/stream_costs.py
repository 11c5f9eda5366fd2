"""Estimate: cycles of a streamed layer cut into equal tiles, by which tiles are chosen where more than the additions differ."""

from dataclasses import dataclass

from archsim.contracts import dma
from mapping.attend import EXPECTED_RATE
from mapping.context import Context
from mapping.data import sum_bytes
from mapping.partition import Chunk, words
from mapping.quantise import IntSynapse
from mapping.stream import read_by
from mapping.tile import Tile, is_pointwise, stored_width

PLANE_RATE = 0.5
"""Share of ones in the bit planes of an image, as of random bits."""


@dataclass(frozen=True)
class Cut:
    """How a layer is cut.

    Attributes:
        tile: one of its tiles; ``rounds``: how often each core has one.
        words: channel words of the input that are there at a time, of ``total``.
        slices: rows of a word of an input position.
    """

    tile: Tile
    rounds: int
    words: int
    total: int
    slices: int


def cycles(context: Context, layer: IntSynapse, parts: list[Chunk], cut: Cut) -> float:
    """Estimated cycles: in each round the cores' additions or what DMA moves for all of them, whichever takes longer."""
    chip, steps, count = context.chip, context.network.timesteps, words(context.chip, layer)
    size, times = cut.tile.height * cut.tile.width, 1
    if layer.sums:  # with the halo of the windows; weights come again for each piece of sums that the bank holds
        size = (2 * cut.tile.height + 1) * (2 * cut.tile.width + 1)
        times = -(-size * steps * chip.blocks // chip.psum_rows) if len(parts) > 1 else 1
    rows = int(layer.weight[0].size)
    events = rows * (layer.planes * PLANE_RATE if layer.planes else EXPECTED_RATE * steps)
    weights = times * count * sum(_transfer(context, _rows(layer, part), chip.columns * chip.weight_bits // 8) for part in parts)
    height, width = 1, size
    if not is_pointwise(layer):
        _, _, height, width = read_by(layer, context.network.maps[layer.source], cut.tile)
    window = height * cut.total * _transfer(context, width * cut.slices, 1)
    loaded = 1 if cut.words == cut.total else count
    stored = cut.tile.stored(stored_width(layer))
    lines = max(1, stored // (cut.tile.columns or stored))
    out = lines * _transfer(context, stored // lines * chip.slices(steps), 1) if layer.spikes else 0
    stream = 0
    if context.spilled(layer):
        moved = stored // lines * steps * chip.blocks
        stream = (2 - layer.opens) * lines * _transfer(context, moved, sum_bytes(chip))
    moving = (weights if count * len(parts) > 1 else 0) + chip.cores * (window * loaded + count * (out + stream))
    return cut.rounds * max(count * size * events, moving)


def _rows(layer: IntSynapse, part: Chunk) -> int:
    """Weight rows of a chunk."""
    width: int = layer.weight.shape[3]
    return part.kernel_rows * width * part.channels


def _transfer(context: Context, rows: int, row_bytes: int) -> int:
    """Cycles of a LOAD, or about those of a STORE."""
    chip = context.chip
    return rows * dma.row_beats(row_bytes, chip.dram_bus_bytes) + chip.dram_latency_cycles + dma.LOAD_OVERHEAD
