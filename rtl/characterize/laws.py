"""Laws of energy and area: sums of terms in counts and parameters, fitted to a part of the points and judged on the rest.

Their forms stand with the contracts (`archsim.contracts.common.laws`). Coefficients are those of least squares of the relative
error, none below 0. What memories made of registers and their like (`KNOWN_BITS`) take is no part of the fit.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.law import CYCLES, KNOWN_BITS, product
from archsim.contracts.common.laws import FORMS
from rtl.characterize.grid import DESIGNS, GRIDS, HELD_OUT_RATE
from rtl.characterize.stimuli import RECORDED

BOUND = 0.10
"""Largest relative error of an energy, and of the area of a small block, that a law may have to be used."""

BOUND_LARGE, LARGE = 0.05, 2000
"""The same for the area of a block of so many NAND2 of its library and more."""

KNOWN_NAND2 = 8.3
"""NAND2 of a known bit (`KNOWN_BITS`): 3375 um2 a bit of width of the attention unit's neurons at 180 nm, whose memory of registers
has 16 rows of it and the one that was read, at 24 um2 a NAND2."""

Numbers = Mapping[str, int]


def term(text: str) -> Callable[[Numbers], int]:
    """The product of the names in ``text``, separated by blanks: parameters, counts, ``cycles`` of a window; ``1`` is 1."""
    return lambda numbers: product(text.split(), numbers)


@dataclass(frozen=True)
class Fit:
    """A fitted law.

    Attributes:
        coefficients: by term; those that would be negative are 0.
        known: what a bit of known registers takes: pJ a cycle, or um2; not fitted.
        fitted: points of the fit.
        errors: of every point held out: relative error, the bound that it is held to, and what the point is.
        largest_fit_error: relative, of the points of the fit.
    """

    coefficients: dict[str, float]
    known: float
    fitted: int
    errors: list[tuple[float, float, str]]
    largest_fit_error: float

    @property
    def worst(self) -> tuple[float, float, str]:
        """The error held out that is largest for its bound."""
        return max(self.errors, key=lambda entry: entry[0] / entry[1], default=(float("nan"), BOUND, "-"))


class Point(NamedTuple):
    """Numbers of the terms, value, what known registers have of it, whether it is held out, bound of its error, and in words."""

    numbers: Numbers
    value: float
    known: float
    held: bool
    bound: float
    text: str


def fit(terms: Sequence[str], points: Iterable[Point], what: str, known: float = 0.0) -> Fit:
    """Fit the sum of ``terms``, beside what known registers have. Raises ArchsimError if there are fewer points than terms."""
    every = list(points)
    rows = np.array([[term(text)(point.numbers) for text in terms] for point in every], float)
    rows = rows.reshape(len(every), len(terms))
    values = np.array([point.value for point in every])
    used = np.array([not point.held for point in every], bool)
    if used.sum() < len(terms):
        raise ArchsimError(
            f"{what}: {used.sum()} points to fit {len(terms)} terms; measure its grid with `python -m rtl.characterize`"
        )
    relative, rest = rows / values[:, None], 1 - np.array([point.known for point in every]) / values
    solution = _least_squares(relative[used], rest[used])
    errors = np.abs(relative @ solution - rest)
    held = [(float(error), point.bound, point.text) for error, point in zip(errors, every, strict=True) if point.held]
    coefficients = dict(zip(terms, solution.tolist(), strict=True))
    return Fit(coefficients, known, int(used.sum()), held, float(errors[used].max()))


def _least_squares(rows: NDArray[np.float64], goal: NDArray[np.float64]) -> NDArray[np.float64]:
    """The x with rows @ x near the goal and no negative element: the most negative one is left out until there is none."""
    scale = np.abs(rows).max(axis=0)
    active = np.flatnonzero(scale > 0)
    while True:
        found = np.linalg.lstsq(rows[:, active] / scale[active], goal, rcond=None)[0] / scale[active]
        if not len(found) or found.min() >= 0:
            solution = np.zeros(rows.shape[1])
            solution[active] = found
            return solution
        active = np.delete(active, found.argmin())


def energy(unit: str, rows: Sequence[Mapping[str, Any]]) -> Fit:
    """The law of a unit's energy in a window; held out are the grid's points, and at every point one rate and recorded spikes."""
    clock = flip_flop_pj(rows)
    points = (
        Point(
            numbers, sum(window["pj"].values()), clock * numbers[CYCLES] * numbers[KNOWN_BITS], _held(unit, row, window), BOUND,
            f"{point_text(unit, row)} at {label(window['rate'])}",
        )
        for row, window, numbers in _windows(unit, rows)
    )  # fmt: skip
    return fit(FORMS[unit].energy, points, f"energy of {unit}", clock)


def events_error(unit: str, rows: Sequence[Mapping[str, Any]], law: Fit) -> float:
    """Relative error (root of the mean square) of what a law says beside the clock, in windows held out in which something happens.

    That is much smaller than the energy of a window, most of which is the clock, so its error says more of an event.
    """
    errors = [
        events / (window["pj"]["switching"] + window["pj"]["internal"]) - 1
        for row, window, _, events in said(unit, rows, law) if window["rate"] and _held(unit, row, window)
    ]  # fmt: skip
    return float(np.sqrt(np.mean(np.square(errors))))


def said(
    unit: str, rows: Iterable[Mapping[str, Any]], law: Fit
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any], float, float]]:
    """Row, window, what a law says of its energy in pJ, and of that what is not clock, for all windows."""
    for row, window, numbers in _windows(unit, rows):
        parts = {text: value * term(text)(numbers) for text, value in law.coefficients.items()}
        events = sum(pj for text, pj in parts.items() if CYCLES not in text.split())
        yield row, window, sum(parts.values()) + law.known * numbers[CYCLES] * numbers[KNOWN_BITS], events


def flip_flop_pj(rows: Iterable[Mapping[str, Any]]) -> float:
    """Energy of a flip-flop's clock in a cycle, pJ, as it was measured: mean of all windows; 0 without any flip-flop."""
    found = [
        window["pj"].get("clock", 0.0) / (row["flip_flops"] * window["cycles"])
        for row in rows for window in row["windows"] if row.get("flip_flops")
    ]  # fmt: skip
    return float(np.mean(found)) if found else 0.0


def switching_share(rows: Iterable[Mapping[str, Any]]) -> float:
    """Share of the switching of driven pins in what is no clock, over all windows in which something happens."""
    windows = [window["pj"] for row in rows for window in row["windows"] if window["rate"]]
    switching = sum(window["switching"] for window in windows)
    return switching / (switching + sum(window["internal"] for window in windows))


def nand2_um2(rows: Sequence[Mapping[str, Any]]) -> float:
    """Area of a NAND2 of the library, um2: all areas over all their numbers of NAND2."""
    return sum(row["area_um2"] for row in rows) / sum(row["nand2"] for row in rows)


def _windows(
    unit: str, rows: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any], dict[str, int]]]:
    """Row, window and numbers of the terms, for all windows."""
    for row in rows:
        further = GRIDS[unit].derived(_params(unit, row), [window["counts"] for window in row["windows"]])
        for window, counts in zip(row["windows"], further, strict=True):
            yield row, window, {**sizes(unit, row), **window["counts"], **counts, CYCLES: window["cycles"]}


def _held(unit: str, row: Mapping[str, Any], window: Mapping[str, Any]) -> bool:
    """Whether a window is held out."""
    return GRIDS[unit].held(row["parameters"]) or window["rate"] in (HELD_OUT_RATE, RECORDED)


def label(window: float | str) -> str:
    """A window in words."""
    return f"recorded {window}" if isinstance(window, str) else f"rate {window:g}"


def area(unit: str, rows: Sequence[Mapping[str, Any]]) -> Fit:
    """The law of a unit's area; held out are the grid's points."""
    bit = KNOWN_NAND2 * nand2_um2(rows)
    points = (
        Point(
            sizes(unit, row), row["area_um2"], bit * sizes(unit, row)[KNOWN_BITS], GRIDS[unit].held(row["parameters"]),
            BOUND_LARGE if row["nand2"] >= LARGE else BOUND, point_text(unit, row),
        )
        for row in rows
    )  # fmt: skip
    return fit(FORMS[unit].area, points, f"area of {unit}", bit)


def area_of(unit: str, row: Mapping[str, Any], law: Fit) -> float:
    """What a law says of the area of a row, um2."""
    numbers = sizes(unit, row)
    return sum(value * term(text)(numbers) for text, value in law.coefficients.items()) + law.known * numbers[KNOWN_BITS]


def sizes(unit: str, row: Mapping[str, Any]) -> dict[str, int]:
    """Every size that the laws may take of a row: its parameters, and what follows from them by the unit's contract."""
    return {**FORMS[unit].numbers(_params(unit, row)), **row["parameters"]}


def _params(unit: str, row: Mapping[str, Any]) -> Any:
    """The parameters of a row, as the unit's hardware takes them."""
    return DESIGNS[unit].parameters({name: str(value) for name, value in row["parameters"].items()})


def point_text(unit: str, row: Mapping[str, Any]) -> str:
    """A point in words; parameters that only further points name are those that every other has."""
    given = sizes(unit, row)
    return ", ".join(f"{name} {given[name]}" for name in GRIDS[unit].names())
