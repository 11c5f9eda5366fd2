"""Artefact folders: manifest, weights, test images and recorded spikes of a trained network, checked as they are read."""

import hashlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from archsim.contracts.common.errors import ArchsimError
from mapping.importers.manifest import COUNT, MAPPING, NUMBER, POSITIVE, SHAPE, SHARE, TEXT, KeyPath, Rule, check

WEIGHTS, TEST, TRACES = "weights.safetensors", "test.npz", "traces.npz"

RULES: dict[KeyPath, Rule] = {
    ("family",): TEXT, ("hyperparameters",): MAPPING, ("accuracy", "test", "accuracy"): SHARE,
    ("data", "normalisation", "pixel_max"): POSITIVE, ("data", "normalisation", "mean"): NUMBER,
    ("data", "normalisation", "std"): POSITIVE, ("sha256",): MAPPING, ("sha256", WEIGHTS): TEXT,
    ("sha256", TEST): TEXT, ("sha256", TRACES): TEXT, ("traces", "images"): COUNT, ("traces", "shapes"): MAPPING,
    ("traces", "shapes", "*"): SHAPE,
}  # fmt: skip
"""Keys that every family's manifest has."""


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
        place = self.path / WEIGHTS
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
        packed, shape = self._recorded(name)
        place = self.path / TRACES
        if packed.shape != (*shape[:-1], -(-shape[-1] // 8)) or packed.dtype != np.uint8:
            raise ArchsimError(
                f"{place}: '{name}': required packed shape for {shape} in uint8, given {packed.shape} in {packed.dtype}; "
                "do manifest and trace match?"
            )
        if not 0 <= image < shape[0]:
            raise ArchsimError(
                f"{place}: required image {image}, but only {shape[0]} images were recorded; use --images {shape[0]}"
            )
        bits = np.unpackbits(packed[image], axis=-1, bitorder="little", count=shape[-1])
        return bits.astype(np.bool_)

    def values(self, name: str, channels: int) -> NDArray[np.float64]:
        """Recorded values of all images, float64 [images, channels]; raises ArchsimError unless they are finite."""
        values, shape = self._recorded(name)
        if values.shape != tuple(shape) or shape[1:] != [channels] or not np.issubdtype(values.dtype, np.floating):
            raise ArchsimError(
                f"{self.path / TRACES}: '{name}': required floats of shape {(shape[0], channels)}, given {values.shape} in "
                f"{values.dtype}; do manifest, weights and trace match?"
            )
        if not np.isfinite(values).all():
            raise ArchsimError(
                f"{self.path / TRACES}: '{name}': required finite numbers, given NaN or infinite ones; record it again"
            )
        return values.astype(np.float64)

    def _recorded(self, name: str) -> tuple[NDArray[Any], list[int]]:
        """A recorded array and the shape that the manifest gives it."""
        traces, place = self.manifest["traces"], self.path / TRACES
        shape = traces["shapes"].get(name)
        if name not in self.traces or shape is None:
            raise ArchsimError(
                f"{place}: required the recording of '{name}', but the trace has {sorted(self.traces)} and manifest.json "
                f"the shapes of {sorted(traces['shapes'])}; is it the trace of this network?"
            )
        if shape[0] != traces["images"]:
            raise ArchsimError(
                f"{self.path / 'manifest.json'}: traces.shapes['{name}']: required {traces['images']} images as traces.images "
                f"says, given {shape[0]}; export the network again"
            )
        return self.traces[name], shape


def load(path: Path) -> Artefact:
    """Read an artefact folder.

    Raises ArchsimError for a file that is missing, truncated, corrupt or not the one that the manifest names.
    """
    manifest = _manifest(path / "manifest.json")
    for name, digest in manifest["sha256"].items():
        _check_digest(path / name, digest)
    try:
        weights = {name: array.astype(np.float64) for name, array in load_file(path / WEIGHTS).items()}
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise ArchsimError(
            f"{path / WEIGHTS}: required a safetensors file that NumPy can hold, given one that cannot be read: {error}"
        ) from error
    images, labels = _test_set(path / TEST)
    return Artefact(path, manifest, weights, images, labels, _arrays(path / TRACES))


def _manifest(place: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(place.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArchsimError(
            f"{place}: required the manifest of a trained network, but it cannot be read: {error.strerror}"
        ) from error
    except ValueError as error:
        raise ArchsimError(f"{place}: required JSON, given text that is not: {error}") from error
    check(place, manifest, RULES)
    return dict(manifest)


def _test_set(place: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images and labels of test.npz."""
    test = _arrays(place)
    missing = {"images", "labels"} - set(test)
    if missing:
        raise ArchsimError(f"{place}: required arrays 'images' and 'labels', given {sorted(test)}; export it again")
    images, labels = test["images"], test["labels"]
    if images.dtype != np.uint8 or images.ndim < 3 or not len(images):
        raise ArchsimError(
            f"{place}: 'images': required uint8 [images, height, width], given {images.dtype} {list(images.shape)}; "
            "export it again"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != images.shape[:1]:
        raise ArchsimError(
            f"{place}: 'labels': required one integer for each of {len(images)} images, given {labels.dtype} "
            f"{list(labels.shape)}; export it again"
        )
    return images, labels.astype(np.int64)


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
        with place.open("rb") as file, np.load(file, allow_pickle=False) as data:
            return {name: data[name] for name in data.files}
    # What zipfile and NumPy raise for damaged archives; NotImplementedError is an unknown compression method.
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, BadZipFile, zlib.error) as error:
        raise ArchsimError(f"{place}: required an npz archive, given one that cannot be read: {error}") from error
