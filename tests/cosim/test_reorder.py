"""Does a reordered program mean the same, is it another order, and would a lost dependence be seen?"""

from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest

from archsim.contracts.common.ownership import banks
from archsim.kernel import Simulation, decode
from archsim.simulate import read_logits, write_image
from archsim.tensors import Capture
from archsim.units.sram import Memories
from mapping.ir import IMAGE
from mapping.quantise import Precision, quantise
from mapping.schedule import schedule
from tests.cosim import reorder as module
from tests.cosim.chips import CHIPS
from tests.cosim.reorder import reorder, walk
from tests.mapping.conftest import random_network

CHIP = CHIPS["gang"]


@pytest.fixture(scope="module")
def mapped():
    network = quantise(
        random_network(1, dim=4, stem=3, hidden=5), Precision(CHIP.weight_bits, 8, 9, CHIP.membrane_bits)
    )
    return network, schedule(network, CHIP)


def logits(network, program):
    shape, dram = network.maps[IMAGE], program.dram.copy()
    pixels = np.random.default_rng(0).uniform(-1, 1, (shape.channels, shape.height, shape.width))
    write_image(SimpleNamespace(network=network, program=program), dram, pixels)
    memories = Memories.empty(CHIP, dram)
    Simulation(CHIP, decode(program), memories, Capture(CHIP, program.notes)).run()
    return read_logits(program, memories.dram).tolist()


def owners(program):
    """Owners of each bank in turn: their fields, the semaphores left out."""
    queues, found = decode(program), defaultdict(list)
    for group in walk(program, queues):
        for engine, index in group:
            head = queues[engine][index]
            for bank in banks(engine, head):
                found[bank].append(
                    (engine, {name: value for name, value in head.items() if name not in ("wait", "post")})
                )
    return found


@pytest.mark.parametrize("seed", range(4))
def test_banks_keep_their_owners_and_the_logits_their_values(mapped, seed):
    network, program = mapped
    changed = reorder(program, seed, 30)
    before, after = decode(program), decode(changed)
    assert {engine: len(queue) for engine, queue in before.items()} == {
        engine: len(queue) for engine, queue in after.items()
    }
    places = [[entry.get("dram_address") for entry in queues[0]] for queues in (before, after)]
    assert places[0] != places[1] and sorted(places[0]) == sorted(places[1])  # LOADs come earlier and later
    assert owners(changed) == owners(program)
    assert logits(network, changed) == logits(network, program)


def test_a_lost_dependence_changes_the_logits(mapped, monkeypatch):
    network, program = mapped
    wanted = logits(network, program)
    monkeypatch.setattr(module, "_dependences", lambda _, __, order: ([0] * len(order), [set() for _ in order]))
    assert any(logits(network, reorder(program, seed, 30)) != wanted for seed in range(4))
