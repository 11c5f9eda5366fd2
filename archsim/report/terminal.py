"""A run's summary as tables for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from archsim.energy import COMPONENTS


def show(summary: Mapping[str, Any], console: Console) -> None:
    """Print ``summary`` to ``console``: layers, where the adder slots went, energy and area, totals."""
    console.print(_layers(summary))
    console.print(_slots(summary))
    console.print(_components(summary))
    for label, text in headline(summary):
        console.print(f"[bold]{label:<22}[/]{text}")


def headline(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The totals as label and text with units, one image on average."""
    chip = summary["chip_parameters"]
    lines = [
        (
            "chip",
            f"{summary['chip']}: "
            f"{chip['cores']} x {chip['columns']} x {chip['lanes']} (cores x columns x lanes) "
            f"= {chip['adders']} adders at {chip['clock_mhz']:g} MHz",
        ),
        ("images", f"{summary['images']} ({summary['mode']}{summary['spikes'] and ': '}{summary['spikes']})"),
        (
            "cycles",
            f"{number(summary['cycles'])} per image = {summary['latency_ms']:.4g} ms "
            f"({summary['images_per_s']:,.1f} images/s)",
        ),
        (
            "synaptic operations",
            f"{number(summary['synaptic_operations'])} spike-gated additions "
            f"({number(summary['synaptic_operations_attention'])} of them in the attention unit)",
        ),
        ("utilization", f"{summary['utilization']:.2%} of {chip['adders']} adders x all cycles, sustained"),
        (
            "energy",
            f"{summary['energy_uj']['total']:.4g} uJ, {summary['energy_uj']['dram']:.4g} of it DRAM; "
            f"{summary['energy_per_operation_pj']:.3g} pJ per operation with DRAM, "
            f"{summary['energy_per_operation_pj_without_dram']:.3g} without (modelled at 45 nm)",
        ),
        ("  may be", _may_be(summary, "energy", "energy_range_uj", "uJ")),
        (
            "the field's figure",
            f"{summary['field_energy_uj']['total']:.4g} uJ (0.9 pJ an addition, 4.6 a multiply-add; no memory)",
        ),
        *_provider(summary),
        ("area", f"{summary['area_mm2']['total']:.4g} mm2 (modelled at 45 nm)"),
        ("  may be", _may_be(summary, "area", "area_range_mm2", "mm2")),
        ("DRAM", f"{number(summary['dram_bytes'])} bytes"),
    ]
    return lines + _products(summary) + _experts(summary) + _quality(summary)


def _may_be(summary: Mapping[str, Any], what: str, key: str, unit: str) -> str:
    """The range of a total, which component widens it most, and that something is extrapolated."""
    low, high = summary[key]["total"]
    component = summary["range_widest"][what]
    least, most = summary[key][component]
    text = f"{low:.3g} .. {high:.3g} {unit}, widened most by {COMPONENTS[component][0]} ({least:.3g} .. {most:.3g})"
    outside = sorted({line.partition(":")[0].removeprefix(f"{what} of ") for line in summary["warnings"] if line.startswith(what)})
    return text + (f"; EXTRAPOLATED: {', '.join(outside)}" if outside else "")


def _provider(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Which logic is by laws, at their node and at the chip's; or that all is by the table of cited figures."""
    found = summary["energy_provider"]
    if found["provider"] == "table":
        return [("  of the logic", "by the table of cited figures")]
    native, factor = sum(found["energy_uj"].values()), found["factors"]["energy"]
    gates, area = sum(found["area_nand2"].values()), found["factors"]["area"]
    times = "x {value:.3g} ({low:.2g} .. {high:.2g})"
    bits = sum(found["register_bits_without_a_law"].values())
    return [(
        "  of the logic",
        f"{len(found['by_law'])} laws: {native:.4g} uJ at {found['node_nm']} nm {times.format(**factor)}, "
        f"{number(round(gates))} NAND2 {times.format(**area)}; {number(bits)} register bits have no law",
    )]  # fmt: skip


def number(value: float) -> str:
    """A count with separators; one decimal where it is a mean that is no integer."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def _products(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Which engine makes K^T V of each attention layer, and why."""
    lines = []
    for name, entry in summary["first_products"].items():
        text = f"{name} by {'AND-popcount' if entry['engine'] == 'popcount' else 'events'}"
        if "images" in entry:
            text += (
                f": {number(entry['event_cycles'])} cycles by events, {number(entry['popcount_cycles'])} by AND-popcount "
                f"({entry['images']} recorded image(s))"
            )
        lines.append(("K^T V", text))
    return lines


def _experts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Load of each layer's experts over all images, choices without room, and cycles in which a flit waited."""
    return [
        (
            "experts",
            f"{entry['name']}: {' '.join(map(number, entry['accepted']))} tokens of {' '.join(map(number, entry['chosen']))} "
            f"that chose them, {number(entry['dropped'])} dropped; {number(entry['flit_stalls'])} cycles in which one of "
            f"{number(entry['flits'])} flits waited (all images)",
        )
        for entry in summary["experts"]
    ]


def _quality(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Accuracy and the comparison with the reference, where there are any."""
    lines = []
    if summary["accuracy"] is not None:
        float_accuracy = summary["accuracy_float"]
        text = f"{summary['accuracy']:.2%} of {summary['images']} image(s)"
        if float_accuracy is not None:
            text += f" (float network: {float_accuracy:.2%} of its test set)"
        lines.append(("accuracy", text))
    if summary["check"] is not None:
        compared, differing = summary["check"]["compared"], summary["check"]["differing"]
        parts = [f"{kind}: {differing.get(kind, 0):,} of {count:,} differ" for kind, count in compared.items()]
        lines.append(("check", "; ".join(parts)))
    return lines


def _layers(summary: Mapping[str, Any]) -> Table:
    table = Table(title=f"{summary['workload']} on {summary['chip']}, mean of {summary['images']} image(s)")
    table.add_column("layer", no_wrap=True)
    headings = ("spikes in", "operations", "cycles", "share", "util.", "bound by", "DRAM kB", "energy uJ")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "bound by" else "right", no_wrap=True)
    for row in summary["layers"]:
        table.add_row(
            row["name"],
            number(row["spikes_in"]),
            number(row["synaptic_operations"]),
            number(row["cycles"]),
            f"{row['cycles_share']:.1%}",
            f"{row['utilization']:.1%}",
            row["bound_by"],
            f"{row['dram_bytes'] / 1000:.1f}",
            f"{row['energy_uj']:.3g}",
        )
    return table


def _slots(summary: Mapping[str, Any]) -> Table:
    table = Table(title="adder slots (adders x cycles)")
    table.add_column("cause", no_wrap=True)
    table.add_column("slots", justify="right")
    table.add_column("share", justify="right")
    slots = summary["adder_slots_all_images"]
    for entry in slots["causes"].values():
        if entry["slots"]:
            table.add_row(entry["label"], number(entry["slots"]), f"{entry['share']:.2%}")
    table.add_section()
    table.add_row("all", number(slots["total"]), "100.00%")
    return table


def _components(summary: Mapping[str, Any]) -> Table:
    table = Table(title="energy and area with low .. high, modelled at 45 nm (* assumed)")
    table.add_column("component", no_wrap=True)
    for heading in ("energy uJ", "low .. high", "area mm2", "low .. high"):
        table.add_column(heading, justify="right", no_wrap=True)
    energy, area = summary["energy_uj"], summary["area_mm2"]
    for name, (label, confidence) in COMPONENTS.items():
        size = area.get(name)
        if size is None and not energy[name]:
            continue  # nothing of it in this chip
        table.add_row(
            label + ("*" if confidence == "assumed" else ""),
            f"{energy[name]:.4g}",
            between(summary["energy_range_uj"][name]),
            "-" if size is None else f"{size:.3g}",
            "-" if size is None else between(summary["area_range_mm2"][name]),
        )
    table.add_section()
    of_energy, of_area = (between(summary[key]["total"]) for key in ("energy_range_uj", "area_range_mm2"))
    table.add_row("all", f"{energy['total']:.4g}", of_energy, f"{area['total']:.4g}", of_area)
    return table


def between(ends: Sequence[float]) -> str:
    """A range in three digits."""
    return f"{ends[0]:.3g} .. {ends[1]:.3g}"
