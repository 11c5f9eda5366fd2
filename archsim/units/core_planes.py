"""Core, fast: a PLANES instruction, which makes rows of spikes of the bits of sums."""

import numpy as np

from archsim.contracts import core as contract
from archsim.jit import kernel, njit, popcount
from archsim.results import COUNT
from archsim.units.spike_writer import store

OVERHEAD = contract.PLANES_OVERHEAD
plane_value = njit(contract.plane_value)
planes_cycles = njit(contract.planes_cycles)


@kernel
def run_planes(f, neurons, reduce, trace, out, counts):
    """PLANES: bit planes of sums int32 [rows, P], or the rows of a trace, into the output bank; returns the cycles."""
    width, total = f.blocks * neurons, reduce.reshape(-1)[f.reduce_base * neurons :]
    for plane in range(f.planes):
        word = np.uint64(0)
        for column in range(width):
            bit = plane_value(total[column], f.right_shift, f.planes) >> (f.planes - 1 - plane) & 1
            word |= np.uint64(bit) << np.uint64(column)
        if len(trace):
            word = trace[plane, 0]
        store(out, f.out_base + plane, 0, 0, word, width)
        counts[COUNT.spikes] += popcount(word)
    granules = f.planes * f.blocks
    counts[COUNT.granules] += granules
    counts[COUNT.reduce_reads] += granules
    counts[COUNT.spike_writes] += granules
    counts[COUNT.fill_cycles] += OVERHEAD
    return planes_cycles(f.planes, f.blocks)
