"""A run as plain data: what was done, how long it took, where the cycles went, energy and area.

Figures are means per image unless their name says otherwise; integers stay integers where the mean is one.

* synaptic operations: additions of a weight (or count) row's column where a lane spiked, bit planes included,
  padding not; the cores' and the attention unit's;
* utilization: additions of the cores' adders / (adders x all cycles of the run).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from archsim.accounting import CAUSES, NAMES, Accounts, account
from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.counters import AccountingError, add, tally, whole
from archsim.energy import ASSUMPTIONS, COMPONENTS, NOT_MODELLED, area_mm2, energy_pj, field_energy_pj
from archsim.energy.coefficients import coefficients
from archsim.energy.ranges import area_range_mm2, energy_range_pj, warnings, widest
from archsim.energy.term import ATTENTION, CYCLES
from archsim.results import COUNTERS, RunResult

BOUNDS = {
    "events": ("additions", "unused_columns", "idle_lanes", "empty_words", "shifts"),
    "neurons": ("neurons",),
    "pipeline": ("fill",),
    "weights": ("weights",),
    "multicast": ("gather",),
    "attention": ("attention",),
    "experts": ("experts",),
    "normaliser": ("normaliser",),
    "imbalance": ("other_cores",),
    "sequencer": ("decode",),
}
"""What bounds a layer: the group of causes with most of its adder slots, cores without work left aside."""


def summarise(result: RunResult) -> dict[str, Any]:
    """All figures of ``result`` as JSON data, in a fixed order; units are in the key names.

    Raises AccountingError, an internal error, when parts do not add up to the whole.
    """
    chip, images = result.chip, len(result.images)
    layers = result.program.notes["layers"]
    accounts = _add([account(chip, run, len(layers)) for run in result.images])
    counters = tally(result, len(layers))
    totals = add(counters)
    cycles = sum(run.cycles for run in result.images)
    energy = energy_pj(chip, totals, cycles)
    rows = [_layer(chip, images, entry, counters[number], accounts, number) for number, entry in enumerate(layers)]
    _conserve(energy, rows, images)
    per_image = cycles / images
    operations = totals["additions"] + totals[ATTENTION + "additions"]
    components = {name: picojoule / images * 1e-6 for name, picojoule in energy.items()}
    area = area_mm2(chip)
    return {
        "workload": result.workload,
        "chip": chip.name,
        "mode": result.mode,
        "spikes": result.spikes,
        "images": images,
        "accuracy": result.accuracy,
        "accuracy_float": result.accuracy_float,
        "check": _check(result),
        "cycles": _mean(cycles, images),
        "cycles_by_image": [run.cycles for run in result.images],
        "latency_ms": per_image / chip.clock_mhz / 1000,
        "images_per_s": chip.clock_mhz * 1e6 / per_image,
        "synaptic_operations": _mean(operations, images),
        "synaptic_operations_attention": _mean(totals[ATTENTION + "additions"], images),
        "dense_macs": sum(int(entry["macs"]) for entry in layers),
        "utilization": totals["additions"] / (chip.adders * cycles),
        "dram_bytes": _mean(totals["dram_bytes"], images),
        "energy_uj": {"total": sum(components.values()), **components},
        "energy_per_operation_pj": sum(energy.values()) / max(1, operations),
        "energy_per_operation_pj_without_dram": (sum(energy.values()) - energy["dram"]) / max(1, operations),
        "field_energy_uj": _field(layers, counters, images),
        "area_mm2": {"total": sum(area.values()), **area},
        **_ranges(chip, totals, cycles, images),
        "adder_slots_all_images": _slots(accounts, chip, cycles),
        "layers": rows,
        "experts": _experts(result, counters),
        "first_products": result.program.notes.get("first_products", {}),
        "engines": _engines(result, cycles),
        "counters_all_images": whole(result),
        "predictions": _predictions(result),
        "chip_parameters": {**chip.as_dict(), "adders": chip.adders},
        "notes": {
            "assumptions": list(ASSUMPTIONS),
            "not_modelled": list(NOT_MODELLED),
            "confidence": {name: sure for name, (_, sure) in COMPONENTS.items()},
            "coefficients": {name: entry.model_dump() for name, entry in coefficients().items()},
        },
    }


def _ranges(chip: ChipParams, counters: Mapping[str, int], cycles: int, images: int) -> dict[str, Any]:
    """Between what energies and areas may lie, the components that widen the totals most, and what is extrapolated."""
    energies, areas = energy_range_pj(chip, counters, cycles), area_range_mm2(chip)
    return {
        "energy_range_uj": {name: [end / images * 1e-6 for end in ends] for name, ends in energies.items()},
        "area_range_mm2": {name: list(ends) for name, ends in areas.items()},
        "range_widest": {"energy": widest(energies), "area": widest(areas)},
        "warnings": warnings(chip, counters),
    }


def _add(accounts: list[Accounts]) -> Accounts:
    cycles = np.sum([entry.layer_cycles for entry in accounts], axis=0)
    return Accounts(cycles, np.sum([entry.slots for entry in accounts], axis=0))


def _mean(total: int, images: int) -> int | float:
    """The mean per image, an integer if it is one."""
    return total // images if total % images == 0 else total / images


def _layer(
    chip: ChipParams,
    images: int,
    entry: Mapping[str, Any],
    counters: Mapping[str, int],
    accounts: Accounts,
    number: int,
) -> dict[str, Any]:
    """Figures of one layer, means per image."""
    both = {item.name: counters[item.name] + counters[ATTENTION + item.name] for item in COUNTERS}
    slots = accounts.slots[number]
    cycles = int(accounts.layer_cycles[number])
    energy = energy_pj(chip, counters, cycles)
    total = int(slots.sum())
    row_bits = chip.lanes * chip.columns
    return {
        "layer": number,
        "name": entry["name"],
        "kind": entry["kind"],
        "operand": entry["operand"],
        "spikes_in": _mean(both["lane_events"], images),
        "synaptic_operations": _mean(both["additions"], images),
        "word_operations": _mean(both["popcounts"] + both["gates"], images),
        "dense_macs": int(entry["macs"]),
        "cycles": _mean(cycles, images),
        "cycles_share": cycles / max(1, int(accounts.layer_cycles.sum())),
        "utilization": int(slots[NAMES.index("additions")]) / max(1, total),
        "bound_by": bound(dict(zip(NAMES, slots.tolist(), strict=True))),
        "dram_bytes": _mean(both["dram_bytes"], images),
        "multicast_bytes": both["copied_rows"] * row_bits / 8 / images,
        "energy_uj": sum(energy.values()) / images * 1e-6,
        "energy_counts_all_images": {name: count for name, count in counters.items() if count} | {CYCLES: cycles},
        "instructions": _mean(counters["instructions"], images),
        "adder_cycles": {name: value / chip.adders / images for name, value in zip(NAMES, slots.tolist(), strict=True)},
    }


def bound(slots: Mapping[str, int]) -> str:
    """What bounds a layer with these adder slots by cause; ``-`` if it has none."""
    groups = {name: sum(slots.get(cause, 0) for cause in causes) for name, causes in BOUNDS.items()}
    best = max(groups, key=lambda name: groups[name])
    return best if groups[best] else "-"


def _slots(accounts: Accounts, chip: ChipParams, cycles: int) -> dict[str, Any]:
    """Adder slots by cause, integers over all images that add up to ``total`` exactly, with shares."""
    values = accounts.slots.sum(axis=0).tolist()
    total = chip.adders * cycles
    if sum(values) != total:
        raise AccountingError(f"adder slots add up to {sum(values)}, required {total}")
    return {
        "total": total,
        "causes": {
            name: {"slots": value, "share": value / max(1, total), "label": CAUSES[name]}
            for name, value in zip(NAMES, values, strict=True)
        },
    }


def _field(layers: list[Mapping[str, Any]], counters: list[dict[str, int]], images: int) -> dict[str, Any]:
    """The field's figure: additions by spikes at 0.9 pJ, dense multiply-adds of integer operands at 4.6."""
    accumulates = macs = 0
    for entry, counts in zip(layers, counters, strict=True):
        if entry["operand"] == "planes":
            macs += int(entry["macs"]) * images
        else:
            accumulates += counts["additions"] + counts[ATTENTION + "additions"]
    return {
        "total": field_energy_pj(accumulates, macs) / images * 1e-6,
        "accumulates": _mean(accumulates, images),
        "multiply_accumulates": _mean(macs, images),
        "label": "the field's formula: 0.9 pJ per accumulate, 4.6 pJ per multiply-accumulate of a layer with "
        "integer operand; fp32 at 45 nm, no memory at all",
    }


def _experts(result: RunResult, counters: list[dict[str, int]]) -> list[dict[str, Any]]:
    """Layers of experts, all images: choices and accepted tokens by expert, flits that entered a crossbar, cycles they waited."""
    rows = []
    for number, entry in enumerate(result.program.notes["layers"]):
        loads = [run.loads[number] for run in result.images if number in run.loads]
        if loads:
            chosen, kept = np.sum(loads, axis=0).T.tolist()
            waits = {name: counters[number][name] for name in ("flits", "flit_stalls")}
            rows.append({"name": entry["name"], "chosen": chosen, "accepted": kept, "dropped": sum(chosen) - sum(kept), **waits})
    return rows


def _engines(result: RunResult, cycles: int) -> list[dict[str, Any]]:
    """Busy cycles of every engine as a share of all cycles."""
    rows = []
    for engine in sequencer.engines(result.chip):
        own = [run.records[run.records["engine"] == engine] for run in result.images]
        busy = sum(int((records["end"] - records["start"]).sum()) for records in own)
        rows.append({"engine": sequencer.engine_name(engine), "busy_share": busy / max(1, cycles)})
    return rows


def _predictions(result: RunResult) -> list[dict[str, Any]] | None:
    """Label and largest logit (the first of equal ones) of each image, in execute mode."""
    if result.mode != "execute":
        return None
    labels = [None] * len(result.images) if result.labels is None else result.labels.tolist()
    return [
        {"label": label, "predicted": int(np.argmax(run.logits))}
        for label, run in zip(labels, result.images, strict=False)
    ]


def _check(result: RunResult) -> dict[str, Any] | None:
    """The comparison with the integer reference, or None if there was none."""
    if result.check is None:
        return None
    return {"compared": dict(result.check.compared), "differing": dict(result.check.differing)}


def _conserve(energy: Mapping[str, float], rows: list[dict[str, Any]], images: int) -> None:
    """The energies of the layers add up to the run's, to rounding."""
    total, parts = sum(energy.values()) / images * 1e-6, sum(row["energy_uj"] for row in rows)
    if abs(total - parts) > 1e-9 * max(1.0, total):
        raise AccountingError(f"energies of layers add up to {parts} uJ, the run's is {total}")
