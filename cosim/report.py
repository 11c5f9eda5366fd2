"""What a co-simulation prints."""

from rich.console import Console
from rich.table import Table

from archsim.contracts import sequencer
from cosim.compare import Comparison, name
from cosim.least import MEMORIES
from cosim.run import Result
from cosim.sample import SampleResult

Line = tuple[str, str]
"""Label and text."""


def show(result: Result, console: Console) -> None:
    """Print what was compared, the first divergence if there is one, and how fast both sides were."""
    comparison, chip, bench = result.comparison, result.mapped.program.chip, result.bench
    cycles = bench.cycles
    title = f"simulator and Verilog, {result.mapped.config.name} on {chip.name}, {len(cycles)} image(s)"
    console.print(compared(comparison, title))
    lines = [
        ("Verilog", str(bench.machine.file)),
        ("memories", ", ".join(f"{size} {getattr(chip, size)}" for size in MEMORIES)),
        ("DRAM latency", result.latencies),
        ("cycles", f"{sum(cycles):,} in all, {min(cycles):,} to {max(cycles):,} an image"),
        *speeds(sum(cycles), bench.verilog_s, bench.simulator_s),
    ]
    if (first := comparison.first) is not None:
        where = f"{name(first.place)} " if first.place else ""
        lines.append(("first divergence", f"image {result.image}, cycle {first.cycle}, {where}{first.what}"))
        if result.wave:
            lines.append(("waveform", str(result.wave)))
    print_lines([*lines, verdict(comparison)], console)


def show_sample(result: SampleResult, console: Console) -> None:
    """Print what was drawn, what was compared, the first divergence if there is one, and how fast both sides were."""
    comparison, chip, cycles = result.comparison, result.mapped.program.chip, result.cycles
    table = Table(title=f"strata (an instruction may be in several), seed {result.seed}")
    table.add_column("instructions")
    for heading in ("in the program", "drawn"):
        table.add_column(heading, justify="right")
    for stratum, (size, drawn) in result.sample.strata.items():
        table.add_row(stratum, f"{size:,}", f"{drawn:,}")
    console.print(table)
    title = f"simulator and Verilog, {result.mapped.config.name} on {chip.name}, {len(cycles)} instruction(s)"
    console.print(compared(comparison, title))
    sizes = "" if result.chip == chip else f"; its program memories have {result.chip.queue_rows} rows"
    lines = [
        ("Verilog", f"{result.file}{sizes}"),
        ("given", "weights, parameters, spikes of the run in trace mode; membranes and sums: drawn, within proven bounds"),
        ("DRAM", "the rows of a LOAD or STORE lie at address 0"),
        ("cycles", f"{sum(cycles):,} in all, {min(cycles):,} to {max(cycles):,} an instruction, decoding included"),
        *speeds(sum(cycles), result.verilog_s, result.simulator_s),
    ]  # fmt: skip
    if result.first is not None and comparison.first is not None:
        head = result.mapped.queues[result.first[0]][result.first[1]]
        what = f"cycle {comparison.first.cycle}, {comparison.first.what}"
        lines.append(("first divergence", f"{name(result.first)} ({sequencer.OPCODES[head['opcode']]}), {what}"))
    print_lines([*lines, verdict(comparison)], console)


def compared(comparison: Comparison, title: str) -> Table:
    """How many values were compared and differ, by kind."""
    table = Table(title=title)
    table.add_column("compared")
    for heading in ("values", "differing"):
        table.add_column(heading, justify="right")
    for kind, count in comparison.compared.items():
        table.add_row(kind, f"{count:,}", f"{comparison.differing[kind]:,}")
    return table


def speeds(cycles: int, verilog_s: float, simulator_s: float) -> list[Line]:
    """Cycles per second of both sides, and their ratio."""
    ratio = f"{verilog_s / simulator_s:,.1f} times as fast"
    return [
        ("Verilog", f"{cycles / verilog_s:,.0f} cycles/s"),
        ("simulator", f"{cycles / simulator_s:,.0f} cycles/s, {ratio}"),
    ]


def verdict(comparison: Comparison) -> Line:
    """The last line."""
    return "result", "equal: 0 differing bits, 0 differing cycles" if comparison.equal else "the two differ"


def print_lines(lines: list[Line], console: Console) -> None:
    """Labels and texts."""
    for label, text in lines:
        console.print(f"[bold]{label:<18}[/]{text}", highlight=False)
