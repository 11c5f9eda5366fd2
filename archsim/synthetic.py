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
from archsim.tensors import from_words, to_words
from archsim.traces import unturned
from mapping import calibrate
from mapping.ir import IMAGE
from mapping.quantise import IntNetwork, IntSynapse
from mapping.turned import mixed
from mapping.window_attention import IntWindowAttention


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

        A map that is turned back is drawn as its readers find it; one of several maps of the definition has the rate of each. What
        is stored window by window is the same map in another order.
        Raises ArchsimError for a map without a rate.
        """
        words: dict[str, NDArray[np.uint64]] = {}
        back = {mix.layer.spikes: mix.back for layer in self.network.layers if (mix := mixed(self.network, layer))}
        numbers = {name: index for index, name in enumerate(notes["tensors"])}
        windows = {layer.by_window: layer for layer in self.network.layers if isinstance(layer, IntWindowAttention)}
        for name, shape in notes["tensors"].items():
            if shape.get("computed"):
                continue  # in the run: what it holds depends on the routes
            turned = back.get(name)
            drawn = turned.name if turned else name
            seed, size = [self.seed, 1 + numbers.get(drawn, numbers[name]), number], _size(chip, shape)
            if shape["planes"]:
                words[name] = _words(np.random.default_rng(seed), size, 0.5, chip.columns)
                words[name][..., 1:] = 0
            elif turned:
                steps, channels = shape["steps"], turned.shape.channels
                size = turned.shape.positions, size[1], -(-channels // chip.columns), size[3]
                spikes = from_words(chip, self._map(chip, drawn, size, steps, seed), steps, channels)
                words[name] = to_words(chip, unturned(turned, self.network.maps[name], spikes))
            elif name not in windows:
                words[name] = self._map(chip, name, size, shape["steps"], seed)
        for name, layer in windows.items():
            whole, shape = words.get(layer.spikes), notes["tensors"][name]
            if whole is None:  # not stored by positions
                seed = [self.seed, 1 + numbers[name], number]
                whole = self._map(chip, layer.spikes, _size(chip, shape), shape["steps"], seed)
            words[name] = whole[layer.order]
        return words

    def _map(
        self, chip: ChipParams, name: str, size: tuple[int, int, int, int], steps: int, seed: list[int]
    ) -> NDArray[np.uint64]:
        """Words of a map, drawn from a seed."""
        lanes = chip.lanes_used(steps)
        columns = np.arange(chip.columns, dtype=np.uint64)
        carried = self.network.carried(name, chip.columns)
        words, first = np.zeros(size, np.uint64), 0
        for number, (part, channels) in enumerate(self._parts(name) or ((name, carried.size),)):
            if part:  # else channels that never fire
                if part not in self.rates:
                    raise ArchsimError(f"rates: required that of map '{part}', given those of {sorted(self.rates)}")
                draws, rate = np.random.default_rng([*seed, number] if number else seed), self.rates[part]
                own = carried & _between(carried.shape, first, first + channels)
                drawn = (
                    self.clustering.words(draws, size, rate, chip.columns, lanes) if self.clustering
                    else _words(draws, size, rate, chip.columns)
                )  # fmt: skip
                words |= drawn & (own.astype(np.uint64) << columns).sum(1, dtype=np.uint64)[:, None]
            first += channels
        words[..., lanes:] = 0
        return words

    def _parts(self, name: str) -> tuple[tuple[str, int], ...]:
        """The maps of the definition, each with its channels, that a map is made of; none if it is one itself."""
        joined = self.network.joined
        layer = next((x for x in self.network.layers if x.spikes == name), None)
        return joined[layer.name].parts if layer and layer.name in joined else ()


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


def _size(chip: ChipParams, shape: Mapping[str, int]) -> tuple[int, int, int, int]:
    return shape["positions"], shape["slices"], shape["words"], chip.lanes


def _between(shape: tuple[int, ...], first: int, last: int) -> NDArray[np.bool_]:
    """Which channels ``first .. last - 1`` are, bool of ``shape`` [words, columns]."""
    channel = np.arange(shape[0] * shape[1]).reshape(shape)
    between: NDArray[np.bool_] = (channel >= first) & (channel < last)
    return between


def _words(draws: np.random.Generator, size: tuple[int, ...], rate: float, columns: int) -> NDArray[np.uint64]:
    """Words whose lowest ``columns`` bits are set with probability ``rate``, in steps of 2**-16."""
    threshold, result = round(rate * (1 << 16)), np.zeros(size, np.uint64)
    for column in range(columns):
        bits = draws.integers(0, 1 << 16, size, np.uint16) < threshold
        result |= bits.astype(np.uint64) << np.uint64(column)
    return result
