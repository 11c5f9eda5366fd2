"""Spike fetch, fast: the taps of a window that lie on the map."""

from archsim.contracts import spike_fetch
from archsim.jit import njit

clip = njit(spike_fetch.clip)
"""First tap and end tap of a window, from the contract."""

ADDRESS_MASK = (1 << spike_fetch.ADDRESS_BITS) - 1
