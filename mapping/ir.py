"""Intermediate representation: a network as layers over named maps, with float weights whose norms are folded where they can be.

It says more than the chip can run: :mod:`mapping.operators` names what the mapper refuses.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError
from mapping.nodes import Concat, Experts, Norm, Sum, Transpose, WindowAttention

LIF, IF, IF_HALF, IF_HALF_ONE = "lif", "if", "if_half", "if_half_one"
"""Neurons: leaky with hard reset to 0; integrate and fire with soft reset, from 0 or from half the threshold.

A spike is 1; that of ``IF_HALF`` is as high as its threshold, which :mod:`mapping.spike_heights` makes ``IF_HALF_ONE`` of.
"""

CHANNELS, HEIGHT, WIDTH = "channels", "height", "width"
"""Axes that a linear layer can mix."""

PRODUCT, GATE = "product", "gate"
"""Attention: ``q (k^T v)`` in a neuron, or ``q AND neuron(sum over tokens of k AND v)``."""

KV_FIRST, QK_FIRST = "q (k^T v)", "(q k^T) v"
"""Order in which the published code multiplies; the integers are the same."""

IMAGE = "image"
"""Name of the map that the host provides."""


@dataclass(frozen=True)
class Map:
    """Shape of a map: height, width, channels."""

    height: int
    width: int
    channels: int

    @property
    def positions(self) -> int:
        """Number of positions."""
        return self.height * self.width


@dataclass(frozen=True)
class Synapse:
    """A convolution (or a linear layer: kernel 1x1) and what happens to its sums.

    Attributes:
        name: name of the layer in the checkpoint.
        source: map that it reads.
        weight: float64 [Cout, Cin, kernel height, kernel width], norms folded.
        bias: float64 [Cout].
        stride, padding: of the convolution, alike in both directions.
        stream: residual stream that the sums join, or None.
        opens: the layer is the stream's first (nothing to add to).
        neuron: ``LIF``, ``IF``, ``IF_HALF`` or ``IF_HALF_ONE`` when the result fires, else None.
        threshold: of the neuron, or float64 [Cout] of those of each channel (infinite: they never fire).
        spikes: map that the neuron writes, or None.
        pool: the spikes pass an OR over 3x3 windows, stride 2, padding 1.
        reduce: the results are summed over positions and time for the classifier.
        tau: time constant of a LIF, in steps.
        groups: of channels that are convolved apart; the weights then have Cin / groups inputs. Cin of them: depthwise.
        axis: axis that a 1x1 kernel mixes: the weights are [length, length, 1, 1] where it is not the channels.
        pool_sums: the sums pass a maximum over the pool's windows before they join a stream or reach the neuron.
        into: stream that takes stream + sums; ``stream`` then keeps its value. None: ``stream`` itself.
        token_norm: float64 [2, positions], scale and offset of the sums by position (a norm over tokens), or None.
        diagonal: each channel reads the same channel alone, of a map or of each of maps side by side: other weights are 0.
    """

    name: str
    source: str
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    stride: int = 1
    padding: int = 0
    stream: str | None = None
    opens: bool = False
    neuron: str | None = LIF
    threshold: float | NDArray[np.float64] = 1.0
    spikes: str | None = None
    pool: bool = False
    reduce: bool = False
    tau: float = 2.0
    groups: int = 1
    axis: str = CHANNELS
    pool_sums: bool = False
    into: str | None = None
    token_norm: NDArray[np.float64] | None = None
    diagonal: bool = False


@dataclass(frozen=True)
class Part:
    """A linear part of a :class:`Chain`: weight float64 [Cout, Cin / groups, kernel, kernel], bias [Cout]."""

    name: str
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    groups: int = 1


@dataclass(frozen=True)
class Chain:
    """Convolutions without a neuron between them, not merged into one: every part but the first reads real numbers.

    Attributes:
        parts: in order. The map is padded once, before the first: a norm of zeros pads what stands behind it.
        synapse: the rest, as if merged; its weights are of the merged shape and hold nothing.
    """

    parts: tuple[Part, ...]
    synapse: Synapse

    @property
    def name(self) -> str:
        """Name of the whole."""
        return self.synapse.name


@dataclass(frozen=True)
class Attention:
    """Spike attention without softmax: ``(q, k, v) -> spikes``; ``scale`` multiplies the counts before the neuron.

    ``kind``: ``PRODUCT`` or ``GATE``; ``order``: ``KV_FIRST`` or ``QK_FIRST``, which a mapper is free to exchange.
    """

    name: str
    q: str
    k: str
    v: str
    spikes: str
    heads: int
    scale: float
    threshold: float
    kind: str = PRODUCT
    order: str = KV_FIRST


@dataclass(frozen=True)
class Classifier:
    """A linear layer on the mean over tokens and time: weight float64 [classes, channels], bias [classes].

    Attributes:
        source: layer whose results (of a stream), or spike map whose spikes, are averaged.
        neuron: ``LIF`` when the mean over tokens fires in each step, and the linear layer reads those spikes; else None.
        threshold: of the neuron.
        spikes: map of one position that the neuron writes, or None.
        norm: float64 [2, channels], gains and offsets of a layer norm of each token in each step, before the mean; or None.
    """

    name: str
    source: str
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    neuron: str | None = None
    threshold: float = 1.0
    spikes: str | None = None
    norm: NDArray[np.float64] | None = None


Layer = Synapse | Chain | Sum | Concat | Transpose | Norm | Attention | WindowAttention | Experts | Classifier


@dataclass(frozen=True)
class Joined:
    """A layer that stands for several of the definition's, side by side.

    Attributes:
        parts: what its spike map is made of: the definition's maps with their channels; "": channels that never fire.
        weights: that the definition's layers have; the others are 0.
        reads: first channel of the source with such weights, and the one behind the last.
    """

    parts: tuple[tuple[str, int], ...]
    weights: int
    reads: tuple[int, int]


@dataclass(frozen=True)
class Network:
    """A network in order of computation.

    Attributes:
        name: for reports.
        timesteps: T.
        image: shape of the image.
        image_limit: greatest magnitude of a normalised pixel.
        head_limit: greatest magnitude of the classifier's operand seen in recorded runs (float); of a layer norm without its gains.
        layers: in an order in which every map is written before it is read.
        joined: by name, the layers that :mod:`mapping.lower` made of several.
    """

    name: str
    timesteps: int
    image: Map
    image_limit: float
    head_limit: float
    layers: tuple[Layer, ...]
    joined: Mapping[str, Joined] = field(default_factory=dict)

    def maps(self) -> dict[str, Map]:
        """Shape of every map. Raises ArchsimError when a layer does not fit the map that it reads."""
        maps = {IMAGE: self.image}
        for layer in self.layers:
            shapes = [_read(maps, layer.name, name) for name in sources(layer)]
            if isinstance(layer, Synapse | Chain):
                synapse = layer.synapse if isinstance(layer, Chain) else layer
                result = output_shape(synapse, shapes[0])
                if synapse.spikes:
                    maps[synapse.spikes] = halved(result) if synapse.pool or synapse.pool_sums else result
            elif isinstance(layer, Attention | WindowAttention):
                if len(set(shapes)) != 1 or shapes[0].channels % layer.heads:
                    raise ArchsimError(
                        f"layer '{layer.name}': q, k and v must have one shape whose channels {layer.heads} heads divide, "
                        f"given {shapes}"
                    )
                maps[layer.spikes] = shapes[0]
            elif isinstance(layer, Sum | Concat):
                apart = 0 if isinstance(layer, Concat) else shapes[0].channels
                if len({(shape.positions, apart and shape.channels) for shape in shapes}) != 1:
                    raise ArchsimError(f"layer '{layer.name}': its maps must have one shape, given {shapes}")
                channels = apart or sum(shape.channels for shape in shapes)
                maps[layer.name] = Map(shapes[0].height, shapes[0].width, channels)
            elif isinstance(layer, Transpose):
                shape = shapes[0]
                maps[layer.name] = Map(*((shape.height, shape.width, shape.channels)[axis] for axis in layer.order))
            elif isinstance(layer, Norm):
                maps[layer.name] = shapes[0]
                if layer.spikes:
                    maps[layer.spikes] = shapes[0]
            elif isinstance(layer, Experts):
                check_experts(layer, shapes[0])
                if layer.spikes:
                    maps[layer.spikes] = shapes[0]
        return maps


def sources(layer: Layer) -> tuple[str, ...]:
    """Maps that a layer reads; a classifier reads what a layer reduced, which is none."""
    if isinstance(layer, Attention | WindowAttention):
        return layer.q, layer.k, layer.v
    if isinstance(layer, Sum | Concat):
        return layer.sources
    if isinstance(layer, Classifier):
        return ()
    return (layer.synapse.source if isinstance(layer, Chain) else layer.source,)


def _read(maps: dict[str, Map], layer: str, name: str) -> Map:
    if name not in maps:
        raise ArchsimError(f"layer '{layer}': reads map '{name}', which no layer before it writes")
    return maps[name]


def halved(shape: Map) -> Map:
    """Shape behind a pool over 3x3 windows, stride 2, padding 1."""
    return Map((shape.height + 1) // 2, (shape.width + 1) // 2, shape.channels)


def output_shape(layer: Synapse, source: Map) -> Map:
    """Shape of a layer's sums (before any pool). Raises ArchsimError when channels or kernel do not match."""
    channels, inputs, height, width = layer.weight.shape
    length = getattr(source, layer.axis)
    if inputs * layer.groups != length or channels % layer.groups:
        raise ArchsimError(
            f"layer '{layer.name}': weights of shape {layer.weight.shape} need a map of {inputs * layer.groups} {layer.axis}, "
            f"but '{layer.source}' has {length}"
        )
    if layer.axis != CHANNELS:
        if channels != length:
            raise ArchsimError(f"layer '{layer.name}': required weights that keep {length} {layer.axis}, given {channels}")
        return source
    border = 2 * layer.padding
    sizes = ((source.height, height), (source.width, width))
    rows, columns = ((size + border - kernel) // layer.stride + 1 for size, kernel in sizes)
    result = Map(rows, columns, channels)
    if min(result.height, result.width) < 1:
        raise ArchsimError(
            f"layer '{layer.name}': a kernel of {height} x {width} needs a map as large, but '{layer.source}' has "
            f"{source.height} x {source.width} with padding {layer.padding}"
        )
    return result


def check_experts(layer: Experts, source: Map) -> None:
    """Raise ArchsimError unless the weights of a layer of experts fit its source and each other."""
    channels, count = source.channels, len(layer.experts)
    parts: dict[str, tuple[tuple[NDArray[np.float64], ...], tuple[tuple[int, ...], ...]]]
    parts = {"gate": ((layer.gate, layer.gate_bias), ((count, channels), (count,)))}
    for number, expert in enumerate(layer.experts):
        given = expert.hidden, expert.hidden_bias, expert.weight, expert.bias
        hidden = channels if expert.residual else len(expert.hidden)
        parts[f"expert {number}"] = given, ((hidden, channels), (hidden,), (channels, hidden), (channels,))
    for part, (weights, required) in parts.items():
        if (shapes := tuple(weight.shape for weight in weights)) != required:
            raise ArchsimError(f"layer '{layer.name}': {part} needs weights of shapes {required}, given {shapes}")
