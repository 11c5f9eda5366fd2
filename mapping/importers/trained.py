"""Trained weights for a family's definition, and what every importer asks of an artefact."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError
from mapping.importers.artefact import Artefact
from mapping.importers.manifest import FLAG, MAPPING, NUMBER, POSITIVE, KeyPath, Rule
from mapping.ir import Map
from mapping.networks.weights import Kernel

RULES: dict[KeyPath, Rule] = {
    ("batch_norm_eps",): POSITIVE, ("attention_scale",): POSITIVE,
    ("lif",): MAPPING, ("lif", "*", "tau"): NUMBER, ("lif", "*", "v_reset"): NUMBER,
    ("lif", "*", "decay_input"): FLAG, ("lif", "*", "threshold"): POSITIVE,
}  # fmt: skip
"""Keys of the manifest that :class:`Trained` and the definitions read."""


def image(artefact: Artefact) -> Map:
    """Shape of the image as the hyperparameters say; raises ArchsimError when the test images have another."""
    hyper = artefact.manifest["hyperparameters"]
    size, channels = hyper["image_size"], hyper["in_channels"]
    if artefact.images.shape[1:] != (*([channels] if channels > 1 else []), size, size):
        raise ArchsimError(
            f"{artefact.path / 'test.npz'}: 'images': required {channels} channel(s) of {size} x {size} pixels as manifest.json "
            f"says, given shape {artefact.images.shape}; is it the test set of this network?"
        )
    return Map(size, size, channels)


def is_pooled(artefact: Artefact, number: int, stage: Mapping[str, Any]) -> bool:
    """Whether a stage of the tokenizer has a pool; raises ArchsimError unless that is 3x3, stride 2, padding 1."""
    pool = stage["pool"]
    if pool and (pool["kernel"], pool["stride"], pool["padding"]) != (3, 2, 1):
        raise ArchsimError(
            f"{artefact.path / 'manifest.json'}: tokenizer[{number}].pool: required 3x3 with stride 2 and padding 1, "
            f"which the spike writer has, given {pool}; train with such a pool"
        )
    return bool(pool)


def head_limit(artefact: Artefact, channels: int) -> float:
    """Greatest magnitude of the classifier's operand in the recorded runs."""
    return float(np.abs(artefact.values("head.input", channels)).max())


@dataclass(frozen=True)
class Trained:
    """Weights of an artefact: norms folded, neurons checked."""

    artefact: Artefact

    def conv(self, name: str, norm: str, shape: tuple[int, ...], bias: bool = False) -> Kernel:
        """A convolution with its batch norm folded in; a bias is taken where the artefact has one."""
        (kernel, offset), (factor, constant) = self.plain(name, shape, bias), self.norm(norm, shape[0])
        return kernel * factor[:, None, None, None], constant + offset * factor

    def plain(self, name: str, shape: tuple[int, ...], bias: bool = False) -> Kernel:
        """A convolution as it is; a bias is taken where the artefact has one."""
        weight = self.artefact.tensor(f"{name}.weight", shape)
        offset = (
            self.artefact.tensor(f"{name}.bias", shape[:1])
            if f"{name}.bias" in self.artefact.weights
            else np.zeros(shape[0])
        )
        return weight.reshape(*shape, *([1] * (4 - len(shape)))), offset

    def norm(self, name: str, channels: int) -> Kernel:
        """Scale and offset of a batch norm."""
        gamma, beta, mean, variance = (
            self.artefact.tensor(f"{name}.{part}", (channels,)) for part in ("weight", "bias", "running_mean", "running_var")
        )
        if (variance < 0).any():
            raise ArchsimError(
                f"{self.artefact.path}: '{name}.running_var': required 0 or more, given {variance.min()}"
            )
        factor = gamma / np.sqrt(variance + self.artefact.manifest["batch_norm_eps"])
        return factor, beta - mean * factor

    def layer_norm(self, name: str, channels: int) -> Kernel:
        """Gain and offset of a layer norm."""
        gain, offset = (self.artefact.tensor(f"{name}.{part}", (channels,)) for part in ("weight", "bias"))
        return gain, offset

    def table(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """A tensor as it is."""
        return self.artefact.tensor(name, shape)

    def linear(self, name: str, shape: tuple[int, int]) -> Kernel:
        """A linear layer as it is."""
        return self.artefact.tensor(f"{name}.weight", shape), self.artefact.tensor(f"{name}.bias", shape[:1])

    def threshold(self, neuron: str, published: float) -> float:
        """Threshold of a LIF; raises ArchsimError unless it has tau 2, decaying input and hard reset to 0."""
        place = self.artefact.path / "manifest.json"
        node = self.artefact.manifest["lif"].get(neuron)
        if node is None:
            raise ArchsimError(
                f"{place}: required the neurons of lif['{neuron}'], but lif has {sorted(self.artefact.manifest['lif'])}; "
                "export the network again"
            )
        if node["tau"] != 2.0 or node["v_reset"] != 0.0 or not node["decay_input"]:
            raise ArchsimError(
                f"{place}: lif['{neuron}']: required tau 2, decaying input and hard reset to 0, which the neuron unit has, "
                f"given {node}; train with such neurons"
            )
        return float(node["threshold"])

    def unused(self, name: str, parameters: int) -> None:
        """Not read."""
