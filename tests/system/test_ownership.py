"""Is the ownership rule checked? Programs with a semaphore taken away, a bank swapped, or rows that do not exist are refused."""

import copy

import numpy as np
import pytest

from archsim import simulate
from archsim.contracts import sequencer
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.ownership import banks
from archsim.kernel import Simulation
from archsim.ownership import check_intervals, prove
from archsim.tensors import Capture


@pytest.fixture
def broken(mapped):
    """(chip, a copy of the queues to break, DRAM size)."""
    workload = mapped("small")
    return workload.program.chip, copy.deepcopy(workload.queues), len(workload.program.dram)


def _waiting(queues, engine):
    return [index for index, head in enumerate(queues[engine]) if head["wait"]]


def test_the_mapped_program_obeys_the_rule(broken):
    prove(*broken)


@pytest.mark.parametrize("engine", [sequencer.DMA, sequencer.MULTICAST, sequencer.ATTENTION, sequencer.CORE0])
def test_a_missing_semaphore_is_a_violation(broken, engine):
    """Every single wait of an engine is needed: without it (and its post) some bank has two owners."""
    chip, queues, dram = broken
    for index in _waiting(queues, engine):
        head = queues[engine][index]
        if head.get("gang", 0) & (head.get("gang", 0) - 1):
            continue  # a gang starts together: what one member waits for may imply what another does
        producer = (head["wait"] & -head["wait"]).bit_length() - 1
        number = sum(1 for other in queues[engine][:index] if other["wait"] >> producer & 1)
        posts = [i for i, other in enumerate(queues[producer]) if other["post"] >> engine & 1]
        changed = copy.deepcopy(queues)
        changed[engine][index]["wait"] &= ~(1 << producer)
        changed[producer][posts[number]]["post"] &= ~(1 << engine)
        with pytest.raises(ArchsimError, match="ownership rule"):
            prove(chip, changed, dram)


def test_the_error_names_instructions_and_bank(broken):
    chip, queues, dram = broken
    index = _waiting(queues, sequencer.CORE0)[0]
    queues[sequencer.CORE0][index]["wait"] = 0
    with pytest.raises(
        ArchsimError, match=r"core 0 instruction \d+ \(SYNAPSE\) touches core 0 \w+\[\d\], which dma instruction"
    ):
        prove(chip, queues, dram)


def test_rows_that_do_not_exist_are_refused(broken):
    chip, queues, dram = broken
    first = next(head for head in queues[sequencer.CORE0] if head["opcode"] == sequencer.SYNAPSE)
    first["out_base"] = chip.spike_out_rows
    with pytest.raises(ArchsimError, match=r"core 0 instruction 0 \(SYNAPSE\) reaches row \d+ of spike_out"):
        prove(chip, queues, dram)


def test_gang_members_must_agree(mapped):
    workload = mapped("adders_512")
    queues = copy.deepcopy(workload.queues)
    head = next(head for head in queues[sequencer.CORE0 + 1] if head.get("gang", 0) & (head.get("gang", 0) - 1))
    head["stride"] += 1
    with pytest.raises(ArchsimError, match=r"members of a gang must agree.*stride"):
        prove(workload.program.chip, queues, len(workload.program.dram))


def test_no_bank_has_two_owners_in_any_cycle(mapped):
    """The interval check, written again: occupancy of every bank, cycle by cycle."""
    workload = mapped("small_t4")
    image, _ = simulate.run_image(workload, workload.trained.normalised()[0], 0)
    busy: dict[tuple, np.ndarray] = {}
    for record in image.records:
        for bank in banks(int(record["engine"]), workload.queues[int(record["engine"])][int(record["index"])]):
            cycles = busy.setdefault(bank, np.zeros(image.cycles + 1, np.int64))
            cycles[record["start"] : record["end"] + 1] += 1
    assert len(busy) > 20
    assert max(int(cycles.max()) for cycles in busy.values()) == 1


def test_the_interval_check_catches_an_overlap(mapped):
    workload = mapped("small")
    image, _ = simulate.run_image(workload, workload.trained.normalised()[0], 0)
    records = image.records.copy()
    core = np.flatnonzero(records["engine"] == sequencer.CORE0)
    records["end"][core[0]] = records["end"][core[-1]]
    with pytest.raises(ArchsimError, match="owned"):
        check_intervals(workload.program.chip, workload.queues, records)
    # The compiled check that every run makes, before the one that names the bank.
    prepared = workload.queues.prepare(workload.program.chip, workload.program.notes)
    assert prepared.conflicts(records) and not prepared.conflicts(image.records)


def test_a_semaphore_beyond_its_bits_is_named(mapped):
    """An instruction that posts once more than anybody takes, over and over: harmless to the order, not to the counter."""
    workload = mapped("small")
    queues = copy.deepcopy(workload.queues)
    dma = queues[sequencer.DMA]
    dma += [dict(dma[0], wait=0, post=1 << sequencer.CORE0) for _ in range(1 << sequencer.SEMAPHORE_BITS)]
    notes = copy.deepcopy(workload.program.notes)
    own = notes["instructions"][str(sequencer.DMA)]
    own += [dict(own[0]) for _ in range(1 << sequencer.SEMAPHORE_BITS)]
    with pytest.raises(ArchsimError, match=r"semaphore dma -> core 0 exceeds \d+ bits"), workload.memories.take() as memories:
        Simulation(workload.program.chip, queues, memories, Capture(workload.program.chip, notes)).run()


def test_a_deadlock_is_named(mapped):
    workload = mapped("small")
    queues = copy.deepcopy(workload.queues)
    queues[sequencer.CORE0][0]["wait"] |= 1 << sequencer.ATTENTION
    stuck = copy.copy(workload)
    stuck.queues = queues
    with pytest.raises(ArchsimError, match="deadlock.*core 0 at instruction 0"):
        simulate.run_image(stuck, workload.trained.normalised()[0], 0)
