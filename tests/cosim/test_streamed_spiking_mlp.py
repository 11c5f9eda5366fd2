"""Does the small Spiking MLP, its maps in DRAM, run on the Verilog of a whole chip as on the simulator?"""

from pathlib import Path

import pytest

from archsim.config import load_chip
from archsim.contracts import dma, sequencer
from cosim.run import cosimulate

ROOT = Path(__file__).parents[2]
FILE = ROOT / "workloads" / "spiking_mlp.yaml"

pytestmark = pytest.mark.slow


def test_a_digit():
    """Maps turned tile by tile, streams in pairs and parameters by token through DRAM: every cycle, bank and access.

    LOADs of the next tiles come while those of before are turned, so that DMA and multicast write both input banks of a core at a
    time.
    """
    chip = load_chip("small_complete").replace(
        name="small_complete_streamed", spike_in_rows=256, residual_rows=256, queue_rows=64
    )
    result = cosimulate(FILE, chip, images=1, folder=ROOT / "build" / "cosim")
    comparison = result.comparison
    assert comparison.first is None and comparison.equal
    heads = [head for queue in result.bench.plan.queues.values() for head in queue]
    assert result.mapped.program.notes["streamed"]
    # There and back, a slice a step: two blocks of two axes of 3 words, one block of 5 words.
    assert sum(head["opcode"] == sequencer.TRANSPOSE for head in heads) == 2 * 4 * (2 * 2 * 3 + 2 * 5)
    moved = {(head["opcode"], head["memory"]) for head in heads if head["opcode"] in (sequencer.LOAD, sequencer.STORE)}
    assert moved >= {(sequencer.STORE, dma.SPIKE_OUT), (sequencer.LOAD, dma.RESIDUAL), (sequencer.STORE, dma.RESIDUAL)}
    assert comparison.compared["start cycles"] == len(result.bench.plan.places) > 1000
    assert comparison.compared["logits"] == 10
