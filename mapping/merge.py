"""Re-parameterisation: a chain of convolutions without a neuron between them is one dense convolution.

The map is padded once, before the first part. A norm behind the first part thus gives its value of zeros at the border, as the
published code pads (BNAndPad of Spike-Driven-Transformer-V2), and the one convolution is exact there too.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mapping.ir import Chain, Part, Synapse


def merge(chain: Chain) -> Synapse:
    """The one convolution that computes the chain, up to the rounding of float64."""
    whole = chain.parts[0]
    for part in chain.parts[1:]:
        whole = _behind(whole, part)
    return replace(chain.synapse, weight=whole.weight, bias=whole.bias)


def scaled(part: Part, scale: NDArray[np.float64], offset: NDArray[np.float64]) -> Part:
    """The part with a norm behind it (scale and offset [Cout]) folded in."""
    if not known(part.weight):
        return part
    return replace(part, weight=part.weight * scale[:, None, None, None], bias=part.bias * scale + offset)


def known(weight: NDArray[np.float64]) -> bool:
    """Whether these are numbers; False for an array of which only the shape is known."""
    return any(weight.strides)


def merged_shape(parts: tuple[Part, ...]) -> tuple[int, int, int, int]:
    """Shape of the one convolution's weights: [Cout, Cin, kernel, kernel]."""
    kernel = sum(part.weight.shape[2] - 1 for part in parts) + 1
    return len(parts[-1].weight), parts[0].weight.shape[1] * parts[0].groups, kernel, kernel


def _behind(first: Part, second: Part) -> Part:
    """Two parts as one: every pair of taps adds the product of its matrices where their displacements add up."""
    shape = merged_shape((first, second))
    if not known(first.weight):
        return Part(second.name, np.broadcast_to(np.float64(0), shape), second.bias)
    weight = np.zeros(shape)
    for a, b in np.ndindex(*first.weight.shape[2:]):
        for c, d in np.ndindex(*second.weight.shape[2:]):
            weight[:, :, a + c, b + d] += _product(_tap(second, c, d), _tap(first, a, b))
    constant = second.weight.sum((2, 3))
    constant = constant[:, 0] * first.bias if second.groups > 1 else constant @ first.bias
    return Part(second.name, weight, constant + second.bias)


def _tap(part: Part, row: int, column: int) -> NDArray[np.float64]:
    """Matrix [Cout, Cin] of a tap, or the diagonal [channels] of a depthwise part."""
    tap = part.weight[:, :, row, column]
    return tap[:, 0] if part.groups > 1 else tap


def _product(second: NDArray[np.float64], first: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrix product, where one of both may be a diagonal."""
    if second.ndim == 1:
        return second[:, None] * first
    return second * first if first.ndim == 1 else second @ first
