"""Tables of a synthesis run, as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from rtl.synthesis.ecp5 import TARGET_MHZ

TOP = "chip"
"""Name of the whole chip among the units."""

CELLS = {
    "cells": "cells", "area_um2": "area um2", "nand2": "NAND2", "flip_flops": "flip-flops",
    "critical_path_ns": "critical path ns", "mhz": "MHz",
}  # fmt: skip
"""Columns of the table of standard cells, by the names of the figures."""

FPGA = {
    "lut4": "LUT4", "carry": "CCU2C", "flip_flops": "FF", "block_ram": "DP16KD", "lut_ram": "DPR16X4",
    "multipliers": "multipliers",
}  # fmt: skip


def report(run: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> str:
    """The whole text.

    Args:
        run: ``command``, ``tools`` (versions), ``library`` (``name``, ``nand2`` with its area) and ``chip`` (or None).
        results: a unit each: ``unit``, ``parameters``, ``cells``, ``ecp5`` and, if it was placed, ``placed``.
    """
    library = run["library"]
    tools = ", ".join(f"{name} {version}" for name, version in run["tools"].items())
    parameters = f"those of the chip `{run['chip']}`" if run["chip"] else "each unit's own defaults"
    lines = [
        "# Synthesis", "", f"`{run['command']}`", "", f"Tools: {tools}. Parameters: {parameters}; they stand below.", "",
        f"## Standard cells: {library['name']}", "",
        f"NAND2 equivalents are areas over that of {library['nand2']} ({library['nand2_um2']} um2). Memories of 1 kbit or more "
        "are black boxes: they are listed below with their bits, and no area here is theirs. Paths begin and end at registers, "
        "ports and pins of memories (OpenSTA; - without it); without wires, clock tree and the memories' own time.", "",
        *_table("unit", ["unit", *CELLS.values(), "memories", "kbit"], map(_cells_row, results)), "",
        *_limit({str(row[0]): row[-3] for row in map(_cells_row, results)}),
        "## ECP5", "", "Memories are inferred as block RAM (DP16KD, 18 kbit) or, if small, as LUT RAM (DPR16X4, 64 bit). No "
        "multiplier or DSP cell is used: the run fails if there is one.", "",
        *_table("unit", ["unit", *FPGA.values()], map(_ecp5_row, results)), "",
    ]  # fmt: skip
    placed = [result for result in results if result.get("placed")]
    if placed:
        lines += [
            "## ECP5, placed and routed", "", "In a harness of shift registers at all ports (its registers are in these numbers), "
            f"speed grade 6, aimed at {TARGET_MHZ} MHz; no constraints on pins.", "",
            *_table("unit", ["unit", "device", "MHz", "COMB", "FF", "DP16KD"], map(_placed_row, placed)), "",
            *_limit({str(row[0]): row[2] for row in map(_placed_row, placed)}),
        ]  # fmt: skip
    lines += ["## Memories of each unit", ""]
    for result in results:
        sizes = [f"{name} {rows} x {bits}" for name, rows, bits in map(_size, result["cells"]["memories"])]
        lines.append(f"* {result['unit']}: {', '.join(sizes) or 'none'}")
    lines += ["", "## Parameters", ""]
    for result in results:
        lines.append(
            f"* {result['unit']}: {' '.join(f'{name}={value}' for name, value in result['parameters'].items())}"
        )
    return "\n".join(lines) + "\n"


def _limit(mhz: Mapping[str, Any]) -> list[str]:
    """What limits the clock of the whole chip, from the MHz of each unit; nothing if the chip is not among them."""
    units = {unit: value for unit, value in mhz.items() if unit != TOP and value not in (None, "-")}
    if TOP not in mhz or not units:
        return []
    slowest = [f"`{unit}` {units[unit]}" for unit in sorted(units, key=lambda unit: units[unit])[:3]]
    return [f"What limits the clock of the chip, {mhz[TOP]} MHz: {', '.join(slowest)} MHz each by itself.", ""]


def _cells_row(result: Mapping[str, Any]) -> list[object]:
    cells = result["cells"]
    path = cells["critical_path_ns"]
    values = cells | {"mhz": path and round(1000 / path, 1)}
    bits = sum(memory["total"] for memory in cells["memories"])
    figures = ["-" if values[name] is None else values[name] for name in CELLS]
    return [result["unit"], *figures, len(cells["memories"]), round(bits / 1024, 2)]


def _ecp5_row(result: Mapping[str, Any]) -> list[object]:
    return [result["unit"], *(result["ecp5"][name] for name in FPGA)]


def _placed_row(result: Mapping[str, Any]) -> list[object]:
    placed = result["placed"]
    return [result["unit"], placed["device"], placed["mhz"], *(placed["used"].get(name, 0) for name in (
        "TRELLIS_COMB", "TRELLIS_FF", "DP16KD"))]  # fmt: skip


def _size(memory: Mapping[str, Any]) -> tuple[str, int, int]:
    return memory["name"].partition(".")[2] or "itself", memory["rows"], memory["bits"]


def _table(first: str, heads: Sequence[str], rows: Any) -> list[str]:
    lines = [f"| {' | '.join(heads)} |", "|" + "|".join("---" if head == first else "---:" for head in heads) + "|"]
    return lines + [f"| {' | '.join(map(str, row))} |" for row in rows]
