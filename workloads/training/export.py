"""Write a trained network as a committed artefact: weights, test images, recorded spikes, manifest.

Nothing is pickled and nothing depends on the clock: the same network gives the same bytes. What a file holds:

- ``weights.safetensors``: the state dict in float32, without ``num_batches_tracked``;
- ``test.npz``: ``images`` uint8 [n, 8, 8], ``labels`` uint8 [n], ``index`` int32 [n];
- ``traces.npz``: for every layer of neurons its spikes over the first test images, uint8, laid out as
  [image, T, position, channel] (position y * W + x, channel last) and packed by
  ``np.packbits(..., axis=-1, bitorder="little")``; ``logits`` in float32, and ``head.input`` likewise unless the head
  reads spikes;
- ``manifest.json``: what they are, what the network scored, and the SHA-256 of the others.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from safetensors.numpy import save
from torch import Tensor, nn

from workloads.training.digits import MEAN, PIXEL_MAX, STD, Part, Split, count_correct, normalise
from workloads.training.lif import Lif
from workloads.training.qcfs import Qcfs

SCHEMA_VERSION = 1
NEURONS = (Lif, Qcfs)
BATCH = 60  # images per forward pass in evaluation


def channels_last(spikes: Tensor) -> np.ndarray:
    """Lay out spikes [T, B, C, N] or [T, B, C, H, W, ...] as uint8 [B, T, N, C], position y * W + x."""
    return spikes.flatten(3).permute(1, 0, 3, 2).to(torch.uint8).contiguous().numpy()


@contextmanager
def _recording(model: nn.Module) -> Iterator[dict[str, np.ndarray]]:
    """Collect, per forward pass, the spikes of every layer of neurons by module name and the input of ``head`` (or ``HEAD``)."""
    seen: dict[str, np.ndarray] = {}

    def keep_spikes(name: str, _module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen[name] = channels_last(output != 0)  # whatever their height; a hook must return None, or it replaces the output

    def keep_input(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].ndim == 2:  # [images, channels]; else the spikes of the LIF before it, step by step
            seen["head.input"] = inputs[0].numpy().copy()

    handles = [
        module.register_forward_hook(partial(keep_spikes, name))
        for name, module in model.named_modules()
        if isinstance(module, NEURONS)
    ]
    head = model.get_submodule(getattr(model, "HEAD", "head"))
    handles.append(head.register_forward_pre_hook(keep_input))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def record(model: nn.Module, images: np.ndarray) -> dict[str, np.ndarray]:
    """Run images uint8 [n, 8, 8]; return spikes uint8 [n, T, N, C] per layer of neurons, ``head.input`` and ``logits``."""
    model.eval()
    chunks: list[dict[str, np.ndarray]] = []
    with _recording(model) as seen:
        for inputs in normalise(images).split(BATCH):
            logits = model(inputs).numpy()
            chunks.append({**seen, "logits": logits})
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def lif_nodes(model: nn.Module) -> dict[str, Lif | Qcfs]:
    """Return the layers of neurons of a network by module name, in the order of the module tree."""
    return {name: module for name, module in model.named_modules() if isinstance(module, NEURONS)}


def _firing(spikes: np.ndarray) -> dict[str, Any]:
    """Count spikes uint8 [n, T, N, C]: exact totals, mean rate (per neuron and step), one rate per step."""
    per_step = spikes.sum(axis=(0, 2, 3), dtype=np.int64)
    sites = spikes.size // spikes.shape[1]
    return {
        "spikes": int(per_step.sum()),
        "sites": int(spikes.size),
        "rate": round(float(per_step.sum() / spikes.size), 6),
        "rate_per_step": [round(float(count / sites), 6) for count in per_step],
    }


def _accuracy(model: nn.Module, part: Part) -> dict[str, Any]:
    """Return correct and total counts with their ratio."""
    correct, total = count_correct(model, part), len(part.labels)
    return {"correct": correct, "total": total, "accuracy": round(correct / total, 6)}


def _data_section(split: Split) -> dict[str, Any]:
    """Describe the data set, its split and the normalisation."""
    return {
        "name": "digits",
        "source": "sklearn.datasets.load_digits (UCI Optical Recognition of Handwritten Digits, test part)",
        "images": sum(len(getattr(split, name).labels) for name in ("train", "val", "test")),
        "split_seed": split.seed,
        "split_counts": {name: len(getattr(split, name).labels) for name in ("train", "val", "test")},
        "normalisation": {
            "formula": "(pixel / pixel_max - mean) / std",
            "pixel_max": PIXEL_MAX,
            "mean": MEAN,
            "std": STD,
        },
    }


def _versions() -> dict[str, str]:
    """Return the versions that the bytes depend on."""
    return {
        "torch": torch.__version__,
        "sklearn": sklearn.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def write_artefact(out: Path, model: nn.Module, split: Split, traced: int, about: dict[str, Any]) -> dict[str, Any]:
    """Write the artefact folder ``out`` and return its manifest.

    ``traced`` is the number of leading test images whose spikes are kept; ``about`` is the network's own part
    of the manifest (family, hyperparameters, command, ...), which may not redefine a common key.
    """
    out.mkdir(parents=True, exist_ok=True)
    weights = {
        name: tensor.numpy() for name, tensor in model.state_dict().items() if not name.endswith("num_batches_tracked")
    }
    (out / "weights.safetensors").write_bytes(save(weights))
    test = split.test
    np.savez_compressed(out / "test.npz", images=test.images, labels=test.labels, index=test.index)
    recorded, nodes = record(model, test.images), lif_nodes(model)
    traces = {name: values[:traced] for name, values in recorded.items()}
    traces |= {name: np.packbits(traces[name], axis=-1, bitorder="little") for name in nodes}
    np.savez_compressed(out / "traces.npz", **{name: traces[name] for name in sorted(traces)})
    common = {
        "schema_version": SCHEMA_VERSION,
        "data": _data_section(split),
        "lif": {name: node.describe() for name, node in nodes.items()},
        "accuracy": {name: _accuracy(model, getattr(split, name)) for name in ("train", "val", "test")},
        "firing_rates": {name: _firing(recorded[name]) for name in nodes},
        "traces": {
            "images": traced,
            "layout": "image, step, position (y * W + x), channel",
            "packing": "np.packbits along the channels, bitorder little",
            "shapes": {name: [traced, *recorded[name].shape[1:]] for name in recorded},
        },
        "parameters": int(sum(p.numel() for p in model.parameters())),
        "versions": _versions(),
        "sha256": {
            name: hashlib.sha256((out / name).read_bytes()).hexdigest()
            for name in ("weights.safetensors", "test.npz", "traces.npz")
        },
    }
    if clash := common.keys() & about.keys():
        raise ValueError(f"the network's part of the manifest redefines {sorted(clash)}: rename those keys")
    manifest = {**common, **about}
    text = json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False) + "\n"
    (out / "manifest.json").write_text(text, encoding="utf-8")
    return manifest
