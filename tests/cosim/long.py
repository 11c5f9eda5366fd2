"""The long run of the pool: ``python -m tests.cosim.long [CHIP ...] [--networks N]``; exit status 1 if something differs.

Prints a row a chip. Refused are networks that do not fit the chip at all; they are not among the networks.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence

from tests.cosim.chips import CHIPS
from tests.cosim.pool import explore

NETWORKS = 504
"""Networks of all chips together."""

COLUMNS = (
    "networks", "streamed", "attention", "transposed", "reordered", "latencies", "refused", "instructions", "cycles", "values",
    "differences",
)  # fmt: skip


def line(name: str, tally: Counter[str]) -> str:
    """A row of the table."""
    return f"{name:<16}" + "".join(f"{tally[column]:>{max(len(column), 11) + 2},}" for column in COLUMNS)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.cosim.long", description="The pool: random networks on small chips."
    )
    parser.add_argument("chips", nargs="*", metavar="CHIP", help="chips of the pool (default: all)")
    parser.add_argument("--networks", type=int, default=NETWORKS, metavar="N", help="in all (default: %(default)s)")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.chips) - set(CHIPS))
    if unknown:
        parser.error(f"unknown chips {', '.join(unknown)}; required some of {', '.join(CHIPS)}")
    names, begin, total = options.chips or list(CHIPS), time.perf_counter(), Counter[str]()
    print(f"{'chip':<16}" + "".join(f"{column:>{max(len(column), 11) + 2}}" for column in COLUMNS), flush=True)
    for name in names:
        try:
            tally = explore([CHIPS[name]], -(-options.networks // len(names)), list(CHIPS).index(name))
        except AssertionError as difference:
            print(f"{name}: {difference}\n" + "\n".join(getattr(difference, "__notes__", [])))
            return 1
        total.update(tally)
        print(line(name, tally), flush=True)
    print(line("all", total))
    print(f"{time.perf_counter() - begin:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
