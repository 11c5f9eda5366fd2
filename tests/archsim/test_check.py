"""Does `archsim check` tell what is spike-driven, what runs, and whether a claim holds?"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from archsim.cli import app
from archsim.spike_driven import ADDITION, INTEGER, NOT, broken, check, verdicts
from mapping.networks import meta_spikeformer, spikingformer
from mapping.networks.weights import Shapes

ROOT = Path(__file__).parents[2]
# Layers by verdict, and the claim of the file: does it hold?
WORKLOADS = {
    "spikingformer": (15, 2, 0, True), "spikingformer_imagenet": (60, 2, 0, True), "spikformer_imagenet": (45, 34, 0, True),
    "meta_spikeformer_imagenet": (77, 1, 0, True), "spike_driven_transformer_imagenet": (61, 1, 0, True),
    "spiking_moe_imagenet": (45, 1, 8, False), "masked_spiking_transformer_cifar10": (100, 2, 36, True),
    "spiking_mlp_imagenet": (148, 2, 26, False),
}  # fmt: skip


@pytest.fixture(scope="module")
def checked():
    return {name: check(ROOT / f"workloads/{name}.yaml") for name in WORKLOADS}


@pytest.mark.parametrize("name", WORKLOADS)
def test_workloads(checked, name):
    *counts, holds = WORKLOADS[name]
    assert list(checked[name]["counts"].values()) == counts
    assert (not checked[name]["broken_by"]) == holds


def layers(result):
    return {layer["layer"]: (layer["verdict"], layer["reason"]) for layer in result["layers"]}


def test_what_is_not_spike_driven(checked):
    mst, mlp = layers(checked["masked_spiking_transformer_cifar10"]), layers(checked["spiking_mlp_imagenet"])
    moe = layers(checked["spiking_moe_imagenet"])
    assert mst["layers.0.blocks.0.attn"][0] == mst["norm"][0] == mst["layers.0.downsample.reduction"][0] == NOT
    assert "softmax" in mst["layers.0.blocks.0.attn"][1]
    assert "layer norm" in mst["norm"][1]
    assert "batch norm on the residual path" in mst["layers.0.blocks.0.norm2"][1]
    assert mst["layers.0.blocks.0.mlp.fc1"][0] == ADDITION
    assert mlp["channel_mix.3.1.net.3"][0] == NOT
    assert "a factor for each position" in mlp["channel_mix.3.1.net.3"][1]
    assert "moves into the thresholds" in mlp["channel_mix.3.1.net.0"][1]
    assert moe["block.0.mlp"][0] == NOT
    assert "softmax of the gate" in moe["block.0.mlp"][1]


def test_what_reads_integers(checked):
    spikingformer, spikformer = layers(checked["spikingformer_imagenet"]), layers(checked["spikformer_imagenet"])
    assert spikingformer["patch_embed.proj_conv"] == (INTEGER, "reads the image, bit plane by bit plane")
    assert spikingformer["head"] == (INTEGER, "reads a mean over tokens and time, bit plane by bit plane")
    assert spikformer["block.0.attn.q_conv"] == (INTEGER, "reads sums of spike maps, map by map")
    assert spikformer["block.0.attn.proj_conv"] == (ADDITION, "adds a row of weights for each spike")


def test_what_runs_and_what_is_refused(checked):
    for name in ("spikingformer_imagenet", "spikformer_imagenet", "meta_spikeformer_imagenet", "spiking_moe_imagenet"):
        assert checked[name]["refused_layers"] == 0
    assert checked["masked_spiking_transformer_cifar10"]["refused_layers"] == 0
    mst = check(ROOT / "workloads/masked_spiking_transformer.yaml")
    norm = next(layer for layer in mst["layers"] if layer["layer"] == "norm")
    assert mst["refused_layers"] == 0
    assert (norm["verdict"], norm["unit"]) == (NOT, "normaliser")


def test_chains_apart_read_real_numbers():
    network = meta_spikeformer.unmerged(meta_spikeformer.PUBLISHED["8-384"]).network(Shapes())
    found = {verdict.layer: verdict.verdict for verdict in verdicts(network)}
    assert [name for name, verdict in found.items() if verdict == NOT] == [
        name for name in found if name.endswith(("pwconv2", "q_conv", "k_conv", "v_conv", "attn.proj_conv"))
    ]


@pytest.mark.parametrize(
    "claim, layers",
    [(None, []), ("integer-by-binary", []), ("spike-driven", []), ("addition-only", ["patch_embed.proj_conv", "head"])],
)
def test_claims(claim, layers):
    network = spikingformer.PUBLISHED["8-384"].network(Shapes())
    assert [verdict.layer for verdict in broken(network, claim)] == layers


def test_a_claim_inside_the_network():
    """Sums of spikes inside are no images: spike-driven does not allow them."""
    from mapping.networks.spikformer import PUBLISHED

    network = PUBLISHED["8-384"].network(Shapes())
    names = [verdict.layer for verdict in broken(network, "spike-driven")]
    assert len(names) == 32
    assert names[0] == "block.0.attn.k_conv"


def test_command():
    good, bad = (str(ROOT / f"workloads/{name}.yaml") for name in ("spikingformer", "spiking_mlp_imagenet"))
    result = CliRunner().invoke(app, ["check", good])
    assert result.exit_code == 0
    assert "holds" in result.stdout
    result = CliRunner().invoke(app, ["check", bad])
    assert result.exit_code == 1
    assert "contradicted by 26 layers, the first is channel_mix.0.1.net.3" in result.stdout
    printed = CliRunner().invoke(app, ["check", bad, "--json"])
    assert printed.exit_code == 1
    assert len(json.loads(printed.stdout)["layers"]) == 176


def test_alike_layers_are_one_row():
    text = CliRunner().invoke(app, ["check", str(ROOT / "workloads/spikingformer.yaml")]).stdout
    assert sum("mlp1_conv" in line for line in text.splitlines()) == 1
