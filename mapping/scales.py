"""Scales: what one unit of an integer stands for, and the integers nearest to given numbers."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mapping.ir import IMAGE, Network, Synapse
from mapping.nodes import Experts

if TYPE_CHECKING:
    from mapping.quantise import Precision

LEAST_WEIGHT = 2.0**-20
"""Magnitude below which the greatest weight of a stream's channel, or of the classifier, sets no scale."""


def integers(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Nearest integers; what no membrane holds by far is clipped, so that the proof can still add it up and refuse it."""
    return np.clip(np.rint(values), -(1 << 40), 1 << 40).astype(np.int64)


def powers(weight: NDArray[np.float64], weight_bits: int) -> NDArray[np.int64]:
    """Greatest exponent per output channel that keeps the rounded weights within ``weight_bits`` bits."""
    top = (1 << (weight_bits - 1)) - 1
    greatest = np.maximum(np.abs(weight).reshape(len(weight), -1).max(1), LEAST_WEIGHT)
    exponents: NDArray[np.int64] = np.floor(np.log2((top + 0.49) / greatest)).astype(np.int64)
    return exponents


def stream_exponent(network: Network, precision: "Precision") -> int:
    """Exponent of the residual stream: the median of its layers' own, so that shifts are small."""
    weights = [layer.weight for layer in network.layers if isinstance(layer, Synapse) and layer.stream]
    experts = [expert for layer in network.layers if isinstance(layer, Experts) for expert in layer.experts]
    weights += [expert.weight for expert in experts] + [expert.hidden for expert in experts if expert.residual]
    exponents = [powers(weight, precision.weight_bits) for weight in weights]
    return int(np.median(np.concatenate(exponents))) if exponents else 0


def image_scale(network: Network, precision: "Precision") -> float:
    """Units of a normalised pixel; a power of two where the image's layer joins a stream, so that shifts bring it there."""
    scale = ((1 << (precision.image_bits - 1)) - 1) / network.image_limit
    streams = any(isinstance(layer, Synapse) and layer.source == IMAGE and layer.stream for layer in network.layers)
    return float(2.0 ** np.floor(np.log2(scale))) if streams else scale


def thresholds(layer: Synapse, factor: float, least: int, precision: "Precision") -> NDArray[np.int64]:
    """Thresholds [Cout] of a layer that joins a stream, in units of 1 / ``factor``; the greatest there is for an infinite one."""
    never = min((1 << (precision.membrane_bits - 1)) - 1, 1 << 40)  # beyond which everything is clipped
    values = np.minimum(np.broadcast_to(layer.threshold, len(layer.weight)) * factor, never)
    return np.maximum(integers(values), least)
