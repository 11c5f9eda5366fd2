"""Artefact folders: manifest, weights, test images and recorded spikes of a trained network, checked as they are read."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from archsim.contracts.common.errors import ArchsimError


@dataclass(frozen=True)
class Artefact:
    """A trained network on disk.

    Attributes:
        path: the folder.
        manifest: its manifest.json.
        weights: float64 arrays by checkpoint name.
        images: raw test images, uint8 [images, height, width].
        labels: int64 [images].
        traces: recorded values of the first images: packed spikes uint8, and float32 ``head.input`` and ``logits``.
    """

    path: Path
    manifest: dict[str, Any]
    weights: dict[str, NDArray[np.float64]]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    traces: dict[str, NDArray[Any]]

    def tensor(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """A weight tensor; raises ArchsimError when it is missing, of another shape, or not finite."""
        place = self.path / "weights.safetensors"
        if name not in self.weights:
            raise ArchsimError(
                f"{place}: required tensor '{name}' of shape {shape}, but the file has none of that name"
            )
        tensor = self.weights[name]
        if tensor.shape != shape:
            raise ArchsimError(
                f"{place}: '{name}': required shape {shape}, given {tensor.shape}; do manifest and weights match?"
            )
        if not np.isfinite(tensor).all():
            count = int(np.count_nonzero(~np.isfinite(tensor)))
            raise ArchsimError(
                f"{place}: '{name}': required finite numbers, given {count} NaN or infinite; train or export again"
            )
        return tensor

    def normalised(self) -> NDArray[np.float64]:
        """The images as the network sees them, float64 [images, height, width]."""
        norm = self.manifest["data"]["normalisation"]
        normalised: NDArray[np.float64] = (self.images / norm["pixel_max"] - norm["mean"]) / norm["std"]
        return normalised

    def image_limit(self) -> float:
        """Greatest magnitude that a normalised pixel can have."""
        norm = self.manifest["data"]["normalisation"]
        return float(max(abs(0 - norm["mean"]), abs(1 - norm["mean"])) / norm["std"])

    def spikes(self, name: str, image: int) -> NDArray[np.bool_]:
        """Recorded spikes of one neuron layer and image, bool [T, positions, channels]; raises ArchsimError."""
        shape = self.manifest["traces"]["shapes"].get(name)
        place = self.path / "traces.npz"
        if name not in self.traces or shape is None:
            raise ArchsimError(
                f"{place}: required recorded spikes of '{name}', but the trace has {sorted(self.traces)}; "
                "is it the trace of this network?"
            )
        packed = self.traces[name]
        if packed.shape != (*shape[:-1], -(-shape[-1] // 8)):
            raise ArchsimError(f"{place}: '{name}': required packed shape for {shape}, given {packed.shape}")
        if not 0 <= image < shape[0]:
            raise ArchsimError(
                f"{place}: required image {image}, but only {shape[0]} images were recorded; use --images {shape[0]}"
            )
        bits = np.unpackbits(packed[image], axis=-1, bitorder="little", count=shape[-1])
        return bits.astype(np.bool_)


def load(path: Path) -> Artefact:
    """Read an artefact folder.

    Raises ArchsimError for a file that is missing, truncated, corrupt or not the one that the manifest names.
    """
    manifest = _manifest(path / "manifest.json")
    for name, digest in manifest["sha256"].items():
        _check_digest(path / name, digest)
    try:
        weights = {name: array.astype(np.float64) for name, array in load_file(path / "weights.safetensors").items()}
    except (SafetensorError, OSError, ValueError) as error:
        raise ArchsimError(
            f"{path / 'weights.safetensors'}: required a safetensors file, given one that cannot be read: {error}"
        ) from error
    test = _arrays(path / "test.npz")
    return Artefact(
        path, manifest, weights, test["images"], test["labels"].astype(np.int64), _arrays(path / "traces.npz")
    )


def _manifest(place: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(place.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArchsimError(
            f"{place}: required the manifest of a trained network, but it cannot be read: {error.strerror}"
        ) from error
    except ValueError as error:
        raise ArchsimError(f"{place}: required JSON, given text that is not: {error}") from error
    missing = {"family", "hyperparameters", "data", "sha256", "traces", "accuracy"} - set(manifest)
    if missing:
        raise ArchsimError(f"{place}: required keys {sorted(missing)} are missing; export the network again")
    return dict(manifest)


def _check_digest(place: Path, digest: str) -> None:
    try:
        given = hashlib.sha256(place.read_bytes()).hexdigest()
    except OSError as error:
        raise ArchsimError(f"{place}: required by manifest.json, but it cannot be read: {error.strerror}") from error
    if given != digest:
        raise ArchsimError(
            f"{place}: required sha256 {digest[:16]}... as manifest.json says, given {given[:16]}...; the file is truncated, "
            "corrupt or of another network: restore it or make the artefact again"
        )


def _arrays(place: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(place, allow_pickle=False) as data:
            return {name: data[name] for name in data.files}
    except (OSError, ValueError, BadZipFile) as error:
        raise ArchsimError(f"{place}: required an npz archive, given one that cannot be read: {error}") from error
