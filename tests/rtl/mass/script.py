"""Runs whose inputs are known before they begin: rows of all inputs, and what the outputs must be in some cycles."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from amaranth.lib.wiring import Component

from archsim.contracts.common.layout import Layout
from rtl.verilator_driver import words_of
from rtl.verilator_library import Library
from tests.rtl.bench import number
from tests.rtl.mass.divergence import Divergence, Trace, first_field

RESET_CYCLES = 2


class Difference(NamedTuple):
    """What :class:`Divergence` is told: cycle, field, and both values."""

    cycle: int
    field: str
    expected: object
    seen: object


class Check(NamedTuple):
    """Values that an output must have.

    Attributes:
        port: the output.
        cycles: cycles from the first row on, int64 [n].
        values: uint64 [n, words].
        name: what it is called in a report, a text for each of the ``cycles``; the port's name if None.
    """

    port: str
    cycles: np.ndarray
    values: np.ndarray
    name: Callable[[int], str] | None = None


@dataclass
class Script:
    """A whole run: ``rows`` (uint64 [cycles, words]) from power-up on, ``origin`` the one that is cycle 0, and the checks."""

    rows: np.ndarray
    origin: int
    checks: list[Check] = field(default_factory=list)


def rows_of(ports: Mapping[str, int], cycles: int, values: Mapping[str, np.ndarray | int]) -> np.ndarray:
    """Rows of all inputs, uint64 [cycles, words], from values [cycles], [cycles, words] or one for all; others are 0."""
    unknown = set(values) - set(ports)
    assert not unknown, unknown
    parts = []
    for name, width in ports.items():
        value, size = values.get(name, 0), words_of(width)
        if isinstance(value, int):
            words = np.frombuffer(value.to_bytes(8 * size, "little"), np.uint64)
            parts.append(np.broadcast_to(words, (cycles, size)))
        else:
            words = np.asarray(value).astype(np.uint64).reshape(cycles, -1)
            parts.append(np.pad(words, ((0, 0), (0, size - words.shape[1]))))
    return np.concatenate(parts, axis=1)


def columns_of(ports: Mapping[str, int], rows: np.ndarray) -> dict[str, np.ndarray]:
    """Values of each output, uint64 [cycles, words]."""
    found, position = {}, 0
    for name, width in ports.items():
        found[name] = rows[:, position : position + words_of(width)]
        position += words_of(width)
    return found


def difference(
    outputs: Mapping[str, np.ndarray], checks: Sequence[Check], layouts: Mapping[str, Layout]
) -> Difference | None:
    """The first output, in time, that is not as it must be; of several in a cycle that of the first check."""
    found: list[Difference] = []
    for check in checks:
        seen = outputs[check.port][check.cycles]
        where = np.flatnonzero(np.any(seen != check.values, axis=1))
        if not len(where):
            continue
        index = int(where[0])
        name = check.name(index) if check.name else check.port.replace("__", ".")
        expected, got = number(check.values[index]), number(seen[index])
        if check.port in layouts:
            part, expected, got = first_field(layouts[check.port], expected, got)
            name = f"{name}.{part}"
        found.append(Difference(int(check.cycles[index]), name, expected, got))
    return min(found, key=lambda at: at.cycle, default=None)


def run(
    unit: str, create: Callable[[], Component], library: Library, script: Script, layouts: Mapping[str, Layout]
) -> tuple[dict[str, np.ndarray], float]:
    """Run a script on the Verilog; every output in every cycle from power-up on, and seconds. Raises Divergence."""
    library.reset_model()
    begin = time.perf_counter()
    outputs = columns_of(library.outputs, library.run_rows(script.rows))
    seconds = time.perf_counter() - begin
    found = difference(outputs, script.checks, layouts)
    if found:
        trace = Trace(unit, create(), library, script.rows, script.origin, layouts)
        raise Divergence(trace, found.cycle - script.origin, *found[1:])
    return outputs, seconds
