"""Do simulator and Verilog of a whole chip with a softmax agree, and is a wrong entry of its table located?"""

from functools import cache
from pathlib import Path

import pytest

from archsim.contracts.sequencer import DMA
from cosim.machine import Machine
from cosim.run import Bench, random_latencies
from tests.archsim.softmax_program import CHIP, FIRST, softmax_program
from tests.cosim.located import first_of_a_wrong_byte

BUILD = Path(__file__).parents[2] / "build" / "cosim"


pytestmark = pytest.mark.slow
"""They share a chip that takes its time to be built."""


@cache
def machine():
    """The chip's Verilog."""
    return Machine(CHIP, len(softmax_program(1).dram), BUILD, large=True)


@pytest.mark.parametrize("seed", [1, 2])
def test_simulator_and_verilog_agree(seed):
    program = softmax_program(seed)
    bench = Bench(program, BUILD, machine=machine())
    for latencies in (None, random_latencies(CHIP, seed)):
        comparison = bench.run(program.dram, latencies)
        assert comparison.first is None and comparison.equal
        for kind in ("scores", "table"):
            assert comparison.compared[f"accesses of attention: {kind}"] == 2


def test_a_wrong_entry_is_located():
    program = softmax_program(1)
    first = first_of_a_wrong_byte(program, Bench(program, BUILD, machine=machine()), machine(), FIRST + 8)
    assert first.place == (DMA, 1) and "attention table[0]" in first.what
