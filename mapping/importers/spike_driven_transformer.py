"""Spike-driven Transformer, dense or with experts: the network of an artefact whose tensors have the public code's names.

The tokenizer of the artefact pools once, behind its third convolution; the head reads the mean of the stream.
"""

from typing import Any

from archsim.contracts.common.errors import ArchsimError
from mapping.importers.artefact import Artefact
from mapping.importers.manifest import COUNT, KeyPath, Rule, check
from mapping.importers.trained import RULES as TRAINED_RULES
from mapping.importers.trained import Trained, head_limit, image
from mapping.ir import Network
from mapping.networks.spike_driven_transformer import SpikeDrivenTransformer
from mapping.networks.spiking_moe import SpikingMoe

_SIZES = ("image_size", "in_channels", "timesteps", "depth", "dim", "heads", "mlp_ratio", "classes")
RULES: dict[KeyPath, Rule] = TRAINED_RULES | {("hyperparameters", name): COUNT for name in _SIZES}
EXPERT_RULES = RULES | {("hyperparameters", name): COUNT for name in ("experts", "choices", "capacity")}
"""Keys of the manifests that these families read."""


def read(artefact: Artefact) -> Network:
    """The dense network of an artefact. Raises ArchsimError when tensors are missing, misshapen or not finite."""
    check(artefact.path / "manifest.json", artefact.manifest, RULES)
    return _network(artefact, SpikeDrivenTransformer(**_sizes(artefact)))


def read_experts(artefact: Artefact) -> Network:
    """The network with experts of an artefact; raises ArchsimError as :func:`read` does.

    With ``expert_steps``, the time steps of each expert, it has the published form: weighed by the softmax of the gate.
    """
    check(artefact.path / "manifest.json", artefact.manifest, EXPERT_RULES)
    hyper = artefact.manifest["hyperparameters"]
    weighed = "expert_steps" in hyper
    if weighed:
        place = artefact.path / "manifest.json"
        check(place, artefact.manifest, {("hyperparameters", "expert_steps", "*"): COUNT})
        if len(hyper["expert_steps"]) != hyper["experts"]:
            raise ArchsimError(
                f"{place}: hyperparameters.expert_steps: required one for each of {hyper['experts']} experts, given "
                f"{hyper['expert_steps']}; export the network again"
            )
    steps = tuple(hyper["expert_steps"]) if weighed else (None,) * hyper["experts"]
    family = SpikingMoe(
        **_sizes(artefact), steps=steps, choices=hyper["choices"], capacity=hyper["capacity"], binary=not weighed
    )
    return _network(artefact, family)


def _sizes(artefact: Artefact) -> dict[str, Any]:
    """Attributes that both families share."""
    hyper = artefact.manifest["hyperparameters"]
    sizes = {name: hyper[name] for name in ("dim", "depth", "classes", "heads", "mlp_ratio", "timesteps")}
    name = str(artefact.manifest.get("name", artefact.path.name))
    return sizes | {"name": name, "image": image(artefact), "pooled": 2, "pooled_last": 2, "firing_head": False}


def _network(artefact: Artefact, family: SpikeDrivenTransformer) -> Network:
    return family.network(Trained(artefact), artefact.image_limit(), head_limit(artefact, family.dim))
