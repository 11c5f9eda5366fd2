"""What Liberty files say of power and function: a small reader.

Read are leakage, pin capacitances, internal power (tables over load and input transition) and the functions of outputs and
flip-flops. Of an input's tables the conditions (``when``) are kept; those of an output are averaged over them. Tables for each
supply pin are averaged too: what comes in at VDD goes out at VSS, and in a cycle of two transitions the two sums are the same
charge (in ASAP7's INVx1 without load 0.245 fJ at either), so that their sum would count it twice.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError
from rtl.characterize.groups import Group, parse
from rtl.synthesis.library import Library, units

FAN_OUT = 4
"""Inputs of its inverter that the inverter drives whose transition time is assumed at every input."""

_VOLTAGE = re.compile(r"\bnom_voltage\s*:\s*([\d.]+)")
_LEAKAGE = re.compile(r'leakage_power_unit\s*:\s*"?\s*([\d.]+)\s*(nw|pw|uw)', re.IGNORECASE)
_TABLE_AXES = re.compile(r"(?:power_lut|lu_table)_template\s*\(\s*\"?(\w+)\"?\s*\)\s*\{(.*?)\}", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class Table:
    """Energy of a transition in pJ, or a time in ns, over axes: loads in pF or transition times in ns, or none of them.

    Attributes:
        axes: kind and points of each.
        values: over the axes.
        slew_ns: transition time at which it is read where none is given.
        count: how many tables of the library it is the mean of.
    """

    axes: tuple[tuple[str, NDArray[np.float64]], ...]
    values: NDArray[np.float64]
    slew_ns: float
    count: int = 1

    def at(self, load_pf: float, slew_ns: float | None = None) -> float:
        """The value at a load and a transition time; outside of the axes the border's value."""
        values = self.values
        for kind, points in self.axes:
            x = load_pf if "capacitance" in kind else self.slew_ns if slew_ns is None else slew_ns
            place = np.clip(np.interp(x, points, np.arange(len(points))), 0, len(points) - 1)
            low = int(place)
            high = min(low + 1, len(points) - 1)
            values = values[low] + (values[high] - values[low]) * (place - low)
        return float(values)


def mean_energy(tables: Sequence[Table], load_pf: float) -> float:
    """Mean of tables of rise and fall at a load, pJ; 0 without tables."""
    count = sum(table.count for table in tables)
    return sum(table.count * table.at(load_pf) for table in tables) / count if count else 0.0


def merged(tables: Sequence[Table]) -> tuple[Table, ...]:
    """As few tables with the same mean: one for each set of axes."""
    alike: dict[tuple[tuple[str, bytes], ...], list[Table]] = {}
    for table in tables:
        alike.setdefault(tuple((kind, points.tobytes()) for kind, points in table.axes), []).append(table)
    return tuple(
        Table(own[0].axes, np.mean([table.values for table in own], axis=0), own[0].slew_ns, len(own))
        for own in alike.values()
    )


@dataclass(frozen=True)
class Pin:
    """A pin.

    Attributes:
        direction: input or output.
        capacitance: in pF.
        function: of an output.
        power: tables of internal power by related pin ("" for its own toggles), of all conditions.
        conditions: of an input whose tables all have a condition: its tables by condition.
    """

    direction: str
    capacitance: float
    function: str
    power: dict[str, tuple[Table, ...]]
    conditions: dict[str, tuple[Table, ...]]

    def energy(self, related: str, load_pf: float) -> float:
        """Internal energy of a toggle in pJ: the mean of rise and fall."""
        return mean_energy(self.power.get(related, ()), load_pf)


@dataclass(frozen=True)
class Cell:
    """A cell: leakage in nW, pins, and of a flip-flop its next state, clock and state's names."""

    leakage: float
    pins: dict[str, Pin]
    flip_flop: tuple[str, str, str, str] | None

    @property
    def outputs(self) -> dict[str, Pin]:
        """Pins that it drives."""
        return {name: pin for name, pin in self.pins.items() if pin.direction == "output"}

    @property
    def clock(self) -> str:
        """Its clock pin, or nothing."""
        return re.sub(r"\W", "", self.flip_flop[1]) if self.flip_flop else ""


@dataclass(frozen=True)
class _File:
    """Units of one file and the axes of its tables: kind and, where the template has them, points."""

    nanowatts: float
    nanoseconds: float
    picofarads: float
    axes: dict[str, list[tuple[str, str]]]


class Power:
    """The cells of a library, read when they are asked for."""

    def __init__(self, library: Library) -> None:
        self.library = library
        voltages, self._files = set(), []
        for path, text in zip(library.paths, library.texts, strict=True):
            voltage, leakage = _VOLTAGE.search(text), _LEAKAGE.search(text)
            if not voltage or not leakage:
                raise ArchsimError(f"{path}: nom_voltage and leakage_power_unit in nW, pW or uW required for energies")
            voltages.add(float(voltage[1]))
            nanowatts = float(leakage[1]) * {"nw": 1.0, "pw": 1e-3, "uw": 1e3}[leakage[2].lower()]
            nanoseconds, femtofarads = units(text, str(path))
            axes = {name: _template(body) for name, body in _TABLE_AXES.findall(text)}
            self._files.append(_File(nanowatts, nanoseconds, femtofarads / 1000, axes))
        if len(voltages) > 1:
            raise ArchsimError(f"{library}: required files of one nom_voltage, given {sorted(voltages)}")
        self.voltage = voltages.pop()
        self._cells: dict[str, Cell] = {}

    @cached_property
    def slew_ns(self) -> float:
        """Transition time of every input, ns: assumed is that of the smallest inverter driving `FAN_OUT` of itself.

        Mean of rise and fall of its tables. Raises ArchsimError if it has none.
        """
        name = self.library.inverter
        where, file, group = self._group(name)
        pins = group.named("pin")
        load = FAN_OUT * max(float(pin.attributes.get("capacitance", 0)) for pin in pins) * file.picofarads
        arcs = [arc for pin in pins for arc in pin.named("timing")]
        tables = [
            _table(table, file, file.nanoseconds, 0.0)
            for arc in arcs
            for kind in ("rise_transition", "fall_transition")
            for table in arc.named(kind)
        ]
        if not tables:
            raise ArchsimError(f"{where}: required tables of rise_transition and fall_transition, given none")
        slew = 0.0
        for _ in range(20):
            slew = sum(table.at(load, slew) for table in tables) / len(tables)
        return slew

    def cell(self, name: str) -> Cell:
        """A cell by name. Raises ArchsimError if the library has none or it cannot be read."""
        if name not in self._cells:
            where, file, group = self._group(name)
            try:
                self._cells[name] = _read(group, file, where, self.slew_ns)
            except (ValueError, IndexError, KeyError) as error:
                raise ArchsimError(f"{where}: cannot be read ({error})") from error
        return self._cells[name]

    def _group(self, name: str) -> tuple[str, _File, Group]:
        """Where a cell is in words, what holds in its file, and its text as groups."""
        if name not in self.library.cells:
            raise ArchsimError(f"{self.library}: no cell '{name}'")
        index = self.library.files[name]
        where = f"{self.library.paths[index]}, cell {name}"
        return where, self._files[index], parse(self.library.cells[name].partition("{")[2], where)


def _template(body: str) -> list[tuple[str, str]]:
    """Kind and points of the axes of a template."""
    points = dict(re.findall(r"index_(\d)\s*\(\s*\"([^\"]*)\"", body))
    return [(kind, points.get(number, "")) for number, kind in re.findall(r"variable_(\d)\s*:\s*\"?(\w+)", body)]


def _read(group: Group, file: _File, where: str, slew_ns: float) -> Cell:
    pins = {pin.args[0]: _pin(pin, file, slew_ns) for pin in group.named("pin")}
    if not any(pin.function for pin in pins.values() if pin.direction == "output"):
        raise ArchsimError(f"{where}: an output with a function required")
    found = None
    for state in group.named("ff"):
        if {"clear", "preset"} & set(state.attributes):
            raise ArchsimError(f"{where}: flip-flops with clear or preset are not read; the chip has none")
        found = state.attributes["next_state"], state.attributes["clocked_on"], state.args[0], state.args[1]
    return Cell(_leakage(group) * file.nanowatts, pins, found)


def _leakage(group: Group) -> float:
    """Leakage in the file's unit: the cell's, else the sum of its groups without a condition (one a supply), else the mean."""
    if "cell_leakage_power" in group.attributes:
        return float(group.attributes["cell_leakage_power"])
    values: dict[str, float] = {}
    for entry in group.named("leakage_power"):
        when = entry.attributes.get("when", "")
        values[when] = values.get(when, 0.0) + float(entry.attributes["value"])
    return values.get("", sum(values.values()) / max(1, len(values)))


def _pin(group: Group, file: _File, slew_ns: float) -> Pin:
    power: dict[str, list[Table]] = {}
    conditions: dict[str, list[Table]] = {}
    for entry in group.named("internal_power"):
        tables = [
            _table(table, file, file.picofarads, slew_ns)
            for kind in ("rise_power", "fall_power", "power")
            for table in entry.named(kind)
        ]
        related = entry.attributes.get("related_pin", "")
        for pin in related.split() or [""]:
            power.setdefault(pin, []).extend(tables)
        if not related:
            conditions.setdefault(entry.attributes.get("when", ""), []).extend(tables)
    direction = group.attributes.get("direction", "")
    if direction != "input" or "" in conditions:
        conditions = {}
    capacitance = float(group.attributes.get("capacitance", 0)) * file.picofarads
    return Pin(
        direction, capacitance, group.attributes.get("function", ""),
        {related: merged(tables) for related, tables in power.items()},
        {when: merged(tables) for when, tables in conditions.items()},
    )  # fmt: skip


def _table(group: Group, file: _File, unit: float, slew_ns: float) -> Table:
    """A table whose values are in ``unit``; energies are in units of capacitance x volt^2: pJ where the capacitance is in pF."""
    numbers = {
        entry.name: [[float(x) for x in row.replace(",", " ").split()] for row in entry.args] for entry in group.groups
    }
    axes = []
    for number, (kind, template) in enumerate(file.axes.get(group.args[0], []), 1):
        scale = file.picofarads if "capacitance" in kind else file.nanoseconds
        points = numbers.get(f"index_{number}", [[float(x) for x in template.replace(",", " ").split()]])[0]
        axes.append((kind, np.array(points) * scale))
    values = np.array(numbers["values"]).reshape([len(points) for _, points in axes]) * unit
    return Table(tuple(axes), values, slew_ns)


def names(function: str) -> set[str]:
    """The pins in a Liberty function."""
    return set(_NAME.findall(function))


def expression(function: str) -> str:
    """A Liberty function in the operators of C: a blank or ``*`` is AND, ``+`` OR, ``'`` behind a name negates it.

    Raises ArchsimError for other characters.
    """
    text = re.sub(r"(\w+)\s*'", r"(~\1)", function).replace("!", "~").replace("+", "|").replace("*", "&")
    if not re.fullmatch(r"[\w\s&|~^()]*", text):
        raise ArchsimError(f"function '{function}': required names, parentheses and the operators ! ' * & + | ^")
    return re.sub(r"([\w)])\s+(?=[\w(~])", r"\1 & ", text.strip())
