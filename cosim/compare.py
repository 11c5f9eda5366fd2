"""Simulator against Verilog: how much was compared, how much differs, and where the first divergence is."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import sequencer
from archsim.contracts.common.ownership import Bank
from archsim.contracts.common.program import Program
from archsim.ownership import describe
from cosim.banks import CLEARED, COUNTS, held
from cosim.expected import Expected, Place, Plan, logits
from cosim.machine import Found

OWNERS = {"core": "cores", "attention": "attention unit", "experts": "expert engine", "normaliser": "normaliser"}
"""What a bank belongs to, in words."""


@dataclass(frozen=True)
class Divergence:
    """A difference: the cycle from which on it is certain, where, and what was expected and found."""

    cycle: int
    place: Place | None
    what: str


@dataclass
class Comparison:
    """Values compared and differing by kind, and the first divergence in time (of those in a cycle, the first found)."""

    compared: Counter[str] = field(default_factory=Counter)
    differing: Counter[str] = field(default_factory=Counter)
    first: Divergence | None = None

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not any(self.differing.values())

    def add(self, other: "Comparison") -> None:
        """Add another run's; the first divergence stays this one's."""
        self.compared.update(other.compared)
        self.differing.update(other.differing)
        self.first = self.first or other.first

    def count(self, kind: str, compared: int, differing: int) -> None:
        """Add to a kind."""
        self.compared[kind] += compared
        self.differing[kind] += differing

    def diverges(self, cycle: int, place: Place | None, what: str) -> None:
        """Note a difference that is certain from ``cycle`` on."""
        if self.first is None or cycle < self.first.cycle:
            self.first = Divergence(cycle, place, what)


def compare(program: Program, plan: Plan, widths: Mapping[Bank, int], expected: Expected, found: Found) -> Comparison:
    """Compare a run; ``widths``: bytes of a row of each bank, ``plan`` as in both."""
    result = Comparison()
    _times(result, plan, expected, found)
    _contents(result, plan, widths, expected, found)
    end = max(expected.cycles, found.cycles)
    _values(result, "logits", end, expected.logits, logits(program, found.dram))
    _values(result, "DRAM bytes at the end", end, expected.dram, found.dram)
    _values(result, "DRAM bytes moved", end, [expected.dram_bytes], [found.dram_bytes])
    _values(result, "total cycles", end, [expected.cycles], [found.cycles])
    _accesses(result, end, expected, found)
    return result


def name(place: Place) -> str:
    """An instruction in words."""
    return f"{sequencer.engine_name(place[0])} instruction {place[1]}"


def _times(result: Comparison, plan: Plan, expected: Expected, found: Found) -> None:
    for column, kind in enumerate(("start cycles", "end cycles")):
        ours, theirs = expected.times[:, column], found.times[:, column]
        wrong = np.flatnonzero(ours != theirs)
        result.count(kind, len(ours), len(wrong))
        for number in wrong.tolist():
            seen = int(theirs[number])
            cycle = int(ours[number]) if seen < 0 else min(int(ours[number]), seen)
            was = f"in cycle {seen}" if seen >= 0 else "never"
            result.diverges(cycle, plan.places[number], f"{kind[:-7]}: expected in cycle {ours[number]}, found {was}")
    for place, (begun, ended) in enumerate(found.issued.tolist()):
        engine, held = sequencer.engine_at(place, plan.chip), int(plan.first[place + 1] - plan.first[place])
        result.count("instructions of a queue", 1, int((begun, ended) != (held, held)))
        if begun > held:
            result.diverges(
                found.run, None, f"{sequencer.engine_name(engine)}: expected {held} instructions, found {begun} begun"
            )
    result.count("queues halted", 1, int(not found.halted))
    if not found.halted:
        result.diverges(found.run, None, f"a queue has not halted after {found.run} cycles")


def _contents(result: Comparison, plan: Plan, widths: Mapping[Bank, int], expected: Expected, found: Found) -> None:
    """Contents of the banks that an instruction owned, at its end."""
    for number, place in enumerate(plan.places):
        parts = dict(plan.contents(number))
        for bank, part in parts.items():
            if not held(bank):
                continue
            width = widths[bank]
            ours, theirs = (side.content[part].reshape(-1, width) for side in (expected, found))
            if bank == COUNTS:
                marks = found.content[parts[CLEARED]].reshape(-1, widths[CLEARED])
                theirs = _counted(theirs, marks, plan.chip.columns)
            kind = f"{bank[2]} rows of the {OWNERS[bank[0]]}"
            if np.array_equal(ours, theirs):
                result.count(kind, len(ours), 0)
                continue
            rows = np.flatnonzero((ours != theirs).any(axis=1))
            result.count(kind, len(ours), len(rows))
            if found.times[number, 1] >= 0:
                row = int(rows[0])
                what = f"{describe(bank)}: row {row} at its end: expected {_hex(ours[row])}, found {_hex(theirs[row])}"
                result.diverges(int(found.times[number, 1]), place, f"{what} ({len(rows)} rows differ)")


def _counted(rows: NDArray[np.uint8], marks: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Rows of the count memory as a reader sees them: 0 where they are marked."""
    bits = np.unpackbits(marks, axis=1, bitorder="little")[:, :columns].reshape(-1)[: len(rows)]
    return np.where(bits[:, None] == 1, 0, rows).astype(np.uint8)


def _hex(row: NDArray[np.uint8]) -> str:
    return f"{int.from_bytes(row.tobytes(), 'little'):#x}"


def _values(
    result: Comparison, kind: str, cycle: int, ours: Sequence[int] | NDArray, theirs: Sequence[int] | NDArray
) -> None:
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    wrong = np.flatnonzero(ours != theirs)
    result.count(kind, len(ours), len(wrong))
    if len(wrong):
        at = int(wrong[0])
        where = f" [{at}]" if len(ours) > 1 else ""
        result.diverges(cycle, None, f"{kind}{where}: expected {ours[at]}, found {theirs[at]}")


def _accesses(result: Comparison, cycle: int, expected: Expected, found: Found) -> None:
    for (unit, number, memory), way, ours, theirs in _counted_accesses(expected, found):
        kind = f"accesses of {unit if unit in ('attention', 'experts', 'normaliser') else f'{unit}s'}: {memory}"
        result.count(kind, 1, int(ours != theirs))
        if ours != theirs:
            where = (
                sequencer.engine_name(number)
                if unit == "queue"
                else unit
                if unit in ("attention", "normaliser")
                else f"{unit} {number}"
            )
            result.diverges(cycle, None, f"{where}: {way} of {memory}: expected {ours}, found {theirs}")


def _counted_accesses(expected: Expected, found: Found) -> Iterator[tuple[tuple[str, int, str], str, int, int]]:
    for access, theirs in found.accesses.items():
        ours = expected.accesses.get(access, [0, 0])
        for index, way in enumerate(("reads", "writes")):
            yield access, way, ours[index], theirs[index]
