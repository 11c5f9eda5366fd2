"""What the simulator says of the logic of a run: by both providers of its energy model, and by the laws for single instances."""

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import mul
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import sequencer
from archsim.contracts.attention import AttentionParams
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.law import KNOWN_BITS
from archsim.contracts.common.laws import FORMS
from archsim.contracts.core import CoreParams
from archsim.counters import leaders
from archsim.energy.clock import registers_by_unit
from archsim.energy.coefficients import Reading
from archsim.energy.laws import native, package
from archsim.energy.model import energy_terms
from archsim.energy.providers import ON_LAWS, unit_of
from archsim.energy.providers import PROVIDERS as _PROVIDERS
from archsim.energy.term import CYCLES, SCALE, place
from archsim.results import COUNTERS
from rtl.characterize import laws, scaling
from rtl.characterize.grid import GRIDS

NODE = 45
"""Node of the simulator's table, nm; its supply is that of `scaling.TARGETS`."""

PROVIDERS = {name: laws for laws, name in _PROVIDERS.items()}
"""``energy_laws`` of a chip by the name of the provider."""

OTHERS = ("clock", "logic_leakage", "memory_leakage", "dram")
"""Components that are no logic which switches, beside all that are called a memory."""


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


def logic(chip: ChipParams, counters: Mapping[str, int], cycles: int, factor: Bounds, library: str) -> dict[str, dict[str, Bounds]]:
    """Energy in pJ of the logic of a run, by unit, as the chip's provider has it, at the node of a library.

    ``data`` is what switches by counts without wires, ``clock`` that of the registers without its tree: netlists have neither.

    Args:
        chip: a chip without clock gating, as its Verilog.
        counters: of the run, as `archsim.energy.model.energy_pj` takes them.
        cycles: of the run.
        factor: from the simulator's node to the library's, for figures of the table; laws are taken at their own node.
        library: name of the library.

    Raises ArchsimError for a chip with clock gating.
    """
    if chip.clock_gating:
        raise ArchsimError(f"chip {chip.name}: required clock_gating 0, given {chip.clock_gating}; the Verilog has no gates")
    found: dict[str, dict[str, Bounds]] = {}
    counts = {**counters, CYCLES: cycles}
    home = any(name.removesuffix(".lib") == library for name in package().library)
    for term in energy_terms(chip):
        unit, kind = unit_of(term), "clock" if term.component == "clock" else "data"
        if not unit:
            assert term.component in OTHERS or term.component.endswith("_memory"), f"{term.component}: logic or not?"
            continue
        figures = [Bounds(reading.value, reading.low, reading.high) for reading in term.readings if kept(reading, home)]
        if not (home and native(term.readings)):
            figures.append(factor)
        number = counts.get(term.counter, 0) * math.prod(value for value, _ in term.factors)
        entry = found.setdefault(unit, {"data": NOTHING, "clock": NOTHING})
        entry[kind] = entry[kind].plus(reduce(mul, figures, Bounds(number, number, number)))
    return found


def kept(reading: Reading, home: bool) -> bool:
    """Whether a figure counts here: not wires and the clock's tree, and at ``home``, the laws' node, not the factor from there."""
    (name, *_) = reading.entries
    return name not in ON_LAWS and not (home and name.startswith(SCALE))


def register_bits(chip: ChipParams) -> dict[str, int]:
    """Register bits of each unit of the whole chip by the law of the clock."""
    found: dict[str, int] = {}
    for engine, units in registers_by_unit(chip).items():
        for unit, bits in units.items():
            name = place(engine, unit)
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
    value, low, high = scaling.mean(found, scaling.ENERGY_OF, library, NODE)
    return Bounds(1 / value, 1 / high, 1 / low)


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
        if not GRIDS[unit].whole(own):
            found.append(Law(unit, module, None, None, f"no law: {len(own)} of {points} points measured"))
            continue
        fit = laws.energy(unit, own)
        fitted = {text: value for text, value in fit.coefficients.items() if value} | {f"{CYCLES} {KNOWN_BITS}": fit.known}
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
            ("spike_fetch", f"{path}.fetch", FORMS["spike_fetch"].numbers(core.fetch) | _counts(records[own & once])),
            ("event_encoder", f"{path}.encoder", FORMS["event_encoder"].numbers(core.encoder) | _counts(records[own & once])),
            ("synapse_array", f"{path}.array", FORMS["synapse_array"].numbers(core.array) | _counts(records[own])),
            ("neuron", f"{path}.neuron", FORMS["neuron"].numbers(core.neuron) | _counts(records[own])),
            ("spike_writer", f"{path}.writer",
             FORMS["spike_writer"].numbers(core.writer) | _counts(records[own]) | _written(records[own])),
        ]  # fmt: skip
    counts = _counts(records[records["engine"] == sequencer.ATTENTION])
    # The simulator does not count the spikes of transposed words: known only where there is no word.
    spikes = {} if counts["transposed"] else {"spikes": 0}
    found += [
        ("event_encoder", "attention.unit.encoder", FORMS["event_encoder"].numbers(attention.encoder) | counts),
        ("transposer", "attention.unit.popcount.transposer", FORMS["transposer"].numbers(attention.transposer) | counts | spikes),
    ]
    return found


def _written(records: NDArray[np.void]) -> dict[str, int]:
    """Counts of a spike writer: granules that the pool takes, and spikes that are stored (a pool takes others than it gives)."""
    pooled = records["pool_column_writes"] > 0
    return {"spikes": int(records["spikes"].sum()), "pooled": int(records["granules"][pooled].sum())}


def _counts(records: NDArray[np.void]) -> dict[str, int]:
    """Counters of records; ``channels`` with a spike are the rows that were added. ``spikes``: see :func:`_written`.

    ``runs`` of blocks are the groups handed over, ``busy_groups`` those of them with a spike; all blocks are ``changes``.
    """
    found = {counter.name: int(records[counter.name].sum()) for counter in COUNTERS if counter.name != "spikes"}
    busy = found["groups"] - found["empty_groups"]
    return found | {
        "channels": found["events"], "changes": found["granules"], "runs": found["groups"], "busy_groups": busy,
    }  # fmt: skip
