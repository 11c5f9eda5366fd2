"""Schedule of a streamed network: layer by layer, with the attention some words of all tokens at a time."""

from archsim.contracts import multicast, neuron, sequencer
from mapping.attend import EXPECTED_RATE
from mapping.experts import IntExperts
from mapping.integer_nodes import IntAttention, IntSum, IntTranspose
from mapping.partition import words
from mapping.place import require
from mapping.quantise import IntPlanes, IntSynapse
from mapping.reduction import apart, sums_at_once
from mapping.stream_axes import AxisLayers
from mapping.stream_experts import StreamedExperts
from mapping.stream_layers import StreamedLayers
from mapping.stream_sums import count_streamed
from mapping.stream_tiles import rounds
from mapping.stream_windows import StreamedWindows
from mapping.tile import Piece, Tile, runs
from mapping.turned import mixed
from mapping.window_attention import IntWindowAttention

UNIT_WEIGHTS = "relay", 0, 0, 0
"""What the weight banks hold while the relay passes spikes on."""


class StreamScheduler(StreamedLayers):
    """Emits a network whose maps lie in DRAM; the classifier is as in any other network."""

    def _start(self) -> None:
        super()._start()
        self.axes, self.experts, self.windowed = AxisLayers(self), StreamedExperts(self), StreamedWindows(self)

    def require_room(self) -> None:
        """Raise ArchsimError for the first layer of which not even one position, word or head has room."""
        self._start()
        for number, layer in enumerate(self.network.layers):
            self.context.layer = number
            if isinstance(layer, IntAttention):
                self._words_at_once(layer)
            elif isinstance(layer, IntWindowAttention):
                self.windowed.require_room(layer)
            elif isinstance(layer, IntPlanes):
                sums_at_once(self.context, layer)
            elif mix := mixed(self.network, layer):
                self.axes.places(mix)
            elif isinstance(layer, IntExperts):
                for part in (part for pair in layer.experts for part in pair):
                    rounds(self.context, part, *self._parts(part), True)
                self._open(layer)
            elif isinstance(layer, IntSynapse) and not layer.classifies:
                rounds(self.context, layer, *self._parts(layer), self.opened)
                self._open(layer)

    def _layers(self) -> None:
        network = self.network
        attends = [layer for layer in network.layers if isinstance(layer, IntAttention | IntWindowAttention)]
        fed = {name: layer.name for layer in attends for name in (layer.k, layer.v, layer.q)}
        waiting: dict[str, dict[str, IntSynapse]] = {layer.name: {} for layer in attends}
        for number, layer in enumerate(network.layers):
            self.context.layer = number
            if isinstance(layer, IntAttention | IntWindowAttention):
                operands = waiting[layer.name]
                if isinstance(layer, IntAttention):
                    self._attention(layer, number, operands)
                else:
                    self.layers(*(operands[name] for name in (layer.q, layer.k, layer.v)))
                    self.context.layer = number
                    self.windowed.attend(layer)
                for emitted in (*operands.values(), layer):
                    self.streams.emitted(emitted)
            elif isinstance(layer, IntSum):
                self.flush()
                if layer.reduce and not apart(self.context, layer.name):
                    self._count(layer, range(words(self.chip, layer)))
            elif mix := mixed(network, layer):
                self.axes.mix(mix)
                self.streams.emitted(layer)
            elif isinstance(layer, IntTranspose):
                pass  # on the way of the layer that reads or writes its map
            elif isinstance(layer, IntExperts):
                self.experts.experts(layer)
                self._open(layer)
                self.streams.emitted(layer)
            elif not isinstance(layer, IntSynapse) or layer.classifies:
                self.flush()
                self._layer(layer)
            elif layer.spikes in fed:
                waiting[fed[layer.spikes]][layer.spikes] = layer
            else:
                self.layers(layer)
                self.streams.emitted(layer)

    def _count(self, layer: IntSum, group: range) -> None:
        planes = next(x for x in self.network.layers if isinstance(x, IntPlanes) and x.source == layer.name)
        kept = self.context.regions[planes.spikes].bank if apart(self.context, layer.name) else None
        count_streamed(self.context, self.streams, layer, group, kept)

    def _attention(self, layer: IntAttention, number: int, sources: dict[str, IntSynapse]) -> None:
        """K, V and Q of some words of all tokens at a time; the output goes where the next layer reads it, or to DRAM."""
        at_once = self._words_at_once(layer)
        if self.relay.relayed(layer):
            self.streams.add(layer.spikes)
        if summed := self.relay.summed(layer):
            self.layers(*(sources[name] for name in (layer.k, layer.v, layer.q)))
        operand = self._passed if summed else self._operand
        count = self.attention.shape(layer)[0]
        for first in range(0, count, at_once):
            group = range(first, min(first + at_once, count))
            for name, bank in ((layer.k, multicast.K), (layer.v, multicast.V), (layer.q, self.attention.q_bank)):
                operand(sources[name], group, bank)
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
        found, room = rounds(self.context, layer, parts, sums, self.opened)
        for tiles in found:
            for number in group:
                ((word, banks),) = self._compute(layer, tiles, range(number, number + 1), parts, room)
                for core, tile in tiles:
                    self._give(layer, core, tile, word, banks[core], group, bank)

    def _passed(self, layer: IntSynapse, group: range, bank: int) -> None:
        """Words of Q, K or V that lie in DRAM, passed on to the attention unit."""
        self.flush()
        self.unit_weights()
        self.context.layer = self.network.layers.index(layer)
        for word in group:
            pieces = [
                self.streams.fetch(layer.spikes or "", core, (first, 0, end - first, 1), (word, word + 1))
                for core, (first, end) in enumerate(self.context.partitions[layer.name].ranges)
            ]
            for core, piece in enumerate(pieces):
                tile, out_bank = self.relay.emit(layer, core, piece, word)
                self._give(layer, core, tile, word, out_bank, group, bank)

    def _give(self, layer: IntSynapse, core: int, tile: Tile, word: int, out_bank: int, group: range, bank: int) -> None:
        """COPY one word of a tile to a bank of the attention unit, which holds the words of the group."""
        slices, row = self.chip.slices(self.network.timesteps), 0
        for first, end in runs(tile, layer.shape.width):
            copy = {
                "source": sequencer.CORE0 + core, "source_bank": out_bank, "source_base": row, "source_outer": slices,
                "source_inner": 1, "outer": end - first, "inner": slices, "cores": 0, "bank": bank,
                "base": first * slices * len(group) + word - group[0], "base_outer": slices * len(group),
                "base_inner": len(group),
            }  # fmt: skip
            self.context.emitter.emit([sequencer.MULTICAST], sequencer.COPY, copy, [{"layer": self.context.layer}])
            row += (end - first) * slices

    def unit_weights(self) -> None:
        """Load the relay's weights unless they are there."""
        if self.loaded != UNIT_WEIGHTS:
            self.relay.load()
            self.loaded = UNIT_WEIGHTS

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
            self.unit_weights()
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
                self.flush()  # the output bank that comes next may hold one that is kept back
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
