"""Does the small Masked Spiking Transformer run on the Verilog of a whole chip: masks, softmax and layer norm included?"""

from pathlib import Path

import pytest

from archsim.contracts import sequencer
from cosim.run import cosimulate

ROOT = Path(__file__).parents[2]
FILE = ROOT / "workloads" / "masked_spiking_transformer.yaml"

pytestmark = pytest.mark.slow


def test_a_digit():
    """16 time steps with half of the spikes of q, k and the scores masked: every cycle, bank and access."""
    result = cosimulate(FILE, None, images=1, folder=ROOT / "build" / "cosim")
    comparison = result.comparison
    assert comparison.first is None and comparison.equal
    opcodes = [head["opcode"] for queue in result.bench.plan.queues.values() for head in queue]
    assert opcodes.count(sequencer.MASK) == 192
    assert opcodes.count(sequencer.ATTEND_SOFTMAX) == 24
    assert opcodes.count(sequencer.NORMALISE) == 2
    assert comparison.compared["start cycles"] == len(result.bench.plan.places) > 1000
    assert comparison.compared["table rows of the attention unit"] > 0
    assert comparison.compared["logits"] == 10
