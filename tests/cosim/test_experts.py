"""Do simulator and Verilog of a chip with an expert engine agree, under contention and overflow, and is a wrong bit located?"""

from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from archsim.contracts import experts as contract
from archsim.contracts.sequencer import COLLECT, DISPATCH, EXPERTS, TOPK
from archsim.kernel import Simulation
from archsim.simulate import write_image
from archsim.tensors import Capture
from archsim.units import experts as fast
from archsim.units.sram import Memories
from cosim.expected import expert_accesses
from cosim.run import Bench, random_latencies
from tests.mapping.conftest import EXPERT_CHIP, MEMBRANE_CHIP, expert_network, map_experts

BUILD = Path(__file__).parents[2] / "build" / "cosim"

CHIPS = {
    "lanes_1": EXPERT_CHIP.replace(name="experts_lanes_1"),
    "lanes_2": EXPERT_CHIP.replace(
        name="experts_lanes_2", lanes=2, columns=4, neurons=2, crossbar_depth=1, membrane_bits=22
    ),
    "membranes": MEMBRANE_CHIP.replace(name="experts_membranes", lanes=2, columns=4, neurons=2, membrane_bits=22),
}

CASES = {
    "contention": ({}, {"moe0": (1, 1, 1, 1)}),
    "overflow": ({"hot": 1, "capacity": 4}, {}),
    "two layers": ({"blocks": 2, "capacity": 3, "choices": 3}, {"moe1": (2, 0, 0, 1)}),
}  # fmt: skip
EXPANSION_1 = {
    "expansion 1": ({"residual": (0, 1, 2, 3)}, {"moe0": (1, 1, 0, 2)}),
    "some of expansion 1, two layers": ({"residual": (0, 3), "blocks": 2, "capacity": 3, "choices": 3}, {"moe1": (2, 0, 0, 1)}),
}
"""Arguments of `expert_network`, and placements."""

PAIRS = [(chip, name) for chip in ("lanes_1", "lanes_2") for name in CASES] + [("membranes", name) for name in EXPANSION_1]
"""Chip and case."""


@cache
def bench(chip, name):
    """Simulator and Verilog of a case, and DRAM with an image of noise."""
    sizes, placement = (CASES | EXPANSION_1)[name]
    mapped = map_experts(CHIPS[chip], expert_network(5, **sizes), placement)
    dram = mapped.program.dram.copy()
    write_image(mapped, dram, np.random.default_rng(5).uniform(-1, 1, (1, 4, 3)))
    return Bench(mapped.program, BUILD), dram


@pytest.mark.slow
@pytest.mark.parametrize(("chip", "name"), PAIRS)
def test_simulator_and_verilog_agree(chip, name, monkeypatch):
    counted, original = [], fast.route
    choose, dropped = fast.topk, []
    monkeypatch.setattr(fast, "route", lambda *given: counted.append(original(*given)) or counted[-1])
    monkeypatch.setattr(fast, "topk", lambda *given: dropped.append(choose(*given)) or dropped[-1])
    found, dram = bench(chip, name)
    for latencies in (None, random_latencies(CHIPS[chip], 5)):
        comparison = found.run(dram, latencies)
        assert comparison.first is None and comparison.equal
        compared = comparison.compared
        assert compared["start cycles"] == compared["end cycles"] == len(found.plan.places)
        for memory in ("routes", "replies"):
            assert (
                compared[f"{memory} rows of the expert engine"] > 0 and compared[f"accesses of experts: {memory}"] > 0
            )
        assert compared["logits"] == 5
    stalls = [int(counts[fast.COUNT.flit_stalls]) for _, counts in counted]
    assert sum(stalls) > 0
    assert (sum(int(counts[fast.COUNT.dropped]) for _, counts in dropped) > 0) == ("capacity" in (CASES | EXPANSION_1)[name][0])
    sent = sum(int(counts[fast.COUNT.residual_writes]) for _, counts in counted)
    assert (sent > 0) == (chip == "membranes")


@pytest.mark.parametrize("residual", [(), (1, 2)])
def test_accesses_core_by_core_add_up_to_the_counters(residual):
    chip = MEMBRANE_CHIP if residual else EXPERT_CHIP
    mapped = map_experts(chip, expert_network(5, hot=1, capacity=4, residual=residual))
    total, memories = Counter(), Memories.empty(chip, mapped.program.dram)

    def observe(engine, index, fields):
        if engine == EXPERTS:
            for (unit, _, memory), way, count in expert_accesses(fields, chip, memories):
                total[unit, memory, way] += count

    capture = Capture(chip, mapped.program.notes)
    records = Simulation(chip, mapped.queues, memories, capture, observe=observe).run()
    own = records[records["engine"] == EXPERTS]
    scores = own["residual_reads"][own["opcode"] == TOPK].sum()
    assert total == {
        ("experts", "routes", 0): own["route_reads"].sum(), ("experts", "routes", 1): own["route_writes"].sum(),
        ("experts", "replies", 0): own["reply_reads"].sum(), ("experts", "replies", 1): own["reply_writes"].sum(),
        ("core", "spike_out", 0): own["copied_rows"].sum(), ("core", "spike_in", 1): own["copied_row_writes"].sum(),
        ("core", "residual", 0): own["residual_reads"].sum(), ("core", "psum", 1): own["psum_writes"].sum(),
        **({("core", "residual", 1): own["residual_writes"].sum()} if residual else {}),
    }  # fmt: skip
    assert 0 < scores < own["residual_reads"].sum()


@pytest.fixture
def small():
    return bench("lanes_1", "overflow")


def place_of(found, opcode):
    """The first instruction of an opcode in the engine's queue."""
    return EXPERTS, next(n for n, head in enumerate(found.plan.queues[EXPERTS]) if head["opcode"] == opcode)


@pytest.mark.slow
def test_a_wrong_choice_is_located_in_the_route_table(small, monkeypatch):
    """The first slot of every table is another than the router gave."""
    found, dram = small
    original = fast.topk

    def wrong(fields, chip, memories):
        result = original(fields, chip, memories)
        memories.experts.routes[fields["core"], fields["entry"], 1] ^= 1
        return result

    monkeypatch.setattr(fast, "topk", wrong)
    comparison = found.run(dram)
    assert comparison.first.place == place_of(found, TOPK)
    assert comparison.first.what.startswith("experts 0 routes[0]: row 0 at its end")


@pytest.mark.slow
def test_a_wrong_row_of_a_packet_is_located(small, monkeypatch):
    found, dram = small
    original = fast.move

    def wrong(packets, rows, orders, sources, targets):
        original(packets, rows, orders, sources, targets)
        targets[packets.destination[0]][packets.target[0], 0] ^= 1

    monkeypatch.setattr(fast, "move", wrong)
    comparison = found.run(dram)
    assert comparison.first.place == place_of(found, DISPATCH)
    assert "spike_in" in comparison.first.what


@pytest.mark.slow
def test_a_wrong_membrane_that_comes_to_an_expert_is_located(monkeypatch):
    """The first row of the first packet of membranes: DISPATCH of spikes before it is right."""
    found, dram = bench("membranes", "expansion 1")
    original = fast.move

    def wrong(packets, rows, orders, sources, targets):
        original(packets, rows, orders, sources, targets)
        if np.shares_memory(sources[0], targets[0]):
            targets[packets.destination[0]][packets.target[0], 0] ^= 1

    monkeypatch.setattr(fast, "move", wrong)
    comparison = found.run(dram)
    engine, first = place_of(found, DISPATCH)
    assert comparison.first.place == (engine, first + 1)
    assert "residual" in comparison.first.what


@pytest.mark.slow
def test_a_late_reply_is_located(small, monkeypatch):
    """One more cycle from the last movement to the end: DISPATCH is the first that ends late."""
    found, dram = small
    monkeypatch.setattr(fast, "DONE", contract.DONE + 1)
    comparison = found.run(dram)
    assert comparison.first.place == place_of(found, DISPATCH) and "end" in comparison.first.what


@pytest.mark.slow
def test_a_wrong_membrane_that_returns_is_located(small, monkeypatch):
    found, dram = small
    original = fast.ask

    def wrong(params, requests, orders, replies):
        packets = original(params, requests, orders, replies)
        packets.source[0] += 1
        return packets

    monkeypatch.setattr(fast, "ask", wrong)
    comparison = found.run(dram)
    assert comparison.first.place == place_of(found, COLLECT)
    assert "psum" in comparison.first.what
