"""Between what the energies and areas of a report may lie, which component widens the total most, and what is extrapolated."""

from collections.abc import Iterable, Mapping

from archsim.contracts.common.chip import ChipParams
from archsim.energy.coefficients import Reading
from archsim.energy.laws import native
from archsim.energy.model import COMPONENTS, area_terms, energy_terms
from archsim.energy.term import CYCLES, Term

Range = tuple[float, float]
"""Least and most."""


def energy_range_pj(chip: ChipParams, counters: Mapping[str, int], cycles: int) -> dict[str, Range]:
    """Range of each component's energy and of the total (``total``), pJ; arguments as of `archsim.energy.energy_pj`."""
    return _ranges(energy_terms(chip), {**counters, CYCLES: cycles}, COMPONENTS)


def area_range_mm2(chip: ChipParams) -> dict[str, Range]:
    """Range of each component's area and of the total (``total``), mm2."""
    return _ranges(area_terms(chip), None)


def _ranges(terms: Iterable[Term], counts: Mapping[str, int] | None, known: Iterable[str] = ()) -> dict[str, Range]:
    """By component, those ``known`` without a term too: sums of the terms' least and most.

    All figures of a component, and all components, are taken to err in the same direction.
    """
    found: dict[str, Range] = dict.fromkeys(known, (0.0, 0.0))
    for term in terms:
        count = 1 if counts is None else counts.get(term.counter, 0)
        low, high = found.get(term.component, (0.0, 0.0))
        least, most = term.bounds
        found[term.component] = low + count * least, high + count * most
    lows, highs = zip(*found.values(), strict=True)
    return {"total": (sum(lows), sum(highs)), **found}


def widest(ranges: Mapping[str, Range]) -> str:
    """The component that adds most to the width of the total."""
    return max((name for name in ranges if name != "total"), key=lambda name: ranges[name][1] - ranges[name][0])


def warnings(chip: ChipParams, counters: Mapping[str, int]) -> list[str]:
    """What of this run's energies, and of the chip's areas, is extrapolated: component, figure and law."""
    used = [term for term in energy_terms(chip) if counters.get(term.counter, 0) or term.unit and term.counter == CYCLES]
    lines = [
        f"{what} of {COMPONENTS[term.component][0]}: {_figure(reading)}{reading.law}"
        for what, terms in (("energy", used), ("area", area_terms(chip)))
        for term in terms
        for reading in term.readings
        if reading.extrapolated
    ]
    return list(dict.fromkeys(lines))


def _figure(reading: Reading) -> str:
    """The figure before its law; none of a law of logic, which is extrapolated as a whole."""
    return "" if native((reading,)) else f"{reading.value:.3g} {reading.unit}, "
