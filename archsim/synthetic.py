"""Synthetic inputs of networks that were never trained here: random images, and spikes at published firing rates.

In mode trace spikes are drawn independently of each other, or as they cluster in a small trained network (archsim/clustering.py).
In mode execute the network fires them, from random weights and thresholds that are calibrated to the rates. Those of the real
network cluster otherwise: what depends on that is not told by these.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsim.clustering import Clustering
from archsim.config.yaml_source import read_yaml
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.jit import cache_base
from mapping import calibrate
from mapping.ir import IMAGE
from mapping.quantise import IntNetwork, IntSynapse


@dataclass(frozen=True)
class Synthetic:
    """Images and spikes of a network.

    Attributes:
        network: in integers.
        rates: firing rate of each spike map, 0..1, as its reader finds it; empty without published rates.
        seed: of everything that is drawn here.
        clustering: how spikes cluster; None draws them independently.
    """

    network: IntNetwork
    rates: Mapping[str, float]
    seed: int
    clustering: Clustering | None = None

    @property
    def spikes(self) -> str:
        """How spikes are drawn, for outputs."""
        return f"SYNTHETIC spikes, {self.clustering or 'drawn independently'}"

    def pixels(self, number: int) -> NDArray[np.float64]:
        """Image ``number``: uniform in -1..1, float64 [channels, height, width]."""
        shape = self.network.maps[IMAGE]
        draws = np.random.default_rng([self.seed, 0, number])
        return draws.uniform(-1, 1, (shape.channels, shape.height, shape.width))

    def words(self, chip: ChipParams, notes: Mapping[str, Any], number: int) -> dict[str, NDArray[np.uint64]]:
        """Words of every map of image ``number``, for :class:`archsim.tensors.Capture`; the planes of integers are half full.

        Raises ArchsimError for a map without a rate.
        """
        words = {}
        for index, (name, shape) in enumerate(notes["tensors"].items()):
            if name not in self.rates and not shape["planes"]:
                raise ArchsimError(f"rates: required that of map '{name}', given those of {sorted(self.rates)}")
            draws = np.random.default_rng([self.seed, 1 + index, number])
            size = (shape["positions"], shape["slices"], shape["words"], chip.lanes)
            lanes = 1 if shape["planes"] else chip.lanes_used(shape["steps"])
            if self.clustering and not shape["planes"]:
                words[name] = self.clustering.words(draws, size, self.rates[name], chip.columns, lanes)
            else:
                words[name] = _words(draws, size, 0.5 if shape["planes"] else self.rates[name], chip.columns)
            words[name][..., lanes:] = 0
            if not shape["planes"]:
                carried = self.network.carried(name, chip.columns).astype(np.uint64)
                words[name] &= (carried << np.arange(chip.columns, dtype=np.uint64)).sum(1, dtype=np.uint64)[:, None]
        return words


def read_rates(path: Path, size: str) -> dict[str, float]:
    """Firing rates 0..1 by map of a published size, from a YAML file of percentages; raises ArchsimError."""
    document = read_yaml(path)
    rates = document.data.get(size) if isinstance(document.data, dict) else None
    if not isinstance(rates, dict):
        raise ArchsimError(f"{path}: required the rates of size '{size}', given those of {sorted(document.data or {})}")
    for name, percent in rates.items():
        if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:
            raise ArchsimError(
                f"{document.where((size, name))}: {name}: required a rate in 0..100 percent, given {percent!r}"
            )
    return {name: percent / 100 for name, percent in rates.items()}


def calibrated(network: IntNetwork, synthetic: Synthetic) -> IntNetwork:
    """The network with thresholds and biases that make it fire at the rates on image 0; they are kept beside the kernels."""
    image = network.quantise_image(synthetic.pixels(0))
    key = hashlib.sha256(Path(calibrate.__file__).read_bytes())
    key.update(repr((network.name, network.precision, sorted(synthetic.rates.items()))).encode())
    for layer in network.layers:
        if isinstance(layer, IntSynapse):
            key.update(layer.weight.tobytes())
    key.update(image.tobytes())
    file = cache_base() / f"calibration-{key.hexdigest()[:16]}.npz"
    if not file.exists():
        values, _ = calibrate.calibrate(network, image, synthetic.rates)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(part := file.with_name(f"{os.getpid()}-{file.name}"), **values)  # type: ignore[arg-type]  # names are no options
        part.replace(file)
    with np.load(file) as kept:
        return calibrate.apply(network, dict(kept))


def _words(draws: np.random.Generator, size: tuple[int, ...], rate: float, columns: int) -> NDArray[np.uint64]:
    """Words whose lowest ``columns`` bits are set with probability ``rate``, in steps of 2**-16."""
    threshold, result = round(rate * (1 << 16)), np.zeros(size, np.uint64)
    for column in range(columns):
        bits = draws.integers(0, 1 << 16, size, np.uint16) < threshold
        result |= bits.astype(np.uint64) << np.uint64(column)
    return result
