"""Quantise: integer weights, thresholds, biases and shifts; and the proof that nothing can overflow.

A layer that feeds a neuron directly keeps the scale of each channel in its threshold and bias: nothing is rescaled. A layer that
joins a residual stream has a power of two as each channel's scale, and a shift that brings it to the stream's exponent;
half a unit of the shift goes into the bias. Rounding is floor everywhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import neuron
from archsim.contracts.common.errors import ArchsimError
from mapping.bounds import Bounds, ReductionOverflow
from mapping.integer_nodes import IntAttention, IntConcat, IntSum, IntTokenNeuron, IntTranspose, quantise_attention
from mapping.ir import (
    IF_HALF_ONE,
    IMAGE,
    LIF,
    Attention,
    Classifier,
    Joined,
    Map,
    Network,
    Synapse,
    halved,
    output_shape,
)
from mapping.layer_norm import IntLayerNorm, without_gains
from mapping.lower import lower
from mapping.nodes import Concat, Experts, Sum, Transpose, WindowAttention
from mapping.operators import require_mapped
from mapping.scales import image_scale, integers, powers, stream_exponent, thresholds
from mapping.spike_heights import lowered
from mapping.window_attention import IntWindowAttention, quantise_window

THRESHOLD_LIMIT = 1 << 15
"""Greatest threshold of a channel in raw units: caps the scale of channels with nearly no weight, whose threshold explodes."""

LEAST_EXPONENT = 4
"""Least exponent of a residual stream: a threshold of 1 is 16 units. At 64 the digits network loses nothing; less is untried."""

OPERAND_BITS = 16
"""Bits of a normaliser's operands where a chip has none: a distance from the mean and a reciprocal keep that many."""

TOKEN_CLASSES = 1
"""Copies of the weights of a layer with a norm by token (:mod:`mapping.token_norm`); more gained nothing on the digits network."""


@dataclass(frozen=True)
class Precision:
    """Bits of weights, of the image's planes and of the classifier's operand, of membranes, and of a normaliser's operands."""

    weight_bits: int = 8
    image_bits: int = 8
    head_bits: int = 11
    membrane_bits: int = 24
    operand_bits: int = OPERAND_BITS


@dataclass(frozen=True)
class IntSynapse:
    """A layer in integers.

    Attributes:
        name, source, stride, padding, stream, opens, spikes, pool, reduce: as in :class:`mapping.ir.Synapse`.
        weight: int8 [Cout, Cin, kh, kw].
        bias, threshold: int64 [Cout], raw units of the accumulator (bias) and of the membrane (threshold).
        shift: int64 [Cout], to the right (negative: left), applied to sum + bias.
        kind: neuron kind of the contract.
        planes: bits of the operand when it is made of bit planes (two's complement), 0 for spikes.
        shape: of the sums, before any pool.
        beside: maps side by side that it reads, whose channels follow each other in its weights.
        into: as in :class:`mapping.ir.Synapse`.
        reads: first input channel with weights, and the one behind the last, if they are known to be the only ones; else None.
        diagonal: as in :class:`mapping.ir.Synapse`; a word of the output then reads the same word of each map alone.
        sums: shape of the sums before they pass a maximum over windows, which ``shape`` is behind; None: they pass none.
    """

    name: str
    source: str
    weight: NDArray[np.int8]
    bias: NDArray[np.int64]
    threshold: NDArray[np.int64]
    shift: NDArray[np.int64]
    kind: int
    shape: Map
    stride: int = 1
    padding: int = 0
    stream: str | None = None
    opens: bool = False
    spikes: str | None = None
    pool: bool = False
    reduce: bool = False
    planes: int = 0
    beside: int = 1
    into: str | None = None
    reads: tuple[int, int] | None = None
    diagonal: bool = False
    sums: Map | None = None

    @property
    def classifies(self) -> bool:
        """Whether the layer is the classifier: its sums are the logits."""
        return not (self.stream or self.spikes or self.reduce)


@dataclass(frozen=True)
class IntPlanes:
    """Bit planes of a layer's reduction: ``planes`` bits of ``sum >> right_shift``, saturated.

    Attributes:
        name, source, spikes, planes, right_shift: as above.
        exponent: the sum counts in units of ``2 ** -exponent``.
        norm: gains and offsets of the layer norm before it, as in :class:`mapping.ir.Classifier`; the sums are without them.
    """

    name: str
    source: str
    spikes: str
    planes: int
    right_shift: int
    exponent: float
    norm: NDArray[np.float64] | None = None

    def sums(self, mean: NDArray[np.float64], count: int) -> NDArray[np.int64]:
        """The sums [channels] of ``count`` results whose mean, as the float network has it, is given."""
        mean = mean if self.norm is None else without_gains(mean, self.norm)
        sums: NDArray[np.int64] = np.floor(mean * count * 2.0**self.exponent).astype(np.int64)
        return sums


IntLayer = (
    IntSynapse | IntAttention | IntWindowAttention | IntPlanes | IntSum | IntTranspose | IntTokenNeuron | IntLayerNorm
)


@dataclass(frozen=True)
class IntNetwork:
    """A network in integers; the definition that simulator and reference both follow.

    Attributes:
        name, timesteps: as in the float network.
        maps: shapes of the spike maps; the image's and the classifier operand's too; of maps side by side, that of each.
        layers: in order; the last is the classifier.
        image_scale: normalised pixels are multiplied by it and rounded to ``precision.image_bits``.
        exponent: the residual stream counts in units of ``2 ** -exponent``.
        precision: bits.
        bounds: per layer, the least number of bits that holds every sum and membrane, as proven from the weights.
        padding: by map whose heads are padded, (channels, columns) of a head; see :mod:`mapping.pad`.
        joined: as in :class:`mapping.ir.Network`.
    """

    name: str
    timesteps: int
    maps: dict[str, Map]
    layers: tuple[IntLayer, ...]
    image_scale: float
    exponent: int
    precision: Precision
    bounds: dict[str, int]
    padding: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    joined: Mapping[str, Joined] = field(default_factory=dict)

    def carried(self, name: str, columns: int) -> NDArray[np.bool_]:
        """Which columns carry a channel, bool [words, ``columns``], of the words of a map."""
        channels = self.maps[name].channels
        size, width = self.padding.get(name, (channels, channels))
        column = np.arange(-(-channels // columns) * columns)
        return ((column < channels) & (column % width < size)).reshape(-1, columns)

    def share(self, name: str | None) -> Fraction:
        """The share of a map's channels that padding did not add."""
        return Fraction(*self.padding.get(name or "", (1, 1)))

    def addends(self, name: str) -> tuple[str, ...]:
        """Spike maps that the map ``name`` is made of: itself, or those that are added or lie side by side."""
        return next((x.sources for x in self.layers if isinstance(x, IntSum) and x.name == name), (name,))

    def quantise_image(self, image: NDArray[np.float64]) -> NDArray[np.int64]:
        """A normalised image [height, width] or [channels, height, width] as integers [positions, channels]."""
        channels = image.reshape(self.maps[IMAGE].channels, -1).T
        half = 1 << (self.precision.image_bits - 1)
        return np.clip(np.rint(channels * self.image_scale), -half, half - 1).astype(np.int64)


def quantise(network: Network, precision: Precision, classes: int = TOKEN_CLASSES) -> IntNetwork:
    """Integers for a network; ``classes``: copies of weights for a norm by token at most.

    A reduction over many positions and time steps makes the stream's units coarser until no sum can overflow.
    Raises ArchsimError when a sum or membrane could overflow, or an operator has no integer form on the chip.
    """
    require_mapped(network)
    network = lower(lowered(network))
    exponent = stream_exponent(network, precision)
    while True:
        try:
            return _quantise(network, precision, exponent, classes)
        except ReductionOverflow as overflow:
            if exponent - overflow.excess < LEAST_EXPONENT:
                raise
            exponent -= overflow.excess


def _quantise(network: Network, precision: Precision, exponent: int, classes: int) -> IntNetwork:
    """Integers for a network whose residual stream counts in units of ``2 ** -exponent``."""
    maps, bounds = network.maps(), Bounds(precision)
    pixel = image_scale(network, precision)
    # A neuron on the mean over tokens keeps the steps apart.
    steps = 1 if any(isinstance(x, Classifier) and x.neuron for x in network.layers) else network.timesteps
    layers: list[IntLayer] = []
    sums: dict[str, IntSum] = {}
    beside: dict[str, int] = {}
    for layer in network.layers:
        if isinstance(layer, Synapse):
            shape = output_shape(layer, maps[layer.source])
            scale = pixel if layer.source == IMAGE else 1.0
            if layer.token_norm is not None:
                from mapping.token_norm import prove, quantise_tokens  # its layers are this module's

                layers.append(prove(quantise_tokens(layer, shape, exponent, precision, classes), bounds))
                continue
            integer = quantise_synapse(layer, shape, scale, exponent, precision)
            addends = len(sums[layer.source].sources) if layer.source in sums else 1
            joined = network.joined.get(layer.name)
            integer = replace(integer, beside=beside.get(layer.source, 1), reads=joined.reads if joined else None)
            if layer.pool_sums:
                integer = replace(integer, shape=halved(shape), sums=shape)
            bounds.synapse(integer, shape.positions * steps, addends)
            layers.append(integer)
        elif isinstance(layer, Sum):
            sources = tuple(x for name in layer.sources for x in (sums[name].sources if name in sums else (name,)))
            sums[layer.name] = IntSum(layer.name, sources, maps[layer.name], layer.reduce)
            layers.append(sums[layer.name])
            bounds.count(layer.name, len(sources) * maps[layer.name].positions * network.timesteps)
        elif isinstance(layer, Concat):
            if len({maps[name] for name in layer.sources}) > 1:
                raise ArchsimError(
                    f"layer '{layer.name}': required maps of one shape side by side, given {[maps[name] for name in layer.sources]}"
                )
            layers.append(IntConcat(layer.name, layer.sources, maps[layer.sources[0]]))
            beside[layer.name] = len(layer.sources)
        elif isinstance(layer, Transpose):
            layers.append(IntTranspose(layer.name, layer.source, layer.order, maps[layer.name]))
        elif isinstance(layer, Attention):
            layers.append(quantise_attention(layer))
        elif isinstance(layer, WindowAttention):
            number = sum(isinstance(x, IntWindowAttention) for x in layers)
            layers.append(quantise_window(layer, maps[layer.q], number))
        elif isinstance(layer, Experts):
            from mapping.experts import quantise_experts  # its layers are this module's

            before = layers[-1] if layers else None
            layers += quantise_experts(layer, before, maps, exponent, precision, bounds, steps, network.timesteps)
        elif isinstance(layer, Classifier):
            from mapping.head import quantise_head  # its layers are this module's

            layers += quantise_head(layer, network, layers.pop(), exponent, precision, bounds)
            maps[layers[-2].spikes or ""] = Map(1, 1, layer.weight.shape[1])
    maps |= {layer.name: layer.shape for layer in layers if isinstance(layer, IntConcat)}
    return IntNetwork(
        network.name, network.timesteps, maps, tuple(layers), pixel, exponent, precision, bounds.layers, joined=network.joined
    )


def neuron_kind(name: str | None) -> int:
    """Kind of the contract of a neuron, or of none."""
    return neuron.NONE if name is None else {LIF: neuron.LIF, IF_HALF_ONE: neuron.IF_HALF}.get(name, neuron.IF_ZERO)


def quantise_synapse(layer: Synapse, shape: Map, operand: float, exponent: int, precision: Precision) -> IntSynapse:
    """One layer; ``operand``: scale of its input (1 for spikes)."""
    top = (1 << (precision.weight_bits - 1)) - 1
    channels = len(layer.weight)
    kind = neuron_kind(layer.neuron)
    least = int(kind != neuron.NONE)  # a threshold that rounded to 0 would fire without input
    if layer.stream:
        unit = exponent - round(np.log2(operand))  # of weights, so that the sums are in the stream's units
        power = np.minimum(powers(layer.weight, precision.weight_bits), unit + neuron.SHIFT_LIMIT)
        power = np.maximum(power, unit - neuron.SHIFT_LIMIT)
        factor, shift = 2.0**power, power - unit
        half = np.where(shift > 0, 1 << np.maximum(shift - 1, 0), 0)
        bias = integers(layer.bias * factor * operand) + half
        threshold = thresholds(layer, 2.0**exponent, least, precision)
    else:
        greatest = np.maximum(np.abs(layer.weight).reshape(channels, -1).max(1), 1e-30)
        factor = np.minimum(top / greatest, THRESHOLD_LIMIT / (layer.threshold * operand))
        shift = np.zeros(channels, np.int64)
        bias = integers(layer.bias * factor * operand)
        threshold = np.maximum(integers(layer.threshold * factor * operand), least)
    weight = np.rint(layer.weight * factor[:, None, None, None])
    return IntSynapse(
        layer.name, layer.source, np.clip(weight, -top - 1, top).astype(np.int8), bias, threshold, shift, kind, shape,
        layer.stride, layer.padding, layer.stream, layer.opens, layer.spikes, layer.pool, layer.reduce,
        precision.image_bits if layer.source == IMAGE else 0, into=layer.into, diagonal=layer.diagonal,
    )  # fmt: skip
