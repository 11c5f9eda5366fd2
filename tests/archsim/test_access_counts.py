"""Does the simulator count the accesses to the count memory, its marks and the pool's memories as they happen, cycle by cycle?"""

import numpy as np
import pytest

from archsim.contracts.attention import ATTEND_FIELDS
from archsim.contracts.core import SYNAPSE_FIELDS
from archsim.contracts.dma import RESIDUAL, TRANSFER_FIELDS
from archsim.contracts.sequencer import ATTEND_GATE, ATTEND_KV, ATTEND_Q, ATTEND_SCORES, LOAD, STORE
from archsim.contracts.spike_writer import emits, pool_accesses
from archsim.results import COUNT
from archsim.units import attention, core, dma
from tests.archsim import test_stepped_core as stepped_core
from tests.archsim.test_stepped_attention import CHIP, ONE, tiny

FIELDS = dict.fromkeys((field.name for field in ATTEND_FIELDS), 0) | ONE


def run(opcode, memory, **fields):
    """Counters of an instruction, by name."""
    counts = attention.attend(opcode, FIELDS | fields, CHIP, memory)[1]
    return {name: int(counts[number]) for name, number in COUNT._asdict().items()}


@pytest.mark.parametrize(
    ("words", "changes", "empty"),
    [
        ([1, 0, 0, 2], {}, 2),
        ([1, 0, 0, 0, 0, 4], {"words": 2, "y_stride": 2, "x_stride": 2}, 1),  # groups of two words
        ([1, 0, 0, 2], {"in_width": 2}, 3),  # of four positions two lie beside the map
        ([0, 0, 1, 0], {"out_width": 2, "planes": 1, "slices": 2, "slice_stride": 2}, 1),  # two planes of two groups
    ],
)
def test_groups_without_a_spike_are_counted(words, changes, empty):
    size = len(words) // changes.get("words", 1)
    zeros = dict.fromkeys((field.name for field in SYNAPSE_FIELDS), 0)
    fields = zeros | stepped_core.POINT | {"in_width": size, "out_width": size} | changes
    members = [stepped_core.tiny(*words) for _ in range(2)]
    for counts in core.synapse([fields, fields], stepped_core.CHIP, members)[1]:
        assert counts[COUNT.empty_groups] == empty and counts[COUNT.groups] == fields["out_width"]


@pytest.mark.parametrize(
    ("opcode", "words", "changes", "empty"),
    [
        # Rows of channels 0 and 1 have counts: of four words of Q one has no spike, one only such as are marked.
        (ATTEND_Q, {"q": [1, 0, 0b100, 0b110]}, {"tile": 4}, 2),
        (ATTEND_SCORES, {"q": [0b10, 0b100, 0, 0b11]}, {"tile": 4, "tokens": 2}, 2),
        (ATTEND_SCORES, {"q": [0b11, 0b11], "v": [0, 0]}, {"tile": 2, "tokens": 2}, 2),  # scores, and nobody that takes them
        (ATTEND_GATE, {"q": [1, 1]}, {"tile": 2, "tokens": 2}, 0),
        (ATTEND_GATE, {"q": [1, 1], "v": [0b100, 0b100]}, {"tile": 2, "tokens": 2}, 1),  # the gate is one group
    ],
)
def test_groups_of_the_attention_unit_without_an_addition_are_counted(opcode, words, changes, empty):
    memory = tiny(**({"k": [0b11, 0b01], "v": [0b11, 0b11]} | words))
    run(ATTEND_KV, memory, tokens=2)
    for trace in (None, np.zeros((changes["tile"], 1), np.uint64)):
        counts = attention.attend(opcode, FIELDS | changes, CHIP, memory, trace)[1]
        assert counts[COUNT.empty_groups] == empty and counts[COUNT.groups] >= empty


@pytest.mark.parametrize(
    ("opcode", "row_bytes", "starts"),
    [(LOAD, 16, 5), (LOAD, 9, 5), (LOAD, 8, 1), (STORE, 16, 0)],  # a bus of 8 bytes
)
def test_rows_that_begin_are_counted(opcode, row_bytes, starts):
    zeros = dict.fromkeys((field.name for field in TRANSFER_FIELDS), 0)
    fields = zeros | {"opcode": opcode, "memory": RESIDUAL, "cores": 3, "rows": 5, "row_bytes": row_bytes}
    assert dma.account(fields, stepped_core.CHIP)[1][COUNT.row_starts] == starts


@pytest.mark.parametrize(
    ("keys", "reads"),
    [
        ([1] * 6, 2),  # the third event and those behind it find the row that is just written
        ([1, 2, 1, 2], 2),  # so do the third and the fourth, of two rows in turn
        ([1, 2, 4, 1], 4),  # three cycles apart the row has been written
        ([1, 0, 1], 1),  # a word without a spike takes a cycle
        ([1, 0, 0, 1], 2),
        (
            [0b11, 0b01, 0b11],
            4,  # rows 0 1 0 0 1: only the second 0 comes two cycles behind a 0
        ),
    ],
)
def test_an_event_does_not_read_a_row_on_its_way(keys, reads):
    memory = tiny(k=keys, v=[0b101] * len(keys))
    found = run(ATTEND_KV, memory, tokens=len(keys))
    events = sum(key.bit_count() for key in keys)
    assert (found["count_reads"], found["count_writes"], found["mark_writes"]) == (reads, events, 1)


def test_rows_without_an_event_are_marked_and_not_read():
    memory = tiny(k=[0b11], v=[0b1], q=[0b1101])
    run(ATTEND_KV, memory)
    assert memory.cleared[0] == 0b11111100
    found = run(ATTEND_Q, memory)
    assert (found["count_reads"], found["mark_reads"], found["events"]) == (
        1,
        1,
        3,
    )  # of rows 0, 2 and 3 only 0 has counts


def test_popcount_reads_the_rows_of_channels_with_a_spike():
    memory = tiny(k=[1] * 9, v=[1] * 9)
    found = run(ATTEND_KV, memory, tokens=9, popcount=1)
    assert (found["count_reads"], found["count_writes"], found["mark_writes"]) == (
        2,
        2,
        1,
    )  # a block of 8 tokens, and one of 1
    assert memory.cleared[0] == 0b11111110


@pytest.mark.parametrize("odd", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_pool_accesses_granule_by_granule(odd):
    for height, width in np.ndindex(6, 6):
        if height <= odd[0] or width <= odd[1]:
            continue  # a tile has a row and a column besides the odd ones
        counts = np.zeros(4, int)
        for y, x in np.ndindex(height, width):
            ends = emits(x, width, odd[1])
            counts += 3 * np.array([x > 0, 1, ends and y > 0, ends])
        assert pool_accesses(height, width, *odd, 3) == tuple(counts)
