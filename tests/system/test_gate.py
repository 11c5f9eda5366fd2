"""Does attention as a gate run exactly, maps on the chip or in DRAM: against the reference, and cycle by cycle?"""

from types import SimpleNamespace

import numpy as np
import pytest

from archsim import simulate
from archsim.config import load_chip
from archsim.contracts.sequencer import ATTEND_GATE, ATTENTION
from archsim.kernel import Simulation, decode
from archsim.ownership import prove
from archsim.stepped import sequencer as stepped
from archsim.tensors import Capture
from archsim.units.sram import Memories
from mapping.context import Limits
from mapping.ir import GATE
from mapping.quantise import Precision, quantise
from mapping.schedule import schedule
from tests.mapping.conftest import random_network
from tests.system.test_stepped import same_memories

CASES = {
    "one piece of q": ("small", {}, None, {}),
    "pieces of q": ("small", {}, Limits(positions=4), {}),
    "two time steps a row": ("small", {"lanes": 2}, Limits(positions=4), {}),
    "the last word is half full": ("small", {}, None, {"dim": 40, "heads": 5}),
    "maps in DRAM": ("small", {"spike_in_rows": 200, "param_rows": 128}, None, {"height": 8, "width": 8}),
}
"""Preset, changes of it, how finely the mapper cuts, and sizes of the network."""


@pytest.fixture(scope="module", params=CASES)
def case(request):
    preset, changes, limits, sizes = CASES[request.param]
    chip = load_chip(preset).replace(**changes)
    network = quantise(random_network(5, kind=GATE, **{"dim": 32, "hidden": 32, **sizes}), Precision(8, 8, 12, 24))
    program = schedule(network, chip, limits)
    assert program.notes["streamed"] == (request.param == "maps in DRAM")
    queues = decode(program)
    prove(chip, queues, len(program.dram))
    image = network.maps["image"]
    pixels = np.random.default_rng(5).uniform(-1, 1, (image.channels, image.height, image.width))
    return SimpleNamespace(network=network, program=program, queues=queues, pixels=pixels)


def start(case):
    """Memories before a run."""
    memories = Memories.empty(case.program.chip, case.program.dram)
    simulate.write_image(case, memories.dram, case.pixels)
    return memories


def test_it_equals_the_reference(case):
    memories, capture = start(case), Capture(case.program.chip, case.program.notes, None, True)
    Simulation(case.program.chip, case.queues, memories, capture).run()
    check = simulate.compare(case, case.pixels, capture, simulate.read_logits(case.program, memories.dram))
    assert check.differing == {"spikes": 0, "membranes": 0, "logits": 0}
    q, gated = (int(np.bitwise_count(capture.words[name]).sum()) for name in "qb")
    assert 0 < gated < q, "the gate lets all or nothing through"


def test_fast_equals_stepped(case):
    fast, slow, chip = start(case), start(case), case.program.chip
    records = Simulation(chip, case.queues, fast, Capture(chip, case.program.notes)).run()
    assert (records["opcode"][records["engine"] == ATTENTION] == ATTEND_GATE).sum() >= 1
    for engine, times in stepped.run(case.program, slow).instructions.items():
        mine = np.sort(records[records["engine"] == engine], order="index")
        assert np.array_equal(np.stack([mine["start"], mine["end"]], 1), times), engine
    same_memories(fast, slow)
