"""Layers with a norm by token in integers: a scale and an offset of their sums for each position, and no multiplier.

Before neurons without a stream the scale, which must be positive, moves into the token's threshold and bias: a LIF that gets x / g
fires at threshold / g as one that gets x does at the threshold. Before a stream the token reads a copy of the weights, with the
scale multiplied into it. A scale is ``mantissa * 2 ** exponent``: the exponent goes into the token's shift, so that tokens with the
same mantissa share a copy, and mantissas are rounded to a few classes.
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import neuron
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from mapping.data import param_rows
from mapping.ir import Map, Synapse
from mapping.quantise import THRESHOLD_LIMIT, TOKEN_CLASSES, IntSynapse, Precision, neuron_kind
from mapping.scales import integers, powers, thresholds

if TYPE_CHECKING:
    from mapping.bounds import Bounds


HALVINGS = 40
"""Steps of the search for the width of a class: of an octave, 2**-40."""


def _empty() -> NDArray[np.int64]:
    return np.zeros(0, np.int64)


@dataclass(frozen=True)
class IntTokenSynapse(IntSynapse):
    """A layer whose tokens have parameters of their own: ``bias``, ``threshold`` and ``shift`` are [tokens, Cout].

    Attributes:
        weight: the first copy.
        copies: int8 [copies, Cout, Cin, 1, 1].
        kinds: int64 [tokens], the copy that each token reads.
    """

    copies: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))
    kinds: NDArray[np.int64] = field(default_factory=_empty)

    def token(self, number: int) -> IntSynapse:
        """The layer as one token sees it."""
        return self.plain(int(self.kinds[number]), self.bias[number], self.threshold[number], self.shift[number])

    def plain(
        self, copy: int, bias: NDArray[np.int64], threshold: NDArray[np.int64], shift: NDArray[np.int64]
    ) -> IntSynapse:
        """An ordinary layer with a copy of the weights and these parameters [Cout]."""
        return IntSynapse(
            self.name, self.source, self.copies[copy], bias, threshold, shift, self.kind, self.shape, stream=self.stream,
            opens=self.opens, spikes=self.spikes, into=self.into,
        )  # fmt: skip


def quantise_tokens(
    layer: Synapse, shape: Map, exponent: int, precision: Precision, classes: int = TOKEN_CLASSES
) -> IntTokenSynapse:
    """Integers of a layer on spikes with a norm by token; raises ArchsimError unless all scales are positive."""
    assert layer.token_norm is not None
    scale, offset = layer.token_norm
    if not scale.any():  # of a network of which only the shapes are known
        scale = np.ones(len(scale))
    if len(scale) != shape.positions or scale.min() <= 0:
        raise ArchsimError(
            f"layer '{layer.name}': a norm by token needs a positive scale for each of {shape.positions} tokens, given "
            f"{len(scale)} from {scale.min():g}; train with positive gains of the norm"
        )
    if layer.stream:
        return _joining(layer, shape, exponent, precision, scale, offset, classes)
    return _firing(layer, shape, precision, scale, offset)


def _firing(
    layer: Synapse, shape: Map, precision: Precision, scale: NDArray[np.float64], offset: NDArray[np.float64]
) -> IntTokenSynapse:
    """Scales in thresholds and biases: one copy of the weights, as fine as the channel allows."""
    top, channels = (1 << (precision.weight_bits - 1)) - 1, len(layer.weight)
    greatest = np.maximum(np.abs(layer.weight).reshape(channels, -1).max(1), 1e-30)
    factor = np.minimum(top / greatest, THRESHOLD_LIMIT * scale.min() / layer.threshold)
    bias = integers((layer.bias + (offset / scale)[:, None]) * factor)
    threshold = np.maximum(integers((layer.threshold / scale)[:, None] * factor), 1)
    weight = np.clip(np.rint(layer.weight * factor[:, None, None, None]), -top - 1, top).astype(np.int8)
    return IntTokenSynapse(
        layer.name, layer.source, weight, bias, threshold, np.zeros_like(bias), neuron_kind(layer.neuron), shape,
        spikes=layer.spikes, copies=weight[None], kinds=np.zeros(len(scale), np.int64),
    )  # fmt: skip


def _joining(
    layer: Synapse, shape: Map, exponent: int, precision: Precision, scale: NDArray[np.float64], offset: NDArray[np.float64],
    classes: int,
) -> IntTokenSynapse:  # fmt: skip
    """Scales in copies of the weights and in shifts."""
    top, kind = (1 << (precision.weight_bits - 1)) - 1, neuron_kind(layer.neuron)
    mantissas, kinds = mantissa_classes(scale, classes)
    twos = np.rint(np.log2(scale / mantissas[kinds])).astype(np.int64)  # of each token
    power = np.stack([powers(layer.weight * mantissa, precision.weight_bits) for mantissa in mantissas])  # [classes, Cout]
    low, high = exponent + twos.max() - neuron.SHIFT_LIMIT, exponent + twos.min() + neuron.SHIFT_LIMIT
    power = np.maximum(np.minimum(power, high), low)
    shift = power[kinds] - exponent - twos[:, None]
    half = np.where(shift > 0, 1 << np.maximum(shift - 1, 0), 0)
    exact = scale[:, None] * layer.bias + offset[:, None]
    bias = integers(exact * 2.0 ** (power[kinds] - twos[:, None])) + half
    copies = np.stack([
        np.clip(np.rint(layer.weight * mantissa * (2.0**factor)[:, None, None, None]), -top - 1, top).astype(np.int8)
        for mantissa, factor in zip(mantissas, power, strict=True)
    ])  # fmt: skip
    threshold = thresholds(layer, 2.0**exponent, int(kind != neuron.NONE), precision)
    return IntTokenSynapse(
        layer.name, layer.source, copies[0], bias, np.broadcast_to(threshold, bias.shape).copy(), shift, kind, shape,
        stream=layer.stream, opens=layer.opens, spikes=layer.spikes, into=layer.into, copies=copies, kinds=kinds,
    )  # fmt: skip


def mantissa_classes(scale: NDArray[np.float64], classes: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """At most ``classes`` mantissas, each [1, 2) or a little beside, and the class of each scale.

    The octave is a circle, cut at its widest gap; there the classes are intervals of one width, the least that covers all
    mantissas with so many, and a mantissa stands in the middle of those that it is for.
    """
    place = np.log2(scale) % 1.0
    values = np.unique(place)
    gaps = np.diff(np.append(values, values[0] + 1.0))
    cut = values[(int(np.argmax(gaps)) + 1) % len(values)]
    along = (place - cut) % 1.0  # from the cut on
    ordered = np.unique(along)
    first, least, enough = _starts(ordered, 0.0), 0.0, 1.0
    if len(first) > classes:
        for _ in range(HALVINGS):
            middle = (least + enough) / 2
            least, enough = (least, middle) if len(_starts(ordered, middle)) <= classes else (middle, enough)
        first = _starts(ordered, enough)
    kinds = np.searchsorted(first, along, side="right") - 1
    middles = [(along[kinds == number].min() + along[kinds == number].max()) / 2 for number in range(len(first))]
    mantissas: NDArray[np.float64] = 2.0 ** (np.array(middles) + cut)
    return mantissas, kinds.astype(np.int64)


def _starts(ordered: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Where intervals of a width begin that cover sorted values from the left."""
    starts = [ordered[0]]
    for value in ordered:
        if value > starts[-1] + width:
            starts.append(value)
    return np.array(starts)


def token_rows(chip: ChipParams, layer: IntTokenSynapse, word: int, tokens: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Rows of a parameter bank for one channel word of some tokens, token by token."""
    return np.concatenate([param_rows(chip, layer.token(token), word) for token in tokens.tolist()])


def prove(layer: IntTokenSynapse, bounds: "Bounds") -> IntTokenSynapse:
    """Prove sums, stream and membranes of every token; returns the layer."""
    tokens = [np.flatnonzero(layer.kinds == copy) for copy in range(len(layer.copies))]
    ranges = [
        bounds.scaled(layer.plain(copy, layer.bias[these], layer.threshold[these], layer.shift[these]))
        for copy, these in enumerate(tokens)
    ]
    low, high = np.min([low.min(0) for low, _ in ranges], axis=0), np.max([high.max(0) for _, high in ranges], axis=0)
    bounds.join(replace(layer.token(0), threshold=layer.threshold.max(0)), low, high, 1)
    return layer
