"""Layers of a streamed network on the cores: round by round, word by word, with stores one step behind the loads."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from archsim.contracts import dma, neuron, sequencer
from archsim.contracts.neuron import param_layout
from mapping.experts import IntGate
from mapping.partition import Chunk, chunk_maps, chunks, of_word, word_chunks, words
from mapping.place import require
from mapping.quantise import IntSynapse
from mapping.reduction import apart, normed
from mapping.relay import Relay
from mapping.schedule import Scheduler
from mapping.stream import Streams
from mapping.stream_tiles import Room, Round, rounds
from mapping.stream_tokens import TokenLayers
from mapping.streams import is_last
from mapping.tile import Piece, Tile, is_pointwise, stored_width, synapse_fields
from mapping.token_norm import IntTokenSynapse

Place = dict[str, int]

Loaded = tuple[str, int, int, int]
"""Layer, word, chunk and copy of weights."""


class StreamedLayers(Scheduler):
    """Emits layers on the cores whose maps lie in DRAM."""

    def _start(self) -> None:
        context, chip = self.context, self.chip
        self.streams = Streams(context)
        self.loaded: Loaded | None = None
        self.stores: list[tuple[str, Callable[[], None]]] = []
        self.opened = self.resident_stream = False
        first = context.synapses()[0]
        self.streams.image(first.planes)
        self.loads.resident_params()
        # Behind the parameters that stay, or those of a word; of tokens as many as there is room for before the end.
        by_token = any(isinstance(layer, IntTokenSynapse) for layer in context.synapses())
        turns = max(1, chip.param_rows // chip.blocks - 2) if by_token else 1
        self.zeros = self.loads.resident_rows or turns * chip.blocks
        self.token_layers = TokenLayers(self, self.zeros)
        require(self.zeros + chip.blocks, chip.param_rows, first.name, "param", chip)
        rows = np.zeros((chip.blocks, -(-param_layout(chip.neurons, chip.membrane_bits).width // 8)), np.uint8)
        for bank in (0, 1):
            context.load(dma.PARAM, (1 << chip.cores) - 1, bank, self.zeros, rows)
        self.relay = Relay(context, self.zeros + chip.blocks)

    def layers(self, *layers: IntSynapse) -> None:
        """All rounds of a layer, or of several alike that share their input; the output goes to DRAM."""
        for layer in layers:
            if layer.spikes:
                self.streams.add(layer.spikes)
        parts, sums = self._parts(layers[0])
        steps, room = rounds(self.context, layers[0], parts, sums, self.opened)
        for tiles in steps:
            for layer, group in product(layers, self._groups(layers[0], tiles, len(parts), room)):
                self.context.layer = self._number(layer)
                for word, banks in self._compute(layer, tiles, group, parts, room):
                    for core, tile in tiles if layer.spikes else ():
                        self._store(layer.spikes or "", core, tile, word, banks[core])
        for layer in layers:
            self._open(layer)

    def _number(self, layer: IntSynapse) -> int:
        """Number of a layer in the network; one of an expert has that of its mixture."""
        own = self.context.experts.get(layer.name)
        return next(number for number, x in enumerate(self.network.layers) if x.name == (own.mixture if own else layer.name))

    def _open(self, layer: IntSynapse) -> None:
        """Note where the stream lies that a layer joins or opens, if it does; scores and results of experts are none."""
        if layer.stream and not isinstance(layer, IntGate) and layer.name not in self.context.experts:
            self.opened, self.resident_stream = True, not self.context.spilled(layer)

    def _parts(self, layer: IntSynapse) -> tuple[list[Chunk], int]:
        """Chunks of the layer's inputs, and the rows that hold their sums: where no stream is, those of the residual bank."""
        parts = chunks(self.chip, layer, self.context.chunk_rows)
        return parts, self.chip.residual_rows if self._sums_in_residual(layer) else self.chip.psum_rows

    def _sums_in_residual(self, layer: IntSynapse) -> bool:
        """Partial sums of a layer pass through the residual bank, which is larger, while no stream lies there."""
        return not self.resident_stream and not layer.stream and not layer.shift.any()

    def _groups(self, layer: IntSynapse, tiles: Round, count: int, room: Room) -> list[range]:
        """Words whose sums wait together for the next of ``count`` chunks, so that a chunk of the input is loaded once for all.

        One at a time unless a pointwise layer's input comes in chunks.
        """
        total, at_once = words(self.chip, layer), 1
        whole = room.words == -(-self.network.maps[layer.source].channels // self.chip.columns)
        if count > 1 and not whole and is_pointwise(layer) and not layer.diagonal and not isinstance(layer, IntTokenSynapse):
            at_once = max(1, room.sum_rows // (room.sums * max(tile.height * tile.width for _, tile in tiles)))
        return [range(first, min(first + at_once, total)) for first in range(0, total, at_once)]

    def _compute(
        self, layer: IntSynapse, tiles: Round, group: range, parts: list[Chunk], room: Room
    ) -> Iterator[tuple[int, dict[int, int]]]:
        """Words of a round, chunk after chunk; each word with the output bank of each core as soon as it is there."""
        if layer.sums:
            for word in group:
                yield word, self._maximum(layer, tiles, word, parts)
            return
        total = -(-self.network.maps[layer.source].channels // self.chip.columns)
        order = list(range(len(parts)))
        if room.words < total:  # the input's words come one after another, each for all rows of the kernel
            order.sort(key=lambda number: parts[number].channel_first)
        for (index, number), word in product(enumerate(order), group):
            self._chunk(layer, tiles, (word, word - group.start), (index, number), parts, room)
            if index == len(parts) - 1:
                yield word, self._written(layer, tiles)

    def _chunk(
        self, layer: IntSynapse, tiles: Round, of: tuple[int, int], place: tuple[int, int], parts: list[Chunk], room: Room
    ) -> None:
        """Chunk ``place[1]``, in order ``place[0]``, of word ``of[0]`` of a round, number ``of[1]`` of those whose sums wait."""
        context, columns, (word, behind), (index, number) = self.context, self.chip.columns, of, place
        part, total = parts[number], -(-self.network.maps[layer.source].channels // columns)
        first = part.channel_first // columns
        span, maps = (0, total) if room.words == total else (first, first + -(-part.channels // columns)), None
        if layer.diagonal and (room.words, room.maps) != (total, len(self.network.addends(layer.source))):
            span, maps = (word, word + 1), chunk_maps(self.chip, layer, part)
        if not isinstance(layer, IntTokenSynapse):
            self.weights(layer, word, number, index == len(parts) - 1)
        pieces = self._pieces(layer, tiles, span, maps)
        spilled = index == len(parts) - 1 and context.spilled(layer)
        kept = (not layer.reduce or apart(context, layer.name)) and not is_last(self.network, layer)
        kept &= not self._reads_alone(layer)
        for core, tile in tiles if spilled and not layer.opens else ():
            self.spill.load(layer, core, tile, word)
        if isinstance(layer, IntTokenSynapse):
            self.token_layers.emit(layer, tiles, word, (index, len(parts)), (number, part), pieces)
        else:
            for core, tile in tiles:
                waiting = replace(tile, psum_first=behind * tile.height * tile.width)
                self.emit_tile(layer, core, waiting, word, (index, len(parts)), part, pieces[core])
        for core, tile in tiles if spilled and kept else ():
            self.stores.append((layer.into or layer.stream or "", partial(self.spill.store, layer, core, tile, word)))

    def _pieces(
        self, layer: IntSynapse, tiles: Round, span: tuple[int, int], maps: tuple[int, int] | None = None
    ) -> dict[int, Piece]:
        """What each core's tile reads of some words and maps (None: all); kept back stores follow the loads where they can."""
        self.flush_of(self.network.addends(layer.source))
        pieces = {core: self.streams.piece(layer, core, tile, span, maps) for core, tile in tiles}
        self.flush()
        return pieces

    def _written(self, layer: IntSynapse, tiles: Round) -> dict[int, int]:
        """The output bank that each core has written; it takes the other one next."""
        banks = {core: self.context.out_bank[core] for core, _ in tiles}
        for core in banks:
            self.context.out_bank[core] ^= int(layer.spikes is not None)
        return banks

    def weights(self, layer: IntSynapse, word: int, number: int, last: bool, copy: int = 0) -> None:
        """Load the weights of chunk ``number`` unless they are there."""
        if self.loaded != (layer.name, word, number, copy):
            self.loads.weights(layer, word, number, last, copy)
            self.loaded = layer.name, word, number, copy

    def _maximum(self, layer: IntSynapse, tiles: Round, word: int, parts: list[Chunk]) -> dict[int, int]:
        """One word of a round of a layer that stores maxima of its sums; returns the output bank of each core."""
        pieces = self._pieces(layer, tiles, (0, -(-layer.weight.shape[1] // self.chip.columns)))
        found = [(tile, pieces[core]) for core, tile in tiles]
        self.maxima.word(layer, word, found, parts, lambda index: self.weights(layer, word, index, index == len(parts) - 1))
        for core, tile in tiles if self.context.spilled(layer) else ():
            self.stores.append((layer.stream or "", partial(self.spill.store, layer, core, tile, word)))
        return self._written(layer, tiles)

    def _store(self, name: str, core: int, tile: Tile, word: int, bank: int) -> None:
        """Keep back the store of a tile's spikes."""
        self.stores.append((name, partial(self.streams.store, name, core, tile, word, bank)))

    def flush_of(self, names: Iterable[str]) -> None:
        """Emit them all if one is of these maps."""
        if any(name in names for name, _ in self.stores):
            self.flush()

    def flush(self) -> None:
        """Emit the stores that were kept back so that loads come before them."""
        for _, store in self.stores:
            store()
        self.stores.clear()

    def residual(self, layer: IntSynapse, group: int, tile: Tile) -> dict[str, int]:
        """Fields of the residual addresses; of a spilled stream the bank holds the tile alone."""
        if not self.context.spilled(layer):
            return super().residual(layer, group, tile)
        out = int(not self._reads_alone(layer))
        return {"residual_in": int(not layer.opens), "residual_out": out} | self.spill.fields(layer)

    def _reads_alone(self, layer: IntSynapse) -> bool:
        """Whether a layer leaves its stream as it is: the first one of an expert."""
        own = self.context.experts.get(layer.name)
        return own is not None and own.part == 0

    def emit_tile(
        self, layer: IntSynapse, core: int, tile: Tile, word: int, place: tuple[int, int], part: Chunk, piece: Piece,
        offset: int = 0, params: int = 0,
    ) -> None:  # fmt: skip
        """One SYNAPSE of a chunk of the inputs, number ``place[0]`` of ``place[1]``.

        ``offset``: positions that lie before it in the banks; ``params``: its first parameter row among those of the layer.
        """
        context, (index, count) = self.context, place
        last = index == count - 1
        resident, narrow = (layer.name, 0) in self.loads.param_base, of_word(self.chip, layer, word)
        if layer.diagonal:  # that word of each map alone
            part = word_chunks(self.chip, layer, word, context.chunk_rows)[index]
            piece = replace(piece, word=piece.word - word)
        fields = synapse_fields(self.chip, self.network, narrow, tile, part, piece)
        fields |= {
            "gang": 1 << core, "weight_bank": context.weight_bank, "psum_in": int(index > 0), "psum_out": int(not last),
            "param_bank": 0 if resident else context.param_bank, "out_bank": context.out_bank[core],
            "reduce_base": word * self.chip.blocks,
        }  # fmt: skip
        fields |= {"reduce": 0} if apart(context, layer.name) else {}
        fields |= self.residual(layer, word, tile)
        summed = count > 1 and self._sums_in_residual(layer)
        fields |= self._sums(index, last) if summed else {}
        fields["out_base"] += offset * fields["out_position"]
        if summed or context.spilled(layer):  # the bank holds the sums that wait, or the tile alone
            for name in ("residual_in_base", "residual_out_base"):
                fields[name] += (tile.psum_first if summed else offset) * fields["residual_position"]
        if not last:
            fields |= {"spike_out": 0, "reduce": 0, "neuron": neuron.NONE, "pool": 0}
            fields |= {"residual_in": 0, "residual_out": 0} if fields["psum_out"] else {}
        columns = context.carried(layer, word)
        base = self.loads.param_base.get((layer.name, word), 0) + params if last or fields["psum_out"] else self.zeros
        note: dict[str, Any] = {
            "layer": context.layer, "tensor": layer.spikes if last else None, "position": tile.first, "word": word,
            "positions": tile.stored(stored_width(layer)), "words": 1, "columns": tile.columns, "pitch": stored_width(layer),
            "recording": layer.name, "input_position": tile.input_position, "input_columns": tile.columns and tile.width,
            "input_pitch": layer.shape.width, "core": core,
            "fields": {"columns": columns, "param_base": base},
        }  # fmt: skip
        own = context.experts.get(layer.name)
        if own:  # its slots hold what the run decides
            del note["recording"]
        computed = own or isinstance(layer, IntGate) or normed(self.network, layer.name)
        note |= {"computed": True} if computed else {}
        for one in own.instructions(fields) if own else [fields]:
            context.emitter.emit([sequencer.CORE0 + core], sequencer.SYNAPSE, one, [note])

    def _sums(self, index: int, last: bool) -> Place:
        """Fields by which partial sums pass through the residual bank: added as a residual, with zeros for parameters."""
        steps = self.network.timesteps
        return {
            "psum_in": 0, "psum_out": 0, "residual_in": int(index > 0), "residual_out": int(not last), "residual_in_base": 0,
            "residual_out_base": 0, "residual_position": steps * self.chip.blocks, "residual_step": self.chip.blocks,
        }  # fmt: skip
