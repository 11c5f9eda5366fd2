"""Does a network with experts whose maps lie in DRAM run on the Verilog of a whole chip as on the simulator?"""

from pathlib import Path

import numpy as np
import pytest

from archsim.contracts.sequencer import COLLECT, DISPATCH, EXPERTS, TOPK
from archsim.simulate import write_image
from cosim.run import Bench, random_latencies
from tests.mapping.conftest import expert_network, map_experts
from tests.system.test_streamed_experts import CHIP, SPILLED

BUILD = Path(__file__).parents[2] / "build" / "cosim"

STREAMED = CHIP.replace(name="experts_streamed", **SPILLED)
MEMBRANES = STREAMED.replace(name="membranes_streamed", dispatch_membranes=1)

CASES = {
    "no choice is dropped, fewer time steps": ({"steps": (4, 1, 1, 2)}, STREAMED, 4 * 2),
    "counts go on through all segments": ({"capacity": 4, "hot": 1}, STREAMED, 4 * 2),
    "expansion 1, fewer time steps": ({"residual": (0, 1, 3), "steps": (4, 3, 1, 1)}, MEMBRANES, 4 * 2 + 4 * 3),
}
"""Arguments of `expert_network`, chip, and DISPATCHes: segments, words in two turns; of membranes segments, words."""

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", CASES)
def test_simulator_and_verilog_agree(name):
    """Every cycle, bank and access; the queues of DMA and cores are refilled meanwhile."""
    sizes, chip, dispatches = CASES[name]
    mapped = map_experts(chip, expert_network(5, dim=20, choices=1, **sizes))
    assert mapped.program.notes["streamed"]
    dram = mapped.program.dram.copy()
    write_image(mapped, dram, np.random.default_rng(5).uniform(-1, 1, (1, 4, 3)))
    found = Bench(mapped.program, BUILD)
    opcodes = [head["opcode"] for head in found.plan.queues[EXPERTS]]
    assert [opcodes.count(opcode) for opcode in (TOPK, DISPATCH, COLLECT)] == [12, dispatches, 4 * 3]
    for latencies in (None, random_latencies(chip, 5)):
        comparison = found.run(dram, latencies)
        assert comparison.first is None and comparison.equal
        assert comparison.compared["start cycles"] == len(found.plan.places) > 500
        assert comparison.compared["logits"] == 5
