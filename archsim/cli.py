"""Command line over public functions. Exit status: 0 done, 1 --check found differences or a claim does not hold, 2 bad input."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import cache
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from ruamel.yaml import YAML

from archsim.config import Chip, chip_names, json_schema, load_workload, read_chip
from archsim.config.chip import resolved
from archsim.config.schema import MODELS
from archsim.contracts.common.errors import ArchsimError

app = typer.Typer(
    help="Cycle-accurate neuromorphic chip simulator: runs a trained spiking network on a chip.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

COMMANDS = "archsim.commands"
"""Entry points of functions that add a command of another package to ``app``."""

FALLBACK_WIDTH = 120
"""Columns of tables when the output is no terminal."""


class Mode(StrEnum):
    """How a workload is run."""

    execute = "execute"
    trace = "trace"


Kind = StrEnum("Kind", list(MODELS))  # type: ignore[misc]

Workload = Annotated[Path, typer.Argument(help="Workload file (YAML).", metavar="WORKLOAD")]
ChipOption = Annotated[
    str | None,
    typer.Option("--chip", help="Preset (see `archsim chips`) or chip file; default: the workload's.", metavar="CHIP"),
]


@app.callback(invoke_without_command=True)
def _main(
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if show_version:
        typer.echo(f"archsim {version('archsim')}")
        raise typer.Exit


@app.command()
def run(
    workload: Workload,
    chip: ChipOption = None,
    images: Annotated[int | None, typer.Option(min=1, help="Number of images; default: the workload's.")] = None,
    mode: Annotated[
        Mode | None, typer.Option(help="Run the network, or replay recorded spikes; default: the workload's.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Compare every spike, membrane and logit with the integer reference."),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the report; default: reports/<workload's name>.", metavar="DIR"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else.")
    ] = False,
) -> None:
    """Run a workload on a chip and write a report (report.html, report.json, timeline.json)."""
    from archsim.report.write import check_folder

    config = load_workload(workload)
    if chip is not None:
        read_chip(chip)
    folder = out or Path("reports") / config.name
    check_folder(folder)
    result = _simulate(workload, chip, images or config.images, mode or Mode(config.mode), check)

    from archsim.report import show, write_report
    from archsim.summary import summarise

    summary = summarise(result)
    if not as_json:  # the page takes as long as everything before it
        show(summary, console_of_tables())
    write_report(result, summary, folder)
    typer.echo(
        json.dumps({**summary, "report": str(folder)}, indent=2) if as_json else f"report: {folder / 'report.html'}"
    )
    if result.check is not None and any(result.check.differing.values()):
        typer.echo("the run differs from the integer reference", err=True)
        raise typer.Exit(1)


@app.command()
def account(
    workload: Workload,
    chip: ChipOption = None,
    rate: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Lowest and highest firing rate (0..1) to assume where none is published.", metavar="LOW HIGH"),
    ] = None,
    on_chip: Annotated[bool, typer.Option("--chip-run/--no-chip", help="Run an image on the chip for its energy.")] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else.")
    ] = False,
) -> None:
    """Print parameters, operations, and energy by the formula of the network's paper, beside the chip's."""
    from archsim.account import report, show

    result = report(workload, chip, on_chip, rate)
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    else:
        show(result, console_of_tables())


@app.command()
def explain(
    report: Annotated[Path, typer.Argument(help="Folder of a report, or its name in reports/.", metavar="RUN")],
    metric: Annotated[
        str | None, typer.Argument(help="Figure, as `energy_uj.weight_memory`; default: list them.", metavar="[METRIC]")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else.")
    ] = False,
) -> None:
    """Print where a figure of a report comes from: counts, coefficients, their laws and sources."""
    from archsim.energy import explain as chains
    from archsim.energy.formulas import figures

    data = chains.read(report)
    if as_json:
        typer.echo(json.dumps(chains.explain(data, metric) if metric else figures(data), indent=2))
    elif metric:
        chains.show(chains.explain(data, metric), console_of_tables())
    else:
        chains.show_figures(data, console_of_tables())


@app.command()
def energy(
    report: Annotated[Path, typer.Argument(help="Folder of a report, or its name in reports/.", metavar="RUN")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else.")
    ] = False,
) -> None:
    """Print the energy and area of a run's logic by laws and by the table of cited figures, unit by unit."""
    from archsim.energy import providers
    from archsim.energy.explain import read

    both = providers.compared(read(report))
    if as_json:
        typer.echo(json.dumps(both, indent=2))
    else:
        providers.show(both, console_of_tables())


@app.command()
def networks(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON list on standard output, nothing else.")
    ] = False,
) -> None:
    """List the published sizes of every family of networks: parameters and dense operations."""
    from archsim.account import show_sizes, sizes

    if as_json:
        typer.echo(json.dumps(sizes(), indent=2))
    else:
        show_sizes(sizes(), console_of_tables())


@app.command()
def check(
    workload: Workload,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else.")
    ] = False,
) -> None:
    """Tell layer by layer whether a network is spike-driven, and what of it runs; status 1 if it claims otherwise."""
    from archsim import spike_driven

    result = spike_driven.check(workload)
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    else:
        spike_driven.show(result, console_of_tables())
    if result["broken_by"]:
        raise typer.Exit(1)


@app.command()
def chips() -> None:
    """List the chips that come with archsim."""
    table = Table(title="chips")
    for heading in ("name", "adders", "cores x columns x lanes", "MHz", "description"):
        table.add_column(heading, no_wrap=heading == "name")
    for name in chip_names():
        config = read_chip(name).config
        adders = config.cores * config.columns * config.lanes
        shape = f"{config.cores} x {config.columns} x {config.lanes}"
        table.add_row(name, str(adders), shape, f"{config.clock_mhz:g}", config.description)
    console_of_tables().print(table)


@app.command()
def export(
    workload: Annotated[
        Path | None, typer.Argument(help="Workload file (YAML).", metavar="[WORKLOAD]", show_default=False)
    ] = None,
    chip: ChipOption = None,
) -> None:
    """Print the resolved configuration (YAML) of a workload and its chip, or of a chip alone."""
    data: dict[str, Any] = {}
    chosen: Chip | None = read_chip(chip) if chip is not None else None
    if workload is not None:
        config = load_workload(workload)
        data["workload"] = config.model_dump()
        chosen = chosen or read_chip(config.chip, base=config.directory)
    if chosen is None:
        raise ArchsimError("export: required a workload file or --chip, given neither")
    data["chip"] = resolved(chosen)
    yaml = YAML()
    yaml.width = FALLBACK_WIDTH
    yaml.dump(data, sys.stdout)


@app.command()
def schema(kind: Annotated[Kind, typer.Argument(help="Which kind of file.")]) -> None:
    """Print the JSON schema of chip or workload files, for editors."""
    typer.echo(json.dumps(json_schema(kind.value), indent=2))


def _simulate(workload: Path, chip: str | None, images: int, mode: Mode, check: bool) -> Any:
    """Run with a progress bar on standard error; says so when kernels must be compiled first."""
    from archsim.jit import is_cold
    from archsim.simulate import run as simulate

    with progress_bar(images, "compiling kernels (first run)" if is_cold() else "running") as report:
        return simulate(workload, chip=chip, images=images, mode=mode.value, check=check, progress=report)


def console_of_tables() -> Console:
    """Standard output, wide enough for tables where it is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=FALLBACK_WIDTH)


@contextmanager
def progress_bar(count: int, text: str, unit: str = "image") -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error; yields a function of (images, or other units, done and in all)."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(f"{unit}s"))
    if not console.is_terminal:
        console.print(f"{text}, {count} {unit}(s)", highlight=False)
    with Progress(
        *columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(text, total=count)

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, description="running" if done else text)

        yield report


@cache
def _add_commands() -> None:
    """Add the commands of other packages, once."""
    for entry in entry_points(group=COMMANDS):
        entry.load()(app)


def main() -> None:
    """Entry point: errors in the input are one message on standard error and exit status 2."""
    try:
        _add_commands()
        app()
    except ArchsimError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
