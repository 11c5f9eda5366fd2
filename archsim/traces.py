"""Recorded spikes as the words that a program stores: from a float network's recording to a trace for a chip."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.tensors import to_words
from mapping.importers.artefact import Artefact
from mapping.integer_nodes import IntAttention, IntSum, IntTokenNeuron, IntTranspose, quantise_attention
from mapping.ir import Attention, Layer, Map
from mapping.place import collected
from mapping.quantise import IntLayer, IntNetwork, IntPlanes, IntSynapse
from mapping.reference import gate
from mapping.window_attention import IntWindowAttention


def trace_words(
    chip: ChipParams, network: IntNetwork, notes: Mapping[str, Any], recording: Artefact, image: int
) -> dict[str, NDArray[np.uint64]]:
    """Words of every map of one recorded image, for :class:`archsim.tensors.Capture`.

    The recorded classifier operand (a float mean) becomes the integer that the chip would have summed up; where
    several gangs each sum a part, the parts are taken as equal. The neurons of experts are not here, since what a slot
    holds is decided in the run.
    Raises ArchsimError when the recording lacks a layer or has another shape.
    """
    words: dict[str, NDArray[np.uint64]] = {}
    for layer in network.layers:
        if isinstance(layer, IntPlanes):
            words |= _operand(chip, network, notes, layer, recording, image)
        elif name := layer.spikes or (layer.name if layer.name in notes["tensors"] else None):
            spikes = _written(network, recording, layer, name, image)
            if isinstance(layer, IntSynapse) and layer.pool:
                spikes = pooled(name, spikes, layer.shape)
            shape = notes["tensors"][layer.by_window if isinstance(layer, IntWindowAttention) else name]
            required = (shape["steps"], shape["positions"], shape["channels"])
            if spikes.shape != required:
                raise ArchsimError(
                    f"{recording.path}: spikes of '{name}': required shape {required} (steps, positions, channels), "
                    f"given {spikes.shape}; is it the trace of this network?"
                )
            words[name] = np.zeros((shape["positions"], shape["slices"], shape["words"], chip.lanes), np.uint64)
            words[name][..., : shape["lanes"]] = to_words(chip.replace(lanes=shape["lanes"]), spikes)
            if isinstance(layer, IntWindowAttention):
                whole = words[name] if name in notes["tensors"] else words.pop(name)  # stored by positions or not
                words[layer.by_window] = whole[layer.order]
        if isinstance(layer, IntTokenNeuron):  # how the sums split into parts was not recorded, and takes no time
            shape = notes["tensors"][collected(layer)]
            words[collected(layer)] = np.zeros(
                (shape["positions"], shape["slices"], shape["words"], chip.lanes), np.uint64
            )
    return words


def _written(network: IntNetwork, recording: Artefact, layer: IntLayer, name: str, image: int) -> NDArray[np.bool_]:
    """Recorded spikes [T, positions, channels] that ``layer`` writes: a map of the definition, several, or one turned."""
    back = next((x for x in network.layers if isinstance(x, IntTranspose) and x.source == name), None)
    if back is not None and back.name in recording.manifest["traces"]["shapes"]:
        return unturned(back, network.maps[name], recording.spikes(back.name, image))
    if layer.name not in network.joined:
        return recorded(recording, layer, name, image)
    parts = network.joined[layer.name].parts
    shape = next(recording.spikes(part, image).shape[:2] for part, _ in parts if part)
    maps = [recording.spikes(part, image) if part else np.zeros((*shape, size), np.bool_) for part, size in parts]
    return np.concatenate(maps, 2)


def unturned(layer: IntTranspose, source: Map, spikes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Spikes [T, positions, channels] of the map of shape ``source`` that ``layer`` has turned into ``spikes``."""
    axes = [0, *(1 + layer.order.index(axis) for axis in range(3))]
    maps = spikes.reshape(len(spikes), layer.shape.height, layer.shape.width, layer.shape.channels).transpose(axes)
    return maps.reshape(len(spikes), source.positions, source.channels)


def recorded(recording: Artefact, layer: IntLayer | Layer, name: str, image: int) -> NDArray[np.bool_]:
    """Recorded spikes [T, positions, channels] that ``layer`` writes as map ``name``, before any pool.

    Those of a gate follow from its q, k and v, whose counts are exact.
    """
    if isinstance(layer, Attention):
        layer = quantise_attention(layer)
    if isinstance(layer, IntAttention) and layer.gates:
        q, k, v = (recording.spikes(operand, image) for operand in (layer.q, layer.k, layer.v))
        result: NDArray[np.bool_] = q & gate(layer, k.astype(np.int64), v.astype(np.int64))[1]
        return result
    return recording.spikes(name, image)


def pooled(name: str, spikes: NDArray[np.bool_], shape: Map) -> NDArray[np.bool_]:
    """Recorded spikes [T, positions, channels] of map ``name`` behind the pool: OR over 3x3 windows, stride 2, padding 1.

    ``shape``: before the pool. Raises ArchsimError when the spikes have another.
    """
    if spikes.shape[1:] != (shape.positions, shape.channels):
        raise ArchsimError(f"spikes of '{name}': required {shape} before the pool, given {spikes.shape}")
    maps = np.pad(spikes.reshape(len(spikes), shape.height, shape.width, -1), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = sliding_window_view(maps, (3, 3), axis=(1, 2))[:, ::2, ::2]
    result: NDArray[np.bool_] = windows.any(axis=(4, 5)).reshape(len(spikes), -1, shape.channels)
    return result


def _operand(
    chip: ChipParams, network: IntNetwork, notes: Mapping[str, Any], layer: IntPlanes, recording: Artefact, image: int
) -> dict[str, NDArray[np.uint64]]:
    """Bit planes of the classifier's operand and of its parts, from the recorded mean."""
    source = next(x for x in network.layers if isinstance(x, IntSynapse | IntSum) and x.name == layer.source)
    count = source.shape.positions * network.timesteps
    total = layer.sums(recording.values("head.input", source.shape.channels)[image], count)
    half = 1 << (layer.planes - 1)
    words = {layer.spikes: _planes(chip, np.clip(total >> layer.right_shift, -half, half - 1)[None], layer.planes)}
    if shape := notes["tensors"].get(collected(layer)):
        parts = np.repeat(total[None] // shape["positions"], shape["positions"], axis=0)
        words[collected(layer)] = _planes(chip, parts, shape["slices"])
    return words


def _planes(chip: ChipParams, values: NDArray[np.int64], planes: int) -> NDArray[np.uint64]:
    """Integers [positions, channels] as words uint64 [positions, planes, words, L], the sign plane first, in lane 0."""
    order = np.arange(planes - 1, -1, -1)
    bits = ((values[None] >> order[:, None, None]) & 1).astype(np.bool_)
    single = to_words(chip.replace(lanes=1), bits)
    result = np.zeros((*single.shape[:3], chip.lanes), np.uint64)
    result[..., 0] = single[..., 0]
    return result
