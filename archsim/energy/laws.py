"""Laws of energy and area that were fitted to our netlists: coefficients, their errors, and the factor to the chip's node.

The forms stand with the contracts (`archsim.contracts.common.laws`), the coefficients in a file of this package that
``python -m rtl.characterize --report`` writes. Figures are native, of 180 nm, until they are multiplied by `scale`.
"""

import math
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from archsim.config.validate import Strict
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.law import CYCLES, KNOWN_BITS
from archsim.contracts.common.laws import FORMS
from archsim.energy.coefficients import Coefficient, Reading, coefficients

FILE = "laws.json"
"""Name of the laws in this package."""

ENERGY, AREA = "energy", "area"
"""What a law is of."""

WIRES = "wires"
"""Factor of the table on what laws say of data: their netlists have no wires; that on the clock is the table's ``clock_tree``."""

PREFIX = "law."
"""Beginning of the names of a law's coefficients, as ``law.neuron.energy.granules``."""

Positive = Annotated[float, Field(gt=0)]


class Factor(Strict):
    """What a native figure is multiplied by, and between what that may be."""

    value: Positive
    low: Positive
    high: Positive


class UnitLaws(Strict):
    """The laws of a unit: coefficients by term, errors held out, and between which sizes it was measured."""

    energy_pj: dict[str, Positive]
    area_um2: dict[str, Positive]
    error_energy: Positive
    """worst relative error of the energy of a window held out"""
    error_events: Positive
    """relative error of what is not clock in the windows held out: root of the mean square"""
    error_area: Positive
    """worst relative error of an area held out"""
    fitted: int
    """windows of the fit of the energy"""
    held_out: int
    """windows held out"""
    measured: dict[str, tuple[int, int]]
    """least and greatest of each size"""


class Package(Strict):
    """Everything in the file."""

    written_by: str
    results: str
    results_sha256: str
    library: dict[str, str]
    tools: dict[str, str]
    node_nm: int
    volts: float
    flip_flop_pj: Positive
    """clock of a flip-flop, a cycle"""
    nand2_um2: Positive
    known_bit_um2: Positive
    scaled_nm: int
    scaled_volts: float
    factors: dict[Literal["energy", "area"], Factor]
    factors_source: str
    units: dict[str, UnitLaws]


@cache
def package() -> Package:
    """The laws. Raises ArchsimError if the file is no such data, or of other forms than the contracts'."""
    return checked(files("archsim.energy").joinpath(FILE).read_text(encoding="utf-8"))


def checked(text: str) -> Package:
    """The laws of a text; raises ArchsimError as `package` does."""
    try:
        found = Package.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ArchsimError(
            f"{FILE}: required laws as `python -m rtl.characterize --report` writes them, given at {where}: {first['msg']}"
        ) from error
    for unit, form in FORMS.items():
        laws = found.units.get(unit)
        odd = ["all of it"] if laws is None else sorted({*laws.energy_pj, *laws.area_um2} - {*form.energy, *form.area})
        if odd:
            raise ArchsimError(
                f"{FILE}: the law of {unit} is of another form than its contract's ({', '.join(odd)}); "
                "write it again with `python -m rtl.characterize --report`"
            )
    return found


@cache
def entries() -> dict[str, Coefficient]:
    """Coefficients and factors of the laws by name, as the table of cited figures has its own."""
    data = package()
    where = f"our netlists in {', '.join(data.library)}, {data.node_nm} nm, {data.volts:g} V"
    found: dict[str, Coefficient] = {}
    for unit, laws in data.units.items():
        judged = f"{laws.fitted} windows fitted, {laws.held_out} held out"
        for text, value in laws.energy_pj.items():
            clock = CYCLES in text.split()
            error = laws.error_energy if clock else laws.error_events
            what = "worst error of a window" if clock else "error of what is not clock"
            found[name_of(unit, ENERGY, text)] = _entry(
                value, "pJ", error, f"law of {unit}, {where}; {judged}", f"held out: {what}"
            )
        for text, value in laws.area_um2.items():
            found[name_of(unit, AREA, text)] = _entry(
                value, "um2", laws.error_area, f"law of {unit}, {where}", "held out: worst error of an area"
            )
        bit = name_of(unit, ENERGY, f"{CYCLES} {KNOWN_BITS}")
        found[bit] = _entry(
            data.flip_flop_pj, "pJ", laws.error_energy, f"clock of a flip-flop, {where}", "as the law's other clock"
        )
        found[name_of(unit, AREA, KNOWN_BITS)] = _entry(
            data.known_bit_um2, "um2", laws.error_area, f"bit of registers, {where}", "as the law's area"
        )
    for what, factor in data.factors.items():
        found[f"scale_{what}"] = Coefficient(
            value=factor.value, unit="1", node_nm=data.scaled_nm, voltage=data.scaled_volts, confidence="indicative",
            source=f"{data.node_nm} to {data.scaled_nm} nm: {data.factors_source}", low=factor.low, high=factor.high,
            range="from either measured end alone",
        )  # fmt: skip
    return found


def _entry(value: float, unit: Literal["pJ", "um2"], error: float, source: str, reason: str) -> Coefficient:
    data = package()
    return Coefficient(
        value=value, unit=unit, node_nm=data.node_nm, voltage=data.volts, confidence="indicative", source=source,
        low=value / (1 + error), high=value * (1 + error), range=f"{reason}, {error:.1%}",
    )  # fmt: skip


def name_of(unit: str, what: str, text: str) -> str:
    """Name of the coefficient of a term of a unit's law."""
    return f"{PREFIX}{unit}.{what}.{text.replace(' ', '*')}"


def known() -> dict[str, Coefficient]:
    """Every figure that there is: the cited table's, and the laws'."""
    return {**coefficients(), **entries()}


def reading(unit: str, what: str, text: str, numbers: Mapping[str, int]) -> Reading:
    """The coefficient of a term at these sizes; outside of what was measured the error doubles with each doubling of a size."""
    name = name_of(unit, what, text)
    entry, beyond = entries()[name], outside(unit, numbers)
    error = (entry.most / entry.value - 1) * math.prod(times for _, times in beyond)
    law = f"law of {unit} at {package().node_nm} nm"
    if beyond:
        law += f", EXTRAPOLATED: {'; '.join(note for note, _ in beyond)}"
    return Reading(entry.value, entry.unit, law, (name,), entry.value / (1 + error), entry.value * (1 + error), bool(beyond))


def outside(unit: str, numbers: Mapping[str, int]) -> list[tuple[str, float]]:
    """Sizes outside of what was measured, in words, and how many times they lie beyond it."""
    found = []
    for name in taken(unit):
        (low, high), value = package().units[unit].measured[name], numbers[name]
        if not low <= value <= high:
            between = f"{low}" if low == high else f"{low} .. {high}"
            found.append((f"{name} {value}, measured {between}", max(value / high, low / max(1, value))))
    return found


def taken(unit: str) -> list[str]:
    """Sizes that the laws of a unit take, and those that matter and were not varied."""
    form, laws = FORMS[unit], package().units[unit]
    names = {name for text in (*laws.energy_pj, *laws.area_um2) for name in form.parameters(text)}
    return sorted({*names, *form.fixed} - {KNOWN_BITS})


def scale(what: str) -> Reading:
    """The factor from the laws' node to that of the chip."""
    entry, data = entries()[f"scale_{what}"], package()
    law = f"{data.node_nm} to {data.scaled_nm} nm, {what}"
    return Reading(entry.value, entry.unit, law, (f"scale_{what}",), entry.least, entry.most)


def native(readings: tuple[Reading, ...]) -> bool:
    """Whether a product is of a law, so that it has a native figure: without its factor."""
    return any(name.startswith(PREFIX) for reading in readings for name in reading.entries)
