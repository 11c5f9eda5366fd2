"""What a Liberty file says of power and function: a small reader.

Read are leakage, pin capacitances, internal power (tables over load and input transition) and the functions of outputs and
flip-flops. Conditions (``when``) are not distinguished: tables of one pin are averaged over them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError
from rtl.synthesis.cells import Library

SLEW_NS = 0.1
"""Transition time of every input, ns: assumed, about that of a net with a fan-out of 4 in the library of 0.18 um."""

_TOKEN = re.compile(r'"([^"]*)"|([A-Za-z0-9_.+\-\[\]*/!\'^&|$]+)|([(){};:,])')
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|\\\r?\n", re.DOTALL)
_VOLTAGE = re.compile(r"\bnom_voltage\s*:\s*([\d.]+)")
_LEAKAGE = re.compile(r'leakage_power_unit\s*:\s*"?\s*([\d.]+)\s*(nw|pw|uw)', re.IGNORECASE)
_TABLE_AXES = re.compile(r"(?:power_lut|lu_table)_template\s*\(\s*\"?(\w+)\"?\s*\)\s*\{(.*?)\}", re.DOTALL)


@dataclass
class Group:
    """A group ``name (args) { ... }``: simple attributes, and groups in it. Complex attributes are groups without content."""

    name: str
    args: list[str]
    attributes: dict[str, str] = field(default_factory=dict)
    groups: list["Group"] = field(default_factory=list)

    def named(self, name: str) -> list["Group"]:
        """Groups in it with this name."""
        return [group for group in self.groups if group.name == name]


def parse(text: str, where: str) -> Group:
    """The content of a group, as the text of a cell gives it. Raises ArchsimError where it is no Liberty."""
    tokens = _TOKEN.finditer(_COMMENT.sub(" ", text))
    flat = (match[3] or (match[1] if match[1] is not None else match[2]) for match in tokens)
    root = Group("", [])
    _fill(root, flat, where)
    return root


def _fill(group: Group, tokens: Iterator[str], where: str) -> None:
    """Read statements up to the brace that closes ``group``, or to the end of a text whose last groups are the library's."""
    for name in tokens:
        if name == "}":
            return
        if name == ";":
            continue
        mark = next(tokens, "")
        if mark == ":":
            group.attributes[name] = " ".join(iter(lambda: next(tokens, ";"), ";"))
        elif mark == "(":
            inner = Group(name, [token for token in iter(lambda: next(tokens, ")"), ")") if token != ","])
            group.groups.append(inner)
            after = next(tokens, "}")
            if after == "{":
                _fill(inner, tokens, where)
            elif after == "}":
                return
        else:
            raise ArchsimError(
                f"{where}: required ':' or '(' behind '{name}', given '{mark or 'the end'}'; not a Liberty cell"
            )


@dataclass(frozen=True)
class Table:
    """Energy of a transition in pJ over axes: loads in pF or transition times in ns, or none of them."""

    axes: tuple[tuple[str, NDArray[np.float64]], ...]
    values: NDArray[np.float64]

    def at(self, load_pf: float) -> float:
        """Energy at a load and `SLEW_NS`; outside of the axes the border's value."""
        values = self.values
        for kind, points in self.axes:
            x = load_pf if "capacitance" in kind else SLEW_NS
            place = np.clip(np.interp(x, points, np.arange(len(points))), 0, len(points) - 1)
            low = int(place)
            high = min(low + 1, len(points) - 1)
            values = values[low] + (values[high] - values[low]) * (place - low)
        return float(values)


@dataclass(frozen=True)
class Pin:
    """A pin: direction, capacitance in pF, function, and internal power by related pin ("" for its own toggles)."""

    direction: str
    capacitance: float
    function: str
    power: dict[str, tuple[Table, ...]]

    def energy(self, related: str, load_pf: float) -> float:
        """Internal energy of a toggle in pJ: the mean of rise and fall."""
        tables = self.power.get(related, ())
        return sum(table.at(load_pf) for table in tables) / len(tables) if tables else 0.0


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


class Power:
    """The cells of a library, read when they are asked for."""

    def __init__(self, library: Library) -> None:
        self.library = library
        voltage, leakage = _VOLTAGE.search(library.text), _LEAKAGE.search(library.text)
        if not voltage or not leakage:
            raise ArchsimError(
                f"{library.path}: nom_voltage and leakage_power_unit in nW, pW or uW required for energies"
            )
        self.voltage = float(voltage[1])
        self._nanowatts = float(leakage[1]) * {"nw": 1.0, "pw": 1e-3, "uw": 1e3}[leakage[2].lower()]
        self._nanoseconds, femtofarads = library.units
        self._picofarads = femtofarads / 1000
        self._axes = {
            name: re.findall(r"variable_\d\s*:\s*\"?(\w+)", body) for name, body in _TABLE_AXES.findall(library.text)
        }
        self._cells: dict[str, Cell] = {}

    def cell(self, name: str) -> Cell:
        """A cell by name. Raises ArchsimError if the library has none or it cannot be read."""
        if name not in self._cells:
            if name not in self.library.cells:
                raise ArchsimError(f"{self.library.path}: no cell '{name}'")
            where = f"{self.library.path}, cell {name}"
            try:
                self._cells[name] = self._read(
                    parse("area" + self.library.cells[name].partition("area")[2], where), where
                )
            except (ValueError, IndexError) as error:
                raise ArchsimError(f"{where}: cannot be read ({error})") from error
        return self._cells[name]

    def _read(self, group: Group, where: str) -> Cell:
        pins = {pin.args[0]: self._pin(pin) for pin in group.named("pin")}
        if not any(pin.function for pin in pins.values() if pin.direction == "output"):
            raise ArchsimError(f"{where}: an output with a function required")
        leakage = float(group.attributes.get("cell_leakage_power", 0)) * self._nanowatts
        found = None
        for state in group.named("ff"):
            if {"clear", "preset"} & set(state.attributes):
                raise ArchsimError(f"{where}: flip-flops with clear or preset are not read; the chip has none")
            found = state.attributes["next_state"], state.attributes["clocked_on"], state.args[0], state.args[1]
        return Cell(leakage, pins, found)

    def _pin(self, group: Group) -> Pin:
        power: dict[str, list[Table]] = {}
        for entry in group.named("internal_power"):
            for related in entry.attributes.get("related_pin", "").split() or [""]:
                tables = [
                    self._table(table) for kind in ("rise_power", "fall_power", "power") for table in entry.named(kind)
                ]
                power.setdefault(related, []).extend(tables)
        capacitance = float(group.attributes.get("capacitance", 0)) * self._picofarads
        return Pin(
            group.attributes.get("direction", ""), capacitance, group.attributes.get("function", ""),
            {related: tuple(tables) for related, tables in power.items()},
        )  # fmt: skip

    def _table(self, group: Group) -> Table:
        numbers = {
            entry.name: [[float(x) for x in row.replace(",", " ").split()] for row in entry.args]
            for entry in group.groups
        }
        axes = []
        for number, kind in enumerate(self._axes.get(group.args[0], []), 1):
            scale = self._picofarads if "capacitance" in kind else self._nanoseconds
            axes.append((kind, np.array(numbers[f"index_{number}"][0]) * scale))
        # Energies are in units of capacitance x volt^2: pJ where the capacitance is in pF.
        values = np.array(numbers["values"]).reshape([len(points) for _, points in axes]) * self._picofarads
        return Table(tuple(axes), values)


def expression(function: str) -> str:
    """A Liberty function in the operators of C: a blank or ``*`` is AND, ``+`` OR, ``'`` behind a name negates it."""
    text = re.sub(r"(\w+)\s*'", r"(~\1)", function).replace("!", "~").replace("+", "|").replace("*", "&")
    return re.sub(r"([\w)])\s+(?=[\w(~])", r"\1 & ", text.strip())
