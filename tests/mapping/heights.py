"""A network of the intermediate representation in float64, layer by layer: as it is defined, or with spikes of height 1."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from mapping.ir import IF_HALF, IMAGE, Classifier, Synapse
from mapping.nodes import LAYER, Concat, Norm, Sum, WindowAttention

EPSILON = 1e-5
"""What a layer norm adds to a token's variance: the default of ``torch.nn.LayerNorm``."""


class Floats:
    """Maps [images, T, H, W, C] by name and logits [images, classes], of images [images, H, W, C].

    ``masks``: by layer of attention, which spikes of q, k [T, H, W, C] and the scores [T, windows, heads, tokens, tokens] stay.
    """

    def __init__(self, network, images, masks):
        self.maps, self.masks = {IMAGE: np.stack([images] * network.timesteps, 1)}, masks
        self.streams, self.logits = {}, None
        for layer in network.layers:
            if isinstance(layer, Synapse):
                self._synapse(layer)
            elif isinstance(layer, Sum):
                self.maps[layer.name] = sum(self.maps[name] for name in layer.sources)
            elif isinstance(layer, Concat):
                self.maps[layer.name] = np.concatenate([self.maps[name] for name in layer.sources], -1)
            elif isinstance(layer, Norm):
                x = self.maps[layer.source]
                x = layer_norm(x) if layer.kind == LAYER else x
                self.maps[layer.name] = x * layer.scale + layer.offset
                self._fire(layer, self.maps[layer.name])
            elif isinstance(layer, WindowAttention):
                self._attend(layer)
            elif isinstance(layer, Classifier):
                x = self.maps[layer.source]
                x = x if layer.norm is None else layer_norm(x) * layer.norm[0] + layer.norm[1]
                self.logits = x.mean((1, 2, 3)) @ layer.weight.T + layer.bias

    def _synapse(self, layer):
        windows = sliding_window_view(self.maps[layer.source], layer.weight.shape[2:], axis=(2, 3))
        windows = windows[:, :, :: layer.stride, :: layer.stride]
        y = np.einsum("ntyxcij,ocij->ntyxo", windows, layer.weight, optimize=True) + layer.bias
        if layer.stream:
            self.streams[layer.stream] = y = y if layer.opens else y + self.streams[layer.stream]
        if not layer.spikes:
            self.maps[layer.name] = y
        self._fire(layer, y)

    def _fire(self, layer, y):
        if layer.spikes:
            self.maps[layer.spikes] = fire(y, layer.threshold) * (layer.threshold if layer.neuron == IF_HALF else 1.0)

    def _attend(self, layer):
        keep_q, keep_k, keep_scores = self.masks[layer.name]
        _, _, height, width, channels = self.maps[layer.q].shape
        count, size, shift = (height // layer.window, width // layer.window), layer.window, layer.shift

        def windows(x):
            """[images, T, windows, heads, tokens, channels of a head], token by token."""
            found = [
                x[:, :, (wy * size + y + shift) % height, (wx * size + xx + shift) % width]
                for wy in range(count[0]) for wx in range(count[1]) for y in range(size) for xx in range(size)
            ]  # fmt: skip
            found = np.stack(found, 2).reshape(*x.shape[:2], count[0] * count[1], size**2, layer.heads, -1)
            return found.swapaxes(3, 4)

        q, k = windows(self.maps[layer.q] * keep_q), windows(self.maps[layer.k] * keep_k)
        v = windows(self.maps[layer.v])
        scores = fire(q @ k.swapaxes(-1, -2) * layer.scale, layer.score_threshold) * layer.height
        scores = scores * keep_scores + layer.bias
        rows, columns = ([0] * (side - size) + [1] * (size - shift) + [2] * shift for side in (height, width))
        for window in range(count[0] * count[1]):
            first = window // count[1] * size, window % count[1] * size
            place = [(rows[first[0] + y], columns[first[1] + x]) for y in range(size) for x in range(size)]
            for i in range(size**2):
                for j in range(size**2):
                    if shift and place[i] != place[j]:
                        scores[:, :, window, :, i, j] = -np.inf
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        found = (weights / weights.sum(-1, keepdims=True) @ v).swapaxes(3, 4)
        found = found.reshape(*found.shape[:2], *count, size, size, channels)
        y = np.zeros(self.maps[layer.v].shape)
        for wy, wx, ty, tx in np.ndindex(*count, size, size):
            y[:, :, (wy * size + ty + shift) % height, (wx * size + tx + shift) % width] = found[:, :, wy, wx, ty, tx]
        self.maps[layer.spikes] = fire(y, layer.threshold) * (1.0 if layer.unit else layer.threshold)


def layer_norm(x):
    """Over the channels, the last axis, as PyTorch does it."""
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + EPSILON)


def fire(y, threshold):
    """Spikes 0 or 1 of IF neurons over axis 1: soft reset, from half the threshold."""
    spikes, v = np.zeros(y.shape), np.full_like(y[:, 0], threshold / 2)
    for t in range(y.shape[1]):
        v = v + y[:, t]
        spikes[:, t] = v >= threshold
        v = v - threshold * spikes[:, t]
    return spikes
