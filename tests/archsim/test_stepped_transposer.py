"""Does the stepped transposer show the cycles and words of its contract, with gaps and back-pressure?"""

import numpy as np
import pytest

from archsim.contracts import transposer as contract
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.transposer import TransposerParams
from archsim.stepped import transposer

ALWAYS = np.array([True])


def words(*bits, last=()):
    return {"bits": bits, "last": [int(number in last) for number in range(len(bits))]}


def test_a_whole_and_a_short_block_without_stalls():
    # Three words accepted in 0, 1, 2; columns in 3, 4, 5; the short block's words in 6, 7, its columns in 8, 9, 10.
    run = transposer.run(
        TransposerParams(3), words(0b001, 0b011, 0b110, 0b111, 0b100, last={4}), np.zeros(5, np.int64), ALWAYS
    )
    assert run.accepted.tolist() == [0, 1, 2, 6, 7]
    assert run.transferred.tolist() == [3, 4, 5, 8, 9, 10]
    assert run.columns.tolist() == [0b011, 0b110, 0b100, 0b01, 0b01, 0b11]
    assert run.last.tolist() == [0, 0, 1, 0, 0, 1]
    assert run.state == {"rows": [0, 0, 0], "index": 0, "draining": 0}


def test_gaps_and_back_pressure():
    # Ready in odd cycles. Word 0 accepted in 1, word 1 offered from 1 + 1 + 2 = 4: accepted; columns offered from 5: 5, 7.
    # Word 2 waits until 8 and stays.
    run = transposer.run(TransposerParams(2), words(0b10, 0b11, 0b01), np.array([1, 2, 0]), np.array([False, True]))
    assert run.accepted.tolist() == [1, 4, 8]
    assert run.transferred.tolist() == [5, 7]
    assert run.columns.tolist() == [0b10, 0b11]
    assert run.state == {"rows": [0b01, 0], "index": 1, "draining": 0}


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_blocks_occupy_the_cycles_of_the_law(size):
    rng = np.random.default_rng(size)
    counts = rng.integers(1, size + 1, 20)
    ends = np.cumsum(counts) - 1
    bits = rng.integers(0, (1 << size) - 1, ends[-1] + 1, np.uint64, endpoint=True)
    last = np.zeros(len(bits), np.int64)
    last[ends[counts < size]] = 1
    run = transposer.run(TransposerParams(size), {"bits": bits, "last": last}, np.zeros(len(bits), np.int64), ALWAYS)
    assert contract.block_sizes(last.tolist(), size) == counts.tolist()
    starts = run.accepted[ends - counts + 1]
    assert np.diff(starts).tolist() == [contract.block_cycles(int(count), size) for count in counts[:-1]]
    blocks = np.split(bits, ends[:-1] + 1)
    expected = [word for block in blocks for word in contract.reference(block.tolist(), size)]
    assert run.columns.tolist() == expected


def test_a_consumer_that_never_takes_is_refused():
    with pytest.raises(ArchsimError, match="ready must be true in some cycle"):
        transposer.run(TransposerParams(2), words(1), np.zeros(1, np.int64), np.array([False]))


@pytest.mark.parametrize("size", [0, 65])
def test_sizes_beyond_a_word_are_refused(size):
    with pytest.raises(ArchsimError, match=rf"transposer: word_bits must be in 1\.\.64, given {size}"):
        TransposerParams(size)
