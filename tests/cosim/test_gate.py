"""Do simulator and Verilog agree on attention as a gate, in pieces of q, maps on the chip or in DRAM?"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from archsim.config import load_chip
from archsim.contracts.sequencer import ATTEND_GATE, ATTENTION
from archsim.simulate import write_image
from cosim.run import Bench, random_latencies
from mapping.context import Limits
from mapping.ir import GATE
from mapping.quantise import Precision, quantise
from mapping.schedule import schedule
from tests.mapping.conftest import random_network

BUILD = Path(__file__).parents[2] / "build" / "cosim"

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("lanes", ["small", "small_t4"])
@pytest.mark.parametrize("limits", [None, Limits(positions=4)])
def test_simulator_and_verilog_agree(lanes, limits):
    chip = load_chip(lanes)
    network = quantise(random_network(5, kind=GATE, dim=40, hidden=32, heads=5), Precision(8, 8, 12, 24))
    program = schedule(network, chip, limits)
    bench, dram = Bench(program, BUILD), program.dram.copy()
    pixels = np.random.default_rng(5).uniform(-1, 1, (1, 7, 5))
    write_image(SimpleNamespace(network=network, program=program), dram, pixels)
    gates = [head for head in bench.plan.queues[ATTENTION] if head["opcode"] == ATTEND_GATE]
    assert len(gates) > (limits is not None)
    for latencies in (None, random_latencies(chip, 5)):
        comparison = bench.run(dram, latencies)
        assert comparison.first is None and comparison.equal
        assert comparison.compared["logits"] == 5
        assert comparison.compared["out rows of the attention unit"] > 0
