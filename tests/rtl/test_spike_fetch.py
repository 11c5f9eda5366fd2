"""Does the spike fetch offer the contract's words, the first FIRST_WORD cycles after the start and then one a cycle?

The encoder's side is a fixed trace of ready cycles. As the FIFO never runs empty, word k leaves in the k-th ready cycle
from the first offer on: the expectation needs no model of the unit.
"""

import numpy as np
import pytest

from archsim.contracts.spike_fetch import FIRST_WORD, TILE_FIELDS, SpikeFetchParams, reference
from rtl.units.spike_fetch import TILE
from tests.rtl.bench import number
from tests.rtl.levels import library
from tests.rtl.rows import bits, to_words
from tests.rtl.slice_programs import chip_of, convolution, planes_of, random_synapse

SMALL, WIDE = chip_of("small"), chip_of("wide", lanes=3, columns=21, neurons=7)
PARAMS = {chip: SpikeFetchParams(chip.lanes, chip.columns, chip.spike_in_rows, 8) for chip in (SMALL, WIDE)}
SETUP, START = 2, 4
"""Cycles of the pulses; the start is as soon after the set-up as it ever is."""

TILES = {
    # Windows of one word: a new position in every cycle, a new row in every third, a new row in every one.
    "single words": convolution(SMALL, (5, 3), 1),
    "single column": convolution(SMALL, (9, 1), 1),
    "stride 7": convolution(SMALL, (15, 15), 1, stride=7),
    "single taps and padding": convolution(SMALL, (6, 6), 2, stride=7, padding=5),
    "only padding": convolution(SMALL, (1, 1), 1, padding=9),
    "slices": convolution(SMALL, (3, 3), 3, padding=1, timesteps=4),
    "wide words": convolution(SMALL, (4, 4), 3, padding=2, channels=24),
    "planes": planes_of(SMALL, (3, 4), 5, 1),
    "planes on padding": planes_of(SMALL, (2, 2), 3, 1) | {"in_y": -3},
    "long row": convolution(SMALL, (1, 40), 1) | {"kernel_width": 510, "in_x": -509, "in_origin": -509 % 2**20},
}


def offered(tile, chip, memory):
    """Payloads that the contract's reference makes of a tile."""
    layout = PARAMS[chip].o
    bank = memory[tile["in_bank"]]
    for row, weight, shift, subtract, last in reference(tile, chip.columns):
        lanes = bank[row].tolist() if row >= 0 else [0] * chip.lanes
        spikes = lanes if chip.lanes > 1 else lanes[0]
        yield layout.pack(
            {"spikes": spikes, "row": weight % 256, "shift": shift, "subtract": subtract, "last": last}
        )  # fmt: skip


def run(chip, tile, ready, late=0):
    """Expected payloads, and the trace of valid and payload from ``START`` (plus ``late``) on."""
    tile = {field.name: tile.get(field.name, 0) for field in TILE_FIELDS}
    rng = np.random.default_rng(1)
    memory = rng.integers(0, 1 << chip.columns, (2, chip.spike_in_rows, chip.lanes), np.uint64)
    expected = list(offered(tile, chip, memory))
    fetch = library("spike_fetch", PARAMS[chip])
    idle = dict.fromkeys(fetch.inputs, 0)
    where = np.argwhere(np.ones((2, chip.spike_in_rows)))
    rows = memory.reshape(len(where), -1)
    payload = np.concatenate([bits(where[:, :1], 1), bits(where[:, 1:], 9), bits(rows, chip.columns)], axis=1)
    words = to_words(payload)
    fetch.run(idle | {"rst": 1, "write__valid": 1, "write__payload": words[:, 0] if payload.shape[1] <= 64 else words})
    cycle = np.arange(START + late + len(ready))
    taking = np.concatenate([np.zeros(START + late, bool), ready])
    pulses = {"setup": cycle == SETUP, "start": cycle == START + late, "o__ready": taking}
    out = fetch.run(idle | {"tile": TILE.pack(tile)} | pulses, resume=True)
    found = out["o__payload"].reshape(len(cycle), -1)
    return expected, out["o__valid"][START + late :].astype(bool), [number(row) for row in found[START + late :]]


def compare(chip, tile, ready, late=0):
    expected, valid, payload = run(chip, tile, ready, late)
    sent, valid = 0, valid.tolist()
    for cycle, taking in enumerate(ready.tolist()):
        assert valid[cycle] == (cycle >= FIRST_WORD and sent < len(expected)), f"cycle {cycle}, word {sent}"
        if valid[cycle]:
            assert payload[cycle] == expected[sent], f"cycle {cycle}, word {sent}"
            sent += taking
    assert sent == len(expected), f"{sent} of {len(expected)} words left in {len(ready)} cycles"
    return sent


def trace(words, probability, seed=0):
    """Ready cycles enough for ``words``."""
    return np.random.default_rng(seed).random(int(2 * words / probability) + 100) < probability


@pytest.mark.parametrize("probability", [1, 0.5, 0.1])
@pytest.mark.parametrize("name", TILES)
def test_words_and_cycles(name, probability):
    tile = {field.name: 0 for field in TILE_FIELDS} | {
        key: TILES[name][key] for key in TILES[name] if key in TILE.by_name
    }
    words = sum(1 for _ in reference(tile, SMALL.columns))
    assert compare(SMALL, tile, trace(words, probability)) == words


@pytest.mark.parametrize("seed", range(40))
def test_random_tiles(seed):
    rng = np.random.default_rng(seed)
    fields = random_synapse(WIDE, rng)
    tile = {field.name: fields.get(field.name, 0) for field in TILE_FIELDS}
    words = sum(1 for _ in reference(tile, WIDE.columns))
    compare(WIDE, tile, trace(words, rng.choice([0.2, 0.6, 1]), seed), late=int(rng.integers(5)))


def test_a_wrong_reference_is_found():
    tile = {field.name: TILES["slices"].get(field.name, 0) for field in TILE_FIELDS}
    expected, valid, payload = run(SMALL, tile, trace(400, 1))
    assert valid[FIRST_WORD] and not valid[FIRST_WORD - 1]
    assert payload[FIRST_WORD + 1] != expected[0]
