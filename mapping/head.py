"""Classifier in integers: bit planes of a reduction or neurons on the mean over tokens, and the linear layer behind."""

from dataclasses import replace

import numpy as np

from archsim.contracts import neuron
from archsim.contracts.common.errors import ArchsimError
from mapping.bounds import Bounds
from mapping.integer_nodes import IntSum, IntTokenNeuron
from mapping.ir import LIF, Classifier, Map, Network
from mapping.layer_norm import quantise_layer_norm
from mapping.quantise import IntLayer, IntPlanes, IntSynapse, Precision
from mapping.scales import LEAST_WEIGHT, integers

HEAD_MARGIN = 2.0
"""Room above the greatest classifier operand seen in recorded runs before it saturates."""


def quantise_head(
    layer: Classifier, network: Network, source: IntLayer, exponent: int, precision: Precision, bounds: Bounds
) -> list[IntLayer]:
    """The layer whose results are reduced, what makes the classifier's operand of them, and the classifier."""
    if layer.norm is not None:
        return _normalised(layer, network, source, precision, bounds)
    if not isinstance(source, IntSynapse | IntSum) or not source.reduce:
        raise ArchsimError(f"layer '{layer.name}': the classifier must follow the layer whose results are reduced")
    if layer.neuron is None:
        if isinstance(source, IntSum):  # counts of spikes: whole, and never negative
            most = len(source.sources) * source.shape.positions * network.timesteps
            exact = replace(precision, head_bits=min(precision.head_bits, most.bit_length() + 1))
            planes, classifier = _classifier(layer, network, source.shape, 0, exact, most)
        else:
            planes, classifier = _classifier(layer, network, source.shape, exponent, precision)
        bounds.synapse(classifier, 1)
        return [source, planes, classifier]
    if not isinstance(source, IntSynapse) or not source.stream or layer.neuron != LIF or layer.spikes is None:
        raise ArchsimError(
            f"layer '{layer.name}': a neuron before the classifier must be a LIF on the mean over tokens of a stream, "
            f"given {layer.neuron} on '{source.name}'; train without it"
        )
    threshold = max(round(layer.threshold * source.shape.positions * 2.0**exponent), 1)
    channels = layer.weight.shape[1]
    fires = IntTokenNeuron(layer.spikes, source.name, np.full(channels, threshold, np.int64), Map(1, 1, channels))
    bounds.require(fires.name, "threshold", fires.threshold)
    classifier = _spike_classifier(layer, network.timesteps, fires.name, precision)
    bounds.synapse(classifier, 1, network.timesteps)
    return [replace(source, reduce=False, kind=neuron.NONE), fires, classifier]


def _normalised(
    layer: Classifier, network: Network, source: IntLayer, precision: Precision, bounds: Bounds
) -> list[IntLayer]:
    """The layer that opens a stream, its layer norm, bit planes of the sums, and the classifier with gains and offsets in it."""
    if not isinstance(source, IntSynapse) or not source.opens or source.spikes or layer.norm is None:
        raise ArchsimError(f"layer '{layer.name}': a layer norm before the classifier must follow the layer that opens its stream")
    count = source.shape.positions * network.timesteps
    low, high = bounds.streams[source.stream or ""]
    norm, greatest = quantise_layer_norm(
        source.name, source.shape, low, high, count, precision.operand_bits, precision.membrane_bits
    )
    sums = np.array([-greatest * count, greatest * count])
    for name in (norm.name, source.name):  # the parts of a reduction have the bits of the layer that is reduced
        bounds.require(name, "sum of normed values", sums)
    (gain, offset), weight = layer.norm, layer.weight
    folded = replace(layer, weight=weight * gain, bias=layer.bias + weight @ offset)
    planes, classifier = _classifier(folded, network, source.shape, norm.exponent, precision, floors=count)
    bounds.synapse(classifier, 1)
    return [source, norm, replace(planes, norm=layer.norm), classifier]


def _spike_classifier(layer: Classifier, steps: int, source: str, precision: Precision) -> IntSynapse:
    """The classifier on spikes, summed over the time steps; one scale for all classes."""
    factor = ((1 << (precision.weight_bits - 1)) - 1) / max(np.abs(layer.weight).max(), LEAST_WEIGHT)
    zeros = np.zeros(len(layer.weight), np.int64)
    weight = np.rint(layer.weight * factor).astype(np.int8)[:, :, None, None]
    bias = integers(layer.bias * factor * steps)
    return IntSynapse(layer.name, source, weight, bias, zeros, zeros, neuron.NONE, Map(1, 1, len(layer.weight)))


def _classifier(
    layer: Classifier, network: Network, source: Map, exponent: float, precision: Precision, most: int | None = None,
    floors: int = 0,
) -> tuple[IntPlanes, IntSynapse]:
    """Bit planes of the reduction, and the classifier on them; one scale for all classes, so that they compare.

    ``most``: greatest value that the reduction can have, if that is known and the recorded one does not bound it.
    ``floors``: addends of the reduction that lost half a unit each, on average.
    """
    top = (1 << (precision.weight_bits - 1)) - 1
    count = source.positions * network.timesteps
    greatest = network.head_limit * HEAD_MARGIN * count * 2.0**exponent
    greatest = greatest if most is None else min(greatest, most)
    right_shift = max(0, int(np.ceil(np.log2(max(greatest, 1.0)))) - (precision.head_bits - 1))
    factor = top / max(np.abs(layer.weight).max(), LEAST_WEIGHT)
    operand = count * 2.0**exponent / 2.0**right_shift
    channels = len(layer.weight)
    planes = IntPlanes(
        f"{layer.name}.planes", layer.source, f"{layer.name}.input", precision.head_bits, right_shift, exponent
    )
    # Floor loses half a unit of each operand on average; the bias gives it back.
    weight, lost = np.rint(layer.weight * factor), 0.5 * (right_shift > 0) + 0.5 * floors / 2.0**right_shift
    bias = integers(layer.bias * factor * operand + lost * weight.sum(1))
    zeros = np.zeros(channels, np.int64)
    return planes, IntSynapse(
        layer.name, planes.spikes, weight.astype(np.int8)[:, :, None, None], bias, zeros, zeros, neuron.NONE,
        Map(1, 1, channels), planes=precision.head_bits,
    )  # fmt: skip
