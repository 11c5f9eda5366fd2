"""Does the multicast engine's Verilog copy the right rows, one a cycle, and end in the cycle of the law?

Expected cycles and contents come from the fast and the stepped model, before the Verilog runs.
"""

from copy import deepcopy
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest

from archsim.contracts import multicast as contract
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.sequencer import ATTENTION, CORE0, DECODE
from archsim.stepped import multicast as stepped
from archsim.units import multicast as fast
from archsim.units.sram import Memories
from rtl.build import simulation_ports, verilog
from rtl.units.multicast import COPY, row_write_layout
from tests.rtl import movers, replay
from tests.rtl.levels import component_library
from tests.rtl.movers import ROWS, MulticastBench
from tests.rtl.rows import bits
from tests.rtl.slice_programs import chip_of

BANKS = {"spike_in_rows": ROWS, "spike_out_rows": ROWS, "attention_rows": ROWS}


def chip(name, cores, lanes, columns, neurons):
    return chip_of(name, cores=cores, lanes=lanes, columns=columns, neurons=neurons, **BANKS)


CHIPS = [
    chip("usual", 2, 4, 16, 4),
    chip("least", 1, 1, 2, 1),
    chip("odd", 3, 3, 5, 5),
    chip("word", 4, 1, 64, 16),
    chip("widest", 5, 16, 64, 64),
    chip("most_cores", 32, 2, 3, 1),
]
"""A usual one; the least; no power of two; rows of 64 and of 1024 bits; all the cores that a mask has."""

COPIES = 60


class Run(NamedTuple):
    """A run as it is expected: instructions, start and end of each, rows written (cycle, place), memories."""

    copies: list[dict[str, int]]
    times: list[tuple[int, int]]
    writes: list[tuple[int, dict[str, int]]]
    before: Memories
    after: Memories


def loops(rng) -> tuple[int, int]:
    """Rows of the two loops: many of one, or of both."""
    outer, inner = rng.integers(1, ROWS + 1), rng.integers(1, ROWS + 1)
    return (int(outer), int(inner)) if rng.random() < 0.5 else (int(rng.integers(1, 5)), int(rng.integers(1, 5)))


def walk(rng, outer: int, inner: int) -> tuple[int, int, int]:
    """Base and strides whose rows exist; a stride may be 0."""
    while True:
        base, *strides = rng.integers(0, ROWS, 3).tolist()
        strides = [stride * int(rng.random() < 0.7) for stride in strides]
        if base + (outer - 1) * strides[0] + (inner - 1) * strides[1] < ROWS:
            return base, *strides


def random_copy(chip: ChipParams, rng) -> dict[str, int]:
    """A COPY from any engine to the cores of a mask, or to the attention unit."""
    outer, inner = loops(rng)
    source, target = walk(rng, outer, inner), walk(rng, outer, inner)
    cores = int(rng.integers(1, 1 << chip.cores)) if rng.random() < 0.7 else 0
    return {
        "source": int(rng.choice([ATTENTION, *range(CORE0, CORE0 + chip.cores)])), "source_bank": int(rng.integers(2)),
        "source_base": source[0], "source_outer": source[1], "source_inner": source[2], "outer": outer, "inner": inner,
        "cores": cores, "bank": int(rng.integers(2 if cores else 4)),
        "base": target[0], "base_outer": target[1], "base_inner": target[2],
    }  # fmt: skip


def expected_run(chip: ChipParams, seed: int, count: int = COPIES) -> Run:
    """What the models say; they agree."""
    rng = np.random.default_rng(seed)
    before = Memories.empty(chip, np.zeros(1, np.uint8))
    top = np.iinfo(np.uint64).max >> np.uint64(64 - chip.columns)
    for bank in (before.attention.spikes, before.attention.out, *(core.spike_out for core in before.cores)):
        bank[:] = rng.integers(0, top, bank.shape, np.uint64, endpoint=True)
    after, other = deepcopy(before), deepcopy(before)
    copies, times, writes, ready = [], [], [], DECODE
    for _ in range(count):
        fields = random_copy(chip, rng)
        cycles = fast.copy(fields, chip, after)[0]
        assert stepped.copy(fields, chip, other) == cycles
        start = ready + int(rng.choice([0, 0, 1, 5]))
        targets = [
            fields["base"] + outer * fields["base_outer"] + inner * fields["base_inner"]
            for outer in range(fields["outer"]) for inner in range(fields["inner"])
        ]  # fmt: skip
        place = {name: fields[name] for name in ("cores", "bank")}
        writes += [(start + contract.OVERHEAD + number, place | {"row": row}) for number, row in enumerate(targets)]
        times.append((start, start + cycles))
        copies.append(fields)
        ready = start + cycles + DECODE
    assert np.array_equal(contents(chip, after), contents(chip, other))
    return Run(copies, times, writes, before, after)


def contents(chip: ChipParams, memories: Memories) -> np.ndarray:
    """Bits of the attention unit's banks and of those of all cores, uint8 [engine, rows, bits]: two output, four input banks."""
    whole = np.zeros((chip.cores + 1, 8, ROWS, chip.columns * chip.lanes), np.uint8)
    engines = [(memories.attention.out, memories.attention.spikes)]
    for number, (out, spikes) in enumerate(engines + [(core.spike_out, core.spike_in) for core in memories.cores]):
        whole[number, :2], whole[number, 4 : 4 + len(spikes)] = bits(out, chip.columns), bits(spikes, chip.columns)
    return whole.reshape(chip.cores + 1, 8 * ROWS, -1)


def stimulus(chip: ChipParams, ports, run: Run):
    """Inputs of a run, and its phases; the fields of an instruction stand from its start to its end, and any others before."""
    length, words = run.times[-1][1] + 50, -(-COPY.width // 64)
    inputs = {"start": np.zeros(length, np.uint64), "copy": np.full((length, words), 0x5555555555555555, np.uint64)}
    inputs["copy"][:, -1] &= (1 << (COPY.width - 64 * (words - 1))) - 1
    for fields, (start, end) in zip(run.copies, run.times, strict=True):
        word = COPY.pack(fields).to_bytes(8 * words, "little")
        inputs["copy"][start : end + 1] = np.frombuffer(word, np.uint64)
        inputs["start"][start] = 1
    return replay.stimulus(ports, {
        "reset": {"rst": np.ones(2)}, "banks": {"rst": 1} | movers.preload(contents(chip, run.before)), "run": inputs,
        "dump": {"bank_dump__en": 1, "bank_dump__row": np.arange(8 * ROWS + 1) % (8 * ROWS)},
    }, {})  # fmt: skip


def compare(chip: ChipParams, run: Run, out, parts) -> None:
    """Fail with the first difference: ends, rows written, banks."""
    ends = np.flatnonzero(out["done"][parts["run"]]).tolist()
    for number, ((start, end), found) in enumerate(zip(run.times, ends, strict=False)):
        assert end == found, f"instruction {number} from {start}: end {end} expected, found {found}"
    assert len(ends) == len(run.times)
    layout, valid = row_write_layout(chip), np.flatnonzero(out["write__valid"][parts["run"]]).tolist()
    rows = movers.unpacked(layout, out["write__payload"][parts["run"]][valid])
    places = [{name: row[name] for name in layout.by_name if name != "data"} for row in rows]
    assert list(zip(valid, places, strict=True)) == run.writes
    dump = out["bank_dump__data"][parts["dump"]][1:]
    rows = movers.dumped(dump, chip.cores + 1, 8 * ROWS, chip.columns * chip.lanes)
    where = np.argwhere(rows != contents(chip, run.after))
    assert len(where) == 0, f"engine, row, bit {where[0]} differs ({len(where)} differences)"


@cache
def bench(chip: ChipParams, late: bool = False):
    """The bench's Verilator library."""
    return component_library("multicast_bench", MulticastBench(chip, late))


def run_on_verilator(chip: ChipParams, run: Run, late: bool = False):
    library = bench(chip, late)
    inputs, parts = stimulus(chip, list(library.inputs.items()), run)
    return replay.on_verilator(library, inputs), parts


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_random_copies(chip, seed):
    run = expected_run(chip, seed)
    compare(chip, run, *run_on_verilator(chip, run))
    assert not np.array_equal(contents(chip, run.before), contents(chip, run.after))


def test_a_late_row_is_found():
    run = expected_run(CHIPS[0], 0)
    with pytest.raises(AssertionError, match="engine, row, bit"):
        compare(CHIPS[0], run, *run_on_verilator(CHIPS[0], run, late=True))


def test_a_changed_constant_is_found(monkeypatch):
    monkeypatch.setattr(contract, "OVERHEAD", contract.OVERHEAD + 1)
    run = expected_run_by_law(CHIPS[0], 0)
    with pytest.raises(AssertionError, match="instruction 0 from 3: end"):
        compare(CHIPS[0], run, *run_on_verilator(CHIPS[0], run))


def expected_run_by_law(chip: ChipParams, seed: int) -> Run:
    """One COPY, its end by the law alone."""
    run = expected_run(chip, seed, count=0)
    fields = random_copy(chip, np.random.default_rng(seed))
    end = DECODE + contract.cycles(fields["outer"] * fields["inner"])
    return run._replace(copies=[fields], times=[(DECODE, end)])


def test_icarus(tmp_path):
    small = CHIPS[2]
    run = expected_run(small, 7, count=6)
    component = MulticastBench(small)
    path = tmp_path / "multicast_bench.v"
    path.write_text(verilog(component, "multicast_bench"))
    inputs, outputs = simulation_ports(component)
    driven, parts = stimulus(small, inputs, run)
    compare(small, run, replay.on_cocotb(path, "multicast_bench", driven, tmp_path, outputs), parts)
