"""Spikingformer in PyTorch with SpikingJelly's neurons: what a forward pass costs.

The layers are those of :class:`mapping.networks.spikingformer.Spikingformer`; the norms are folded, as for inference, so that
PyTorch has less to do than in the published code. Weights are the float values behind the integers of a mapped network, divided
by each channel's threshold, so that neurons have the threshold 1, as published. Those of the residual stream have their
layer's median, since channels share the stream; what a forward costs does not depend on who fires.
Run as ``python -m benchmarks.spikingformer_torch FILE THREADS``: it reads the layers from FILE (``.npz``), prints a line when it is
ready, and times one forward for every line that it reads.
"""

import sys
from importlib.metadata import version
from time import perf_counter
from typing import Any

import numpy as np
import torch
from spikingjelly.activation_based.neuron import LIFNode
from torch import Tensor
from torch.nn import functional


def lif(threshold: float = 1.0) -> LIFNode:
    """Neurons of a layer: tau = 2, decaying input, hard reset to 0, all time steps in one call."""
    return LIFNode(v_threshold=threshold, detach_reset=True, step_mode="m").eval()


class Forward:
    """The network on one image.

    Args:
        layers: as :func:`benchmarks.networks.layers` writes them: a list of dictionaries.
        timesteps: T.
    """

    def __init__(self, layers: list[dict[str, Any]], timesteps: int) -> None:
        self.layers, self.timesteps = layers, timesteps
        for layer in layers:
            threshold = np.asarray(layer.get("threshold", 1.0))
            if layer["kind"] == "synapse" and not layer["stream"]:
                layer["weight"], layer["bias"] = layer["weight"] / threshold[:, None, None, None], layer["bias"] / threshold
                threshold = np.ones(1)
            layer["lif"] = lif(float(np.median(threshold)))
            for name in ("weight", "bias"):
                if name in layer:
                    layer[name] = torch.from_numpy(np.asarray(layer[name], np.float32))

    def __call__(self, image: Tensor) -> Tensor:
        """Logits [classes] of an image [1, channels, height, width]."""
        maps: dict[str, Tensor] = {"image": image.repeat(self.timesteps, 1, 1, 1)}
        stream = total = maps["image"]
        for layer in self.layers:
            if layer["kind"] == "attention":
                maps[layer["spikes"]] = self._attention(layer, maps)
            elif layer["kind"] == "classifier":
                return functional.linear(total.mean(dim=(0, 2, 3)), layer["weight"], layer["bias"])
            else:
                x = functional.conv2d(
                    maps[layer["source"]], layer["weight"], layer["bias"], layer["stride"], layer["padding"]
                )
                if layer["stream"]:
                    stream = total = x if layer["opens"] else x + stream
                    x = stream
                if layer["spikes"]:
                    fired = self._fire(layer, x)
                    maps[layer["spikes"]] = functional.max_pool2d(fired, 3, 2, 1) if layer["pool"] else fired
        raise ValueError("required a classifier at the end")

    @staticmethod
    def _fire(layer: dict[str, Any], x: Tensor) -> Tensor:
        layer["lif"].reset()
        spikes: Tensor = layer["lif"](x)
        return spikes

    def _attention(self, layer: dict[str, Any], maps: dict[str, Tensor]) -> Tensor:
        steps, channels, height, width = maps[layer["q"]].shape
        q, k, v = (
            maps[layer[name]].reshape(steps, layer["heads"], channels // layer["heads"], -1) for name in ("q", "k", "v")
        )
        x = (v @ k.transpose(-2, -1)) @ q
        return self._fire(layer, x.reshape(steps, channels, height, width))


def main(file: str, threads: int) -> None:
    """Serve forwards."""
    torch.set_num_threads(threads)
    with np.load(file, allow_pickle=True) as data:
        layers, timesteps, image = data["layers"].tolist(), int(data["timesteps"]), data["image"]
    forward, pixels = Forward(layers, timesteps), torch.from_numpy(image.astype(np.float32))[None]
    with torch.inference_mode():
        forward(pixels)
        print(torch.__version__, version("spikingjelly"), flush=True)
        for _ in sys.stdin:
            before = perf_counter()
            logits = forward(pixels)
            print(perf_counter() - before, int(logits.argmax()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
