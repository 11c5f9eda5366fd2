"""Lower: layers that no instruction does, written as layers that instructions do. Exact: the same sums of the same numbers.

* A linear layer over the height or the width is one over channels of the map with its axes exchanged, and so are its spikes' axes.
* Streams side by side that spikes of one lead to another (spiking patch encoding) are one stream of all their channels. The layers
  that open them become one; each further layer has weights from the channels that fired last to the channels that fire next.
* The mean over a spike map is that of a sum with one addend.
* A batch norm of a spike map, with a neuron behind it, is a layer with diagonal weights.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError
from mapping.ir import CHANNELS, HEIGHT, IF_HALF, WIDTH, Classifier, Joined, Layer, Network, Synapse, sources
from mapping.nodes import BATCH, Concat, Norm, Sum, Transpose

TO_CHANNELS = {HEIGHT: (1, 2, 0), WIDTH: (0, 2, 1)}
"""Order of a map's axes that makes channels of one: the other axis stays outside, and the channels become positions."""

BACK = {HEIGHT: (2, 0, 1), WIDTH: (0, 2, 1)}
"""Order that undoes it."""

Kernel = tuple[NDArray[np.float64], NDArray[np.float64]]


def lower(network: Network) -> Network:
    """The network of layers that the mapper knows; one that is lowered already as it is.

    Raises ArchsimError for streams side by side that are no chain of layers.
    """
    layers, joined = list(network.layers), dict(network.joined)
    for concat in [layer for layer in layers if isinstance(layer, Concat) and layer.streams]:
        chain = _Chain(concat, [layer for layer in layers if isinstance(layer, Synapse) and _joins(layer, concat)])
        made, parts = chain.layers()
        joined |= parts
        first = next(number for number, layer in enumerate(layers) if layer is chain.members[0])
        rest = [layer for layer in layers if layer is not concat and not any(layer is x for x in chain.members)]
        layers = rest[:first] + made + rest[first:]
    return replace(network, layers=tuple(_axes(_means(_norms(layers)))), joined=joined)


def _norms(layers: Sequence[Layer]) -> list[Layer]:
    """Batch norms of a spike map that only their neuron reads, as layers."""
    fired = {x.spikes for x in layers if isinstance(x, Synapse) and x.neuron != IF_HALF} - {None}
    read = {name for layer in layers for name in sources(layer)}
    result: list[Layer] = []
    for layer in layers:
        alone = isinstance(layer, Norm) and layer.kind == BATCH and layer.source in fired and layer.name not in read
        if alone and isinstance(layer, Norm) and layer.spikes and not layer.reduce:
            layer = Synapse(
                layer.name, layer.source, np.diag(layer.scale)[:, :, None, None], layer.offset, neuron=layer.neuron,
                threshold=layer.threshold, spikes=layer.spikes, diagonal=True,
            )  # fmt: skip
            fired.add(layer.spikes)
        result.append(layer)
    return result


def _means(layers: Iterable[Layer]) -> Iterator[Layer]:
    """A sum of one addend before a classifier that reads a spike map."""
    written = {layer.spikes for layer in layers if isinstance(layer, Synapse)} - {None}
    for layer in layers:
        if isinstance(layer, Classifier) and layer.source in written:
            total = Sum(f"{layer.source} counted", (layer.source,), reduce=True)
            yield total
            layer = replace(layer, source=total.name)
        yield layer


def _axes(layers: Iterable[Layer]) -> Iterator[Layer]:
    """Linear layers over height or width as transpositions and a layer over channels."""
    turned = set()
    for layer in layers:
        if not isinstance(layer, Synapse) or layer.axis == CHANNELS or does_more(layer) or not layer.spikes:
            yield layer
            continue
        source, spikes = f"{layer.source} by {layer.axis}", f"{layer.spikes} by {layer.axis}"
        if source not in turned:
            turned.add(source)
            yield Transpose(source, layer.source, TO_CHANNELS[layer.axis])
        yield replace(layer, source=source, spikes=spikes, axis=CHANNELS)
        yield Transpose(layer.spikes, spikes, BACK[layer.axis])


def does_more(layer: Synapse) -> bool:
    """Whether a layer joins a stream, is pooled, reduced or normed by position, or has no spikes."""
    return bool(layer.stream or layer.pool or layer.reduce or layer.token_norm is not None or not layer.spikes)


def _joins(layer: Synapse, concat: Concat) -> bool:
    return layer.stream in concat.streams or layer.into in concat.streams


@dataclass
class _Chain:
    """Streams side by side, and the layers that join them.

    Attributes:
        kernels: what each stream is made of by the layers before the first spikes: weights and bias.
        weights: of the definition's layers in the layer that is being made.
    """

    concat: Concat
    members: list[Synapse]
    kernels: dict[str, Kernel] = field(default_factory=dict)

    def layers(self) -> tuple[list[Layer], dict[str, Joined]]:
        """The layers of the one stream, and what each stands for."""
        outer = [layer for layer in self.members if layer.source not in self.concat.sources]
        inner = self.members[len(outer) :]
        fired = [layer for layer in outer if layer.spikes]
        first = self.members[: len(outer)]
        if not fired or any(x.source in self.concat.sources or self._differs(outer[0], x) for x in first):
            self._refuse()
        for layer in outer:
            kernel = layer.weight, layer.bias
            if layer.stream and not layer.opens:
                before = self.kernels[layer.stream] if layer.stream in self.kernels else self._refuse()
                kernel = before[0] + kernel[0], before[1] + kernel[1]
            self.kernels[layer.into or layer.stream or ""] = kernel
        if set(self.kernels) != set(self.concat.streams):
            self._refuse()
        weight, bias = (np.concatenate([self.kernels[name][part] for name in self.concat.streams]) for part in (0, 1))
        steps = [(outer[0], fired, weight, bias, sum(layer.weight.size for layer in outer))]
        for layer in inner:
            if [layer.source] != [x.spikes for x in steps[-1][1]] or layer.padding * 2 + 1 != layer.weight.shape[2]:
                self._refuse()
            steps.append((layer, [layer], *self._spread(layer), layer.weight.size))
        made: list[Layer] = []
        joined, source = {}, outer[0].source
        for number, (layer, fire, weight, bias, count) in enumerate(steps):
            last = number == len(steps) - 1
            name = layer.name if number else f"{self.concat.name}.opening"
            spikes = self.concat.name if last else f"{self.concat.name}.{number}"
            thresholds, parts = self._thresholds(self.members if last else fire)
            made.append(replace(
                layer, name=name, source=source, weight=weight, bias=bias, stream=self.concat.name, opens=not number, into=None,
                neuron=fire[0].neuron, threshold=thresholds, spikes=spikes,
            ))  # fmt: skip
            read = self._read(layer) if number else slice(0, weight.shape[1])
            joined[name] = Joined(parts, count, (read.start, read.stop))
            source = spikes
        return made, joined

    def _differs(self, one: Synapse, other: Synapse) -> bool:
        """Whether two layers are not parts of one convolution."""
        shapes = {(x.source, x.stride, x.padding, x.weight.shape[1:], x.groups, x.axis) for x in (one, other)}
        return len(shapes) > 1 or other.pool or other.reduce or other.token_norm is not None

    def _slice(self, stream: str) -> slice:
        """Channels of a stream among all."""
        sizes = [len(self.kernels[name][1]) for name in self.concat.streams]
        number = self.concat.streams.index(stream)
        return slice(sum(sizes[:number]), sum(sizes[: number + 1]))

    def _read(self, layer: Synapse) -> slice:
        """Channels, among all, of the spikes that a layer reads."""
        return self._slice(self.concat.streams[self.concat.sources.index(layer.source)])

    def _spread(self, layer: Synapse) -> Kernel:
        """Weights and bias from all channels to all, of which only those of the layer are not 0."""
        channels = sum(len(bias) for _, bias in self.kernels.values())
        weight, bias = np.zeros((channels, channels, *layer.weight.shape[2:])), np.zeros(channels)
        read = self._read(layer)
        written = self._slice(layer.into or layer.stream or "")
        weight[written, read], bias[written] = layer.weight, layer.bias
        return weight, bias

    def _thresholds(self, layers: list[Synapse]) -> tuple[NDArray[np.float64], tuple[tuple[str, int], ...]]:
        """Thresholds of all channels, of which only those of some layers fire; and the maps that the spikes are of."""
        own = {layer.spikes: layer.threshold for layer in layers if layer.spikes}
        sizes = [len(self.kernels[name][1]) for name in self.concat.streams]
        values = [np.full(size, own.get(name, np.inf)) for name, size in zip(self.concat.sources, sizes, strict=True)]
        parts = [(name if name in own else "", size) for name, size in zip(self.concat.sources, sizes, strict=True)]
        return np.concatenate(values), tuple(parts)

    def _refuse(self) -> Kernel:
        raise ArchsimError(
            f"layer '{self.concat.name}': not mapped yet: streams side by side, unless layers of one shape open all of them and "
            "each further layer reads what the one before it fired"
        )
