"""Where energy and area of the logic are from, and both providers beside each other: laws fitted to our netlists, the cited table.

A chip names its provider (``energy_provider`` of its file, ``energy_laws`` of its parameters). Memories, leakage and DRAM are the
same by both.
"""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.energy.by_law import left
from archsim.energy.formulas import chip_of, counts_of
from archsim.energy.instances import instances
from archsim.energy.laws import AREA, ENERGY, WIRES, known, native, package
from archsim.energy.model import area_terms, energy_terms
from archsim.energy.term import ATTENTION, ATTENTION_NEURON, CYCLES, Term

PROVIDERS = {1: "laws", 0: "table"}
"""Providers by ``energy_laws``."""

LOGIC = {
    "synapse_adders": "synapse_array", "accumulator_registers": "synapse_array", "attention_adders": "attention",
    "transposer": "multicast", "masker": "multicast", "softmax_logic": "attention", "neuron_units": "neuron",
    "spike_fetch": "spike_fetch", "event_encoders": "event_encoder", "spike_writers": "spike_writer", "dma_engine": "dma",
    "multicast": "multicast", "expert_engine": "experts", "normaliser_logic": "normaliser", "sequencers": "sequencer",
    "plane_readers": "planes", "attention_control": "attention",
}  # fmt: skip
"""Components that are logic which switches, and the unit where they are; of the attention unit, see `unit_of`."""

DATA, CLOCK = "data", "clock"
"""What switches by counts, and the clock of the registers."""

ON_LAWS = (WIRES, "clock_tree")
"""Factors of the table on what laws say of data and of the clock: what netlists do not have."""


def unit_of(term: Term) -> str:
    """The unit of logic in which a product switches; empty for memories, leakage and DRAM."""
    if term.unit or term.component not in LOGIC:
        return term.unit
    if term.counter.startswith(ATTENTION):
        return ATTENTION_NEURON if term.component == "neuron_units" else "attention"
    return LOGIC[term.component]


def by_unit(chip: ChipParams, counters: Mapping[str, int], cycles: int) -> dict[str, dict[str, float]]:
    """Energy of the logic in pJ at the chip's node, by unit: `DATA` and `CLOCK`; arguments as of `archsim.energy.energy_pj`."""
    counts = {**counters, CYCLES: cycles}
    found: dict[str, dict[str, float]] = {}
    for term in energy_terms(chip):
        if unit := unit_of(term):
            entry = found.setdefault(unit, {DATA: 0.0, CLOCK: 0.0})
            entry[CLOCK if term.component == "clock" else DATA] += term.value * counts.get(term.counter, 0)
    return found


def native_pj(chip: ChipParams, counters: Mapping[str, int], cycles: int) -> dict[str, float]:
    """What laws say at their own node, pJ by component, with wires and the clock's tree. Nothing for a chip that uses the table."""
    counts = {**counters, CYCLES: cycles}
    found: dict[str, float] = {}
    for term in energy_terms(chip):
        if native(term.readings):
            found[term.component] = found.get(term.component, 0.0) + term.value / term.scaled * counts.get(term.counter, 0)
    return found


def native_nand2(chip: ChipParams) -> dict[str, float]:
    """Areas by laws at their own node, in NAND2 of its library, by component. Nothing for a chip that uses the table."""
    found: dict[str, float] = {}
    for term in area_terms(chip):
        if native(term.readings):
            found[term.component] = found.get(term.component, 0.0) + term.value / term.scaled * 1e6 / package().nand2_um2
    return found


def described(chip: ChipParams, counters: Mapping[str, int], cycles: int, images: int) -> dict[str, Any]:
    """The provider of a run's energies, with native figures, factors and what has no law, as JSON data; means per image."""
    provider = PROVIDERS[chip.energy_laws]
    if provider == "table":
        return {"provider": provider}
    data = package()
    bits = {f"{engine}: {unit}": count for engine, units in left(chip).items() for unit, count in units.items() if count}
    return {
        "provider": provider, "node_nm": data.node_nm, "results": data.results, "results_sha256": data.results_sha256,
        "energy_uj": {name: pj / images * 1e-6 for name, pj in native_pj(chip, counters, cycles).items()},
        "area_nand2": native_nand2(chip),
        "factors": {what: _factor(f"scale_{what}") for what in (ENERGY, AREA)} | {name: _factor(name) for name in ON_LAWS},
        "by_law": sorted({instance.law for instance in instances(chip)}),
        "register_bits_without_a_law": bits,
    }  # fmt: skip


def _factor(name: str) -> dict[str, Any]:
    entry = known()[name]
    return {"value": entry.value, "low": entry.low, "high": entry.high, "source": entry.source}


def compared(report: Mapping[str, Any]) -> dict[str, Any]:
    """Both providers for a report's run (as `archsim.energy.explain.read` gives it), uJ an image by unit, as JSON data.

    Raises ArchsimError for a report without the counts that laws need.
    """
    chip, counters = chip_of(report), counts_of(report)
    if counters.get("groups") and "array.groups" not in counters:
        raise ArchsimError("required a report with the counts that laws need, given an older one; make it again with `archsim run`")
    cycles, unit = counters.pop(CYCLES), 1e-6 / report["images"]
    laws, table = (by_unit(chip.replace(energy_laws=value), counters, cycles) for value in (1, 0))
    rows = []
    for name in dict.fromkeys((*laws, *table)):
        both = {"laws": laws.get(name, {}), "table": table.get(name, {})}
        if not any(value for entry in both.values() for value in entry.values()):  # the chip has no such unit
            continue
        rows.append({"unit": name} | {
            f"{kind}_{provider}_uj": entry.get(kind, 0.0) * unit for kind in (DATA, CLOCK) for provider, entry in both.items()
        })  # fmt: skip
    described_run = described(chip.replace(energy_laws=1), counters, cycles, report["images"])
    return {"units": rows, "native": described_run, "areas": _areas(chip)}


def _areas(chip: ChipParams) -> list[dict[str, Any]]:
    """Area of the logic by component, mm2: by laws, of them NAND2 at the laws' node, and by the table."""
    nand2 = native_nand2(chip.replace(energy_laws=1))
    both = []
    for value in (1, 0):
        found: dict[str, float] = {}
        for term in area_terms(chip.replace(energy_laws=value)):
            found[term.component] = found.get(term.component, 0.0) + term.value
        both.append(found)
    laws, table = both
    names = [name for name in dict.fromkeys((*laws, *table)) if name in LOGIC]
    return [
        {"component": name, "laws_mm2": laws.get(name, 0.0), "nand2": nand2.get(name, 0.0), "table_mm2": table.get(name, 0.0)}
        for name in names
    ]  # fmt: skip


def show(both: Mapping[str, Any], console: Console) -> None:
    """Print what `compared` gives: energy of the logic by unit, and its area by component, by laws and by the table."""
    node, target, factor = both["native"]["node_nm"], package().scaled_nm, both["native"]["factors"][ENERGY]
    table = Table(title=f"energy of the logic, uJ an image at {target} nm: by laws, by the table of cited figures")
    for heading in ("unit", "data: laws", "table", "clock: laws", "table", "all: laws", "table", "laws / table"):
        table.add_column(heading, justify="left" if heading == "unit" else "right", no_wrap=heading == "unit")
    sums: dict[str, float] = {}
    for row in both["units"]:
        table.add_row(*_cells(row))
        for name, value in row.items():
            sums[name] = value if name == "unit" else sums.get(name, 0.0) + value
    table.add_section()
    table.add_row(*_cells(sums | {"unit": "all"}))
    console.print(table)
    areas = Table(title=f"area of the logic, mm2 at {target} nm, and NAND2 at {node} nm by laws")
    for heading in ("component", "laws", "NAND2", "table"):
        areas.add_column(heading, justify="left" if heading == "component" else "right")
    for row in both["areas"]:
        areas.add_row(row["component"], f"{row['laws_mm2']:.3g}", f"{row['nand2']:,.0f}", f"{row['table_mm2']:.3g}")
    console.print(areas)
    native_uj = sum(both["native"]["energy_uj"].values())
    console.print(
        f"by laws {native_uj:.4g} uJ at {node} nm x {factor['value']:.3g} ({factor['low']:.2g} .. {factor['high']:.2g}); "
        f"{factor['source']}", highlight=False,
    )  # fmt: skip
    for name in ON_LAWS:
        factor = both["native"]["factors"][name]
        console.print(
            f"{name.replace('_', ' ')} x {factor['value']:g} ({factor['low']:g} .. {factor['high']:g}), not in netlists: "
            f"{factor['source']}", highlight=False,
        )  # fmt: skip


def _cells(row: Mapping[str, Any]) -> list[str]:
    """A row of units: data, clock, both."""
    pairs = [(row[f"{kind}_laws_uj"], row[f"{kind}_table_uj"]) for kind in (DATA, CLOCK)]
    laws, table = (sum(pair[which] for pair in pairs) for which in (0, 1))
    numbers = [f"{value:.4g}" if value else "-" for pair in (*pairs, (laws, table)) for value in pair]
    return [row["unit"], *numbers, f"{laws / table:.2f}" if table else "-"]
