"""Sweep the placement of experts: cycles of recorded images for every assignment of a network's experts to the cores.

    python -m scripts.placement WORKLOAD [--chip CHIP] [--residual-rows N]

All layers are placed alike. Assignments that differ by the names of cores alone still differ in time, since tokens have homes;
so every one is tried whose experts share cores in a way that was not seen before, and of those without sharing, all orders.
Time is that of trace mode. A placement for which the chip has no room is refused by the mapper and listed so.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

from archsim import simulate
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.workload import Workload
from mapping.experts import IntExperts
from mapping.schedule import schedule

Place = tuple[int, ...]
"""Core of each expert."""


def placements(experts: int, cores: int) -> Iterator[Place]:
    """Sharings of cores, the first expert of each on the lowest core that is free; and all orders of experts that share none."""
    shared = {
        tuple(list(dict.fromkeys(place)).index(core) for core in place)
        for place in product(range(cores), repeat=experts)
    }
    yield from sorted(place for place in shared if len(set(place)) < experts)
    yield from permutations(range(cores), experts)


def measure(mapped: Workload, place: Place) -> tuple[int, int] | None:
    """(cycles, cycles in which a flit waited) of the recorded images; None if there is no room, or only with maps in DRAM."""
    layers = {layer.name: place for layer in mapped.network.layers if isinstance(layer, IntExperts)}
    try:
        program = schedule(mapped.network, mapped.program.chip, products=mapped.products, placement=layers)
    except ArchsimError:
        return None
    if program.notes["streamed"] != mapped.program.notes["streamed"]:
        return None
    placed, pixels = replace(mapped, program=program), mapped.images(len(mapped.tuning_images()))
    runs = [simulate.run_image(placed, pixels[image], image, "trace")[0] for image in mapped.tuning_images()]
    return sum(run.cycles for run in runs), sum(int(run.records["flit_stalls"].sum()) for run in runs)


def main() -> None:
    """Print every placement with its cycles, the fastest first."""
    parser = argparse.ArgumentParser(description="Sweep the placement of experts.")
    parser.add_argument("workload", type=Path)
    parser.add_argument("--chip", help="preset or chip file (default: the workload's)")
    parser.add_argument(
        "--residual-rows", type=int, help="rows of the residual banks, so that experts can share a core"
    )
    arguments = parser.parse_args()
    mapped = simulate.load(arguments.workload, arguments.chip)
    chip: ChipParams = mapped.program.chip
    if arguments.residual_rows:
        mapped = simulate.load(arguments.workload, chip.replace(residual_rows=arguments.residual_rows))
    layers = [layer for layer in mapped.network.layers if isinstance(layer, IntExperts)]
    found = {place: measure(mapped, place) for place in placements(len(layers[0].experts), chip.cores)}
    images = len(mapped.tuning_images())
    print(
        f"{mapped.config.name} on {chip.name}, {images} recorded images: core of each expert, cycles and flit stalls an image"
    )
    for place, (cycles, stalls) in sorted(((p, f) for p, f in found.items() if f), key=lambda entry: entry[1]):
        print(f"{' '.join(map(str, place))}  {cycles / images:10,.1f}  {stalls / images:8,.1f}")
    print(
        f"no room: {', '.join(' '.join(map(str, place)) for place, entry in found.items() if entry is None) or 'none'}"
    )


if __name__ == "__main__":
    main()
