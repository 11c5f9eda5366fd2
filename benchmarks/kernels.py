"""``python -m benchmarks.kernels``: what the innermost kernels take by themselves: the limits in docs/performance.md.

Data in the caches, one thread, medians over REPEATS runs, compiled beforehand.
"""

from collections.abc import Callable

import numpy as np

from archsim.config import load_chip
from archsim.contracts.core import SYNAPSE_FIELDS
from archsim.contracts.neuron import LIF
from archsim.jit import entry, kernel
from archsim.results import COUNTERS, Recording
from archsim.units.core import Banks, Scratch, store_group
from archsim.vectors import BLOCK, ROOM, ROW, WIDTH, add_rows, aligned, list_bits
from benchmarks.paired import REPEATS, seconds

TURNS, WORDS, RATE = 20_000, 64, 0.15
"""Calls in a measurement; words of a list and spikes of a channel in it."""


@kernel
def _add(rows, weight, sums, turns):  # type: ignore[no-untyped-def]
    for _ in range(turns):
        add_rows(rows, 0, len(rows), weight, sums, 1, False)


@kernel
def _list(words, rows, turns):  # type: ignore[no-untyped-def]
    for _ in range(turns):
        end = 0
        for word in words:
            end = list_bits(rows, end, word, 0)


@kernel
def _end(f, bits, banks, scratch, counts, turns):  # type: ignore[no-untyped-def]
    for number in range(turns):
        scratch.sums[0, 0] += 1
        store_group(f, 0, 0, number & 3, False, bits, banks, scratch, counts)


def nanoseconds(run: Callable[[int], None], each: int) -> float:
    """Time of one of the ``each`` items of a turn; ``run`` makes so many turns."""
    run(1)
    return 1e9 * float(np.median([seconds(lambda: run(TURNS)) for _ in range(REPEATS)])) / TURNS / each


def main() -> None:
    """Measure and print."""
    rng, chip, none = np.random.default_rng(1), load_chip("adders_512"), np.zeros((0, 0, 0), np.int32)
    weight, rows = aligned((512, WIDTH), np.int8), rng.integers(0, 512, BLOCK).astype(ROW)
    weight[:] = rng.integers(-128, 128, (512, WIDTH))
    spikes = rng.random((WORDS, 64)) < RATE
    words, listed = np.packbits(spikes, bitorder="little").view(np.uint64), aligned(WORDS * 64 + ROOM, ROW)
    scratch = Scratch.empty(chip, 0, 0, 0, 0, Recording(none, none))
    scratch.neuron.params[1] = 50
    flat, map_rows = aligned(chip.columns * 16, np.int32), np.zeros((16, chip.lanes), np.uint64)
    params = np.zeros((chip.param_rows, 3, chip.neurons), np.int32)
    banks = Banks(map_rows, weight, params, flat, flat.copy(), flat.copy(), map_rows.copy())
    fields = {"out_width": 1, "out_height": 1, "blocks": chip.blocks, "steps": 1, "slices": 4, "lanes": 1, "spike_out": 1,
              "neuron": LIF, "out_slice": 1}  # fmt: skip
    group, counts = entry(SYNAPSE_FIELDS, fields), np.zeros(len(COUNTERS), np.int64)
    sums = aligned(WIDTH, np.int32)
    taken = {
        f"weight row of {WIDTH} columns added": nanoseconds(lambda n: _add(rows, weight, sums, n), len(rows)),
        f"word listed, rate {RATE}": nanoseconds(lambda n: _list(words, listed, n), WORDS),
        f"group ended: neuron unit and writer, {chip.columns} columns": nanoseconds(
            lambda n: _end(group, chip.membrane_bits, banks, scratch, counts, n), 1
        ),
    }
    for name, value in taken.items():
        print(f"{name:52s} {value:6.2f} ns")


if __name__ == "__main__":
    main()
