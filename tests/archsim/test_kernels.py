"""Do the kernels' own operations equal plain NumPy: lists of events, weight rows in registers, bits of DRAM rows?"""

import numpy as np
import pytest

from archsim.config import load_chip
from archsim.contracts import neuron
from archsim.jit import njit
from archsim.results import Recording
from archsim.units.core import Scratch
from archsim.units.dma import bits_at, put_bits
from archsim.units.neuron import NeuronScratch, plain_step
from archsim.units.synapse_array import add_weights
from archsim.vectors import ROOM, WIDTH, list_bits, list_by_table


def lister(function):
    @njit
    def listed(words, row, rows):
        end = 0
        for word in words:
            end = function(rows, end, word, row)
        return end

    return listed


@pytest.mark.parametrize("row", [0, 4096, (1 << 31) - 64])
@pytest.mark.parametrize("function", [list_bits, list_by_table], ids=["of this processor", "of every processor"])
def test_set_bits_are_listed(function, row):
    """Of every byte in every place, of words without a bit and with all, of random ones."""
    rng = np.random.default_rng(row)
    bytes_in_place = np.arange(256, dtype=np.uint64)[:, None] << np.arange(0, 64, 8, dtype=np.uint64)
    noise = rng.integers(0, 1 << 64, 99, np.uint64) & rng.integers(0, 1 << 64, 99, np.uint64)
    words = np.concatenate([bytes_in_place.ravel(), np.array([0, (1 << 64) - 1], np.uint64), noise])
    expected = np.nonzero(np.unpackbits(words.view(np.uint8), bitorder="little").reshape(-1, 64))[1] + row
    rows = np.full(len(expected) + ROOM + 1, -1, np.int32)
    assert lister(function)(words, row, rows) == len(expected)
    assert rows[: len(expected)].tolist() == expected.tolist()
    assert rows[-1] == -1  # no more than ROOM elements behind the end are written


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
