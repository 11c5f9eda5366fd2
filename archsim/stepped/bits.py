"""Bit operations on words held in int64 (channel 63 is the sign bit), and the decorator of kernels that address memories."""

import numba

from archsim.jit import njit

checked = numba.njit(cache=True, boundscheck=True)
"""Like ``njit``, and an address outside its memory raises IndexError."""


@njit
def ones(count):
    """A word with the lowest ``count`` bits set (0..64)."""
    return -1 if count >= 64 else (1 << count) - 1


@njit
def popcount(word):
    """Set bits of a word."""
    count = 0
    while word != 0:
        word &= word - 1
        count += 1
    return count


@njit
def channel(one_hot):
    """Position of the only set bit."""
    position = 0
    for half in (32, 16, 8, 4, 2, 1):
        if one_hot & ones(half) == 0:
            position += half
            one_hot >>= half
    return position


@njit
def wrap(value, bits):
    """``value`` as a two's-complement number of ``bits`` bits."""
    half = 1 << (bits - 1)
    return ((value + half) & (2 * half - 1)) - half


@njit
def put_granule(row, lane, block, neurons, spikes):
    """Write the ``neurons`` bits of a block into one lane of a spike row; that of block 0 and lane 0 clears the other bits."""
    if block == 0 and lane == 0:
        row[:] = 0
    mask = ones(neurons) << (block * neurons)
    row[lane] = (row[lane] & ~mask) | (spikes << (block * neurons))
