"""Calibrate: thresholds and biases that give a network of random weights the firing rates of a trained one. SYNTHETIC.

Each layer's bias takes the mean out of its sums, as a norm would, and its thresholds are one multiple of the standard
deviation of each channel's membrane input: the multiple with which the map fires at the rate asked for, on one image.
Layer by layer, so that each sees the spikes that the calibrated layers before it fire. Sums are computed in float32,
which is exact: the proof of the bounds keeps them below 2**23.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mapping.bounds import Bounds
from mapping.experts import IntExperts, IntGate, prove
from mapping.integer_nodes import IntAttention, IntTokenNeuron
from mapping.ir import IMAGE, Map
from mapping.quantise import IntNetwork, IntSynapse
from mapping.reference import ReferenceRun, expert_results, fire, gate, peaks, pool

Fires = TypeVar("Fires", bound=IntSynapse)
"""Any layer with neurons of its own."""

SAMPLE = 1 << 18
"""Membrane inputs of a layer that choose its threshold; about so many."""

DOUBLINGS = 16
"""Steps of the search: the multiple is found to 8 / 2**16 standard deviations."""


@dataclass
class Calibration:
    """A network in the making.

    Attributes:
        network: whose thresholds and biases are replaced.
        rates: firing rate asked for, 0..1, by map (after its pool); other maps keep their thresholds.
        spikes: bool [T, positions, channels] by map, as far as a later layer may read it.
        streams: int32 [T, positions, channels] by residual stream.
        reached: firing rate on the image by map.
    """

    network: IntNetwork
    rates: Mapping[str, float]
    spikes: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    streams: dict[str, NDArray[np.int32]] = field(default_factory=dict)
    reached: dict[str, float] = field(default_factory=dict)

    def attention(self, layer: IntAttention) -> IntAttention:
        """One attention layer: a threshold of all its neurons, a whole number of counts or half of it; a gate keeps its own."""
        if layer.gates:
            passed = gate(layer, *(self.spikes[name].astype(np.int64) for name in (layer.k, layer.v)))[1]
            self._keep(layer.spikes, self.spikes[layer.q] & passed)
            return layer
        q, k, v = (self.spikes[name].astype(np.float32) for name in (layer.q, layer.k, layer.v))
        steps, tokens, channels = q.shape
        # Contiguous, because NumPy multiplies other matrices without BLAS.
        heads = (x.reshape(steps, tokens, layer.heads, -1).transpose(0, 2, 1, 3) for x in (q, k, v))
        q, k, v = map(np.ascontiguousarray, heads)
        counts = q @ (k.transpose(0, 1, 3, 2) @ v)
        y = counts.transpose(0, 2, 1, 3).reshape(steps, tokens, channels).astype(np.int32) << -layer.shift
        if layer.spikes in self.rates:

            def rate(threshold: float) -> float:
                return float(fire(y, np.full(channels, round(threshold)), 1, 24)[0].mean())

            found = _search(rate, self.rates[layer.spikes], float(y.max() + 1))
            choices = [max(1, int(found)), int(found) + 1]
            best = min(choices, key=lambda threshold: abs(rate(threshold) - self.rates[layer.spikes]))
            layer = replace(layer, threshold=best)
        self._keep(layer.spikes, fire(y, np.full(channels, layer.threshold), 1, 24)[0])
        return layer

    def synapse(self, layer: IntSynapse, image: NDArray[np.int64]) -> IntSynapse:
        """One convolution or linear layer."""
        sums = _sums(layer, self.network, image if layer.source == IMAGE else self.spikes[layer.source])
        bias = layer.bias - np.rint(sums.mean(axis=(0, 1), dtype=np.float64)).astype(np.int64)
        y = sums.astype(np.int32) + bias.astype(np.int32)
        left, right = np.maximum(-layer.shift, 0).astype(np.int32), np.maximum(layer.shift, 0).astype(np.int32)
        y = (y << left) >> right
        y = peaks(y, layer.sums) if layer.sums else y
        return self._fired(replace(layer, bias=bias), y)

    def experts(self, gate_layer: IntGate, layer: IntExperts) -> IntExperts:
        """A layer of experts: gate and experts stay as they are, the neurons of the stream behind them do not."""
        scores = _sums(gate_layer, self.network, self.spikes[layer.source]).astype(np.int64)[:1] + gate_layer.bias
        run = ReferenceRun(self.spikes, {gate_layer.name: scores})
        added = expert_results(layer, self.network, self.streams[layer.stream or ""].astype(np.int64), run)
        return self._fired(layer, added.astype(np.int32))

    def _fired(self, layer: Fires, y: NDArray[np.int32]) -> Fires:
        """A layer whose scaled sums are ``y``: they join its stream, and its neurons fire at the rate asked for."""
        if layer.stream:
            self.streams[layer.stream] = y = y if layer.opens else y + self.streams[layer.stream]
        if layer.spikes in self.rates:
            layer = self._threshold(layer, y)
        if layer.spikes is None:
            return layer
        y = np.broadcast_to(y, (self.network.timesteps, *y.shape[1:]))
        fired = fire(y, layer.threshold.astype(np.int32), layer.kind, self.network.precision.membrane_bits)[0]
        self._keep(layer.spikes, pool(fired, layer.shape) if layer.pool else fired)
        return layer

    def _threshold(self, layer: Fires, y: NDArray[np.int32]) -> Fires:
        sample, shape = _sample(y, layer.shape, self.network.timesteps)
        spread = np.maximum(sample.std(axis=(0, 1), dtype=np.float64), 1.0)
        bits = self.network.precision.membrane_bits

        def rate(multiple: float) -> float:
            fired = fire(sample, thresholds(multiple), layer.kind, bits)[0]
            return float((pool(fired, shape) if layer.pool else fired).mean())

        def thresholds(multiple: float) -> NDArray[np.int32]:
            found: NDArray[np.int32] = np.maximum(np.rint(multiple * spread), 1).astype(np.int32)
            return found

        found = _search(rate, self.rates[layer.spikes or ""], 8.0)
        return replace(layer, threshold=thresholds(found).astype(np.int64))

    def _keep(self, name: str | None, spikes: NDArray[np.bool_]) -> None:
        if name is not None:
            self.spikes[name], self.reached[name] = spikes, float(spikes.mean())


def calibrate(
    network: IntNetwork, image: NDArray[np.int64], rates: Mapping[str, float]
) -> tuple[dict[str, NDArray[np.int64]], dict[str, float]]:
    """What :func:`apply` takes, and the firing rates that the network's maps then reach on ``image``.

    Args:
        network: of random weights.
        image: quantised, int64 [positions, channels].
        rates: 0..1 by map.
    """
    work, values = Calibration(network, rates), {}
    for number, layer in enumerate(network.layers):
        if isinstance(layer, IntAttention):
            values[f"{layer.name}.threshold"] = np.array(work.attention(layer).threshold)
        elif isinstance(layer, IntExperts):
            before = network.layers[number - 1]
            assert isinstance(before, IntGate)  # both are made together
            values[f"{layer.name}.threshold"] = work.experts(before, layer).threshold
        elif isinstance(layer, IntSynapse) and not layer.classifies and not isinstance(layer, IntGate):
            layer = work.synapse(layer, image)
            values |= {f"{layer.name}.threshold": layer.threshold, f"{layer.name}.bias": layer.bias}
    return values, work.reached


def apply(network: IntNetwork, values: Mapping[str, NDArray[np.int64]]) -> IntNetwork:
    """The network with these thresholds and biases ("layer.threshold", "layer.bias").

    Raises ArchsimError when a sum or membrane could overflow.
    """
    bounds, layers = Bounds(network.precision), []
    summed = {layer.source for layer in network.layers if isinstance(layer, IntTokenNeuron)}  # over tokens, step by step
    for layer in network.layers:
        if isinstance(layer, IntAttention):
            layer = replace(layer, threshold=int(values[f"{layer.name}.threshold"]))
        elif isinstance(layer, IntSynapse):
            bias = values.get(f"{layer.name}.bias", layer.bias)
            layer = replace(layer, bias=bias, threshold=values.get(f"{layer.name}.threshold", layer.threshold))
            apart = layer.name in summed
            steps = 1 if apart else network.timesteps
            addends = network.timesteps if layer.classifies and not layer.planes else 1  # spikes of all steps at once
            summed_up, sums = replace(layer, reduce=layer.reduce or apart), layer.shape.positions * steps
            if isinstance(summed_up, IntGate | IntExperts):
                prove(summed_up, bounds, sums)
            else:
                bounds.synapse(summed_up, sums, addends)
        elif isinstance(layer, IntTokenNeuron):
            bounds.require(layer.name, "threshold", layer.threshold)
        layers.append(layer)
    return replace(network, layers=tuple(layers), bounds=bounds.layers)


def _search(rate: Callable[[float], float], target: float, high: float) -> float:
    """Where a falling function of 0..``high`` comes down to ``target``."""
    low = 0.0
    for _ in range(DOUBLINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if rate(middle) > target else (low, middle)
    return high


def _sample(y: NDArray[np.int32], shape: Map, timesteps: int) -> tuple[NDArray[np.int32], Map]:
    """The middle of a map [T, positions, channels] as far as SAMPLE allows, at every time step; and its shape."""
    side = max(2, int((SAMPLE / timesteps / shape.channels) ** 0.5) // 2 * 2)
    height, width = min(side, shape.height), min(side, shape.width)
    top, left = (shape.height - height) // 2, (shape.width - width) // 2
    maps = y.reshape(-1, shape.height, shape.width, shape.channels)[:, top : top + height, left : left + width]
    part = np.ascontiguousarray(maps).reshape(len(y), height * width, shape.channels)
    return np.broadcast_to(part, (timesteps, *part.shape[1:])), Map(height, width, shape.channels)


def _sums(layer: IntSynapse, network: IntNetwork, operand: NDArray[np.generic]) -> NDArray[np.float32]:
    """Sums [T, positions, Cout], one matrix product per tap of the kernel; T = 1 for the image."""
    source, shape, pad, stride = network.maps[layer.source], layer.sums or layer.shape, layer.padding, layer.stride
    maps = operand.astype(np.float32).reshape(-1, source.height, source.width, source.channels)
    maps = np.pad(maps, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    sums = np.zeros((len(maps), shape.positions, shape.channels), np.float32)
    for dy, dx in np.ndindex(*layer.weight.shape[2:]):
        tap = np.ascontiguousarray(layer.weight[:, :, dy, dx].T, np.float32)
        for step, whole in enumerate(maps):
            window = whole[dy : dy + (shape.height - 1) * stride + 1 : stride]
            window = window[:, dx : dx + (shape.width - 1) * stride + 1 : stride]
            sums[step] += window.reshape(shape.positions, -1) @ tap
    return sums
