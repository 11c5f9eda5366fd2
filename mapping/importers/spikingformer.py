"""Spikingformer: from the official checkpoint names to layers (zhouchenlin2096/Spikingformer, imagenet/model.py).

A LIF stands before every convolution but the first; sums join a membrane stream that starts after the tokenizer. In this
representation a neuron belongs to the layer that feeds it, so each layer that updates the stream also fires the next LIF.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError
from mapping.importers.artefact import Artefact
from mapping.ir import IMAGE, Attention, Classifier, Layer, Map, Network, Synapse

STREAM = "x"


def read(artefact: Artefact) -> Network:
    """The network of an artefact. Raises ArchsimError when tensors are missing, misshapen or not finite."""
    hyper = artefact.manifest["hyperparameters"]
    size = hyper["image_size"]
    layers = [*_tokenizer(artefact), *(layer for block in range(hyper["depth"]) for layer in _block(artefact, block))]
    weight = artefact.tensor("head.weight", (hyper["classes"], hyper["dim"]))
    layers.append(Classifier("head", layers[-1].name, weight, artefact.tensor("head.bias", weight.shape[:1])))
    return Network(
        name=str(artefact.manifest.get("name", artefact.path.name)),
        timesteps=hyper["timesteps"],
        image=Map(size, size, hyper["in_channels"]),
        image_limit=artefact.image_limit(),
        head_limit=float(np.abs(artefact.traces["head.input"]).max()),
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
    node = artefact.manifest["lif"][lif]
    if node["tau"] != 2.0 or node["v_reset"] != 0.0 or not node["decay_input"]:
        raise ArchsimError(
            f"{artefact.path}: '{lif}': the neuron unit's LIF has tau 2, decaying input and hard reset to 0, given {node}"
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
                f"{artefact.path}: '{lif}': the chip pools 3x3 with stride 2 and padding 1, given {pool}"
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
