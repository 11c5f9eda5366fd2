"""Energy of a window from the toggles of its nets and the Liberty file.

* switching: half the load x voltage squared for every toggle; the load is the pins that a net drives, and at an output (but not at
  ``state``, which only benches read) `Library.load_ff`;
* internal: the tables of the output pins, related pins weighted by their own toggles, and of the inputs: where these have
  conditions, each table in the cycles in which its condition holds;
* clock: two toggles a cycle at the clock pins of all flip-flops, without a clock tree and without gating;
* leakage: of all cells, a power.

A table may hold negative energies (SkyWater's does: what is drawn at one supply comes back at another pin), so a kind may come out
below 0 where little toggles. A window as a whole may not.
"""

from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from types import CodeType

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError
from rtl.characterize.gates import Netlist
from rtl.characterize.liberty import Pin, Power, expression, mean_energy, names

UNLOADED = "state"
"""Port of a unit that only benches read."""


def leakage_nw(netlist: Netlist, power: Power) -> float:
    """Leakage of all cells, nW."""
    return sum(power.cell(kind).leakage for kind, _ in netlist.cells)


def energy_pj(netlist: Netlist, power: Power, values: NDArray[np.uint8]) -> dict[str, float]:
    """Energies of a window in pJ by kind (``switching``, ``internal``, ``clock``).

    Args:
        netlist: the cells.
        power: their library.
        values: of each net, 0 or 1, [cycles + 1, nets]; the first row is the cycle before the window.

    Raises ArchsimError when the window as a whole comes out negative.
    """
    levels = np.ascontiguousarray(values[1:].T)
    toggled = np.ascontiguousarray((values[1:] ^ values[:-1]).T)
    toggles = toggled.sum(axis=1, dtype=np.int64)
    loads: dict[int | str, float] = defaultdict(float)
    for kind, pins in netlist.cells:
        cell = power.cell(kind)
        for pin, net in pins.items():
            if pin not in cell.outputs and pin != cell.clock:
                loads[net] += cell.pins[pin].capacitance
    for name, (direction, bits) in netlist.ports.items():
        for net in bits if direction == "output" and name != UNLOADED else ():
            loads[net] += power.library.load_ff / 1000
    half = 0.5 * power.voltage**2
    count = {net: int(toggles[net]) for net in loads if isinstance(net, int)}
    result = {
        "switching": sum(half * loads[net] * number for net, number in count.items()),
        "internal": 0.0,
        "clock": 0.0,
    }
    cycles = np.ones(len(values) - 1, np.uint8)
    for kind, pins in netlist.cells:
        cell = power.cell(kind)
        for pin, net in pins.items():
            entry = cell.pins[pin]
            if pin == cell.clock:
                result["clock"] += 2 * (half * entry.capacitance * len(cycles) + _own(entry, cycles, pins, levels))
            elif not isinstance(net, int) or not toggles[net]:
                continue
            elif pin in cell.outputs:
                weights = {
                    related: _weight(pins.get(related), toggles, related == cell.clock) for related in entry.power
                }
                total = sum(weights.values())
                mean = sum(weight * entry.energy(related, loads[net]) for related, weight in weights.items())
                result["internal"] += float(toggles[net]) * (mean / total if total else 0.0)
            else:
                result["internal"] += _own(entry, toggled[net], pins, levels)
    if sum(result.values()) < 0:
        raise ArchsimError(f"{power.library.name}: its tables give a window a negative energy: {result}, in pJ")
    return result


def _own(entry: Pin, toggled: NDArray[np.uint8], pins: Mapping[str, int | str], levels: NDArray[np.uint8]) -> float:
    """Energy in pJ of an input's own tables over the cycles in which it ``toggled``, each condition where it holds.

    A condition over a pin that the netlist does not connect cannot be decided: then all tables count the same.
    """
    number = int(toggled.sum(dtype=np.int64))
    if not entry.conditions or any(name not in pins for when in entry.conditions for name in _condition(when)[1]):
        return number * entry.energy("", 0.0)
    # The values of a cycle are those before the edge that ends it: the state that a clock's edge finds.
    own = {name: levels[net] if isinstance(net, int) else int(net == "1") for name, net in pins.items()}
    total = 0.0
    for when, tables in entry.conditions.items():
        holds = 1 & eval(_condition(when)[0], {"__builtins__": {}}, own)  # an expression of pins, &, | and ~
        total += float(np.sum(toggled & holds, dtype=np.int64)) * mean_energy(tables, 0.0)
    return total


@cache
def _condition(when: str) -> tuple[CodeType, frozenset[str]]:
    """A condition compiled, and the pins in it."""
    return compile(expression(when), "condition", "eval"), frozenset(names(when))


def _weight(net: int | str | None, toggles: NDArray[np.int64], clock: bool) -> float:
    """How much a related pin counts: its toggles; the clock alone makes a flip-flop's output toggle."""
    return 1.0 if clock else float(toggles[net]) if isinstance(net, int) else 0.0
