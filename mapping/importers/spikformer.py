"""Spikformer: the network of an artefact whose tensors have the official checkpoint's names."""

from archsim.contracts.common.errors import ArchsimError
from mapping.importers.artefact import Artefact
from mapping.importers.manifest import COUNT, ENTRIES, POOL, KeyPath, Rule, check
from mapping.importers.trained import RULES as TRAINED_RULES
from mapping.importers.trained import Trained, head_limit, image, is_pooled
from mapping.ir import Network
from mapping.networks.spikformer import Spikformer

_SIZES = ("image_size", "in_channels", "timesteps", "depth", "dim", "heads", "mlp_ratio", "classes")
RULES: dict[KeyPath, Rule] = {
    **TRAINED_RULES, **{("hyperparameters", name): COUNT for name in _SIZES},
    ("tokenizer",): ENTRIES, ("tokenizer", "*", "cout"): COUNT, ("tokenizer", "*", "pool"): POOL,
}  # fmt: skip
"""Keys of the manifest that this family reads."""


def read(artefact: Artefact) -> Network:
    """The network of an artefact. Raises ArchsimError when tensors are missing, misshapen or not finite."""
    place = artefact.path / "manifest.json"
    check(place, artefact.manifest, RULES)
    hyper, stages = artefact.manifest["hyperparameters"], artefact.manifest["tokenizer"]
    pools = [is_pooled(artefact, number, stage) for number, stage in enumerate(stages)]
    if len(stages) < 2 or pools[-1] or [stage["cout"] for stage in stages[-2:]] != [hyper["dim"]] * 2:
        raise ArchsimError(
            f"{place}: tokenizer: required a last stage beside the stream and one before it, both of {hyper['dim']} channels and "
            f"the last without a pool, given {[(stage['cout'], stage['pool']) for stage in stages]}; export the network again"
        )
    family = Spikformer(
        str(artefact.manifest.get("name", artefact.path.name)), image(artefact),
        tuple(stage["cout"] for stage in stages[:-2]), tuple(pools[:-1]), hyper["dim"], hyper["depth"], hyper["heads"],
        hyper["classes"], mlp_ratio=hyper["mlp_ratio"], timesteps=hyper["timesteps"],
        scale=float(artefact.manifest["attention_scale"]),
    )  # fmt: skip
    return family.network(Trained(artefact), artefact.image_limit(), head_limit(artefact, hyper["dim"]))
