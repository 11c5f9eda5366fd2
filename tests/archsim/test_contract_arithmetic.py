"""Does the arithmetic of each contract, in plain Python, agree with a second formulation and with values worked out by hand?"""

import itertools

import numpy as np
import pytest

from archsim.config import load_chip
from archsim.contracts import (
    attention,
    core,
    crossbar,
    dma,
    event_encoder,
    multicast,
    neuron,
    spike_fetch,
    synapse_array,
)
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.event_encoder import ADD, SHIFT, SUBTRACT
from archsim.contracts.neuron import IF_HALF, IF_ZERO, LIF, NONE

# ---------------------------------------------------------------------- neuron unit


@pytest.mark.parametrize("kind", [NONE, LIF, IF_HALF, IF_ZERO])
def test_steps_of_a_neuron_are_its_reference(kind):
    """Every threshold and every pair of inputs of 4 bits, and a third that is a rail."""
    for threshold, first, second, third in itertools.product(range(-8, 8), range(-8, 8), range(-8, 8), (-8, 7)):
        v, spikes, membranes = neuron.initial(threshold, kind), [], []
        for y in (first, second, third):
            h = neuron.potential(v, y, kind, 4)
            v = neuron.reset(h, threshold, kind, 4)
            spikes.append(int(kind != NONE and h >= threshold))
            membranes.append(v)
        assert (spikes, membranes) == neuron.reference([first, second, third], threshold, kind, 4)


@pytest.mark.parametrize(
    ("kind", "threshold", "inputs", "spikes", "membranes"),
    [
        (LIF, 4, [7, 7, -3, 8], [0, 1, 0, 0], [3, 0, -2, 3]),  # 7/2 = 3; 10/2 = 5 fires; -3/2 = -2; 6/2 = 3
        (LIF, 4, [8], [1], [0]),  # at the threshold
        (IF_HALF, 5, [2, 1, 4], [0, 1, 0], [4, 0, 4]),  # begins at 2: 4; 5 fires, 0 is left
        (IF_HALF, -5, [0], [1], [2]),  # begins at -3, fires, -3 + 5
        (IF_ZERO, 5, [4, 3], [0, 1], [4, 2]),
        (IF_ZERO, -8, [7, 7], [1, 1], [7, 7]),  # 7 + 8 saturates; 14 saturates, and so does 7 + 8
        (IF_ZERO, 7, [-8, -8, 7], [0, 0, 0], [-8, -8, -1]),
        (NONE, 0, [3, 3], [0, 0], [3, 6]),
    ],
)
def test_neurons_by_hand(kind, threshold, inputs, spikes, membranes):
    assert neuron.reference(inputs, threshold, kind, 4) == (spikes, membranes)


def test_membrane_input():
    rng = np.random.default_rng(1)
    for _ in range(2000):
        bits = int(rng.integers(4, 12))
        half = 1 << (bits - 1)
        total, psum, bias, residual = (int(value) for value in rng.integers(-half, half, 4))
        shift = int(rng.integers(-4, 6))
        shifted = (total + psum + bias) * 2**-shift if shift < 0 else (total + psum + bias) // 2**shift
        found = neuron.membrane_input(total, psum, bias, shift, residual, bits)
        assert -half <= found < half and (found - shifted - residual) % (2 * half) == 0


@pytest.mark.parametrize(
    ("total", "psum", "bias", "shift", "residual", "greater"),
    [
        (3, 0, 0, 0, 2, 3), (2, 0, 0, 0, 3, 3), (-3, 0, 0, 0, -4, -3), (-4, 0, 0, 0, -3, -3),
        (-8, 0, 0, 0, -8, -8), (7, 0, 0, 0, -8, 7), (-8, 0, 0, 0, 7, 7),  # the rails of 4 bits
        (3, 2, 2, 1, 2, 3), (-3, -2, 0, 1, -3, -3), (1, 0, 0, -2, 3, 4),  # 7 >> 1 = 3; -5 >> 1 = -3; 1 << 2 = 4
        (4, 4, 0, 0, -7, -7),  # 8 wraps to -8, and then is compared
        (5, 0, 0, 0, 5, 5),
    ],
)  # fmt: skip
def test_membrane_maximum(total, psum, bias, shift, residual, greater):
    alone = neuron.membrane_input(total, psum, bias, shift, 0, 4)
    assert neuron.membrane_maximum(alone, residual) == greater


def test_a_maximum_is_refused_where_no_comparator_is():
    chip = load_chip("small")
    core.check({"maximum": 0}, chip)
    core.check({"maximum": 1}, chip.replace(residual_maximum=1))
    message = "'maximum' needs a chip with residual_maximum, given chip 'small' .* set 'residual_maximum: 1'"
    with pytest.raises(ArchsimError, match=message):
        core.check({"maximum": 1}, chip)
    with pytest.raises(ArchsimError, match="maximum must be 0 or 1, given 2"):
        neuron.NeuronParams(1, 1, 4, 1, 1, 1, 1, maximum=2)


# ---------------------------------------------------------------------- synapse array, event encoder, spike fetch


def test_steps_of_an_accumulator_are_its_reference():
    rng = np.random.default_rng(2)
    weights = rng.integers(-8, 8, (6, 3)).tolist()
    lanes, bits = 2, 6
    events = [
        (int(op), int(rng.integers(6)), int(rng.integers(4)), int(rng.random() < 0.1))
        for op in rng.choice([ADD, SUBTRACT, SHIFT], 400, p=[0.5, 0.3, 0.2])
    ]
    groups, sums = [], [[0] * 3 for _ in range(lanes)]
    for op, row, mask, last in events:
        for lane, column in itertools.product(range(lanes), range(3)):
            if op == SHIFT or mask >> lane & 1:
                sums[lane][column] = synapse_array.step(sums[lane][column], weights[row][column], op, bits)
        if last:
            groups.append(sums)
            sums = [[0] * 3 for _ in range(lanes)]
    assert len(groups) > 20
    assert groups == synapse_array.reference(events, weights, lanes, bits)


@pytest.mark.parametrize(
    ("total", "weight", "op", "expected"),
    [(5, 3, 0, -8), (5, 2, 0, 7), (-8, 1, 1, 7), (-7, 1, 1, -8), (3, 7, 2, 6), (4, 7, 2, -8), (-5, 7, 2, 6)],
)
def test_accumulators_wrap_at_4_bits(total, weight, op, expected):
    assert synapse_array.step(total, weight, op, 4) == expected


def test_events_of_a_word():
    """One for each channel that spiked in any lane, from the lowest on, in the order in which ``step`` takes them."""
    rng = np.random.default_rng(3)
    for _ in range(300):
        spikes = [int(word) for word in rng.integers(0, 64, 3) * (rng.random(3) < 0.6)]
        shift, subtract, last = (int(mark) for mark in rng.integers(0, 2, 3))
        union = spikes[0] | spikes[1] | spikes[2]
        expected, left = [(2, 10, 0, 0)] if shift else [], union
        while left:
            one = event_encoder.step(left)
            channel = f"{left:b}"[::-1].index("1")
            assert one == 2**channel
            mask = sum(2**lane for lane in range(3) if spikes[lane] & one)
            expected.append((subtract, 10 + channel, mask, 0))
            left -= one
        if not union:
            expected.append((subtract, 10, 0, 0))
        expected[-1] = (*expected[-1][:3], last)
        assert event_encoder.reference(spikes, 10, shift, subtract, last) == expected
        assert event_encoder.word_cycles(bin(union).count("1"), shift) == len(expected)
    assert event_encoder.step(0) == 0


@pytest.mark.parametrize("planes", [0, 1])
@pytest.mark.parametrize("signed", [0, 1])
def test_words_of_a_window(planes, signed):
    """A window of 3 x 2 over a map of 4 x 5 positions, 2 slices and 2 words, with stride 2 and a row and a column of padding."""
    tile = {
        "in_origin": 100 - 20 - 4, "in_y": -1, "in_x": -1, "in_height": 4, "in_width": 5, "y_stride": 20, "x_stride": 4,
        "slice_stride": 2, "slices": 2, "words": 2, "planes": planes, "signed": signed, "kernel_height": 3, "kernel_width": 2,
        "stride": 2, "out_height": 3, "out_width": 4, "weight_base": 7, "tap_rows": 30,
    }  # fmt: skip
    expected = []
    for out_y, out_x, index in itertools.product(range(3), range(4), range(2)):
        words = []
        for dy, dx, word in itertools.product(range(3), range(2), range(2)):
            y, x = 2 * out_y - 1 + dy, 2 * out_x - 1 + dx
            if 0 <= y < 4 and 0 <= x < 5:
                words.append([100 + (y * 5 + x) * 4 + index * 2 + word, 7 + (dy * 2 + dx) * 30 + word * 16])
        words = words or [[-1, 0]]
        for number, (row, weight) in enumerate(words):
            last = number == len(words) - 1 and (index == 1 or not planes)
            expected.append(
                (row, weight, planes * (index == 1) * (number == 0), planes * signed * (index == 0), int(last))
            )
    assert list(spike_fetch.reference(tile, 16)) == expected


@pytest.mark.parametrize(
    ("origin", "expected"), [(-2, (2, 3)), (-1, (1, 3)), (0, (0, 3)), (3, (0, 2)), (5, (0, 0)), (-3, (3, 3))]
)
def test_taps_on_the_map(origin, expected):
    assert spike_fetch.clip(origin, 3, 5) == expected


# ---------------------------------------------------------------------- laws by hand


@pytest.mark.parametrize(
    ("beats", "burst", "outstanding", "latencies", "cycles"),
    [
        (2, 2, 1, [3], 1 + 3 + 1 + 2),  # request 1, beats 4 and 5, end 7
        (4, 2, 1, [3], 12),  # the second is requested in 6: beats 9 and 10
        (4, 2, 2, [3], 9),  # the second is requested in 2: beats behind the first, 6 and 7
        (3, 2, 2, [3], 8),  # and its only beat is 6
        (4, 2, 2, [5, 0], 11),  # no overtaking: 6, 7, 8, 9
        (6, 2, 2, [0, 9], 16),  # 1, 2; then 11, 12; the third comes behind them: 13, 14
        (1, 4, 1, [0], 3),
    ],
)
def test_load(beats, burst, outstanding, latencies, cycles):
    assert dma.load_cycles(beats, burst, outstanding, latencies) == cycles


def test_other_movers():
    assert [dma.row_beats(size, 8) for size in (1, 8, 9, 16, 17)] == [1, 1, 2, 2, 3]
    assert dma.store_cycles(5) == 8
    assert multicast.cycles(5) == 8


def test_groups_of_a_core():
    assert core.group_end(5, 0, 1, 1) == (6, 7)  # added in 5, handed over in 6, taken in 7
    assert core.group_end(5, 0, 4, 6) == (9, 15)
    assert core.group_end(6, 20, 3, 2) == (20, 24)  # the bank is free in 20; GROUP_GAP behind the block taken then
    assert core.group_end(18, 20, 3, 2) == (21, 24)
    assert core.group_end(30, 20, 3, 2) == (33, 35)


def test_attention():
    assert attention.kv_cycles(1) == 7 and attention.kv_cycles(10) == 16  # one addition, in 5; written back, end
    assert attention.count_row(2, 3, 1, 4, 5, 6, 2, 8) == (2 + 3 + 8 + 5) * 8 + 6
    assert attention.reference_gate([[0b110, 0b011], [0b111, 0b100]], [0b101, 0b110]) == [
        [0b100, 0b010],
        [0b101, 0b100],
    ]


@pytest.mark.parametrize(
    ("chosen", "offset", "expected"), [(0, 0, 1), (0, 2, 0), (1, 0, 2), (1, 1, 0), (2, 0, 0), (2, 2, 2)]
)
def test_inputs_take_turns(chosen, offset, expected):
    assert crossbar.turn(chosen, offset, 3) == expected
