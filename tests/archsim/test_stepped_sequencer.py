"""Do the stepped queues start instructions in the cycles worked out by hand, and by the law for random programs?"""

import numpy as np
import pytest

from archsim.contracts import sequencer as contract
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.program import Program
from archsim.contracts.sequencer import ATTENTION, COPY, CORE0, DMA, EXPERTS, HALT, LOAD, MULTICAST, PLANES, SYNAPSE
from archsim.stepped import sequencer
from archsim.units.sram import Memories

CHIP = ChipParams(
    name="tiny", clock_mhz=100.0, cores=3, lanes=1, columns=4, neurons=4, weight_bits=8, membrane_bits=16,
    weight_rows=8, param_rows=4, spike_in_rows=8, spike_out_rows=64, residual_rows=8, psum_rows=8, reduce_rows=4,
    attention_rows=64, count_rows=8, count_bits=8, dram_bus_bytes=4, dram_latency_cycles=5, dram_burst_bytes=4,
    dram_outstanding=4, queue_rows=64,
)  # fmt: skip

ROW = {"memory": 0, "cores": 1, "rows": 1, "row_bytes": 4, "row_skip": 0}
"""LOAD of one beat: request 1, beat 6, written 7, end 8."""

POINT = {
    "in_height": 1, "in_width": 1, "slices": 1, "words": 1, "kernel_height": 1, "kernel_width": 1, "stride": 1,
    "out_height": 1, "out_width": 1, "blocks": 1, "steps": 1,
}  # fmt: skip
"""SYNAPSE of 11 cycles."""


def run(queues, latencies=None):
    """Timeline of instructions (opcode, fields, wait, post) per engine."""
    rows = {
        engine: np.frombuffer(b"".join(contract.encode(*item) for item in [*queue, (HALT, {})]), np.uint8)
        for engine, queue in queues.items()
    }
    rows = {engine: data.reshape(-1, contract.INSTRUCTION_BYTES) for engine, data in rows.items()}
    dram = np.zeros(64, np.uint8)
    return sequencer.run(Program(CHIP, rows, dram), Memories.empty(CHIP, dram), latencies)


def bit(engine):
    return 1 << engine


def copy(rows):
    """COPY of rows + 3 cycles."""
    return {"source": CORE0, "outer": rows, "inner": 1}


def test_engines_of_a_chip():
    chip = CHIP.replace(cores=3)
    assert contract.engines(chip) == [DMA, MULTICAST, ATTENTION, CORE0, CORE0 + 1, CORE0 + 2]
    assert contract.engines(chip.replace(crossbar_depth=2)) == [
        DMA, MULTICAST, ATTENTION, EXPERTS, CORE0, CORE0 + 1, CORE0 + 2,
    ]  # fmt: skip


def test_parts_of_a_program():
    """Halves of a memory; of a single row, the row."""
    assert [contract.part(index, 4) for index in range(6)] == [0, 0, 1, 1, 2, 2]
    assert [contract.part(index, 5) for index in range(6)] == [0, 0, 1, 1, 2, 2]
    assert [contract.part(index, 1) for index in range(3)] == [0, 1, 2]


def test_memories_that_can_be_refilled():
    """Both halves must be equal, and not too short."""
    least = contract.LEAST_REFILLED
    assert [rows for rows in range(least - 3, least + 4) if contract.is_refillable(rows)] == [least, least + 2]


def test_one_queue():
    # Read 0, latched 1, decoded 2, starts 3, ends 11; the next one DECODE later, 14.
    timeline = run({DMA: [(LOAD, ROW), (LOAD, ROW)]})
    assert timeline.instructions[DMA].tolist() == [[3, 11], [14, 22]]
    assert timeline.end == 22


def test_a_semaphore_is_visible_one_cycle_after_its_post():
    # The copy ends in 3 + 5 + 3 = 11 and posts; the core starts in 12 and ends in 23; its second instruction waits for the second
    # copy (14..19), whose post is there when it is decoded: 26.
    timeline = run({
        MULTICAST: [(COPY, copy(5), 0, bit(CORE0)), (COPY, copy(2), 0, bit(CORE0))],
        CORE0: [(SYNAPSE, POINT | {"gang": 1}, bit(MULTICAST), 0)] * 2,
    })  # fmt: skip
    assert timeline.instructions[MULTICAST].tolist() == [[3, 11], [14, 19]]
    assert timeline.instructions[CORE0].tolist() == [[12, 23], [26, 37]]


def test_latencies_go_to_every_load():
    assert run({DMA: [(LOAD, ROW)]}, [17]).instructions[DMA].tolist() == [[3, 23]]


def test_a_gang_waits_for_its_last_member():
    # Core 2 first runs PLANES (one granule: 3..7), and is ready for the gang in 10; core 0 waits for a copy that ends in 10:
    # both start in 11. Core 1 is not of the gang.
    gang = POINT | {"gang": 0b101}
    timeline = run({
        MULTICAST: [(COPY, copy(4), 0, bit(CORE0))],
        CORE0: [(SYNAPSE, gang, bit(MULTICAST), 0), (SYNAPSE, POINT | {"gang": 1})],
        CORE0 + 1: [(SYNAPSE, POINT | {"gang": 2})],
        CORE0 + 2: [(PLANES, {"blocks": 1, "planes": 1}), (SYNAPSE, gang)],
    })  # fmt: skip
    assert timeline.instructions[CORE0].tolist() == [[11, 22], [25, 36]]
    assert timeline.instructions[CORE0 + 1].tolist() == [[3, 14]]
    assert timeline.instructions[CORE0 + 2].tolist() == [[3, 7], [11, 22]]


def test_deadlock():
    queues = {MULTICAST: [(COPY, copy(1), bit(CORE0), 0)], CORE0: [(SYNAPSE, POINT, bit(MULTICAST), 0)]}
    with pytest.raises(ArchsimError, match="no instruction can start in cycle 3: multicast at 0, core 0 at 0"):
        run(queues)


def test_a_semaphore_beyond_its_bits():
    queues = {MULTICAST: [(COPY, copy(1), 0, bit(CORE0))] * 256}
    with pytest.raises(ArchsimError, match="a semaphore exceeds its bits"):
        run(queues)


def test_members_of_a_gang_must_agree():
    with pytest.raises(ArchsimError, match="the same 'blocks' required"):
        run({CORE0: [(SYNAPSE, POINT | {"gang": 3})], CORE0 + 1: [(SYNAPSE, POINT | {"gang": 3, "blocks": 0})]})


@pytest.mark.parametrize("seed", range(30))
def test_random_program(seed):
    # A random order of instructions, each of which waits for the posts of some that stand before it: no deadlock.
    rng = np.random.default_rng(seed)
    queues = {engine: [] for engine in (DMA, MULTICAST, CORE0, CORE0 + 1, CORE0 + 2)}
    cycles = {engine: [] for engine in queues}
    edges = []  # (producer, its instruction, consumer, its instruction)
    unposted = []  # (producer, its instruction): whose post nobody waits for yet
    for _ in range(40):
        engine = int(rng.choice(list(queues)))
        number = len(queues[engine])
        wait = {}
        for item in list(unposted):
            if item[0] != engine and item[0] not in wait and rng.random() < 0.4:
                wait[item[0]] = item[1]
                unposted.remove(item)
        # Semaphores count: posts of one producer to one consumer are taken in order.
        wait = {p: i for p, i in wait.items() if not any(e[0] == p and e[2] == engine and e[1] >= i for e in edges)}
        edges += [(producer, index, engine, number) for producer, index in wait.items()]
        if engine == DMA:
            queues[engine].append((LOAD, ROW))
            cycles[engine].append(8)
        elif engine == MULTICAST:
            rows = int(rng.integers(1, 30))
            queues[engine].append((COPY, copy(rows) | {"source_base": 0}))
            cycles[engine].append(rows + 3)
        else:
            planes = int(rng.integers(1, 30))
            queues[engine].append((PLANES, {"blocks": 1, "planes": planes}))
            cycles[engine].append(planes + 3)
        unposted.append((engine, number))
    timeline = run(_with_semaphores(queues, edges))
    times = {engine: [] for engine in queues}
    while any(len(times[engine]) < len(queues[engine]) for engine in queues):
        for engine in queues:
            number = len(times[engine])
            posts = [edge[:2] for edge in edges if edge[2:] == (engine, number)]
            if number == len(queues[engine]) or any(len(times[producer]) <= index for producer, index in posts):
                continue
            ready = contract.DECODE + (times[engine][-1][1] if number else 0)
            for producer, index in posts:
                ready = contract.start(ready, times[producer][index][1])
            times[engine].append([ready, ready + cycles[engine][number]])
    for engine, instructions in timeline.instructions.items():
        assert instructions.tolist() == times[engine]
    assert timeline.end == max(times[engine][-1][1] for engine in queues if times[engine])


def _with_semaphores(queues, edges):
    """The instructions with the wait and post masks of the edges."""
    return {
        engine: [
            (
                opcode, fields,
                sum(bit(producer) for producer, _, *consumer in edges if tuple(consumer) == (engine, number)),
                sum({bit(consumer) for *producer, consumer, _ in edges if tuple(producer) == (engine, number)}),
            )
            for number, (opcode, fields) in enumerate(queue)
        ]
        for engine, queue in queues.items()
    }  # fmt: skip
