"""Skeleton: the integers of a network of which only the shapes are known, to tell whether it has room on a chip."""

from dataclasses import replace

import numpy as np

from mapping.integer_nodes import IntTokenNeuron
from mapping.ir import Network
from mapping.quantise import IntNetwork, IntSynapse, Precision, quantise

SKELETON_BITS = 58
"""Bits of the sums of weights that are 0: their scale is as fine as it can be, and so are biases and thresholds."""


def skeleton(network: Network, precision: Precision) -> IntNetwork:
    """The integers of a network of which only the shapes are known: all of them 0, and sums that need no more than a bit.

    What has no room on a chip with these has none with any weights.
    """
    bare = quantise(network, replace(precision, membrane_bits=SKELETON_BITS))
    layers = []
    for layer in bare.layers:
        if isinstance(layer, IntSynapse):
            zeros = np.zeros_like(layer.bias)
            layer = replace(layer, bias=zeros, threshold=zeros, shift=zeros)
        elif isinstance(layer, IntTokenNeuron):
            layer = replace(layer, threshold=np.zeros_like(layer.threshold))
        layers.append(layer)
    return replace(bare, layers=tuple(layers), precision=precision, bounds=dict.fromkeys(bare.bounds, 1))
