"""Schedule: a quantised network as a program for a chip."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import dma, sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.program import Program
from mapping.attend import AttentionScheduler
from mapping.data import DramImage, image_rows, param_rows, weight_rows
from mapping.emit import Emitter
from mapping.ir import IMAGE, Map
from mapping.partition import Partition, choose, chunks, tiles, words
from mapping.place import Region, collected, regions, require
from mapping.quantise import IntAttention, IntNetwork, IntPlanes, IntSynapse
from mapping.tile import Tile, is_pointwise, output_tile, synapse_fields, unit_layer


@dataclass(frozen=True)
class Limits:
    """How finely work is cut.

    Attributes:
        weight_rows: weight rows that are loaded at once at most; None: a whole bank. With less the first rows come sooner
            and a bank is free sooner, at the price of more instructions and partial sums.
        positions: positions of a tile at most; None: all of a gang's range. With less, multicast and attention overlap
            with the rest of the layer, at the price of more instructions (about 30 cycles each: fill, drain, decode).
    """

    weight_rows: int | None = None
    positions: int | None = None


def schedule(network: IntNetwork, chip: ChipParams, limits: Limits = Limits()) -> Program:
    """Map a network onto a chip, cut as ``limits`` say.

    Raises ArchsimError naming the layer and the buffer when something does not fit.
    """
    if network.precision.weight_bits > chip.weight_bits or network.precision.membrane_bits > chip.membrane_bits:
        raise ArchsimError(
            f"chip '{chip.name}': the network was quantised to {network.precision.weight_bits}-bit weights and "
            f"{network.precision.membrane_bits}-bit membranes, the chip has {chip.weight_bits} and {chip.membrane_bits}"
        )
    return Scheduler(network, chip, limits).run()


class Scheduler:
    """Walks the layers in order and emits their instructions."""

    def __init__(self, network: IntNetwork, chip: ChipParams, limits: Limits) -> None:
        self.network, self.chip, self.limits = network, chip, limits
        self.chunk_rows = min(chip.weight_rows, limits.weight_rows or chip.weight_rows)
        self.emitter, self.dram = Emitter(chip), DramImage(chip)
        self.partitions = self._partitions()
        self.regions = regions(chip, network, {name: len(x.ranges) for name, x in self.partitions.items()})
        self.attention = AttentionScheduler(chip, network, self.emitter)
        self.weight_bank = self.param_bank = 0
        self.out_bank = [0] * chip.cores
        self.param_base: dict[tuple[str, int], int] = {}
        self.layer = 0
        self.members: list[int] = []
        self.notes: dict[str, Any] = {"recordings": {}, "tensors": {}}

    def run(self) -> Program:
        """Emit every layer and assemble the program."""
        self._note_tensors()
        self._resident_params()
        self._load_image()
        for number, layer in enumerate(self.network.layers):
            self.layer = number
            if isinstance(layer, IntSynapse):
                self._synapse(layer)
            elif isinstance(layer, IntAttention):
                self.attention.finish(layer)
            else:
                self._planes(layer)
        queues = self.emitter.rows()
        self.notes |= {
            "network": self.network.name,
            "limits": vars(self.limits),
            "timesteps": self.network.timesteps,
            "layers": [self._layer_note(layer) for layer in self.network.layers],
            "instructions": self.emitter.notes(),
            "precision": vars(self.network.precision),
            "bounds_bits": self.network.bounds,
        }
        program = Program(self.chip, queues, self.dram.content(), self.notes)
        digest = hashlib.sha256(
            b"".join(queues[engine].tobytes() for engine in sorted(queues)) + program.dram.tobytes()
        )
        self.notes["sha256"] = digest.hexdigest()
        return program

    # ---- what lies where

    def _partitions(self) -> dict[str, Partition]:
        """A partition per layer; layers of one stream share theirs, so that each membrane stays in one core."""
        groups: dict[str, list[IntSynapse]] = {}
        for layer in self.network.layers:
            if isinstance(layer, IntSynapse):
                groups.setdefault(layer.stream or layer.name, []).append(layer)
        result: dict[str, Partition] = {}
        for layers in groups.values():
            shape = layers[0].shape
            if layers[0].pool:
                shape = Map((shape.height + 1) // 2, (shape.width + 1) // 2, shape.channels)
            partition = choose(self.chip, layers, shape, layers[0].pool)
            result |= {layer.name: partition for layer in layers}
        return result

    def _note_tensors(self) -> None:
        """Shapes of the maps and recordings, for captures and traces."""
        steps = self.network.timesteps
        for layer in self.network.layers:
            if isinstance(layer, IntPlanes):
                for name in (layer.spikes, collected(layer)):
                    if region := self.regions.get(name):
                        shape = {"positions": region.positions, "slices": region.slices, "words": region.words}
                        self.notes["tensors"][name] = shape | {"planes": 1}
            elif layer.spikes:
                whole = self.network.maps[layer.spikes]
                count = -(-whole.channels // self.chip.columns)
                shape = {"positions": whole.positions, "slices": self.chip.slices(steps), "words": count, "planes": 0}
                self.notes["tensors"][layer.spikes] = shape | {"channels": whole.channels, "steps": steps}
            if isinstance(layer, IntAttention):
                count = -(-self.network.maps[layer.q].channels // self.chip.columns)
                shape = {"positions": self.network.maps[layer.q].positions, "words": count, "steps": steps}
                self.notes["recordings"][layer.name] = shape
            if isinstance(layer, IntSynapse):
                self.notes["recordings"][layer.name] = {
                    "positions": layer.shape.positions, "words": words(self.chip, layer),
                    "steps": 1 if layer.planes and layer.source != IMAGE else steps,
                }  # fmt: skip

    def _layer_note(self, layer: IntSynapse | IntAttention | IntPlanes) -> dict[str, Any]:
        macs, operand = 0, "spikes"
        if isinstance(layer, IntSynapse):
            steps = 1 if layer.planes and layer.source != IMAGE else self.network.timesteps
            macs, operand = layer.shape.positions * layer.weight.size * steps, "planes" if layer.planes else "spikes"
            kind = "classifier" if layer.planes and layer.source != IMAGE else "synapse"
        elif isinstance(layer, IntAttention):
            shape, kind = self.network.maps[layer.q], "attention"
            macs = 2 * shape.positions * shape.channels * (shape.channels // layer.heads) * self.network.timesteps
        else:
            kind, operand = "planes", "planes"
        return {"name": layer.name, "kind": kind, "macs": macs, "operand": operand}

    # ---- loads

    def _load(
        self, memory: int, cores: int, bank: int, row: int, data: NDArray[np.uint8], address: int | None = None
    ) -> None:
        """Emit a LOAD of ``data`` (appended to DRAM unless it has an address there already)."""
        address = self.dram.add(data) if address is None else address
        fields = {
            "dram_address": address, "memory": memory, "cores": cores, "bank": bank, "row": row, "rows": len(data),
            "row_bytes": data.shape[1],
        }  # fmt: skip
        self.emitter.emit([sequencer.DMA], sequencer.LOAD, fields, [{"layer": self.layer}])

    def _resident_params(self) -> None:
        """Load the parameters of every layer at the start if one bank holds them; else each layer loads its own."""
        layers = [layer for layer in self.network.layers if isinstance(layer, IntSynapse)]
        rows = [param_rows(self.chip, layer, word) for layer in layers for word in range(words(self.chip, layer))]
        if sum(map(len, rows)) > self.chip.param_rows:
            return
        base = 0
        for layer in layers:
            for word in range(words(self.chip, layer)):
                self.param_base[layer.name, word] = base
                base += self.chip.blocks
        self._load(dma.PARAM, (1 << self.chip.cores) - 1, 0, 0, np.concatenate(rows))

    def _load_image(self) -> None:
        first = next(x for x in self.network.layers if isinstance(x, IntSynapse) and x.source == IMAGE)
        region, shape = self.regions[IMAGE], self.network.maps[IMAGE]
        data = image_rows(np.zeros((shape.positions, shape.channels), np.int64), first.planes)
        if region.words > 1:
            raise ArchsimError(f"layer '{first.name}': an image of {shape.channels} channels needs more than one word")
        address = self.dram.reserve(len(data), data.shape[1])
        self.notes["image"] = {
            "address": address,
            "planes": first.planes,
            "row_bytes": data.shape[1],
            "rows": len(data),
        }
        self._load(dma.SPIKE_IN, self.partitions[first.name].leaders, region.bank, region.base, data, address)

    def _weights(self, layer: IntSynapse, group: int, chunk_index: int, last: bool) -> None:
        """Load the weights of a chunk for every member that has a word in the column group; parameters if it is the last."""
        partition, count = self.partitions[layer.name], words(self.chip, layer)
        self.weight_bank ^= 1
        chunk = chunks(self.chip, layer, self.chunk_rows)[chunk_index]
        stream_params = last and (layer.name, 0) not in self.param_base
        self.param_bank ^= int(stream_params)
        for member in range(min(partition.gang, count - group * partition.gang)):
            word, mask = group * partition.gang + member, partition.member_mask(member)
            self._load(dma.WEIGHT, mask, self.weight_bank, 0, weight_rows(self.chip, layer, word, chunk))
            if stream_params:
                require(self.chip.blocks, self.chip.param_rows, layer.name, "param", self.chip)
                self._load(dma.PARAM, mask, self.param_bank, 0, param_rows(self.chip, layer, word))

    # ---- layers

    def _synapse(self, layer: IntSynapse) -> None:
        """All column groups of a layer; several input chunks go through the partial-sum bank, in blocks that fit it."""
        partition, count = self.partitions[layer.name], words(self.chip, layer)
        parts = chunks(self.chip, layer, self.chunk_rows)
        limit, groups = self._tile_limit(layer), -(-count // partition.gang)
        if layer.reduce:
            require(groups * self.chip.blocks, self.chip.reduce_rows, layer.name, "reduce", self.chip)
        steps = 1 if layer.planes and layer.source != IMAGE else self.network.timesteps
        longest = max(end - first for first, end in partition.ranges)
        # A pooled position needs up to 2 x 3 positions before the pool.
        room = self.chip.psum_rows // (steps * self.chip.blocks) // (6 if layer.pool else 1)
        if len(parts) > 1:
            require(steps * self.chip.blocks * self._width(layer), self.chip.psum_rows, layer.name, "psum", self.chip)
        passes = -(-longest // max(1, room)) if len(parts) > 1 else 1
        for group in range(groups):
            for number in range(passes):
                for index in range(len(parts)):
                    self._weights(layer, group, index, index == len(parts) - 1)
                    for tile in self._tiles(layer, limit, number, passes):
                        self._tile(layer, group, index, tile)

    def _width(self, layer: IntSynapse) -> int:
        """Positions that a tile of several rows is a multiple of."""
        if is_pointwise(layer):
            return 1
        return (layer.shape.width + 1) // 2 if layer.pool else layer.shape.width

    def _tile_limit(self, layer: IntSynapse) -> int:
        """Greatest number of stored positions of a tile."""
        partition = self.partitions[layer.name]
        longest = max(end - first for first, end in partition.ranges)
        slices = self.chip.slices(self.network.timesteps)
        limit = min(longest, self.limits.positions or longest)
        if layer.spikes:
            require(slices * self._width(layer), self.chip.spike_out_rows, layer.name, "spike_out", self.chip)
            limit = min(limit, self.chip.spike_out_rows // slices)
        return limit

    def _tiles(self, layer: IntSynapse, limit: int, number: int, passes: int) -> list[Tile]:
        """Tiles of pass ``number``, gang by gang in turn."""
        pieces, width = [], self._width(layer)
        for index, (first, end) in enumerate(self.partitions[layer.name].ranges):
            blocks = list(tiles(first, end, width, -(-(end - first) // passes), layer.pool))
            offset = 0
            for start, stop in blocks[number : number + 1]:
                for order, (a, b) in enumerate(tiles(start, stop, width, limit, layer.pool)):
                    tile = replace(output_tile(layer, index, a, b, first), psum_first=offset)
                    offset += tile.height * tile.width
                    pieces.append((order, index, tile))
        return [tile for _, _, tile in sorted(pieces, key=lambda piece: piece[:2])]

    def _tile(self, layer: IntSynapse, group: int, index: int, tile: Tile) -> None:
        """One SYNAPSE on a gang, and the copies of its output."""
        chip, partition = self.chip, self.partitions[layer.name]
        count, parts = words(chip, layer), chunks(chip, layer, self.chunk_rows)
        cores = partition.cores(tile.gang, count, group)
        last = index == len(parts) - 1
        bank = self.out_bank[cores[0]]
        resident = (layer.name, 0) in self.param_base
        fields = synapse_fields(chip, self.network, layer, tile, parts[index], self.regions[layer.source])
        fields |= {
            "gang": sum(1 << core for core in cores), "weight_bank": self.weight_bank, "psum_in": int(index > 0),
            "psum_out": int(not last), "param_bank": 0 if resident else self.param_bank, "out_bank": bank,
            "reduce_base": group * chip.blocks,
        }  # fmt: skip
        fields |= self._residual(layer, group, tile)
        if not last:
            fields |= {"spike_out": 0, "residual_in": 0, "residual_out": 0, "reduce": 0, "neuron": 0, "pool": 0}
        notes = []
        for member, core in enumerate(cores):
            word = group * partition.gang + member
            columns = min(chip.columns, layer.shape.channels - word * chip.columns)
            note: dict[str, Any] = {
                "layer": self.layer, "tensor": layer.spikes if last else None, "position": tile.first, "word": word,
                "positions": tile.end - tile.first, "words": 1, "recording": layer.name,
                "input_position": tile.input_position, "core": core,
                "fields": {"columns": columns, "param_base": self.param_base.get((layer.name, word), 0)},
            }  # fmt: skip
            notes.append(note)
        self.emitter.emit([sequencer.CORE0 + core for core in cores], sequencer.SYNAPSE, fields, notes)
        if last and layer.spikes:
            for core in cores:
                self.out_bank[core] = bank ^ 1
            self.members = cores
            self._deliver(layer, tile, [group * partition.gang + member for member in range(len(cores))])
        if last and not layer.spikes and not layer.reduce:
            self._logits(layer, cores, group, fields)

    def _residual(self, layer: IntSynapse, group: int, tile: Tile) -> dict[str, int]:
        """Fields of the residual addresses; the classifier leaves its logits there."""
        chip, partition = self.chip, self.partitions[layer.name]
        steps = self.network.timesteps if layer.stream else 1
        longest = max(end - first for first, end in partition.ranges)
        groups = -(-words(chip, layer) // partition.gang)
        step = chip.blocks
        position = steps * step
        classifier = not layer.stream and not layer.spikes
        if layer.stream or classifier:
            require(groups * longest * position, chip.residual_rows, layer.name, "residual", chip)
        base = group * longest * position + (tile.first - tile.range_first) * position
        return {
            "residual_in": int(bool(layer.stream) and not layer.opens), "residual_out": int(bool(layer.stream) or classifier),
            "residual_in_base": base, "residual_out_base": base, "residual_position": position, "residual_step": step,
        }  # fmt: skip

    def sources(self, tile: Tile, written: list[int]) -> list[tuple[int, dict[str, int]]]:
        """Where the words ``written`` of a tile lie after its SYNAPSE: word and source fields of a COPY, member by member."""
        slices = self.chip.slices(self.network.timesteps)
        return [
            (word, {
                "source": sequencer.CORE0 + core, "source_bank": self.out_bank[core] ^ 1, "source_base": 0,
                "source_outer": slices, "source_inner": 1,
            })
            for core, word in zip(self.members, written, strict=True)
        ]  # fmt: skip

    def copy_to_cores(self, name: str, first: int, end: int, word: int, source: dict[str, int]) -> None:
        """Emit the COPY of one word of the positions ``first .. end - 1`` of a map to every core that reads it, if any does."""
        slices, mask = self.chip.slices(self.network.timesteps), 0
        for reader in self.network.layers:
            if isinstance(reader, IntSynapse) and reader.source == name:
                mask |= self.partitions[reader.name].leaders
        if not mask:
            return
        region = self.regions[name]
        fields = {
            "outer": end - first, "inner": slices, "cores": mask, "bank": region.bank,
            "base": region.base + first * slices * region.words + word, "base_outer": slices * region.words,
            "base_inner": region.words,
        }  # fmt: skip
        self.emitter.emit([sequencer.MULTICAST], sequencer.COPY, source | fields, [{"layer": self.layer}])

    def _deliver(self, layer: IntSynapse, tile: Tile, written: list[int]) -> None:
        """Copy a tile's words to the cores, and to the attention unit, that read the map."""
        for word, source in self.sources(tile, written):
            self.copy_to_cores(layer.spikes or "", tile.first, tile.end, word, source)
        self.attention.receive(self, layer, tile, written)

    def _planes(self, layer: IntPlanes) -> None:
        """Bit planes of the reduction for the classifier; the parts of several gangs are added up in core 0 first."""
        source = next(x for x in self.network.layers if isinstance(x, IntSynapse) and x.name == layer.source)
        reader = next(x for x in self.network.layers if isinstance(x, IntSynapse) and x.source == layer.spikes)
        partition, count, target = self.partitions[source.name], words(self.chip, source), self.regions[layer.spikes]
        leaders = self.partitions[reader.name].leaders
        places = {word: (word % partition.gang, word // partition.gang) for word in range(count)}  # core, group
        if len(partition.ranges) > 1:
            parts = self.regions[collected(layer)]
            for index in range(len(partition.ranges)):
                for word, (member, group) in places.items():
                    core = index * partition.gang + member
                    self._planes_of(core, group, parts.slices, 0, 1, parts, index, word, collected(layer))
            self._collect(layer, parts)
            places = {word: (0, word) for word in range(count)}
        for word, (core, group) in places.items():
            self._planes_of(core, group, layer.planes, layer.right_shift, leaders, target, 0, word, layer.spikes)

    def _planes_of(
        self,
        core: int,
        group: int,
        planes: int,
        right_shift: int,
        cores: int,
        region: Region,
        position: int,
        word: int,
        tensor: str,
    ) -> None:
        """PLANES of one word of a reduction, copied to position ``position`` of a region in ``cores``."""  # fmt: skip
        require(planes, self.chip.spike_out_rows, self.network.layers[self.layer].name, "spike_out", self.chip)
        bank = self.out_bank[core]
        self.out_bank[core] ^= 1
        fields = {
            "reduce_base": group * self.chip.blocks, "blocks": self.chip.blocks, "planes": planes,
            "right_shift": right_shift, "out_bank": bank, "out_base": 0,
        }  # fmt: skip
        note = {"layer": self.layer, "tensor": tensor, "position": position, "positions": 1, "word": word, "words": 1}
        self.emitter.emit([sequencer.CORE0 + core], sequencer.PLANES, fields, [note])
        copy = {
            "source": sequencer.CORE0 + core, "source_bank": bank, "source_base": 0, "source_outer": 0,
            "source_inner": 1, "outer": 1, "inner": planes, "cores": cores, "bank": region.bank,
            "base": region.base + position * planes * region.words + word, "base_outer": 0, "base_inner": region.words,
        }  # fmt: skip
        self.emitter.emit([sequencer.MULTICAST], sequencer.COPY, copy, [{"layer": self.layer}])

    def _collect(self, layer: IntPlanes, parts: Region) -> None:
        """Add the parts of a reduction in core 0: one SYNAPSE with unit weights per word, into the reduction bank.

        None of its columns counts as carrying a channel: these additions are the mapping's, not the network's.
        """
        chip, unit = self.chip, unit_layer(self.chip, parts.slices)
        require(chip.columns, chip.weight_rows, layer.name, "weight", chip)
        require(parts.words * chip.blocks, chip.reduce_rows, layer.name, "reduce", chip)
        self.weight_bank ^= 1
        self._load(dma.WEIGHT, 1, self.weight_bank, 0, weight_rows(chip, unit, 0, chunks(chip, unit, chip.columns)[0]))
        self.param_bank ^= 1
        self._load(dma.PARAM, 1, self.param_bank, 0, param_rows(chip, unit, 0))
        tile = output_tile(unit, 0, 0, 1, 0)
        for word in range(parts.words):
            region = replace(parts, base=parts.base + word)
            fields = synapse_fields(chip, self.network, unit, tile, chunks(chip, unit, chip.columns)[0], region)
            fields |= {
                "words": 1, "gang": 1, "weight_bank": self.weight_bank, "psum_in": 0, "psum_out": 0, "param_base": 0,
                "param_bank": self.param_bank, "out_bank": 0, "reduce": 1, "reduce_first": 1, "columns": 0,
                "reduce_base": word * chip.blocks, "residual_in": 0, "residual_out": 0, "residual_in_base": 0,
                "residual_out_base": 0, "residual_position": 0, "residual_step": 0,
            }  # fmt: skip
            self.emitter.emit([sequencer.CORE0], sequencer.SYNAPSE, fields, [{"layer": self.layer}])

    def _logits(self, layer: IntSynapse, cores: list[int], group: int, fields: dict[str, int]) -> None:
        """Store the logits of a column group."""
        row_bytes = self.chip.neurons * self.chip.membrane_bits // 8 + (
            self.chip.neurons * self.chip.membrane_bits % 8 > 0
        )
        for member, core in enumerate(cores):
            address = self.dram.reserve(fields["blocks"], row_bytes)
            store = {
                "dram_address": address, "memory": dma.RESIDUAL, "cores": 1 << core, "bank": 0,
                "row": fields["residual_out_base"], "rows": fields["blocks"], "row_bytes": row_bytes,
            }  # fmt: skip
            self.emitter.emit([sequencer.DMA], sequencer.STORE, store, [{"layer": self.layer}])
            places = self.notes.setdefault(
                "logits", {"classes": layer.shape.channels, "row_bytes": row_bytes, "words": []}
            )
            places["words"].append(
                {
                    "word": group * self.partitions[layer.name].gang + member,
                    "address": address,
                    "rows": fields["blocks"],
                }
            )
