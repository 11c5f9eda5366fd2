"""Is the masker's sequence what its contract claims of it, and do both models show its words and cycles?"""

import numpy as np
import pytest

from archsim.contracts import masker as contract
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.masker import DEGREE, KEEP_ALL, TAPS, MaskerParams
from archsim.stepped import masker as stepped
from archsim.units import masker as fast

ALWAYS = np.array([True])
MODELS = pytest.mark.parametrize("model", [fast, stepped], ids=["fast", "stepped"])


def words(spikes, first=None):
    return {"spikes": np.array(spikes, np.uint64), "first": [0] * len(spikes) if first is None else first}


def sequence(count, state):
    """Bits s[0 .. count-1] by the recurrence; ``state`` is s[0 .. 60], numbers or sets of state bits (as masks)."""
    bits = list(state)
    while len(bits) < count:
        bits.append(bits[-61] ^ bits[-61 + 10] ^ bits[-61 + 18] ^ bits[-61 + 27])
    return bits


def seeded_bits(seed, count):
    return sequence(count, [contract.begin(seed) >> place & 1 for place in range(DEGREE)])


def independent(vectors):
    """Whether vectors over GF(2), as integers, are linearly independent."""
    basis = {}
    for vector in vectors:
        while vector and vector.bit_length() in basis:
            vector ^= basis[vector.bit_length()]
        if not vector:
            return False
        basis[vector.bit_length()] = vector
    return True


# ------------------------------------------------------------------------------ the sequence


def test_the_period_is_the_longest():
    """Irreducible of prime degree 61: x^(2^61) = x; and 2^61 - 1 is prime, so each state but 0 comes once."""
    polynomial = 1 << DEGREE | sum(1 << tap for tap in TAPS)
    power = 2  # x
    for _ in range(DEGREE):
        square = sum(1 << 2 * place for place in range(DEGREE) if power >> place & 1)
        for place in range(2 * DEGREE, DEGREE - 1, -1):
            square ^= (polynomial << place - DEGREE) if square >> place & 1 else 0
        power = square
    assert power == 2
    assert pow(3, (1 << DEGREE) - 2, (1 << DEGREE) - 1) == 1
    lucas = 4  # Lucas-Lehmer: 2^61 - 1 is prime
    for _ in range(DEGREE - 2):
        lucas = (lucas * lucas - 2) % ((1 << DEGREE) - 1)
    assert lucas == 0


def test_no_register_is_zero():
    assert contract.begin(0) != 0
    assert contract.begin((1 << 32) - 1) < 1 << DEGREE


def test_step_is_eight_bits_of_the_recurrence():
    rng = np.random.default_rng(1)
    for register in rng.integers(1, 1 << DEGREE, 100).tolist():
        bits = sequence(DEGREE + 8, [register >> place & 1 for place in range(DEGREE)])
        assert contract.step(register) == sum(bit << place for place, bit in enumerate(bits[8:]))


def test_two_and_three_bytes_are_independent():
    """Over the period: the 16 (24) bits, as sums of bits of the state, are linearly independent. Five bytes are not."""
    bits = sequence(8 * 5001, [1 << place for place in range(DEGREE)])
    byte = [bits[8 * place : 8 * place + 8] for place in range(5001)]
    assert all(independent(byte[0] + byte[place]) for place in range(1, 5000))
    assert all(independent(byte[0] + byte[i] + byte[j]) for j in range(2, 128) for i in range(1, j))
    relation = {(7 + exponent) // 8 for exponent in (*TAPS, DEGREE)}
    assert len(relation) == 5 and not independent(sum((byte[place] for place in sorted(relation)), []))


def test_seeds_of_small_numbers_differ_in_many_bits():
    seeds = [contract.seed_of(number) for number in range(1000)]
    assert len(set(seeds)) == 1000
    distance = [bin(a ^ b).count("1") for a, b in zip(seeds, seeds[1:], strict=False)]
    assert 15 < np.mean(distance) < 17 and min(distance) >= 4


# ------------------------------------------------------------------------------ statistics


def kept(params, keep, count, seed=0):
    """What a mask leaves of full words, bool [words, lanes, channels]."""
    full = np.full((count, params.lanes), (1 << params.word_bits) - 1, np.uint64)
    run = fast.run(params, {"seed": contract.seed_of(seed), "keep": keep}, words(full, [1] + [0] * (count - 1)),
                   np.zeros(count), ALWAYS)  # fmt: skip
    return (run.spikes[:, :, None] >> np.arange(params.word_bits, dtype=np.uint64) & np.uint64(1)).astype(bool)


def within(count, trials, probability):
    """Whether a count lies within five standard deviations of a binomial law's mean."""
    return abs(count - trials * probability) <= 5 * np.sqrt(trials * probability * (1 - probability))


@pytest.mark.parametrize("keep", [1, 13, 64, 128, 200, 255])
def test_rate_and_neighbours(keep):
    params, p = MaskerParams(4, 16), keep / 256
    for seed in range(3):
        left = kept(params, keep, 4000, seed)
        assert within(left.sum(), left.size, p)
        assert all(within(count, len(left), p) for count in left.sum(axis=0).ravel())
        pairs = (
            left[:, :, 1:] & left[:, :, :-1],  # neighbouring channels
            left[:, 1:] & left[:, :-1],  # neighbouring lanes
            left[1:] & left[:-1],  # the same channel of consecutive words
            left[:, :, 8:] & left[:, :, :-8],
        )
        # Pairs overlap: their sum is spread about sqrt(3) wider than that of disjoint ones, so every other pair is counted.
        assert within(pairs[0][:, :, ::2].sum(), pairs[0][:, :, ::2].size, p * p)
        assert within(pairs[1][:, ::2].sum(), pairs[1][:, ::2].size, p * p)
        assert within(pairs[2][::2].sum(), pairs[2][::2].size, p * p)
        assert within(pairs[3].sum(), pairs[3].size, p * p)


def test_the_number_kept_of_a_word_is_binomial():
    params, p = MaskerParams(4, 16), 0.25
    counts = kept(params, 64, 20000).sum(axis=(1, 2))
    # Variance of the sample variance of a near-normal law: 2 v^2 / n.
    variance = 64 * p * (1 - p)
    assert abs(counts.var() - variance) < 5 * variance * np.sqrt(2 / len(counts))


def test_the_ends_are_exact():
    params = MaskerParams(2, 64)
    assert not kept(params, 0, 500).any()
    assert kept(params, KEEP_ALL, 500).all()


# ------------------------------------------------------------------------------ words and cycles


@MODELS
def test_words_by_hand(model):
    # Bytes of seed 0x03FF0180 from the lowest: 0x80, 0x01, 0xFF, 0x03; the next come from the fill 0x13C6EF37: 0x37, 0xEF.
    assert contract.begin(0x03FF0180) & (1 << 48) - 1 == 0xEF3703FF0180
    run = model.run(
        MaskerParams(1, 3), {"seed": 0x03FF0180, "keep": 0x80}, words([[7], [7], [5]], [1, 0, 1]), np.zeros(3), ALWAYS
    )
    assert run.spikes.tolist() == [[0b010], [0b011], [0b000]]
    assert run.accepted.tolist() == [0, 1, 2]
    assert run.transferred.tolist() == [1, 2, 3]
    bits = seeded_bits(0x03FF0180, 24 + DEGREE)[24:]
    assert run.state == {"register": sum(bit << place for place, bit in enumerate(bits))}


@MODELS
def test_gaps_and_back_pressure(model):
    # Ready in cycles 2, 5, 8 ... Word 0 offered from 2: accepted 2, offered 3, taken 5; word 1 offered from 3, accepted as that is
    # taken, 5, taken 8; word 2 offered from 5 + 1 + 3 = 9, accepted 9, taken 11.
    run = model.run(
        MaskerParams(1, 1), {"seed": 1, "keep": 256}, words([[1], [0], [1]]), np.array([2, 0, 3]),
        np.array([False, False, True]),
    )  # fmt: skip
    assert run.accepted.tolist() == [2, 5, 9]
    assert run.transferred.tolist() == [5, 8, 11]
    assert run.spikes.tolist() == [[1], [0], [1]]


@MODELS
@pytest.mark.parametrize("params", contract.corners(), ids=str)
def test_against_bits_one_by_one(params, model):
    rng = np.random.default_rng(params.word_bits)
    spikes = rng.integers(0, (1 << params.word_bits) - 1, (50, params.lanes), np.uint64, endpoint=True)
    first = (rng.random(50) < 0.1).astype(int)
    for keep in (0, 1, 77, 255, 256):
        seed = int(rng.integers(1 << 32))
        run = model.run(params, {"seed": seed, "keep": keep}, words(spikes, first), rng.integers(0, 3, 50),
                        np.append(rng.random(37) < 0.5, True))  # fmt: skip
        masked, register = contract.reference(spikes.tolist(), first.tolist(), seed, keep, params.word_bits)
        assert run.spikes.tolist() == masked
        assert run.state == {"register": register}


@pytest.mark.parametrize(
    ("seed", "keep", "text"),
    [(0, 257, r"keep must be in 0\.\.256 \(of 256 spikes\), given 257"), (0, -1, "keep must be in"),
     (1 << 32, 1, r"seed must be in 0\.\.4294967295, given 4294967296"), (-1, 1, "seed must be in")],
)  # fmt: skip
@MODELS
def test_a_configuration_out_of_range_is_refused(model, seed, keep, text):
    with pytest.raises(ArchsimError, match=text):
        model.run(MaskerParams(1, 1), {"seed": seed, "keep": keep}, words([[1]]), np.zeros(1), ALWAYS)


@MODELS
def test_a_consumer_that_never_takes_is_refused(model):
    with pytest.raises(ArchsimError, match=r"ready"):
        model.run(MaskerParams(1, 1), {"seed": 0, "keep": 1}, words([[1]]), np.zeros(1), np.array([False]))


@pytest.mark.parametrize(
    ("sizes", "text"),
    [((0, 8), r"lanes must be in 1\.\.16, given 0"), ((17, 8), "given 17"),
     ((1, 0), r"word_bits must be in 1\.\.64, given 0"), ((1, 65), "given 65")],
)  # fmt: skip
def test_sizes_out_of_range_are_refused(sizes, text):
    with pytest.raises(ArchsimError, match=text):
        MaskerParams(*sizes)
