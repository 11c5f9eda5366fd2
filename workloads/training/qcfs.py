"""The neuron of a network that is trained without time: quantised while it learns, integrate and fire when it runs.

Training sees QCFS (Bu et al., ICLR 2022; ``MyFloor`` of bic-L/Masked-Spiking-Transformer), with a threshold that is learned:

    y = threshold * clamp(floor(levels * x / threshold + 1/2) / levels, 0, 1)

whose floor passes gradients on unchanged. Running sees, step by step, what has the same mean over time but for the order of spikes:

    v[-1] = threshold / 2;  h = v[t-1] + x[t];  s[t] = 1 if h >= threshold else 0;  v[t] = h - threshold * s[t]

A spike is as high as the threshold.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Qcfs(nn.Module):
    """A layer of such neurons with one threshold, ``up``; no state between calls."""

    def __init__(self, levels: int, threshold: float = 2.0) -> None:
        super().__init__()
        self.levels = levels
        self.up = nn.Parameter(torch.tensor([threshold]))

    def forward(self, x: Tensor) -> Tensor:
        """Map currents float32 [T, ...] to activations (in training) or to spikes times the threshold, of the same shape."""
        return self._quantised(x) if self.training else self._fired(x)

    def _quantised(self, x: Tensor) -> Tensor:
        level = x / self.up * self.levels + 0.5
        level = level + (level.floor() - level).detach()
        return (level / self.levels).clamp(0, 1) * self.up

    def _fired(self, x: Tensor) -> Tensor:
        threshold = self.up.item()
        spikes, v = torch.empty_like(x), torch.full_like(x[0], 0.5 * threshold)
        for t in range(len(x)):
            v = v + x[t]
            torch.ge(v, threshold, out=spikes[t])
            v = v - threshold * spikes[t]
        return threshold * spikes

    def describe(self) -> dict[str, float | str]:
        """Return the law of this node in the words of the manifest."""
        return {"kind": "if", "threshold": self.up.item(), "reset": "soft", "v_start": 0.5 * self.up.item()}
