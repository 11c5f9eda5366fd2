"""Does the DMA engine's Verilog move the right bytes, in the cycles of the law, whatever DRAM's latencies are?

Expected cycles and contents come from the fast and the stepped model, before the Verilog runs; the cycle of each row's write from
the contract's words, beat by beat.
"""

from copy import deepcopy
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest

from archsim.contracts import dma as contract
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.sequencer import DECODE
from archsim.stepped import dma as stepped
from archsim.units import dma as fast
from archsim.units.sram import Memories
from rtl.build import simulation_ports, verilog
from rtl.memory_model import LATENCIES, LATENCY
from rtl.units.dma import TRANSFER, reciprocal, row_bits, row_write_layout
from tests.rtl import movers, replay
from tests.rtl.levels import component_library
from tests.rtl.movers import DRAM_BEATS, ROWS, DmaBench, columns_of, core_rows
from tests.rtl.slice_programs import chip_of, random_memory

SMALL_BANKS = {f"{name}_rows": ROWS for name in contract.MEMORIES}


def chip(name, bus, beats, outstanding, **sizes):
    dram = {"dram_bus_bytes": bus, "dram_burst_bytes": bus * beats, "dram_outstanding": outstanding}
    return chip_of(name, cores=3, **SMALL_BANKS | dram | sizes)


CHIPS = [
    chip("usual", 8, 4, 2, lanes=4, columns=16),
    chip("least", 1, 1, 1, columns=2, neurons=1, weight_bits=2, membrane_bits=8),
    chip("single_beats", 4, 1, 3, columns=16, membrane_bits=23),
    chip("odd", 3, 5, 5, lanes=2, columns=6, neurons=3, weight_bits=5, membrane_bits=9),
    chip("wide_rows", 32, 2, 64, lanes=2, columns=64, neurons=16, membrane_bits=24),
    chip("wide_bus", 16, 256, 4, columns=4, neurons=2),
]
"""A usual one; one beat of one byte a burst, one burst at a time; bursts of a beat; no power of two; many bursts under way and
rows of many beats; long bursts of beats longer than any row."""

TRANSFERS = 40


class Transfer(NamedTuple):
    """An instruction: its fields, whether it is a STORE, and which of the run's latencies its bursts take."""

    fields: dict[str, int]
    store: int
    first: int
    count: int


class Run(NamedTuple):
    """A run as it is expected: latencies, instructions, start and end of each, rows written (cycle, place), memories."""

    latencies: list[int]
    transfers: list[Transfer]
    times: list[tuple[int, int]]
    writes: list[tuple[int, dict[str, int]]]
    before: Memories
    after: Memories


def random_transfer(chip: ChipParams, rng) -> Transfer:
    """A transfer within DRAM and the banks; its rows may be shorter and longer than the banks'."""
    store = int(rng.random() < 0.4)
    memory = int(rng.choice(contract.STORED if store else contract.LOADED))
    size = -(-row_bits(chip)[contract.MEMORIES[memory]] // 8)
    row_bytes = int(rng.choice([size, size, rng.integers(1, size + 1), rng.integers(1, min(1023, 3 * size + 5) + 1)]))
    bus, row = chip.dram_bus_bytes, int(rng.integers(ROWS))
    beats = contract.row_beats(row_bytes, bus)
    skip = int(rng.choice([0, 0, rng.integers(ROWS)]))
    rows = int(rng.integers(1, min(-(-(ROWS - row) // (1 + skip)), DRAM_BEATS // beats) + 1))
    fields = {
        "dram_address": bus * int(rng.integers(DRAM_BEATS - rows * beats + 1)), "memory": memory, "row": row, "rows": rows,
        "cores": 1 << int(rng.integers(chip.cores)) if store else int(rng.integers(1, 1 << chip.cores)),
        "bank": int(rng.integers(2)), "row_bytes": row_bytes, "row_skip": skip,
    }  # fmt: skip
    first = int(rng.integers(LATENCIES))
    return Transfer(fields, store, first, int(rng.integers(1, LATENCIES - first + 1)))


def beat_cycles(chip: ChipParams, beats: int, latencies: list[int]) -> list[int]:
    """Cycle of each beat of a LOAD from its start.

    A burst is requested a cycle after the one before and after the end of the one ``outstanding`` before; its beats follow its
    latency and the beats before.
    """
    size, cycles, request = chip.dram_burst_bytes // chip.dram_bus_bytes, [], 0
    for first in range(0, beats, size):
        burst = first // size
        free = cycles[size * (burst - chip.dram_outstanding + 1) - 1] if burst >= chip.dram_outstanding else 0
        request = max(request, free) + 1
        at = max(request + latencies[burst % len(latencies)], cycles[-1] + 1 if cycles else 0)
        cycles += range(at, at + min(size, beats - first))
    return cycles


def expected_run(chip: ChipParams, seed: int, count: int = TRANSFERS) -> Run:
    """What the models say; they agree."""
    rng = np.random.default_rng(seed)
    before = Memories.empty(chip, rng.integers(0, 256, DRAM_BEATS * chip.dram_bus_bytes).astype(np.uint8))
    before.cores = [random_memory(chip, seed + core) for core in range(chip.cores)]
    after, other = deepcopy(before), deepcopy(before)
    latencies = np.concatenate([rng.integers(0, longest, LATENCIES // 4) for longest in (1, 4, 30, 300)]).tolist()
    transfers, times, writes, ready = [], [], [], DECODE
    for _ in range(count):
        transfer = random_transfer(chip, rng)
        fields, mine = transfer.fields, latencies[transfer.first :][: transfer.count]
        if transfer.store:
            cycles = fast.store(fields, chip, after)[0], stepped.store(fields, chip, other)
        else:
            cycles = fast.load(fields, chip, after, mine)[0], stepped.load(fields, chip, other, mine)
        assert cycles[0] == cycles[1]
        start = ready + int(rng.choice([0, 0, 1, 5]))
        if not transfer.store:
            row_beats = contract.row_beats(fields["row_bytes"], chip.dram_bus_bytes)
            ends = beat_cycles(chip, row_beats * fields["rows"], mine)[row_beats - 1 :: row_beats]
            place = {name: fields[name] for name in ("cores", "memory", "bank")}
            step = 1 + fields["row_skip"]
            writes += [(start + end + 1, place | {"row": fields["row"] + row * step}) for row, end in enumerate(ends)]
        times.append((start, start + cycles[0]))
        transfers.append(transfer)
        ready = start + cycles[0] + DECODE
    assert np.array_equal(after.dram, other.dram)
    assert np.array_equal(contents(chip, after), contents(chip, other))
    return Run(latencies, transfers, times, writes, before, after)


def contents(chip: ChipParams, memories: Memories) -> np.ndarray:
    """Bits of the banks of all cores, uint8 [core, rows, bits]."""
    return np.stack([core_rows(chip, core).reshape(16 * ROWS, -1) for core in memories.cores])


def beats_of(dram: np.ndarray) -> np.ndarray:
    """Bits of DRAM, uint8 [beats, bits]."""
    return np.unpackbits(dram.reshape(DRAM_BEATS, -1), axis=1, bitorder="little")


def stimulus(chip: ChipParams, ports, run: Run):
    """Inputs of a run, and its phases; the fields of an instruction stand from the end of the one before."""
    beat, index = np.arange(DRAM_BEATS), np.arange(LATENCIES)
    dram = columns_of((beat, (DRAM_BEATS - 1).bit_length()), (beats_of(run.before.dram), 0))
    latencies = columns_of((index, (LATENCIES - 1).bit_length()), (np.array(run.latencies), LATENCY))
    length = run.times[-1][1] + 50
    words = -(-TRANSFER.width // 64)
    inputs = {name: np.zeros(length, np.uint64) for name in ("store", "start", "first", "count")}
    inputs["transfer"] = np.zeros((length, words), np.uint64)
    ready = 0
    for transfer, (start, end) in zip(run.transfers, run.times, strict=True):
        stands = slice(ready, end + 1)
        word = TRANSFER.pack(transfer.fields).to_bytes(8 * words, "little")
        inputs["transfer"][stands] = np.frombuffer(word, np.uint64)
        inputs["start"][start] = 1
        for name in ("store", "first", "count"):
            inputs[name][stands] = getattr(transfer, name)
        ready = end + 1
    cycle = np.arange(max(DRAM_BEATS, 16 * ROWS) + 1)
    return replay.stimulus(ports, {
        "reset": {"rst": np.ones(2)}, "dram": {"rst": 1, "load__valid": 1, "load__payload": dram},
        "latencies": {"rst": 1, "latency__valid": 1, "latency__payload": latencies},
        "banks": {"rst": 1} | movers.preload(contents(chip, run.before)), "run": inputs,
        "dump": {"dump__row": cycle % DRAM_BEATS, "bank_dump__en": 1, "bank_dump__row": cycle % (16 * ROWS)},
    }, {})  # fmt: skip


def compare(chip: ChipParams, run: Run, out, parts) -> None:
    """Fail with the first difference: ends, rows written, banks, DRAM."""
    ends = np.flatnonzero(out["done"][parts["run"]]).tolist()
    for number, ((start, end), found) in enumerate(zip(run.times, ends, strict=False)):
        assert end == found, f"instruction {number} from {start}: end {end} expected, found {found}"
    assert len(ends) == len(run.times)
    layout, valid = row_write_layout(chip), np.flatnonzero(out["write__valid"][parts["run"]]).tolist()
    rows = movers.unpacked(layout, out["write__payload"][parts["run"]][valid])
    places = [{name: row[name] for name in layout.by_name if name != "data"} for row in rows]
    found = list(zip(valid, places, strict=True))
    assert found == run.writes
    depth, width = 16 * ROWS, max(row_bits(chip).values())
    dump = {name: out[name][parts["dump"]] for name in ("bank_dump__data", "dump__data")}
    rows = movers.dumped(dump["bank_dump__data"][1:], chip.cores, depth, width)
    wanted, mask = contents(chip, run.after), meaningful(chip)
    where = np.argwhere((rows != wanted) & mask)
    assert len(where) == 0, f"core, row, bit {where[0]}: {wanted[tuple(where[0])]} expected ({len(where)} differences)"
    beats = movers.dumped(dump["dump__data"], 1, DRAM_BEATS, 8 * chip.dram_bus_bytes)[0]
    where = np.argwhere(beats != beats_of(run.after.dram))
    assert len(where) == 0, f"beat, bit {where[0]} of DRAM differs ({len(where)} differences)"


def meaningful(chip: ChipParams) -> np.ndarray:
    """Which bits of a core's rows its memories have: bool [rows, bits]."""
    widths = row_bits(chip)
    mask = np.zeros((8, 2 * ROWS, max(widths.values())), bool)
    for number, name in enumerate(contract.MEMORIES):
        mask[number, : 2 * ROWS if number in contract.BANKED else ROWS, : widths[name]] = True
    return mask.reshape(16 * ROWS, -1)


@cache
def bench(chip: ChipParams, late: bool = False):
    """The bench's Verilator library."""
    return component_library("dma_bench", DmaBench(chip, late))


def run_on_verilator(chip: ChipParams, run: Run, late: bool = False):
    library = bench(chip, late)
    inputs, parts = stimulus(chip, list(library.inputs.items()), run)
    return replay.on_verilator(library, inputs), parts


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_random_transfers(chip, seed):
    run = expected_run(chip, seed)
    compare(chip, run, *run_on_verilator(chip, run))
    assert 0 < sum(transfer.store for transfer in run.transfers) < TRANSFERS


def test_a_late_beat_is_found():
    run = expected_run(CHIPS[0], 0)
    with pytest.raises(AssertionError, match=r"instruction 1 from 14: end 20 expected, found 21"):
        compare(CHIPS[0], run, *run_on_verilator(CHIPS[0], run, late=True))


@pytest.mark.parametrize("constant", ["LOAD_OVERHEAD", "STORE_OVERHEAD", ""])
def test_a_changed_constant_is_found(monkeypatch, constant):
    run = expected_run(CHIPS[0], 0)
    out, parts = run_on_verilator(CHIPS[0], run)
    if not constant:
        return compare(CHIPS[0], run, out, parts)
    transfer = next(transfer for transfer in run.transfers if transfer.store == int(constant == "STORE_OVERHEAD"))
    monkeypatch.setattr(contract, constant, getattr(contract, constant) + 1)
    changed = [
        (start, end + 1 if other.store == transfer.store else end)
        for other, (start, end) in zip(run.transfers, run.times, strict=True)
    ]
    with pytest.raises(AssertionError, match="expected, found"):
        compare(CHIPS[0], run._replace(times=changed), out, parts)


def test_a_changed_bit_is_found():
    run = expected_run(CHIPS[0], 1)
    out, parts = run_on_verilator(CHIPS[0], run)
    run.after.cores[1].weight[1, 3, 2] ^= 1
    with pytest.raises(AssertionError, match=r"core, row, bit \[ *1 +19 +16\]"):
        compare(CHIPS[0], run, out, parts)
    run.after.cores[1].weight[1, 3, 2] ^= 1
    run.after.dram[77] ^= 4
    with pytest.raises(AssertionError, match=r"beat, bit \[ *9 +42\]"):
        compare(CHIPS[0], run, out, parts)


@pytest.mark.parametrize("bus", [*range(1, 34), 100, 255, 256])
def test_beats_of_a_row_without_a_division(bus):
    factor, shift = reciprocal(bus, 1023)
    assert all((size + bus - 1) * factor >> shift == -(-size // bus) for size in range(1, 1024))


def test_icarus(tmp_path):
    small = CHIPS[3]
    run = expected_run(small, 7, count=6)
    component = DmaBench(small)
    path = tmp_path / "dma_bench.v"
    path.write_text(verilog(component, "dma_bench"))
    inputs, outputs = simulation_ports(component)
    driven, parts = stimulus(small, inputs, run)
    compare(small, run, replay.on_cocotb(path, "dma_bench", driven, tmp_path, outputs), parts)
