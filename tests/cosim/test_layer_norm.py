"""Do simulator and Verilog agree on a layer norm whose stream passes through DRAM, some time steps of a token at a time?"""

from pathlib import Path

import pytest

from archsim.contracts import sequencer
from archsim.simulate import write_image
from cosim.run import Bench, random_latencies
from tests.system.test_layer_norm import mapped

BUILD = Path(__file__).parents[2] / "build" / "cosim"

pytestmark = pytest.mark.slow


def test_simulator_and_verilog_agree():
    whole = mapped("some steps of a position")
    chip, dram = whole.program.chip, whole.program.dram.copy()
    bench = Bench(whole.program, BUILD)
    write_image(whole, dram, whole.trained.normalised()[0])
    heads = [head for head in bench.plan.queues[sequencer.NORMALISER] if head["opcode"] == sequencer.NORMALISE]
    assert len(heads) == 36 * 4
    for latencies in (None, random_latencies(chip, 5)):
        comparison = bench.run(dram, latencies)
        assert comparison.first is None and comparison.equal
        assert comparison.compared["logits"] == 10
