"""Spikes as high as their thresholds, and the stream that they add up to, as spikes of height 1.

A network whose neurons are ``IF_HALF`` becomes one with the same spikes, all of height 1 (``IF_HALF_ONE``), that only adds weights
where a spike is. Nothing is approximated:

* the height of a map's spikes is a factor of the weights of who reads it; of q, k and v, of the attention's thresholds;
* a stream is never computed. Every value of it is a sum over the spike maps of its stage, each with a factor per channel, plus a
  constant; an addition appends a map, a batch norm changes factors and constant;
* a batch norm with a neuron behind it becomes a layer with diagonal weights on these maps side by side (:class:`Concat`);
* a convolution on the stream becomes one on each of the maps, whose sums join a stream of membranes; the last one fires;
* a batch norm that is reduced becomes a layer with diagonal weights that opens a stream;
* so does a stream before a layer norm and the classifier, which then has the norm.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError
from mapping.ir import IF_HALF, IF_HALF_ONE, IMAGE, Classifier, Layer, Network, Synapse, sources
from mapping.nodes import BATCH, LAYER, Concat, Norm, Sum, WindowAttention

Values = NDArray[np.float64]

LAYER_NORM = "a layer norm elsewhere than right before the classifier; it divides by the deviation of each token"
"""Why it is refused."""


@dataclass(frozen=True)
class Combination:
    """``sum of factors[i] * maps[i] + constant``, by channel: float64 [channels] each."""

    maps: tuple[str, ...]
    factors: tuple[Values, ...]
    constant: Values

    def scaled(self, scale: Values, offset: Values) -> "Combination":
        """Behind a batch norm."""
        return Combination(self.maps, tuple(x * scale for x in self.factors), self.constant * scale + offset)

    def plus(self, other: "Combination") -> "Combination":
        """The sum of two."""
        return Combination(self.maps + other.maps, self.factors + other.factors, self.constant + other.constant)


@dataclass
class _Lowering:
    """What is known of the maps so far: of spike maps their height, of streams the maps that they are made of.

    ``beside``: name of the map that has these side by side. ``norms``: layer norms that the classifier takes over.
    """

    streams: dict[str, Combination] = field(default_factory=dict)
    beside: dict[tuple[str, ...], str] = field(default_factory=dict)
    norms: dict[str, Norm] = field(default_factory=dict)

    def layer(self, layer: Layer) -> Iterator[Layer]:
        """The layers in the place of one."""
        if isinstance(layer, Synapse):
            yield from self._synapse(layer)
        elif isinstance(layer, Sum):
            parts = [self.streams[name] for name in layer.sources]
            total = parts[0]
            for part in parts[1:]:
                total = total.plus(part)
            self.streams[layer.name] = total
        elif isinstance(layer, Norm):
            yield from self._norm(layer)
        elif isinstance(layer, Classifier) and (norm := self.norms.get(layer.source)):
            yield replace(layer, norm=np.stack((norm.scale, norm.offset)))
        elif isinstance(layer, WindowAttention):
            q, k, v = (self._height(name) for name in (layer.q, layer.k, layer.v))
            height = 1.0 if layer.unit else layer.threshold
            self._fires(layer.spikes, height, len(self.streams[layer.q].constant))
            yield replace(layer, scale=layer.scale * q * k, threshold=layer.threshold / v, score_height=layer.height, unit=True)
        else:
            yield layer

    def _height(self, name: str) -> float:
        return float(self.streams[name].factors[0][0])

    def _fires(self, spikes: str | None, height: float, channels: int) -> None:
        if spikes:
            heights = np.broadcast_to(np.float64(height), (channels,))
            self.streams[spikes] = Combination((spikes,), (heights,), np.zeros(channels))

    def _synapse(self, layer: Synapse) -> Iterator[Layer]:
        channels = len(layer.weight)
        if layer.source == IMAGE:
            yield replace(layer, neuron=_unit(layer))
        else:
            read = self.streams[layer.source]
            if layer.padding and np.any(read.constant):
                raise ArchsimError(
                    f"layer '{layer.name}': required no padding on a stream with a constant part, given padding {layer.padding}; "
                    "put a neuron before it"
                )
            bias = layer.bias + layer.weight.sum((2, 3)) @ read.constant
            yield from self._pieces(replace(layer, bias=bias), read)
        self._fires(layer.spikes, _height(layer), channels)

    def _pieces(self, layer: Synapse, read: Combination) -> Iterator[Layer]:
        """A layer on each of the maps that a stream is made of."""
        last = len(read.maps) - 1
        for number, (source, factor) in enumerate(zip(read.maps, read.factors, strict=True)):
            piece = replace(layer, source=source, weight=layer.weight * factor[:, None, None], neuron=_unit(layer))
            if last:
                name, bias = f"{layer.name}.{number}", layer.bias if number == 0 else np.zeros_like(layer.bias)
                piece = replace(piece, name=name, bias=bias, stream=layer.name, opens=number == 0)
            yield piece if number == last else replace(piece, neuron=None, spikes=None)

    def _norm(self, layer: Norm) -> Iterator[Layer]:
        value = self.streams[layer.source]
        if layer.kind == LAYER:
            self.norms[layer.name] = layer
        else:
            value = self.streams[layer.name] = value.scaled(layer.scale, layer.offset)
        if not (layer.spikes or layer.reduce):
            return
        if value.maps not in self.beside:
            self.beside[value.maps] = value.maps[0] if len(value.maps) == 1 else f"{layer.name}.maps"
            if len(value.maps) > 1:
                yield Concat(f"{layer.name}.maps", value.maps)
        weight = np.concatenate([np.diag(factor) for factor in value.factors], 1)[:, :, None, None]
        yield Synapse(
            layer.name, self.beside[value.maps], weight, value.constant, stream=layer.name if layer.reduce else None,
            opens=layer.reduce, neuron=_unit(layer), threshold=layer.threshold, spikes=layer.spikes,
            reduce=layer.kind == BATCH and layer.reduce, diagonal=True,
        )  # fmt: skip
        self._fires(layer.spikes, _height(layer), len(value.constant))


def _height(layer: Synapse | Norm) -> float:
    """Of a layer's spikes."""
    return float(layer.threshold) if layer.neuron == IF_HALF else 1.0


def _unit(layer: Synapse | Norm) -> str | None:
    """The neuron of a layer, its spikes of height 1."""
    return IF_HALF_ONE if layer.neuron == IF_HALF else layer.neuron


def has_heights(network: Network) -> bool:
    """Whether spikes of a network are as high as their thresholds."""
    windows = any(isinstance(layer, WindowAttention) and not layer.unit for layer in network.layers)
    return windows or any(getattr(layer, "neuron", None) == IF_HALF for layer in network.layers)


def is_mapped(network: Network, layer: Norm) -> bool:
    """Whether a norm of such a network has a form that only adds weights, or is the layer norm that the classifier reads."""
    readers = [other for other in network.layers if layer.name in (*sources(other), getattr(other, "source", None))]
    alone = layer.reduce and not layer.spikes and all(isinstance(other, Classifier) for other in readers)
    return layer.kind == BATCH or alone


def lowered(network: Network) -> Network:
    """The same network with spikes of height 1; itself if they are.

    Raises ArchsimError with the layer that has no such form: a layer norm elsewhere than right before the classifier.
    """
    if not has_heights(network):
        return network
    for layer in network.layers:
        if isinstance(layer, Norm) and not is_mapped(network, layer):
            raise ArchsimError(f"layer '{layer.name}': not mapped yet: {LAYER_NORM}; train with a {BATCH} in its place")
    lowering = _Lowering()
    layers = tuple(piece for layer in network.layers for piece in lowering.layer(layer))
    return replace(network, layers=layers)
