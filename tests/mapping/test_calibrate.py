"""Does calibration reach the firing rates that are asked for, in the network that the integer reference then runs?"""

import numpy as np
import pytest

from mapping import reference
from mapping.calibrate import apply, calibrate
from mapping.integer_nodes import IntAttention
from mapping.ir import Map
from mapping.networks.spike_driven_transformer import SpikeDrivenTransformer
from mapping.networks.spikingformer import PUBLISHED
from mapping.networks.weights import Synthetic
from mapping.quantise import IntSynapse, Precision, quantise


@pytest.fixture(scope="module")
def network():
    return quantise(PUBLISHED["cifar10-2-384"].network(Synthetic(3)), Precision(head_bits=10))


@pytest.fixture(scope="module")
def gated():
    """Membranes that are pooled, attention as a gate, neurons on the mean over tokens."""
    size = SpikeDrivenTransformer("tiny", Map(32, 32, 3), 2, 64, 2, 10)
    return quantise(size.network(Synthetic(3)), Precision(head_bits=10))


def test_the_rates_are_reached_behind_maxima_and_gates(gated):
    image = gated.quantise_image(np.random.default_rng(1).uniform(-1, 1, (3, 32, 32)))
    fired = [x.spikes for x in gated.layers if isinstance(x, IntSynapse) and x.spikes]
    values, reached = calibrate(gated, image, dict.fromkeys(fired, 0.2))
    found = reference.run(apply(gated, values), image).spikes
    assert "patch_embed.proj_lif3" in fired
    for name in fired:
        assert found[name].mean() == pytest.approx(reached[name], abs=1e-12), name
        assert reached[name] == pytest.approx(0.2, abs=0.02), name
    assert found["block.0.attn.gated"].mean() == pytest.approx(reached["block.0.attn.gated"], abs=1e-12)
    assert 0 < reached["block.0.attn.gated"] < 0.2


def test_what_is_proven_of_a_calibrated_network_is_what_was_proven_of_it(gated):
    """With its own thresholds and biases: the sums over tokens and the classifier's of all steps too."""
    own = {f"{x.name}.threshold": np.array(x.threshold) for x in gated.layers if isinstance(x, IntSynapse | IntAttention)}
    again = apply(gated, own)
    assert again.bounds == {name: gated.bounds[name] for name in again.bounds}
    assert {"head", "block.1.mlp.fc2_conv"} <= set(again.bounds)


def test_the_rates_are_reached_by_the_reference(network):
    shape = network.maps["image"]
    image = network.quantise_image(np.random.default_rng(1).uniform(-1, 1, (3, shape.height, shape.width)))
    fired = [x.spikes for x in network.layers if isinstance(x, IntSynapse | IntAttention) and x.spikes]
    rates = dict.fromkeys(fired, 0.2) | {name: 0.03 for name in fired if name.endswith(("k_lif", "mlp2_lif"))}
    values, reached = calibrate(network, image, rates)
    found = reference.run(apply(network, values), image).spikes
    for name, rate in rates.items():
        assert found[name].mean() == pytest.approx(reached[name], abs=1e-12), name  # float32 sums are exact
        assert reached[name] == pytest.approx(rate, abs=0.05 if name.endswith("attn_lif") else 0.02), name
