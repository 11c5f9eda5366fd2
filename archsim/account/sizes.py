"""Every published size of every family: parameters and dense operations, as a table."""

from typing import Any

from rich.console import Console
from rich.table import Table

from archsim.account.report import dense
from archsim.workload import SIZES
from mapping.networks.weights import Shapes


def sizes() -> list[dict[str, Any]]:
    """Family, size, parameters, time steps and dense multiply-accumulates of a time step, as JSON data."""
    rows = []
    for family, members in SIZES.items():
        for size, definition in members.items():
            weights = Shapes()
            network = definition.network(weights)
            layers, attention, head = dense(network)
            rows.append({
                "family": family, "size": size, "parameters": weights.total, "timesteps": network.timesteps,
                "dense_macs": layers, "dense_macs_attention": attention, "dense_macs_classifier": head,
                "note": getattr(definition, "note", ""),
            })  # fmt: skip
    return rows


def show_sizes(rows: list[dict[str, Any]], console: Console) -> None:
    """Print the table; what is not published of a size stands below it."""
    table = Table(title="published sizes: dense multiply-accumulates of one time step, in millions")
    for heading in ("family", "size", "parameters", "T", "layers", "attention", "classifier"):
        table.add_column(heading, justify="left" if heading in ("family", "size") else "right", no_wrap=True)
    notes: dict[str, list[str]] = {}
    for row in rows:
        millions = [f"{row[f'dense_macs{part}'] / 1e6:,.1f}" for part in ("", "_attention", "_classifier")]
        mark = "*" if row["note"] else ""
        table.add_row(row["family"], row["size"] + mark, f"{row['parameters']:,}", str(row["timesteps"]), *millions)
        if row["note"]:
            notes.setdefault(f"{row['family']}: {row['note']}", []).append(row["size"])
    console.print(table)
    for note, marked in notes.items():
        console.print(f"* {', '.join(marked)} of {note}", highlight=False)
