"""Does the multicast, stepped and by its laws, bring every row to its place, as it is, transposed or masked?"""

from copy import deepcopy

import numpy as np
import pytest

from archsim.contracts import masker, sequencer, transposer
from archsim.contracts import multicast as contract
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.sequencer import ATTENTION, COPY, CORE0, MASK, TRANSPOSE
from archsim.ownership import prove
from archsim.results import COUNT
from archsim.stepped import multicast as stepped
from archsim.units import multicast as fast
from tests.archsim import multicast_programs as programs
from tests.rtl.slice_programs import chip_of

ROWS = 96


def chip(name, cores, lanes, columns, neurons):
    banks = {"spike_in_rows": ROWS, "spike_out_rows": ROWS, "attention_rows": ROWS}
    return chip_of(name, cores=cores, lanes=lanes, columns=columns, neurons=neurons, transposer=1, masker=1, **banks)


CHIPS = [chip("usual", 2, 4, 16, 4), chip("least", 1, 1, 2, 1), chip("odd", 3, 3, 5, 5), chip("widest", 2, 16, 64, 16)]
"""A usual one; the least; no power of two; words of 64 bits in 16 lanes."""

ODD = CHIPS[2]
PLAIN = {
    "source": CORE0, "source_bank": 0, "source_base": 0, "source_outer": 0, "source_inner": 1, "outer": 1, "inner": 1,
    "cores": 1, "bank": 0, "base": 0, "base_outer": 0, "base_inner": 1,
}  # fmt: skip


def transpose(**fields):
    return PLAIN | {"opcode": TRANSPOSE, "turned": 1} | fields


def mask(**fields):
    return PLAIN | {"opcode": MASK, "seed": 0, "keep": 256} | fields


# ------------------------------------------------------------------------------ by hand


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        # A row is read in 1, held in 2, written in 3; the next a cycle behind. The last is written in 8; done in 9.
        (PLAIN | {"opcode": COPY, "outer": 2, "inner": 3}, 9),
        # As COPY, and a row lies in the masker in 3: the last is written in 9.
        (mask(outer=2, inner=3), 10),
        # Rows read in 1 and 2 come to the transposer in 2 and 3, its five columns leave in 4..8; the last would be written in 9.
        (transpose(inner=2, turned=5), 10),
        # It leaves although nobody writes it.
        (transpose(inner=2, turned=1), 10),
        # The next block is read in 8, when the last column leaves: 9, 10 in, 11..15 out.
        (transpose(outer=2, inner=2), 17),
        (transpose(outer=3, inner=5, turned=5), 33),
    ],
)
def test_cycles_by_hand(fields, end):
    memories = programs.random_memories(ODD, np.random.default_rng(1))
    assert stepped.copy(fields, ODD, deepcopy(memories)) == end
    assert fast.copy(fields, ODD, deepcopy(memories))[0] == end


@pytest.mark.parametrize("model", [stepped, fast], ids=["stepped", "fast"])
def test_a_block_by_hand(model):
    """Rows 0, 2, 4 of lane 0 and 2 become columns 0..3; the second block reads rows 1, 3, 5 and lies ten rows on."""
    memories = programs.random_memories(ODD, np.random.default_rng(1))
    source, target = memories.cores[0].spike_out[0], memories.cores[2].spike_in[1]
    source[[0, 2, 4], 0], source[[1, 3, 5], 2] = [0b00001, 0b10011, 0b01010], [0b00100, 0b00100, 0b01000]
    target[:] = 0b11111
    fields = transpose(
        source_inner=2, source_outer=1, outer=2, inner=3, turned=4, cores=0b100, bank=1, base=20, base_outer=10, base_inner=2
    )
    model.copy(fields, ODD, memories)
    assert target[[20, 22, 24, 26, 28], 0].tolist() == [0b011, 0b110, 0b000, 0b100, 0b11111]
    assert target[[30, 32, 34, 36], 2].tolist() == [0b000, 0b000, 0b011, 0b100]


@pytest.mark.parametrize("model", [stepped, fast], ids=["stepped", "fast"])
def test_a_mask_begins_anew_with_every_instruction(model):
    """All of 256 stay, none, and twice the same mask of the same seed; the rows of an instruction have different ones."""
    memories = programs.random_memories(ODD, np.random.default_rng(1))
    memories.cores[0].spike_out[0] = 0b11111
    found = []
    for seed, keep in ((7, 256), (7, 0), (7, 128), (7, 128), (8, 128)):
        model.copy(mask(outer=3, inner=4, base_outer=4, seed=seed, keep=keep), ODD, memories)
        found.append(memories.cores[0].spike_in[0, :12].tolist())
    assert found[0] == [[0b11111] * 3] * 12 and found[1] == [[0] * 3] * 12
    assert found[2] == found[3] != found[4]
    assert len(set(map(tuple, found[2]))) > 8


# ------------------------------------------------------------------------------ random instructions


@pytest.mark.parametrize("opcode", [COPY, TRANSPOSE, MASK], ids=lambda opcode: sequencer.OPCODES[opcode])
@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_random_instructions(chip, opcode):
    """Stepped, fast and the references of transposer and masker agree on every row and cycle, ends of the ranges included."""
    rng = np.random.default_rng(opcode)
    memories = programs.random_memories(chip, rng)
    seen = []
    for _ in range(30 if chip.lanes * chip.columns > 500 else 60):
        fields = programs.instruction_of(programs.random_instruction(chip, rng, ROWS, opcode))
        expected, other = programs.moved(fields, chip, memories), deepcopy(memories)
        cycles, counts = fast.copy(fields, chip, memories)
        assert stepped.copy(fields, chip, other) == cycles == contract.duration(fields, chip)
        assert programs.same(memories, expected) and programs.same(other, expected)
        check_counters(fields, chip, counts)
        seen.append(fields)
    if opcode == TRANSPOSE:
        for name in ("inner", "turned"):
            assert {1, chip.columns} <= {fields[name] for fields in seen}
        assert any(fields["base_inner"] == 0 and fields["turned"] > 1 for fields in seen)
    if opcode == MASK:
        assert {0, 256} < {fields["keep"] for fields in seen} and set(programs.SEEDS) < {fields["seed"] for fields in seen}


def check_counters(fields, chip, counts):
    """Rows read, rows written to all destinations, words of the units; nothing else."""
    rows, targets = fields["outer"] * fields["inner"], max(1, fields["cores"].bit_count())
    expected = np.zeros_like(counts)
    expected[COUNT.copied_rows], expected[COUNT.copied_row_writes] = rows, rows * targets
    if fields["opcode"] == TRANSPOSE:
        expected[COUNT.copied_row_writes] = fields["outer"] * fields["turned"] * targets
        expected[COUNT.transposed] = fields["outer"] * chip.columns * chip.lanes
    if fields["opcode"] == MASK:
        expected[COUNT.masked] = rows * chip.lanes
    assert counts.tolist() == expected.tolist()


# ------------------------------------------------------------------------------ laws and refusals


def test_laws_are_those_of_the_units(monkeypatch):
    assert [contract.cycles(rows) for rows in (1, 10)] == [4, 13]
    assert [contract.mask_cycles(rows) for rows in (1, 10)] == [5, 14]
    assert [contract.transpose_cycles(*sizes) for sizes in ((1, 1, 2), (4, 3, 16), (2, 64, 64))] == [6, 79, 259]
    monkeypatch.setattr(masker, "LATENCY", 3)
    assert contract.mask_cycles(10) == 16
    monkeypatch.setattr(transposer, "TURN", 2)
    assert contract.transpose_cycles(4, 3, 16) == 83


def test_fields_of_the_chip():
    assert contract.transposer_of(ODD) == transposer.TransposerParams(5)
    assert contract.masker_of(ODD) == masker.MaskerParams(3, 5)


REFUSED = {
    "no transposer": (ODD.replace(transposer=0), transpose(), "TRANSPOSE needs a chip with a transposer, given chip 'odd'"),
    "no masker": (ODD.replace(masker=0), mask(), "MASK needs a chip with a masker, given chip 'odd'"),
    "too many rows": (ODD, transpose(inner=6), r"inner of TRANSPOSE must be in 1\.\.5 .columns of chip 'odd'., given 6"),
    "too many columns": (ODD, transpose(turned=6), r"turned of TRANSPOSE must be in 1\.\.5 .*, given 6"),
    "no column": (ODD, transpose(turned=0), r"turned of TRANSPOSE must be in 1\.\.5 .*, given 0"),
    "keep": (ODD, mask(keep=257), r"keep must be in 0\.\.256 .of 256 spikes., given 257"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_proof_and_stepped_model(name):
    chip, fields, message = REFUSED[name]
    head = programs.instruction_of(fields)
    with pytest.raises(ArchsimError, match=message):
        prove(chip, {sequencer.MULTICAST: [head]}, 0)
    with pytest.raises(ArchsimError, match=message):
        stepped.copy(head, chip, programs.random_memories(chip, np.random.default_rng(1)))


def test_the_ends_of_the_ranges_are_not_refused():
    heads = [transpose(inner=5, turned=5), transpose(), mask(keep=0), mask(keep=256)]
    prove(ODD, {sequencer.MULTICAST: [programs.instruction_of(head) for head in heads]}, 0)


@pytest.mark.parametrize(
    ("fields", "memory"),
    [
        ({"source_base": ROWS - 4}, "spike_out"), ({"base": ROWS - 2}, "spike_in"),
        ({"base": ROWS - 2, "cores": 0}, "attention"), ({"source_base": ROWS - 4, "source": ATTENTION}, "attention"),
    ],
)  # fmt: skip
def test_rows_of_a_block_and_its_columns_must_exist(fields, memory):
    """A block of 5 rows gives 3 columns: it ends 4 rows behind its first, they end 2 behind theirs."""
    chip = ODD.replace(attention_rows=ROWS)
    for step in (0, 1):
        beyond = {name: value - 1 + step if "base" in name else value for name, value in fields.items()}
        queues = {sequencer.MULTICAST: [programs.instruction_of(transpose(inner=5, turned=3) | beyond)]}
        if step == 0:
            prove(chip, queues, 0)
            continue
        with pytest.raises(ArchsimError, match=f"TRANSPOSE. reaches row {ROWS} of {memory}"):
            prove(chip, queues, 0)
