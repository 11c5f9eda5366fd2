"""The table of the whole chip at gate level beside the simulator, from its results."""

from collections.abc import Mapping
from typing import Any

from cosim.gates.units import MEANING, UNITS

Row = Mapping[str, Any]

PROVIDERS = {"laws": "the laws", "table": "the table"}
"""Providers of the simulator's energies in their order, in words."""


def report(found: Row) -> str:
    """Markdown from the results that `cosim.gates` has written as JSON."""
    return "\n".join([*_head(found), *_units(found), *_laws(found), *_leakage(found), ""])


def _head(found: Row) -> list[str]:
    run, gates, factor = found["run"], found["netlist"], found["factor"]
    area, values = gates["area_um2"] / 1e6, gates["compared"]
    times = f"{factor['value']:.1f} ({factor['low']:.1f} .. {factor['high']:.1f})"
    return [
        "# The whole chip at gate level, beside the simulator", "",
        f"Written on {found['date']} by `{found['command']}`.", "",
        f"* Run: {run['workload']} on {run['chip']}, test image {run['image']}, all {run['cycles']:,} cycles of it.",
        f"* Netlist: {', '.join(found['library'])}; {gates['cells']:,} cells, {area:.3f} mm2, {gates['flip_flops']:,} flip-flops.",
        "  Every module was synthesised by itself, so that each cell has one unit. Memories of a kilobit and more are black boxes,",
        "  and nothing of theirs is in any figure here, on either side; neither is DRAM.",
        "* The netlist was given what the Verilog got, and every output and pin of a memory was equal in every one of the",
        f"  {run['recorded']:,} cycles to the halt ({values:,} values). The sum over the units is the energy of the netlist.",
        "* Gate level: without wires, clock tree and glitches. The switching of a net is counted to the unit that drives it.",
        "* Simulator, the same run, by both providers of its energy model. *Laws*: at their own node, 180 nm, where they were",
        "  fitted to single units; what has no law, and a library of another node, by the factor below.",
        f"  *Table*: cited figures at {found['node_nm']} nm times {times},",
        "  the factor to this library by `rtl.characterize.scaling`. Data is what switches by counts; the clock is without the",
        "  tree that reports assume. Ranges of the table take the ends of figures and factor together; in that of the clock the",
        "  factor counts twice, since it is a flip-flop of Debian's library.",
        "* Nothing was fitted to these figures.", "",
    ]  # fmt: skip


def _units(found: Row) -> list[str]:
    lines = [
        "## By unit", "",
        "Energies in uJ. *Of it*: simulator / gate level. Register bits of the simulator: the law of its clock.", "",
        "| unit | flip-flops | register bits, simulator | switching | internal | clock | **gate level** | share "
        "| laws: data | clock | **laws** | low .. high | of it | table: data | clock | **table** | low .. high | of it |",
        "|---|" + "---:|" * 17,
    ]  # fmt: skip
    total = found["total"]
    rows = [(name, found["units"][name]) for name in UNITS if name in found["units"]]
    for name, row in [*rows, ("**total**", total)]:
        gate = row["gate_pj"]
        whole = sum(gate.values())
        text = [f"{gate[kind] / 1e6:.2f}" for kind in ("switching", "internal", "clock")]
        text += [f"**{whole / 1e6:.2f}**", f"{whole / sum(total['gate_pj'].values()):.1%}"]
        for provider in PROVIDERS:
            text += _said(row["simulator_pj"][provider], whole)
        bits = f"{row['register_bits']:,}" if row["register_bits"] else "-"
        lines.append(f"| {name} | {row['flip_flops']:,} | {bits} | {' | '.join(text)} |")
    meant = [f"{name}: {MEANING[name]}" for name, _ in rows if name in MEANING]
    return [*lines, "", "; ".join(meant) + ".", "", *_data(found)]


def _said(model: Row, whole: float) -> list[str]:
    """Data, clock, their sum, its range, and the sum over the gate level's."""
    said = sum(kind["value"] for kind in model.values())
    if not said:
        return ["-", "-", "not modelled", "-", "0.00"]
    ends = [sum(kind[end] for kind in model.values()) for end in ("low", "high")]
    parts = [f"{model[kind]['value'] / 1e6:.2f}" for kind in ("data", "clock")]
    return [*parts, f"**{said / 1e6:.2f}**", f"{ends[0] / 1e6:.2f} .. {ends[1] / 1e6:.2f}", f"{said / whole:.2f}"]


def _data(found: Row) -> list[str]:
    """What is left without the clock, of which the simulator counts every bit."""
    total = found["total"]
    lines = [
        "## Without the clock", "",
        "What switches with the data: switching and internal energy of the gates, the counted part of the simulator; uJ.", "",
        "| unit | gate level | laws | low .. high | of it | table | low .. high | of it |", "|---|" + "---:|" * 7,
    ]  # fmt: skip
    rows = [(name, found["units"][name]) for name in UNITS if name in found["units"]]
    for name, row in [*rows, ("**total**", total)]:
        own = _gate_of(row)[1]
        text = [f"{own / 1e6:.3f}"]
        for provider in PROVIDERS:
            said = row["simulator_pj"][provider]["data"]
            between = f"{said['low'] / 1e6:.2f} .. {said['high'] / 1e6:.2f}"
            text += [f"{said['value'] / 1e6:.3f}", between, f"{said['value'] / own:.2f}"] if said["value"] else ["-", "-", "-"]
        lines.append(f"| {name} | {' | '.join(text)} |")
    clock = total["gate_pj"]["clock"]
    told = [f"{total['simulator_pj'][name]['clock']['value'] / clock:.2f} times by {PROVIDERS[name]}" for name in PROVIDERS]
    share = clock / sum(total["gate_pj"].values())
    note = f"The clock is {share:.1%} of the gate level's energy; the simulator says {' and '.join(told)} as much."
    return [*lines, "", note, ""]


def _laws(found: Row) -> list[str]:
    lines = [
        "## By the laws, instance by instance", "",
        f"The laws of {found['laws_of']}, at what the simulator counted in this run; uJ. The gate level is that of the instance in",
        "the chip: its output nets have their loads there, and its input nets are others'. *Events*: the law's terms that do not",
        "count every cycle, beside switching and internal energy of the gates.", "",
        "| unit | instance | flip-flops | gate level | law | difference | of it | events: gate level | law | of it | |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]  # fmt: skip
    known = [row for row in found["laws"] if row["pj"] is not None]
    for row in found["laws"]:
        gate, data = _gate_of(row)
        said = ["-", "-", "-"] if row["pj"] is None else _beside(row["pj"], gate)
        events = ["-", "-"] if row["pj"] is None else _beside(row["events_pj"], data)[::2]
        text = [f"{gate / 1e6:.3f}", *said, f"{data / 1e6:.3f}", *events, row["note"]]
        lines.append(f"| {row['unit']} | {row['module']} | {row['flip_flops']:,} | {' | '.join(text)} |")
    gate, data = (sum(_gate_of(row)[part] for row in known) for part in range(2))
    law, events = (sum(row[part] for row in known) for part in ("pj", "events_pj"))
    text = [f"{gate / 1e6:.3f}", *_beside(law, gate), f"{data / 1e6:.3f}", *_beside(events, data)[::2], ""]
    lines.append(f"| **all with a law** | | | {' | '.join(text)} |")
    without = [name for name in UNITS if name in found["units"] and name not in {row["unit"] for row in known}]
    share = gate / sum(found["total"]["gate_pj"].values())
    return [*lines, "", f"They cover {share:.1%} of the gate level's energy. Without a law: {', '.join(without)}.", ""]


def _gate_of(row: Row) -> tuple[float, float]:
    """All of the gate level's energy, and what is not its clock, pJ."""
    return sum(row["gate_pj"].values()), row["gate_pj"]["switching"] + row["gate_pj"]["internal"]


def _beside(said: float, gate: float) -> list[str]:
    return [f"{said / 1e6:.3f}", f"{(said - gate) / 1e6:+.3f}", f"{said / gate:.2f}" if gate else "-"]


def _leakage(found: Row) -> list[str]:
    run, nanowatts = found["run"], found["total"]["leakage_nw"]
    return [
        "## Leakage", "",
        f"All cells of the netlist: {nanowatts / 1000:.2f} uW, {nanowatts / 1000 * run['seconds']:.5f} uJ in this run at",
        f"{run['clock_mhz']:g} MHz; not in the energies above. The simulator's leakage of adders and registers at",
        f"{found['node_nm']} nm is {found['simulator_leakage_uw']:.2f} uW; no factor is known from one node's to the other's.",
    ]  # fmt: skip
