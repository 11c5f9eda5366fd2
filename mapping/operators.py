"""What the mapper refuses, by name: operators of :mod:`mapping.ir` that have no integer form or no instruction yet."""

from archsim.contracts.common.errors import ArchsimError
from mapping.ir import CHANNELS, GATE, IF_HALF, Attention, Chain, Layer, Network, Synapse
from mapping.nodes import Concat, Norm, WindowAttention

NODES = {
    Chain: "a chain of convolutions without a neuron between them; merge it into one",
    Concat: "maps side by side",
    Norm: "a norm that folds into no weight",
    WindowAttention: "attention within windows, with softmax",
}
"""Layers that are refused whatever they hold."""


def require_mapped(network: Network) -> None:
    """Raise ArchsimError with the first layer of a network that cannot be mapped, and why."""
    for layer in network.layers:
        reason = refusal(layer)
        if reason:
            raise ArchsimError(f"layer '{layer.name}': not mapped yet: {reason}")


def refusal(layer: Layer) -> str | None:
    """Why a layer cannot be mapped, or None. What depends on the chip (sizes, heads) is refused later."""
    if isinstance(layer, Synapse):
        return _synapse(layer)
    if isinstance(layer, Attention):
        return "attention as a gate, q AND neuron(sum of k AND v)" if layer.kind == GATE else None
    return NODES.get(type(layer))


def _synapse(layer: Synapse) -> str | None:
    reasons = {
        f"a convolution in {layer.groups} groups": layer.groups > 1,
        f"a linear layer over the {layer.axis}": layer.axis != CHANNELS,
        "a maximum over sums before the neuron": layer.pool_sums,
        f"a stream that keeps its value while '{layer.into}' takes the sum": layer.into is not None,
        "a norm by position behind the sums": layer.token_norm is not None,
        f"a time constant of {layer.tau:g} steps; the neuron unit has 2": layer.tau != 2.0,
        "integrate and fire from half the threshold": layer.neuron == IF_HALF,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
