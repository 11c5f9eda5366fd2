"""Do the kernels' own operations equal plain NumPy: lists of events, weight rows in registers, bits of DRAM rows?"""

import numpy as np
import pytest

from archsim.config import load_chip
from archsim.contracts import neuron
from archsim.contracts.core import SYNAPSE_FIELDS
from archsim.elementwise import form_inputs, lif_step
from archsim.jit import entry, njit
from archsim.results import Recording
from archsim.units.core import Scratch
from archsim.units.dma import bits_at, integers, membranes, put_bits, store_integers
from archsim.units.neuron import NeuronScratch, plain_step
from archsim.units.spike_fetch import list_events
from archsim.units.synapse_array import add_weights
from archsim.vectors import PACKED, PART, ROOM, ROW, WIDTH, add_bits, add_counts, aligned, list_bits, list_by_table


def lister(function):
    @njit
    def listed(words, row, rows):
        end = 0
        for word in words:
            end = function(rows, end, word, row)
        return end

    return listed


@pytest.mark.parametrize("row", [0, 4096, (1 << 16) - 64])
@pytest.mark.parametrize("function", [list_bits, list_by_table], ids=["of this processor", "of every processor"])
def test_set_bits_are_listed(function, row):
    """Of every byte in every place, of words without a bit and with all, of random ones."""
    rng = np.random.default_rng(row)
    bytes_in_place = np.arange(256, dtype=np.uint64)[:, None] << np.arange(0, 64, 8, dtype=np.uint64)
    noise = rng.integers(0, 1 << 64, 99, np.uint64) & rng.integers(0, 1 << 64, 99, np.uint64)
    words = np.concatenate([bytes_in_place.ravel(), np.array([0, (1 << 64) - 1], np.uint64), noise])
    expected = np.nonzero(np.unpackbits(words.view(np.uint8), bitorder="little").reshape(-1, 64))[1] + row
    rows = np.full(len(expected) + ROOM + 1, 7777, ROW)
    assert lister(function)(words, row, rows) == len(expected)
    assert rows[: len(expected)].tolist() == expected.tolist()
    assert rows[-1] == 7777  # no more than ROOM elements behind the end are written


@njit
def stepped(sums, bits, scratch):
    spikes = np.zeros(len(sums), np.uint64)
    for t in range(len(sums)):
        spikes[t] = plain_step(t, sums[t], bits, scratch)
    return spikes


def test_plain_neurons_equal_the_reference():
    """All columns at a time, at both rails of the membrane and around each threshold; sum and bias wrap together."""
    rng, empty, bits = np.random.default_rng(3), np.zeros((0, 0, 0), np.int32), 20
    top, scratch = (1 << bits - 1) - 1, NeuronScratch.empty(WIDTH, empty, empty)
    threshold = rng.permutation(np.r_[[-top - 1, -1, 0, 1, top], rng.integers(-top, top, WIDTH - 5)])
    bias = rng.choice([-top - 1, -1, 0, 1, top, 12345], WIDTH)
    scratch.params[:2, :WIDTH] = bias, threshold
    rails, noise = rng.choice([-top - 1, top], WIDTH), rng.integers(-top, top, WIDTH)
    sums = np.stack([rails, 2 * threshold - 1 - bias, 2 * threshold - bias, noise])
    sums = (sums.astype(np.int64) + top + 1) % (1 << bits) - top - 1
    spikes = stepped(sums.astype(np.int32), bits, scratch)
    inputs = (sums + bias + top + 1) % (1 << bits) - top - 1
    for column in range(WIDTH):
        fired, membranes = neuron.reference(inputs[:, column].tolist(), int(threshold[column]), neuron.LIF, bits)
        assert [int(word) >> column & 1 for word in spikes] == fired
        assert scratch.v[column] == membranes[-1]


@njit
def inputs_of(y, sums, psum, bias, shift, residual, bits):
    form_inputs(y, sums, psum, bias, shift, residual, bits)


@njit
def fired_of(v, h, y, threshold, bits):
    return lif_step(v, h, v, y, threshold, bits)


@pytest.mark.parametrize("bits", [8, 16, 24])
def test_contracts_on_all_columns_at_once(bits):
    """Every shift, to the left and to the right, with each operand at its rails, one column another than the next."""
    rng, top = np.random.default_rng(bits), (1 << bits - 1) - 1
    sides = 1 << neuron.SHIFT_BITS - 1
    for shift in rng.permuted(np.tile(np.arange(-sides, sides), (9, WIDTH // (2 * sides))), axis=1):
        total, psum, bias, residual = rng.choice([-top - 1, -1, 0, 1, top, top // 3], (4, WIDTH))
        given = [part.astype(np.int32) for part in (total, psum, bias, shift, residual)]
        inputs_of(y := np.full(WIDTH + 1, 77, np.int32), *given, bits)
        expected = [neuron.membrane_input(*map(int, column), bits) for column in zip(*given, strict=True)]
        assert y.tolist() == [*expected, 77]
        v, threshold = rng.choice([-top - 1, -1, 0, 1, top], (2, WIDTH)).astype(np.int32)
        before, h = v.copy(), np.full(WIDTH + 1, 77, np.int32)
        spikes = int(fired_of(v, h, y, threshold, bits))
        for column in range(WIDTH):
            potential = neuron.potential(int(before[column]), expected[column], neuron.LIF, bits)
            assert h[column] == potential and spikes >> column & 1 == (potential >= threshold[column])
            assert v[column] == neuron.reset(potential, int(threshold[column]), neuron.LIF, bits)
        assert h[WIDTH] == 77


@njit
def taps_of(f, origin, window, spikes, columns, rows):
    return list_events(f, origin, window, spikes, 0, columns, rows)


@pytest.mark.parametrize("tap_rows", [1, 3, 16, 22, 32, 33, 64])
@pytest.mark.parametrize("stray", [False, True])
def test_narrow_taps_are_listed_side_by_side(tap_rows, stray):
    """Whole windows and clipped ones; a spike behind the map's channels (``stray``) has the row that it points to."""
    rng = np.random.default_rng(tap_rows)
    fields = {"words": 1, "kernel_width": 3, "x_stride": 2, "y_stride": 9, "tap_rows": tap_rows, "weight_base": 7}
    f = entry(SYNAPSE_FIELDS, fields)
    for window in ((0, 3, 0, 3), (1, 3, 0, 3), (0, 2, 1, 3), (0, 3, 2, 3), (1, 1, 0, 3), (0, 3, 0, 1)):
        spikes = rng.integers(0, 1 << 64, (99, 1), np.uint64)
        spikes >>= np.uint64(0 if stray else 64 - tap_rows)
        expected = [
            7 + (dy * 3 + dx) * tap_rows + bit
            for dy in range(*window[:2]) for dx in range(*window[2:]) for bit in range(64)
            if int(spikes[20 + dy * 9 + dx * 2, 0]) >> bit & 1
        ]  # fmt: skip
        rows = np.zeros(9 * 64 + ROOM, ROW)
        end = taps_of(f, 20, window, spikes, 64, rows)
        assert sorted(rows[:end].tolist()) == sorted(expected)


@pytest.mark.parametrize("columns", [16, 64])
@pytest.mark.parametrize("events", [0, 1, 254, 255, 256, 600])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("fresh", [False, True])
def test_weight_rows_are_added(columns, events, sign, fresh):
    """At the rail of the weights too, where 16 bits hold 255 rows and no more."""
    rng, empty = np.random.default_rng(events), np.zeros((0, 0, 0), np.int32)
    chip = load_chip("small").replace(columns=columns, neurons=columns, lanes=1)
    scratch = Scratch.empty(chip, 600, 0, 0, 0, Recording(empty, empty))
    for weight in (rng.integers(-128, 128, (32, columns)), np.full((32, columns), -128)):
        rows = rng.integers(0, 32, events)
        scratch.rows[0, :events], scratch.ends[0] = rows, events
        scratch.sums[:] = before = rng.integers(-1000, 1000, (1, columns))
        add_weights(scratch, weight.astype(np.int8), sign, fresh)
        assert np.array_equal(scratch.sums, (0 if fresh else before) + np.atleast_2d(sign * weight[rows].sum(0)))


@pytest.mark.parametrize("width", [1, 5, 8, 23, 24, 60, 64])
def test_bits_go_to_bytes_and_back(width):
    rng = np.random.default_rng(width)
    values = rng.integers(0, 1 << 63, 9, np.uint64) >> np.uint64(64 - width)
    size = -(-9 * width // 8)
    data = np.zeros(size + 40, np.uint8)
    for number, value in enumerate(values):
        put_bits(data, 20, 20 + size, number * width, width, value)
    whole = sum(int(value) << number * width for number, value in enumerate(values))
    assert data.tobytes() == bytes(20) + whole.to_bytes(size, "little") + bytes(20)
    data[20 + size :] = 255  # behind the row's end bits are 0, whatever stands there
    assert [int(bits_at(data, 20, 20 + size, number * width, width)) for number in range(9)] == values.tolist()
    assert bits_at(data, 20, 20 + size, 8 * size, width) == 0


@njit
def taken_apart(data, start, end, first, width, target):
    membranes(data, start, end, first, width, target)


@njit
def taken_apart_bit_by_bit(data, start, end, first, width, target):
    integers(data, start, end, first, width, target)


@njit
def put_together(data, start, end, width, values):
    store_integers(data, start, end, width, values)


@pytest.mark.parametrize("count", [PART, 2 * PART, PART - 1, 4])
@pytest.mark.parametrize("width", [PACKED, PACKED - 1])
@pytest.mark.parametrize("first", [0, 3, 48])
@pytest.mark.parametrize("missing", [0, 1])
def test_membranes_come_from_bytes_and_go_there(count, width, first, missing):
    """A part at a time and one by one, both rails among them; no byte before or behind is touched."""
    rng, top = np.random.default_rng(count + width), 1 << width - 1
    values = np.r_[[-top, top - 1, -1, 0], rng.integers(-top, top, count - 4)]
    whole = sum((int(value) % (1 << width)) << first + number * width for number, value in enumerate(values))
    size = (first + count * width + 7) // 8
    end = 20 + size - missing
    data = np.frombuffer(bytes(20) + whole.to_bytes(size, "little") + bytes(60), np.uint8).copy()
    found, slow = (np.full(count + 1, 99, np.int32) for _ in range(2))
    taken_apart(data, 20, end, first, width, found[:count])
    taken_apart_bit_by_bit(data, 20, end, first, width, slow[:count])
    assert found.tolist() == slow.tolist()
    assert missing or found[:count].tolist() == values.tolist()
    if first == 0:
        target = np.zeros(len(data), np.uint8)
        put_together(target, 20, end, width, values.astype(np.int32))
        assert target[:end].tolist() == data[:end].tolist() and not target[end:].any()


@njit
def counted(words, values):
    for word in words:
        add_bits(values, word)


@njit
def summed(rows, end, counts, sums):
    add_counts(rows, end, counts, sums)


def test_counts_are_added():
    """Where bits are set, all 64 and none among them; and whole rows, in any order, one of them twice."""
    rng = np.random.default_rng(4)
    words = np.r_[np.array([0, (1 << 64) - 1, 1, 1 << 63], np.uint64), rng.integers(0, 1 << 64, 50, np.uint64)]
    bits = np.unpackbits(words.view(np.uint8), bitorder="little").reshape(-1, WIDTH)
    before = rng.integers(-9, 9, WIDTH + 1).astype(np.int32)
    counted(words, values := before.copy())
    assert values.tolist() == [*(before[:WIDTH] + bits.sum(0)), before[-1]]
    counts, rows = rng.integers(-(2**31) // 8, 2**31 // 8, (9, WIDTH)).astype(np.int32), np.array([8, 0, 3, 3, 5], ROW)
    for end in range(len(rows) + 1):
        summed(rows, end, counts, sums := before.copy())
        assert sums.tolist() == [*(before[:WIDTH] + counts[rows[:end]].sum(0)), before[-1]]


@pytest.mark.parametrize("shape", [0, 7, (3, 5), (2, 0, 4), (2, 3, 64)])
def test_arrays_that_begin_with_a_line_of_the_cache(shape):
    for kind in (np.int8, np.int32, np.uint64):
        array = aligned(shape, kind)
        assert array.shape == np.zeros(shape).shape and array.dtype == kind and not array.any()
        assert array.flags.c_contiguous and array.flags.writeable and (array.size == 0 or array.ctypes.data % 64 == 0)
