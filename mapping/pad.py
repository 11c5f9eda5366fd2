"""Pad heads to words: a head whose channels straddle words gets columns that carry none, so that the attention unit takes it.

The weights that write or read such a column are 0, so it never fires and nothing changes but the work of the columns.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError
from mapping.integer_nodes import IntAttention, IntConcat
from mapping.ir import Map
from mapping.quantise import IntNetwork, IntSynapse


def padded(network: IntNetwork, columns: int) -> IntNetwork:
    """The network with the heads of every attention layer padded to what words of ``columns`` hold evenly; itself if they are."""
    for layer in network.layers:
        if isinstance(layer, IntAttention) and not layer.gates:
            size = network.maps[layer.q].channels // layer.heads
            if columns % size and size % columns:
                network = _pad(network, layer, size, _width(size, columns))
    return network


def _width(size: int, columns: int) -> int:
    """Columns of a padded head: the least that divide a word, or whole words."""
    if size > columns:
        return -(-size // columns) * columns
    return next(width for width in range(size, columns + 1) if columns % width == 0)


def _pad(network: IntNetwork, attention: IntAttention, size: int, width: int) -> IntNetwork:
    names = attention.q, attention.k, attention.v, attention.spikes
    for layer in network.layers:
        if isinstance(layer, IntConcat) and set(names) & set(layer.sources):
            raise ArchsimError(
                f"layer '{layer.name}': a map of attention layer '{attention.name}', whose heads of {size} channels are padded "
                "to words, cannot lie beside others; use a chip whose words the heads fill"
            )
    layers = list(network.layers)
    for number, layer in enumerate(layers):
        if isinstance(layer, IntSynapse) and layer.spikes in names:
            threshold = _spread(layer.threshold, attention.heads, width, 1)  # of a sum that is always 0
            weight, bias, shift = (
                _spread(x, attention.heads, width, 0) for x in (layer.weight, layer.bias, layer.shift)
            )
            shape = Map(layer.shape.height, layer.shape.width, len(weight))
            layers[number] = layer = replace(
                layer, weight=weight, bias=bias, threshold=threshold, shift=shift, shape=shape
            )
        if isinstance(layer, IntSynapse) and layer.source in names:
            weight = _spread(layer.weight.swapaxes(0, 1), attention.heads, width, 0).swapaxes(0, 1)
            layers[number] = replace(layer, weight=np.ascontiguousarray(weight))
    maps = dict(network.maps)
    for name in names:
        maps[name] = Map(maps[name].height, maps[name].width, attention.heads * width)
    padding = {**network.padding, **dict.fromkeys(names, (size, width))}
    return replace(network, layers=tuple(layers), maps=maps, padding=padding)


def _spread(values: NDArray[Any], heads: int, width: int, fill: int) -> NDArray[Any]:
    """Channels [heads x size, ...] as [heads x width, ...], ``fill`` behind those of each head."""
    whole = values.reshape(heads, -1, *values.shape[1:])
    missing = [(0, 0), (0, width - whole.shape[1]), *[(0, 0)] * (values.ndim - 1)]
    return np.pad(whole, missing, constant_values=fill).reshape(-1, *values.shape[1:])
