"""Does the definition of the Spiking MLP yield its published sizes, layer by layer?"""

import pytest

from mapping.ir import HEIGHT, WIDTH, Map, Synapse
from mapping.networks.spiking_mlp import PUBLISHED
from mapping.networks.weights import Shapes
from mapping.nodes import Concat, Norm
from mapping.operations import operations

# Parameters in millions and their digits (the README of EMI-Group/mixer-snn rounds to 25, 34, 38 and 66), and dense
# multiply-accumulates of a time step in G.
SIZES = {
    "mlp-spe-t": (25.23, 2, 4.98),
    "mlp-spe-s": (37.98, 2, 7.51),
    "mlp-s": (34.5, 1, 7.12),
    "mlp-spe-b": (65.6, 1, 13.5),
}

# Millions of multiply-accumulates of a block and a time step of dimension 78, by stage (the first block of each).
TOKENS = {0: 13.70, 2: 3.42, 10: 0.86, 24: 0.21}


@pytest.mark.parametrize("size", SIZES)
def test_parameters_and_operations(size):
    weights = Shapes()
    network = PUBLISHED[size].network(weights)
    parameters, digits, giga = SIZES[size]
    assert round(weights.total / 1e6, digits) == parameters
    assert round(sum(operations(network).values()) / 1e9, 1 if digits == 1 and giga > 10 else 2) == giga


def test_operations_by_layer():
    counts = {name: count / 1e6 for name, count in operations(PUBLISHED["mlp-spe-t"].network(Shapes())).items()}
    assert round(counts["to_patch_embedding.0.0.0"], 2) == 11.74
    for stage in (1, 2, 3):
        found = sum(count for name, count in counts.items() if name.startswith(f"to_patch_embedding.{stage}."))
        assert round(found, 1) == 124.0
    for block, expected in TOKENS.items():
        assert (
            round(counts[f"token_mix.{block}.proj_w.1"], 2)
            == round(counts[f"token_mix.{block}.proj_h.1"], 2)
            == expected
        )
        assert round(counts[f"token_mix.{block}.fuse.0"], 2) == 57.24
        assert [round(counts[f"channel_mix.{block}.1.net.{layer}"], 2) for layer in (0, 3)] == [57.24, 57.24]
    assert round(counts["mlp_head.1"], 1) == 0.6


def test_without_spe_one_convolution_embeds():
    """4 * d / 2 * d * tokens of the second stage: 38.2 M at dimension 78, here at 96."""
    counts = operations(PUBLISHED["mlp-s"].network(Shapes()))
    assert counts["to_patch_embedding.1.0"] == 4 * 96 * 192 * 28 * 28
    assert round(counts["to_patch_embedding.1.0"] * (78 / 96) ** 2 / 1e6, 1) == 38.2


def test_the_stage_keeps_its_membrane():
    """Every block's tokens join the stage's stream into another one, which the channels join."""
    layers = {layer.name: layer for layer in PUBLISHED["mlp-spe-t"].network(Shapes()).layers}
    for block, stage in ((0, 0), (1, 0), (2, 1), (25, 3)):
        fuse, mixed = layers[f"token_mix.{block}.fuse.0"], layers[f"channel_mix.{block}.1.net.3"]
        assert (fuse.stream, fuse.into) == (f"to_patch_embedding.{stage}.h", f"token_mix.{block}.t")
        assert (mixed.stream, mixed.into) == (f"token_mix.{block}.t", None)
        assert mixed.token_norm.shape == (2, (56 >> stage) ** 2)


def test_spiking_patch_encoding():
    """n2 += f(n1); n3 += n1 + g(n2)."""
    layers = {layer.name: layer for layer in PUBLISHED["mlp-spe-t"].network(Shapes()).layers}
    place = "to_patch_embedding.1"
    first, second, third = (layers[f"{place}.cell2node.{number}.0"] for number in range(3))
    assert (first.stream, first.opens, first.spikes) == (f"{place}.n1", True, f"{place}.n1_lif")
    assert (second.stream, second.opens, second.spikes) == (f"{place}.n2", True, None)
    assert (third.stream, third.opens, third.into) == (f"{place}.n1", False, f"{place}.n3")
    inner = layers[f"{place}.node2_node3.0"]
    assert (inner.source, inner.stream) == (f"{place}.n2_lif", f"{place}.n3")
    assert layers[f"{place}.h"].streams == (f"{place}.n1", f"{place}.n2", f"{place}.n3")


def test_the_maps():
    network = PUBLISHED["mlp-spe-t"].network(Shapes())
    maps = network.maps()
    assert [maps[f"channel_mix_lif.{block}"] for block in (0, 2, 10, 25)] == [
        Map(56, 56, 78), Map(28, 28, 156), Map(14, 14, 312), Map(7, 7, 624),
    ]  # fmt: skip
    assert maps["token_mix.0.all"] == Map(56, 56, 234)
    axes = {layer.axis for layer in network.layers if isinstance(layer, Synapse) and "proj_" in layer.name}
    assert axes == {HEIGHT, WIDTH}


def test_the_identity_has_a_norm_without_spe():
    layers = PUBLISHED["mlp-s"].network(Shapes()).layers
    assert sum(isinstance(layer, Norm) for layer in layers) == 26
    assert next(layer for layer in layers if isinstance(layer, Concat)).sources[0] == "token_mix.0.lif"
