"""Does calibration reach the firing rates that are asked for, in the network that the integer reference then runs?"""

import numpy as np
import pytest

from mapping import reference
from mapping.calibrate import apply, calibrate
from mapping.integer_nodes import IntAttention
from mapping.networks.spikingformer import PUBLISHED
from mapping.networks.weights import Synthetic
from mapping.quantise import IntSynapse, Precision, quantise


@pytest.fixture(scope="module")
def network():
    return quantise(PUBLISHED["cifar10-2-384"].network(Synthetic(3)), Precision(head_bits=10))


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
