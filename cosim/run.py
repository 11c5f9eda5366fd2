"""Co-simulation of a workload: for each image the simulator first, then the Verilog, then the comparison."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.program import Program
from archsim.kernel import Simulation, decode
from archsim.simulate import Progress, Workload, load, write_image
from archsim.tensors import Capture
from archsim.units.sram import Memories
from cosim.compare import Comparison, compare
from cosim.expected import Plan, simulate
from cosim.least import least_chip
from cosim.machine import LATENCIES, Machine

SLACK = 1000
"""The Verilog may take twice the cycles expected, and so many more, before it is stopped."""


class Bench:
    """A program on simulator and Verilog.

    Args:
        program: the program.
        folder: where built Verilog is kept.
        text: Verilog to run in place of the chip's own.
        machine: a machine of the chip that has been built already, with room for the program's DRAM.
    """

    def __init__(self, program: Program, folder: Path, text: str | None = None, machine: Machine | None = None) -> None:
        self.program, self.folder, self.text = program, folder, text
        # Other Verilog than the chip's is run once or twice: not worth the compiler's time.
        self.machine = machine or Machine(program.chip, len(program.dram), folder, text, large=text is not None)
        self.plan = Plan(program.chip, decode(program), self.machine.bank_bytes())
        self.cycles: list[int] = []
        self.logits: list[NDArray[np.int64]] = []
        self.simulator_s = self.verilog_s = 0.0

    def run(self, dram: NDArray[np.uint8], latencies: Sequence[int] | None = None) -> Comparison:
        """Run from DRAM ``dram``, uint8 [bytes], and latencies of bursts (see :func:`cosim.expected.simulate`)."""
        widths = self.machine.row_bytes()
        expected = simulate(self.program, self.plan, dram, widths, latencies)
        self.cycles.append(expected.cycles)
        self.logits.append(expected.logits)
        self._time(dram, latencies)
        before = perf_counter()
        found = self.machine.run(self.plan, self.program, dram, latencies, 2 * expected.cycles + SLACK)
        self.verilog_s += perf_counter() - before
        return compare(self.program, self.plan, widths, expected, found)

    def wave(self, dram: NDArray[np.uint8], latencies: Sequence[int] | None, cycle: int, file: Path) -> None:
        """Write the Verilog's waveform around a cycle of the same run."""
        traced = Machine(self.program.chip, len(self.program.dram), self.folder, self.text, trace=True, large=True)
        traced.wave(self.program, dram, latencies, cycle, file)

    def _time(self, dram: NDArray[np.uint8], latencies: Sequence[int] | None) -> None:
        """Add the seconds of a run of the simulator that nobody observes."""
        chip = self.program.chip
        memories, capture = Memories.empty(chip, dram), Capture(chip, self.program.notes)
        before = perf_counter()
        Simulation(chip, self.plan.queues, memories, capture, latencies).run()
        self.simulator_s += perf_counter() - before


@dataclass
class Result:
    """What a co-simulation found.

    Attributes:
        mapped: the workload.
        bench: simulator and Verilog with their cycles (of each image) and seconds (of all, loading included, comparing not).
        latencies: what the latencies of DRAM were, in words.
        comparison: of all images together; its first divergence is the first image's that has one.
        image: the image of that divergence.
        wave: the waveform, if there is one.
    """

    mapped: Workload
    bench: Bench
    latencies: str
    comparison: Comparison = field(default_factory=Comparison)
    image: int | None = None
    wave: Path | None = None


def cosimulate(
    workload: str | Path,
    chip: str | Path | ChipParams | None = None,
    images: int = 1,
    latency_seed: int | None = None,
    least: bool = False,
    folder: Path = Path("build/cosim"),
    wave: Path | None = None,
    progress: Progress | None = None,
    text: str | None = None,
) -> Result:
    """Run the first ``images`` test images of a workload on simulator and Verilog.

    Args:
        workload: workload file (YAML).
        chip: preset, chip file, or parameters; None takes the workload's.
        images: number of images.
        latency_seed: seed of random latencies for the bursts of LOADs, uniform from 0 to twice the chip's; None: the chip's.
        least: shrink the chip's memories to the least that the mapper accepts.
        folder: where built Verilog is kept.
        wave: a waveform around the first divergence is written there.
        progress: called with (images done, images in all).
        text: Verilog to run in place of the chip's own.

    Raises ArchsimError for bad input and missing tools.
    """
    mapped = load(workload, chip)
    if least:
        mapped = load(workload, least_chip(mapped))
    chip = mapped.program.chip
    latencies = None if latency_seed is None else random_latencies(chip, latency_seed)
    result = Result(mapped, Bench(mapped.program, folder, text), _describe(chip, latency_seed))
    pixels = mapped.images(images)
    for number in range(images):
        dram = mapped.program.dram.copy()
        write_image(mapped, dram, pixels[number])
        single = result.bench.run(dram, latencies)
        result.comparison.add(single)
        if result.image is None and single.first is not None:
            result.image = number
            if wave is not None:
                result.bench.wave(dram, latencies, single.first.cycle, wave)
                result.wave = wave
        if progress:
            progress(number + 1, images)
    return result


def random_latencies(chip: ChipParams, seed: int) -> list[int]:
    """Latencies of bursts, cycles, uniform from 0 to twice the chip's."""
    return np.random.default_rng(seed).integers(0, 2 * chip.dram_latency_cycles + 1, LATENCIES).tolist()


def _describe(chip: ChipParams, seed: int | None) -> str:
    if seed is None:
        return f"{chip.dram_latency_cycles} cycles"
    return f"random for each burst, 0 to {2 * chip.dram_latency_cycles} cycles, seed {seed}"
