"""cocotb tests of the accumulator in test_toolchain.py: sums, their cycle, a stream port by its name."""

import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

WIDTH = int(os.environ["COUNTER_WIDTH"])


async def reset(dut):
    """Start the clock and leave the reset, with no request pending."""
    Clock(dut.clk, 10, unit="ns").start()
    dut.add__valid.value = 0
    dut.add__payload.value = 0
    dut.rst.value = 1
    await FallingEdge(dut.clk)
    await FallingEdge(dut.clk)
    dut.rst.value = 0


@cocotb.test()
async def accumulates(dut):
    """Every accepted payload is added, from the next cycle on, modulo 2**WIDTH."""
    await reset(dut)
    rng = random.Random(1)
    expected = 0
    for _ in range(50):
        valid, payload = rng.getrandbits(1), rng.getrandbits(WIDTH)
        dut.add__valid.value = valid
        dut.add__payload.value = payload
        await FallingEdge(dut.clk)
        expected = (expected + valid * payload) % 2**WIDTH
        assert int(dut.total.value) == expected


@cocotb.test()
async def not_a_cycle_early(dut):
    """The sum is unchanged up to the edge that takes the transfer, and new after it."""
    await reset(dut)
    dut.add__valid.value = 1
    dut.add__payload.value = 7
    await RisingEdge(dut.clk)
    assert int(dut.total.value) == 0
    await FallingEdge(dut.clk)
    assert int(dut.total.value) == 7
