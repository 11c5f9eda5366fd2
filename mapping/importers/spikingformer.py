"""Spikingformer: the network of an artefact whose tensors have the official checkpoint's names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError
from mapping.importers.artefact import Artefact
from mapping.importers.manifest import (
    COUNT,
    ENTRIES,
    FLAG,
    MAPPING,
    NATURAL,
    NUMBER,
    POSITIVE,
    TEXT,
    KeyPath,
    Rule,
    check,
)
from mapping.ir import Map, Network
from mapping.networks.spikingformer import Spikingformer, Stage
from mapping.networks.weights import Kernel

_SIZES = ("image_size", "in_channels", "timesteps", "depth", "dim", "heads", "mlp_ratio", "classes")
_POOL = ("kernel", "stride", "padding")
RULES: dict[KeyPath, Rule] = {
    **{("hyperparameters", name): COUNT for name in _SIZES},
    ("batch_norm_eps",): POSITIVE, ("attention_scale",): POSITIVE,
    ("tokenizer",): ENTRIES, ("tokenizer", "*", "name"): TEXT, ("tokenizer", "*", "bn"): TEXT,
    ("tokenizer", "*", "lif"): Rule("a text or null", lambda value: value is None or isinstance(value, str)),
    **{("tokenizer", "*", name): COUNT for name in ("cin", "cout", "kernel", "stride")},
    ("tokenizer", "*", "padding"): NATURAL,
    ("tokenizer", "*", "pool"): Rule(
        f"null or a mapping with {_POOL}",
        lambda value: value is None or (isinstance(value, dict) and all(name in value for name in _POOL)),
    ),
    ("lif",): MAPPING, ("lif", "*", "tau"): NUMBER, ("lif", "*", "v_reset"): NUMBER,
    ("lif", "*", "decay_input"): FLAG, ("lif", "*", "threshold"): POSITIVE,
}  # fmt: skip
"""Keys of the manifest that only this family has."""


def read(artefact: Artefact) -> Network:
    """The network of an artefact. Raises ArchsimError when tensors are missing, misshapen or not finite."""
    check(artefact.path / "manifest.json", artefact.manifest, RULES)
    hyper = artefact.manifest["hyperparameters"]
    size, channels = hyper["image_size"], hyper["in_channels"]
    if artefact.images.shape[1:] != (*([channels] if channels > 1 else []), size, size):
        raise ArchsimError(
            f"{artefact.path / 'test.npz'}: 'images': required {channels} channel(s) of {size} x {size} pixels as manifest.json "
            f"says, given shape {artefact.images.shape}; is it the test set of this network?"
        )
    stages = tuple(_stage(artefact, number, stage) for number, stage in enumerate(artefact.manifest["tokenizer"]))
    family = Spikingformer(
        str(artefact.manifest.get("name", artefact.path.name)), Map(size, size, channels), stages, hyper["dim"],
        hyper["depth"], hyper["heads"], hyper["mlp_ratio"], hyper["classes"], hyper["timesteps"],
        float(artefact.manifest["attention_scale"]),
    )  # fmt: skip
    head_limit = float(np.abs(artefact.values("head.input", hyper["dim"])).max())
    return family.network(Trained(artefact), artefact.image_limit(), head_limit)


def _stage(artefact: Artefact, number: int, stage: Mapping[str, Any]) -> Stage:
    pool = stage["pool"]
    if pool and (pool["kernel"], pool["stride"], pool["padding"]) != (3, 2, 1):
        raise ArchsimError(
            f"{artefact.path / 'manifest.json'}: tokenizer[{number}].pool: required 3x3 with stride 2 and padding 1, "
            f"which the spike writer has, given {pool}; train with such a pool"
        )
    sizes = {name: stage[name] for name in ("cin", "cout", "kernel", "stride", "padding")}
    return Stage(stage["name"], stage["bn"], stage["lif"], pool=bool(pool), **sizes)


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
