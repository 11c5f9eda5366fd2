"""Spikingformer: the network of an artefact whose tensors have the official checkpoint's names."""

from collections.abc import Mapping
from typing import Any

from mapping.importers.artefact import Artefact
from mapping.importers.manifest import COUNT, ENTRIES, NATURAL, POOL, TEXT, KeyPath, Rule, check
from mapping.importers.trained import RULES as TRAINED_RULES
from mapping.importers.trained import Trained, head_limit, image, is_pooled
from mapping.ir import Network
from mapping.networks.spikingformer import Spikingformer, Stage

_SIZES = ("image_size", "in_channels", "timesteps", "depth", "dim", "heads", "mlp_ratio", "classes")
RULES: dict[KeyPath, Rule] = {
    **TRAINED_RULES, **{("hyperparameters", name): COUNT for name in _SIZES},
    ("tokenizer",): ENTRIES, ("tokenizer", "*", "name"): TEXT, ("tokenizer", "*", "bn"): TEXT,
    ("tokenizer", "*", "lif"): Rule("a text or null", lambda value: value is None or isinstance(value, str)),
    **{("tokenizer", "*", name): COUNT for name in ("cin", "cout", "kernel", "stride")},
    ("tokenizer", "*", "padding"): NATURAL,
    ("tokenizer", "*", "pool"): POOL,
}  # fmt: skip
"""Keys of the manifest that only this family has."""


def read(artefact: Artefact) -> Network:
    """The network of an artefact. Raises ArchsimError when tensors are missing, misshapen or not finite."""
    check(artefact.path / "manifest.json", artefact.manifest, RULES)
    hyper = artefact.manifest["hyperparameters"]
    shape = image(artefact)
    stages = tuple(_stage(artefact, number, stage) for number, stage in enumerate(artefact.manifest["tokenizer"]))
    family = Spikingformer(
        str(artefact.manifest.get("name", artefact.path.name)), shape, stages, hyper["dim"],
        hyper["depth"], hyper["heads"], hyper["mlp_ratio"], hyper["classes"], hyper["timesteps"],
        float(artefact.manifest["attention_scale"]),
    )  # fmt: skip
    return family.network(Trained(artefact), artefact.image_limit(), head_limit(artefact, hyper["dim"]))


def _stage(artefact: Artefact, number: int, stage: Mapping[str, Any]) -> Stage:
    sizes = {name: stage[name] for name in ("cin", "cout", "kernel", "stride", "padding")}
    return Stage(stage["name"], stage["bn"], stage["lif"], pool=is_pooled(artefact, number, stage), **sizes)
