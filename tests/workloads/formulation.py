"""Second formulation of the small networks, independent of the training code: NumPy in float64, channel last, norms folded.

PyTorch is not needed.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

# float32 in PyTorch against float64 here: membranes differ by some 1e-6, so a spike may differ only this near
# to its threshold. (Attention membranes are multiples of 1/128, exact in both: there no spike may differ.)
NEAR = 1e-4

Array = np.ndarray
Neurons = Callable[[str, Array], Array]


def membrane_step(v: Array, x: Array, node: Mapping) -> Array:
    """Return h of one time step, before the spike."""
    return v + (x - v) / node["tau"]


def fire_freely(nodes: Mapping[str, Mapping]) -> Neurons:
    """Neurons that decide for themselves; currents and spikes are [n, T, position, channel]."""

    def fire(name: str, x: Array) -> Array:
        spikes, v = np.zeros(x.shape), np.zeros_like(x[:, 0])
        for t in range(x.shape[1]):
            h = membrane_step(v, x[:, t], nodes[name])
            spikes[:, t] = h >= nodes[name]["threshold"]
            v = np.where(spikes[:, t] > 0, 0.0, h)
        return spikes

    return fire


def fire_as_recorded(nodes: Mapping[str, Mapping], recorded: Mapping[str, Array], wrong: dict[str, int]) -> Neurons:
    """Neurons that continue with the recorded spikes, and count those that they cannot explain."""

    def fire(name: str, x: Array) -> Array:
        spikes, v = recorded[name].astype(np.float64), np.zeros_like(x[:, 0])
        assert x.shape == spikes.shape
        near = 0.0 if name.endswith("attn_lif") else NEAR
        for t in range(x.shape[1]):
            h = membrane_step(v, x[:, t], nodes[name])
            differs = (h >= nodes[name]["threshold"]) != (spikes[:, t] > 0)
            unexplained = differs & (np.abs(h - nodes[name]["threshold"]) >= near)
            wrong[name] = wrong.get(name, 0) + int(unexplained.sum())
            v = np.where(spikes[:, t] > 0, 0.0, h)
        return spikes

    return fire


class Folded:
    """Weights with their batch norms folded in. ``change`` maps each folded weight [out, ...] to the one to use."""

    def __init__(
        self, weights: Mapping[str, Array], manifest: Mapping, change: Callable[[Array], Array] = lambda w: w
    ) -> None:
        self.weights = {name: w.astype(np.float64) for name, w in weights.items()}
        self.manifest, self.change = manifest, change

    def folded(self, conv: str, bn: str) -> tuple[Array, Array]:
        """Weight and bias of a convolution with its batch norm: w' = w * g, b' = beta + (b - mean) * g."""
        g = self.scale(bn)
        w = self.weights[f"{conv}.weight"]
        bias = self.weights.get(f"{conv}.bias", 0.0) - self.weights[f"{bn}.running_mean"]
        return self.change(w * g.reshape(-1, *[1] * (w.ndim - 1))), self.weights[f"{bn}.bias"] + bias * g

    def scale(self, bn: str) -> Array:
        """What a batch norm multiplies each channel by."""
        variance = self.weights[f"{bn}.running_var"] + self.manifest["batch_norm_eps"]
        return self.weights[f"{bn}.weight"] / np.sqrt(variance)

    def pointwise(self, x: Array, conv: str, bn: str) -> Array:
        """1x1 convolution and batch norm over the last axis."""
        w, b = self.folded(conv, bn)
        return x @ w.reshape(w.shape[0], -1).T + b

    def normalised(self, images: Array) -> Array:
        """Pixels [n, 8, 8] as the network's input [n, 1, 8, 8, 1]."""
        norm = self.manifest["data"]["normalisation"]
        return ((images / norm["pixel_max"] - norm["mean"]) / norm["std"])[:, None, :, :, None]

    def convolution(self, x: Array, conv: str, bn: str, stride: int = 1) -> Array:
        """Convolution of [n, T, H, W, C] with padding for its kernel, and batch norm."""
        w, b = self.folded(conv, bn)
        return np.einsum("ntyxcij,ocij->ntyxo", windows(x, w.shape[2], stride, w.shape[2] // 2), w, optimize=True) + b


def attention(q: Array, k: Array, v: Array, heads: int) -> Array:
    """(Q K^T) V here, where the training code computes Q (K^T V): the same integers. All are [n, T, N, D]."""
    q, k, v = (np.moveaxis(x.reshape(*x.shape[:3], heads, -1), 3, 2) for x in (q, k, v))
    product = np.moveaxis((q @ np.swapaxes(k, -1, -2)) @ v, 2, 3)
    return product.reshape(*product.shape[:3], -1)


def on_maps(neurons: Neurons, name: str, x: Array) -> Array:
    """Neurons on maps [n, T, H, W, C]."""
    return neurons(name, x.reshape(*x.shape[:2], -1, x.shape[-1])).reshape(x.shape)


def windows(x: Array, kernel: int, stride: int, padding: int) -> Array:
    """Zero-padded windows of [n, T, H, W, C]: [n, T, H', W', C, kernel, kernel]."""
    edge = (padding, padding)
    padded = np.pad(x, ((0, 0), (0, 0), edge, edge, (0, 0)))
    return sliding_window_view(padded, (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]


def eight_bits(w: Array) -> Array:
    """Round to signed 8 bit with one scale per output channel."""
    scale = np.abs(w).max(axis=tuple(range(1, w.ndim)), keepdims=True) / 127
    return np.round(w / scale) * scale


def read_manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def read_test_set(folder: Path) -> dict[str, Array]:
    with np.load(folder / "test.npz", allow_pickle=False) as archive:
        return dict(archive)


def read_traces(folder: Path, manifest: Mapping) -> dict[str, Array]:
    """Recorded values, spikes unpacked to uint8 [image, T, position, channel]."""
    with np.load(folder / "traces.npz", allow_pickle=False) as archive:
        return {
            name: np.unpackbits(
                archive[name], axis=-1, bitorder="little", count=manifest["traces"]["shapes"][name][-1]
            )
            if name in manifest["lif"]
            else archive[name]
            for name in archive.files
        }
