"""Do simulator and Verilog agree on networks that nobody chose, on chips with other sizes than the presets'?"""

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from archsim.config import load_chip
from archsim.contracts.common.errors import ArchsimError
from archsim.simulate import write_image
from cosim.run import Bench, random_latencies
from mapping.ir import IMAGE
from mapping.quantise import Precision, quantise
from mapping.schedule import schedule
from tests.mapping.conftest import random_network

BUILD = Path(__file__).parents[2] / "build" / "cosim"

SMALL = load_chip("small").replace(
    weight_rows=128, param_rows=32, spike_in_rows=512, spike_out_rows=512, residual_rows=512, psum_rows=256, reduce_rows=16,
    attention_rows=256, count_rows=256, queue_rows=256, pool_steps=8, pool_rows=32,
)  # fmt: skip

CHIPS = {
    "two_cores": SMALL.replace(name="two_cores", lanes=2, columns=8, neurons=2, dram_latency_cycles=5, dram_outstanding=2),
    "three_cores": SMALL.replace(
        name="three_cores", cores=3, lanes=3, columns=6, neurons=3, weight_bits=5, membrane_bits=19, weight_rows=72,
        dram_bus_bytes=6, dram_burst_bytes=18, count_rows=252, psum_rows=100,
    ),
    "one_core": SMALL.replace(name="one_core", cores=1, lanes=1, columns=4, neurons=4, spike_in_rows=2048, spike_out_rows=2048,
                              residual_rows=1024, weight_rows=300, queue_rows=512),
}  # fmt: skip
"""Odd sizes, one bus that is no power of two, one core without anybody to gang with."""

NETWORKS = 8


@cache
def networks(name):
    """Programs of random networks that fit the chip, each with its integers: (seed, network, program)."""
    chip, found = CHIPS[name], []
    for seed in range(3 * NETWORKS):
        rng = np.random.default_rng(seed)
        sizes = {
            "height": int(rng.integers(3, 9)), "width": int(rng.integers(3, 9)), "channels": int(rng.integers(1, 4)),
            "stem": int(rng.integers(2, 9)), "dim": int(rng.choice([4, 8, 12])), "hidden": int(rng.integers(4, 20)),
            "stride": int(rng.integers(1, 3)), "timesteps": int(rng.choice([1, 2, 3, 4, 6])),
        }  # fmt: skip
        try:
            network = quantise(random_network(seed, **sizes), Precision(chip.weight_bits, 8, 12, chip.membrane_bits))
            found.append((seed, network, schedule(network, chip)))
        except ArchsimError:
            continue
    assert len(found) >= NETWORKS, f"{len(found)} networks fit"
    return found[:NETWORKS]


@pytest.mark.slow
@pytest.mark.parametrize("name", CHIPS)
def test_random_networks(name):
    instructions = 0
    for seed, network, program in networks(name):
        bench, rng = Bench(program, BUILD), np.random.default_rng(seed)
        for latencies in (None, random_latencies(program.chip, seed)):
            dram = program.dram.copy()
            image = network.maps[IMAGE]
            pixels = rng.uniform(-1, 1, (image.channels, image.height, image.width))
            write_image(SimpleNamespace(network=network, program=program), dram, pixels)
            comparison = bench.run(dram, latencies)
            assert comparison.first is None, (seed, comparison.first)
            assert comparison.equal
        instructions += len(bench.plan.places)
    assert instructions > 50 * NETWORKS
