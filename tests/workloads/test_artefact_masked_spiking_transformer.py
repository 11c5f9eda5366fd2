"""Is the committed Masked Spiking Transformer what its manifest says, and do its weights make its recorded spikes, masks and all?

The second formulation is the definition as :mod:`mapping.networks` has it, run in float64; PyTorch is not needed.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from mapping.importers import artefact
from mapping.importers.masked_spiking_transformer import read
from mapping.nodes import WindowAttention
from tests.mapping.heights import Floats

ARTEFACTS = Path(__file__).resolve().parents[2] / "workloads" / "artefacts"
IMAGES = 4


@pytest.fixture(scope="module", params=["", "batch_norm_"])
def trained(request):
    """With a layer norm before the classifier, and with a batch norm."""
    return artefact.load(ARTEFACTS / f"masked_spiking_transformer_{request.param}digits")


def trained_masks(network, share):
    """Masks as the training code draws them when the network runs: three generators a layer, in the layout of its maps."""
    layers = [layer for layer in network.layers if isinstance(layer, WindowAttention)]
    maps, masks = network.maps(), {}
    for number, layer in enumerate(layers):
        shape, tokens = maps[layer.q], layer.window**2
        sides = shape.channels, shape.height, shape.width
        scores = layer.heads, shape.positions // tokens, tokens, tokens
        q, k, s = (
            np.random.RandomState(3 * number + kind).random_sample((network.timesteps, *axes)) >= share
            for kind, axes in enumerate((sides, sides, scores))
        )
        masks[layer.name] = np.moveaxis(q, 1, 3), np.moveaxis(k, 1, 3), s.swapaxes(1, 2)
    return masks


def test_files_are_the_ones_hashed_and_small(trained):
    folder = trained.path
    assert sorted([*trained.manifest["sha256"], "manifest.json"]) == sorted(path.name for path in folder.iterdir())
    for file, digest in trained.manifest["sha256"].items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest, file
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000
    assert (folder / "test.npz").read_bytes() == (ARTEFACTS / "spikingformer_digits" / "test.npz").read_bytes()


def test_the_float_network_is_accurate(trained):
    assert trained.manifest["hyperparameters"]["timesteps"] == 16
    assert trained.manifest["accuracy"]["test"]["accuracy"] >= 0.96


def test_weights_make_the_recorded_spikes(trained):
    """All of them, in float64: no membrane of these images is so near its threshold that float32 decided otherwise."""
    network = read(trained)
    masks = trained_masks(network, trained.manifest["hyperparameters"]["masked"])
    run = Floats(network, trained.normalised()[:IMAGES, :, :, None], masks)
    spikes = [layer.spikes for layer in network.layers if getattr(layer, "spikes", None)]
    assert len(spikes) == 1 + 2 * 9 + 1 + 2 * 9
    for name in spikes:
        recorded = np.stack([trained.spikes(name, image) for image in range(IMAGES)])
        assert np.array_equal(run.maps[name].reshape(recorded.shape) > 0, recorded), name
        assert 0.02 < recorded.mean() < 0.8, name
    np.testing.assert_allclose(run.logits, trained.values("logits", 10)[:IMAGES], rtol=0, atol=1e-5)
