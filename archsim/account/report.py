"""The account of a workload as plain data, and as tables for the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from archsim.account.definition import Definition, define
from archsim.account.formula import (
    ACCUMULATE,
    LOGGED_HEADS,
    MULTIPLY,
    RULES,
    Figures,
    figures,
    same_rate,
)
from archsim.account.quoted import ENERGIES, reductions
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.energy import field_energy_pj
from mapping.ir import Attention, Classifier, Network
from mapping.nodes import WindowAttention
from mapping.operations import operations

GROUPS = {
    "additions": ("synapse_adders", "accumulator_registers"),
    "attention": ("attention_adders", "attention_control", "transposer", "count_memory", "softmax_logic", "softmax_memory"),
    "weight reads": ("weight_memory", "parameter_memory"),
    "membranes and partial sums": ("residual_memory", "psum_memory", "reduction_memory", "membrane_memory"),
    "neurons": ("neuron_units", "normaliser_logic"),
    "encoders with fetch and writers": ("spike_fetch", "event_encoders", "spike_writers", "plane_readers"),
    "spike maps": ("spike_memory", "pool_memory", "masker"),
    "DMA and multicast": ("dma_engine", "multicast"),
    "programs and tables": ("program_memory", "sequencers", "route_memory", "expert_engine", "normaliser_memory"),
    "clock": ("clock",),
    "leakage": ("logic_leakage", "memory_leakage"),
    "DRAM": ("dram",),
}
"""Components of the chip's energy by what a formula may count; additions are those of all layers, bit planes included.

A normaliser works on membranes, as neurons do.
"""

MULTIPLIED = "image and classifier, multiplied"


def report(
    workload: str | Path,
    chip: str | Path | ChipParams | None = None,
    run: bool = True,
    rate: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """The account of a workload as JSON data; units are in the key names.

    Args:
        workload: workload file (YAML).
        chip: as in :func:`archsim.simulate.run`.
        run: run one image on the chip for its energy; what is not mapped is refused by name in ``chip_refused``.
        rate: lowest and highest firing rate 0..1 to assume in place of unknown ones.

    Raises ArchsimError for bad input.
    """  # fmt: skip
    definition = define(workload)
    network, rule = definition.network, RULES[definition.config.network.family]
    counts = operations(network)
    layers, products, head = dense(network)
    result: dict[str, Any] = {
        "workload": definition.config.name, "network": network.name, "note": definition.note,
        "synthetic": definition.config.network.size is not None,
        "parameters": sum(definition.parameters.values()), "timesteps": network.timesteps,
        "dense_macs": layers, "dense_macs_attention": products, "dense_macs_classifier": head,
        "dense_macs_variants": {name: dense(variant)[0] for name, variant in definition.variants.items()}, "layers": counts,
        "rule": {"source": rule.source, "counted": rule.counted, "left_out": rule.left_out},
    }  # fmt: skip
    return (
        result | _formula(definition, rate) | _quoted(definition) | (_chip(workload, chip) if run else _chip_of(None))
    )


def dense(network: Network) -> tuple[int, int, int]:
    """Dense multiply-accumulates of a time step: of convolutions and linear layers, of attention, of the classifier."""
    counts = operations(network)
    products = sum(counts[x.name] for x in network.layers if isinstance(x, Attention | WindowAttention))
    head = sum(counts[x.name] for x in network.layers if isinstance(x, Classifier))
    return sum(counts.values()) - products - head, products, head


def _formula(definition: Definition, rate: tuple[float, float] | None) -> dict[str, Any]:
    """The formula at known rates, or at both ends of an assumed range; nothing without either."""
    if rate is not None and not 0 <= rate[0] <= rate[1] <= 1:
        raise ArchsimError(f"--rate: required 0 <= LOW <= HIGH <= 1, given {rate[0]:g} {rate[1]:g}")
    if definition.rates and rate is None:
        found = figures(definition, definition.rates, _logged(definition))
        return {
            "rates": definition.rates_from,
            "rate_range_assumed": None,
            **_values(found),
            "formula_groups": _groups(definition, found),
        }
    if rate is None:
        return {
            "rates": None, "rate_range_assumed": None, "macs": None, "acs": None, "formula_energy_mj": None,
            "formula_groups": None,
            "refused": "accumulates and energy need firing rates, which are not published for this network; "
            "assume a range with --rate LOW HIGH",
        }  # fmt: skip
    low, high = (figures(definition, same_rate(definition, end)) for end in rate)
    both = [_values(low), _values(high)]
    pairs = {name: [single[name] for single in both] for name in both[0]}
    return {"rates": "assumed", "rate_range_assumed": list(rate), **pairs, "formula_groups": None}


def _logged(definition: Definition) -> int | None:
    return LOGGED_HEADS.get((definition.config.network.family, definition.config.network.size or ""))


def _values(found: Figures) -> dict[str, Any]:
    return {
        "macs": round(found.total(MULTIPLY)), "acs": round(found.total(ACCUMULATE)), "formula_energy_mj": found.energy_mj,
    }  # fmt: skip


def _groups(definition: Definition, found: Figures) -> dict[str, float]:
    """Energy of the formula by what it stands for, mJ."""
    attention = frozenset(
        layer.name for layer in definition.network.layers if isinstance(layer, Attention | WindowAttention)
    )
    products = found.total(ACCUMULATE, attention)
    parts = {
        "additions": field_energy_pj(found.total(ACCUMULATE) - products, 0), "attention": field_energy_pj(products, 0),
        MULTIPLIED: field_energy_pj(0, found.total(MULTIPLY)),
    }  # fmt: skip
    return {name: picojoule * 1e-9 for name, picojoule in parts.items()}


def _quoted(definition: Definition) -> dict[str, Any]:
    key = definition.config.network.family, definition.config.network.size or ""
    quoted = ENERGIES.get(key)
    return {
        "published_energy_mj": quoted.energy_mj if quoted else None, "published_source": quoted.source if quoted else None,
        "published_reductions": reductions(*key), "logged_heads": LOGGED_HEADS.get(key),
    }  # fmt: skip


def _chip(workload: str | Path, chip: str | Path | ChipParams | None) -> dict[str, Any]:
    """One image on the chip; what it refuses by name is said."""
    from archsim.simulate import run
    from archsim.summary import summarise

    try:
        summary = summarise(run(workload, chip=chip, images=1))
    except ArchsimError as error:
        return _chip_of(None, str(error))
    return _chip_of(summary)


def _chip_of(summary: Mapping[str, Any] | None, refused: str | None = None) -> dict[str, Any]:
    if summary is None:
        return {
            "chip": None,
            "chip_energy_mj": None,
            "chip_groups": None,
            "chip_operations": None,
            "chip_refused": refused,
        }
    energy = summary["energy_uj"]
    groups = {group: sum(energy[name] for name in names) * 1e-3 for group, names in GROUPS.items()}
    return {
        "chip": summary["chip"], "chip_energy_mj": energy["total"] / 1e3, "chip_groups": groups,
        "chip_operations": summary["synaptic_operations"], "chip_refused": None,
    }  # fmt: skip


def show(account: Mapping[str, Any], console: Console) -> None:
    """Print an account: totals, the formula and its rules, and the chip beside it."""
    for label, text in _lines(account):
        console.print(f"[bold]{label:<22}[/]{text}", highlight=False)
    if account["chip_groups"] is not None:
        console.print(_difference(account))


def _lines(account: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Label and text of every total."""
    lines = [
        ("network", account["network"] + (f": {account['note']}" if account["note"] else "")),
        ("parameters", f"{account['parameters']:,}"),
        ("dense MACs", f"{account['dense_macs'] / 1e6:,.1f} M a time step; attention "
         f"{account['dense_macs_attention'] / 1e6:,.1f} M, classifier {account['dense_macs_classifier'] / 1e6:,.2f} M beside them; "
         f"{account['timesteps']} time steps"),
        *(("", f"{count / 1e6:,.1f} M with {name}") for name, count in account["dense_macs_variants"].items()),
        ("formula", account["rule"]["source"]),
        ("  counts", account["rule"]["counted"]),
        ("  leaves out", account["rule"]["left_out"]),
    ]  # fmt: skip
    if account["formula_energy_mj"] is None:
        lines.append(("  energy", f"refused: {account['refused']}"))
    elif account["rate_range_assumed"] is None:
        lines.append(
            (
                "  operations",
                f"{account['macs'] / 1e9:.9f} G MAC, {account['acs'] / 1e9:.8f} G AC (rates: {account['rates']})",
            )
        )
        lines.append(("  energy", f"{account['formula_energy_mj']:.4f} mJ"))
    else:
        low, high = account["rate_range_assumed"]
        assumed = f"ASSUMED: every firing rate {low:g} .. {high:g}, not a published one"
        (macs, _), (few, many), (least, most) = account["macs"], account["acs"], account["formula_energy_mj"]
        lines.append(("  operations", f"{macs / 1e9:.4f} G MAC, {few / 1e9:.4f} .. {many / 1e9:.4f} G AC ({assumed})"))
        lines.append(("  energy", f"{least:.4f} .. {most:.4f} mJ ({assumed})"))
    if account["logged_heads"]:
        lines.append(
            ("  heads", f"{account['logged_heads']}, as the official log assumes; the network has fewer, wider heads")
        )
    if account["published_energy_mj"] is not None:
        lines.append(("published, quoted", f"{account['published_energy_mj']:g} mJ ({account['published_source']})"))
    lines += [("", line) for line in account["published_reductions"]]
    if account["chip_energy_mj"] is not None:
        lines.append(("chip", f"{account['chip']}: {account['chip_energy_mj']:.4f} mJ, modelled at 45 nm, "
                      f"{account['chip_operations']:,.0f} additions"))  # fmt: skip
        if account["synthetic"]:
            lines.append(("", "SYNTHETIC: random weights, spikes drawn independently at the rates"))
    elif account["chip_refused"]:
        lines.append(("chip", f"refused: {account['chip_refused']}"))
    return lines


def _difference(account: Mapping[str, Any]) -> Table:
    """What the formula counts beside what the chip spends, mJ."""
    table = Table(title="energy of an image, mJ: formula and chip")
    for heading in ("part", "formula", "chip"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    formula, chip = account["formula_groups"], account["chip_groups"]
    for group in (*list(chip)[:1], MULTIPLIED, *list(chip)[1:]):
        counted = "-" if formula is None else f"{formula.get(group, 0):.4f}"
        table.add_row(group, counted, "in additions" if group == MULTIPLIED else f"{chip[group]:.4f}")
    total = account["formula_energy_mj"] if formula is not None else None
    table.add_row("total", "-" if total is None else f"{total:.4f}", f"{account['chip_energy_mj']:.4f}")
    return table
