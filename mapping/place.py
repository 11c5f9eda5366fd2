"""Place: banks and rows of spike maps, membranes and partial sums; refuses by name what does not fit."""

from collections.abc import Mapping
from dataclasses import dataclass

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from mapping.ir import IMAGE
from mapping.quantise import IntAttention, IntNetwork, IntPlanes, IntSynapse

Slots = Mapping[str, tuple[int, int, int]]
"""Positions, slices and words of regions, by name, neighbours in different banks."""

NONE: Mapping[str, Slots] = {}


@dataclass(frozen=True)
class Region:
    """Where a spike map lies in every input bank that holds it: bank, first row; rows of a position: slices x words."""

    bank: int
    base: int
    positions: int
    slices: int
    words: int

    @property
    def rows(self) -> int:
        """Rows of the whole map."""
        return self.positions * self.slices * self.words


def collected(layer: IntPlanes) -> str:
    """Name of the region that holds the parts of a reduction, one position a gang."""
    return f"{layer.spikes} parts"


def regions(
    chip: ChipParams,
    network: IntNetwork,
    gangs: dict[str, int],
    streamed: bool = False,
    slots: Mapping[str, Slots] = NONE,
) -> dict[str, Region]:
    """Input regions of the maps that cores read whole: all of them, or the classifier's operand if the network is ``streamed``.

    ``gangs``: position ranges per layer. ``slots``: what the experts' cores need besides, while a layer is computed.

    A map never shares its bank with the map from which it is computed, so both can be in use at once.
    Raises ArchsimError naming the layer and the buffer when a map does not fit.
    """
    written, read = _lifetimes(network)
    placed: dict[str, Region] = {}
    if streamed:
        read = {layer.spikes: read[layer.spikes] for layer in network.layers if isinstance(layer, IntPlanes)}
    for name in sorted(read, key=lambda name: written[name]):
        shape = network.maps[name]
        planes = next((x.planes for x in network.layers if isinstance(x, IntSynapse) and x.source == name), 0)
        slices = planes or chip.slices(network.timesteps)
        words = -(-shape.channels // chip.columns)
        live = {other: placed[other] for other in placed if read[other] >= written[name]}
        source = _source_bank(network, name, placed)
        region = _first_fit(chip, shape.positions, slices, words, list(live.values()), source)
        if region is None:
            reader = next(x.name for x in network.layers if isinstance(x, IntSynapse) and x.source == name)
            raise ArchsimError(
                f"layer '{reader}': its input map '{name}' needs {shape.positions * slices * words} rows of one spike_in bank, but "
                f"a bank of chip '{chip.name}' has {chip.spike_in_rows}, shared with {sorted(live) or 'nothing'}; "
                "use a chip with larger spike_in banks or more lanes"
            )
        placed[name] = region
    for number, layer in enumerate(network.layers):
        alive = [placed[name] for name in read if name in placed and written[name] < number <= read[name]]
        avoid = None
        for name, (positions, slices, words) in slots.get(layer.name, {}).items():
            region = _first_fit(chip, positions, slices, words, alive, avoid)
            if region is None:
                raise ArchsimError(
                    f"layer '{layer.name}': '{name}' needs {positions * slices * words} rows of one spike_in bank, but a bank of "
                    f"chip '{chip.name}' has {chip.spike_in_rows}, shared with the maps alive then; use a chip with larger "
                    "spike_in banks or more cores, or a smaller capacity"
                )
            placed[name], avoid = region, region.bank
            alive.append(region)
    for layer in network.layers:
        if isinstance(layer, IntPlanes) and gangs[layer.source] > 1:
            # Nothing else is live when the parts arrive but the last map, in the other bank than the operand's; if the network is
            # streamed not even that.
            target = placed[layer.spikes]
            bank, base = (target.bank ^ 1, 0) if streamed else (target.bank, target.base + target.rows)
            region = Region(bank, base, gangs[layer.source], network.bounds[layer.source], target.words)
            require(region.base + region.rows, chip.spike_in_rows, layer.name, "spike_in", chip)
            placed[collected(layer)] = region
    return placed


def _lifetimes(network: IntNetwork) -> tuple[dict[str, int], dict[str, int]]:
    """Layer numbers in which each map is written and last read by a core."""
    written, read = {IMAGE: -1}, {}
    for number, layer in enumerate(network.layers):
        if isinstance(layer, IntSynapse):
            read[layer.source] = number
        if layer.spikes:
            written[layer.spikes] = number
    return written, read


def _source_bank(network: IntNetwork, name: str, placed: dict[str, Region]) -> int | None:
    """Bank that is being read while map ``name`` is written, or None."""
    for layer in network.layers:
        if isinstance(layer, IntSynapse) and layer.spikes == name:
            return placed[layer.source].bank
        if isinstance(layer, IntAttention) and layer.spikes == name:
            writer = next(x for x in network.layers if isinstance(x, IntSynapse) and x.spikes == layer.q)
            return placed[writer.source].bank
        if isinstance(layer, IntPlanes) and layer.spikes == name:
            writer = next(x for x in network.layers if isinstance(x, IntSynapse) and x.name == layer.source)
            return placed[writer.source].bank if writer.source in placed else None
    return None


def _first_fit(
    chip: ChipParams, positions: int, slices: int, words: int, live: list[Region], avoid: int | None
) -> Region | None:
    for bank in (bank for bank in (0, 1) if bank != avoid):
        base = 0
        for other in sorted((region for region in live if region.bank == bank), key=lambda region: region.base):
            if other.base - base >= positions * slices * words:
                break
            base = other.base + other.rows
        if base + positions * slices * words <= chip.spike_in_rows:
            return Region(bank, base, positions, slices, words)
    return None


def require(rows: int, available: int, layer: str, memory: str, chip: ChipParams) -> None:
    """Raise ArchsimError unless ``rows`` of a core's ``memory`` are there."""
    if rows > available:
        raise ArchsimError(
            f"layer '{layer}': needs {rows} rows of {memory}, but chip '{chip.name}' has {available}; "
            f"use a chip with a larger {memory} memory or more cores"
        )
