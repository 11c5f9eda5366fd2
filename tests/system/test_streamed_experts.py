"""Does a network with experts whose maps lie in DRAM run exactly: against the integer reference, and beside the stepped chip?"""

import numpy as np
import pytest

from archsim.contracts.dma import RESIDUAL
from archsim.contracts.sequencer import COLLECT, DISPATCH, DMA, EXPERTS, STORE, TOPK
from archsim.stepped import sequencer as stepped
from tests.mapping.conftest import EXPERT_CHIP, expert_chip, expert_network, map_experts
from tests.system.test_experts import equals_the_reference, known_by_spikes, run
from tests.system.test_stepped import same_memories

CHIP = EXPERT_CHIP.replace(spike_in_rows=80, param_rows=32, queue_rows=64)
"""Banks that hold no image; the stream is in the residual banks."""

LOGITS = 2
"""Rows of five logits, four a row."""

SPILLED = {"residual_rows": 90, "psum_rows": 8}
"""Banks that hold neither the stream nor the results of more than a token at a time."""

CASES = {
    "room for all": ({}, {}, {}),
    "overflow": ({"capacity": 3}, {}, {}),
    "one hot expert, lanes": ({"hot": 1, "capacity": 4}, {"lanes": 2}, {}),
    "spilled": ({"dim": 20, "choices": 1}, SPILLED, {}),
    "spilled, overflow": ({"dim": 20, "choices": 1, "capacity": 4}, SPILLED, {}),
    "spilled, two choices, words and chunks": ({"dim": 20, "hidden": 36}, SPILLED | {"psum_rows": 20, "weight_rows": 36}, {}),
    "two layers, one behind the other": ({"blocks": 2, "capacity": 3}, {"psum_rows": 24}, {"moe1": (0, 0, 1, 2)}),
    "one core has all experts": ({}, {"residual_rows": 600, "spike_in_rows": 90}, {"moe0": (2, 2, 2, 2)}),
    "fewer time steps": ({"steps": (4, 1, 1, 1), "choices": 1, "dim": 20}, SPILLED, {}),
    "fewer time steps, in part of a row": ({"steps": (5, 3, 1, 2), "timesteps": 6, "capacity": 4}, {"lanes": 2}, {}),
    "weighed, spilled": ({"softmax": True, "choices": 1, "dim": 20, "steps": (4, 1, 1, 1)}, SPILLED, {}),
    "weighed, overflow": ({"softmax": True, "choices": 1, "capacity": 4, "blocks": 2}, {"psum_rows": 24}, {}),
    "a distance that is not the rows": ({"timesteps": 7, "choices": 1}, {"psum_rows": 30}, {}),
    "weighed, expansion 1, spilled, fewer time steps": (
        {"softmax": True, "choices": 1, "dim": 20, "residual": (0, 1, 2, 3), "steps": (4, 1, 1, 1)}, SPILLED, {},
    ),
    "expansion 1": ({"residual": (0, 1, 2, 3), "capacity": 5}, {}, {}),
    "expansion 1, lanes, experts on one core": ({"residual": (0, 3)}, {"lanes": 2, "residual_rows": 600}, {"moe0": (2, 2, 2, 2)}),
    "expansion 1, spilled, words and chunks": ({"residual": (0, 1, 2), "dim": 36, "choices": 1, "experts": 3},
                                               SPILLED | {"psum_rows": 20, "weight_rows": 32, "residual_rows": 120}, {}),
    "expansion 1, spilled, overflow": ({"residual": (0, 1, 2, 3), "dim": 20, "choices": 1, "capacity": 4}, SPILLED, {}),
    "expansion 1, fewer time steps, two layers": ({"residual": (1, 2, 3), "steps": (7, 3, 1, 2), "timesteps": 7, "blocks": 2},
                                                  {}, {}),
    "parameters that come in turns": ({"dim": 20, "blocks": 2}, {"param_rows": 8}, {}),
}  # fmt: skip
"""Arguments of `expert_network`, changes of the chip, and placements."""


@pytest.fixture(scope="module", params=CASES)
def case(request):
    sizes, changes, placement = CASES[request.param]
    return sizes, expert_chip(CHIP, sizes).replace(dispatch_membranes=int("residual" in sizes), **changes), placement


def test_every_value_equals_the_reference(case):
    sizes, chip, placement = case
    for seed in range(2):
        mapped = map_experts(chip, expert_network(seed, **sizes), placement)
        assert mapped.program.notes["streamed"]
        ran, expected, dropped = equals_the_reference(mapped, seed)
        assert (dropped > 0) == ("capacity" in sizes)
        loads = [np.bincount(chosen[:, 1], minlength=sizes.get("experts", 4)) for chosen in expected.routes.values()]
        assert [load[:, 0].tolist() for load in ran.capture.loads.values()] == [load.tolist() for load in loads]


def test_fast_equals_stepped_for_every_instruction(case):
    sizes, chip, placement = case
    mapped = map_experts(chip, expert_network(7, **sizes), placement)
    ran = run(mapped, 7)
    timeline = stepped.run(mapped.program, ran.before)
    assert len(ran.records) == sum(len(times) for times in timeline.instructions.values())
    for engine, times in timeline.instructions.items():
        mine = np.sort(ran.records[ran.records["engine"] == engine], order="index")
        assert np.array_equal(np.stack([mine["start"], mine["end"]], 1), times), engine
    same_memories(ran.memories, ran.before)


def test_a_replayed_trace_takes_the_same_time(case):
    sizes, chip, placement = case
    mapped = map_experts(chip, expert_network(3, **sizes), placement)
    executed = run(mapped, 3)
    replayed = run(mapped, 3, executed.capture.words)
    assert np.array_equal(known_by_spikes(executed.records, sizes), known_by_spikes(replayed.records, sizes))
    for name, words in executed.capture.words.items():
        assert np.array_equal(words, replayed.capture.words[name]), name


def test_membranes_go_to_dram_once():
    """Those of the slots of two experts, and the results of four: 5 slots, 4 steps, 2 blocks. The stream is in the banks."""
    mapped = map_experts(CHIP.replace(dispatch_membranes=1), expert_network(0, residual=(0, 3), capacity=5))
    stores = [head for head in mapped.queues[DMA] if head["opcode"] == STORE and head["memory"] == RESIDUAL]
    assert sum(head["rows"] for head in stores) == (2 + 4) * 5 * 4 * 2 + LOGITS


def test_segments_and_shares():
    """Where no choice can be dropped every segment counts anew; else the counts go on through all of them."""
    for capacity, firsts in ((None, 4), (4, 1)):
        chip = CHIP.replace(**SPILLED)
        mapped = map_experts(chip, expert_network(0, dim=20, choices=1, capacity=capacity))
        heads = mapped.queues[EXPERTS]
        chosen = [head for head in heads if head["opcode"] == TOPK]
        assert [head["tokens"] for head in chosen] == [1] * 12
        assert sum(head["first"] for head in chosen) == firsts
        assert sum(head["opcode"] == COLLECT for head in heads) == 4 * 3, "segments, words"
        assert sum(head["opcode"] == DISPATCH for head in heads) == 4 * 2, "segments, words in two turns"
