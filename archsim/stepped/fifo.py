"""A FIFO of registers: an entry pushed in cycle t is offered from t + 1 on (pop before push within a cycle)."""

from archsim.jit import njit

HEAD, COUNT = 0, 1
"""Registers: oldest entry, entries held."""


@njit
def push(state, store, entry):
    """Append ``entry``; the caller has checked that there is room."""
    store[(state[HEAD] + state[COUNT]) % len(store)] = entry
    state[COUNT] += 1


@njit
def pop(state, store):
    """Remove and return the oldest entry (a view: valid until the next push)."""
    entry = store[state[HEAD]]
    state[HEAD] = (state[HEAD] + 1) % len(store)
    state[COUNT] -= 1
    return entry
