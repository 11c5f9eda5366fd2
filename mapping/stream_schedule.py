"""Schedule of a streamed network: layer by layer, round by round, word by word, with stores one step behind the loads."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from archsim.contracts import dma, multicast, neuron, sequencer
from archsim.contracts.neuron import param_layout
from mapping.attend import EXPECTED_RATE
from mapping.partition import Chunk, chunks, words
from mapping.place import require
from mapping.quantise import IntAttention, IntSynapse
from mapping.relay import Relay
from mapping.schedule import Scheduler
from mapping.spill import Spill
from mapping.stream import Streams
from mapping.stream_tiles import Room, Round, rounds
from mapping.tile import Piece, Tile, stored_width, synapse_fields

Place = dict[str, int]


class StreamScheduler(Scheduler):
    """Emits a network whose maps lie in DRAM; the classifier is as in any other network."""

    def _start(self) -> None:
        context, chip = self.context, self.chip
        self.streams, self.spill = Streams(context), Spill(context)
        self.loaded: tuple[str, int, int] | None = None
        self.stores: list[tuple[str, Callable[[], None]]] = []
        self.stream_open = False
        first = context.synapses()[0]
        self.streams.image(first.planes)
        self.loads.resident_params()
        self.zeros = (
            sum(words(chip, layer) for layer in context.synapses() if self.loads.param_base) * chip.blocks
            or chip.blocks
        )
        require(self.zeros + chip.blocks, chip.param_rows, first.name, "param", chip)
        rows = np.zeros((chip.blocks, -(-param_layout(chip.neurons, chip.membrane_bits).width // 8)), np.uint8)
        for bank in (0, 1):
            context.load(dma.PARAM, (1 << chip.cores) - 1, bank, self.zeros, rows)
        self.relay = Relay(context, self.zeros + chip.blocks)

    def _layers(self) -> None:
        network = self.network
        attends = [layer for layer in network.layers if isinstance(layer, IntAttention)]
        fed = {name: layer.name for layer in attends for name in (layer.k, layer.v, layer.q)}
        waiting: dict[str, dict[str, IntSynapse]] = {layer.name: {} for layer in attends}
        for number, layer in enumerate(network.layers):
            self.context.layer = number
            if isinstance(layer, IntAttention):
                self._attention(layer, number, waiting[layer.name])
            elif not isinstance(layer, IntSynapse) or layer.classifies:
                self._flush()
                self._layer(layer)
            elif layer.spikes in fed:
                waiting[fed[layer.spikes]][layer.spikes] = layer
            else:
                self._streamed(layer)

    # ------------------------------------------------------------------------------ layers on the cores

    def _streamed(self, layer: IntSynapse) -> None:
        """All rounds of a layer; its output goes to DRAM."""
        if layer.spikes:
            self.streams.add(layer.spikes)
        parts, sums = self._parts(layer)
        steps, room = rounds(self.context, layer, parts, sums)
        for tiles in steps:
            for word in range(words(self.chip, layer)):
                banks = self._compute(layer, tiles, word, parts, room)
                if layer.spikes:
                    for core, tile in tiles:
                        self._store(layer.spikes, core, tile, word, banks[core])
        self.stream_open |= bool(layer.stream)

    def _parts(self, layer: IntSynapse) -> tuple[list[Chunk], int]:
        """Chunks of the layer's inputs, and the rows that hold their sums: where no stream is, those of the residual bank."""
        parts = chunks(self.chip, layer, self.context.chunk_rows)
        return parts, self.chip.residual_rows if self._sums_in_residual(layer) else self.chip.psum_rows

    def _sums_in_residual(self, layer: IntSynapse) -> bool:
        """Partial sums of a layer before the stream opens pass through the residual bank, which is larger."""
        return not self.stream_open and not layer.stream and not layer.shift.any()

    def _compute(self, layer: IntSynapse, tiles: Round, word: int, parts: list[Chunk], room: Room) -> dict[int, int]:
        """One word of a round, chunk after chunk; returns the output bank of each core."""
        context, columns = self.context, self.chip.columns
        total = -(-layer.weight.shape[1] // columns)
        for index, part in enumerate(parts):
            first = part.channel_first // columns
            span = (0, total) if room.words == total else (first, first + -(-part.channels // columns))
            if self.loaded != (layer.name, word, index):
                self.loads.weights(layer, word, index, index == len(parts) - 1)
                self.loaded = layer.name, word, index
            if any(name == layer.source for name, _ in self.stores):
                self._flush()
            pieces = {core: self.streams.piece(layer, core, tile, span) for core, tile in tiles}
            self._flush()
            spilled = index == len(parts) - 1 and context.spilled(layer)
            for core, tile in tiles if spilled and not layer.opens else ():
                self.spill.load(layer, core, tile, word)
            for core, tile in tiles:
                self._emit(layer, core, tile, word, index, parts, pieces[core])
            for core, tile in tiles if spilled and not layer.reduce else ():
                self.stores.append((layer.stream or "", partial(self.spill.store, layer, core, tile, word)))
        banks = {core: context.out_bank[core] for core, _ in tiles}
        for core in banks:
            context.out_bank[core] ^= int(layer.spikes is not None)
        return banks

    def _store(self, name: str, core: int, tile: Tile, word: int, bank: int) -> None:
        """Keep back the store of a tile's spikes."""
        self.stores.append((name, partial(self.streams.store, name, core, tile, word, bank)))

    def _flush(self) -> None:
        """Emit the stores that were kept back so that loads come before them."""
        for _, store in self.stores:
            store()
        self.stores.clear()

    def residual(self, layer: IntSynapse, group: int, tile: Tile) -> dict[str, int]:
        """Fields of the residual addresses; of a spilled stream the bank holds the tile alone."""
        if not self.context.spilled(layer):
            return super().residual(layer, group, tile)
        return {"residual_in": int(not layer.opens), "residual_out": 1} | self.spill.fields()

    def _emit(
        self, layer: IntSynapse, core: int, tile: Tile, word: int, index: int, parts: Sequence[Chunk], piece: Piece
    ) -> None:
        """One SYNAPSE."""
        context, last = self.context, index == len(parts) - 1
        resident = (layer.name, 0) in self.loads.param_base
        fields = synapse_fields(self.chip, self.network, layer, tile, parts[index], piece)
        fields |= {
            "gang": 1 << core, "weight_bank": context.weight_bank, "psum_in": int(index > 0), "psum_out": int(not last),
            "param_bank": 0 if resident else context.param_bank, "out_bank": context.out_bank[core],
            "reduce_base": word * self.chip.blocks,
        }  # fmt: skip
        fields |= self.residual(layer, word, tile)
        if len(parts) > 1 and self._sums_in_residual(layer):
            fields |= self._sums(index, last)
        if not last:
            fields |= {"spike_out": 0, "reduce": 0, "neuron": neuron.NONE, "pool": 0}
            fields |= {"residual_in": 0, "residual_out": 0} if fields["psum_out"] else {}
        columns = min(self.chip.columns, layer.shape.channels - word * self.chip.columns)
        base = self.loads.param_base.get((layer.name, word), 0) if last or fields["psum_out"] else self.zeros
        note: dict[str, Any] = {
            "layer": context.layer, "tensor": layer.spikes if last else None, "position": tile.first, "word": word,
            "positions": tile.stored(stored_width(layer)), "words": 1, "columns": tile.columns, "pitch": stored_width(layer),
            "recording": layer.name,
            "input_position": tile.input_position, "input_columns": tile.columns and tile.width,
            "input_pitch": layer.shape.width, "core": core,
            "fields": {"columns": columns, "param_base": base},
        }  # fmt: skip
        context.emitter.emit([sequencer.CORE0 + core], sequencer.SYNAPSE, fields, [note])

    def _sums(self, index: int, last: bool) -> Place:
        """Fields by which partial sums pass through the residual bank: added as a residual, with zeros for parameters."""
        steps = self.network.timesteps
        return {
            "psum_in": 0, "psum_out": 0, "residual_in": int(index > 0), "residual_out": int(not last), "residual_in_base": 0,
            "residual_out_base": 0, "residual_position": steps * self.chip.blocks, "residual_step": self.chip.blocks,
        }  # fmt: skip

    # ------------------------------------------------------------------------------ attention

    def _attention(self, layer: IntAttention, number: int, sources: dict[str, IntSynapse]) -> None:
        """K, V and Q of some words of all tokens at a time; the output goes where the next layer reads it, or to DRAM."""
        at_once = self._words_at_once(layer)
        if self.relay.relayed(layer):
            self.streams.add(layer.spikes)
        count = self.attention.shape(layer)[0]
        for first in range(0, count, at_once):
            group = range(first, min(first + at_once, count))
            for name, bank in ((layer.k, multicast.K), (layer.v, multicast.V), (layer.q, self.attention.q_bank)):
                self._operand(sources[name], group, bank)
            self._attend(layer, number, sources[layer.q], group)
            self.attention.q_bank ^= 1

    def _opcode(self, layer: IntAttention) -> int:
        """The dataflow: a gate; Q (K^T V) where tokens outnumber the events of two words, else (Q K^T) V."""
        if layer.gates:
            return sequencer.ATTEND_GATE
        events = max(1.0, EXPECTED_RATE * min(self.chip.columns, self.network.maps[layer.q].channels))
        tokens = self.network.maps[layer.q].positions
        few = 2 * events <= tokens < 1 << self.chip.count_bits
        return sequencer.ATTEND_Q if few else sequencer.ATTEND_SCORES

    def _words_at_once(self, layer: IntAttention) -> int:
        """Words of K and V, whole heads of them, for which the attention unit has room; raises ArchsimError if it has none."""
        count, head_words, _, tokens = self.attention.shape(layer)
        slices, chip = self.chip.slices(self.network.timesteps), self.chip
        require(tokens * slices * head_words, chip.attention_rows, layer.name, "attention", chip)
        room = chip.attention_rows // (tokens * slices)
        if self._opcode(layer) == sequencer.ATTEND_Q:
            counts = self.network.timesteps * head_words * chip.columns
            require(counts * head_words, chip.count_rows, layer.name, "count", chip)
            room = min(room, chip.count_rows // counts)
        if self.relay.relayed(layer):
            rows = self.relay.word_rows(layer)
            require(rows * head_words, chip.spike_in_rows, layer.name, "spike_in", chip)
            room = min(room, chip.spike_in_rows // rows)
        return min(count, room // head_words * head_words)

    def _operand(self, layer: IntSynapse, group: range, bank: int) -> None:
        """Words of Q, K or V, computed and copied to the attention unit."""
        self.context.layer = self.network.layers.index(layer)
        parts, sums = self._parts(layer)
        found, room = rounds(self.context, layer, parts, sums)
        slices = self.chip.slices(self.network.timesteps)
        for tiles in found:
            for word in group:
                banks = self._compute(layer, tiles, word, parts, room)
                for core, tile in tiles:
                    copy = {
                        "source": sequencer.CORE0 + core, "source_bank": banks[core], "source_base": 0, "source_outer": slices,
                        "source_inner": 1, "outer": tile.end - tile.first, "inner": slices, "cores": 0, "bank": bank,
                        "base": tile.first * slices * len(group) + word - group[0], "base_outer": slices * len(group),
                        "base_inner": len(group),
                    }  # fmt: skip
                    self.context.emitter.emit(
                        [sequencer.MULTICAST], sequencer.COPY, copy, [{"layer": self.context.layer}]
                    )

    def _attend(self, layer: IntAttention, number: int, q: IntSynapse, group: range) -> None:
        """Attend to the tokens of each core, and copy the spikes to it."""
        context, count, steps = self.context, len(group), self.network.timesteps
        _, head_words, segment, tokens = self.attention.shape(layer)
        slices = self.chip.slices(steps)
        context.layer = number
        fields = {
            "k_base": 0, "v_base": 0, "q_bank": self.attention.q_bank, "tokens": tokens, "steps": steps,
            "lanes": self.chip.lanes_used(steps), "map_words": count, "token_rows": slices * count, "first_word": 0,
            "words": count, "head_words": head_words, "segment": segment, "count_base": 0, "count_step": count * head_words,
            "neuron": neuron.LIF, "threshold": layer.threshold, "shift": layer.shift, "out_base": 0, "out_words": count,
            "out_token_rows": slices * count,
            "blocks": -(-min(self.chip.columns, self.network.maps[layer.q].channels) // self.chip.neurons),
        }  # fmt: skip
        opcode = self._opcode(layer)
        if opcode == sequencer.ATTEND_Q:
            kv = fields | {"tile": 1, "out_bank": 0, "q_base": 0}
            context.emitter.emit([sequencer.ATTENTION], sequencer.ATTEND_KV, kv, [{"layer": number}])
        if self.relay.relayed(layer):
            self.relay.load()
            self.loaded = None
        for core, (first, end) in enumerate(context.partitions[q.name].ranges):
            piece = self._target(layer, core, (first, 0, end - first, 1), group, slices)
            out_bank = self.attention.out_bank
            tile = {"tile": end - first, "q_base": first * slices * count, "out_bank": out_bank}
            note = {
                "layer": number, "tensor": layer.spikes, "position": first, "positions": end - first, "word": group[0],
                "words": count, "recording": layer.name, "input_position": 0 if layer.gates else first,
            }  # fmt: skip
            context.emitter.emit([sequencer.ATTENTION], opcode, fields | tile, [note])
            for index, word in enumerate(group):
                copy = {
                    "source": sequencer.ATTENTION, "source_bank": out_bank, "source_base": index,
                    "source_outer": slices * count, "source_inner": count, "outer": end - first, "inner": slices,
                    "cores": 1 << core, "bank": piece.region.bank, "base": word - piece.word,
                    "base_outer": slices * piece.region.words, "base_inner": piece.region.words,
                }  # fmt: skip
                context.emitter.emit([sequencer.MULTICAST], sequencer.COPY, copy, [{"layer": number}])
            for word in group if self.relay.relayed(layer) else ():
                self._flush()  # the output bank that comes next may hold one that is kept back
                relayed, bank = self.relay.emit(layer, core, piece, word)
                self._store(layer.spikes, core, relayed, word, bank)
            self.attention.out_bank ^= 1

    def _target(
        self, layer: IntAttention, core: int, window: tuple[int, int, int, int], group: range, slices: int
    ) -> Piece:
        """Where a core gets its part of the attention's output: the bank in which its input does not lie."""
        other = self.streams.last[core] ^ 1
        if self.relay.relayed(layer):
            return self.streams.place(layer.spikes, core, other, window, (group.start, group.stop), slices)
        count = self.attention.shape(layer)[0]
        for bank in (0, 1):
            name, piece = self.streams.held.get((core, bank), ("", None))
            if piece and name == layer.spikes:
                return piece
        return self.streams.place(layer.spikes, core, other, window, (0, count), slices)
