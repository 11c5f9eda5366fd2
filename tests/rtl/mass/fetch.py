"""Mass run of the spike fetch: tile after tile with pauses between, its FIFO against an encoder that blocks."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import Component, Out

from archsim.contracts import spike_fetch as contract
from archsim.contracts.spike_fetch import ADDRESS_BITS, FIFO_DEPTH, SpikeFetchParams, corners
from archsim.stepped import spike_fetch as stepped
from archsim.units import spike_fetch as fast
from rtl.payload import forward, forwarded
from rtl.units.spike_fetch import TILE, SpikeFetch
from rtl.verilator_library import Library
from tests.rtl import rows
from tests.rtl.bench import STALLS, Stalls, pack
from tests.rtl.levels import component_library
from tests.rtl.mass import recorded, script
from tests.rtl.mass.record import RANDOM, RECORDED, Goal, Result, name_of
from tests.rtl.mass.script import Check, Script
from tests.rtl.mass.streams import Stopwatch

UNIT = "spike_fetch"

SETUP = 2
"""Cycles from the set-up of a tile to its start at least."""

WORDS = 3000
"""Words of a tile at most, and of a run about."""


class _Fetch(SpikeFetch):
    """The fetch, and the ``level`` of its FIFO."""

    def __init__(self, params: SpikeFetchParams):
        super().__init__(params)
        self.level = Signal(range(FIFO_DEPTH + 1))

    def elaborate(self, platform):
        """The unit's own module, and a look inside."""
        m = super().elaborate(platform)
        m.d.comb += self.level.eq(m.submodules.fifo.level)
        return m


class Probed(Component):
    """The fetch with the level of its FIFO as a port."""

    def __init__(self, params: SpikeFetchParams):
        self.unit = _Fetch(params)
        self.ports: dict[str, tuple[Component, str]] = {name: (self.unit, name) for name in self.unit.signature.members}
        super().__init__(forwarded(self.ports) | {"level": Out(range(FIFO_DEPTH + 1))})

    def elaborate(self, platform):
        """The fetch and its ports."""
        m = Module()
        m.submodules.unit = self.unit
        forward(m, self, self.ports)
        m.d.comb += self.level.eq(self.unit.level)
        return m


class Tiles(NamedTuple):
    """Tiles that are fetched one after the other: as :func:`archsim.units.spike_fetch.run` takes them.

    ``setups`` holds the cycles from each tile's set-up to its start.
    """

    tiles: list[dict[str, int]]
    banks: np.ndarray
    gaps: np.ndarray
    setups: np.ndarray
    ready: np.ndarray


@cache
def library(params: SpikeFetchParams) -> Library:
    """The Verilator library of the probed fetch."""
    return component_library(UNIT, Probed(params))


def run_case(params: SpikeFetchParams, case: Tiles) -> tuple[int, int, float, int, int]:
    """Run on both models and the Verilog: words, cycles, seconds, cycles in which the encoder blocked, and with a full FIFO.

    Raises Divergence where the Verilog, and AssertionError where the stepped model is not the law.
    """
    arguments = params, case.tiles, case.banks, case.gaps, case.ready
    law, model = fast.run(*arguments), stepped.run(*arguments)
    written = script_of(params, case, law)
    for name in law._fields:
        if not np.array_equal(getattr(law, name), getattr(model, name)):
            script.run(UNIT, lambda: Probed(params), library(params), written, layouts_of(params))
            raise AssertionError(f"law and stepped model differ in {name}")
    outputs, seconds = script.run(UNIT, lambda: Probed(params), library(params), written, layouts_of(params))
    offered = outputs["o__valid"][written.origin :, 0] == 1
    blocked = offered & ~_ready(case, len(offered))
    full = int(np.count_nonzero(outputs["level"][written.origin :] == FIFO_DEPTH))
    return len(law.words), len(offered), seconds, int(blocked.sum()), full


def layouts_of(params: SpikeFetchParams) -> dict:
    """How to read the ports."""
    return {"tile": TILE, "o__payload": params.o}


def _packed(tile: dict[str, int]) -> int:
    """The fetch's fields of an instruction."""
    return TILE.pack({name: tile[name] for name in TILE.by_name if name in tile})


def _ready(case: Tiles, cycles: int) -> np.ndarray:
    return np.resize(case.ready, cycles).astype(bool)


def script_of(params: SpikeFetchParams, case: Tiles, law: fast.FetchRun) -> Script:
    """Inputs of the whole run, and where each word must stand: from its offer until it is taken, and none else."""
    ports = library(params).inputs
    depth = case.banks.shape[1]
    load = rows.load_inputs({"write": rows.bits(case.banks, params.word_bits)}, {"write": depth})
    first = law.start + contract.FIRST_WORD  # offer of each tile's first word
    begins = np.append(-1, law.transferred[:-1]) + 1
    counts = np.searchsorted(law.transferred, first)  # numbers of the tiles' first words
    begins[counts] = first
    cycles = int(law.transferred[-1]) + 20
    setup, start = np.zeros(cycles, bool), np.zeros(cycles, bool)
    setup[law.start - case.setups], start[law.start] = True, True
    # A tile's fields stand from its set-up on, until the next one's.
    number = np.maximum(np.searchsorted(law.start - case.setups, np.arange(cycles), side="right") - 1, 0)
    fields = np.array([
        np.frombuffer(_packed(tile).to_bytes(8 * -(-TILE.width // 64), "little"), np.uint64) for tile in case.tiles
    ])  # fmt: skip
    rows_before = [
        script.rows_of(ports, script.RESET_CYCLES, {"rst": 1}),
        script.rows_of(ports, len(load["write__valid"]), load),
    ]
    run = script.rows_of(
        ports, cycles, {"tile": fields[number], "setup": setup, "start": start, "o__ready": _ready(case, cycles)}
    )
    origin = sum(map(len, rows_before))
    lengths = law.transferred + 1 - begins
    held = np.repeat(np.arange(len(lengths)), lengths)  # the word that stands in each cycle with one
    at = np.repeat(begins - np.append(0, np.cumsum(lengths)[:-1]), lengths) + np.arange(len(held))
    valid = np.zeros((cycles, 1), np.uint64)
    valid[at] = 1
    marks = dict(zip(("row", "shift", "subtract", "last"), law.marks.T, strict=True))
    payload = pack(params.o, marks | {"spikes": law.words})
    checks = [
        Check("o__valid", origin + np.arange(cycles), valid), Check("o__payload", origin + at, payload[held])
    ]  # fmt: skip
    return Script(np.concatenate([*rows_before, run]), origin, checks)


# ------------------------------------------------------------------------------ stimuli


def random_tile(params: SpikeFetchParams, rng: np.random.Generator) -> dict[str, int]:
    """Any window over any map that lies in the bank, of at most ``WORDS`` words."""
    while True:
        height, width, slices = (int(value) for value in rng.integers(1, (9, 9, 6)))
        words = int(rng.integers(1, 4))
        size = height * width * slices * words
        if size > params.rows:
            continue
        base = int(rng.integers(params.rows - size + 1))
        # Slices of a position lie together, or whole maps of a slice do.
        inner = rng.integers(2)
        x_stride, slice_stride = (slices * words, words) if inner else (words, height * width * words)
        far = rng.random() < 0.3
        y, x = int(rng.integers(-40 if far else -3, height + 1)), int(rng.integers(-80 if far else -3, width + 1))
        planes, tap = int(rng.integers(2)), rng.random() < 0.8
        tile = {
            "in_bank": int(rng.integers(2)), "in_y": y, "in_x": x, "in_height": height, "in_width": width,
            "in_origin": (base + (y * width + x) * x_stride) % (1 << ADDRESS_BITS), "y_stride": width * x_stride,
            "x_stride": x_stride, "slice_stride": slice_stride, "slices": slices, "words": words, "planes": planes,
            "signed": int(rng.integers(2)), "kernel_height": int(rng.integers(1, 16 if far else 5)),
            "kernel_width": int(rng.integers(1, 90 if far else 5)), "stride": int(rng.integers(1, 8)),
            "out_height": int(rng.integers(1, 7)), "out_width": int(rng.integers(1, 7)),
            "weight_base": int(rng.integers(1 << params.row_bits)), "tap_rows": words * params.word_bits if tap else 0,
        }  # fmt: skip
        reach = min(height, tile["kernel_height"]) * min(width, tile["kernel_width"]) * words
        if tile["out_height"] * tile["out_width"] * slices * reach <= WORDS:
            return tile


def random_banks(params: SpikeFetchParams, rng: np.random.Generator) -> np.ndarray:
    """Both banks, uint64 [2, rows, lanes], of any density."""
    mask = np.uint64((1 << params.word_bits) - 1)
    shape = (2, params.rows, params.lanes)
    words = rng.integers(0, 1 << 64, shape, np.uint64) & mask
    return words & rng.integers(0, 1 << 64, shape, np.uint64) if rng.integers(2) else words


def case_of(params, tiles: Sequence[dict[str, int]], banks: np.ndarray, stalls: Stalls, rng) -> Tiles:
    """These tiles with random pauses between them, and a random encoder."""
    count = len(tiles)
    setups = SETUP + rng.integers(0, 6, count)
    gaps = setups + 1 + stalls.gaps(rng, count)
    return Tiles(list(tiles), banks, gaps, setups, stalls.trace(rng))


def random_cases(params: SpikeFetchParams) -> Iterator[Tiles]:
    """Random runs without end, with all stall patterns in turn."""
    rng, patterns, index = np.random.default_rng(15), list(STALLS.values()), 0
    while True:
        tiles = [random_tile(params, rng) for _ in range(int(rng.integers(1, 60)))]
        yield case_of(params, tiles, random_banks(params, rng), patterns[index % len(patterns)], rng)
        index += 1


# ------------------------------------------------------------------------------ the run


def collect(params: SpikeFetchParams, source: str, cases: Iterable[Tiles], words: int | None = None) -> Result:
    """Run cases, up to so many words, and add up."""
    watch, sums = Stopwatch(fast), np.zeros(5)
    with watch.watching():
        for case in cases:
            sums += run_case(params, case)
            if words is not None and sums[0] >= words:
                break
    transactions, cycles, seconds, blocked, full = sums.tolist()
    counts = {"output_stalls": int(blocked), "full": int(full)}
    return Result(UNIT, name_of(params), source, int(transactions), int(cycles), seconds, watch.seconds, **counts)


def run(goal: Goal) -> Iterator[Result]:
    """The unit's mass run; a transaction is a word."""
    sets = goal.chosen(corners())
    for params in sets:
        yield collect(params, RANDOM, random_cases(params), goal.of(len(sets)))
    for params, some in recorded.cases("fetch", goal):
        made = (case_of(params, [each.fields], each.memory.spike_in, STALLS["bursts"], rng) for each, rng in some)
        yield collect(params, RECORDED, made)
