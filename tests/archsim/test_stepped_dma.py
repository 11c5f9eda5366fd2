"""Do the stepped DMA and multicast move the right rows, in the cycles worked out by hand and by the law?"""

import numpy as np
import pytest

from archsim.contracts import dma as contract
from archsim.contracts import multicast as multicast_contract
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.sequencer import ATTENTION, CORE0
from archsim.stepped import dma, multicast
from archsim.units.sram import CoreMemory, Memories, rows_from_bytes

CHIP = ChipParams(
    name="tiny", clock_mhz=100.0, cores=3, lanes=2, columns=8, neurons=4, weight_bits=5, membrane_bits=18,
    weight_rows=32, param_rows=32, spike_in_rows=32, spike_out_rows=32, residual_rows=32, psum_rows=32, reduce_rows=32,
    attention_rows=32, count_rows=8, count_bits=8, dram_bus_bytes=4, dram_latency_cycles=3, dram_burst_bytes=8,
    dram_outstanding=1, queue_rows=8,
)  # fmt: skip


def memories(chip=CHIP, seed=0):
    rng = np.random.default_rng(seed)
    whole = Memories.empty(chip, rng.integers(0, 256, 4096).astype(np.uint8))
    for memory in whole.cores:
        memory.spike_out[:] = rng.integers(0, 256, memory.spike_out.shape)
        memory.reduce[:] = rng.integers(-(1 << 17), 1 << 17, memory.reduce.shape)
    whole.attention.out[:] = rng.integers(0, 256, whole.attention.out.shape)
    return whole


def transfer(**fields):
    return {
        "dram_address": 0,
        "memory": contract.WEIGHT,
        "cores": 1,
        "bank": 0,
        "row": 0,
        "rows": 1,
        "row_bytes": 5,
        "row_skip": 0,
    } | fields


def test_load_of_two_bursts_one_after_the_other():
    # Two rows of two beats, bursts of two beats: request 1, beats 4 and 5, row 0 written 6; request 6, beats 9 and 10, row 1
    # written 11, end 12.
    assert dma.load(transfer(rows=2), CHIP, memories()) == 12


def test_load_of_two_bursts_at_once():
    # Requests 1 and 2, beats 4..7, last row written 8, end 9.
    assert dma.load(transfer(rows=2), CHIP.replace(dram_outstanding=2), memories()) == 9


def test_bursts_do_not_overtake():
    # Requests 1 and 2 with latencies 7 and 1: beats 8, 9, then 10, 11; written 12, end 13.
    assert dma.load(transfer(rows=2), CHIP.replace(dram_outstanding=2), memories(), [7, 1]) == 13


def test_load_writes_the_rows_of_every_core_of_the_mask():
    whole = memories()
    # Bytes of weights of 5 bits: 1, -1, 0, ..., with the beat's padding behind them.
    whole.dram[16:24] = [0b111_00001, 0b11, 0, 0, 0, 0xFF, 0xFF, 0xFF]
    dma.load(transfer(dram_address=16, cores=0b101, bank=1, row=3), CHIP, whole)
    for core, row in ((0, [1, -1] + [0] * 6), (1, [0] * 8), (2, [1, -1] + [0] * 6)):
        assert whole.cores[core].weight[1, 3].tolist() == row
    assert not whole.cores[0].weight[0].any()


def test_load_of_words_of_64_channels():
    # Two words, one with channel 63 and one without: neither passes through a float.
    chip = CHIP.replace(columns=64, neurons=16)
    whole = memories(chip)
    words = [(1 << 63) + 1, (1 << 62) + 1]
    whole.dram[:16] = np.array(words, "<u8").view(np.uint8)
    dma.load(transfer(memory=contract.SPIKE_IN, row_bytes=16), chip, whole)
    assert whole.cores[0].spike_in[0, 0].tolist() == words


def test_store_of_two_rows():
    # Rows of 18-bit sums, 9 bytes in three beats: read 1, held 2, beats 3..5 and 6..8, end 9.
    whole = memories()
    before = whole.dram.copy()
    whole.cores[2].reduce[4:6] = [[1, -1, 2, -2], [3, -3, 4, -4]]
    fields = transfer(memory=contract.REDUCE, cores=0b100, row=4, rows=2, row_bytes=9, dram_address=8)
    assert dma.store(fields, CHIP, whole) == 9
    for row, start in enumerate((8, 20)):
        word = int.from_bytes(whole.dram[start : start + 9].tobytes(), "little")
        values = [word >> 18 * i & 0x3FFFF for i in range(4)]
        assert values == [value & 0x3FFFF for value in whole.cores[2].reduce[4 + row].tolist()]
    before[8:17], before[20:29] = whole.dram[8:17], whole.dram[20:29]
    assert np.array_equal(whole.dram, before)


@pytest.mark.parametrize("seed", range(40))
def test_random_load(seed):
    rng = np.random.default_rng(seed)
    bus, beats = int(rng.choice([1, 4, 8])), int(rng.integers(1, 5))
    chip = CHIP.replace(dram_bus_bytes=bus, dram_burst_bytes=bus * beats, dram_outstanding=int(rng.integers(1, 5)))
    latencies = rng.integers(0, 9, int(rng.integers(1, 6))).tolist()
    memory, rows, size = int(rng.choice(contract.LOADED)), int(rng.integers(1, 9)), int(rng.integers(1, 30))
    skip = int(rng.integers(0, 3))
    whole = memories(chip, seed)
    fields = transfer(
        memory=memory, rows=rows, row_bytes=size, cores=0b011, bank=1, row=7, dram_address=bus * 3, row_skip=skip
    )
    cycles = dma.load(fields, chip, whole, latencies)
    row_beats = contract.row_beats(size, bus)
    assert cycles == contract.load_cycles(rows * row_beats, beats, chip.dram_outstanding, latencies)
    data = whole.dram[bus * 3 : bus * 3 + rows * row_beats * bus].reshape(rows, -1)[:, :size]
    for core in whole.cores[:2]:
        array = getattr(core, contract.MEMORIES[memory])
        bank = array[1] if memory in contract.BANKED else array
        assert np.array_equal(bank[7 : 7 + rows * (1 + skip) : 1 + skip][:rows], rows_from_bytes(chip, memory, data))


@pytest.mark.parametrize("seed", range(20))
def test_random_store_and_load_back(seed):
    rng = np.random.default_rng(seed)
    chip = CHIP.replace(dram_bus_bytes=int(rng.choice([1, 2, 4])), membrane_bits=int(rng.integers(8, 25)))
    whole = memories(chip)
    half = 1 << chip.membrane_bits - 1
    whole.cores[1].residual[:] = rng.integers(-half, half, whole.cores[1].residual.shape)
    rows = int(rng.integers(1, 9))
    size = -(-4 * chip.membrane_bits // 8)
    fields = transfer(memory=contract.RESIDUAL, cores=0b010, row=3, rows=rows, row_bytes=size)
    beats = rows * contract.row_beats(size, chip.dram_bus_bytes)
    assert dma.store(fields, chip, whole) == contract.store_cycles(beats)
    dma.load(fields | {"cores": 0b100}, chip, whole)
    assert np.array_equal(whole.cores[2].residual[3 : 3 + rows], whole.cores[1].residual[3 : 3 + rows])


@pytest.mark.parametrize(
    ("change", "message"), [({"rows": 0}, "1 or more required"), ({"cores": 3}, "one core required")]
)
def test_a_store_that_is_none_is_refused(change, message):
    with pytest.raises(ArchsimError, match=message):
        dma.store(transfer(memory=contract.REDUCE) | change, CHIP, memories())


def test_a_row_outside_its_memory_is_refused():
    with pytest.raises(IndexError):
        dma.load(transfer(row=32), CHIP, memories())


# ------------------------------------------------------------------------------ multicast


def test_copy_of_one_row():
    # 1 read, 2 held, 3 written, end 4.
    whole = memories()
    fields = {
        "source": CORE0 + 1,
        "source_bank": 1,
        "source_base": 9,
        "outer": 1,
        "inner": 1,
        "cores": 0b101,
        "bank": 1,
        "base": 2,
    }
    assert multicast.copy(fields, CHIP, whole) == 4
    for core in (0, 2):
        expected = CoreMemory.empty(CHIP).spike_in
        expected[1, 2] = whole.cores[1].spike_out[1, 9]
        assert np.array_equal(whole.cores[core].spike_in, expected)
    assert not whole.cores[1].spike_in.any()


@pytest.mark.parametrize("source", [ATTENTION, CORE0, CORE0 + 2])
def test_copy_of_two_loops(source):
    whole = memories()
    fields = {
        "source": source, "source_bank": 0, "source_base": 1, "source_outer": 9, "source_inner": 2, "outer": 3,
        "inner": 4, "cores": 0, "bank": multicast_contract.V, "base": 5, "base_outer": 4, "base_inner": 1,
    }  # fmt: skip
    assert multicast.copy(fields, CHIP, whole) == multicast_contract.cycles(12)
    out = whole.attention.out if source == ATTENTION else whole.cores[source - CORE0].spike_out
    rows = [1, 3, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25]
    assert np.array_equal(whole.attention.spikes[multicast_contract.V, 5:17], out[0, rows])


def test_a_copy_of_nothing_is_refused():
    with pytest.raises(ArchsimError, match="1 or more required"):
        multicast.copy({"source": CORE0, "outer": 0, "inner": 1}, CHIP, memories())
