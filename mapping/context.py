"""Context: what the parts of the scheduler share while a network is mapped: queues, DRAM, places, banks in turn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from mapping.data import DramImage
from mapping.emit import Emitter
from mapping.expert_steps import ExpertPart, ExpertSteps
from mapping.experts import IntExperts, IntGate
from mapping.integer_nodes import IntSum
from mapping.ir import Map
from mapping.partition import Partition, choose, split, words
from mapping.place import Region, regions
from mapping.quantise import IntNetwork, IntSynapse
from mapping.slots import routes, slot_regions
from mapping.stream_slots import streamed_routes
from mapping.streams import is_made, paired, require_rows
from mapping.sums import home, places, readers
from mapping.token_norm import IntTokenSynapse
from mapping.turned import held

Placement = Mapping[str, Sequence[int]]
"""Core of each expert, by layer."""

NOWHERE: Placement = {}
"""No layer is placed: its experts take one core after the other."""


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


class Context:
    """State of a mapping.

    Attributes:
        network, chip, limits: what is mapped, onto what, how finely.
        streamed: the maps lie in DRAM (see ``mapping.stream``).
        emitter, dram: the queues and the DRAM image as far as they are emitted.
        partitions: per layer, which cores compute which positions.
        paired: streams that stay, and those that sums go into meanwhile.
        routes: per layer of experts, where tokens, scores and results lie; ``streamed_routes``: likewise of a streamed network.
        experts: of a streamed network, by layer of an expert, its time steps and whether it is the first layer or the second.
        regions: per map, where cores find it in their input banks.
        tokens: maps of the experts' tokens in DRAM, by slot.
        layer: number of the layer that is being emitted.
        weight_bank, param_bank: the bank loaded last.
        out_bank: per core, the output bank that the next instruction writes.
        notes: for ``Program.notes``.
    """

    def __init__(
        self,
        network: IntNetwork,
        chip: ChipParams,
        limits: Limits,
        streamed: bool = False,
        placement: Placement = NOWHERE,
    ) -> None:
        self.network, self.chip, self.limits, self.streamed = network, chip, limits, streamed
        require_rows(network)
        self.paired = paired(network)
        self.chunk_rows = min(chip.weight_rows, limits.weight_rows or chip.weight_rows)
        self.dram = DramImage(chip)
        self.emitter = Emitter(chip, self.dram)
        self.partitions = self._shares() if streamed else self._partitions()
        mixtures = [layer for layer in network.layers if isinstance(layer, IntExperts)]
        self.experts = {
            layer.name: ExpertPart(ExpertSteps(chip, network.timesteps, steps), part, mixture.name)
            for mixture in mixtures if streamed
            for pair, steps in zip(mixture.experts, mixture.steps, strict=True) for part, layer in enumerate(pair)
        }  # fmt: skip
        self._rows = {
            layer.spikes: self.experts[layer.name].steps.hidden_rows
            for mixture in mixtures if streamed for layer, _ in mixture.experts
        }  # fmt: skip
        self.tokens = {layer.source for mixture in mixtures if streamed for layer, _ in mixture.experts}
        self.routes = {
            layer.name: routes(chip, layer, self.partitions[layer.name], network.timesteps, placement.get(layer.name))
            for layer in mixtures if not streamed
        }  # fmt: skip
        self.streamed_routes = {
            layer.name: streamed_routes(
                chip, layer, self.partitions[layer.name], network.timesteps,
                None if self.spilled(layer) else self.share_rows(layer), placement.get(layer.name),
            )
            for layer in mixtures if streamed
        }  # fmt: skip
        gangs = {name: len(x.ranges) for name, x in self.partitions.items()}
        self.regions = regions(chip, network, gangs, streamed, slot_regions(chip, self.routes, network.timesteps))
        self.layer = self.weight_bank = self.param_bank = 0
        self.out_bank = [0] * chip.cores
        self.notes: dict[str, Any] = {}

    def _partitions(self) -> dict[str, Partition]:
        """A partition per layer; layers of one stream share theirs, so that each membrane stays in one core.

        A stream that is opened again is another one: its map may have another size.
        """
        groups: dict[str, list[IntSynapse]] = {}
        opened: dict[str, str] = {}
        result: dict[str, Partition] = {}
        for layer in self.network.layers:
            if isinstance(layer, IntSynapse):
                if layer.stream and layer.opens:
                    opened[layer.stream] = layer.name
                if layer.stream and layer.into:
                    opened[layer.into] = opened[layer.stream]
                groups.setdefault(opened[layer.stream] if layer.stream else layer.name, []).append(layer)
            elif isinstance(layer, IntSum) and layer.reduce:
                result[layer.name] = Partition(1, split(layer.shape, self.chip.cores, whole_rows=False))
        for layers in groups.values():
            shape = layers[0].shape
            if layers[0].pool:
                shape = Map((shape.height + 1) // 2, (shape.width + 1) // 2, shape.channels)
            partition = choose(self.chip, layers, shape, layers[0].pool or self._holds(layers) > 1)
            if self._holds(layers) == shape.positions > 1:  # by channel words alone
                partition = Partition(self.chip.cores, ((0, shape.positions),))
            # A token and all of its words have one home; words of a diagonal layer read different ones.
            if any(isinstance(layer, IntExperts) or layer.diagonal for layer in layers):
                partition = Partition(1, split(shape, self.chip.cores, layers[0].pool))
            result |= {layer.name: partition for layer in layers}
        return result

    def _holds(self, layers: list[IntSynapse]) -> int:
        """Positions that a range of these layers is a multiple of: whole axes that are turned, or all tokens of a norm."""
        if any(isinstance(layer, IntTokenSynapse) for layer in layers):
            return layers[0].shape.positions
        return max(held(self.network, layer.spikes) for layer in layers)

    def _shares(self) -> dict[str, Partition]:
        """A partition per layer of a streamed network: even parts of the positions, a core each; the classifier's as ever."""
        result = self._partitions()
        pairs = [pair for layer in self.network.layers if isinstance(layer, IntExperts) for pair in layer.experts]
        for layer in [*self.synapses(), *(layer for pair in pairs for layer in pair)]:
            if not layer.classifies:
                count = layer.shape.positions
                parts = min(self.chip.cores, count)
                edges = [count * part // parts for part in range(parts + 1)]
                result[layer.name] = Partition(1, tuple(zip(edges[:-1], edges[1:], strict=True)))
        return result

    def synapses(self) -> list[IntSynapse]:
        """The layers that run on the cores."""
        return [layer for layer in self.network.layers if isinstance(layer, IntSynapse)]

    def share_rows(self, layer: IntSynapse) -> int:
        """Rows of a core's residual bank that its share of the layer's stream takes, all words of it."""
        partition = self.partitions[layer.name]
        longest = max(end - first for first, end in partition.ranges)
        steps = self.network.timesteps if layer.stream else 1
        return -(-words(self.chip, layer) // partition.gang) * longest * steps * self.chip.blocks

    def stream_base(self, layer: IntSynapse, name: str | None) -> int:
        """First row of a stream in the residual banks: one that another goes ``into`` lies behind it."""
        return self.share_rows(layer) if is_made(self.network, name) else 0

    def spilled(self, layer: IntSynapse) -> bool:
        """Whether the layer's stream lies in DRAM (see ``mapping.spill``): it, or it and the one beside it, have no room.

        The results of experts lie there always, the scores of a gate never.
        """
        if isinstance(layer, IntGate) or layer.name in self.experts:
            return layer.name in self.experts and bool(layer.stream)
        rows = self.share_rows(layer) * (1 + (layer.stream in self.paired))
        return self.streamed and bool(layer.stream) and rows > self.chip.residual_rows

    def spill_base(self, layer: IntSynapse) -> int:
        """First row of a tile of such a stream in a residual bank: behind what lies there meanwhile."""
        if isinstance(layer, IntExperts):
            return self.streamed_routes[layer.name].tile_base
        if layer.name in self.experts:  # its results leave a stream in the bank alone
            return self.streamed_routes[self.experts[layer.name].mixture].score_base
        return 0

    def rows(self, name: str | None) -> int:
        """Rows of a word of a position of a spike map: a slice each, or a step between the layers of an expert of fewer steps."""
        return self._rows.get(name, self.chip.slices(self.network.timesteps))

    def carried(self, layer: IntSynapse, word: int) -> int:
        """Columns that carry a channel in a word that a layer computes."""
        if layer.spikes in self.network.padding:
            return int(self.network.carried(layer.spikes or "", self.chip.columns)[word].sum())
        return min(self.chip.columns, layer.shape.channels - word * self.chip.columns)

    def readers(self, name: str) -> int:
        """Mask of the cores that lead a gang of a layer that reads the region of map ``name``."""
        mask = 0
        for layer in readers(self.network, home(self.network, name)):
            mask |= self.partitions[layer].leaders
        return mask

    def load(
        self, memory: int, cores: int, bank: int, row: int, data: NDArray[np.uint8], address: int | None = None
    ) -> None:
        """Emit a LOAD of ``data`` (appended to DRAM unless it has an address there already)."""
        address = self.dram.add(data) if address is None else address
        fields = {
            "dram_address": address, "memory": memory, "cores": cores, "bank": bank, "row": row, "rows": len(data),
            "row_bytes": data.shape[1],
        }  # fmt: skip
        self.emitter.emit([sequencer.DMA], sequencer.LOAD, fields, [{"layer": self.layer}])

    def copy_to_cores(self, name: str, first: int, end: int, word: int, source: dict[str, int]) -> None:
        """Emit the COPY of one word of the positions ``first .. end - 1`` of a map to every core that reads it, if any does.

        A map that is read alone and in sums lies, and is copied to, each of these places.
        """
        for place, number in places(self.network, name):
            region = self.regions[place]
            region = replace(region, base=region.base + number * region.spacing)
            self.copy(region, self.readers(place), first, end, word, source)

    def copy(self, region: Region, mask: int, first: int, end: int, word: int, source: dict[str, int]) -> None:
        """Emit the COPY of one word of the positions ``first .. end - 1`` of the map in ``region`` to the cores of ``mask``."""
        slices = region.slices
        fields = {
            "outer": end - first, "inner": slices, "cores": mask, "bank": region.bank,
            "base": region.base + first * slices * region.words + word, "base_outer": slices * region.words,
            "base_inner": region.words,
        }  # fmt: skip
        self.emitter.emit([sequencer.MULTICAST], sequencer.COPY, source | fields, [{"layer": self.layer}])
