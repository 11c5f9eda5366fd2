"""Energy of a run by module: that of `rtl.characterize.energy`, over any number of cycles, and counted to those who cause it.

* internal and clock energy of a cell, and its leakage, are its module's;
* the switching of a net, with every pin that it drives, wherever that is, is the module's whose cell drives it; of a memory's
  output the module's that holds the memory; of an input of the design the design's own.

So every picojoule has one owner, and the sum over the modules is the energy of the netlist.
"""

from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from types import CodeType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError
from rtl.characterize import energy
from rtl.characterize.gates import Netlist
from rtl.characterize.liberty import Pin, Power, expression, mean_energy, names
from rtl.characterize.modules import TOP, Modular

KINDS = ("switching", "internal", "clock")
"""Kinds of energy, as `energy.energy_pj` has them."""

Pins = dict[str, int | str]
"""The net or the constant at each pin of a cell."""


class Activity:
    """What toggled in a netlist, over all stretches of cycles that were added.

    Attributes:
        cycles: cycles seen.
        toggles: of each net in them, int64 [nets].
        held: of inputs whose tables have conditions: by cell, pin and condition, in how many of its toggles (of a clock: cycles)
            the condition held.
    """

    def __init__(self, netlist: Netlist, power: Power) -> None:
        self.cycles, self.toggles = 0, np.zeros(netlist.nets, np.int64)
        self.held: dict[tuple[int, str, str], int] = defaultdict(int)
        self._conditional = [
            (index, pin, pin == power.cell(kind).clock, power.cell(kind).pins[pin], pins)
            for index, (kind, pins) in enumerate(netlist.cells)
            for pin in pins
            if _decided(power.cell(kind).pins[pin], pins)
        ]

    def add(self, values: NDArray[np.uint8]) -> None:
        """Add a stretch: ``values`` of each net, 0 or 1, [cycles + 1, nets]; the first row is the cycle before it."""
        changes = values[1:] ^ values[:-1]
        self.cycles += len(changes)
        self.toggles += changes.sum(axis=0, dtype=np.int64)
        for index, pin, clock, entry, pins in self._conditional:
            net = pins[pin]
            toggled = np.ones(len(changes), np.uint8) if clock else changes[:, net] if isinstance(net, int) else 0
            own = {name: values[1:, bit] if isinstance(bit, int) else int(bit == "1") for name, bit in pins.items()}
            for when in entry.conditions:
                self.held[index, pin, when] += int(np.sum(toggled & _holds(when, own), dtype=np.int64))


def energies_pj(design: Modular, power: Power, activity: Activity) -> dict[str, dict[str, float]]:
    """Energies in pJ of each module by kind (`KINDS`). Raises ArchsimError if the library's tables make one negative."""
    netlist, toggles = design.netlist, activity.toggles
    loads, drivers, half = _loads(netlist, power), _drivers(design, power), 0.5 * power.voltage**2
    result = {module: dict.fromkeys(KINDS, 0.0) for module in dict.fromkeys([TOP, *drivers.values(), *design.owners])}
    for net, load in loads.items():
        if isinstance(net, int):
            result[drivers.get(net, TOP)]["switching"] += half * load * int(toggles[net])
    for index, ((kind, pins), module) in enumerate(zip(netlist.cells, design.owners, strict=True)):
        cell, own = power.cell(kind), result[module]
        for pin, net in pins.items():
            entry = cell.pins[pin]
            held = {when: activity.held[index, pin, when] for when in entry.conditions} if _decided(entry, pins) else None
            if pin == cell.clock:
                own["clock"] += 2 * (half * entry.capacitance * activity.cycles + _input(entry, activity.cycles, held))
            elif isinstance(net, int) and toggles[net]:
                number = int(toggles[net])
                own["internal"] += (
                    number * _output(entry, cell.clock, pins, loads[net], toggles)
                    if pin in cell.outputs
                    else _input(entry, number, held)
                )
    totals = {kind: sum(own[kind] for own in result.values()) for kind in KINDS}
    if any(value < 0 for value in totals.values()):
        raise ArchsimError(f"{power.library}: its tables give a negative energy: {totals}")
    return result


def leakages_nw(design: Modular, power: Power) -> dict[str, float]:
    """Leakage of each module's cells, nW."""
    found: dict[str, float] = defaultdict(float)
    for (kind, _), module in zip(design.netlist.cells, design.owners, strict=True):
        found[module] += power.cell(kind).leakage
    return dict(found)


def _loads(netlist: Netlist, power: Power) -> dict[int | str, float]:
    """What each net drives, pF: the inputs of cells but their clocks, and at an output of the design the library's load."""
    loads: dict[int | str, float] = defaultdict(float)
    for kind, pins in netlist.cells:
        cell = power.cell(kind)
        for pin, net in pins.items():
            if pin not in cell.outputs and pin != cell.clock:
                loads[net] += cell.pins[pin].capacitance
    for name, (direction, bits) in netlist.ports.items():
        for net in bits if direction == "output" and name != energy.UNLOADED else ():
            loads[net] += power.library.load_ff / 1000
    return loads


def _drivers(design: Modular, power: Power) -> dict[int | str, str]:
    """The module whose cell drives each net, or that holds the memory which does; none for an input of the design."""
    found: dict[int | str, str] = {}
    for name, (direction, bits) in design.netlist.ports.items():
        memory = name.rpartition(".")[0]
        if direction == "input" and memory:
            found |= dict.fromkeys(bits, memory.rpartition(".")[0])
    for (kind, pins), module in zip(design.netlist.cells, design.owners, strict=True):
        found |= {pins[pin]: module for pin in power.cell(kind).outputs if pin in pins}
    return found


def _decided(entry: Pin, pins: Pins) -> bool:
    """Whether a pin's tables have conditions, and the netlist connects every pin in them."""
    return bool(entry.conditions) and all(name in pins for when in entry.conditions for name in names(when))


def _holds(when: str, values: Mapping[str, Any]) -> Any:
    """Whether a condition holds, 0 or 1 a cycle, from the values of a cell's pins."""
    return 1 & eval(_compiled(when), {"__builtins__": {}}, dict(values))  # an expression of pins, &, | and ~


@cache
def _compiled(when: str) -> CodeType:
    return compile(expression(when), "condition", "eval")


def _input(entry: Pin, number: int, held: Mapping[str, int] | None) -> float:
    """Energy in pJ of toggles by an input's own tables: ``number`` of them, or each table as often as its condition held."""
    if held is None:
        return number * entry.energy("", 0.0)
    return sum(held[when] * mean_energy(tables, 0.0) for when, tables in entry.conditions.items())


def _output(entry: Pin, clock: str, pins: Pins, load: float, toggles: NDArray[np.int64]) -> float:
    """Mean internal energy in pJ of a toggle of an output: its related pins weighted by their toggles, a clock alone by 1."""
    total = mean = 0.0
    for related in entry.power:
        net = pins.get(related)
        weight = 1.0 if related == clock else float(toggles[net]) if isinstance(net, int) else 0.0
        if weight:
            total += weight
            mean += weight * entry.energy(related, load)
    return mean / total if total else 0.0
