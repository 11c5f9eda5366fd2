"""Does the expert engine, stepped and by its law, move every row to its place in the cycles of its contract?"""

from copy import deepcopy

import numpy as np
import pytest

from archsim.accounting import account
from archsim.contracts import experts as contract
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.ownership import banks
from archsim.contracts.common.program import Program
from archsim.contracts.experts import ExpertsParams
from archsim.contracts.sequencer import (
    COLLECT,
    COPY,
    CORE0,
    DISPATCH,
    EXPERTS,
    HALT,
    INSTRUCTION_BYTES,
    MULTICAST,
    TOPK,
    encode,
    layout,
)
from archsim.kernel import Simulation, decode
from archsim.ownership import check_intervals, prove
from archsim.results import COUNT, WAIT_EXPERTS, ImageRun
from archsim.stepped import experts as stepped
from archsim.stepped import sequencer
from archsim.tensors import Capture
from archsim.units import experts as fast
from archsim.units.sram import Memories
from tests.archsim.contents import same_bits
from tests.archsim.expert_programs import CHIPS, Expected, filled, random_program

CHIP = CHIPS[1].replace(neurons=2)


def fields(opcode, values):
    """All fields of an instruction, those that are not given 0."""
    return layout(opcode).unpack(0) | {"opcode": opcode} | values


def run(module, opcode, values, chip, memories):
    """Cycles of an instruction on the fast or the stepped model."""
    kind = module.topk if opcode == TOPK else module.route
    result = kind(fields(opcode, values), chip, memories)
    return result[0] if module is fast else result


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_random_programs(chip, seed):
    rng = np.random.default_rng(seed)
    law = filled(chip, rng)
    model, plain = deepcopy(law), deepcopy(law)
    expected = Expected(chip, plain)
    for step in random_program(chip, rng):
        assert run(fast, *step, chip, law) == run(stepped, *step, chip, model), step
        same_bits(law, model)
        expected.run(step)
        for mine, yours in zip(law.cores, plain.cores, strict=True):
            assert all(np.array_equal(value, getattr(yours, name)) for name, value in vars(mine).items())
        assert law.experts.counts.tolist() == expected.counts
        assert all(tuple(law.experts.routes[place].tolist()) == row for place, row in expected.routes.items())


def table(memories, core, rows):
    """Store rows (expert, slot, kept, last, end) in a core's route table."""
    memories.experts.routes[core, : len(rows)] = rows


ROUTE = {"cores": 1, "experts": 2, "place": 0x10, "rows": 2, "slot_shift": 1, "other_shift": 1}
"""Expert 0 on core 0, expert 1 on core 1, packets and slots of two rows."""


def both(opcode, values, memories, chip=CHIP):
    """Cycles by the law and by the stepped model, which must agree."""
    other = deepcopy(memories)
    cycles = run(fast, opcode, values, chip, memories)
    assert run(stepped, opcode, values, chip, other) == cycles
    same_bits(memories, other)
    return cycles


def test_topk_by_hand():
    # Two blocks of two scores, k = 2: rows are read in 1 and 2, the router gets them in 2 and 3, choices in 4 and 5; end in 6.
    memories = Memories.empty(CHIP, np.zeros(1, np.uint8))
    memories.cores[1].psum[3:5] = [[1, 7], [7, -5]]
    values = {"core": 1, "psum": 1, "score_base": 3, "tokens": 1, "blocks": 2, "experts": 4, "choices": 2, "first": 1}
    assert both(TOPK, values, memories) == 6
    assert memories.experts.routes[1, :2].tolist() == [[1, 0, 1, 0, 0], [2, 0, 1, 1, 1]]


def test_one_packet_by_hand():
    # Table read in 1, stands in 2; packet from 3: rows read in 3, 4, offered in 4, 5; chosen in 5, delivered in 6, 7; nothing
    # moves in 8; end in 9. With crossbars of one flit a queue the second waits until 7: delivered in 8; end in 10.
    for depth, cycles in ((2, 9), (1, 10)):
        chip = CHIP.replace(crossbar_depth=depth)
        memories = Memories.empty(chip, np.zeros(1, np.uint8))
        memories.cores[0].spike_out[0, 4:6] = [[1], [2]]
        table(memories, 0, [(1, 3, 1, 1, 1)])
        assert both(DISPATCH, ROUTE | {"home_base": 4, "expert_base": 1}, memories, chip) == cycles
        assert memories.cores[1].spike_in[0, 7:9].tolist() == [[1], [2]]


def test_dropped_choices_by_hand():
    # Entries are taken in 2, 3, 4: the third is kept: offered in 6, delivered in 8 (and 9); a dropped last one is free: end in 11.
    chip = CHIP.replace(crossbar_depth=2)
    memories = Memories.empty(chip, np.zeros(1, np.uint8))
    table(memories, 0, [(1, 0, 0, 1, 0), (1, 0, 0, 1, 0), (0, 0, 1, 1, 0), (1, 0, 0, 1, 1)])
    assert both(DISPATCH, ROUTE, memories, chip) == 11
    # Nothing is kept: entries are taken in 2, 3; nothing moves in 4; end in 5.
    table(memories, 0, [(1, 0, 0, 1, 0), (1, 0, 0, 1, 1)])
    assert both(DISPATCH, ROUTE, memories, chip) == 5
    # Neither requests nor replies: the replies are found done a cycle after the requests.
    assert both(COLLECT, ROUTE, memories, chip) == 6


def test_collect_by_hand():
    # The request is offered in 4, delivered in 6; nothing moves in 7, where the replies begin: a packet of two rows takes 9.
    chip = CHIP.replace(crossbar_depth=2)
    memories = Memories.empty(chip, np.zeros(1, np.uint8))
    memories.cores[1].residual[7:9] = [[1, 2], [3, 4]]
    table(memories, 0, [(1, 3, 1, 1, 1)])
    values = ROUTE | {"home_base": 4, "expert_base": 1, "membranes": 1}
    assert both(COLLECT, values, memories, chip) == 7 + 9
    assert memories.cores[0].psum[4:6].tolist() == [[1, 2], [3, 4]]
    assert memories.experts.replies[1, 0].tolist() == [0, 7, 4]


def test_membranes_dispatched_by_hand():
    """As the packet of spikes above, but from residual bank to residual bank; core 1 is home of a token of its own, too.

    Its packet of two rows leaves in the same cycles as the other; both go to core 1, which takes one after the other.
    """
    chip = CHIP.replace(crossbar_depth=2, dispatch_membranes=1)
    memories = Memories.empty(chip, np.zeros(1, np.uint8))
    memories.cores[0].residual[4:6], memories.cores[1].residual[4:6] = [[1, 2], [3, 4]], [[5, 6], [7, 8]]
    table(memories, 0, [(1, 3, 1, 1, 1)])
    values = ROUTE | {"home_base": 4, "expert_base": 1, "membranes": 1}
    assert both(DISPATCH, values, deepcopy(memories), chip) == 9
    table(memories, 1, [(1, 4, 1, 1, 1)])
    assert both(DISPATCH, values | {"cores": 3}, memories, chip) == 9 + 2
    assert memories.cores[1].residual[4:11].tolist() == [[5, 6], [7, 8], [0, 0], [1, 2], [3, 4], [5, 6], [7, 8]]
    assert not memories.cores[1].psum.any() and not memories.cores[1].spike_in.any()


def test_a_row_that_is_read_and_written_is_refused():
    """Slot 3 lies in rows 7 and 8 of core 1, whose own token lies in rows from home_base on."""
    chip = CHIP.replace(dispatch_membranes=1)
    memories = Memories.empty(chip, np.zeros(1, np.uint8))
    table(memories, 0, [(1, 3, 1, 1, 1)])
    table(memories, 1, [(0, 0, 1, 1, 1)])
    values = ROUTE | {"cores": 3, "expert_base": 1, "membranes": 1}
    for base in (6, 7, 8):
        message = f"read and write row {max(base, 7)} of the residual bank of core 1"
        with pytest.raises(ArchsimError, match=message):
            fast.route(fields(DISPATCH, values | {"home_base": base}), chip, deepcopy(memories))
    for base in (5, 9):
        both(DISPATCH, values | {"home_base": base}, deepcopy(memories), chip)


def test_membranes_need_a_chip_that_dispatches_them():
    memories = Memories.empty(CHIP, np.zeros(1, np.uint8))
    table(memories, 0, [(1, 3, 1, 1, 1)])
    head = fields(DISPATCH, ROUTE | {"membranes": 1})
    message = "'membranes' needs a chip with dispatch_membranes, given chip 'experts_least' .* set 'dispatch_membranes: 1'"
    with pytest.raises(ArchsimError, match=message):
        fast.route(head, CHIP, memories)
    with pytest.raises(ArchsimError, match=message):
        prove(CHIP, {EXPERTS: [head]}, 64)
    prove(CHIP.replace(dispatch_membranes=1), {EXPERTS: [head]}, 64)
    prove(CHIP, {EXPERTS: [fields(COLLECT, ROUTE | {"membranes": 1})]}, 64)


def test_a_hot_expert_takes_longer():
    chip, cycles = CHIPS[0], []
    for place in (0x3210, 0x0000):
        memories = Memories.empty(chip, np.zeros(1, np.uint8))
        for core in range(4):
            table(memories, core, [(core, slot, 1, 1, int(slot == 7)) for slot in range(8)])
        values = ROUTE | {"cores": 15, "experts": 4, "place": place, "region": 0x3210, "region_shift": 5, "rows": 4}
        values |= {"slot_shift": 2, "other_shift": 2}
        cycles.append(both(DISPATCH, values, memories, chip))
    # The first flit is delivered in 6. A flow of its own pauses after each of its packets but the last, as its queue is empty then;
    # where four share an output, another one goes on.
    assert cycles == [6 + 8 * 4 - 1 + 7 + 2, 6 + 4 * 8 * 4 - 1 + 2]


def test_counters():
    chip = CHIP.replace(crossbar_depth=2)
    memories = Memories.empty(chip, np.zeros(1, np.uint8))
    table(memories, 0, [(1, 3, 1, 0, 0), (0, 0, 0, 0, 0), (0, 1, 1, 1, 1)])
    _, counts = fast.route(fields(COLLECT, ROUTE), chip, memories)
    assert counts[COUNT.flits] == 2 + 2 * 2
    assert (counts[COUNT.route_reads], counts[COUNT.reply_reads], counts[COUNT.reply_writes]) == (3, 2, 2)
    assert (counts[COUNT.copied_rows], counts[COUNT.copied_row_writes]) == (4, 4)
    moved = COUNT.copied_rows, COUNT.copied_row_writes, COUNT.residual_reads, COUNT.psum_writes, COUNT.residual_writes
    route = ROUTE | {"membranes": 1, "home_base": 40}
    for opcode, expected in ((COLLECT, [0, 0, 4, 4, 0]), (DISPATCH, [0, 0, 4, 0, 4])):
        _, counts = fast.route(fields(opcode, route), chip.replace(dispatch_membranes=1), memories)
        assert counts[list(moved)].tolist() == expected


def test_distances_of_slots():
    found = {rows: contract.slot_rows(1, *contract.slot_shifts(rows)) for rows in range(1, 50)}
    assert all(distance >= rows for rows, distance in found.items())
    assert [rows for rows, distance in found.items() if distance == rows] == [
        rows for rows in range(1, 50) if rows.bit_count() <= 2
    ]
    assert contract.slot_rows(5, *contract.slot_shifts(48)) == 240


def test_the_range_of_distances():
    assert [contract.slot_rows(1, *contract.slot_shifts(rows)) for rows in (1, 1 << 14)] == [1, 1 << 14]
    for rows in (0, (1 << 14) + 1):
        with pytest.raises(ArchsimError, match=f"required 1..16384 rows between slots, given {rows}"):
            contract.slot_shifts(rows)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cores": 1}, "needs 2..16 cores, given 1"), ({"crossbar_depth": 0}, "crossbar_depth of 1 or more, given 0"),
        ({"crossbar_depth": 64}, "below 1024 bits"),
    ],
)  # fmt: skip
def test_chips_without_an_engine_are_refused(changes, reason):
    with pytest.raises(ArchsimError, match=reason):
        ExpertsParams(CHIP.replace(**changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rows": 0}, "1 row or more"), ({"cores": 2}, "required a TOPK of core 1"), ({"experts": 1}, "as many experts"),
        ({"place": 0x20}, "required cores below 2"), ({"expert_base": 508}, "target row 515, required below 512"),
        ({"home_base": 511}, "source row 512, required below 512"),
    ],
)  # fmt: skip
def test_impossible_packets_are_refused(changes, reason):
    memories = Memories.empty(CHIP, np.zeros(1, np.uint8))
    table(memories, 0, [(1, 3, 1, 1, 1)])
    with pytest.raises(ArchsimError, match=reason):
        fast.route(fields(DISPATCH, ROUTE | changes), CHIP, memories)


def test_too_many_requests_are_refused():
    chip = CHIP.replace(route_rows=3)
    memories = Memories.empty(chip, np.zeros(1, np.uint8))
    for core in range(2):
        table(memories, core, [(1, 2 * core, 1, 1, 0), (1, 2 * core + 1, 1, 1, 1)])
    with pytest.raises(ArchsimError, match=r"required 3 requests \(route_rows\) at core 1, given 4"):
        fast.route(fields(COLLECT, ROUTE | {"cores": 3}), chip, memories)


def test_a_token_without_a_block_is_refused():
    values = {"tokens": 1, "blocks": 3, "experts": 4, "choices": 2}
    with pytest.raises(ArchsimError, match="required a token and 2 blocks"):
        fast.topk(fields(TOPK, values), CHIP, Memories.empty(CHIP, np.zeros(1, np.uint8)))


@pytest.mark.parametrize("law", ["FIRST_SCORE", "FIRST_FLIT", "QUIET", "DONE"])
def test_a_changed_constant_is_found(monkeypatch, law):
    monkeypatch.setattr(contract, law, getattr(contract, law) + 1)
    if hasattr(fast, law):
        monkeypatch.setattr(fast, law, getattr(fast, law) + 1)
    with pytest.raises(AssertionError):
        test_random_programs(CHIPS[0], 0)


def whole_program(chip, seed, wait=True):
    """Queues of a program in which the multicast reads a bank of an expert's core between DISPATCH and COLLECT."""
    steps = random_program(chip, np.random.default_rng(seed), layers=1)
    first = next(number for number, step in enumerate(steps) if step.opcode == DISPATCH)
    experts = [(step.opcode, step.fields, 0, 0) for step in steps]
    experts[first] = (*experts[first][:2], 0, 1 << MULTICAST)
    experts[first + 1] = (*experts[first + 1][:2], 1 << MULTICAST if wait else 0, 0)
    collect = steps[first + 1].fields
    rows = {
        "source": CORE0 + (collect["place"] & 15), "source_bank": collect["source_bank"], "outer": 7, "inner": 1,
        "source_outer": 1, "base_outer": 1,
    }  # fmt: skip
    return {EXPERTS: experts, MULTICAST: [(COPY, rows, 1 << EXPERTS, 1 << EXPERTS if wait else 0)]}


def encoded(queues):
    rows = {engine: b"".join(encode(*item) for item in [*queue, (HALT, {})]) for engine, queue in queues.items()}
    return {engine: np.frombuffer(data, np.uint8).reshape(-1, INSTRUCTION_BYTES) for engine, data in rows.items()}


@pytest.mark.parametrize("seed", range(6))
def test_whole_programs(seed):
    chip = CHIPS[0]
    queues = whole_program(chip, seed)
    program = Program(chip, encoded(queues), np.zeros(64, np.uint8))
    notes = {"tensors": {}, "instructions": {str(e): [{"layer": 0}] * len(queue) for e, queue in queues.items()}}
    heads = decode(program)
    prove(chip, heads, 64)
    law = filled(chip, np.random.default_rng(seed))
    model = deepcopy(law)
    records = Simulation(chip, heads, law, Capture(chip, notes)).run()
    check_intervals(chip, heads, records)
    timeline = sequencer.run(program, model)
    for engine, times in timeline.instructions.items():
        own = records[records["engine"] == engine]
        assert np.array_equal(times, np.stack([own["start"], own["end"]], axis=1)), engine
    same_bits(law, model)
    waited = records[(records["engine"] == MULTICAST)]["waited_for"]
    assert waited.tolist() == [WAIT_EXPERTS]
    # Every adder slot of the run has a cause: the cores have no program.
    run = ImageRun(int(records["end"].max()), np.zeros(1, np.int64), records)
    accounts = account(chip, run, 1)
    assert accounts.slots.sum() == chip.adders * run.cycles


def test_the_engine_owns_the_banks_that_it_touches():
    chip = CHIPS[0]
    for seed in range(6):
        heads = decode(Program(chip, encoded(whole_program(chip, seed, wait=False)), np.zeros(64, np.uint8)))
        with pytest.raises(ArchsimError, match=r"core \d spike_out\[\d\], which \w+ instruction \d+ .* may still own"):
            prove(chip, heads, 64)


def test_banks_of_each_instruction():
    route = fields(COLLECT, {"cores": 0b101, "experts": 3, "place": 0xF213, "source_bank": 1})
    spikes = [("core", core, "spike_out", 1) for core in (1, 2, 3)] + [("core", core, "spike_in", 0) for core in (0, 2)]
    tables = [("experts", core, "routes", 0) for core in (0, 2)]
    asked = [("experts", core, "replies", 0) for core in (1, 2, 3)]
    assert banks(EXPERTS, route) == tables + asked + spikes
    assert banks(EXPERTS, route | {"opcode": DISPATCH, "bank": 1}) == [
        *tables, *(("core", core, "spike_out", 1) for core in (0, 2)), *(("core", core, "spike_in", 1) for core in (1, 2, 3)),
    ]  # fmt: skip
    assert banks(EXPERTS, route | {"membranes": 1}) == [
        *tables, *asked,
        *(("core", core, "residual", 0) for core in (1, 2, 3)), *(("core", core, "psum", 0) for core in (0, 2)),
    ]  # fmt: skip
    assert banks(EXPERTS, route | {"opcode": DISPATCH, "membranes": 1}) == [
        *tables, *(("core", core, "residual", 0) for core in (0, 1, 2, 3)),
    ]  # fmt: skip
    assert banks(EXPERTS, fields(TOPK, {"core": 2})) == [("experts", 2, "routes", 0), ("core", 2, "residual", 0)]


def test_scores_and_tables_that_do_not_exist_are_refused():
    for changes, reason in (
        ({"score_base": 512}, "row 513 of residual"), ({"entry": 90, "tokens": 4, "choices": 2}, "row 97 of route"),
        ({"core": 4}, "row 4 of cores"),
    ):  # fmt: skip
        values = {"tokens": 1, "blocks": 2, "experts": 8, "choices": 1} | changes
        with pytest.raises(ArchsimError, match=reason):
            prove(CHIPS[0], {EXPERTS: [fields(TOPK, values)]}, 64)
