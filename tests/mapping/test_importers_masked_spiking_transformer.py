"""Is an artefact of the Masked Spiking Transformer refused that has other neurons or sizes than it says?"""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from archsim.contracts.common.errors import ArchsimError
from mapping.importers import artefact
from mapping.importers.masked_spiking_transformer import read
from mapping.networks.masked_spiking_transformer import masked
from mapping.nodes import BATCH, LAYER, Norm, WindowAttention

FOLDER = Path(__file__).parents[2] / "workloads" / "artefacts" / "masked_spiking_transformer_digits"
NEURON = "layers.0.blocks.0.attn.q_if"


@pytest.fixture(scope="module")
def trained():
    return artefact.load(FOLDER)


def changed(trained, change):
    manifest = copy.deepcopy(trained.manifest)
    change(manifest)
    return replace(trained, manifest=manifest)


def test_sizes_are_the_manifests(trained):
    network = read(trained)
    attention = [layer for layer in network.layers if isinstance(layer, WindowAttention)]
    assert [(layer.heads, layer.window, layer.shift, layer.scale) for layer in attention] == [
        (2, 2, 0, 0.25), (2, 2, 1, 0.25), (4, 2, 0, 0.25), (4, 2, 0, 0.25),
    ]  # fmt: skip
    assert {layer.keep for layer in attention} == {0.5}
    assert {layer.keep for layer in masked(network, 0.75).layers if isinstance(layer, WindowAttention)} == {0.25}
    assert [layer.kind for layer in network.layers if isinstance(layer, Norm)] == [BATCH] * 8 + [LAYER]
    assert network.timesteps == 16


def test_a_batch_norm_before_the_classifier():
    trained = artefact.load(FOLDER.with_name("masked_spiking_transformer_batch_norm_digits"))
    network = read(trained)
    assert [layer.kind for layer in network.layers if isinstance(layer, Norm)] == [BATCH] * 9
    assert network.head_limit == np.abs(trained.values("head.input", 64)).max()


def test_the_operand_of_a_layer_norm_is_without_its_gains(trained):
    norm = next(layer for layer in read(trained).layers if isinstance(layer, Norm) and layer.kind == LAYER)
    assert np.array_equal(norm.scale, trained.tensor("norm.weight", (64,)))
    mean = (trained.values("head.input", 64) - norm.offset) / norm.scale
    assert read(trained).head_limit == np.abs(mean).max()
    assert abs(mean.mean()) < 1e-6  # of all channels of an image: the norm took it away


@pytest.mark.parametrize(
    ("key", "value"), [("kind", "lif"), ("reset", "hard"), ("v_start", 0.0), ("threshold", 1.25)]
)
def test_other_neurons_are_refused(trained, key, value):
    with pytest.raises(ArchsimError, match=rf"lif\['{NEURON}'\]: required .*'kind': 'if', 'reset': 'soft'.* given .*export"):
        read(changed(trained, lambda manifest: manifest["lif"][NEURON].update({key: value})))


def test_a_neuron_that_is_not_described_is_refused(trained):
    with pytest.raises(ArchsimError, match=rf"lif\['{NEURON}'\]: required .* given None"):
        read(changed(trained, lambda manifest: manifest["lif"].pop(NEURON)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depths": []}, r"hyperparameters.depths: required a list of at least one integer of at least 1, given \[\]"),
        ({"masked": 1.5}, "hyperparameters.masked: required a number in 0..1, given 1.5"),
        ({"last_norm": "none"}, "hyperparameters.last_norm: required 'layer norm' or 'batch norm', given 'none'"),
        ({"window": 3}, r"relative_position_bias_table': required shape \(25, 2\), given \(9, 2\)"),
    ],
)
def test_other_sizes_are_refused(trained, change, message):
    with pytest.raises(ArchsimError, match=message):
        read(changed(trained, lambda manifest: manifest["hyperparameters"].update(change)))
