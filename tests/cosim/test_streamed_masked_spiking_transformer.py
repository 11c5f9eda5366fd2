"""Does the small Masked Spiking Transformer, its maps in DRAM, run on the Verilog of a whole chip as on the simulator?"""

from pathlib import Path

import pytest

from archsim.config import load_chip
from archsim.contracts import dma, sequencer
from cosim.run import cosimulate

ROOT = Path(__file__).parents[2]
FILE = ROOT / "workloads" / "masked_spiking_transformer.yaml"

pytestmark = pytest.mark.slow


def test_a_digit():
    """Windows through DRAM, a table of one head loaded in turns, maps side by side in parts: every cycle, bank and access."""
    chip = load_chip("small_normaliser").replace(
        name="small_normaliser_windows", spike_in_rows=130, weight_rows=64, residual_rows=256, softmax_tokens=4, queue_rows=64
    )
    result = cosimulate(FILE, chip, images=1, folder=ROOT / "build" / "cosim")
    comparison = result.comparison
    assert comparison.first is None and comparison.equal
    assert result.mapped.program.notes["streamed"]
    heads = [head for queue in result.bench.plan.queues.values() for head in queue]
    opcodes = [head["opcode"] for head in heads]
    # Two blocks of 16 positions of two words, two of 4 of four: a mask for each of q and k.
    assert opcodes.count(sequencer.MASK) == 2 * 2 * (16 * 2 + 4 * 4)
    assert opcodes.count(sequencer.ATTEND_SOFTMAX) == 2 * 4 * 2 + 2 * 1 * 4
    moved = {(head["opcode"], head["memory"]) for head in heads if head["opcode"] in (sequencer.LOAD, sequencer.STORE)}
    assert moved >= {(sequencer.STORE, dma.SPIKE_OUT), (sequencer.LOAD, dma.RESIDUAL), (sequencer.LOAD, dma.TABLE)}
    assert comparison.compared["start cycles"] == len(result.bench.plan.places) > 1000
    assert comparison.compared["table rows of the attention unit"] > 0
    assert comparison.compared["logits"] == 10
