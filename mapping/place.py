"""Place: banks and rows of spike maps, membranes and partial sums; refuses by name what does not fit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from mapping.integer_nodes import IntAttention, IntSum, IntTokenNeuron
from mapping.ir import IMAGE
from mapping.quantise import IntNetwork, IntPlanes, IntSynapse
from mapping.sums import home, places, readers
from mapping.turned import written_places
from mapping.window_attention import IntWindowAttention

Slots = Mapping[str, tuple[int, int, int]]
"""Positions, slices and words of regions, by name, neighbours in different banks."""

NONE: Mapping[str, Slots] = {}


@dataclass(frozen=True)
class Region:
    """Where a spike map lies in every input bank that holds it: bank, first row; rows of a position: slices x words.

    ``addends``: maps of this shape that lie there one behind the other.
    """

    bank: int
    base: int
    positions: int
    slices: int
    words: int
    addends: int = 1

    @property
    def spacing(self) -> int:
        """Rows of one map."""
        return self.positions * self.slices * self.words

    @property
    def rows(self) -> int:
        """Rows of all of them."""
        return self.spacing * self.addends


def one_of(region: Region, network: IntNetwork, name: str) -> Region:
    """Where one map of those in a region lies."""
    number = next(number for place, number in places(network, name) if place == home(network, name))
    return replace(region, base=region.base + number * region.spacing, addends=1)


def collected(layer: IntPlanes | IntTokenNeuron) -> str:
    """Name of the region that holds the parts of a reduction, one position a gang (and time step)."""
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
        read = {x.spikes: read[x.spikes] for x in network.layers if isinstance(x, IntPlanes | IntTokenNeuron)}
    for name in sorted(read, key=lambda name: written[name]):
        shape, addends = network.maps[name], len(network.addends(name))
        slices = _slices(chip, network, name)
        words = -(-shape.channels // chip.columns)
        live = {other: placed[other] for other in placed if read[other] >= written[name]}
        source = _source_bank(network, name, placed)
        region = _first_fit(chip, Region(0, 0, shape.positions, slices, words, addends), list(live.values()), source)
        if region is None:
            reader = readers(network, name)[0]
            raise ArchsimError(
                f"layer '{reader}': its input map '{name}' needs {shape.positions * slices * words * addends} rows of one spike_in "
                f"bank, but a bank of chip '{chip.name}' has {chip.spike_in_rows}, shared with {sorted(live) or 'nothing'}; "
                "use a chip with larger spike_in banks or more lanes"
            )
        placed[name] = region
    for layer in network.layers:
        if isinstance(layer, IntSum) and layer.name not in placed and home(network, layer.name) in placed:
            placed[layer.name] = replace(placed[home(network, layer.name)], addends=len(layer.sources))
        if isinstance(layer, IntSynapse) and layer.source not in placed and home(network, layer.source) in placed:
            placed[layer.source] = one_of(placed[home(network, layer.source)], network, layer.source)
    placed |= _slots(
        chip, network, slots, {name: (placed[name], written[name], read[name]) for name in read if name in placed}
    )
    return placed | _parts(chip, network, gangs, placed, streamed)


def _slots(
    chip: ChipParams, network: IntNetwork, slots: Mapping[str, Slots], maps: Mapping[str, tuple[Region, int, int]]
) -> dict[str, Region]:
    """Regions of what the experts' cores need, beside the maps (region, written, read) that are alive then."""
    placed = {}
    for number, layer in enumerate(network.layers):
        alive = [region for region, written, read in maps.values() if written < number <= read]
        avoid = None
        for name, (positions, slices, words) in slots.get(layer.name, {}).items():
            region = _first_fit(chip, Region(0, 0, positions, slices, words), alive, avoid)
            if region is None:
                raise ArchsimError(
                    f"layer '{layer.name}': '{name}' needs {positions * slices * words} rows of one spike_in bank, but a bank of "
                    f"chip '{chip.name}' has {chip.spike_in_rows}, shared with the maps alive then; use a chip with larger "
                    "spike_in banks or more cores, or a smaller capacity"
                )
            placed[name], avoid = region, region.bank
            alive.append(region)
    return placed


def _slices(chip: ChipParams, network: IntNetwork, name: str) -> int:
    """Rows of a word of a position: bit planes, slices, or the steps of the neurons before the classifier."""
    if any(isinstance(layer, IntTokenNeuron) and layer.spikes == name for layer in network.layers):
        return network.timesteps
    planes = next((x.planes for x in network.layers if isinstance(x, IntSynapse) and x.source == name), 0)
    return planes or chip.slices(network.timesteps)


def _parts(
    chip: ChipParams, network: IntNetwork, gangs: dict[str, int], placed: dict[str, Region], streamed: bool
) -> dict[str, Region]:
    """Regions of the parts of reductions, which arrive before the map that is made of them.

    Where not all parts have room at a time, a region holds those of some words, or of some steps of one word.
    """
    parts = {}
    for layer in network.layers:
        steps = network.timesteps if isinstance(layer, IntTokenNeuron) else 1
        if isinstance(layer, IntTokenNeuron) or (isinstance(layer, IntPlanes) and gangs[layer.source] > 1):
            # Nothing else is live when the parts arrive but the last map, in the other bank than the operand's; if the network is
            # streamed not even that.
            target = placed[layer.spikes]
            bank, base = (target.bank ^ 1, 0) if streamed else (target.bank, target.base + target.rows)
            step, room = gangs[layer.source] * network.bounds[layer.source], chip.spike_in_rows - base
            require(base + step, chip.spike_in_rows, layer.name, "spike_in", chip)
            steps = min(steps, room // step)
            words = min(target.words, room // (steps * step))
            parts[collected(layer)] = Region(bank, base, steps * gangs[layer.source], network.bounds[layer.source], words)
    return parts


def _lifetimes(network: IntNetwork) -> tuple[dict[str, int], dict[str, int]]:
    """Layer numbers in which each region is written first and read last by a core."""
    written, read = {IMAGE: -1}, {}
    for number, layer in enumerate(network.layers):
        if isinstance(layer, IntSynapse):
            read[home(network, layer.source)] = number
        elif isinstance(layer, IntSum) and layer.reduce:
            read[home(network, layer.name)] = number
        if layer.spikes:
            for name, _ in written_places(network, layer.spikes):
                written.setdefault(name, number)
    return written, read


def _source_bank(network: IntNetwork, name: str, placed: dict[str, Region]) -> int | None:
    """Bank that is being read while map ``name`` is written, or None."""
    for layer in network.layers:
        if isinstance(layer, IntSynapse) and layer.spikes and (name, 0) in written_places(network, layer.spikes):
            return placed[home(network, layer.source)].bank
        if isinstance(layer, IntAttention | IntWindowAttention) and layer.spikes == name:
            writer = next(x for x in network.layers if isinstance(x, IntSynapse) and x.spikes == layer.q)
            return placed[home(network, writer.source)].bank
        if isinstance(layer, IntPlanes | IntTokenNeuron) and layer.spikes == name:
            source = next(x for x in network.layers if x.name == layer.source)
            read = home(network, source.source if isinstance(source, IntSynapse) else source.name)
            return placed[read].bank if read in placed else None
    return None


def _first_fit(chip: ChipParams, wanted: Region, live: list[Region], avoid: int | None) -> Region | None:
    for bank in (bank for bank in (0, 1) if bank != avoid):
        base = 0
        for other in sorted((region for region in live if region.bank == bank), key=lambda region: region.base):
            if other.base - base >= wanted.rows:
                break
            base = other.base + other.rows
        if base + wanted.rows <= chip.spike_in_rows:
            return replace(wanted, bank=bank, base=base)
    return None


def require(rows: int, available: int, layer: str, memory: str, chip: ChipParams) -> None:
    """Raise ArchsimError unless ``rows`` of a core's ``memory`` are there."""
    if rows > available:
        raise ArchsimError(
            f"layer '{layer}': needs {rows} rows of {memory}, but chip '{chip.name}' has {available}; "
            f"use a chip with a larger {memory} memory or more cores"
        )
