"""Intermediate representation: a network as layers over named spike maps, with float weights whose norms are folded."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError

LIF, IF = "lif", "if"
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
        neuron: ``lif`` or ``if`` when the result fires, else None.
        threshold: of the neuron.
        spikes: map that the neuron writes, or None.
        pool: the spikes pass an OR over 3x3 windows, stride 2, padding 1.
        reduce: the results are summed over positions and time for the classifier.
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
    threshold: float = 1.0
    spikes: str | None = None
    pool: bool = False
    reduce: bool = False


@dataclass(frozen=True)
class Attention:
    """Spike attention without softmax: ``(q, k, v) -> spikes``; ``scale`` multiplies the counts before the neuron."""

    name: str
    q: str
    k: str
    v: str
    spikes: str
    heads: int
    scale: float
    threshold: float


@dataclass(frozen=True)
class Classifier:
    """A linear layer on the mean over tokens and time of a stream: weight float64 [classes, channels], bias [classes]."""

    name: str
    source: str
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]


@dataclass(frozen=True)
class Expert:
    """Two linear layers with a neuron between them: hidden float64 [H, C], hidden_bias [H], weight [C, H], bias [C]."""

    hidden: NDArray[np.float64]
    hidden_bias: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    threshold: float = 1.0


@dataclass(frozen=True)
class Experts:
    """A mixture of experts: each position is a token, and the experts that it chooses add their results to its stream.

    The gate reads the spikes of the first time step; a token's experts are those with the greatest scores, ties to the lowest, for
    all time steps. An expert accepts ``capacity`` tokens, in the order of positions; a choice beyond that adds nothing.

    Attributes:
        name: name of the layer in the checkpoint.
        source: map of the tokens, written by the layer right before, which joins the same stream.
        stream: residual stream that the results join.
        gate: float64 [experts, C], with gate_bias float64 [experts].
        experts: the experts.
        choices: experts of a token.
        capacity: tokens that an expert accepts.
        neuron, threshold, spikes, reduce: as in :class:`Synapse`, of the stream behind the experts.
    """

    name: str
    source: str
    stream: str
    gate: NDArray[np.float64]
    gate_bias: NDArray[np.float64]
    experts: tuple[Expert, ...]
    choices: int
    capacity: int
    neuron: str | None = LIF
    threshold: float = 1.0
    spikes: str | None = None
    reduce: bool = False


Layer = Synapse | Attention | Experts | Classifier


@dataclass(frozen=True)
class Network:
    """A network in order of computation.

    Attributes:
        name: for reports.
        timesteps: T.
        image: shape of the image.
        image_limit: greatest magnitude of a normalised pixel.
        head_limit: greatest magnitude of the classifier's operand seen in recorded runs (float).
        layers: in an order in which every map is written before it is read.
    """

    name: str
    timesteps: int
    image: Map
    image_limit: float
    head_limit: float
    layers: tuple[Layer, ...]

    def maps(self) -> dict[str, Map]:
        """Shape of every spike map. Raises ArchsimError when a layer does not fit the map that it reads."""
        maps = {IMAGE: self.image}
        for layer in self.layers:
            if isinstance(layer, Synapse):
                result = output_shape(layer, self._read(maps, layer.name, layer.source))
                if layer.spikes:
                    if layer.pool:
                        result = Map((result.height + 1) // 2, (result.width + 1) // 2, result.channels)
                    maps[layer.spikes] = result
            elif isinstance(layer, Attention):
                shapes = [self._read(maps, layer.name, name) for name in (layer.q, layer.k, layer.v)]
                if len(set(shapes)) != 1 or shapes[0].channels % layer.heads:
                    raise ArchsimError(
                        f"layer '{layer.name}': q, k and v must have one shape whose channels {layer.heads} heads divide, "
                        f"given {shapes}"
                    )
                maps[layer.spikes] = shapes[0]
            elif isinstance(layer, Experts):
                check_experts(layer, source := self._read(maps, layer.name, layer.source))
                if layer.spikes:
                    maps[layer.spikes] = source
        return maps

    @staticmethod
    def _read(maps: dict[str, Map], layer: str, name: str) -> Map:
        if name not in maps:
            raise ArchsimError(f"layer '{layer}': reads map '{name}', which no layer before it writes")
        return maps[name]


def output_shape(layer: Synapse, source: Map) -> Map:
    """Shape of a layer's sums (before any pool). Raises ArchsimError when channels or kernel do not match."""
    channels, inputs, height, width = layer.weight.shape
    if inputs != source.channels:
        raise ArchsimError(
            f"layer '{layer.name}': weights of shape {layer.weight.shape} need a map of {inputs} channels, "
            f"but '{layer.source}' has {source.channels}"
        )
    result = Map(
        (source.height + 2 * layer.padding - height) // layer.stride + 1,
        (source.width + 2 * layer.padding - width) // layer.stride + 1,
        channels,
    )
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
        given, hidden = (expert.hidden, expert.hidden_bias, expert.weight, expert.bias), len(expert.hidden)
        parts[f"expert {number}"] = given, ((hidden, channels), (hidden,), (channels, hidden), (channels,))
    for part, (weights, required) in parts.items():
        if (shapes := tuple(weight.shape for weight in weights)) != required:
            raise ArchsimError(f"layer '{layer.name}': {part} needs weights of shapes {required}, given {shapes}")
