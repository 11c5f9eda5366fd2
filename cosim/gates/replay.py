"""The chip's netlist in place of its Verilog: recorded inputs in, every output compared in every cycle, toggles counted."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.errors import ArchsimError
from cosim import recorder
from cosim.recorder import Pin
from rtl.build import CLOCK, RESET
from rtl.characterize import modules
from rtl.characterize.attribution import Activity
from rtl.characterize.liberty import Power
from rtl.characterize.modules import Modular, Program
from rtl.synthesis import cells, tools

RESET_CYCLES = 2
"""Cycles of reset before the first one of a record."""

STRETCH = 512
"""Cycles whose values of all nets are held at a time."""


def netlist(code: str, top: str, power: Power, folder: Path) -> Modular:
    """The netlist of module ``top`` of a Verilog text, made or taken from ``folder`` if nothing has changed."""
    flow = [Path(str(module.__file__)).read_text() for module in (modules, cells, tools)]
    parts = [code, top, power.library.text, json.dumps(tools.versions()), *flow]
    place = folder / hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    if not (place / "netlist.json").exists():
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="gates-", dir=folder) as work:
            modules.synthesise(code, top, power.library, Path(work))
            os.replace(Path(work) / "netlist.json", place / "netlist.json")
    return Modular.read(top, place)


def pins(design: Modular, top: str) -> list[Pin]:
    """What the netlist shares with the Verilog: the design's ports, and pins of memories; without clock and reset."""
    found = []
    for name, (_, nets) in design.netlist.ports.items():
        if name not in (CLOCK, RESET):
            path, _, signal = f"{top}.{name}".rpartition(".")
            found.append(Pin(path, signal, len(nets)))
    return found


def last_end(record: NDArray[np.uint8], shared: Sequence[Pin]) -> int:
    """Cycle of a record in which the chip's last instruction ended, by its port ``done``; -1 if none did."""
    (number,) = (number for number, pin in enumerate(shared) if pin.name == "done" and pin.path.count(".") == 1)
    place = recorder.columns(shared)[number]
    ended = np.flatnonzero(recorder.bits(record[:, place.start // 8 : -(-place.stop // 8)]).any(axis=1))
    return int(ended[-1]) if len(ended) else -1


class Replay:
    """A netlist that is given what its Verilog was given, cycle by cycle.

    Args:
        design: the netlist.
        power: its library.
        folder: for its program.
        shared: of `pins`.
    """

    def __init__(self, design: Modular, power: Power, folder: Path, shared: list[Pin]) -> None:
        ports = design.netlist.ports
        self._places: dict[str, list[int]] = {"input": [], "output": []}
        self._nets: dict[str, list[int]] = {"input": [], "output": []}
        self._outputs: list[str] = []
        named = [name for name in ports if name not in (CLOCK, RESET)]
        for name, columns in zip(named, recorder.columns(shared), strict=True):
            way, nets = ports[name]
            for index, (column, net) in enumerate(zip(columns, nets, strict=True)):
                if isinstance(net, int):
                    self._places[way].append(column)
                    self._nets[way].append(net)
                    self._outputs += [f"{name}[{index}]"] if way == "output" else []
        reset = [net for net in ports[RESET][1] if isinstance(net, int)] if RESET in ports else []
        self._resets = len(reset)
        self._program = Program(design.netlist, power, folder, [*self._nets["input"], *reset])
        self._reset = np.zeros((RESET_CYCLES, len(self._nets["input"]) + self._resets), np.uint8)
        self._reset[:, len(self._nets["input"]) :] = 1

    def run(
        self, record: NDArray[np.uint8], activity: Activity, cycles: int, progress: Callable[[int, int], None] | None = None
    ) -> int:
        """Reset, then every cycle of a record; returns the number of values that were compared.

        Args:
            record: what `cosim.machine.Machine.record` gave for the shared pins, uint8 [cycles, bytes].
            activity: the toggles into the cycles 1 to ``cycles`` of the record are added to it.
            cycles: see there.
            progress: called with (cycles done, cycles in all).

        Raises ArchsimError when the netlist differs from the record in any cycle.
        """
        self._program.run(self._reset)
        before, compared = None, 0
        for start in range(0, len(record), STRETCH):
            given = recorder.bits(record[start : start + STRETCH])
            level = np.zeros((len(given), self._resets), np.uint8)
            values = self._program.run(np.hstack([given[:, self._places["input"]], level]))
            self._compare(values, given, start)
            compared += len(given) * len(self._nets["output"])
            whole = values if before is None else np.vstack([before, values])
            first = start if before is None else start - 1
            if cycles > first:
                activity.add(whole[: cycles + 1 - first])
            before = values[-1:].copy()
            if progress:
                progress(start + len(given), len(record))
        return compared

    def _compare(self, values: NDArray[np.uint8], given: NDArray[np.uint8], start: int) -> None:
        wrong = values[:, self._nets["output"]] != given[:, self._places["output"]]
        if wrong.any():
            cycle, place = np.argwhere(wrong)[0]
            raise ArchsimError(
                f"the netlist differs from the Verilog in {int(wrong.sum())} bits of cycles {start} to {start + len(given) - 1}, "
                f"first in cycle {start + cycle} at {self._outputs[place]}"
            )
