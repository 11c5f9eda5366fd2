"""Mass co-simulation of the units: ``python -m tests.rtl.mass [UNIT ...] [--transactions N]``.

Prints the table when all units have run; exit status 1 if one differs or proves too little. ``--transactions`` (or
ARCHSIM_RTL_TRANSACTIONS) sets the transactions of each parameter set; without it a run is as long as the goals in
``registry.py`` want it.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence

from tests.rtl.bench import ModelsDiffer
from tests.rtl.mass.divergence import Divergence
from tests.rtl.mass.record import Goal, Result, complaints, row, table
from tests.rtl.mass.registry import UNITS, Run


def run_unit(name: str, run: Run, goal: Goal) -> tuple[list[Result], AssertionError | None]:
    """Results of a unit up to its first divergence, and that; progress goes to stderr."""
    results: list[Result] = []
    try:
        for result in run(goal):
            results.append(result)
            counts = f"{result.transactions:>9,} transactions {result.cycles:>11,} cycles"
            print(f"{name:14} {result.source:9} {result.params:30} {counts}", file=sys.stderr, flush=True)
    except (Divergence, ModelsDiffer) as difference:
        return results, difference
    return results, None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.rtl.mass", description="Mass co-simulation of the units.")
    parser.add_argument("units", nargs="*", metavar="UNIT", help="units to run (default: all)")
    parser.add_argument("--transactions", type=int, metavar="N", help="transactions of each parameter set")
    options = parser.parse_args(arguments)
    each = options.transactions or int(os.environ.get("ARCHSIM_RTL_TRANSACTIONS", "0"))
    unknown = sorted(set(options.units) - set(UNITS))
    if unknown:
        parser.error(f"unknown units {', '.join(unknown)}; required some of {', '.join(UNITS)}")
    begin, rows, wrong = time.perf_counter(), [], {}
    for name in options.units or UNITS:
        goal = UNITS[name].goal.reduced(each) if each else UNITS[name].goal
        results, divergence = run_unit(name, UNITS[name].load(), goal)
        rows.append(row(name, results, int(divergence is not None)))
        reasons = [str(divergence)] if divergence else complaints(results, goal)
        if reasons:
            wrong[name] = reasons
    print(table(rows))
    print(f"{time.perf_counter() - begin:.0f} s")
    for name, reasons in wrong.items():
        print(f"\n{name}: " + "\n".join(reasons))
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
