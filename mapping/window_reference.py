"""Integer reference of attention within windows: plain NumPy, independent of program and kernels."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import masker, neuron
from mapping.reference import fire
from mapping.window_attention import FRACTION, IntWindowAttention, K, Q

Whole = NDArray[np.int64]


def attend(
    layer: IntWindowAttention, spikes: Mapping[str, NDArray[np.bool_]], bits: int
) -> tuple[Whole, NDArray[np.bool_], Whole]:
    """Inputs of the last neurons, their spikes and potentials, all [T, positions, channels], in the order of the windows.

    Args:
        layer: its words known if it masks.
        spikes: maps bool [T, positions, channels].
        bits: of membranes.
    """
    steps = len(spikes[layer.q])
    shape = steps, len(layer.classes), layer.tokens, layer.heads, -1

    def windows(name: str, kind: int | None) -> Whole:
        values = spikes[name]
        if kind is not None and layer.keep < masker.KEEP_ALL:
            values = values & layer.kept(kind, steps)
        return values[:, layer.order].reshape(shape).astype(np.int64)

    q, k, v = windows(layer.q, Q), windows(layer.k, K), windows(layer.v, None)
    counts = np.einsum("twihd,twjhd->twhij", q, k) * 2**layer.score_shift
    fired, _ = fire(counts, np.full(counts.shape[1:], layer.score_threshold), neuron.IF_HALF, bits)
    if layer.keep < masker.KEEP_ALL:
        fired = fired & layer.kept_scores(steps).transpose(3, 0, 1, 2, 4)
    table = layer.table[:, list(layer.classes)].astype(np.int64)  # [heads, windows, pairs, 2]
    table = table.transpose(1, 0, 2, 3).reshape(*counts.shape[1:], 2)
    entries = np.where(fired, table[..., 1], table[..., 0])
    totals = entries.sum(-1).transpose(0, 1, 3, 2)[..., None]
    sums = np.einsum("twhij,twjhd->twihd", entries, v)
    y = sums * 2**FRACTION // np.maximum(totals, 1)
    y = y.reshape(steps, layer.shape.positions, layer.shape.channels)
    return y, *fire(y, np.full(y.shape[2], layer.threshold), neuron.IF_HALF, bits)
