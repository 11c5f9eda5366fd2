"""Networks for the benchmarks: the layers of a workload's network in float, for PyTorch."""

from pathlib import Path
from typing import Any

import numpy as np

from archsim.workload import Workload
from mapping.integer_nodes import IntAttention
from mapping.ir import IMAGE
from mapping.quantise import IntNetwork, IntPlanes, IntSynapse


def layers(network: IntNetwork) -> list[dict[str, Any]]:
    """The layers of a network as :class:`benchmarks.spikingformer_torch.Forward` takes them.

    Weights, biases and thresholds are the integers, scaled by each channel's shift, so that the float network fires as the integer
    one does, to rounding. The last layer stands for the bit planes and the classifier on them.
    """
    found: list[dict[str, Any]] = []
    for layer in network.layers:
        if isinstance(layer, IntAttention):
            names = {name: getattr(layer, name) for name in ("q", "k", "v", "heads", "spikes")}
            threshold = np.full(1, layer.threshold * 2.0**layer.shift, np.float32)
            found.append({"kind": "attention", **names, "threshold": threshold})
        elif isinstance(layer, IntSynapse):
            scale = 2.0 ** -layer.shift.astype(np.float64)
            weight = layer.weight * scale[:, None, None, None]
            if layer.source == IMAGE:
                weight = weight * network.image_scale
            if layer.planes and layer.source != IMAGE:
                found.append({"kind": "classifier", "weight": weight[:, :, 0, 0], "bias": layer.bias})
                continue
            names = {
                name: getattr(layer, name)
                for name in ("source", "stride", "padding", "stream", "opens", "spikes", "pool", "threshold")
            }
            found.append({"kind": "synapse", **names, "weight": weight, "bias": layer.bias * scale})
        elif not isinstance(layer, IntPlanes):
            raise TypeError(f"required a layer that PyTorch is told about, given {layer}")
    return found


def write(workload: Workload, file: Path) -> None:
    """The layers of a workload's network, its time steps and its first image, for PyTorch."""
    image = workload.images(1)[0]
    shape = workload.network.maps[IMAGE]
    np.savez(
        file, layers=np.array(layers(workload.network), object), timesteps=workload.network.timesteps,
        image=image.reshape(shape.channels, shape.height, shape.width),
    )  # fmt: skip
