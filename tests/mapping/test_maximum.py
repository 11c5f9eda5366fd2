"""Does every stored position meet every element of its window once, opened by the first and fired by the last?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archsim.config import load_chip
from archsim.contracts.common.errors import ArchsimError
from mapping.ir import Map
from mapping.maximum import pieces, visits
from mapping.quantise import Precision, quantise
from mapping.reference import peaks
from mapping.schedule import schedule
from mapping.tile import Tile

SIZES = st.integers(1, 12)


@st.composite
def cuts(draw):
    """A map of sums, a rectangle of the stored map, and room for some sums."""
    shape = Map(draw(SIZES), draw(SIZES), 1)
    first, size = [], []
    for whole in ((shape.height + 1) // 2, (shape.width + 1) // 2):
        first.append(draw(st.integers(0, whole - 1)))
        size.append(draw(st.integers(1, whole - first[-1])))
    return shape, Tile(0, 0, 0, 0, first[0], first[1], *size, 0, 0), draw(st.integers(1, 30))


@given(cuts(), st.integers(0, 1 << 16))
def test_what_is_met_makes_the_maximum(cut, seed):
    shape, tile, room = cut
    sums = np.random.default_rng(seed).integers(-99, 0, (shape.height, shape.width))  # a 0 of the padding would be seen
    parts = pieces(shape, tile, room)
    stored, fired, meetings = {}, [], []
    for part, found in zip(parts, visits(shape, tile, parts), strict=True):
        assert 1 <= part.height * part.width <= room
        bank = sums[part.y : part.y + part.height, part.x : part.x + part.width].ravel()
        assert len(bank) == part.height * part.width  # no sum beyond the map
        for visit in found:
            for number in range(visit.count):
                place = visit.y, visit.x + number
                value = int(bank[visit.source + 2 * number])
                assert visit.opens == (place not in stored) and place not in fired
                stored[place] = value if visit.opens else max(value, stored[place])
                meetings.append((place, part.y * shape.width + part.x, visit.source + 2 * number))
                fired += [place] if visit.fires else []
    rows, columns = range(tile.y, tile.y + tile.height), range(tile.x, tile.x + tile.width)
    whole = peaks(sums.reshape(1, -1, 1), shape).reshape((shape.height + 1) // 2, -1)
    assert stored == {(y, x): whole[y, x] for y in rows for x in columns}
    assert sorted(fired) == sorted(stored)
    assert len(set(meetings)) == len(meetings)
    elements = {(y, x): len(sums[max(0, 2 * y - 1) : 2 * y + 2, max(0, 2 * x - 1) : 2 * x + 2].ravel()) for y, x in stored}
    assert {place: sum(met[0] == place for met in meetings) for place in stored} == elements


def test_windows_by_hand():
    """Four columns in one piece: nine elements in nine runs inside; at the left border the column before it does not exist."""
    shape, tile = Map(4, 4, 1), Tile(0, 0, 0, 0, 1, 0, 1, 2, 0, 0)
    (part,) = pieces(shape, tile, 12)
    assert (part.y, part.x, part.height, part.width) == (1, 0, 3, 4)
    (found,) = visits(shape, tile, [part])
    assert [(visit.x, visit.count, visit.source) for visit in found[:3]] == [(0, 2, 0), (1, 1, 1), (0, 2, 1)]
    assert [visit.opens for visit in found] == [True] + [False] * 8
    assert [visit.fires for visit in found] == [False] * 8 + [True]


def test_a_chip_without_comparators_is_refused_by_name(make_random):
    network = quantise(make_random(1, peaks=True), Precision())
    chip = load_chip("small")
    message = "layer 'conv': takes the maximum over sums before its neuron, which needs a chip with residual_maximum, given 'small'"
    with pytest.raises(ArchsimError, match=message):
        schedule(network, chip)
    schedule(network, chip.replace(residual_maximum=1))


def test_a_bank_without_room_for_a_sum_is_refused_by_name(make_random):
    """4 steps x 4 blocks of a position."""
    network = quantise(make_random(1, peaks=True), Precision())
    with pytest.raises(ArchsimError, match=r"layer 'conv': needs 16 rows of psum, but chip 'small' has 15"):
        schedule(network, load_chip("small").replace(residual_maximum=1, psum_rows=15))


def test_shapes_before_and_behind_the_windows(make_random):
    network = make_random(1, height=9, width=6, peaks=True)
    conv = quantise(network, Precision()).layers[1]
    assert conv.sums == Map(5, 4, 8) and conv.shape == Map(3, 2, 8)  # of a map of 5 x 3, with a kernel of 3 x 2
    assert network.maps()["a"] == conv.shape
