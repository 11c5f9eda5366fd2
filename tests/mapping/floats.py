"""A network of the intermediate representation in float64, layer by layer: definitions, and what they are lowered to."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mapping.ir import CHANNELS, HEIGHT, IMAGE, Classifier, Synapse
from mapping.nodes import Concat, Norm, Sum, Transpose


def run(network, image):
    """Spikes [T, H, W, C] by map, and logits, of an image [H, W, C]."""
    steps, maps, streams, logits = network.timesteps, {IMAGE: np.stack([image] * network.timesteps)}, {}, None
    for layer in network.layers:
        if isinstance(layer, Synapse):
            y = _sums(layer, maps[layer.source])
            if layer.token_norm is not None:
                scale, offset = layer.token_norm.reshape(2, *y.shape[1:3], 1)
                y = y * scale + offset
            if layer.stream:
                y = y if layer.opens else y + streams[layer.stream]
                streams[layer.into or layer.stream] = y
            if layer.spikes:
                maps[layer.spikes] = _fire(y, layer.threshold)
        elif isinstance(layer, Norm):
            maps[layer.spikes] = _fire(maps[layer.source] * layer.scale + layer.offset, layer.threshold)
        elif isinstance(layer, Concat):
            maps[layer.name] = np.concatenate([maps[name] for name in layer.sources], 3)
            if layer.streams:
                streams[layer.name] = np.concatenate([streams[name] for name in layer.streams], 3)
        elif isinstance(layer, Sum):
            maps[layer.name] = np.sum([maps[name] for name in layer.sources], 0)
        elif isinstance(layer, Transpose):
            maps[layer.name] = maps[layer.source].transpose(0, *(axis + 1 for axis in layer.order))
        elif isinstance(layer, Classifier):
            logits = layer.weight @ maps[layer.source].mean((1, 2)).sum(0) / steps + layer.bias
    return maps, logits


def _sums(layer, x):
    weight = layer.weight
    if layer.axis != CHANNELS:
        turned = np.moveaxis(x, 1 if layer.axis == HEIGHT else 2, 3)
        return np.moveaxis(turned @ weight[:, :, 0, 0].T + layer.bias, 3, 1 if layer.axis == HEIGHT else 2)
    edge = (layer.padding, layer.padding)
    windows = sliding_window_view(np.pad(x, ((0, 0), edge, edge, (0, 0))), weight.shape[2:], axis=(1, 2))
    windows = windows[:, :: layer.stride, :: layer.stride]
    return np.einsum("tyxcij,ocij->tyxo", windows, weight, optimize=True) + layer.bias


def _fire(y, threshold):
    """LIF, tau 2, decaying input, hard reset to 0."""
    spikes, v = np.zeros(y.shape), np.zeros(y.shape[1:])
    for step, x in enumerate(y):
        h = (v + x) / 2
        spikes[step] = h >= threshold
        v = np.where(h >= threshold, 0.0, h)
    return spikes
