"""What a layer reads: the kind of every map of a network, by which its layers need additions, bit planes or multiplications."""

from dataclasses import dataclass

from mapping.ir import IF_HALF, IMAGE, Chain, Classifier, Layer, Network
from mapping.nodes import Concat, Norm, Sum, Transpose, WindowAttention

SPIKES, SCALED, INTEGERS, REAL, ANALOG = "spikes", "scaled spikes", "integers", "real numbers", "image"
"""Kinds of maps, in the order of what they cost. Scaled spikes are as high as their neurons' threshold: a factor of weights."""

_ORDER = (SPIKES, SCALED, INTEGERS, REAL, ANALOG)


@dataclass(frozen=True)
class Operand:
    """A map as its readers find it: its kind, and the spike maps that it is made of with their share in its mean.

    ``whole``: several make it, but it is one map: the spikes of streams side by side.
    """

    kind: str
    spikes: tuple[tuple[str, float], ...] = ()
    whole: bool = False


def operands(network: Network) -> dict[str, Operand]:
    """The operand that every map of a network is."""
    result = {IMAGE: Operand(ANALOG)}
    for layer in network.layers:
        if isinstance(layer, Sum):
            result[layer.name] = _sum([result[name] for name in layer.sources])
        elif isinstance(layer, Concat):
            result[layer.name] = _beside([result[name] for name in layer.sources], bool(layer.streams))
        elif isinstance(layer, Transpose):
            result[layer.name] = result[layer.source]
        elif isinstance(layer, Norm):
            result[layer.name] = Operand(REAL)
        if spikes := written(layer):
            neuron = getattr(layer, "neuron", None)
            scaled = not layer.unit if isinstance(layer, WindowAttention) else neuron == IF_HALF
            result[spikes] = Operand(SCALED if scaled else SPIKES, ((spikes, 1.0),))
    return result


def written(layer: Layer) -> str | None:
    """The spike map that a layer writes, or None."""
    if isinstance(layer, Chain):
        return layer.synapse.spikes
    return None if isinstance(layer, Sum | Concat | Transpose | Classifier) else layer.spikes


def _sum(parts: list[Operand]) -> Operand:
    """Spikes of height 1 add up to integers, others to real numbers."""
    integers = all(part.kind in (SPIKES, INTEGERS) for part in parts)
    return Operand(INTEGERS if integers else REAL, tuple(share for part in parts for share in part.spikes))


def _beside(parts: list[Operand], whole: bool) -> Operand:
    """Maps side by side, alike in size: the kind that costs most."""
    kind = max((part.kind for part in parts), key=_ORDER.index)
    return Operand(kind, tuple((name, share / len(parts)) for part in parts for name, share in part.spikes), whole)
