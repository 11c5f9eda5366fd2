"""Does the multicast engine's Verilog bring the right rows, as they are, transposed or masked, and end in the cycle of the law?

Expected cycles and contents come from the fast and the stepped model, before the Verilog runs.
"""

from copy import deepcopy
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest

from archsim.contracts import masker, transposer
from archsim.contracts import multicast as contract
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.sequencer import ATTENTION, COPIES, CORE0, DECODE, MASK, TRANSPOSE
from archsim.contracts.sequencer import COPY as COPY_OPCODE
from archsim.stepped import multicast as stepped
from archsim.units import multicast as fast
from archsim.units.sram import Memories
from rtl.build import simulation_ports, verilog
from rtl.units.multicast import COPY, WAYS, row_write_layout, ways
from tests.archsim import multicast_programs
from tests.rtl import movers, replay
from tests.rtl.levels import component_library
from tests.rtl.movers import ROWS, MulticastBench
from tests.rtl.rows import bits
from tests.rtl.slice_programs import chip_of

BANKS = {"spike_in_rows": ROWS, "spike_out_rows": ROWS, "attention_rows": ROWS}


def chip(name, cores, lanes, columns, neurons, **changes):
    return chip_of(name, cores=cores, lanes=lanes, columns=columns, neurons=neurons, **(BANKS | changes))


CHIPS = [
    chip("usual", 2, 4, 16, 4),
    chip("least", 1, 1, 2, 1),
    chip("odd", 3, 3, 5, 5),
    chip("word", 4, 1, 64, 16),
    chip("widest", 5, 16, 64, 64),
    chip("most_cores", 32, 2, 3, 1),
]
"""A usual one; the least; no power of two; rows of 64 and of 1024 bits; all the cores that a mask has."""

BOTH, DEEP = {"transposer": 1, "masker": 1}, dict.fromkeys(BANKS, 64)
COMPLETE = [
    chip("complete", 2, 4, 16, 4, **BOTH),
    chip("complete_least", 1, 1, 2, 1, **BOTH),
    chip("complete_odd", 3, 3, 5, 5, **BOTH),
    chip("transposer_word", 2, 2, 64, 16, transposer=1, **DEEP),
    chip("transposer", 2, 1, 7, 7, transposer=1),
    chip("masker", 2, 2, 12, 4, masker=1),
]
"""Likewise with transposers and masker, their blocks as deep as their words are wide; and with one of the two. (The masker of words
of 64 bits, which takes a minute to build, is in its own test.)"""

COUNT = 60


class Run(NamedTuple):
    """A run as it is expected: instructions, start and end of each, rows written (cycle, place), memories."""

    instructions: list[dict[str, int]]
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
        "base": target[0], "base_outer": target[1], "base_inner": target[2], "opcode": COPY_OPCODE,
    }  # fmt: skip


def random_instruction(chip: ChipParams, rng) -> dict[str, int]:
    """What the chip's multicast can do."""
    opcodes = [opcode for opcode in COPIES if {TRANSPOSE: chip.transposer, MASK: chip.masker}.get(opcode, 1)]
    opcode = int(rng.choice(opcodes)) if len(opcodes) > 1 else COPY_OPCODE
    if opcode == COPY_OPCODE:
        return random_copy(chip, rng)
    return multicast_programs.random_instruction(chip, rng, chip.spike_in_rows, opcode)


def write_times(chip: ChipParams, fields: dict[str, int]) -> list[int]:
    """Cycles in which rows are written, the first that a COPY could write being 0."""
    rows = fields["outer"] * fields["inner"]
    if fields["opcode"] == TRANSPOSE:  # the columns of a block behind its last row
        period = fields["inner"] + chip.columns
        return [o * period + fields["inner"] + j for o in range(fields["outer"]) for j in range(fields["turned"])]
    return [number + (fields["opcode"] == MASK) for number in range(rows)]


def expected_run(chip: ChipParams, seed: int, count: int = COUNT) -> Run:
    """What the models say; they agree."""
    rng = np.random.default_rng(seed)
    before = Memories.empty(chip, np.zeros(1, np.uint8))
    top = np.iinfo(np.uint64).max >> np.uint64(64 - chip.columns)
    for bank in (before.attention.spikes, before.attention.out, *(core.spike_out for core in before.cores)):
        bank[:] = rng.integers(0, top, bank.shape, np.uint64, endpoint=True)
    after, other = deepcopy(before), deepcopy(before)
    instructions, times, writes, ready = [], [], [], DECODE
    for _ in range(count):
        fields = random_instruction(chip, rng)
        cycles = fast.copy(fields, chip, after)[0]
        assert stepped.copy(fields, chip, other) == cycles
        start = ready + int(rng.choice([0, 0, 1, 5]))
        targets = [
            fields["base"] + outer * fields["base_outer"] + inner * fields["base_inner"]
            for outer in range(fields["outer"]) for inner in range(contract.written(fields))
        ]  # fmt: skip
        place = {name: fields[name] for name in ("cores", "bank")}
        cycle = write_times(chip, fields)
        writes += [(start + contract.OVERHEAD + at, place | {"row": row}) for at, row in zip(cycle, targets, strict=True)]
        times.append((start, start + cycles))
        instructions.append(fields)
        ready = start + cycles + DECODE
    assert np.array_equal(contents(chip, after), contents(chip, other))
    return Run(instructions, times, writes, before, after)


def contents(chip: ChipParams, memories: Memories) -> np.ndarray:
    """Bits of the attention unit's banks and of those of all cores, uint8 [engine, rows, bits]: two output, four input banks."""
    whole = np.zeros((chip.cores + 1, 8, chip.spike_in_rows, chip.columns * chip.lanes), np.uint8)
    engines = [(memories.attention.out, memories.attention.spikes)]
    for number, (out, spikes) in enumerate(engines + [(core.spike_out, core.spike_in) for core in memories.cores]):
        whole[number, :2], whole[number, 4 : 4 + len(spikes)] = bits(out, chip.columns), bits(spikes, chip.columns)
    return whole.reshape(chip.cores + 1, 8 * chip.spike_in_rows, -1)


def stimulus(chip: ChipParams, ports, run: Run):
    """Inputs of a run, and its phases; the fields of an instruction stand from its start to its end, and any others before."""
    length, rows = run.times[-1][1] + 50, 8 * chip.spike_in_rows
    inputs = {"start": np.zeros(length, np.uint64)}
    inputs["start"][[start for start, _ in run.times]] = 1
    inputs["copy"] = standing(COPY, length, run, lambda fields: fields)
    for name in ways(chip):
        opcode, _, layout = WAYS[name]
        inputs[name] = standing(layout, length, run, lambda fields, own=opcode: fields | {"active": int(fields["opcode"] == own)})
    return replay.stimulus(ports, {
        "reset": {"rst": np.ones(2)}, "banks": {"rst": 1} | movers.preload(contents(chip, run.before)), "run": inputs,
        "dump": {"bank_dump__en": 1, "bank_dump__row": np.arange(rows + 1) % rows},
    }, {})  # fmt: skip


def standing(layout, length: int, run: Run, values) -> np.ndarray:
    """A port's words by cycle: the fields of ``values`` while an instruction runs."""
    words = -(-layout.width // 64)
    port = np.full((length, words), 0x5555555555555555, np.uint64)
    port[:, -1] &= np.uint64((1 << (layout.width - 64 * (words - 1))) - 1)
    for fields, (start, end) in zip(run.instructions, run.times, strict=True):
        given = values(fields)
        word = layout.pack({name: given.get(name, 0) for name in layout.by_name}).to_bytes(8 * words, "little")
        port[start : end + 1] = np.frombuffer(word, np.uint64)
    return port[:, 0] if words == 1 else port


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
    rows = movers.dumped(dump, chip.cores + 1, 8 * chip.spike_in_rows, chip.columns * chip.lanes)
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


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("chip", COMPLETE, ids=lambda chip: chip.name)
def test_random_instructions(chip, seed):
    run = expected_run(chip, seed)
    compare(chip, run, *run_on_verilator(chip, run))
    own = {fields["opcode"] for fields in run.instructions}
    assert own == {COPY_OPCODE} | {opcode for opcode, there in ((TRANSPOSE, chip.transposer), (MASK, chip.masker)) if there}


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
    return run._replace(instructions=[fields], times=[(DECODE, end)])


@pytest.mark.parametrize(("opcode", "unit"), [(TRANSPOSE, transposer), (MASK, masker)])
def test_a_changed_constant_of_a_unit_is_found(opcode, unit, monkeypatch):
    """The laws of TRANSPOSE and MASK hang on those of transposer and masker."""
    small = COMPLETE[0]
    fields = multicast_programs.random_instruction(small, np.random.default_rng(1), ROWS, opcode)
    run = expected_run(small, 0, count=0)
    for late in (0, 1):
        monkeypatch.setattr(unit, "LATENCY", unit.LATENCY + late)
        one = run._replace(instructions=[fields], times=[(DECODE, DECODE + contract.duration(fields, small))])
        if not late:
            out, parts = run_on_verilator(small, one)
            assert np.flatnonzero(out["done"][parts["run"]]).tolist() == [one.times[0][1]]
            continue
        with pytest.raises(AssertionError, match="instruction 0 from 3: end"):
            compare(small, one, *run_on_verilator(small, one))


@pytest.mark.parametrize(("small", "count"), [(CHIPS[2], 6), (COMPLETE[2], 9)], ids=["copies", "all"])
def test_icarus(tmp_path, small, count):
    run = expected_run(small, 7, count)
    assert {fields["opcode"] for fields in run.instructions} == ({COPY_OPCODE} if small in CHIPS else set(COPIES))
    component = MulticastBench(small)
    path = tmp_path / "multicast_bench.v"
    path.write_text(verilog(component, "multicast_bench"))
    inputs, outputs = simulation_ports(component)
    driven, parts = stimulus(small, inputs, run)
    compare(small, run, replay.on_cocotb(path, "multicast_bench", driven, tmp_path, outputs), parts)
