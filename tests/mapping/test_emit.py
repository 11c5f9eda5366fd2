"""Do the semaphores order every two accesses of a bank? Random programs against a transitive closure; hand-worked chains."""

import numpy as np
import pytest

from archsim.config import load_chip
from archsim.contracts import dma, sequencer
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.ownership import banks
from archsim.contracts.common.program import Program
from archsim.kernel import decode
from archsim.ownership import prove
from mapping.data import DramImage
from mapping.emit import Emitter

CORES = 3
CHIP = load_chip("small").replace(cores=CORES)


def _emitter(rows=CHIP.queue_rows):
    chip = CHIP.replace(queue_rows=rows)
    return Emitter(chip, DramImage(chip))


def _load(cores, memory=dma.WEIGHT, bank=0):
    return {"memory": memory, "cores": cores, "bank": bank}


def _copy(source, cores, source_bank=0, bank=0):
    return {"source": source, "source_bank": source_bank, "cores": cores, "bank": bank}


def _synapse(gang, **fields):
    names = (
        "weight_bank",
        "in_bank",
        "param_bank",
        "out_bank",
        "psum_in",
        "psum_out",
        "residual_in",
        "residual_out",
        "reduce",
    )
    return {**dict.fromkeys(names, 0), "spike_out": 1, "gang": gang, **fields}


def _random(rng, gangs):
    """(engines, opcode, fields) of a random instruction."""
    bit = lambda: int(rng.integers(2))  # noqa: E731
    mask = int(rng.integers(1, 1 << CORES))
    kind = rng.choice(["load", "copy", "synapse", "synapse", "planes", "attend"])
    if kind == "load":
        opcode = (sequencer.LOAD, sequencer.STORE)[bit()]
        return [sequencer.DMA], opcode, _load(mask, int(rng.integers(len(dma.MEMORIES))), bit())
    if kind == "copy":
        source = int(rng.choice([sequencer.ATTENTION, *range(sequencer.CORE0, sequencer.CORE0 + CORES)]))
        to_attention = source != sequencer.ATTENTION and rng.random() < 0.3
        return (
            [sequencer.MULTICAST],
            sequencer.COPY,
            _copy(source, 0 if to_attention else mask, bit(), bit() + 2 * int(to_attention and bit())),
        )
    if kind == "synapse":
        gang = mask if gangs else mask & -mask
        names = (
            "weight_bank",
            "in_bank",
            "param_bank",
            "out_bank",
            "psum_in",
            "psum_out",
            "residual_in",
            "reduce",
            "spike_out",
        )
        members = [sequencer.CORE0 + core for core in range(CORES) if gang >> core & 1]
        return members, sequencer.SYNAPSE, _synapse(gang, **{name: bit() for name in names})
    if kind == "planes":
        return [sequencer.CORE0 + int(rng.integers(CORES))], sequencer.PLANES, {"out_bank": bit()}
    opcode = int(rng.integers(sequencer.ATTEND_KV, sequencer.ATTEND_GATE + 1))
    return [sequencer.ATTENTION], opcode, {"q_bank": bit(), "out_bank": bit()}


def _emit(program):
    """(queues, emission order as a list of lists of (engine, index))."""
    emitter, order = _emitter(), []
    for engines, opcode, fields in program:
        order.append([(engine, len(emitter.queues[engine])) for engine in engines])
        emitter.emit(engines, opcode, fields, [{"layer": 0}] * len(engines))
    return emitter.queues, order


def _edges(queues, order):
    """Direct predecessors of each emission: of its members in their queues, and the post that each of their waits takes."""
    number = {place: index for index, places in enumerate(order) for place in places}
    posts: dict = {}
    before = [{} for _ in order]
    for engine, queue in queues.items():
        for index, instruction in enumerate(queue):
            for consumer in queues:
                if instruction.post >> consumer & 1:
                    posts.setdefault((engine, consumer), []).append(number[engine, index])
    taken = dict.fromkeys(posts, 0)
    for engine, queue in queues.items():
        for index, instruction in enumerate(queue):
            here = before[number[engine, index]]
            if index:
                here.setdefault(number[engine, index - 1], "queue")
            for producer in queues:
                if instruction.wait >> producer & 1:
                    pair = producer, engine
                    here[posts[pair][taken[pair]]] = "wait"
                    taken[pair] += 1
    assert taken == {pair: len(entries) for pair, entries in posts.items()}, "a post that nothing waits for"
    return before


def _closure(before):
    """Bit masks: which emissions have surely ended when each starts. Emission order must be an order of the graph."""
    ended = []
    for index, predecessors in enumerate(before):
        mask = 0
        for other in predecessors:
            assert other < index, "a wait for something later: a deadlock"
            mask |= ended[other] | 1 << other
        ended.append(mask)
    return ended


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("gangs", [False, True])
def test_every_pair_of_accesses_is_ordered(seed, gangs):
    rng = np.random.default_rng(seed)
    program = [_random(rng, gangs) for _ in range(120)]
    queues, order = _emit(program)
    before = _edges(queues, order)
    ended = _closure(before)
    used: dict = {}
    for index, (places, (_, opcode, fields)) in enumerate(zip(order, program, strict=True)):
        touched = {bank for engine, _ in places for bank in banks(engine, {"opcode": opcode, **fields})}
        for bank in touched:
            for other in used.setdefault(bank, []):
                assert ended[index] >> other & 1, f"{other} and {index} share {bank} and are not ordered"
            used[bank].append(index)
    if not gangs:
        for index, predecessors in enumerate(before):
            for other, kind in predecessors.items():
                rest = [entry for entry in predecessors if entry != other]
                implied = any(ended[entry] >> other & 1 for entry in rest)
                assert not (kind == "wait" and implied), f"{index} waits for {other}, which another wait implies"


def _waits(program):
    queues, order = _emit(program)
    return [[queues[engine][index].wait for engine, index in places] for places in order]


C0, C1 = sequencer.CORE0, sequencer.CORE0 + 1
IN = dma.SPIKE_IN


def test_a_chain_waits_for_its_last_link_only():
    """The copy overwrites a bank of core 0 that the DMA loaded and core 0 has read: core 0's end implies the DMA's."""
    program = [
        ([sequencer.DMA], sequencer.LOAD, _load(1, IN, 0)),
        ([C0], sequencer.SYNAPSE, _synapse(1)),
        ([sequencer.MULTICAST], sequencer.COPY, _copy(C0, 1)),
        ([C0], sequencer.SYNAPSE, _synapse(1)),
        ([sequencer.MULTICAST], sequencer.COPY, _copy(C0, 2)),
        ([sequencer.DMA], sequencer.LOAD, _load(3, IN, 0)),
    ]
    assert _waits(program) == [[0], [1 << 0], [1 << C0], [1 << 1], [1 << C0], [1 << 1]]


def test_knowledge_travels_through_others():
    """The first wait of core 1 tells it of core 0 and the DMA; what it already knows it never waits for again."""
    program = [
        ([sequencer.DMA], sequencer.LOAD, _load(0b10, dma.WEIGHT, 0)),
        ([sequencer.DMA], sequencer.LOAD, _load(0b01, IN, 0)),
        ([C0], sequencer.SYNAPSE, _synapse(1)),
        ([sequencer.MULTICAST], sequencer.COPY, _copy(C0, 0b10)),
        ([C1], sequencer.SYNAPSE, _synapse(2)),
        ([C1], sequencer.SYNAPSE, _synapse(2)),
    ]
    assert _waits(program) == [[0], [0], [1 << 0], [1 << C0], [1 << 1], [0]]


def test_banks_apart_run_side_by_side():
    program = [
        ([sequencer.DMA], sequencer.LOAD, _load(1, dma.WEIGHT, 0)),
        ([C0], sequencer.SYNAPSE, _synapse(1, weight_bank=0)),
        ([sequencer.DMA], sequencer.LOAD, _load(1, dma.WEIGHT, 1)),
        ([C1], sequencer.SYNAPSE, _synapse(2)),
    ]
    assert _waits(program) == [[0], [1], [0], [0]]


def test_the_members_of_a_gang_wait_for_their_own():
    """Each member waits for the load of its weights; after the gang, both are known to both."""
    program = [
        ([sequencer.DMA], sequencer.LOAD, _load(1, dma.WEIGHT, 0)),
        ([sequencer.MULTICAST], sequencer.COPY, _copy(sequencer.ATTENTION, 0b10)),
        ([C0, C1], sequencer.SYNAPSE, _synapse(3)),
        ([sequencer.MULTICAST], sequencer.COPY, _copy(C1, 0b01)),
        ([sequencer.DMA], sequencer.LOAD, _load(2, dma.WEIGHT, 0)),
        ([C0], sequencer.SYNAPSE, _synapse(1, weight_bank=1)),
    ]
    waits = _waits(program)
    assert waits[2] == [1 << 0, 0]
    assert waits[3] == [1 << C1]
    assert waits[4] == [1 << C1]
    assert waits[5] == [1 << 1]


def test_member_fields_and_notes_belong_to_their_member():
    emitter = _emitter()
    notes = [{"layer": 4, "fields": {"columns": 16}}, {"layer": 4, "fields": {"columns": 5}}]
    emitter.emit([C0, C1], sequencer.SYNAPSE, _synapse(3), notes)
    assert [emitter.queues[engine][0].fields["columns"] for engine in (C0, C1)] == [16, 5]
    assert emitter.notes()[str(C1)] == [{"layer": 4}]
    assert "fields" in notes[0], "the caller's notes stay as they are"


def test_an_instruction_keeps_what_somebody_may_ask_for_alone():
    """Of a long program the last owner of each bank and the last of each queue know what has ended, and the others nothing."""
    emitter, rng = _emitter(), np.random.default_rng(3)
    for _ in range(500):
        engines, opcode, fields = _random(rng, True)
        emitter.emit(engines, opcode, fields, [{"layer": 7}] * len(engines))
    ends = {(engine, len(queue) - 1) for engine, queue in emitter.queues.items() if queue}
    asked = set(emitter._owners.values()) | ends
    for engine, queue in emitter.queues.items():
        for index, instruction in enumerate(queue):
            assert bool(instruction.known) == ((engine, index) in asked)
    notes = [note for queue in emitter.notes().values() for note in queue]
    assert len(notes) > 400 and all(note is notes[0] for note in notes)


def test_a_queue_that_is_full_names_the_engine():
    emitter = _emitter(3)
    fields = {**_load(1), "dram_address": 0, "row": 0, "rows": 1, "row_bytes": 4}
    for _ in range(2):
        emitter.emit([sequencer.DMA], sequencer.LOAD, fields, [{}])
    assert len(emitter.rows()[sequencer.DMA]) == 3  # with HALT
    emitter.emit([sequencer.DMA], sequencer.LOAD, fields, [{}])
    with pytest.raises(
        ArchsimError, match="queue of dma needs 4 rows, but queue_rows is 3, which is not refilled .*; use a chip with"
    ):
        emitter.rows()


# ------------------------------------------------------------------------------ programs longer than their memories

ROWS = 32


def _long_program(loads=50, planes=120):
    """A program that needs six parts of a core's memory; DMA's own outgrows its memory too."""
    emitter, word = _emitter(ROWS), {**_load(1), "dram_address": 0, "row": 0, "rows": 1, "row_bytes": 4}
    emitter.dram.reserve(1, 4)
    fields = {"reduce_base": 0, "blocks": 1, "planes": 1, "right_shift": 0, "out_bank": 0, "out_base": 0}
    for number in range(planes):
        emitter.emit([C0], sequencer.PLANES, fields | {"out_base": number}, [{"layer": 0}])
        if number < loads:
            emitter.emit([sequencer.DMA], sequencer.LOAD, word, [{"layer": 0}])
    return Program(emitter.chip, emitter.rows(), emitter.dram.content())


def _refills(queue):
    return [index for index, head in enumerate(queue) if head["memory"] == dma.PROGRAM]


def test_a_long_queue_is_refilled_in_parts():
    program = _long_program()
    queues = decode(program)
    prove(program.chip, queues, len(program.dram))
    loads = [queues[sequencer.DMA][index] for index in _refills(queues[sequencer.DMA])]
    of_core = [head for head in loads if head["cores"] == C0]
    # 120 instructions and HALT are parts 0 to 7 of 16; the first two are there from the start
    assert [head["bank"] for head in of_core] == [0, 1, 0, 1, 0, 1]
    assert {head["rows"] for head in loads} == {ROWS // 2}
    stride = 3 * CHIP.dram_bus_bytes * -(-sequencer.INSTRUCTION_BYTES // (3 * CHIP.dram_bus_bytes))
    for number, head in enumerate(of_core, 2):
        rows = program.queues[C0][number * 16 :][:16]
        held = program.dram[head["dram_address"] :][: 16 * stride].reshape(16, stride)
        assert np.array_equal(held[: len(rows), : rows.shape[1]], rows)
        assert not held[len(rows) :].any()  # rows behind HALT
    assert any(head["cores"] == sequencer.DMA for head in loads)  # DMA's own part comes by DMA too


def _first_refill(queues):
    """The LOAD of part 2 of core 0: it takes the place of part 0."""
    return next(
        queues[sequencer.DMA][index]
        for index in _refills(queues[sequencer.DMA])
        if queues[sequencer.DMA][index]["cores"] == C0
    )


def test_a_part_comes_after_the_one_that_it_replaces_and_before_its_first_row():
    queues = decode(_long_program())
    # the last row of part 0 is read at the end of instruction 14, the first of part 2 at the end of instruction 31
    posts = [index for index, entry in enumerate(queues[C0]) if entry["post"] >> sequencer.DMA & 1]
    waits = [index for index, entry in enumerate(queues[C0]) if entry["wait"] >> sequencer.DMA & 1]
    assert posts[0] == 14 and waits[0] == 31
    assert _first_refill(queues)["wait"] == 1 << C0


def test_a_refill_without_its_semaphores_is_refused():
    program = _long_program()
    for victim in (_first_refill, lambda queues: queues[C0][31]):
        queues = decode(program)
        victim(queues)["wait"] = 0
        with pytest.raises(ArchsimError, match=r"(touches|followed by a part of its queue that) core 0 program\[0\],? .*may"):
            prove(program.chip, queues, len(program.dram))


def test_a_missing_part_is_refused():
    program = _long_program()
    queues = decode(program)
    last = _refills(queues[sequencer.DMA])[-1]
    queues[sequencer.DMA][last] = queues[sequencer.DMA][last] | {"memory": dma.WEIGHT, "cores": 2, "row_bytes": 4}
    with pytest.raises(
        ArchsimError, match=r"core 0 instruction \d+ \(PLANES\) is followed by a part .* may not hold then"
    ):
        prove(program.chip, queues, len(program.dram))


def test_other_rows_in_dram_are_refused():
    program = _long_program()
    program.dram[_first_refill(decode(program))["dram_address"]] ^= 1
    with pytest.raises(
        ArchsimError, match="loads other rows into the program memory of core 0 than 32 to 47 of its queue"
    ):
        decode(program)
