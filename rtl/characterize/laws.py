"""Laws of energy and area: sums of terms in counts and parameters, fitted to a part of the points and judged on the rest.

A term is what is thought to switch, or to be there: ``cycles x lanes x word bits`` stands for the clock of the registers that hold
a word. Coefficients are those of least squares of the relative error, none below 0.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError
from rtl.characterize.grid import GRIDS, HELD_OUT_RATE
from rtl.characterize.stimuli import RECORDED

BOUND = 0.10
"""Largest relative error of an energy, and of the area of a small block, that a law may have to be used."""

BOUND_LARGE, LARGE = 0.05, 2000
"""The same for the area of a block of so many NAND2 of its library and more."""

Numbers = Mapping[str, int]
Term = Callable[[Numbers], int]
"""A product of parameters, counts and ``cycles`` of a window."""


def term(text: str) -> Term:
    """The product of the names in ``text``, separated by blanks; ``1`` is 1."""

    def product(numbers: Numbers) -> int:
        result = 1
        for name in text.split():
            result *= 1 if name == "1" else numbers[name]
        return result

    return product


@dataclass(frozen=True)
class Form:
    """The terms of a unit's laws: of the energy of a window in pJ, and of its area in um2."""

    energy: tuple[str, ...]
    area: tuple[str, ...]


FORMS = {
    "event_encoder": Form(
        ("cycles", "cycles lanes word_bits", "channels lanes", "channels word_bits", "words lanes word_bits", "lane_events"),
        ("1", "lanes", "word_bits", "lanes word_bits"),
    ),
    "transposer": Form(
        ("cycles", "cycles word_bits word_bits", "transposed word_bits", "spikes word_bits"),
        ("1", "word_bits", "word_bits word_bits"),
    ),
    "synapse_array": Form(
        ("cycles", "cycles lanes columns membrane_bits", "channels columns weight_bits", "channels lanes columns membrane_bits",
         "lane_events columns membrane_bits", "groups lanes columns membrane_bits"),
        ("1", "columns weight_bits", "lanes columns membrane_bits", "lanes neurons membrane_bits"),
    ),
    "neuron": Form(
        ("cycles", "cycles neurons membrane_bits", "granules", "granules neurons membrane_bits"),
        ("1", "neurons", "neurons membrane_bits"),
    ),
    "masker": Form(
        ("cycles", "cycles lanes word_bits", "words", "words lanes word_bits", "spikes"),
        ("1", "lanes word_bits"),
    ),
    "router": Form(
        ("cycles", "cycles experts", "cycles experts score_bits", "blocks neurons score_bits", "tokens experts score_bits"),
        ("1", "experts", "experts score_bits"),
    ),
    "crossbar": Form(
        ("cycles", "cycles ports ports", "cycles ports ports data_bits", "flits data_bits", "flits ports data_bits"),
        ("1", "ports ports", "ports ports data_bits"),
    ),
    "vector": Form(
        ("cycles", "cycles elements", "cycles elements membrane_bits", "rows", "rows elements membrane_bits",
         "additions membrane_bits"),
        ("1", "membrane_bits", "elements", "elements membrane_bits"),
    ),
    "spike_fetch": Form(
        ("cycles", "cycles lanes word_bits", "words", "words lanes word_bits", "groups", "spikes"),
        ("1", "lanes word_bits"),
    ),
    "spike_writer": Form(
        ("cycles", "cycles neurons", "granules", "spikes lanes", "pooled"),
        ("1", "neurons", "lanes", "neurons lanes"),
    ),
    "dma": Form(
        ("cycles", "cycles columns lanes", "loaded dram_bus_bytes", "sent columns lanes", "rows columns lanes", "spikes"),
        ("1", "dram_bus_bytes", "columns lanes"),
    ),
    "multicast": Form(
        ("cycles", "cycles lanes columns", "rows", "rows lanes columns", "spikes"),
        ("1", "lanes columns"),
    ),
    "attention_popcount": Form(  # kept: bits of the registers in which the numbers of a row wait
        ("cycles", "cycles kept", "cycles columns columns", "pairs columns", "selections columns", "selections neurons columns",
         "spikes columns"),
        ("1", "columns", "columns columns", "columns neurons columns"),
    ),
    "attention_counts": Form(
        ("cycles", "cycles columns count_bits", "channels columns count_bits", "words columns", "empty_words columns count_bits",
         "additions"),
        ("1", "columns", "columns count_bits"),
    ),
    "attention_sums": Form(
        ("cycles", "cycles columns membrane_bits", "channels columns membrane_bits", "additions count_bits",
         "groups columns membrane_bits"),
        ("1", "columns", "columns membrane_bits"),
    ),
    "attention_neurons": Form(
        ("cycles", "cycles membrane_bits", "cycles neurons membrane_bits", "granules", "granules neurons membrane_bits"),
        ("1", "membrane_bits", "neurons membrane_bits"),
    ),
}  # fmt: skip
"""The form of each unit's laws.

Chosen at 180 nm with what is held out in view: those of encoder, transposer, array, vector unit, AND-popcount engine, count memory
and the attention unit's adders. Written before a point was measured, and as they were: those of neuron unit, spike fetch, spike
writer, DMA, multicast and the attention unit's neurons.
"""


@dataclass(frozen=True)
class Fit:
    """A fitted law.

    Attributes:
        coefficients: by term; those that would be negative are 0.
        fitted: points of the fit.
        errors: of every point held out: relative error, the bound that it is held to, and what the point is.
        largest_fit_error: relative, of the points of the fit.
    """

    coefficients: dict[str, float]
    fitted: int
    errors: list[tuple[float, float, str]]
    largest_fit_error: float

    @property
    def worst(self) -> tuple[float, float, str]:
        """The error held out that is largest for its bound."""
        return max(self.errors, key=lambda entry: entry[0] / entry[1], default=(float("nan"), BOUND, "-"))


class Point(NamedTuple):
    """Numbers of the terms, measured value, whether it is held out, bound of its error, and a description."""

    numbers: Numbers
    value: float
    held: bool
    bound: float
    text: str


def fit(terms: Sequence[str], points: Iterable[Point], what: str) -> Fit:
    """Fit the sum of ``terms``. Raises ArchsimError if there are fewer points than terms."""
    every = list(points)
    rows = np.array([[term(text)(point.numbers) for text in terms] for point in every], float)
    rows = rows.reshape(len(every), len(terms))
    values = np.array([point.value for point in every])
    used = np.array([not point.held for point in every], bool)
    if used.sum() < len(terms):
        raise ArchsimError(
            f"{what}: {used.sum()} points to fit {len(terms)} terms; measure its grid with `python -m rtl.characterize`"
        )
    relative = rows / values[:, None]
    solution = _least_squares(relative[used])
    errors = np.abs(relative @ solution - 1)
    held = [(float(error), point.bound, point.text) for error, point in zip(errors, every, strict=True) if point.held]
    coefficients = dict(zip(terms, solution.tolist(), strict=True))
    return Fit(coefficients, int(used.sum()), held, float(errors[used].max()))


def _least_squares(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The x with rows @ x near 1 and no negative element: the most negative one is left out until there is none."""
    scale = np.abs(rows).max(axis=0)
    active = np.flatnonzero(scale > 0)
    while True:
        found = np.linalg.lstsq(rows[:, active] / scale[active], np.ones(len(rows)), rcond=None)[0] / scale[active]
        if not len(found) or found.min() >= 0:
            solution = np.zeros(rows.shape[1])
            solution[active] = found
            return solution
        active = np.delete(active, found.argmin())


def energy(unit: str, rows: Sequence[Mapping[str, Any]]) -> Fit:
    """The law of a unit's energy in a window; held out are the grid's points, and at every point one rate and recorded spikes."""

    def points() -> Iterable[Point]:
        for row in rows:
            for window in row["windows"]:
                held = GRIDS[unit].held_out(row["parameters"]) or window["rate"] in (HELD_OUT_RATE, RECORDED)
                numbers = {**_sizes(unit, row), **window["counts"], "cycles": window["cycles"]}
                text = f"{_text(unit, row)} at {label(window['rate'])}"
                yield Point(numbers, sum(window["pj"].values()), held, BOUND, text)

    return fit(FORMS[unit].energy, points(), f"energy of {unit}")


def label(window: float | str) -> str:
    """A window in words."""
    return f"recorded {window}" if isinstance(window, str) else f"rate {window:g}"


def area(unit: str, rows: Sequence[Mapping[str, Any]]) -> Fit:
    """The law of a unit's area; held out are the grid's points."""
    points = (
        Point(
            _sizes(unit, row), row["area_um2"], GRIDS[unit].held_out(row["parameters"]),
            BOUND_LARGE if row["nand2"] >= LARGE else BOUND, _text(unit, row),
        )
        for row in rows
    )  # fmt: skip
    return fit(FORMS[unit].area, points, f"area of {unit}")


def _sizes(unit: str, row: Mapping[str, Any]) -> dict[str, int]:
    """The parameters of a row, and what else its grid makes of them for the laws."""
    return {**row["parameters"], **GRIDS[unit].sizes(row["parameters"])}


def _text(unit: str, row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {row['parameters'][name]}" for name in GRIDS[unit].axes)
