"""Does a network with experts whose maps lie in DRAM run on the Verilog of a whole chip as on the simulator?"""

from pathlib import Path

import numpy as np
import pytest

from archsim.contracts.sequencer import COLLECT, DISPATCH, EXPERTS, NORMALISER, TOPK
from archsim.simulate import write_image
from cosim.run import Bench, random_latencies
from tests.mapping.conftest import EXPERT_CHIP, expert_network, map_experts
from tests.system.test_streamed_experts import CHIP, SPILLED

BUILD = Path(__file__).parents[2] / "build" / "cosim"

STREAMED = CHIP.replace(name="experts_streamed", **SPILLED, dispatch_membranes=1, normaliser_operand_bits=10)

CASES = {
    "no choice is dropped, fewer time steps": {"steps": (4, 1, 1, 2)},
    "counts go on through all segments": {"capacity": 4, "hot": 1},
    "the published form": {"steps": (4, 1, 1, 1), "residual": (0, 1, 2, 3), "softmax": True},
}
"""Arguments of `expert_network`."""

pytestmark = pytest.mark.slow


def agreed(chip, sizes, streamed):
    """The bench of a network with experts on which simulator and Verilog agree: every cycle, bank and access."""
    mapped = map_experts(chip, expert_network(5, choices=1, **sizes))
    assert mapped.program.notes["streamed"] == streamed
    dram = mapped.program.dram.copy()
    write_image(mapped, dram, np.random.default_rng(5).uniform(-1, 1, (1, 4, 3)))
    found = Bench(mapped.program, BUILD)
    for latencies in (None, random_latencies(chip, 5)):
        comparison = found.run(dram, latencies)
        assert comparison.first is None and comparison.equal
        assert comparison.compared["start cycles"] == len(found.plan.places) > 100
        assert comparison.compared["logits"] == 5
    return found


@pytest.mark.parametrize("name", CASES)
def test_simulator_and_verilog_agree(name):
    """The queues of DMA and cores are refilled meanwhile."""
    sizes = CASES[name]
    found = agreed(STREAMED, {"dim": 20, **sizes}, True)
    opcodes = [head["opcode"] for head in found.plan.queues[EXPERTS]]
    # Tokens; segments, words in two turns, and each word of the membranes; segments, words; a core each.
    joined = 4 * 3 if "residual" in sizes else 0
    assert [opcodes.count(opcode) for opcode in (TOPK, DISPATCH, COLLECT)] == [12, 4 * 2 + joined, 4 * 3]
    assert len(found.plan.queues.get(NORMALISER, ())) == (12 * 3 if "softmax" in sizes else 0)
    assert len(found.plan.places) > 500


def test_the_published_form_in_the_banks():
    """Two lanes and words, steps in part of a row, choices that are dropped; a WEIGH for each home core."""
    chip = EXPERT_CHIP.replace(
        name="experts_weighed", lanes=2, columns=4, neurons=2, membrane_bits=22, dispatch_membranes=1, normaliser_operand_bits=10
    )  # fmt: skip
    sizes = {"steps": (4, 3, 1, 1), "residual": (0, 2), "softmax": True, "capacity": 5, "hot": 1}
    found = agreed(chip, sizes, False)
    assert len(found.plan.queues[NORMALISER]) == 3
