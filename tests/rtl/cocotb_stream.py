"""cocotb bench of a unit with one stream in and one out: runs the cases of a folder, written before the simulation.

Inputs change at the falling edge, outputs are read when they have settled, before the rising edge: a cycle goes from
one falling edge to the next. Any X on a signal that is read fails the test.
"""

import os
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

from tests.rtl.bench import Case, Observed, compare, number, require_stalls, words_of

RESET_CYCLES = 2


class StreamMonitor:
    """The rules of a stream: valid stays until it is taken, and the payload does not change meanwhile."""

    def __init__(self):
        self.waiting, self.payload, self.stalls, self.broken = False, None, 0, 0

    def sample(self, valid, ready, payload):
        """One cycle; ``payload`` is None where it is not valid."""
        if self.waiting and (not valid or payload != self.payload):
            self.broken += 1
        self.waiting, self.payload = bool(valid and not ready), payload
        self.stalls += self.waiting


async def start(dut, case):
    """Reset, load, and leave at the falling edge with which cycle 0 begins."""
    for name in os.environ["ARCHSIM_INPUTS"].split():
        getattr(dut, name).value = case.constants.get(name, 0)
    dut.rst.value = 1
    for _ in range(RESET_CYCLES):
        await FallingEdge(dut.clk)
    dut.rst.value = 0
    for payload in case.load:
        dut.weight__valid.value = 1
        dut.weight__payload.value = number(payload)
        await FallingEdge(dut.clk)
    if len(case.load):
        dut.weight__valid.value = 0


async def run(dut, case):
    """Producer, consumer and monitors over all cycles of a case; what was seen."""
    payload, noise = [number(words) for words in case.payload], [number(words) for words in case.noise]
    ready, gaps = case.ready.tolist(), case.gaps.tolist()
    accepted, output, transferred = [], [], []
    sink, source = StreamMonitor(), StreamMonitor()
    offered_from = gaps[0]
    for cycle in range(case.limit):
        offering, taking = len(accepted) < len(payload) and cycle >= offered_from, ready[cycle % len(ready)]
        dut.i__valid.value = int(offering)
        dut.i__payload.value = payload[len(accepted) if offering else (cycle * 7) % len(payload)]
        dut.o__ready.value = int(taking)
        if noise:
            dut.weight__valid.value = 1
            dut.weight__payload.value = noise[cycle % len(noise)]
        await ReadOnly()
        taken, valid = int(dut.i__ready.value), int(dut.o__valid.value)
        given = int(dut.o__payload.value) if valid else None
        sink.sample(valid, taking, given)
        source.sample(offering, taken, None)
        if valid and taking:
            output.append(given)
            transferred.append(cycle)
        if offering and taken:
            accepted.append(cycle)
            offered_from = cycle + 1 + (gaps[len(accepted)] if len(accepted) < len(gaps) else 0)
        state = int(dut.state.value) if cycle == case.limit - 1 else None
        await FallingEdge(dut.clk)
    if sink.waiting:
        output.append(sink.payload)
        transferred.append(-1)
    width = len(dut.o__payload)
    rows = np.array([words_of(value, width) for value in output], np.uint64).reshape(-1, -(-width // 64))
    return Observed(
        np.array(accepted, np.int64), rows, np.array(transferred, np.int64), words_of(state, len(dut.state)),
        sink.broken, source.stalls, sink.stalls,
    )  # fmt: skip


@cocotb.test()
async def as_expected(dut):
    """Every case: the same bits, the same retired state, the same cycle of every acceptance and transfer."""
    Clock(dut.clk, 10, unit="ns").start()
    await FallingEdge(dut.clk)
    files = sorted(Path(os.environ["ARCHSIM_CASES"]).glob("case*.npz"))
    assert files, "no case was written"
    runs = []
    for file in files:
        case = Case.read(file)
        await start(dut, case)
        try:
            runs.append((case, await run(dut, case)))
            compare(*runs[-1])
        except AssertionError as error:
            raise AssertionError(f"{file.stem}: {error}") from error
    require_stalls(runs)
