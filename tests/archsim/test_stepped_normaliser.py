"""Does the normaliser, stepped and by its law, make of every token what the contract says, in the same cycles?"""

from copy import deepcopy

import numpy as np
import pytest

from archsim.accounting import account
from archsim.contracts import dma, sequencer, vector
from archsim.contracts import normaliser as contract
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.ownership import banks
from archsim.contracts.normaliser import TABLE_BANK, NormaliserParams
from archsim.contracts.sequencer import CORE0, DMA, LOAD, NORMALISE, NORMALISER, WEIGH, layout
from archsim.kernel import Simulation, decode
from archsim.ownership import check_intervals, prove
from archsim.report.timeline import timeline
from archsim.results import COUNT, NOT_WAITING, WAIT_DMA, WAIT_EXPERTS, WAIT_NORMALISER, ImageRun, RunResult
from archsim.stepped import normaliser as stepped
from archsim.stepped import sequencer as stepped_sequencer
from archsim.summary import summarise
from archsim.tensors import Capture
from archsim.units import normaliser as fast
from archsim.units.sram import Memories
from tests.archsim import normaliser_program as by_hand
from tests.archsim.contents import same_bits
from tests.archsim.normaliser_programs import CHIPS, Step, chip_of, expected, filled, random_program

CHIP = chip_of("normaliser", 2, 4, 2, 16, 16, 4)


def fields(opcode, values):
    """All fields of an instruction, those that are not given 0."""
    return layout(opcode).unpack(0) | {"opcode": opcode} | values


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_random_programs(chip, seed):
    rng = np.random.default_rng(seed)
    law = filled(chip, rng)
    model, plain = deepcopy(law), deepcopy(law)
    for step in random_program(chip, rng):
        values = fields(*step)
        cycles, counts = fast.run(values, chip, law)
        assert (cycles, counts[COUNT.changed_elements]) == stepped.counted(values, chip, model), step
        expected(step, chip, plain)
        same_bits(law, plain)
        same_bits(model, plain)


NORM = {
    "tokens": 1, "steps": 1, "words": 1, "blocks": 2, "last_blocks": 2, "elements": 4, "digits": 31, "reciprocal_shift": 10,
    "scale_shift": 3,
}  # fmt: skip
"""A token of two rows of two."""


def both(opcode, values, memories):
    """Cycles and counters by the law; the stepped model must agree."""
    other, given = deepcopy(memories), fields(opcode, values)
    cycles, counts = fast.run(given, CHIP, memories)
    assert stepped.counted(given, CHIP, other) == (cycles, counts[COUNT.changed_elements])
    same_bits(memories, other)
    return cycles, {name: int(counts[number]) for name, number in COUNT._asdict().items() if counts[number]}


def test_normalise_by_hand():
    """Distances -6, -2, 2, 6 (times 4); squares 576 + 64 + 64 + 576 = 1280, root 35, reciprocal 1024 / 35 = 29."""
    memories = Memories.empty(CHIP, np.zeros(1, np.uint8))
    memories.cores[0].residual[:2] = [[7, 11], [15, 19]]
    cycles, counts = both(NORMALISE, NORM, memories)
    assert memories.cores[0].residual[:2].tolist() == [[-24 * 29 >> 3, -8 * 29 >> 3], [8 * 29 >> 3, 24 * 29 >> 3]]
    # Digits: 1 = +1; 4 = +4, and the total; -24 = -32 + 8 and -8, so places 5 and 3; 8 and 24 likewise; 29 = 32 - 4 + 1.
    # Rows: a cycle for decoding, one for the finish, and those of their work: (1, 1), (2, 2), (2, 2), 15 of 31 bits, 11, (3, 3).
    work = [2 * (2 + 1), 2 * (2 + 2), 2 * (2 + 2), 2 + 15, 2 + 11, 2 * (2 + 3)]
    assert cycles == 2 + sum(work) + 5 * 3 + 2
    assert counts == {
        "residual_reads": 8, "residual_writes": 4, "vector_rows": 10, "vector_additions": 2 + 4 + 4 + 6, "vector_steps": 26,
        "changed_elements": 16,  # no two rows in turn have an element in common, the last one of a phase and the first one either
    }  # fmt: skip


def test_no_variance_gives_0_whatever_the_shifts():
    memories = Memories.empty(CHIP, np.zeros(1, np.uint8))
    for value, changes in ((0, {}), (-77, {}), (32767, {"scale_shift": 0, "reciprocal_shift": 60})):
        memories.cores[0].residual[:2] = value
        both(NORMALISE, NORM | changes, memories)
        assert not memories.cores[0].residual.any()
    # A variance of which the shift leaves nothing: distances of 1 and -1 become 0 and -1, whose root would be 0.
    memories.cores[0].residual[:2] = [[1, -1], [1, -1]]
    both(NORMALISE, NORM | {"center_shift": 3, "square_shift": 2}, memories)
    assert not memories.cores[0].residual.any()


def test_elements_that_stay_are_not_counted():
    """SUM and CENTER read 1 1, 1 3, 1 1, 1 3; SQUARE and SCALE -2 -2, -2 6, -2 -2, -2 6."""
    memories = Memories.empty(CHIP, np.zeros(1, np.uint8))
    memories.cores[0].residual[:2] = [[1, 1], [1, 3]]
    _, counts = both(NORMALISE, NORM | {"center_shift": 0}, memories)
    assert counts["changed_elements"] == 2 + 1 + 1 + 1 + 2 + 1 + 1 + 1
    _, _, counts = weighed([[3, 5], [3, 5]], [[3, 0], [3, 0]], list(range(16)))
    assert counts["changed_elements"] == 2 + 1  # rows of scores all alike; of the result the first element is the scores' too


def test_normalise_is_a_layer_norm():
    """64 channels of 24 bits: within the rounding of 12 bits of the root and of the reciprocal."""
    chip, rng = chip_of("normaliser_long", 1, 16, 16, 24, 24, 4), np.random.default_rng(1)
    memories = Memories.empty(chip, np.zeros(1, np.uint8))
    x = rng.integers(-30000, 30000, (4, 16))
    memories.cores[0].residual[:4] = x
    shifts = {"square_shift": 23, "reciprocal_shift": 34, "scale_shift": 22}
    values = {"words": 4, "word_rows": 1, "blocks": 1, "last_blocks": 1, "elements": 64} | shifts
    fast.run(fields(NORMALISE, NORM | values), chip, memories)
    found = memories.cores[0].residual[:4] / (2 ** (34 - 22 + 23 / 2) / 8)
    assert np.abs(found - (x - x.mean()) / x.std()).max() < 1e-3


def test_a_token_of_the_published_norm():
    """768 channels in rows of 16, random membranes of deviation 300, factors of 16 bits: 1,607 cycles, and right to 3e-4."""
    chip, rng = chip_of("normaliser_published", 1, 64, 16, 24, 16, 8), np.random.default_rng(0)
    memories = Memories.empty(chip, np.zeros(1, np.uint8))
    x = np.round(rng.normal(0, 300, (48, 16)))
    memories.cores[0].residual[:48] = x
    shifts = {"center_shift": 5, "square_shift": 8, "reciprocal_shift": 28, "scale_shift": 12}
    values = {"words": 12, "word_rows": 4, "blocks": 4, "last_blocks": 4, "elements": 768} | shifts
    cycles, _ = fast.run(fields(NORMALISE, NORM | values), chip, memories)
    found = memories.cores[0].residual[:48] / (2 ** (28 - 12 + 8 / 2) / 768**0.5)
    assert np.abs(found - (x - x.mean()) / x.std()).max() < 3e-4
    assert cycles == 1607


WEIGHT = {
    "tokens": 1, "experts": 3, "blocks": 2, "rows": 2, "score_base": 4, "digits": 31, "reciprocal_shift": 12, "scale_shift": 4,
    "offset": 7,
}  # fmt: skip


def weighed(scores, result, table, **changes):
    """A WEIGH of one token: its rows, cycles and counters."""
    memories = Memories.empty(CHIP, np.zeros(1, np.uint8))
    memories.cores[0].residual[4:6] = scores
    memories.cores[0].psum[:2] = result
    memories.normaliser.table[:] = table
    found = both(WEIGH, WEIGHT | changes, memories)
    return (memories.cores[0].psum[:2].tolist(), *found)


def test_weigh_by_hand():
    """Scores 5, 3, 1: arguments 7, 5, 3, whose entries are 8, 4 and 2; 4096 / 14 = 292."""
    table = [0] * 11 + [2, 0, 4, 0, 8]
    rows, cycles, counts = weighed([[3, 5], [1, 99]], [[100, -100], [0, 1]], table)
    assert rows == [[100 * 292 >> 4, -100 * 292 >> 4], [0, 292 >> 4]]
    # The element behind the last expert (99) is neither the greatest nor in the total. 292 = 256 + 32 + 4: three digits.
    # Two rows compared and a cycle; two looked up; 13 bits of a quotient; two scaled.
    assert cycles == 2 + (2 + 1) + (2 * 2 + 3) + (2 + 13 + 3) + 2 * (2 + 3) + 2
    assert counts == {
        "residual_reads": 4, "psum_reads": 2, "psum_writes": 2, "compared_rows": 2, "exponential_reads": 2, "vector_rows": 5,
        "vector_additions": 6, "vector_steps": 13, "changed_elements": 3 * 4,
    }  # fmt: skip


def test_weigh_with_two_digits():
    """292 becomes 256 + 32."""
    rows, *_ = weighed([[3, 5], [1, 0]], [[100, -100], [0, 1]], [0] * 11 + [2, 0, 4, 0, 8], digits=2)
    assert rows == [[100 * 288 >> 4, -100 * 288 >> 4], [0, 288 >> 4]]


def test_a_dropped_token_stays_0():
    rows, *_ = weighed([[3, 5], [1, 0]], [[0, 0], [0, 0]], list(range(16)))
    assert rows == [[0, 0], [0, 0]]


def test_weigh_is_a_softmax():
    """16 entries of exp in steps of 1/2, 2^8 the greatest: within what half a step makes of a probability."""
    table = [0, *(round(256 * np.exp((number - 15) / 2)) for number in range(1, 16))]
    scores = np.array([200, -40, 64])
    rows, *_ = weighed([scores[:2], [scores[2], 0]], [[4096, 0], [0, 0]], table, offset=7 << 6, table_shift=6, reciprocal_shift=20,
                       scale_shift=12)  # fmt: skip
    exact = 1 / np.exp((scores - scores.max()) / 128).sum()
    assert abs(rows[0][0] / 4096 - exact) < 0.1


@pytest.mark.parametrize("name", ["FIRST_ROW", "PHASE_GAP", "DONE", "MAXIMUM_GAP"])
def test_a_changed_constant_is_found(monkeypatch, name):
    monkeypatch.setattr(contract, name, getattr(contract, name) + 1)
    with pytest.raises(AssertionError):
        test_random_programs(CHIPS[0], 0)


# ------------------------------------------------------------------------------ what is refused

ONE = {"tokens": 1, "steps": 1, "words": 2, "word_rows": 2, "blocks": 2, "last_blocks": 1, "elements": 6, "digits": 1}
LOAD_TABLE = fields(LOAD, {"memory": dma.TABLE, "bank": TABLE_BANK, "rows": 16, "row_bytes": 2})


def proven(chip, opcode, values):
    prove(chip, {NORMALISER: [fields(opcode, values)]}, 64)


@pytest.mark.parametrize(
    ("opcode", "changes", "reason"),
    [
        (NORMALISE, {"core": 2}, r"core of NORMALISE must be in 0\.\.1 on chip 'normaliser', given 2"),
        (NORMALISE, {"tokens": 0}, r"tokens of NORMALISE must be in 1\.\.65535 .*, given 0"),
        (NORMALISE, {"tokens": 1 << 16}, r"tokens of NORMALISE must be in 1\.\.65535 .*, given 65536"),
        (NORMALISE, {"steps": 0}, r"steps of NORMALISE must be in 1\.\.255"),
        (NORMALISE, {"steps": 256}, r"steps of NORMALISE must be in 1\.\.255 .*, given 256"),
        (NORMALISE, {"blocks": 3, "word_rows": 3, "elements": 8}, r"blocks of NORMALISE must be in 1\.\.2 .*, given 3"),
        (NORMALISE, {"last_blocks": 3, "elements": 10}, r"last_blocks of NORMALISE must be in 1\.\.2 .*, given 3"),
        (NORMALISE, {"word_rows": 1}, r"word_rows of NORMALISE must be in 2\.\.65535 .*, given 1"),
        (NORMALISE, {"elements": 5}, "elements of NORMALISE must be 6 on chip 'normaliser', given 5"),
        (NORMALISE, {"digits": 0}, r"digits of NORMALISE must be in 1\.\.31"),
        (NORMALISE, {"base": 254}, "reaches row 256 of residual"),
        (NORMALISE, {"base": 240, "tokens": 3, "token_rows": 7}, "reaches row 256 of residual"),
        (WEIGH, {"experts": 17, "blocks": 9}, r"experts of WEIGH must be in 2\.\.16 .*, given 17"),
        (WEIGH, {"blocks": 1}, "blocks of WEIGH must be 2 on chip 'normaliser', given 1"),
        (WEIGH, {"rows": 0}, r"rows of WEIGH must be in 1\.\.1023"),
        (WEIGH, {"score_base": 255}, "reaches row 256 of residual"),
        (WEIGH, {"base": 255}, "reaches row 256 of psum"),
    ],
)  # fmt: skip
def test_impossible_instructions_are_refused(opcode, changes, reason):
    whole = WEIGHT if opcode == WEIGH else ONE
    proven(CHIP, opcode, whole)
    with pytest.raises(ArchsimError, match=reason):
        proven(CHIP, opcode, whole | changes)


def test_more_channels_than_a_factor_can_stand_for():
    chip = CHIP.replace(neurons=1, normaliser_operand_bits=3)
    row = ONE | {"words": 1, "blocks": 4}
    proven(chip, NORMALISE, row | {"last_blocks": 3, "elements": 3})
    with pytest.raises(ArchsimError, match=r"elements of NORMALISE must be at most 3 .*normaliser_operand_bits 3\), given 4"):
        proven(chip, NORMALISE, row | {"last_blocks": 4, "elements": 4})


@pytest.mark.parametrize("opcode", [NORMALISE, WEIGH])
def test_a_chip_without_normaliser_refuses_its_instructions(opcode):
    chip = CHIP.replace(normaliser_operand_bits=0)
    with pytest.raises(ArchsimError, match="a chip with a normaliser, given chip 'normaliser' with normaliser_operand_bits 0"):
        proven(chip, opcode, WEIGHT if opcode == WEIGH else ONE)
    with pytest.raises(ArchsimError, match=r"LOAD reaches \[.*'reduce', 'program'\], given memory number 6"):
        prove(chip, {DMA: [LOAD_TABLE]}, 64)
    with pytest.raises(ArchsimError, match="chip 'normaliser': a normaliser needs normaliser_operand_bits of 2 or more, given 0"):
        NormaliserParams(chip)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"normaliser_operand_bits": 1}, r"chip 'normaliser': normaliser: vector unit: operand_bits must be in 2\.\.16"),
        ({"normaliser_operand_bits": 17}, r"operand_bits must be in 2\.\.16 for membranes of 16 bits, given 17"),
        ({"membrane_bits": 8, "normaliser_operand_bits": 8, "normaliser_table_bits": 9}, r"table_bits must be in 1\.\.8"),
    ],
)  # fmt: skip
def test_sizes_that_do_not_fit_the_chip(changes, reason):
    with pytest.raises(ArchsimError, match=reason):
        NormaliserParams(CHIP.replace(**changes))


def test_the_table():
    prove(CHIP, {DMA: [LOAD_TABLE]}, 64)
    with pytest.raises(ArchsimError, match="reaches row 16 of table"):
        prove(CHIP, {DMA: [LOAD_TABLE | {"row": 1}]}, 64)
    with pytest.raises(ArchsimError, match="table of the normaliser: cores must be 0, given 0x1"):
        prove(CHIP, {DMA: [LOAD_TABLE | {"cores": 1}]}, 64)


# ------------------------------------------------------------------------------ ownership, and a whole program


def test_banks_of_each_instruction():
    assert banks(NORMALISER, fields(NORMALISE, {"core": 1})) == [("core", 1, "residual", 0)]
    table = ("normaliser", 0, "table", 0)
    assert banks(NORMALISER, fields(WEIGH, {"core": 1})) == [("core", 1, "residual", 0), ("core", 1, "psum", 0), table]
    assert banks(DMA, LOAD_TABLE) == [table]
    assert banks(DMA, LOAD_TABLE | {"bank": 0}) == [("attention", 0, "table", 0)]


@pytest.mark.parametrize(
    ("wait", "reason"),
    [
        ({"normalise": 0}, r"normaliser instruction 0 \(NORMALISE\) touches core 1 residual\[0\], which dma instruction 0"),
        ({"weigh": 1 << DMA}, r"experts instruction 0 \(TOPK\) touches core 1 residual\[0\], which dma instruction 4"),
        ({"weigh": 1 << sequencer.EXPERTS}, r"\(WEIGH\) touches core 1 psum\[0\], which dma instruction 1"),
    ],
)  # fmt: skip
def test_the_engine_owns_the_banks_that_it_touches(wait, reason):
    program = by_hand.normaliser_program(1)
    prove(program.chip, decode(program), len(program.dram))
    with pytest.raises(ArchsimError, match=reason):
        prove(program.chip, decode(by_hand.normaliser_program(1, **wait)), len(program.dram))


def same_times(records, found):
    """Start and end of every instruction."""
    for engine, times in found.instructions.items():
        own = records[records["engine"] == engine]
        assert np.array_equal(times, np.stack([own["start"], own["end"]], axis=1)), engine


def test_weigh_waits_for_its_table():
    weigh = fields(WEIGH, WEIGHT)
    with pytest.raises(ArchsimError, match=r"normaliser instruction 0 \(WEIGH\) touches normaliser 0 table\[0\], which dma"):
        prove(CHIP, {DMA: [LOAD_TABLE], NORMALISER: [weigh]}, 64)
    prove(CHIP, {DMA: [LOAD_TABLE | {"post": 1 << NORMALISER}], NORMALISER: [weigh | {"wait": 1 << DMA}]}, 64)


@pytest.mark.parametrize("seed", range(4))
def test_a_whole_program(seed):
    """Order, waits, cycles and memories, stepped and by the law; what is stored is what the references make of the rows."""
    program = by_hand.normaliser_program(seed)
    chip, heads = program.chip, decode(program)
    prove(chip, heads, len(program.dram))
    law = Memories.empty(chip, program.dram)
    model, plain = deepcopy(law), filled(chip, np.random.default_rng(seed))
    records = Simulation(chip, heads, law, Capture(chip, program.notes)).run()
    check_intervals(chip, heads, records)
    same_times(records, stepped_sequencer.run(program, model))
    same_bits(law, model)
    expected(Step(NORMALISE, by_hand.NORM), chip, plain)
    expected(Step(WEIGH, by_hand.WEIGHT), chip, plain)
    assert np.array_equal(law.cores[1].residual, plain.cores[1].residual)
    assert np.array_equal(law.cores[1].psum, plain.cores[1].psum)
    assert np.array_equal(law.normaliser.table, plain.normaliser.table)
    stored = law.dram[by_hand.KEPT : by_hand.KEPT + 12].tobytes()
    first = [int.from_bytes(stored, "little") >> 20 * number & 0xFFFFF for number in range(4)]
    assert first == [int(value) & 0xFFFFF for value in plain.cores[1].residual[0]]
    assert records[records["engine"] == CORE0]["waited_for"].tolist() == [WAIT_NORMALISER]
    assert records[records["engine"] == NORMALISER]["waited_for"].tolist() == [WAIT_DMA, WAIT_EXPERTS, NOT_WAITING]
    # Every adder slot of the run has a cause.
    accounts = account(chip, ImageRun(int(records["end"].max()), np.zeros(1, np.int64), records), 1)
    assert accounts.slots.sum() == chip.adders * records["end"].max()


def test_a_program_longer_than_its_memory():
    """Parts of the normaliser's queue come by LOADs, which wait for it and for which it waits; stepped as by the law."""
    program = by_hand.long_program(1)
    chip, heads = program.chip, decode(program)
    prove(chip, heads, len(program.dram))
    parts = [head for head in heads[DMA] if head["memory"] == dma.PROGRAM]
    assert len(heads[NORMALISER]) == by_hand.LONG > 2 * chip.queue_rows and {head["cores"] for head in parts} == {NORMALISER}
    law = Memories.empty(chip, program.dram)
    model = deepcopy(law)
    records = Simulation(chip, heads, law, Capture(chip, program.notes)).run()
    same_times(records, stepped_sequencer.run(program, model))
    same_bits(law, model)
    assert law.cores[0].residual[:8].any()


def test_a_report_of_a_run():
    """Its energy, its share of the cycles, and what waited for it; the parts add up, or the summary raises."""
    program = by_hand.normaliser_program(1)
    chip, memories = program.chip, Memories.empty(program.chip, program.dram)
    records = Simulation(chip, decode(program), memories, Capture(chip, program.notes)).run()
    image = ImageRun(int(records["end"].max()), np.zeros(1, np.int64), records)
    result = RunResult("norm", "execute", program, [image], None, None, None, None)
    summary, own = summarise(result), records[records["engine"] == NORMALISER]
    assert summary["energy_uj"]["normaliser_logic"] > 0 and summary["energy_uj"]["normaliser_memory"] > 0
    busy = (own["end"] - own["start"]).sum() / image.cycles
    assert {"engine": "normaliser", "busy_share": busy} in summary["engines"]
    assert summary["adder_slots_all_images"]["causes"]["normaliser"]["slots"] > 0
    names = {event["name"] for event in timeline(result)["traceEvents"]}
    assert {"NORMALISE norm", "WEIGH norm"} <= names


def test_the_law_of_a_phase():
    """Two rows of SCALE by 5 = 4 + 1: accepted in 0 and 4, the last finished in 8; the next phase's first row in 11."""
    assert vector.scale_cycles(contract.digit_places(5), 31, 0) == 2
    assert contract.phase_cycles(2, 2 * 2) == 11
