"""Sums of spike maps in the input banks: the maps one behind the other in one region, so that one set of weights serves all.

Maps side by side lie there likewise; who reads them has weights for each.

The stream of a network that adds spikes grows map by map: every sum is the beginning of the next, and lies in the same rows.
"""

from mapping.integer_nodes import IntConcat, IntSum
from mapping.quantise import IntNetwork, IntSynapse


def home(network: IntNetwork, name: str) -> str:
    """The map in whose region a map lies that a layer reads: the longest sum that begins with it if it is a sum, else itself.

    A map that lies beside others anyway has no region of its own.
    """
    sums = {layer.name: layer.sources for layer in network.layers if isinstance(layer, IntSum)}
    if name not in sums:
        beside = (x.name for x in network.layers if isinstance(x, IntConcat) and name in x.sources)
        first = next(beside, None)
        return name if first is None else home(network, first)
    own = sums[name]
    longer = [other for other, sources in sums.items() if sources[: len(own)] == own]
    return max(longer, key=lambda other: len(sums[other]))


def places(network: IntNetwork, spikes: str) -> list[tuple[str, int]]:
    """Regions that hold a spike map, each with its number among the maps there: its own, those of sums and maps side by side."""
    homes = {home(network, layer.name) for layer in network.layers if isinstance(layer, IntSum)}
    read = any(isinstance(x, IntSynapse) and x.source == spikes for x in network.layers)
    alone = [(spikes, 0)] if read and home(network, spikes) == spikes else []
    return alone + [
        (name, number) for name in sorted(homes) for number, source in enumerate(network.addends(name)) if source == spikes
    ]


def readers(network: IntNetwork, region: str) -> list[str]:
    """Layers on the cores that read a region."""
    return [
        layer.name
        for layer in network.layers
        if (isinstance(layer, IntSynapse) and home(network, layer.source) == region)
        or (isinstance(layer, IntSum) and layer.reduce and home(network, layer.name) == region)
    ]
