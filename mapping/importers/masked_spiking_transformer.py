"""Masked Spiking Transformer: the network of an artefact whose tensors have the official checkpoint's names.

Before the classifier stands a layer norm, as in the published code, or a batch norm.
"""

from dataclasses import dataclass

import numpy as np

from archsim.contracts.common.errors import ArchsimError
from mapping.importers.artefact import Artefact
from mapping.importers.manifest import COUNT, MAPPING, NUMBER, POSITIVE, SHARE, TEXT, KeyPath, Rule, check
from mapping.importers.trained import Trained, head_limit, image
from mapping.ir import Network
from mapping.layer_norm import without_gains
from mapping.networks.masked_spiking_transformer import MaskedSpikingTransformer
from mapping.nodes import BATCH, LAYER

_SIZES = ("image_size", "in_channels", "timesteps", "dim", "head_channels", "window", "patch", "mlp_ratio", "classes")
_DEPTHS = Rule(
    "a list of at least one integer of at least 1",
    lambda value: isinstance(value, list) and bool(value) and all(map(COUNT.holds, value)),
)
_NORM = Rule(f"'{LAYER}' or '{BATCH}'", lambda value: value in (LAYER, BATCH))
RULES: dict[KeyPath, Rule] = {
    ("hyperparameters", "last_norm"): _NORM,
    ("batch_norm_eps",): POSITIVE, ("hyperparameters", "masked"): SHARE, ("hyperparameters", "depths"): _DEPTHS,
    **{("hyperparameters", name): COUNT for name in _SIZES},
    ("lif",): MAPPING, ("lif", "*", "kind"): TEXT, ("lif", "*", "reset"): TEXT, ("lif", "*", "threshold"): POSITIVE,
    ("lif", "*", "v_start"): NUMBER,
}  # fmt: skip
"""Keys of the manifest that this family reads."""


@dataclass(frozen=True)
class _Trained(Trained):
    """Weights whose neurons have learned thresholds."""

    def threshold(self, neuron: str, published: float) -> float:
        """Threshold of an IF neuron; raises ArchsimError unless it has a soft reset and begins at half the threshold."""
        place, node = self.artefact.path / "manifest.json", self.artefact.manifest["lif"].get(neuron)
        learned = float(self.artefact.tensor(f"{neuron}.up", (1,))[0])
        required = {"kind": "if", "reset": "soft", "threshold": learned, "v_start": learned / 2}
        if node is None or any(node[key] != value for key, value in required.items()):
            raise ArchsimError(f"{place}: lif['{neuron}']: required {required}, given {node}; export the network again")
        return learned


def read(artefact: Artefact) -> Network:
    """The network of an artefact. Raises ArchsimError when tensors are missing, misshapen or not finite."""
    check(artefact.path / "manifest.json", artefact.manifest, RULES)
    hyper = artefact.manifest["hyperparameters"]
    sizes = {name: hyper[name] for name in ("classes", "masked", "dim", "window", "mlp_ratio", "timesteps", "patch")}
    depths = tuple(hyper["depths"])
    family = MaskedSpikingTransformer(
        str(artefact.manifest.get("name", artefact.path.name)), mlp_norms=True, depths=depths, image=image(artefact),
        head=hyper["head_channels"], last_norm=hyper["last_norm"], **sizes,
    )  # fmt: skip
    channels = family.dim << len(depths) - 1
    limit = head_limit(artefact, channels)
    if family.last_norm == LAYER:
        norm = np.stack(_Trained(artefact).layer_norm("norm", channels))
        limit = float(np.abs(without_gains(artefact.values("head.input", channels), norm)).max())
    return family.network(_Trained(artefact), artefact.image_limit(), limit)
