"""Do simulator and Verilog agree on maxima of sums that open a stream, maps on the chip or in DRAM?"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from archsim.config import load_chip
from archsim.contracts.sequencer import CORE0, SYNAPSE
from archsim.simulate import write_image
from cosim.run import Bench, random_latencies
from mapping.quantise import Precision, quantise
from mapping.schedule import schedule
from tests.mapping.conftest import random_network

BUILD = Path(__file__).parents[2] / "build" / "cosim"

CHIPS = {
    "gangs": ("small", {}),
    "lanes, maps in DRAM, chunks": ("small_t4", {"spike_in_rows": 400, "weight_rows": 64, "psum_rows": 48, "param_rows": 128}),
}

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("case", CHIPS)
def test_simulator_and_verilog_agree(case):
    preset, changes = CHIPS[case]
    chip = load_chip(preset).replace(residual_maximum=1, **changes)
    network = random_network(8, height=13, width=8, stem=24, dim=32, hidden=32, heads=4, peaks=True)
    network = quantise(network, Precision(8, 8, 12, 24))
    program = schedule(network, chip)
    assert program.notes["streamed"] == bool(changes)
    bench, dram = Bench(program, BUILD), program.dram.copy()
    pixels = np.random.default_rng(5).uniform(-1, 1, (1, 13, 8))
    write_image(SimpleNamespace(network=network, program=program), dram, pixels)
    heads = [head for core in range(chip.cores) for head in bench.plan.queues[CORE0 + core] if head["opcode"] == SYNAPSE]
    compared = [head for head in heads if head["maximum"] and head["residual_in"]]
    assert len(compared) > 20 and any(head["spike_out"] for head in compared)
    for latencies in (None, random_latencies(chip, 5)):
        comparison = bench.run(dram, latencies)
        assert comparison.first is None and comparison.equal
        assert comparison.compared["logits"] == 5
