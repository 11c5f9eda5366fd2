"""Spikingformer in PyTorch, with LIF neurons as SpikingJelly's multi-step ones compute them: what a forward pass costs.

The layers are those of :class:`mapping.networks.spikingformer.Spikingformer`; the norms are folded, as for inference, so that
PyTorch has less to do than in the published code. Weights and thresholds are the float values behind the integers of a mapped
network.
Run as ``python -m benchmarks.spikingformer_torch FILE THREADS``: it reads the layers from FILE (``.npz``), prints a line when it is
ready, and times one forward for every line that it reads.
"""

import sys
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def lif(x: Tensor, threshold: Tensor) -> Tensor:
    """LIF over the first axis: tau = 2, decaying input, hard reset to 0; ``x`` [T, N, C, ...], ``threshold`` [C, ...]."""
    v, spikes = torch.zeros_like(x[0]), []
    for step in x:
        v = v + (step - v) / 2
        fired = (v >= threshold).to(x.dtype)
        v = v * (1 - fired)
        spikes.append(fired)
    return torch.stack(spikes)


class Forward:
    """The network on one image.

    Args:
        layers: as :func:`benchmarks.networks.layers` writes them: a list of dictionaries.
        timesteps: T.
    """

    def __init__(self, layers: list[dict[str, Any]], timesteps: int) -> None:
        self.layers, self.timesteps = layers, timesteps
        for layer in layers:
            for name in ("weight", "bias", "threshold"):
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
                    fired = lif(x, layer["threshold"][:, None, None])
                    maps[layer["spikes"]] = functional.max_pool2d(fired, 3, 2, 1) if layer["pool"] else fired
        raise ValueError("required a classifier at the end")

    @staticmethod
    def _attention(layer: dict[str, Any], maps: dict[str, Tensor]) -> Tensor:
        steps, channels, height, width = maps[layer["q"]].shape
        q, k, v = (
            maps[layer[name]].reshape(steps, layer["heads"], channels // layer["heads"], -1) for name in ("q", "k", "v")
        )
        x = (v @ k.transpose(-2, -1)) @ q
        return lif(x.reshape(steps, channels, height, width), layer["threshold"])


def main(file: str, threads: int) -> None:
    """Serve forwards."""
    torch.set_num_threads(threads)
    with np.load(file, allow_pickle=True) as data:
        layers, timesteps, image = data["layers"].tolist(), int(data["timesteps"]), data["image"]
    forward, pixels = Forward(layers, timesteps), torch.from_numpy(image.astype(np.float32))[None]
    with torch.inference_mode():
        forward(pixels)
        print(torch.__version__, flush=True)
        for _ in sys.stdin:
            before = perf_counter()
            logits = forward(pixels)
            print(perf_counter() - before, int(logits.argmax()), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
