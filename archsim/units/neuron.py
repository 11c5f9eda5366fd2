"""Neuron unit, fast: the contract's arithmetic over the columns of a group."""

from archsim.contracts import neuron
from archsim.jit import njit

membrane_input = njit(neuron.membrane_input)
potential = njit(neuron.potential)
reset = njit(neuron.reset)
initial = njit(neuron.initial)


@njit
def fire(y, v, threshold, kind, bits, h):
    """One time step of P neurons; ``v`` and ``h`` (potential before the reset) are updated in place.

    Args:
        y: membrane inputs, int32 [P].
        v: membranes, int32 [P].
        threshold: int32 [P].
        kind: neuron kind of the contract; NONE never fires.
        bits: membrane bits.
        h: int32 [P], written.

    Returns the spikes as a uint64, neuron p in bit p.
    """
    spikes = 0
    if kind == neuron.NONE:
        return spikes
    for p in range(len(y)):
        h[p] = potential(v[p], y[p], kind, bits)
        spikes |= (1 if h[p] >= threshold[p] else 0) << p
        v[p] = reset(h[p], threshold[p], kind, bits)
    return spikes
