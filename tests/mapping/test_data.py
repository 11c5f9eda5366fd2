"""Do the bytes in DRAM become the rows that were meant? Written by the mapping, read as the chip's DMA reads them."""

import numpy as np
import pytest

from archsim.config import load_chip
from archsim.contracts import dma, neuron
from archsim.units.sram import rows_from_bytes
from mapping.data import DramImage, bits_to_bytes, image_rows, param_rows, weight_rows
from mapping.ir import Map
from mapping.partition import Chunk
from mapping.quantise import IntSynapse


def _layer(rng, outputs, inputs, height, width, bits):
    low, high = -(1 << (bits - 1)), 1 << (bits - 1)
    weight = rng.integers(low, high, (outputs, inputs, height, width)).astype(np.int8)
    bias, threshold = rng.integers(-(1 << 23), 1 << 23, (2, outputs))
    shift = rng.integers(-16, 16, outputs)
    return IntSynapse("l", "s", weight, bias, threshold, shift, neuron.LIF, Map(1, 1, outputs))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("columns, neurons", [(16, 4), (32, 8), (6, 3)])
def test_weight_rows(bits, columns, neurons):
    """Row (kernel row, kernel column, input channel) of a chunk holds the weights of the word's channels."""
    chip = load_chip("small").replace(weight_bits=bits, columns=columns, neurons=neurons)
    layer = _layer(np.random.default_rng(bits), columns + 5, 9, 3, 2, bits)
    chunk = Chunk(1, 2, 4, 5)
    for word in (0, 1):
        data = weight_rows(chip, layer, word, chunk)
        assert data.shape == (2 * 2 * 5, -(-columns * bits // 8))
        rows = rows_from_bytes(chip, dma.WEIGHT, data)
        assert rows.shape == (20, columns)
        for index, (row, column, channel) in enumerate(np.ndindex(2, 2, 5)):
            for output in range(columns):
                place = word * columns + output
                required = layer.weight[place, 4 + channel, 1 + row, column] if place < columns + 5 else 0
                assert rows[index, output] == required


@pytest.mark.parametrize("membrane_bits", [24, 17])
@pytest.mark.parametrize("columns, neurons", [(16, 4), (32, 8), (6, 3)])
def test_param_rows(membrane_bits, columns, neurons):
    chip = load_chip("small").replace(membrane_bits=membrane_bits, columns=columns, neurons=neurons)
    layer = _layer(np.random.default_rng(1), columns + 5, 1, 1, 1, 8)
    half = 1 << (membrane_bits - 1)
    for name in ("bias", "threshold"):
        getattr(layer, name)[:] = getattr(layer, name) % (2 * half) - half
    for word, present in ((0, columns), (1, 5)):
        rows = rows_from_bytes(chip, dma.PARAM, param_rows(chip, layer, word))
        assert rows.shape == (chip.blocks, 3, neurons)
        bias, threshold, shift = rows.transpose(1, 0, 2).reshape(3, columns)
        part = slice(word * columns, word * columns + present)
        assert np.array_equal(bias[:present], layer.bias[part])
        assert np.array_equal(threshold[:present], layer.threshold[part])
        assert np.array_equal(shift[:present], layer.shift[part])
        # Columns without a channel never fire: no sum, no shift, the greatest threshold.
        assert not bias[present:].any()
        assert not shift[present:].any()
        assert (threshold[present:] == half - 1).all()


@pytest.mark.parametrize("lanes, columns, channels", [(1, 16, 3), (4, 32, 9), (2, 64, 1)])
def test_image_rows(lanes, columns, channels):
    """A row per position and plane, the sign plane first, channels from bit 0 of lane 0."""
    chip = load_chip("small").replace(lanes=lanes, columns=columns)
    image = np.random.default_rng(0).integers(-8, 8, (7, channels))
    image[0, 0], image[1, 0] = -8, 7
    rows = rows_from_bytes(chip, dma.SPIKE_IN, image_rows(image, 4))
    assert rows.shape == (7 * 4, lanes)
    assert not rows[:, 1:].any()
    for position, values in enumerate(image.tolist()):
        planes = [int(row) for row in rows[position * 4 : position * 4 + 4, 0]]
        for channel, value in enumerate(values):
            bits = [plane >> channel & 1 for plane in planes]
            assert -8 * bits[0] + 4 * bits[1] + 2 * bits[2] + bits[3] == value
        assert max(planes) < 1 << channels


def test_bytes_by_hand():
    """-3 and 5 in 4 bits: 1101 and 0101, lowest first: 0101 1101."""
    assert bits_to_bytes(np.array([[-3, 5], [7, -8]]), 4).tolist() == [[0b01011101], [0b10000111]]
    assert bits_to_bytes(np.array([[1, -1, 2]]), 3).tolist() == [[0b10111001, 0b0]]


def test_dram_rows_start_on_a_beat():
    image = DramImage(load_chip("small"))  # 8 bytes a beat
    assert image.add(np.full((2, 3), 7, np.uint8)) == 0
    assert image.reserve(1, 9) == 16
    assert image.add(np.full((1, 8), 1, np.uint8)) == 32
    content = image.content()
    assert len(content) == image.size == 40
    assert content.tolist() == [7, 7, 7, 0, 0, 0, 0, 0] * 2 + [0] * 16 + [1] * 8
    assert len(DramImage(load_chip("small")).content()) == 0
