"""What a co-simulation prints."""

from rich.console import Console
from rich.table import Table

from cosim.compare import name
from cosim.least import MEMORIES
from cosim.run import Result


def show(result: Result, console: Console) -> None:
    """Print what was compared, the first divergence if there is one, and how fast both sides were."""
    comparison, chip, bench = result.comparison, result.mapped.program.chip, result.bench
    cycles = bench.cycles
    table = Table(title=f"simulator and Verilog, {result.mapped.config.name} on {chip.name}, {len(cycles)} image(s)")
    table.add_column("compared")
    for heading in ("values", "differing"):
        table.add_column(heading, justify="right")
    for kind, count in comparison.compared.items():
        table.add_row(kind, f"{count:,}", f"{comparison.differing[kind]:,}")
    console.print(table)
    lines = [
        ("Verilog", str(bench.machine.file)),
        ("memories", ", ".join(f"{size} {getattr(chip, size)}" for size in MEMORIES)),
        ("DRAM latency", result.latencies),
        ("cycles", f"{sum(cycles):,} in all, {min(cycles):,} to {max(cycles):,} an image"),
        ("Verilog", f"{sum(cycles) / bench.verilog_s:,.0f} cycles/s"),
        (
            "simulator",
            f"{sum(cycles) / bench.simulator_s:,.0f} cycles/s, {bench.verilog_s / bench.simulator_s:,.1f} times as fast",
        ),
    ]
    if (first := comparison.first) is not None:
        where = f"{name(first.place)} " if first.place else ""
        lines.append(("first divergence", f"image {result.image}, cycle {first.cycle}, {where}{first.what}"))
        if result.wave:
            lines.append(("waveform", str(result.wave)))
    lines.append(("result", "equal: 0 differing bits, 0 differing cycles" if comparison.equal else "the two differ"))
    for label, text in lines:
        console.print(f"[bold]{label:<18}[/]{text}", highlight=False)
