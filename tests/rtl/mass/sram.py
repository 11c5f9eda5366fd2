"""Mass run of the bank: reads and writes in any cycle, but for the forbidden read of a row that is written."""

from collections.abc import Iterator

import numpy as np
from numba import njit

from archsim.contracts.sram import READ_LATENCY, SramParams
from rtl.build import UNITS
from rtl.verilator_driver import words_of
from tests.rtl.bench import STALLS, Stalls
from tests.rtl.levels import library
from tests.rtl.mass import script
from tests.rtl.mass.record import RANDOM, Goal, Result, name_of
from tests.rtl.mass.script import Check, Script

UNIT = "sram"

SETS = [
    SramParams(1, 5), SramParams(2, 1, 3), SramParams(5, 3, 4), SramParams(64, 8, 2), SramParams(100, 64, 4),
    SramParams(300, 13, 7),
]  # fmt: skip

CYCLES = 40_000
"""Cycles of a run at most."""


@njit
def answers(rows, parts, reads, addresses, masks, targets, data, found):
    """The row that was read last, by definition, in every cycle; ``parts`` are the bits of each granule [granules, words]."""
    answer = np.zeros(data.shape[1], np.uint64)
    for cycle in range(len(reads)):
        found[cycle] = answer
        if reads[cycle]:
            answer[:] = rows[addresses[cycle]]
        for granule in range(len(parts)):
            if masks[cycle] >> granule & 1:
                for word in range(len(answer)):
                    bits = parts[granule, word]
                    rows[targets[cycle], word] = (rows[targets[cycle], word] & ~bits) | (data[cycle, word] & bits)


def granule_bits(params: SramParams) -> np.ndarray:
    """Bits of each granule of a row, uint64 [granules, words]."""
    size, ones = words_of(params.row_bits), (1 << params.granule_bits) - 1
    values = [ones << (granule * params.granule_bits) for granule in range(params.granules)]
    return np.array([np.frombuffer(value.to_bytes(8 * size, "little"), np.uint64) for value in values])


def script_of(params: SramParams, rng: np.random.Generator, stalls: Stalls, cycles: int) -> tuple[Script, int]:
    """Random cycles, idle as a stall pattern wants it, and the accesses among them."""
    parts, size = granule_bits(params), words_of(params.row_bits)
    addresses, targets = rng.integers(0, params.rows, (2, cycles))
    masks = rng.integers(0, 1 << params.granules, cycles) * np.resize(stalls.trace(rng), cycles)
    reads = np.resize(stalls.trace(rng), cycles) & ((addresses != targets) | (masks == 0))
    reads &= rng.random(cycles) < 0.7
    data = rng.integers(0, 1 << 64, (cycles, size), np.uint64) & np.bitwise_or.reduce(parts, axis=0)
    found = np.zeros((cycles, size), np.uint64)
    answers(np.zeros((params.rows, size), np.uint64), parts, reads, addresses, masks, targets, data, found)
    values = {
        "read__en": reads, "read__addr": addresses, "write__en": masks, "write__addr": targets, "write__data": data,
    }  # fmt: skip
    first = int(np.argmax(reads)) + READ_LATENCY  # before the first answer the data are undefined
    at = np.arange(first, cycles)
    accesses = int(np.count_nonzero(reads) + np.count_nonzero(masks))
    rows = script.rows_of(library(UNIT, params).inputs, cycles, values)
    return Script(rows, 0, [Check("read__data", at, found[at])]), accesses


def run(goal: Goal) -> Iterator[Result]:
    """The unit's mass run; a transaction is a read or a write. Nothing can stall, and there is no model but the definition."""
    patterns, sets = list(STALLS.values()), goal.chosen(SETS)
    for params in sets:
        rng, left = np.random.default_rng(17), goal.of(len(sets))
        accesses, cycles, seconds, index = 0, 0, 0.0, 0
        while accesses < left:
            length = min(CYCLES, max(50, 2 * (left - accesses)))
            written, some = script_of(params, rng, patterns[index % len(patterns)], length)
            _, taken = script.run(
                UNIT, lambda params=params: UNITS[UNIT].create(params), library(UNIT, params), written, {}
            )
            accesses, cycles, seconds, index = accesses + some, cycles + length, seconds + taken, index + 1
        yield Result(UNIT, name_of(params), RANDOM, accesses, cycles, seconds, 0.0)
