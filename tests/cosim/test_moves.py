"""Do compiled driver, instruction by instruction, stepped models and Verilog of a whole chip agree on TRANSPOSE and MASK?"""

import os
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from archsim.contracts import multicast as contract
from archsim.contracts.dma import SPIKE_IN, SPIKE_OUT
from archsim.contracts.sequencer import COPIES, CORE0, DMA, MASK, MULTICAST, TRANSPOSE
from archsim.kernel import Simulation, decode
from archsim.ownership import check_intervals, prove
from archsim.stepped import sequencer as stepped
from archsim.tensors import Capture
from archsim.units import multicast as fast
from archsim.units.sram import Memories
from cosim.run import Bench, random_latencies
from tests.cosim.moves import CHIPS, program
from tests.cosim.reorder import reorder
from tests.system.test_stepped import same_memories

BUILD = Path(__file__).parents[2] / "build" / "cosim"
SEEDS = (1, 2)


def simulated(made, observe=None):
    """Records and memories of a run."""
    memories = Memories.empty(made.chip, made.dram)
    queues = decode(made)
    prove(made.chip, queues, len(made.dram))
    records = Simulation(made.chip, queues, memories, Capture(made.chip, made.notes), observe=observe).run()
    check_intervals(made.chip, queues, records)
    return records, memories


def same(one, other):
    return all(np.array_equal(mine, its) for mine, its in zip(one.stack, other.stack, strict=True))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", CHIPS)
def test_driver_and_stepped_chip_agree(name, seed, monkeypatch):
    """On one thread, on two that share the cores, instruction by instruction, and cycle by cycle."""
    made = program(CHIPS[name], seed)
    records, memories = simulated(made, observe=lambda *_: None)
    assert {int(opcode) for opcode in records["opcode"][records["engine"] == MULTICAST]} == set(COPIES)
    for processors in (1, 2):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, count=processors: set(range(count)))
        driven = simulated(made)
        assert np.array_equal(driven[0], records) and same(driven[1], memories)
    slow = Memories.empty(made.chip, made.dram)
    timeline = stepped.run(made, slow)
    for engine, times in timeline.instructions.items():
        own = records[records["engine"] == engine]
        assert np.array_equal(times, np.stack([own["start"], own["end"]], axis=1)), engine
    same_memories(slow, memories)
    assert memories.stack.spike_out[:, 1].any() and memories.stack.out[0].any()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", CHIPS)
def test_another_order_of_the_instructions_means_the_same(name, seed):
    """Every bank keeps its sequence of owners, those of TRANSPOSE and MASK too."""
    made = program(CHIPS[name], seed)
    other = reorder(made, seed, 12)
    (records, memories), (moved, found) = simulated(made), simulated(other)
    assert moved["end"].max() != records["end"].max()
    assert same(found, memories)


@pytest.mark.parametrize("name", CHIPS)
def test_dma_and_multicast_are_at_both_banks_of_a_core_at_a_time(name):
    """A row is written by either in the same cycle, and read by either: what the Verilog below is compared in."""
    made = program(CHIPS[name], SEEDS[0])
    records, _ = simulated(made)
    queues, spans = decode(made), {DMA: [], MULTICAST: []}
    for record in records[np.isin(records["engine"], (DMA, MULTICAST))]:
        head, engine = queues[int(record["engine"])][int(record["index"])], int(record["engine"])
        spans[engine].append((head, int(record["start"]), int(record["end"])))
    both = [
        (one, other) for one, start, end in spans[DMA] for other, begin, stop in spans[MULTICAST]
        if min(end, stop) - max(start, begin) > 10
    ]  # fmt: skip
    written = [one for one, other in both if one["memory"] == SPIKE_IN and one["cores"] & other["cores"]]
    read = [one for one, other in both if one["memory"] == SPIKE_OUT and one["cores"] == 1 << other["source"] >> CORE0]
    assert written and read


@cache
def bench(name):
    """Simulator and Verilog, and DRAM."""
    made = program(CHIPS[name], SEEDS[0])
    return Bench(made, BUILD), made.dram


@pytest.mark.slow
@pytest.mark.parametrize("name", CHIPS)
def test_simulator_and_verilog_agree(name):
    found, _ = bench(name)
    for seed in SEEDS:
        made = program(CHIPS[name], seed)
        run = Bench(made, BUILD, machine=found.machine)
        for latencies in (None, random_latencies(made.chip, seed)):
            comparison = run.run(made.dram, latencies)
            assert comparison.first is None and comparison.equal
            compared = comparison.compared
            assert compared["start cycles"] == compared["end cycles"] == len(run.plan.places)
            assert compared["accesses of cores: spike_in"] > 0 and compared["spike_in rows of the cores"] > 0
        opcodes = Counter(head["opcode"] for head in run.plan.queues[MULTICAST])
        assert opcodes[TRANSPOSE] > 3 and opcodes[MASK] > 3


@pytest.fixture
def small():
    return bench("lanes_3")


def place_of(found, opcode):
    """The first instruction of an opcode in the queue of the multicast."""
    return MULTICAST, next(n for n, head in enumerate(found.plan.queues[MULTICAST]) if head["opcode"] == opcode)


@pytest.mark.slow
@pytest.mark.parametrize("opcode", [TRANSPOSE, MASK])
def test_a_wrong_bit_is_located(small, monkeypatch, opcode):
    found, dram = small
    original, wanted = fast.copy, place_of(found, opcode)
    head = found.plan.queues[MULTICAST][wanted[1]]

    def wrong(fields, chip, memories):
        result = original(fields, chip, memories)
        if fields == head:
            bank = memories.attention.spikes if fields["cores"] == 0 else memories.cores[fields["cores"].bit_length() - 1].spike_in
            bank[fields["bank"], fields["base"], chip.lanes - 1] ^= np.uint64(1)
        return result

    monkeypatch.setattr(fast, "copy", wrong)
    first = found.run(dram).first
    assert first.place == wanted and f"row {head['base']} at its end" in first.what


@pytest.mark.slow
@pytest.mark.parametrize(("opcode", "law"), [(TRANSPOSE, "transpose_cycles"), (MASK, "mask_cycles")])
def test_a_late_end_is_located(small, monkeypatch, opcode, law):
    found, dram = small
    original = getattr(contract, law)
    monkeypatch.setattr(contract, law, lambda *sizes: original(*sizes) + 1)
    first = found.run(dram).first
    assert first.place == place_of(found, opcode) and first.what.startswith("end: ")
