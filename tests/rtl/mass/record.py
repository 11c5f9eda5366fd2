"""What a mass run found: a record for each parameter set and source of stimuli, and a unit's row in the table and verdict."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

RANDOM, CORNERS, RECORDED = "random", "corners", "recorded"
"""Sources of stimuli; recorded ones come from the trained network."""

SETS = 5
"""Parameter sets of a unit at least, in a full run."""


@dataclass(frozen=True)
class Goal:
    """How much a unit has to run.

    Attributes:
        total: transactions (or instructions) of all parameter sets at least; 0 in a reduced run.
        each: those of each set at least.
        sets: parameter sets that are run, the first ones (None: all).
    """

    total: int
    each: int
    sets: int | None = None

    def of(self, sets: int) -> int:
        """Transactions for each of ``sets`` parameter sets."""
        return max(self.each, -(-self.total // sets), 1)

    def chosen(self, sets: Sequence[Any]) -> list[Any]:
        """Those parameter sets that are run."""
        return list(sets)[: self.sets]

    def reduced(self, each: int, sets: int | None = None) -> "Goal":
        """A goal of ``each`` transactions a set, for a quick run of so many sets."""
        return Goal(0, each, sets)


STREAM = Goal(10**6, 10**5)
"""Units that work by transactions: accepted input payloads."""

INSTRUCTIONS = Goal(10**4, 1)
"""Units that work by instructions."""


@dataclass(frozen=True)
class Result:
    """What was compared, without a difference, for one parameter set and one source of stimuli.

    Attributes:
        unit: name of its contract.
        params: the parameter set, as text.
        source: where the stimuli came from.
        transactions: accepted input payloads, or instructions.
        cycles: cycles of the Verilog that were compared.
        verilog_seconds, model_seconds: time in the Verilog and in the fast model for the same stimuli.
        input_stalls: cycles in which the unit let a producer wait; None if it has no port that can.
        output_stalls: cycles in which a consumer let the unit wait; None likewise.
        full: cycles, or occasions, at which a FIFO was full; None for a unit without one.
    """

    unit: str
    params: str
    source: str
    transactions: int
    cycles: int
    verilog_seconds: float
    model_seconds: float
    input_stalls: int | None = None
    output_stalls: int | None = None
    full: int | None = None


def name_of(params) -> str:
    """The integers of a parameter set, joined: short, and the same as in the names of the tests."""
    return "-".join(str(value) for value in vars(params).values() if isinstance(value, int))


def total(results: Iterable[Result], name: str) -> float | None:
    """Sum of a column over the results that have it; None if none has."""
    values = [value for result in results if (value := getattr(result, name)) is not None]
    return sum(values) if values else None


def complaints(results: Sequence[Result], goal: Goal) -> list[str]:
    """Why the results of a unit prove too little: empty if they do not."""
    random: dict[str, int] = {}
    for result in results:
        if result.source == RANDOM:
            random[result.params] = random.get(result.params, 0) + result.transactions
    found = []
    if not random:
        found.append("no random run")
    if goal.total and len(random) < SETS:
        found.append(f"{len(random)} parameter sets, required {SETS}")
    if sum(random.values()) < goal.total:
        found.append(f"{sum(random.values())} random transactions, required {goal.total}")
    found += [
        f"set {params}: {count} transactions, required {goal.each}"
        for params, count in random.items() if count < goal.each
    ]  # fmt: skip
    reasons = {
        "input_stalls": "no producer ever waited", "output_stalls": "no consumer ever let the unit wait",
        "full": "no FIFO was ever full",
    }  # fmt: skip
    found += [reason for name, reason in reasons.items() if total(results, name) == 0]
    return found


COLUMNS = (
    "unit", "sets", "transactions", "recorded", "cycles", "differences", "stalls in", "stalls out", "FIFO full",
    "Verilog kcycles/s", "speed-up",
)  # fmt: skip
"""Titles of the table; the speed-up is that of the fast model over the Verilog, on the same stimuli."""


def row(unit: str, results: Sequence[Result], differences: int) -> list[str]:
    """The unit's row of the table."""
    recorded = [result for result in results if result.source == RECORDED]
    cycles, verilog = total(results, "cycles") or 0, total(results, "verilog_seconds") or 0
    model = total(results, "model_seconds") or 0
    counts = [total(results, name) for name in ("input_stalls", "output_stalls", "full")]
    numbers = [
        len({result.params for result in results if result.source != RECORDED}), total(results, "transactions") or 0,
        total(recorded, "transactions") or 0, cycles, differences, *counts,
    ]  # fmt: skip
    speeds = [f"{cycles / verilog / 1e3:.0f}" if verilog else "-", f"{verilog / model:.1f}" if model else "-"]
    return [unit, *("-" if number is None else f"{number:,}" for number in numbers), *speeds]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows under the titles, the first column to the left and numbers to the right."""
    lines = [COLUMNS, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(text.rjust(width) if column else text.ljust(width)
                  for column, (text, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    )  # fmt: skip
