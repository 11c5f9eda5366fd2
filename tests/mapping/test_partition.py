"""Is every position and every channel word computed exactly once, in pieces that the hardware can address?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsim.config import chip_names, load_chip
from archsim.contracts import neuron
from archsim.contracts.common.errors import ArchsimError
from archsim.kernel import decode
from archsim.ownership import prove
from mapping.ir import IMAGE, Classifier, Map, Synapse
from mapping.partition import Partition, choose, chunks, split, tiles, words
from mapping.quantise import IntSynapse, Precision, quantise
from mapping.schedule import Limits, schedule

SMALL = load_chip("small")
SIZES = st.integers(1, 20)


def _layer(shape, inputs, kernel=(1, 1), planes=0):
    zeros = np.zeros(shape.channels, np.int64)
    weight = np.zeros((shape.channels, inputs, *kernel), np.int8)
    return IntSynapse("l", "s", weight, zeros, zeros, zeros, neuron.LIF, shape, planes=planes)


def _whole_rows_or_within_one(first, end, width):
    return (first % width == 0 and end % width == 0) or first // width == (end - 1) // width


@given(SIZES, SIZES, st.integers(1, 40), st.booleans())
def test_split_covers_a_map_evenly(height, width, parts, whole_rows):
    ranges = split(Map(height, width, 1), parts, whole_rows)
    assert [n for first, end in ranges for n in range(first, end)] == list(range(height * width))
    assert len(ranges) <= parts
    for first, end in ranges:
        assert end > first
        assert _whole_rows_or_within_one(first, end, width)
        assert not whole_rows or first % width == end % width == 0
    lengths = [end - first for first, end in ranges]
    if parts <= height:
        assert len(ranges) == parts
        assert max(lengths) - min(lengths) <= width
    if not whole_rows and parts >= height * width:
        assert set(lengths) == {1}


@given(SIZES, SIZES, st.integers(1, 12), st.integers(1, 200), st.booleans())
def test_tiles_cover_a_range(height, width, parts, limit, whole_rows):
    """At most ``limit`` positions (one row where rows are the unit), whole rows or within one, in order."""
    for first, end in split(Map(height, width, 1), parts, whole_rows):
        pieces = list(tiles(first, end, width, limit, whole_rows))
        assert [n for a, b in pieces for n in range(a, b)] == list(range(first, end))
        row = whole_rows or end - first > width
        assert all(_whole_rows_or_within_one(a, b, width) for a, b in pieces)
        assert max(b - a for a, b in pieces) <= max(limit, width if row else 1)
        units = [(b - a) // (width if row else 1) for a, b in pieces]
        assert max(units) - min(units) <= 1


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 100), st.integers(1, 900))
def test_chunks_cover_the_inputs(height, width, channels, limit):
    """Every (kernel row, channel) once; whole words of channels; kernel rows are only cut when they must be."""
    layer = _layer(Map(1, 1, 3), channels, (height, width))
    needed = width * min(channels, SMALL.columns)
    if limit < width * SMALL.columns and limit < width * channels:
        with pytest.raises(
            ArchsimError, match=f"layer 'l': one kernel row of one channel word needs {needed} weight rows"
        ):
            chunks(SMALL, layer, limit)
        return
    parts = chunks(SMALL, layer, limit)
    seen = np.zeros((height, channels), int)
    for part in parts:
        assert part.kernel_rows * width * part.channels <= limit
        assert part.channel_first % SMALL.columns == 0
        assert part.channels % SMALL.columns == 0 or part.channel_first + part.channels == channels
        seen[
            part.kernel_first : part.kernel_first + part.kernel_rows,
            part.channel_first : part.channel_first + part.channels,
        ] += 1
    assert (seen == 1).all()
    if limit >= width * channels:
        assert all(part.channels == channels for part in parts)
        assert len(parts) == -(-height // min(limit // (width * channels), height))


@pytest.mark.parametrize(
    "cores, shape, gang, ranges",
    [
        (2, Map(4, 4, 64), 2, ((0, 16),)),  # equal cost: the wider gang loads each weight once
        (2, Map(4, 4, 16), 1, ((0, 8), (8, 16))),  # one word: positions
        (4, Map(1, 1, 40), 4, ((0, 1),)),  # one position: words
        (4, Map(3, 1, 32), 4, ((0, 3),)),  # cost 3; two gangs of two: 2 rows; see below
    ],
)
def test_the_cheapest_partition(cores, shape, gang, ranges):
    chip = SMALL.replace(cores=cores)
    partition = choose(chip, [_layer(shape, 8)], shape, False)
    if cores == 4 and shape.height == 3:
        gang, ranges = 2, ((0, 1), (1, 3))
    assert partition == Partition(gang, ranges)


def test_gangs():
    partition = Partition(3, ((0, 4), (4, 8)))
    assert partition.leaders == 0b001001
    assert partition.member_mask(2) == 0b100100
    assert partition.cores(1, 5, 0) == [3, 4, 5]
    assert partition.cores(1, 5, 1) == [3, 4]  # words 3 and 4


def _assert_computed_once(program):
    """From the notes of the instructions: every (position, word) of every map is stored by exactly one of them."""
    tensors = program.notes["tensors"]
    seen = {name: np.zeros((shape["positions"], shape["words"]), int) for name, shape in tensors.items()}
    for notes in program.notes["instructions"].values():
        for note in notes:
            if note.get("tensor"):
                place = slice(note["position"], note["position"] + note["positions"])
                seen[note["tensor"]][place, note["word"] : note["word"] + note["words"]] += 1
    assert all((counts == 1).all() for counts in seen.values()), seen


@pytest.mark.parametrize("preset", chip_names())
def test_every_preset_computes_everything_once(make_random, preset):
    chip = load_chip(preset)
    network = quantise(make_random(1, height=8, width=8, dim=64, hidden=144, heads=4), Precision(8, 8, 12, 24))
    for limits in (Limits(), Limits(positions=3), Limits(weight_rows=max(64, 3 * chip.columns))):
        _assert_computed_once(schedule(network, chip, limits))


@pytest.mark.parametrize("seed", range(12))
def test_random_shapes_compute_everything_once(make_random, seed):
    rng = np.random.default_rng(seed)
    chip = load_chip("adders_512").replace(
        cores=int(rng.integers(1, 9)),
        lanes=int(rng.integers(1, 5)),
        columns=int(rng.choice([16, 32])),
        neurons=int(rng.choice([4, 8])),
    )
    sizes = {"height": int(rng.integers(3, 12)), "width": int(rng.integers(3, 12)), "stem": int(rng.integers(1, 40)),
             "dim": int(rng.choice([16, 64, 96])), "hidden": int(rng.integers(5, 150)), "stride": int(rng.integers(1, 3)),
             "timesteps": int(rng.integers(1, 6))}  # fmt: skip
    sizes["heads"] = sizes["dim"] // 16
    network = quantise(make_random(seed, **sizes), Precision())
    program = schedule(network, chip, Limits(positions=int(rng.integers(1, 30))))
    _assert_computed_once(program)
    for layer in network.layers:
        if isinstance(layer, IntSynapse) and layer.spikes:
            assert program.notes["tensors"][layer.spikes]["words"] == words(chip, layer)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("pooled", [False, True])
def test_passes_over_the_partial_sums_compute_everything_once(make_network, rows, pooled):
    """9 x 4 positions on one core, sums of ``rows`` rows fit: more passes than positions alone would need."""
    stem = Synapse("stem", IMAGE, np.ones((16, 1, 1, 1)), np.zeros(16), spikes="s")
    layer = Synapse("l", "s", np.ones((16, 16, 3, 3)), np.zeros(16), padding=1, spikes="t", pool=pooled)
    head = Synapse(
        "m", "t", np.ones((16, 16, 1, 1)), np.zeros(16), stream="x", opens=True, neuron=None, threshold=0.0, reduce=True
    )
    classes = Classifier("head", "m", np.ones((3, 16)), np.zeros(3))
    network = quantise(make_network(stem, layer, head, classes, image=Map(9, 4, 1)), Precision(head_bits=12))
    position = 4 * SMALL.blocks  # steps x blocks
    # A pooled row of 2 positions needs 3 rows of 4 before the pool.
    chip = SMALL.replace(
        cores=1, psum_rows=rows * position * (12 if pooled else 4) + 5, weight_rows=48, residual_rows=4096
    )
    program = schedule(network, chip)
    _assert_computed_once(program)
    prove(chip, decode(program), len(program.dram))
    with pytest.raises(ArchsimError, match="layer 'l': needs [0-9]+ rows of psum, but chip 'small' has"):
        schedule(network, chip.replace(psum_rows=position * (12 if pooled else 4) - 1))
