"""Dense operations of a network: multiply-accumulates of one time step by layer, as published tables count them."""

from mapping.ir import Attention, Chain, Classifier, Layer, Map, Network, Synapse, output_shape
from mapping.nodes import Experts, WindowAttention


def operations(network: Network) -> dict[str, int]:
    """Dense multiply-accumulates of a time step by layer; those of a :class:`~mapping.ir.Chain` by part."""
    maps = network.maps()
    return {name: count for layer in network.layers for name, count in _layer(layer, maps).items()}


def _layer(layer: Layer, maps: dict[str, Map]) -> dict[str, int]:
    if isinstance(layer, Synapse):
        return {layer.name: _synapse(layer, maps[layer.source])}
    if isinstance(layer, Chain):
        positions = output_shape(layer.synapse, maps[layer.synapse.source]).positions
        return {part.name: part.weight.size * positions for part in layer.parts}
    if isinstance(layer, Attention | WindowAttention):
        return {layer.name: _attention(layer, maps[layer.q])}
    if isinstance(layer, Experts):
        return _experts(layer, maps[layer.source].positions)
    if isinstance(layer, Classifier):
        return {layer.name: layer.weight.size}
    return {}


def _synapse(layer: Synapse, source: Map) -> int:
    shape = output_shape(layer, source)
    columns = shape.positions * shape.channels // len(layer.weight)  # of an axis: all vectors along it
    return layer.weight.size * columns


def _experts(layer: Experts, tokens: int) -> dict[str, int]:
    """The gate, and the experts of all tokens: as many as a token chooses, alike in size."""
    expert = layer.experts[0]
    chosen = tokens * layer.choices * (expert.hidden.size + expert.weight.size)
    return {f"{layer.name}.gate": layer.gate.size * tokens, layer.name: chosen}


def _attention(layer: Attention | WindowAttention, shape: Map) -> int:
    """Both products of all heads, in the order of the published code; a gate has none."""
    if isinstance(layer, WindowAttention):
        return 2 * shape.positions * layer.window**2 * shape.channels
    if layer.kind == "gate":
        return 0
    return 2 * shape.positions * shape.channels * (shape.channels // layer.heads)
