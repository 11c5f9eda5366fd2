"""Spiking MLP: the network of an artefact whose tensors have the official checkpoint's names."""

from mapping.importers.artefact import Artefact
from mapping.importers.manifest import COUNT, KeyPath, Rule, check
from mapping.importers.trained import RULES as TRAINED_RULES
from mapping.importers.trained import Trained, image
from mapping.ir import Network
from mapping.networks.spiking_mlp import SpikingMlp

_SIZES = ("image_size", "in_channels", "timesteps", "dim", "patch", "alpha", "classes")
COUNTS = Rule(
    "a list of integers of at least 1",
    lambda value: isinstance(value, list) and bool(value) and all(map(COUNT.holds, value)),
)
RULES: dict[KeyPath, Rule] = {
    **{path: rule for path, rule in TRAINED_RULES.items() if path != ("attention_scale",)},
    **{("hyperparameters", name): COUNT for name in _SIZES}, ("hyperparameters", "depths"): COUNTS,
}  # fmt: skip
"""Keys of the manifest that this family reads."""

HEAD_LIMIT = 1.0
"""Greatest magnitude of the classifier's operand: a mean of spikes, with the norm behind them in its weights."""


def read(artefact: Artefact) -> Network:
    """The network of an artefact. Raises ArchsimError when tensors are missing, misshapen or not finite."""
    check(artefact.path / "manifest.json", artefact.manifest, RULES)
    hyper = artefact.manifest["hyperparameters"]
    family = SpikingMlp(
        str(artefact.manifest.get("name", artefact.path.name)), hyper["dim"], tuple(hyper["depths"]),
        timesteps=hyper["timesteps"], classes=hyper["classes"], image=image(artefact), patch=hyper["patch"], alpha=hyper["alpha"],
    )  # fmt: skip
    return family.network(Trained(artefact), artefact.image_limit(), HEAD_LIMIT)
