"""Do simulator and Verilog of a whole chip with a normaliser agree, and is a wrong entry of its table located?"""

from functools import cache
from pathlib import Path

import pytest

from archsim.contracts.sequencer import DMA
from cosim.machine import Machine
from cosim.run import Bench, random_latencies
from tests.archsim.normaliser_program import CHIP, LONG, TABLE, long_program, normaliser_program
from tests.cosim.located import first_of_a_wrong_byte

BUILD = Path(__file__).parents[2] / "build" / "cosim"


pytestmark = pytest.mark.slow
"""They share a chip that takes its time to be built."""


@cache
def machine():
    """The chip's Verilog."""
    return Machine(CHIP, max(len(made.dram) for made in (normaliser_program(1), long_program(1))), BUILD, large=True)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_simulator_and_verilog_agree(seed):
    program = normaliser_program(seed)
    bench = Bench(program, BUILD, machine=machine())
    for latencies in (None, random_latencies(CHIP, seed)):
        comparison = bench.run(program.dram, latencies)
        assert comparison.first is None and comparison.equal
        assert comparison.compared["accesses of normaliser: table"] == 2
        assert comparison.compared["table rows of the normaliser"] == 2 * 4 * 16  # after LOAD and WEIGH, four copies


def test_a_queue_that_is_refilled():
    program = long_program(1)
    comparison = Bench(program, BUILD, machine=machine()).run(program.dram, None)
    assert comparison.first is None and comparison.equal
    assert comparison.compared["residual rows of the cores"] == 48 * (LONG + 1)


def test_a_wrong_entry_is_located():
    program = normaliser_program(1)
    first = first_of_a_wrong_byte(program, Bench(program, BUILD, machine=machine()), machine(), TABLE + 4)
    assert first.place == (DMA, 2) and "normaliser 0 table[0]: row 1" in first.what
