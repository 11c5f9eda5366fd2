"""Schedule: a quantised network as a program for a chip."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.program import Program
from mapping import norm_schedule, notes, transpose
from mapping.attend import AttentionScheduler
from mapping.classify import ClassifierScheduler
from mapping.context import NOWHERE, Context, Limits, Placement
from mapping.experts import IntExperts, IntGate
from mapping.integer_nodes import IntAttention, IntSum, IntTokenNeuron
from mapping.layer_norm import IntLayerNorm
from mapping.loads import Loads
from mapping.maximum import MaximumScheduler
from mapping.partition import chunks, of_word, tiles, word_chunks, words
from mapping.place import require
from mapping.product import FirstProduct
from mapping.quantise import IntLayer, IntNetwork, IntPlanes, IntSynapse
from mapping.reduction import apart, normed, stream_sums
from mapping.route import ExpertsScheduler
from mapping.spill import Spill
from mapping.tile import SUMS_ONLY, Tile, is_pointwise, output_tile, source_fields, synapse_fields, whole_map
from mapping.token_norm import IntTokenSynapse
from mapping.token_schedule import TokenNormScheduler
from mapping.tokens import TokenScheduler
from mapping.turned import held, unmixed
from mapping.window_attention import IntWindowAttention
from mapping.windows import WindowScheduler


def schedule(
    network: IntNetwork,
    chip: ChipParams,
    limits: Limits | None = None,
    products: Mapping[str, FirstProduct] | None = None,
    placement: Placement = NOWHERE,
) -> Program:
    """Map a network onto a chip, cut as ``limits`` say (None: into the largest pieces).

    ``products``: cycles of K^T V on either engine, by attention layer, which choose between them (None: by events).
    ``placement``: core of each expert, by layer (without an entry: one core after the other).

    Raises ArchsimError naming the layer and the buffer when something does not fit.
    """
    if network.precision.weight_bits > chip.weight_bits or network.precision.membrane_bits > chip.membrane_bits:
        raise ArchsimError(
            f"chip '{chip.name}': the network was quantised to {network.precision.weight_bits}-bit weights and "
            f"{network.precision.membrane_bits}-bit membranes, the chip has {chip.weight_bits} and {chip.membrane_bits}"
        )
    context = _context(network, chip, limits or Limits(), placement)
    if context.streamed:
        from mapping.stream_schedule import StreamScheduler  # it is a Scheduler itself

        return StreamScheduler(context, products or {}).run()
    return Scheduler(context, products or {}).run()


def require_room(network: IntNetwork, chip: ChipParams) -> None:
    """Raise ArchsimError, naming the layer, if shapes alone tell that a network has no room; ``schedule`` finds the rest."""
    context = _context(network, chip, Limits(), NOWHERE)
    if context.streamed:
        from mapping.stream_schedule import StreamScheduler  # it is a Scheduler itself

        StreamScheduler(context, {}).require_room()


def _context(network: IntNetwork, chip: ChipParams, limits: Limits, placement: Placement) -> Context:
    """Maps in the input banks if all have room there, else in DRAM."""
    transpose.require_transposer(network, chip)
    norm_schedule.require_normaliser(network, chip)
    try:
        return Context(network, chip, limits, placement=placement)
    except ArchsimError as error:  # some map, or those that are alive at a time, have no room in the input banks
        if other := unmixed(network):
            raise ArchsimError(
                f"{error}; maps do not pass through DRAM, since layer '{other.name}' is a map with its axes exchanged, but of no "
                "layer over one axis of it alone"
            ) from error
        return Context(network, chip, limits, streamed=True, placement=placement)


class Scheduler:
    """Walks the layers in order and emits their instructions."""

    def __init__(self, context: Context, products: Mapping[str, FirstProduct]) -> None:
        self.context, self.chip, self.network = context, context.chip, context.network
        self.loads, self.classifier, self.spill = Loads(context), ClassifierScheduler(context), Spill(context)
        self.attention, self.experts = AttentionScheduler(context, products), ExpertsScheduler(self)
        self.tokens, self.windows, self.maxima = TokenNormScheduler(self), WindowScheduler(context), MaximumScheduler(self)
        self.norms = norm_schedule.NormScheduler(context, self.spill)

    def run(self) -> Program:
        """Emit every layer and assemble the program."""
        context, network = self.context, self.network
        self._start()
        self._layers()
        queues, dram = context.emitter.rows(), context.dram.content()
        digest = hashlib.sha256(b"".join(queues[engine].tobytes() for engine in sorted(queues)))
        digest.update(dram)
        about = {
            "network": network.name, "timesteps": network.timesteps, "limits": vars(context.limits),
            "layers": [notes.layer(network, layer) for layer in network.layers], "tensors": notes.tensors(context),
            "buffers": notes.buffers(context), "recordings": notes.recordings(context), "instructions": context.emitter.notes(),
            "precision": vars(network.precision), "bounds_bits": network.bounds, "sha256": digest.hexdigest(),
            "first_products": self.attention.notes, "streamed": context.streamed,
        }  # fmt: skip
        return Program(self.chip, queues, dram, context.notes | about | notes.membranes(network))

    def _start(self) -> None:
        """What is loaded before the first layer."""
        self.loads.resident_params()
        self.loads.image()

    def _layers(self) -> None:
        for number, layer in enumerate(self.network.layers):
            self.context.layer = number
            self._layer(layer)

    def _layer(self, layer: IntLayer) -> None:
        if isinstance(layer, IntExperts):
            self.experts.experts(layer)
        elif isinstance(layer, IntTokenSynapse):
            self.tokens.synapse(layer)
        elif isinstance(layer, IntSynapse):
            (self.maxima.synapse if layer.sums else self._synapse)(layer)
        elif isinstance(layer, IntAttention):
            self.attention.finish(layer)
        elif isinstance(layer, IntWindowAttention):
            self.windows.attend(layer)
        elif isinstance(layer, IntLayerNorm):
            self.norms.normalise(layer)
        elif isinstance(layer, IntPlanes):
            self.classifier.planes(layer, self._reduce)
        elif isinstance(layer, IntTokenNeuron):
            TokenScheduler(self.context, self.classifier, self.spill).fire(layer)
        elif isinstance(layer, IntSum) and layer.reduce and not apart(self.context, layer.name):
            self._count(layer, range(words(self.chip, layer)))

    def _reduce(self, layer: IntSynapse | IntSum, group: range) -> None:
        """Sums of some words over positions, which a layer did not make or a sum of spike maps waits for."""
        if isinstance(layer, IntSum):
            self._count(layer, group)
        else:
            stream_sums(self.context, self.spill, layer, group)

    def _count(self, layer: IntSum, group: range) -> None:
        self.classifier.count(layer, group)

    def _synapse(self, layer: IntSynapse) -> None:
        """All column groups of a layer; several input chunks go through the partial-sum bank, in blocks that fit it."""
        partition, count = self.context.partitions[layer.name], words(self.chip, layer)
        parts = chunks(self.chip, layer, self.context.chunk_rows)
        limit, groups = self.tile_limit(layer), -(-count // partition.gang)
        if layer.reduce and not apart(self.context, layer.name):
            require(groups * self.chip.blocks, self.chip.reduce_rows, layer.name, "reduce", self.chip)
        steps = 1 if layer.classifies else self.network.timesteps
        # A pooled position needs up to 2 x 3 positions before the pool.
        position = steps * self.chip.blocks * (6 if layer.pool else 1)
        room = partition.longest
        if len(parts) > 1:
            require(position * self._width(layer), self.chip.psum_rows, layer.name, "psum", self.chip)
            room = self.chip.psum_rows // position
        for group in range(groups):
            for pieces in self._passes(layer, limit, room):
                for index in range(len(parts)):
                    self.loads.weights(layer, group, index, index == len(parts) - 1)
                    for tile in pieces:
                        self._tile(layer, group, index, tile)

    def _width(self, layer: IntSynapse) -> int:
        """Positions that a tile of several rows is a multiple of."""
        if is_pointwise(layer):
            return held(self.network, layer.spikes)
        width = (layer.shape.width + 1) // 2 if layer.pool else layer.shape.width
        return max(width, held(self.network, layer.spikes))

    def tile_limit(self, layer: IntSynapse) -> int:
        """Greatest number of stored positions of a tile."""
        longest, steps = self.context.partitions[layer.name].longest, self.network.timesteps
        limit = min(longest, self.context.limits.positions or longest)
        if layer.pool:
            require(steps, self.chip.pool_steps, layer.name, "pool columns", self.chip)
            require(steps * self._width(layer), self.chip.pool_rows, layer.name, "pool lines", self.chip)
        if layer.spikes:
            slices = self.chip.slices(steps)
            require(slices * self._width(layer), self.chip.spike_out_rows, layer.name, "spike_out", self.chip)
            limit = min(limit, self.chip.spike_out_rows // slices)
        return limit

    def _passes(self, layer: IntSynapse, limit: int, room: int) -> list[list[Tile]]:
        """Tiles of at most ``limit`` positions, gang by gang in turn, in passes of at most ``room`` positions a gang."""
        width, passes, whole = self._width(layer), [], layer.pool or held(self.network, layer.spikes) > 1
        ranges = self.context.partitions[layer.name].ranges
        blocks = [list(tiles(first, end, width, room, whole)) for first, end in ranges]
        for number in range(max(map(len, blocks))):
            pieces = []
            for index, (first, _) in enumerate(ranges):
                offset = 0
                for start, stop in blocks[index][number : number + 1]:
                    for order, (a, b) in enumerate(tiles(start, stop, width, limit, whole)):
                        tile = replace(output_tile(layer, index, a, b, first), psum_first=offset)
                        offset += tile.height * tile.width
                        pieces.append((order, index, tile))
            passes.append([tile for _, _, tile in sorted(pieces, key=lambda piece: piece[:2])])
        return passes

    def _tile(self, layer: IntSynapse, group: int, index: int, tile: Tile) -> None:
        """One SYNAPSE of a chunk of the inputs on a gang, and the copies of its output."""
        context, chip = self.context, self.chip
        parts, narrow = word_chunks(chip, layer, group, context.chunk_rows), of_word(chip, layer, group)
        last, resident = index == len(parts) - 1, (layer.name, 0) in self.loads.param_base
        piece = whole_map(layer, context.regions[layer.source], self.network.maps[layer.source])
        piece = replace(piece, word=-group) if layer.diagonal else piece  # alone in its gang: its group is its word
        fields = synapse_fields(chip, self.network, narrow, tile, parts[index], piece)
        fields |= {
            "weight_bank": context.weight_bank, "psum_in": int(index > 0), "psum_out": int(not last),
            "param_bank": 0 if resident else context.param_bank,
        }  # fmt: skip
        fields |= {"reduce": 0} if apart(context, layer.name) else {}
        fields |= self.residual(layer, group, tile) | ({} if last else SUMS_ONLY)
        self.issue(layer, group, tile, fields, last)

    def issue(self, layer: IntSynapse, group: int, tile: Tile, fields: dict[str, int], last: bool) -> None:
        """A SYNAPSE with these fields on the gang of a tile; the copies of its output if it is the ``last`` of its sums."""
        self.emit(layer, group, tile, fields, last)
        if last:
            self.finish(layer, group, tile, fields)

    def emit(self, layer: IntSynapse, group: int, tile: Tile, fields: dict[str, int], last: bool, row: int = 0) -> None:
        """The SYNAPSE alone; ``row``: first row of its parameters among those of the layer."""
        context, chip, partition = self.context, self.chip, self.context.partitions[layer.name]
        cores = partition.cores(tile.gang, words(chip, layer), group)
        fields |= {
            "gang": sum(1 << core for core in cores), "out_bank": context.out_bank[cores[0]], "reduce_base": group * chip.blocks,
        } | self.experts.out_fields(layer, group, tile)  # fmt: skip
        notes = []
        for member, core in enumerate(cores):
            word = group * partition.gang + member
            columns, base = context.carried(layer, word), self.loads.param_base.get((layer.name, word), 0) + row
            note: dict[str, Any] = {
                "layer": context.layer, "tensor": layer.spikes if last else None, "position": tile.first, "word": word,
                "positions": tile.end - tile.first, "words": 1, "recording": layer.name, "core": core,
                "input_position": tile.input_position, "fields": {"columns": columns, "param_base": base},
            }  # fmt: skip
            notes.append(note | ({"computed": True} if isinstance(layer, IntGate) or normed(self.network, layer.name) else {}))
        context.emitter.emit([sequencer.CORE0 + core for core in cores], sequencer.SYNAPSE, fields, notes)

    def finish(self, layer: IntSynapse, group: int, tile: Tile, fields: dict[str, int]) -> None:
        """What follows the last SYNAPSE of a tile: the copies of its output, or the logits."""
        context, partition = self.context, self.context.partitions[layer.name]
        cores = partition.cores(tile.gang, words(self.chip, layer), group)
        if layer.spikes:
            for core in cores:
                context.out_bank[core] = fields["out_bank"] ^ 1
            self._deliver(layer, tile, cores, [group * partition.gang + member for member in range(len(cores))], fields)
        if layer.classifies:
            self.classifier.logits(layer, cores, group, fields)

    def residual(self, layer: IntSynapse, group: int, tile: Tile) -> dict[str, int]:
        """Fields of the residual addresses; a gate leaves its scores there, the classifier its logits."""
        if isinstance(layer, IntGate):
            return self.experts.score_fields(layer, group, tile)
        chip, partition = self.chip, self.context.partitions[layer.name]
        steps = self.network.timesteps if layer.stream else 1
        step, position = chip.blocks, steps * chip.blocks
        if layer.stream or layer.classifies:
            behind = self.context.stream_base(layer, layer.into or layer.stream)
            require(behind + self.context.share_rows(layer), chip.residual_rows, layer.name, "residual", chip)
        base = group * partition.longest * position + (tile.first - tile.range_first) * position
        return {
            "residual_in": int(bool(layer.stream) and not layer.opens), "residual_out": int(bool(layer.stream) or layer.classifies),
            "residual_in_base": base + self.context.stream_base(layer, layer.stream),
            "residual_out_base": base + self.context.stream_base(layer, layer.into or layer.stream),
            "residual_position": position, "residual_step": step,
        }  # fmt: skip

    def _deliver(
        self, layer: IntSynapse, tile: Tile, cores: list[int], written: list[int], fields: dict[str, int]
    ) -> None:
        """Copy a tile's words, one of each core, to the cores and to the attention unit that read the map."""
        sources = []
        for core, word in zip(cores, written, strict=True):
            source = source_fields(core, fields)
            self.context.copy_to_cores(layer.spikes or "", tile.first, tile.end, word, source)
            transpose.deliver(self.context, layer, tile.first, tile.end, word, source)
            sources.append((word, source))
        self.attention.receive(layer, tile, sources)
        self.windows.receive(layer, tile, sources)
