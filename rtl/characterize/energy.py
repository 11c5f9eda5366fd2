"""Energy of a window from the toggles of its nets and the Liberty file.

* switching: half the load x voltage squared for every toggle; the load is the pins that a net drives, and at an output (but not at
  ``state``, which only benches read) `cells.LOAD_FF`;
* internal: the tables of the output pins, related pins weighted by their own toggles, and of the data inputs of flip-flops;
* clock: two toggles a cycle at the clock pins of all flip-flops, without a clock tree and without gating;
* leakage: of all cells, a power.
"""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError
from rtl.characterize.gates import Netlist
from rtl.characterize.liberty import Power
from rtl.synthesis.cells import LOAD_FF

UNLOADED = "state"
"""Port of a unit that only benches read."""


def leakage_nw(netlist: Netlist, power: Power) -> float:
    """Leakage of all cells, nW."""
    return sum(power.cell(kind).leakage for kind, _ in netlist.cells)


def energy_pj(netlist: Netlist, power: Power, toggles: NDArray[np.uint32], cycles: int) -> dict[str, float]:
    """Energies of a window in pJ by kind (``switching``, ``internal``, ``clock``), from the toggles of each net."""
    loads: dict[int | str, float] = defaultdict(float)
    for kind, pins in netlist.cells:
        cell = power.cell(kind)
        for pin, net in pins.items():
            if pin not in cell.outputs and pin != cell.clock:
                loads[net] += cell.pins[pin].capacitance
    for name, (direction, bits) in netlist.ports.items():
        for net in bits if direction == "output" and name != UNLOADED else ():
            loads[net] += LOAD_FF / 1000
    half = 0.5 * power.voltage**2
    count = {net: int(toggles[net]) for net in loads if isinstance(net, int)}
    result = {
        "switching": sum(half * loads[net] * number for net, number in count.items()),
        "internal": 0.0,
        "clock": 0.0,
    }
    for kind, pins in netlist.cells:
        cell = power.cell(kind)
        for pin, net in pins.items():
            entry = cell.pins[pin]
            if pin == cell.clock:
                result["clock"] += 2 * cycles * (half * entry.capacitance + entry.energy("", 0.0))
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
                result["internal"] += float(toggles[net]) * entry.energy("", 0.0)
    if any(value < 0 for value in result.values()):
        raise ArchsimError(f"{power.library.path}: its tables give a negative energy: {result}")
    return result


def _weight(net: int | str | None, toggles: NDArray[np.uint32], clock: bool) -> float:
    """How much a related pin counts: its toggles; the clock alone makes a flip-flop's output toggle."""
    return 1.0 if clock else float(toggles[net]) if isinstance(net, int) else 0.0
