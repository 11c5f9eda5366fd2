"""Meta-SpikeFormer: the network of an artefact whose tensors have the official checkpoint's names."""

from mapping.importers.artefact import Artefact
from mapping.importers.manifest import COUNT, KeyPath, Rule, check
from mapping.importers.trained import RULES as TRAINED_RULES
from mapping.importers.trained import Trained, image
from mapping.ir import Network
from mapping.networks.meta_spikeformer import MetaSpikeformer, unmerged

_SIZES = ("image_size", "in_channels", "timesteps", "heads", "mlp_ratio", "classes")
_LISTS = {"embed_dim": 4, "depths": 2, "strides": 5, "separable_kernels": 4}


def _counts(length: int) -> Rule:
    return Rule(
        f"a list of {length} integers of at least 1",
        lambda value: isinstance(value, list) and len(value) == length and all(map(COUNT.holds, value)),
    )


RULES: dict[KeyPath, Rule] = {
    **TRAINED_RULES, **{("hyperparameters", name): COUNT for name in _SIZES},
    **{("hyperparameters", name): _counts(length) for name, length in _LISTS.items()},
}  # fmt: skip
"""Keys of the manifest that this family reads."""


def read(artefact: Artefact, merged: bool = True) -> Network:
    """The network of an artefact, its chains of convolutions merged or as they were trained.

    Raises ArchsimError when tensors are missing, misshapen or not finite.
    """
    check(artefact.path / "manifest.json", artefact.manifest, RULES)
    hyper = artefact.manifest["hyperparameters"]
    dims, depths, strides, kernels = (tuple(hyper[name]) for name in _LISTS)
    family = MetaSpikeformer(
        str(artefact.manifest.get("name", artefact.path.name)), dims, depths, heads=hyper["heads"],
        mlp_ratio=hyper["mlp_ratio"], classes=hyper["classes"], timesteps=hyper["timesteps"], image=image(artefact),
        scale=float(artefact.manifest["attention_scale"]), strides=strides, sep_kernels=kernels,
    )  # fmt: skip
    return (family if merged else unmerged(family)).network(Trained(artefact), artefact.image_limit())
