"""Integer reference: the quantised network as plain NumPy matrix products, independent of chip, program and kernels."""

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from archsim.contracts import neuron
from mapping.experts import IntExperts, IntGate
from mapping.integer_nodes import IntAttention, IntConcat, IntSum, IntTokenNeuron, IntTranspose
from mapping.ir import IMAGE, Map
from mapping.layer_norm import IntLayerNorm
from mapping.quantise import IntNetwork, IntPlanes, IntSynapse
from mapping.token_norm import IntTokenSynapse
from mapping.weigh import FRACTION
from mapping.window_attention import IntWindowAttention

Integer = TypeVar("Integer", np.int32, np.int64)


@dataclass
class ReferenceRun:
    """Every value of one image.

    Attributes:
        spikes: bool [T, positions, channels] by map, after any pool.
        inputs: membrane inputs int64 [T, positions, channels] by layer (stream values where it joins a stream).
        potentials: membrane potentials before the reset, of the same shape, of layers that fire. Those of attention within windows
            are in the order of the windows, as inputs are.
        routes: choices by layer of experts, int64 [tokens x choices, 3]: token, expert, slot (-1: dropped).
        operand: int64 [channels], the classifier's; sums over time where it reads spikes.
        logits: int64 [classes].
    """

    spikes: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    inputs: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    potentials: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    routes: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    operand: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    logits: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))


def run(network: IntNetwork, image: NDArray[np.int64]) -> ReferenceRun:
    """Run a quantised image int64 [positions, channels] through the network."""
    result = ReferenceRun()
    streams: dict[str, NDArray[np.int64]] = {}
    sums = np.zeros(0, np.int64)
    for layer in network.layers:
        if isinstance(layer, IntAttention | IntWindowAttention | IntTranspose):
            _spikes(layer, network, result)
        elif isinstance(layer, IntPlanes):
            half = 2 ** (layer.planes - 1)
            result.operand = np.clip(sums // 2**layer.right_shift, -half, half - 1)
        elif isinstance(layer, IntSum):
            if layer.reduce:
                sums = _operand(network, result, layer.name).sum(axis=(0, 1))
        elif isinstance(layer, IntLayerNorm):
            result.inputs[layer.name] = layer.values(result.inputs[layer.source])
            sums = result.inputs[layer.name].sum(axis=(0, 1))
        elif isinstance(layer, IntTokenNeuron):
            result.inputs[layer.name] = y = result.inputs[layer.source].sum(axis=1, keepdims=True)
            bits = network.precision.membrane_bits
            fired, result.potentials[layer.name] = fire(y, layer.threshold, neuron.LIF, bits)
            result.spikes[layer.spikes], result.operand = fired, fired.sum(axis=(0, 1))
        elif layer.classifies:
            result.logits = layer.weight[:, :, 0, 0].astype(np.int64) @ result.operand + layer.bias
        elif isinstance(layer, IntGate):
            result.inputs[layer.name] = _sums(layer, network, result, image)[:1]
        else:
            if isinstance(layer, IntExperts):
                y = expert_results(layer, network, streams[layer.stream or ""], result)
            elif isinstance(layer, IntTokenSynapse):
                y = _by_token(layer, result)
            else:
                y = _sums(layer, network, result, image)
            if layer.stream:
                y = y if layer.opens else y + streams[layer.stream]
                streams[layer.into or layer.stream] = y
            result.inputs[layer.name] = y
            if layer.reduce:
                sums = y.sum(axis=(0, 1))
            if layer.spikes:
                bits = network.precision.membrane_bits
                fired, result.potentials[layer.name] = fire(y, layer.threshold, layer.kind, bits)
                result.spikes[layer.spikes] = pool(fired, layer.shape) if layer.pool else fired
    return result


def _spikes(layer: IntAttention | IntWindowAttention | IntTranspose, network: IntNetwork, result: ReferenceRun) -> None:
    """Spikes of spikes: attention over all tokens or within windows, and a map turned."""
    if isinstance(layer, IntAttention):
        _attention(layer, result)
    elif isinstance(layer, IntTranspose):
        result.spikes[layer.name] = _turned(layer, network.maps[layer.source], result.spikes[layer.source])
    else:
        _windows(layer, network, result)


def _operand(network: IntNetwork, result: ReferenceRun, name: str) -> NDArray[np.int64]:
    """Integers [T, positions, channels] of a spike map, of a sum of them, or of some side by side."""
    maps = [result.spikes[source].astype(np.int64) for source in network.addends(name)]
    beside = any(isinstance(layer, IntConcat) and layer.name == name for layer in network.layers)
    total: NDArray[np.int64] = np.concatenate(maps, axis=2) if beside else np.stack(maps).sum(axis=0)
    return total


def _sums(layer: IntSynapse, network: IntNetwork, result: ReferenceRun, image: NDArray[np.int64]) -> NDArray[np.int64]:
    """Scaled sums [T, positions, Cout] of a layer: one matrix product per time step over unfolded windows; maxima of them."""
    source = network.maps[layer.source]
    operand = image[None] if layer.source == IMAGE else _operand(network, result, layer.source)
    maps = operand.reshape(len(operand), source.height, source.width, -1)
    pad = layer.padding
    padded = np.pad(maps, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = sliding_window_view(padded, layer.weight.shape[2:], axis=(1, 2))
    windows = windows[:, :: layer.stride, :: layer.stride]
    columns = windows.reshape(len(operand), (layer.sums or layer.shape).positions, -1)  # [T, positions, Cin * kh * kw]
    sums = columns @ layer.weight.reshape(len(layer.weight), -1).astype(np.int64).T + layer.bias
    scaled = _shifted(sums, layer.shift)
    scaled = peaks(scaled, layer.sums) if layer.sums else scaled
    return np.repeat(scaled, network.timesteps, axis=0) if len(scaled) == 1 else scaled


def _by_token(layer: IntTokenSynapse, result: ReferenceRun) -> NDArray[np.int64]:
    """Scaled sums [T, positions, Cout] of a layer whose tokens have weights and parameters of their own."""
    spikes = result.spikes[layer.source].astype(np.int64)
    weights = layer.copies[layer.kinds, :, :, 0, 0].astype(np.int64)  # [positions, Cout, Cin]
    return _shifted(np.einsum("tnc,noc->tno", spikes, weights) + layer.bias, layer.shift)


def _turned(layer: IntTranspose, source: Map, spikes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Spikes [T, positions, channels] of a map with its axes in another order."""
    maps = spikes.reshape(len(spikes), source.height, source.width, source.channels)
    turned = maps.transpose(0, *(axis + 1 for axis in layer.order))
    return turned.reshape(len(spikes), layer.shape.positions, layer.shape.channels)


def _shifted(sums: NDArray[np.int64], shift: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sums [..., channels] shifted to the right, to the left where negative."""
    return np.asarray(np.where(shift < 0, sums * 2 ** np.maximum(-shift, 0), sums // 2 ** np.maximum(shift, 0)))


def expert_results(
    layer: IntExperts, network: IntNetwork, stream: NDArray[np.int64], result: ReferenceRun
) -> NDArray[np.int64]:
    """What the experts add to the ``stream`` [T, positions, C]: token by token, best score first, while an expert has room."""
    scores = result.inputs[f"{layer.name}.gate"][0]
    tokens = result.spikes[layer.source].astype(np.int64)
    added, taken, chosen = np.zeros(tokens.shape, np.int64), [0] * scores.shape[1], []
    weights = layer.weigh.weights(scores, network.precision.membrane_bits) if layer.weigh else None
    for token, values in enumerate(scores):
        for expert in np.argsort(-values, kind="stable")[: layer.choices].tolist():
            kept = taken[expert] < layer.capacity
            chosen.append((token, expert, taken[expert] if kept else -1))
            if kept:
                taken[expert] += 1
                (first, second), steps = layer.experts[expert], layer.steps[expert]
                hidden = tokens[:steps, token] @ first.weight[:, :, 0, 0].astype(np.int64).T + first.bias
                hidden = _shifted(hidden, first.shift) + (stream[:steps, token] if first.stream else 0)
                spikes, _ = fire(hidden, first.threshold, first.kind, network.precision.membrane_bits)
                sums = spikes.astype(np.int64) @ second.weight[:, :, 0, 0].astype(np.int64).T + second.bias
                results = _shifted(sums, second.shift)
                if weights is not None:
                    results = results * weights[token] >> FRACTION
                added[:steps, token] += results
                added[steps:, token] += results[-1]  # the last one stands for the steps that are left
    result.routes[layer.name] = np.array(chosen)
    return added


def fire(
    inputs: NDArray[Integer], threshold: NDArray[Integer], kind: int, bits: int
) -> tuple[NDArray[np.bool_], NDArray[Integer]]:
    """Neurons over axis 0 in the integers of ``inputs``; returns spikes and potentials before the reset.

    LIF: tau 2, hard reset to 0. IF: soft reset, membranes saturate at ``bits`` bits, start at half the threshold or at 0.
    """
    top, bottom = 2 ** (bits - 1) - 1, -(2 ** (bits - 1))
    v = np.zeros(inputs.shape[1:], inputs.dtype) + (threshold // 2 if kind == neuron.IF_HALF else 0)
    spikes, potentials = np.zeros(inputs.shape, np.bool_), np.zeros(inputs.shape, inputs.dtype)
    for t, y in enumerate(inputs):
        potentials[t] = np.floor_divide(v + y, 2) if kind == neuron.LIF else np.clip(v + y, bottom, top)
        spikes[t] = potentials[t] >= threshold
        kept = 0 if kind == neuron.LIF else np.clip(potentials[t] - threshold, bottom, top)
        v = np.where(spikes[t], kept, potentials[t])
    return spikes, potentials


def pool(spikes: NDArray[np.bool_], shape: Map) -> NDArray[np.bool_]:
    """OR over 3x3 windows, stride 2, padding 1, of a map [T, positions, channels] of that shape."""
    maps = spikes.reshape(len(spikes), shape.height, shape.width, -1)
    windows = sliding_window_view(np.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), axis=(1, 2))
    pooled = windows[:, ::2, ::2].any(axis=(4, 5))
    return np.asarray(pooled.reshape(len(spikes), -1, shape.channels))


def peaks(sums: NDArray[Integer], shape: Map) -> NDArray[Integer]:
    """Maximum over 3x3 windows, stride 2, padding 1, of sums [T, positions, channels] of that shape; never of padding."""
    maps = sums.reshape(len(sums), shape.height, shape.width, -1)
    edges = ((0, 0), (1, 1), (1, 1), (0, 0))
    padded = np.pad(maps, edges, constant_values=np.iinfo(sums.dtype).min)
    greatest = sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2].max(axis=(4, 5))
    result: NDArray[Integer] = greatest.reshape(len(sums), -1, shape.channels)
    return result


def _attention(layer: IntAttention, result: ReferenceRun) -> None:
    """(Q K^T) V per head and time step, then the LIF; or Q where the LIF on the tokens with K and V fires."""
    q, k, v = (result.spikes[name].astype(np.int64) for name in (layer.q, layer.k, layer.v))
    steps, tokens, channels = q.shape
    if layer.gates:
        result.inputs[layer.name], fired, result.potentials[layer.name] = gate(layer, k, v)
        result.spikes[layer.spikes] = (q > 0) & fired
        return
    q, k, v = (x.reshape(steps, tokens, layer.heads, -1).transpose(0, 2, 1, 3) for x in (q, k, v))
    counts = (q @ k.transpose(0, 1, 3, 2)) @ v
    y = counts.transpose(0, 2, 1, 3).reshape(steps, tokens, channels) * 2**-layer.shift
    result.inputs[layer.name] = y
    fired, result.potentials[layer.name] = fire(y, np.full(channels, layer.threshold), neuron.LIF, 64)
    result.spikes[layer.spikes] = fired


def _windows(layer: IntWindowAttention, network: IntNetwork, result: ReferenceRun) -> None:
    """Attention within windows; inputs and potentials in the order of the windows."""
    from mapping.window_reference import attend  # it fires as this module says

    y, fired, result.potentials[layer.name] = attend(layer, result.spikes, network.precision.membrane_bits)
    result.inputs[layer.name], result.spikes[layer.spikes] = y, fired[:, np.argsort(layer.order)]


def gate(
    layer: IntAttention, k: NDArray[np.int64], v: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Inputs, spikes and potentials [T, 1, channels] of the neurons that count the tokens with K and V [T, tokens, channels]."""
    y = np.einsum("tnc,tnc->tc", k, v)[:, None] * 2**-layer.shift
    return y, *fire(y, np.full(y.shape[2], layer.threshold), neuron.LIF, 64)
