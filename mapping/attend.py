"""Schedule of the attention unit: K and V as they come, K^T V when both are there, Q piece by piece behind its layer."""

from collections.abc import Mapping

from archsim.contracts import multicast, neuron, sequencer
from archsim.contracts.common.errors import ArchsimError
from mapping.context import Context
from mapping.integer_nodes import IntAttention
from mapping.place import require
from mapping.product import FirstProduct, heads
from mapping.quantise import IntSynapse
from mapping.tile import Tile

EXPECTED_RATE = 0.1
"""Firing rate of q and k that the choice of a dataflow expects; Spikingformer publishes 2.2 to 17 % (its energy logs)."""

Sources = list[tuple[int, dict[str, int]]]
"""Words of a tile with the source fields of the COPY that brings them."""


class AttentionScheduler:
    """Emits the instructions of the attention unit while the layers of q, k and v are emitted.

    ``products`` chooses the engine of K^T V by layer; without an entry it is that of events. ``notes``: what was chosen.
    """

    def __init__(self, context: Context, products: Mapping[str, FirstProduct]) -> None:
        self.context, self.chip, self.network = context, context.chip, context.network
        self.products, self.notes = products, dict[str, dict[str, int | str]]()
        self.counted: set[str] = set()
        self.q_bank = self.out_bank = 0

    def receive(self, layer: IntSynapse, tile: Tile, sources: Sources) -> None:
        """Copy a tile of q, k or v to the attention unit; a tile of q is attended to at once."""
        for number, reader in enumerate(self.network.layers):
            if isinstance(reader, IntAttention) and layer.spikes in (reader.q, reader.k, reader.v):
                role = {reader.q: None, reader.k: multicast.K, reader.v: multicast.V}[layer.spikes or ""]
                self._copy(reader, tile, sources, role)
                if role is None:
                    self._attend(reader, number, tile, [word for word, _ in sources])

    def finish(self, layer: IntAttention) -> None:
        """Check that the attention was scheduled; raises ArchsimError when q does not come after k and v."""
        if layer.name not in self.counted:
            raise ArchsimError(f"layer '{layer.name}': the layers of k and v must come before that of q, in this order")

    def shape(self, layer: IntAttention) -> tuple[int, int, int, int]:
        """(words of the map, words of a head, channels of a head in a word, tokens); refuses heads that do not fit words."""
        return heads(self.network, self.chip, layer)

    def count_rows(self, layer: IntAttention) -> int:
        """Rows of the count memory that K^T V of all heads needs."""
        words, head_words, _, _ = self.shape(layer)
        return self.network.timesteps * words * head_words * self.chip.columns

    def opcode(self, layer: IntAttention) -> int:
        """The dataflow: a gate; Q (K^T V), or (Q K^T) V by AND-popcount when that is less work or the counts do not fit."""
        if layer.gates:
            return sequencer.ATTEND_GATE
        _, _, _, tokens = self.shape(layer)
        events = max(1.0, EXPECTED_RATE * min(self.chip.columns, self.network.maps[layer.q].channels))
        fits = self.count_rows(layer) <= self.chip.count_rows and tokens < 1 << self.chip.count_bits
        return sequencer.ATTEND_Q if fits and 2 * events <= tokens else sequencer.ATTEND_SCORES

    def _copy(self, layer: IntAttention, tile: Tile, sources: Sources, role: int | None) -> None:
        """Copies of a tile's words; ``role``: K or V (the whole map is kept), None for Q (only this tile)."""
        count, _, _, tokens = self.shape(layer)
        slices = self.chip.slices(self.network.timesteps)
        require(tokens * slices * count, self.chip.attention_rows, layer.name, "attention", self.chip)
        first = 0 if role is None else tile.first
        for word, source in sources:
            target = {
                "cores": 0, "bank": self.q_bank if role is None else role, "base": first * slices * count + word,
                "base_outer": slices * count, "base_inner": count, "outer": tile.end - tile.first, "inner": slices,
            }  # fmt: skip
            self.context.emitter.emit(
                [sequencer.MULTICAST], sequencer.COPY, source | target, [{"layer": self.context.layer}]
            )

    def _fields(self, layer: IntAttention) -> dict[str, int]:
        count, head_words, segment, tokens = self.shape(layer)
        token_rows = self.chip.slices(self.network.timesteps) * count
        return {
            "k_base": 0, "v_base": 0, "q_base": 0, "tokens": tokens, "steps": self.network.timesteps,
            "lanes": self.chip.lanes_used(self.network.timesteps), "map_words": count, "token_rows": token_rows,
            "head_words": head_words, "segment": segment, "count_base": 0, "count_step": count * head_words,
            "neuron": neuron.LIF, "threshold": layer.threshold, "shift": layer.shift,
            "out_base": 0, "out_words": count, "out_token_rows": token_rows,
            "blocks": -(-min(self.chip.columns, self.network.maps[layer.q].channels) // self.chip.neurons),
        }  # fmt: skip

    def _attend(self, layer: IntAttention, number: int, tile: Tile, words: list[int]) -> None:
        """Attend to a piece of Q and copy the spikes to the cores."""
        count, head_words, _, _ = self.shape(layer)
        if words[0] % head_words or len(words) % head_words:
            raise ArchsimError(
                f"layer '{layer.name}': heads span {head_words} words, but its q comes {len(words)} words at a time; "
                "use a chip with more columns or cores"
            )
        opcode, fields = self.opcode(layer), self._fields(layer)
        if layer.name not in self.counted:
            self.counted.add(layer.name)
            if opcode == sequencer.ATTEND_Q:
                product = self.products.get(layer.name)
                self.notes[layer.name] = product.note() if product else {"engine": "events"}
                whole = fields | {"first_word": 0, "words": count, "tile": 1, "q_bank": self.q_bank, "out_bank": 0}
                whole["popcount"] = int(product is not None and product.popcount)
                self.context.emitter.emit([sequencer.ATTENTION], sequencer.ATTEND_KV, whole, [{"layer": number}])
        piece = {
            "q_bank": self.q_bank, "tile": tile.end - tile.first, "first_word": words[0], "words": len(words),
            "out_bank": self.out_bank, "count_base": words[0] * head_words,
        }  # fmt: skip
        note = {
            "layer": number, "tensor": layer.spikes, "position": tile.first, "positions": tile.end - tile.first,
            "word": words[0], "words": len(words), "recording": layer.name, "input_position": 0 if layer.gates else tile.first,
        }  # fmt: skip
        self.context.emitter.emit([sequencer.ATTENTION], opcode, fields | piece, [note])
        slices = self.chip.slices(self.network.timesteps)
        for word in words:
            source = {
                "source": sequencer.ATTENTION, "source_bank": self.out_bank, "source_base": word,
                "source_outer": slices * count, "source_inner": count,
            }  # fmt: skip
            self.context.copy_to_cores(layer.spikes, tile.first, tile.end, word, source)
        self.q_bank ^= 1
        self.out_bank ^= 1
