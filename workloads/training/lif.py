"""The leaky integrate-and-fire neuron of spikingjelly's ``MultiStepLIFNode``, fused over time, for training.

Per time step, with ``decay_input=True`` and a hard reset to 0 (spikingjelly 0.0.0.0.12, defaults):

    h[t] = v[t-1] + (x[t] - v[t-1]) / tau        v[-1] = 0
    s[t] = 1 if h[t] >= threshold else 0
    v[t] = (1 - s[t]) * h[t]

Training replaces ds/dh by the slope of a sigmoid; the reset is not differentiated (``detach_reset=True``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class LifFunction(torch.autograd.Function):
    """The whole time loop as one differentiable operation: far fewer graph nodes than one per step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, tau: float, threshold: float, alpha: float) -> Tensor:
        """Integrate ``x`` float32 [T, ...] and return spikes float32 [T, ...] in {0, 1}."""
        h = torch.empty_like(x)
        spikes = torch.empty_like(x)
        v = torch.zeros_like(x[0])
        for t in range(x.shape[0]):
            # For tau = 2 both products are exact, so this rounds once, exactly as (v + x) / 2 does.
            torch.add(v * (1.0 - 1.0 / tau), x[t], alpha=1.0 / tau, out=h[t])
            torch.ge(h[t], threshold, out=spikes[t])
            v = h[t] * (1.0 - spikes[t])
        ctx.save_for_backward(h, spikes)
        ctx.constants = (tau, threshold, alpha)
        return spikes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        """Back-propagate through time; ds/dh = alpha * y * (1 - y), y = sigmoid(alpha * (h - threshold))."""
        h, spikes = ctx.saved_tensors
        tau, threshold, alpha = ctx.constants
        y = torch.sigmoid(alpha * (h - threshold))
        grad_h = grads[0] * (alpha * y * (1.0 - y))  # through the spike; the membrane path follows
        keep = (1.0 - spikes) * (1.0 - 1.0 / tau)  # dh[t+1] / dh[t]
        for t in range(h.shape[0] - 2, -1, -1):
            grad_h[t] += keep[t] * grad_h[t + 1]
        return grad_h / tau, None, None, None


class Lif(nn.Module):
    """A layer of LIF neurons without parameters or state between calls: every image starts from v = 0.

    ``tau`` is in time steps, ``threshold`` in units of the membrane, ``alpha`` the surrogate's steepness.
    """

    def __init__(self, threshold: float = 1.0, tau: float = 2.0, alpha: float = 4.0) -> None:
        super().__init__()
        self.threshold, self.tau, self.alpha = threshold, tau, alpha

    def forward(self, x: Tensor) -> Tensor:
        """Map input currents float32 [T, ...] to spikes float32 [T, ...] in {0, 1}."""
        return LifFunction.apply(x, self.tau, self.threshold, self.alpha)

    def describe(self) -> dict[str, float | str | bool]:
        """Return the law of this node in the words of the manifest."""
        return {
            "kind": "lif",
            "tau": self.tau,
            "threshold": self.threshold,
            "reset": "hard",
            "v_reset": 0.0,
            "decay_input": True,
        }
