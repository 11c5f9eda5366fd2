"""Which maps are another with its axes exchanged, and what that asks of the layer that writes the other."""

from dataclasses import dataclass

from mapping.integer_nodes import IntAttention, IntConcat, IntSum, IntTranspose
from mapping.quantise import IntLayer, IntNetwork, IntSynapse
from mapping.sums import places


def turned(network: IntNetwork, spikes: str) -> list[IntTranspose]:
    """The layers that turn a spike map."""
    return [layer for layer in network.layers if isinstance(layer, IntTranspose) and layer.source == spikes]


def written_places(network: IntNetwork, spikes: str) -> list[tuple[str, int]]:
    """Regions that a layer's spikes reach, each with the number of the map there: as they are, and turned."""
    reached = places(network, spikes)
    for layer in turned(network, spikes):
        reached += places(network, layer.name)
    return reached


def held(network: IntNetwork, spikes: str | None) -> int:
    """Positions that a tile of a map is a multiple of, so that it holds the axes whole that are turned: 1 if none is."""
    axes = {layer.order[2] for layer in turned(network, spikes or "")}
    if not axes:
        return 1
    shape = network.maps[spikes or ""]
    return shape.positions if 0 in axes else shape.width


@dataclass(frozen=True)
class Mixed:
    """A layer over the height or the width of a map: the map is turned, mixed over its channels, and turned back.

    Attributes:
        there: makes channels of the axis, and positions of the channels.
        layer: reads that.
        back: undoes it; nothing else reads the layer's spikes.
    """

    there: IntTranspose
    layer: IntSynapse
    back: IntTranspose

    @property
    def axis(self) -> int:
        """The axis that is mixed: 0 height, 1 width."""
        return self.there.order[2]


def mixed(network: IntNetwork, layer: IntLayer) -> Mixed | None:
    """What a layer is part of that reads a turned map and whose own map is turned back; None for any other."""
    if not isinstance(layer, IntSynapse) or not layer.spikes:
        return None
    there = next((x for x in network.layers if isinstance(x, IntTranspose) and x.name == layer.source), None)
    back = turned(network, layer.spikes)
    if there is None or len(back) != 1:
        return None
    axis, order = there.order[2], there.order
    undone = tuple(order.index(number) for number in range(3))
    if axis < 2 and order == (1 - axis, 2, axis) and back[0].order == undone and not _readers(network, layer.spikes):
        return Mixed(there, layer, back[0])
    return None


def unmixed(network: IntNetwork) -> IntTranspose | None:
    """The first layer that exchanges axes other than for a :class:`Mixed`, or whose map others read too."""
    found = [mix for layer in network.layers if (mix := mixed(network, layer))]
    there, back = {mix.there.name for mix in found}, {mix.back.name for mix in found}
    layers = {mix.layer.name for mix in found}
    for layer in network.layers:
        if not isinstance(layer, IntTranspose) or layer.name in back:
            continue
        if layer.name not in there or any(reader not in layers for reader in _readers(network, layer.name)):
            return layer
    return None


def _readers(network: IntNetwork, name: str) -> list[str]:
    """Layers that read a map as it is: on cores, alone or with others, or in the attention unit."""
    return [
        layer.name for layer in network.layers
        if (isinstance(layer, IntSynapse) and name in network.addends(layer.source))
        or (isinstance(layer, IntAttention) and name in (layer.q, layer.k, layer.v))
        or (isinstance(layer, IntSum) and not isinstance(layer, IntConcat) and name in layer.sources)
    ]  # fmt: skip
