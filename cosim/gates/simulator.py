"""What the simulator says of the logic of a run: by the table of its energy model, and by the laws of measured units."""

from collections.abc import Mapping, Sequence
from statistics import geometric_mean
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import sequencer
from archsim.contracts.attention import AttentionParams
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.core import CoreParams
from archsim.counters import leaders
from archsim.energy.clock import registers_by_unit
from archsim.energy.coefficients import single
from archsim.energy.model import energy_terms
from archsim.energy.term import ATTENTION
from archsim.results import COUNTERS
from cosim.gates.units import ATTENTION_NEURON
from rtl.characterize import laws, scaling
from rtl.characterize.grid import GRIDS

NODE = 45
"""Node of the simulator's table, nm; its supply is that of `scaling.TARGETS`."""

LOGIC = {
    "synapse_adders": "synapse_array", "accumulator_registers": "synapse_array", "attention_adders": "attention",
    "transposer": "multicast", "masker": "multicast", "softmax_logic": "attention", "neuron_units": "neuron",
    "normaliser_logic": "normaliser",
}  # fmt: skip
"""Components of the energy model that are logic which switches, and the unit where they are; of the attention unit, see `_unit`."""

OTHERS = ("clock", "logic_leakage", "memory_leakage", "dram")
"""Components that are no such logic, beside all that are called a memory."""


class Bounds(NamedTuple):
    """A figure with its range."""

    value: float
    low: float
    high: float

    def __mul__(self, other: "Bounds") -> "Bounds":  # type: ignore[override]
        return Bounds(*(one * two for one, two in zip(self, other, strict=True)))

    def plus(self, other: "Bounds") -> "Bounds":
        """The sum, both at the same end of their ranges."""
        return Bounds(*(one + two for one, two in zip(self, other, strict=True)))


NOTHING = Bounds(0.0, 0.0, 0.0)


def table(chip: ChipParams, counters: Mapping[str, int], cycles: int) -> dict[str, dict[str, Bounds]]:
    """Energy in pJ at 45 nm of the logic of a run, by unit: ``data``, what switches by counts, and ``clock``, without its tree.

    Args:
        chip: a chip without clock gating, as its Verilog.
        counters: of the run, as `archsim.energy.model.energy_pj` takes them.
        cycles: of the run.

    Raises ArchsimError for a chip with clock gating.
    """
    if chip.clock_gating:
        raise ArchsimError(f"chip {chip.name}: required clock_gating 0, given {chip.clock_gating}; the Verilog has no gates")
    found: dict[str, dict[str, Bounds]] = {}

    def add(unit: str, kind: str, value: Bounds) -> None:
        entry = found.setdefault(unit, {"data": NOTHING, "clock": NOTHING})
        entry[kind] = entry[kind].plus(value)

    for term in energy_terms(chip):
        if term.component in LOGIC:
            count = counters.get(term.counter, 0)
            add(_unit(term.component, term.counter), "data", Bounds(*(count * part for part in (term.value, *term.bounds))))
        else:
            assert term.component in OTHERS or term.component.endswith("_memory"), f"{term.component}: logic or not?"
    clock = single("register_clock")
    for engine, units in registers_by_unit(chip).items():
        for unit, bits in units.items():
            name = ATTENTION_NEURON if (engine, unit) == ("attention", "neuron") else unit
            number = cycles * bits * (chip.cores if engine == "core" else 1)
            add(name, "clock", Bounds(*(number * part for part in (clock.value, clock.low, clock.high))))
    return found


def _unit(component: str, counter: str) -> str:
    if counter.startswith(ATTENTION):
        return ATTENTION_NEURON if component == "neuron_units" else "attention"
    return LOGIC[component]


def register_bits(chip: ChipParams) -> dict[str, int]:
    """Register bits of each unit of the whole chip by the law of the clock."""
    found: dict[str, int] = {}
    for engine, units in registers_by_unit(chip).items():
        for unit, bits in units.items():
            name = ATTENTION_NEURON if (engine, unit) == ("attention", "neuron") else unit
            found[name] = found.get(name, 0) + bits * (chip.cores if engine == "core" else 1)
    return found


def factor(rows: Mapping[str, Sequence[Mapping[str, Any]]], library: str) -> Bounds:
    """What an energy at 45 nm is multiplied by to be one of a measured library, by the rule of `rtl.characterize.scaling`.

    ``rows``: the results of every library of `scaling.LIBRARIES`, by its name. The mean of the units that all of them have, and the
    ends of their ranges. Raises ArchsimError for a library that is none of them, and without common units.
    """
    if library not in scaling.LIBRARIES:
        raise ArchsimError(f"library {library}: required one whose node is known: {', '.join(scaling.LIBRARIES)}")
    found = scaling.measured(rows)
    if not found:
        raise ArchsimError(
            "scaling: required a unit that every library has measured; run `python -m rtl.characterize --liberty FILE...`"
        )
    ratios = []
    _, *others = scaling.LIBRARIES
    for by_library in found.values():
        ends = [(scaling.LIBRARIES[name], by_library[name][scaling.ENERGY_OF]) for name in others]
        here = by_library[library][scaling.ENERGY_OF]
        value, low, high = scaling.between(scaling.ENERGY_OF, ends, NODE, scaling.TARGETS[NODE])
        ratios.append((here / value, here / high, here / low))
    values, lows, highs = zip(*ratios, strict=True)
    return Bounds(geometric_mean(values), min(lows), max(highs))


class Law(NamedTuple):
    """A law at one instance of a unit.

    Attributes:
        unit: the unit whose law it is.
        module: path of the instance in the chip.
        pj: what the law says; None without a law.
        events_pj: of it the terms that do not count every cycle: what events cost beside the clock; None without a law.
        note: why there is none, or what it leaves out.
    """

    unit: str
    module: str
    pj: float | None
    events_pj: float | None
    note: str


def by_law(
    chip: ChipParams, records: NDArray[np.void], cycles: int, rows: Sequence[Mapping[str, Any]]
) -> list[Law]:
    """The laws of measured units, ``rows`` at one library, at what the simulator counted for each of their instances in a run."""
    found = []
    for unit, module, numbers in _instances(chip, records):
        own = [row for row in rows if row["unit"] == unit]
        points = len(list(GRIDS[unit].points()))
        if len(own) < points:
            found.append(Law(unit, module, None, None, f"no law: {len(own)} of {points} points measured"))
            continue
        fitted = {text: value for text, value in laws.energy(unit, own).coefficients.items() if value}
        known = {**numbers, "cycles": cycles}
        missing = {name for text in fitted for name in text.split()} - {*known, "1"}
        if missing:
            found.append(Law(unit, module, None, None, f"no law: the simulator does not count {', '.join(sorted(missing))}"))
            continue
        terms = {text: value * laws.term(text)(known) for text, value in fitted.items()}
        events = sum(pj for text, pj in terms.items() if "cycles" not in text.split())
        found.append(Law(unit, module, sum(terms.values()), events, _outside(unit, own, numbers)))
    return found


def _outside(unit: str, rows: Sequence[Mapping[str, Any]], numbers: Mapping[str, int]) -> str:
    """Parameters of an instance that lie outside of what was measured, those too that no point varies."""
    notes = []
    for name in rows[0]["parameters"]:
        measured = sorted({row["parameters"][name] for row in rows})
        if not measured[0] <= numbers[name] <= measured[-1]:
            notes.append(f"{name} {numbers[name]}, measured {' .. '.join(map(str, dict.fromkeys([measured[0], measured[-1]])))}")
    return f"extrapolated: {'; '.join(notes)}" if notes else ""


def _instances(chip: ChipParams, records: NDArray[np.void]) -> list[tuple[str, str, dict[str, int]]]:
    """Unit, path and numbers of every instance of a unit of `GRIDS` in the way of a spike.

    The attention unit's neurons are not the neuron unit's: they have no residual, no partial sums, no reduction.
    """
    core, attention, found = CoreParams(chip), AttentionParams(chip), []
    once = leaders(records) == np.arange(len(records))
    for number in range(chip.cores):
        own = records["engine"] == sequencer.CORE0 + number
        path = f"core{number}"
        found += [
            # Of a gang only the leader's fetch and encoder work; the arrays, neurons and writers of all members do.
            ("spike_fetch", f"{path}.fetch", _sizes(core.fetch) | _counts(records[own & once])),
            ("event_encoder", f"{path}.encoder", _sizes(core.encoder) | _counts(records[own & once])),
            ("synapse_array", f"{path}.array", _sizes(core.array) | _counts(records[own])),
            ("neuron", f"{path}.neuron", _sizes(core.neuron) | _counts(records[own])),
            ("spike_writer", f"{path}.writer", _sizes(core.writer) | _counts(records[own]) | _written(records[own])),
        ]  # fmt: skip
    counts = _counts(records[records["engine"] == sequencer.ATTENTION])
    # The simulator does not count the spikes of transposed words: known only where there is no word.
    spikes = {} if counts["transposed"] else {"spikes": 0}
    found += [
        ("event_encoder", "attention.unit.encoder", _sizes(attention.encoder) | counts),
        ("transposer", "attention.unit.popcount.transposer", _sizes(attention.transposer) | counts | spikes),
    ]
    return found


def _sizes(params: Any) -> dict[str, int]:
    return {name: value for name, value in vars(params).items() if isinstance(value, int)}


def _written(records: NDArray[np.void]) -> dict[str, int]:
    """Counts of a spike writer: granules that the pool takes, and spikes that are stored (a pool takes others than it gives)."""
    pooled = records["pool_column_writes"] > 0
    return {"spikes": int(records["spikes"].sum()), "pooled": int(records["granules"][pooled].sum())}


def _counts(records: NDArray[np.void]) -> dict[str, int]:
    """Counters of records; ``channels`` with a spike are the rows that were added. ``spikes``: see :func:`_written`."""
    found = {counter.name: int(records[counter.name].sum()) for counter in COUNTERS if counter.name != "spikes"}
    return found | {"channels": found["events"]}
