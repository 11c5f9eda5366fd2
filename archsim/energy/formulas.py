"""Figures of a report, and those that follow from others of it by a formula."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from archsim.contracts.common.chip import ChipParams
from archsim.energy.coefficients import single
from archsim.energy.term import ATTENTION, CYCLES
from archsim.results import COUNTERS

COUNTS = "energy_counts_all_images"
"""Key of a layer's counts."""

COUNTERS_KEY = "counters_all_images."
"""Prefix of the counters over all layers."""


def chip_of(report: Mapping[str, Any]) -> ChipParams:
    """The chip of a report."""
    return ChipParams(**{name: value for name, value in report["chip_parameters"].items() if name != "adders"})


def counts_of(report: Mapping[str, Any]) -> dict[str, int]:
    """What a report's energies follow from, over all layers and images, cycles included."""
    counts: dict[str, int] = {}
    for layer in report["layers"]:
        for name, count in layer[COUNTS].items():
            counts[name] = counts.get(name, 0) + count
    return counts


@dataclass(frozen=True)
class Formula:
    """A figure as a formula: in words, the figures that it takes by their names, and what it gives."""

    words: str
    inputs: dict[str, Any]
    value: float


_QUOTIENTS: dict[str, tuple[str, tuple[str, ...], Callable[..., float]]] = {
    "cycles": ("mean over the images", ("cycles_by_image",), lambda cycles: sum(cycles) / len(cycles)),
    "latency_ms": ("cycles / clock / 1000", ("cycles", "chip_parameters.clock_mhz"), lambda cycles, mhz: cycles / mhz / 1000),
    "images_per_s": ("clock / cycles", ("chip_parameters.clock_mhz", "cycles"), lambda mhz, cycles: mhz * 1e6 / cycles),
    "utilization": (
        "adder slots used for an addition / all slots (adders x cycles)",
        ("adder_slots_all_images.causes.additions.slots", "adder_slots_all_images.total"), lambda used, total: used / total,
    ),
    "dram_bytes": ("counted bytes / images", (COUNTERS_KEY + "dram_bytes", "images"), lambda count, images: count / images),
    "energy_per_operation_pj": (
        "energy / synaptic operations (at least 1 in all images)", ("energy_uj.total", "synaptic_operations", "images"),
        lambda energy, operations, images: energy * 1e6 / max(1 / images, operations),
    ),
    "energy_per_operation_pj_without_dram": (
        "(energy - DRAM) / synaptic operations (at least 1 in all images)",
        ("energy_uj.total", "energy_uj.dram", "synaptic_operations", "images"),
        lambda energy, dram, operations, images: (energy - dram) * 1e6 / max(1 / images, operations),
    ),
    "field_energy_uj.total": (
        f"{single('field_ac').value} pJ ({single('field_ac').entries[0]}) x accumulates + {single('field_mac').value} pJ "
        f"({single('field_mac').entries[0]}) x multiply-accumulates",
        ("field_energy_uj.accumulates", "field_energy_uj.multiply_accumulates"),
        lambda acs, macs: (single("field_ac").value * acs + single("field_mac").value * macs) * 1e-6,
    ),
}  # fmt: skip
"""Figures of the whole run: in words, inputs, and the formula over them."""

_COUNTED = {
    "cycles": (CYCLES,), "synaptic_operations": ("additions", ATTENTION + "additions"), "dram_bytes": ("dram_bytes",),
}  # fmt: skip
"""Figures of a layer: the counts that they add up, means per image."""


def figures(report: Mapping[str, Any]) -> dict[str, float]:
    """Every figure that has a chain, by its name."""
    found = {name: at(report, name) for name in _QUOTIENTS}
    found |= {name: report[name] for name in ("synaptic_operations", "synaptic_operations_attention")}
    for key in ("energy_uj", "area_mm2"):
        found |= {f"{key}.{name}": value for name, value in report[key].items()}
    found |= {COUNTERS_KEY + name: value for name, value in report[COUNTERS_KEY[:-1]].items()}
    for layer in report["layers"]:
        found |= {f"layers.{layer['name']}.{key}": layer[key] for key in ("energy_uj", *_COUNTED)}
    return found


def at(report: Mapping[str, Any], name: str) -> Any:
    """The figure under keys joined by dots."""
    value: Any = report
    for key in name.split("."):
        value = value[key]
    return value


def formula_of(report: Mapping[str, Any], metric: str) -> Formula:
    """The formula of a figure that is neither an energy nor an area."""
    if metric in _QUOTIENTS:
        words, names, compute = _QUOTIENTS[metric]
        inputs = {name: at(report, name) for name in names}
        return Formula(words, inputs, compute(*inputs.values()))
    if metric.startswith(COUNTERS_KEY):
        counter = next(entry for entry in COUNTERS if COUNTERS_KEY + entry.name == metric)
        words = f"{counter.unit} counted by the units in all images: {counter.description}"
        return Formula(words, {}, at(report, metric))
    key = metric.rpartition(".")[2]
    counters = _COUNTED.get(key, (ATTENTION + "additions",))
    name = metric.removeprefix("layers.").rpartition(".")[0]
    inputs = {
        f"{counter} of layer {layer['name']}": layer[COUNTS][counter]
        for layer in report["layers"]
        for counter in counters
        if counter in layer[COUNTS] and (not metric.startswith("layers.") or layer["name"] == name)
    }
    return Formula("sum of the counts of all images / images", inputs, sum(inputs.values()) / report["images"])
