"""What the mapper refuses, by name: operators of :mod:`mapping.ir` that have no integer form or no instruction yet."""

from collections.abc import Mapping
from dataclasses import replace

from archsim.contracts.common.errors import ArchsimError
from mapping.ir import CHANNELS, Chain, Classifier, Layer, Network, Synapse, sources
from mapping.lower import does_more, lower
from mapping.nodes import Concat, Experts, Norm, Sum, Transpose, WindowAttention
from mapping.operands import INTEGERS, REAL, SPIKES, Operand, operands
from mapping.spike_heights import LAYER_NORM, has_heights, is_mapped, lowered

NODES = {
    Chain: "a chain of convolutions without a neuron between them; merge it into one",
    Norm: "a norm that folds into no weight, nor is one of a spike map with a neuron behind it",
}
"""Layers that are refused whatever they hold."""


def require_mapped(network: Network) -> None:
    """Raise ArchsimError with the first layer of a network that cannot be mapped, and why; or that does not fit its map."""
    network = lower(lowered(network))
    network.maps()
    maps = operands(network)
    for layer in network.layers:
        reason = refusal(layer, maps)
        if reason:
            raise ArchsimError(f"layer '{layer.name}': not mapped yet: {reason}")


def refusals(network: Network) -> dict[str, str | None]:
    """Why each layer of a network cannot be mapped, or None; of one with spikes of other heights than 1, once it is lowered."""
    maps = operands(network)
    if not has_heights(network):
        diagonal = {layer.name for layer in lower(network).layers if isinstance(layer, Synapse) and layer.diagonal}
        return {layer.name: None if layer.name in diagonal else refusal(layer, maps) for layer in network.layers}
    return {layer.name: _lowered_refusal(network, layer) for layer in network.layers}


def _lowered_refusal(network: Network, layer: Layer) -> str | None:
    if isinstance(layer, Synapse):
        return _synapse(replace(layer, neuron=None), Operand(SPIKES))
    return LAYER_NORM if isinstance(layer, Norm) and not is_mapped(network, layer) else None


def refusal(layer: Layer, maps: Mapping[str, Operand]) -> str | None:
    """Why a layer cannot be mapped, or None. What depends on the chip (sizes, heads) is refused later.

    ``maps``: the operand that every map of its network is.
    """
    if isinstance(layer, Synapse):
        return _synapse(layer, maps[layer.source])
    if isinstance(layer, Concat):
        return _concat(layer, maps)
    if isinstance(layer, Classifier):
        return _classifier(layer, maps)
    if type(layer) in NODES:
        return NODES[type(layer)]
    if isinstance(layer, Transpose):
        return _transpose(maps[layer.source])
    if isinstance(layer, WindowAttention):
        return None if layer.unit else "attention within windows of spikes as high as their thresholds"
    if isinstance(layer, Sum) and maps[layer.name].kind != INTEGERS:
        return "a sum of maps other than spikes of height 1"
    if any(_is_beside(maps[name]) for name in sources(layer)):
        return "maps side by side, which only a layer with weights for each can read"
    if isinstance(layer, Experts):
        return _experts(layer)
    if isinstance(layer, Sum):
        return None
    kinds = (maps[name].kind for name in sources(layer))
    return next((f"attention on a map of {kind}" for kind in kinds if kind in (INTEGERS, REAL)), None)


def _is_beside(source: Operand) -> bool:
    """Whether a map is several spike maps side by side."""
    return source.kind == SPIKES and len(source.spikes) > 1 and not source.whole


def _transpose(source: Operand) -> str | None:
    """Only a map that one layer writes is turned: its rows leave an output bank as columns."""
    if source.kind != SPIKES or _is_beside(source):
        return f"{'maps side by side' if _is_beside(source) else source.kind} whose axes are exchanged"
    return None


def _classifier(layer: Classifier, maps: Mapping[str, Operand]) -> str | None:
    if layer.source in maps and maps[layer.source].kind not in (SPIKES, INTEGERS):
        kind = maps[layer.source].kind
        return f"a mean over a map of {kind}; the classifier reads that of a stream, of spikes or of a sum of spike maps"
    if layer.source in maps and _is_beside(maps[layer.source]):
        return "a mean over maps side by side"
    return None


def _concat(layer: Concat, maps: Mapping[str, Operand]) -> str | None:
    kinds = {maps[name].kind for name in layer.sources} - {SPIKES}
    reasons = {
        "streams side by side, not one with the spikes of each": len(layer.streams) not in (0, len(layer.sources)),
        f"maps of {', '.join(sorted(kinds))} side by side": bool(kinds),
        "maps side by side beside others; name them all in one": any(_is_beside(maps[x]) for x in layer.sources),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _synapse(layer: Synapse, source: Operand) -> str | None:
    size = f"{layer.weight.shape[2]}x{layer.weight.shape[3]}"
    reasons = {
        f"a convolution in {layer.groups} groups": layer.groups > 1,
        f"a linear layer over the {layer.axis} of anything but a spike map, or that does more than fire": layer.axis != CHANNELS
        and (source.kind != SPIKES or _is_beside(source) or does_more(layer)),
        "a maximum over sums that opens no residual stream": layer.pool_sums and not (layer.stream and layer.opens),
        "a maximum over sums of maps that are added or lie side by side": layer.pool_sums
        and (source.kind == INTEGERS or _is_beside(source)),
        "a pool or a reduction behind a maximum over sums": layer.pool_sums and (layer.pool or layer.reduce),
        "a norm by position behind the sums of anything but a 1x1 kernel on a spike map": layer.token_norm is not None
        and (source.kind != SPIKES or _is_beside(source) or size != "1x1" or layer.stride > 1 or layer.padding > 0),
        "a pool or a reduction behind a norm by position": layer.token_norm is not None and (layer.pool or layer.reduce),
        f"a time constant of {layer.tau:g} steps; the neuron unit has 2": layer.tau != 2.0,
        f"a layer on a map of {source.kind}": source.kind == REAL,
        f"a {size} kernel of stride {layer.stride} on a sum of spike maps; put a neuron in between": source.kind
        == INTEGERS
        and (size != "1x1" or layer.stride > 1 or layer.padding > 0),
        "a pool of spikes on a sum of spike maps": source.kind == INTEGERS and layer.pool,
        f"a {size} kernel of stride {layer.stride} on maps side by side": _is_beside(source)
        and (size != "1x1" or layer.stride > 1 or layer.padding > 0 or layer.pool),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _experts(layer: Experts) -> str | None:
    reasons = {
        "experts of which a token has several, whose results a softmax weighs": layer.softmax and layer.choices > 1,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
