"""Does a program file hold all of a program, and does the same network always give the same bytes?"""

import json

import numpy as np
import pytest

from archsim.config import load_chip
from archsim.contracts import sequencer
from archsim.contracts.common.errors import ArchsimError
from mapping.program import read, write
from mapping.quantise import Precision, quantise
from mapping.schedule import Limits, schedule


@pytest.fixture(params=["small", "adders_512"])
def program(request, make_random):
    return schedule(
        quantise(make_random(2, dim=16, heads=1), Precision()), load_chip(request.param), Limits(positions=6)
    )


def test_round_trip(program, tmp_path):
    write(program, tmp_path / "new folder" / "p.safetensors")
    again = read(tmp_path / "new folder" / "p.safetensors")
    assert again.chip == program.chip
    assert again.queues.keys() == program.queues.keys()
    for engine, rows in program.queues.items():
        assert np.array_equal(again.queues[engine], rows)
        assert again.queues[engine].dtype == np.uint8
    assert np.array_equal(again.dram, program.dram)
    assert again.notes == json.loads(json.dumps(program.notes))


def test_the_same_program_gives_the_same_bytes(program, make_random, tmp_path):
    write(program, tmp_path / "one")
    again = schedule(quantise(make_random(2, dim=16, heads=1), Precision()), program.chip, Limits(positions=6))
    for _ in range(8):
        write(again, tmp_path / "two")
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert again.notes["sha256"] == program.notes["sha256"]


def test_another_network_has_another_digest(program, make_random):
    other = schedule(quantise(make_random(3, dim=16, heads=1), Precision()), program.chip, Limits(positions=6))
    assert other.notes["sha256"] != program.notes["sha256"]


def test_queues_end_with_halt_and_fit(program):
    for rows in program.queues.values():
        opcodes = [sequencer.decode(row.tobytes())["opcode"] for row in rows]
        assert opcodes[-1] == sequencer.HALT
        assert sequencer.HALT not in opcodes[:-1]


def test_a_network_for_wider_chips_is_refused(make_random):
    chip = load_chip("small").replace(weight_bits=4, membrane_bits=20)
    network = quantise(make_random(2), Precision(weight_bits=8))
    with pytest.raises(ArchsimError, match="quantised to 8-bit weights and 24-bit membranes, the chip has 4 and 20"):
        schedule(network, chip)
