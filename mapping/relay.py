"""Relay: the attention unit's output on its way to DRAM, where a core's share of it fits no input bank.

DMA does not reach the attention unit. A core gets its share of some words as ever, and a SYNAPSE with unit weights passes them
on to its output bank, from which STORE takes them. Q, K and V of a layer that reads a sum of spike maps, or of one within windows
(``mapping.stream_windows``), go the other way alike.
So do pieces of maps whose axes are exchanged, on their way to the transposer and from it (``mapping.stream_axes``).
"""

from collections.abc import Mapping

from archsim.contracts import dma, sequencer
from mapping.context import Context
from mapping.data import param_rows, weight_rows
from mapping.experts import IntExperts
from mapping.integer_nodes import IntAttention
from mapping.ir import Map
from mapping.partition import Chunk
from mapping.place import require
from mapping.quantise import IntLayer, IntSynapse
from mapping.tile import Piece, Tile, identity_layer, is_pointwise, output_tile, synapse_fields
from mapping.turned import mixed, turned
from mapping.window_attention import IntWindowAttention

USUAL: Mapping[str, int] = {}
"""No field of a relay's SYNAPSE is another than usual."""

UNIT = Map(1, 1, 0)
"""Shape of no map: the relay's weights and parameters are the same for all."""


class Relay:
    """Emits what passes spikes on.

    ``base``: row of the unit layer's parameters in both banks; ``bank``: that of its weights.
    """

    def __init__(self, context: Context, base: int) -> None:
        self.context, self.chip, self.base = context, context.chip, base
        self.weights: int | None = None
        self.bank = 0
        network = context.network
        users = [x.name for x in network.layers if self.relays(x) or mixed(network, x) or isinstance(x, IntExperts)]
        if users:
            require(base + self.chip.blocks, self.chip.param_rows, users[0], "param", self.chip)
            rows = param_rows(self.chip, identity_layer(self.chip, "relay", UNIT), 0)
            for bank in (0, 1):
                context.load(dma.PARAM, (1 << self.chip.cores) - 1, bank, base, rows)

    def relays(self, layer: IntLayer) -> bool:
        """Whether a layer is one of attention whose spikes pass."""
        return isinstance(layer, IntWindowAttention) or (isinstance(layer, IntAttention) and self.relayed(layer))

    def word_rows(self, layer: IntAttention) -> int:
        """Rows of a word of a core's share of the layer's output."""
        q = next(x for x in self.context.synapses() if x.spikes == layer.q)
        longest = max(end - first for first, end in self.context.partitions[q.name].ranges)
        return longest * self.chip.slices(self.context.network.timesteps)

    def relayed(self, layer: IntAttention) -> bool:
        """Whether the output passes through DRAM: no bank holds a core's share of it or of the input, or others read that too."""
        maps = self.context.network.maps
        read = [maps[x.source].channels for x in self.context.synapses() if x.spikes in (layer.q, layer.k, layer.v)]
        words = -(-max(*read, maps[layer.q].channels) // self.chip.columns)
        windows = any(x.source == layer.spikes and not is_pointwise(x) for x in self.context.synapses())
        windows = windows or bool(turned(self.context.network, layer.spikes))
        return self.summed(layer) or windows or words * self.word_rows(layer) > self.chip.spike_in_rows

    def summed(self, layer: IntAttention) -> bool:
        """Whether Q, K or V are computed from a sum of spike maps, so that they pass through DRAM too."""
        read = [x.source for x in self.context.synapses() if x.spikes in (layer.q, layer.k, layer.v)]
        return any(len(self.context.network.addends(name)) > 1 for name in read)

    def load(self) -> None:
        """LOAD the unit weights."""
        context = self.context
        context.weight_bank ^= 1
        self.bank = context.weight_bank
        rows = weight_rows(self.chip, identity_layer(self.chip, "relay", UNIT), 0, Chunk(0, 1, 0, self.chip.columns))
        self.weights = context.dram.add(rows) if self.weights is None else self.weights
        context.load(dma.WEIGHT, (1 << self.chip.cores) - 1, self.bank, 0, rows, self.weights)

    def emit(self, layer: IntAttention | IntSynapse, core: int, piece: Piece, word: int) -> tuple[Tile, int]:
        """Pass one word of a piece of the layer's output on, a column of positions; returns its tile and its output bank."""
        require(piece.height * piece.region.slices, self.chip.spike_out_rows, layer.name, "spike_out", self.chip)
        unit = identity_layer(self.chip, layer.spikes or "", self.context.network.maps[layer.spikes or ""])
        tile = output_tile(unit, core, piece.y, piece.y + piece.height, piece.y)
        return tile, self.pass_on(unit, core, tile, piece, word)

    def pass_on(
        self, unit: IntSynapse, core: int, tile: Tile, piece: Piece, word: int, places: Mapping[str, int] = USUAL
    ) -> int:
        """Pass one word of a tile of the map ``unit.spikes`` on; returns its output bank.

        ``places``: fields that say where it lies and goes, in place of the usual ones.

        None of the columns counts as carrying a channel: these additions are the mapping's, not the network's.
        """
        context, bank = self.context, self.context.out_bank[core]
        chunk = Chunk(0, 1, word * self.chip.columns, self.chip.columns)
        fields = synapse_fields(self.chip, context.network, unit, tile, chunk, piece)
        fields |= {
            "gang": 1 << core, "weight_bank": self.bank, "psum_in": 0, "psum_out": 0, "columns": 0,
            "param_bank": context.param_bank, "param_base": self.base, "out_bank": bank, "residual_in": 0, "residual_out": 0,
            **places,
        }  # fmt: skip
        note = {
            "layer": context.layer, "tensor": unit.spikes, "position": tile.first, "positions": tile.height * tile.width,
            "word": word, "words": 1, "columns": tile.columns, "pitch": unit.shape.width,
        }  # fmt: skip
        note |= {"computed": True} if unit.spikes in context.tokens else {}
        context.emitter.emit([sequencer.CORE0 + core], sequencer.SYNAPSE, fields, [note])
        context.out_bank[core] ^= 1
        return bank
