"""Does the stepped core take the cycles worked out by hand?"""

import numpy as np
import pytest

from archsim.contracts import core as contract
from archsim.contracts import neuron
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.stepped import core
from archsim.units.sram import CoreMemory

CHIP = ChipParams(
    name="tiny", clock_mhz=100.0, cores=2, lanes=4, columns=8, neurons=4, weight_bits=8, membrane_bits=16,
    weight_rows=1024, param_rows=8, spike_in_rows=2048, spike_out_rows=1024, residual_rows=1024, psum_rows=1024,
    reduce_rows=8, attention_rows=64, count_rows=64, count_bits=8, dram_bus_bytes=8, dram_latency_cycles=10,
    dram_burst_bytes=32, dram_outstanding=2, queue_rows=64,
)  # fmt: skip

POINT = {
    "in_height": 1, "in_width": 1, "y_stride": 1, "x_stride": 1, "slice_stride": 1, "slices": 1, "words": 1,
    "kernel_height": 1, "kernel_width": 1, "stride": 1, "out_height": 1, "out_width": 1, "tap_rows": 8, "blocks": 1,
    "steps": 1, "neuron": neuron.LIF, "spike_out": 1, "out_position": 1, "out_slice": 1,
    "lanes": 1,
}  # fmt: skip
"""A 1 x 1 convolution of one word at one position, one block at one time step."""


def tiny(*words):
    """A memory whose input rows hold ``words`` in lane 0, with weights 1 and thresholds 1."""
    memory = CoreMemory.empty(CHIP)
    memory.spike_in[0, : len(words), 0] = words
    memory.weight[:] = 1
    memory.param[:, :, 1] = 1
    return memory


def test_one_event():
    # 1 read, 2 FIFO, 3 word, 4 event, 5 added, 6 handed over, 7 block taken, 8 y, 9 neuron, 10 written, 11 end.
    memory = tiny(0b1000)
    memory.param[0, 0, 0] = 1  # y = 2, h = 1
    assert core.synapse(POINT, CHIP, [memory]) == 11
    assert memory.spike_out[0, 0].tolist() == [0b1111, 0, 0, 0]


def test_two_groups_that_wait_for_the_neurons():
    # Group 0: added 5, handed over 6, blocks 7..10. Group 1: added 6, complete, handed over with the last block in 10, offered
    # 11, taken GROUP_GAP behind it: 13..16. End 16 + 4.
    fields = POINT | {"in_width": 2, "out_width": 2, "blocks": 2, "steps": 2}
    assert core.synapse(fields, CHIP, [tiny(1, 1)]) == 20


def test_words_of_64_channels():
    # As one event: channel 63 adds weight row 63, and 64 neurons fire at once.
    chip = CHIP.replace(columns=64, neurons=64)
    memory = CoreMemory.empty(chip)
    memory.spike_in[0, 0, 3] = 1 << 63
    memory.weight[0, 63] = 2
    memory.param[0, 0, 1] = 1
    assert core.synapse(POINT | {"steps": 4, "lanes": 4}, chip, [memory]) == 14
    assert memory.spike_out[0, 0].tolist() == [0, 0, 0, (1 << 64) - 1]


def test_empty_words():
    # 2 + 1 (empty) + 1 events are added in 5..8, handed over 9, taken 10, end 14.
    assert core.synapse(POINT | {"words": 3}, CHIP, [tiny(0b11, 0, 0b100)]) == 14


def test_a_window_on_padding_is_one_empty_word():
    # Added 5 (nothing), handed over 6, taken 7, end 11; the origin lies outside the bank.
    memory = tiny()
    assert core.synapse(POINT | {"in_y": -1, "in_origin": (1 << 20) - 1}, CHIP, [memory]) == 11
    assert not memory.spike_out.any()


def test_planes_of_a_signed_operand():
    # -3 = 0b101: sign plane 1 event; plane 1: shift, empty word; plane 0: shift, 1 event: added in 5..9, handed over 10, replayed
    # for three steps 11..13, end 17.
    memory = tiny(1, 0, 1)
    memory.weight[0, 0] = np.arange(8) - 4
    fields = POINT | {
        "slices": 3, "planes": 1, "signed": 1, "steps": 3, "replay": 1, "blocks": 2, "residual_out": 1, "neuron": 0,
        "residual_step": 2,
    }  # fmt: skip
    assert core.synapse(fields | {"blocks": 1}, CHIP, [memory]) == 17
    assert core.synapse(fields, CHIP, [memory]) == 20
    assert memory.residual[:6].reshape(3, 8).tolist() == [[12, 9, 6, 3, 0, -3, -6, -9]] * 3


def test_pool_of_a_4_by_4_map():
    # Sixteen groups of one event; the first is taken in 7, each other one GROUP_GAP later: the last in 7 + 15 * 3 = 52; through the
    # two stages of the pool the end is 52 + 6.
    spikes = [0b0001, 0, 0, 0b0010, 0, 0, 0, 0, 0, 0b0100, 0, 0, 0, 0, 0, 0b1000]
    memory = tiny(*spikes)
    memory.weight[0, :8] = 2 * np.eye(8, dtype=np.int8)
    fields = POINT | {
        "in_height": 4, "in_width": 4, "out_height": 4, "out_width": 4, "y_stride": 4, "pool": 1, "out_base": 3,
    }  # fmt: skip
    assert core.synapse(fields, CHIP, [memory]) == 58
    assert memory.spike_out[0, 3:7, 0].tolist() == [0b0001, 0b0010, 0b0100, 0b1100]


def test_planes_instruction():
    # Two planes of two blocks: read 1..4, written 3..6, end 7. -5 >> 1 = -3 saturates to -2, 3 >> 1 = 1.
    memory = CoreMemory.empty(CHIP)
    memory.reduce[2:4] = [[-5, 3, 0, -2], [100, 1, 2, -100]]
    memory.spike_out[1, 4:7] = 0xFFFF
    fields = {"reduce_base": 2, "blocks": 2, "planes": 2, "right_shift": 1, "out_bank": 1, "out_base": 5}
    assert core.planes(fields, CHIP, memory) == 7
    assert memory.spike_out[1, 5].tolist() == [0b1000_1001, 0, 0, 0]  # the first granule clears the row
    assert memory.spike_out[1, 6, 0] == 0b0101_1010
    assert memory.spike_out[1, 4, 0] == 0xFFFF


def test_members_of_a_gang_see_the_leaders_spikes():
    leader, member = tiny(1), tiny(0)
    member.weight[:] = 3
    member.param[0, 2, 0] = 10
    fields = POINT | {"residual_out": 1}
    assert core.synapse([fields, fields | {"param_base": 2}], CHIP, [leader, member]) == 11
    assert leader.residual[0].tolist() == [1] * 4
    assert member.residual[0].tolist() == [13] * 4


def test_members_of_a_gang_must_agree():
    with pytest.raises(ArchsimError, match="the same 'steps' required"):
        core.synapse([POINT, POINT | {"steps": 2}], CHIP, [tiny(1), tiny(1)])


def test_an_empty_tile_is_refused():
    with pytest.raises(ArchsimError, match="1 or more required"):
        core.synapse(POINT | {"out_width": 0}, CHIP, [tiny()])


def test_a_read_in_the_cycle_of_a_write_is_refused():
    # psum_step 0: step 2 is taken, and its row read, in the cycle in which step 0 is written.
    fields = POINT | {"steps": 3, "psum_in": 1, "psum_out": 1}
    with pytest.raises(ArchsimError, match="read in the cycle in which it is written"):
        core.synapse(fields, CHIP, [tiny(1)])


@pytest.mark.parametrize("seed", range(20))
def test_random_planes_instruction(seed):
    rng = np.random.default_rng(seed)
    memory = CoreMemory.empty(CHIP)
    memory.reduce[:] = rng.integers(-(1 << 15), 1 << 15, memory.reduce.shape)
    memory.spike_out[:] = rng.integers(0, 256, memory.spike_out.shape)
    blocks, planes, shift = int(rng.integers(1, 3)), int(rng.integers(1, 20)), int(rng.integers(0, 16))
    values = np.clip(memory.reduce[1 : 1 + blocks].reshape(-1) // 2**shift, -(2 ** (planes - 1)), 2 ** (planes - 1) - 1)
    expected = memory.spike_out.copy()
    for plane in range(planes):
        bits = values >> (planes - 1 - plane) & 1
        expected[0, 6 + plane] = 0
        for column, bit in enumerate(bits.tolist()):
            word = int(expected[0, 6 + plane, 0])
            expected[0, 6 + plane, 0] = word & ~(1 << column) | bit << column
    fields = {"reduce_base": 1, "blocks": blocks, "planes": planes, "right_shift": shift, "out_bank": 0, "out_base": 6}
    assert core.planes(fields, CHIP, memory) == contract.planes_cycles(planes, blocks)
    assert np.array_equal(memory.spike_out, expected)
