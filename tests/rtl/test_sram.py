"""Is the bank's Verilog the contract: a read answered after one cycle and held, granules written, 0 at power-up?"""

import numpy as np
import pytest

from archsim.contracts.sram import READ_LATENCY, SramParams
from rtl.units.sram import Sram
from tests.rtl.levels import component_library, library

SETS = [SramParams(1, 5), SramParams(5, 3, 4), SramParams(64, 8, 2), SramParams(100, 64, 4)]
CYCLES = 20000


def bits(values, count):
    """Integers as uint64 [cycles] or [cycles, words]."""
    size = -(-count // 64)
    data = b"".join(int(value).to_bytes(8 * size, "little") for value in values)
    words = np.frombuffer(data, np.uint64).reshape(len(values), size)
    return words if size > 1 else words[:, 0]


def expected(params, init, reads, addresses, masks, targets, data):
    """The row read in each cycle, by definition; None before the first."""
    rows = list(init) + [0] * (params.rows - len(init))
    answers, answer = [], None
    for cycle in range(len(reads)):
        answers.append(answer)
        if reads[cycle]:
            answer = rows[addresses[cycle]]
        for granule in range(params.granules):
            if masks[cycle] >> granule & 1:
                part = ((1 << params.granule_bits) - 1) << (granule * params.granule_bits)
                rows[targets[cycle]] = (rows[targets[cycle]] & ~part) | (data[cycle] & part)
    return answers


@pytest.mark.parametrize("init", [(), (3, 5)], ids=["zero", "init"])
@pytest.mark.parametrize("params", SETS, ids=lambda params: "-".join(map(str, vars(params).values())))
def test_random_reads_and_writes(params, init):
    init = init[: params.rows]
    rng = np.random.default_rng(1)
    addresses, targets = rng.integers(0, params.rows, (2, CYCLES))
    masks = rng.integers(0, 1 << params.granules, CYCLES)
    reads = (rng.random(CYCLES) < 0.5) & ((addresses != targets) | (masks == 0))  # read during write is forbidden
    data = [int.from_bytes(rng.bytes(-(-params.row_bits // 8)), "little") % (1 << params.row_bits) for _ in masks]
    name = "sram_init" if init else "sram"
    bank = component_library(name, Sram(params, init)) if init else library("sram", params)
    out = bank.run({
        "rst": 0, "read__en": reads, "read__addr": addresses, "write__en": masks, "write__addr": targets,
        "write__data": bits(data, params.row_bits),
    })["read__data"]  # fmt: skip
    answers = expected(params, init, reads, addresses, masks, targets, data)
    first = answers.index(next(answer for answer in answers if answer is not None))
    assert answers[: np.flatnonzero(reads)[0] + READ_LATENCY] == [None] * (np.flatnonzero(reads)[0] + 1)
    assert np.array_equal(out[first:], bits(answers[first:], params.row_bits))
