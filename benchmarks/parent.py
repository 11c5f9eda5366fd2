"""``python -m benchmarks.parent [COMMIT]``: is this tree slower than another commit, by default the one before HEAD?

Both sides run the same images by turns, each in a process with the code, workloads and kernels of its own tree; kernels are
compiled before anything is timed. Status 1 if the median of any ratio is above ``--bound``.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from benchmarks.paired import REPEATS, pair

ROOT = Path(__file__).resolve().parents[1]

CASES = {
    "digits": ("workloads/spikingformer.yaml", "adders_128", "execute"),
    "published": ("workloads/spikingformer_imagenet.yaml", "adders_512", "execute"),
    "published, trace": ("workloads/spikingformer_imagenet.yaml", "adders_512", "trace"),
}
"""What is timed, by name: workload, chip, mode. One image a call, many of the digits."""

CALLS = {"digits": 100}
"""Images of a call, where one would be too short to time."""

BOUND = 1.1
"""Median ratio that fails; five comparisons of equal code on a machine with other work gave 0.999 to 1.022."""


def serve(case: str) -> None:
    """Load a case in this process's tree; time a call for every line that comes in."""
    from archsim import simulate

    workload, chip, mode = CASES[case]
    mapped = simulate.load(Path(workload), chip, mode=mode)
    pixels, words = mapped.images(1)[0], mapped.words(0) if mode == "trace" else None
    simulate.run_image(mapped, pixels, 0, mode, trace=words)
    print("ready", flush=True)
    for _ in sys.stdin:
        before = perf_counter()
        for _ in range(CALLS.get(case, 1)):
            simulate.run_image(mapped, pixels, 0, mode, trace=words)
        print(perf_counter() - before, flush=True)


def server(tree: Path, case: str) -> tuple[Callable[[], None], subprocess.Popen[str]]:
    """A process that serves a case with a tree's code; what to call for one call of it."""
    command = [sys.executable, str(Path(__file__).resolve()), "--serve", case]
    process = subprocess.Popen(command, cwd=tree, env=os.environ | {"PYTHONPATH": str(tree)}, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert process.stdin and process.stdout  # pipes, as asked for
    given, answers = process.stdin, process.stdout

    def call() -> None:
        given.write("\n")
        given.flush()
        if not answers.readline():
            raise SystemExit(f"benchmarks.parent: case '{case}' ended in {tree}; run it there by hand to see why")

    if answers.readline().strip() != "ready":
        raise SystemExit(
            f"benchmarks.parent: case '{case}' does not start in {tree}; does that commit know the workload?"
        )
    return call, process


def compare(case: str, other: Path, commit: str, repeats: int) -> float:
    """Print a case's times in both trees; returns the median ratio."""
    (ours, mine), (theirs, its) = server(ROOT, case), server(other, case)
    entry = pair(case, ours, theirs, {}, repeats)
    for process in (mine, its):
        process.terminate()
        process.wait()
    assert entry.theirs and entry.ratio  # a pair has them
    low, high = entry.spread
    times = f"{entry.ours:8.4f} s, {commit} {entry.theirs:8.4f} s"
    print(f"{case:18s} {times}, ratio {entry.ratio:.3f} ({low:.3f} .. {high:.3f})", flush=True)
    return entry.ratio


def main() -> None:
    """Compare every case, or serve one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parent", description=__doc__)
    parser.add_argument("commit", nargs="?", default="HEAD~1", help="what this tree is compared with")
    parser.add_argument("--only", nargs="*", choices=tuple(CASES), default=tuple(CASES))
    parser.add_argument("--repeats", type=int, default=2 * REPEATS + 1, help="measurements of each side")
    parser.add_argument("--bound", type=float, default=BOUND, help="median ratio above which the status is 1")
    parser.add_argument("--serve", choices=tuple(CASES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    ask = ["git", "rev-parse", "--short", f"{options.commit}^{{commit}}"]
    found = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True)
    if found.returncode:
        raise SystemExit(f"benchmarks.parent: required a commit of this repository, given '{options.commit}'")
    commit = found.stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / commit
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(other), commit], cwd=ROOT, check=True)
        try:
            ratios = [compare(case, other, commit, options.repeats) for case in options.only]
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(other)], cwd=ROOT, check=True)
    if max(ratios) > options.bound:
        raise SystemExit(
            f"benchmarks.parent: slower than {commit}: {max(ratios):.3f} times its time, allowed {options.bound:g}"
        )


if __name__ == "__main__":
    main()
