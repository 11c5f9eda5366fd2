"""Spikingformer: from the official checkpoint names to layers (zhouchenlin2096/Spikingformer, imagenet/model.py).

A LIF stands before every convolution but the first; sums join a membrane stream that starts after the tokenizer. In this
representation a neuron belongs to the layer that feeds it, so each layer that updates the stream also fires the next LIF.
"""

from collections.abc import Iterator

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
from mapping.ir import IMAGE, Attention, Classifier, Layer, Map, Network, Synapse

STREAM = "x"

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
    layers = [*_tokenizer(artefact), *(layer for block in range(hyper["depth"]) for layer in _block(artefact, block))]
    weight = artefact.tensor("head.weight", (hyper["classes"], hyper["dim"]))
    layers.append(Classifier("head", layers[-1].name, weight, artefact.tensor("head.bias", weight.shape[:1])))
    return Network(
        name=str(artefact.manifest.get("name", artefact.path.name)),
        timesteps=hyper["timesteps"],
        image=Map(size, size, channels),
        image_limit=artefact.image_limit(),
        head_limit=float(np.abs(artefact.values("head.input", hyper["dim"])).max()),
        layers=tuple(layers),
    )


def fold(
    artefact: Artefact, conv: str, norm: str, shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights [Cout, Cin, kh, kw] and bias of a convolution with its batch norm folded in.

    ``shape``: of the weights in the checkpoint; missing kernel dimensions are added.
    """
    weight = artefact.tensor(f"{conv}.weight", shape)
    gamma, beta, mean, variance = (
        artefact.tensor(f"{norm}.{part}", shape[:1]) for part in ("weight", "bias", "running_mean", "running_var")
    )
    bias = artefact.tensor(f"{conv}.bias", shape[:1]) if f"{conv}.bias" in artefact.weights else np.zeros(shape[0])
    if (variance < 0).any():
        raise ArchsimError(f"{artefact.path}: '{norm}.running_var': required 0 or more, given {variance.min()}")
    factor = gamma / np.sqrt(variance + artefact.manifest["batch_norm_eps"])
    kernel = weight.reshape(*shape, *([1] * (4 - len(shape))))
    return kernel * factor[:, None, None, None], beta + (bias - mean) * factor


def _threshold(artefact: Artefact, lif: str) -> float:
    """Threshold of a LIF; raises ArchsimError unless it has tau 2, decaying input and hard reset to 0."""
    node = artefact.manifest["lif"].get(lif)
    if node is None:
        raise ArchsimError(
            f"{artefact.path / 'manifest.json'}: required the neurons of lif['{lif}'], but lif has "
            f"{sorted(artefact.manifest['lif'])}; export the network again"
        )
    if node["tau"] != 2.0 or node["v_reset"] != 0.0 or not node["decay_input"]:
        raise ArchsimError(
            f"{artefact.path / 'manifest.json'}: lif['{lif}']: required tau 2, decaying input and hard reset to 0, which the "
            f"neuron unit has, given {node}; train with such neurons"
        )
    return float(node["threshold"])


def _tokenizer(artefact: Artefact) -> Iterator[Synapse]:
    stages, source = artefact.manifest["tokenizer"], IMAGE
    for number, stage in enumerate(stages):
        name = f"patch_embed.{stage['name']}"
        shape = (stage["cout"], stage["cin"], stage["kernel"], stage["kernel"])
        weight, bias = fold(artefact, name, f"patch_embed.{stage['bn']}", shape)
        last = number == len(stages) - 1
        lif = "block.0.attn.proj_lif" if last else f"patch_embed.{stages[number + 1]['lif']}"
        pool = None if last else stages[number + 1]["pool"]
        if pool and (pool["kernel"], pool["stride"], pool["padding"]) != (3, 2, 1):
            raise ArchsimError(
                f"{artefact.path / 'manifest.json'}: tokenizer[{number + 1}].pool: required 3x3 with stride 2 and padding 1, "
                f"which the spike writer has, given {pool}; train with such a pool"
            )
        yield Synapse(
            name, source, weight, bias, stage["stride"], stage["padding"], stream=STREAM if last else None, opens=last,
            threshold=_threshold(artefact, lif), spikes=lif, pool=bool(pool),
        )  # fmt: skip
        source = lif


def _block(artefact: Artefact, block: int) -> Iterator[Layer]:
    hyper, prefix = artefact.manifest["hyperparameters"], f"block.{block}"
    attn, mlp, dim = f"{prefix}.attn", f"{prefix}.mlp", hyper["dim"]
    hidden, last = dim * hyper["mlp_ratio"], block == hyper["depth"] - 1
    for part in ("k", "v", "q"):  # Q streams behind K and V
        weight, bias = fold(artefact, f"{attn}.{part}_conv", f"{attn}.{part}_bn", (dim, dim, 1))
        lif = f"{attn}.{part}_lif"
        yield Synapse(
            f"{attn}.{part}_conv", f"{attn}.proj_lif", weight, bias, threshold=_threshold(artefact, lif), spikes=lif
        )
    yield Attention(
        attn, f"{attn}.q_lif", f"{attn}.k_lif", f"{attn}.v_lif", f"{attn}.attn_lif", hyper["heads"],
        float(artefact.manifest["attention_scale"]), _threshold(artefact, f"{attn}.attn_lif"),
    )  # fmt: skip
    weight, bias = fold(artefact, f"{attn}.proj_conv", f"{attn}.proj_bn", (dim, dim, 1))
    lif = f"{mlp}.mlp1_lif"
    yield Synapse(
        f"{attn}.proj_conv",
        f"{attn}.attn_lif",
        weight,
        bias,
        stream=STREAM,
        threshold=_threshold(artefact, lif),
        spikes=lif,
    )
    weight, bias = fold(artefact, f"{mlp}.mlp1_conv", f"{mlp}.mlp1_bn", (hidden, dim, 1, 1))
    lif = f"{mlp}.mlp2_lif"
    yield Synapse(f"{mlp}.mlp1_conv", f"{mlp}.mlp1_lif", weight, bias, threshold=_threshold(artefact, lif), spikes=lif)
    weight, bias = fold(artefact, f"{mlp}.mlp2_conv", f"{mlp}.mlp2_bn", (dim, hidden, 1, 1))
    lif = f"block.{block + 1}.attn.proj_lif"
    yield Synapse(
        f"{mlp}.mlp2_conv", f"{mlp}.mlp2_lif", weight, bias, stream=STREAM, neuron=None if last else "lif",
        threshold=0.0 if last else _threshold(artefact, lif), spikes=None if last else lif, reduce=last,
    )  # fmt: skip
