"""Does the definition of the Spike-driven Transformer (V1) yield its published sizes?"""

import pytest

from mapping.ir import GATE, LIF, Attention, Map, Synapse
from mapping.networks.spike_driven_transformer import PUBLISHED
from mapping.networks.weights import Shapes

# Millions of parameters (arXiv 2307.01694 and its repository; the CIFAR size is that of its table 5).
SIZES = {"8-384": 16.82, "6-512": 23.37, "8-512": 29.69, "10-512": 36.01, "8-768": 66.34, "cifar10-2-512": 10.23}


@pytest.mark.parametrize("size", SIZES)
def test_parameters(size):
    weights = Shapes()
    PUBLISHED[size].network(weights)
    assert round(weights.total / 1e6, 2) == SIZES[size]


def test_parameters_of_the_largest_to_the_last():
    """As a run of the official code prints them; the 64 of a convolution that is never called are among them."""
    weights = Shapes()
    PUBLISHED["8-768"].network(weights)
    assert weights.total == 66_339_144
    assert weights.parameters["block.0.attn.talking_heads"] == 64


def test_the_last_pool_of_the_tokenizer_is_on_membranes():
    network = PUBLISHED["8-512"].network(Shapes())
    layers = {layer.name: layer for layer in network.layers}
    third, fourth, fifth = (layers[f"patch_embed.{name}"] for name in ("proj_conv2", "proj_conv3", "rpe_conv"))
    assert (third.pool, third.pool_sums, third.stream) == (True, False, None)
    assert (fourth.pool, fourth.pool_sums, fourth.stream, fourth.opens) == (False, True, "x", True)
    assert (fifth.stream, fifth.opens, fifth.spikes) == ("x", False, "block.0.attn.shortcut_lif")
    assert network.maps()["patch_embed.proj_lif3"] == Map(14, 14, 512)


def test_cifar_pools_twice():
    maps = PUBLISHED["cifar10-2-512"].network(Shapes()).maps()
    assert [maps[f"patch_embed.proj_lif{number}"].height for number in ("", 1, 2, 3)] == [32, 32, 16, 8]


def test_attention_is_a_gate_without_scale():
    layers = PUBLISHED["8-512"].network(Shapes()).layers
    kinds = {(layer.kind, layer.scale, layer.threshold) for layer in layers if isinstance(layer, Attention)}
    assert kinds == {(GATE, 1.0, 0.5)}


def test_the_head_fires():
    layers = PUBLISHED["8-512"].network(Shapes()).layers
    assert (layers[-1].neuron, layers[-1].threshold, layers[-1].source) == (LIF, 1.0, "block.7.mlp.fc2_conv")
    assert [layer.name for layer in layers if isinstance(layer, Synapse) and layer.reduce] == ["block.7.mlp.fc2_conv"]
