"""Which maps are another with its axes exchanged, and what that asks of the layer that writes the other."""

from mapping.integer_nodes import IntTranspose
from mapping.quantise import IntNetwork
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
