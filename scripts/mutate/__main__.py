"""Mutation run over contracts and hardware: is every wrong version noticed by a test, or explained?

    python -m scripts.mutate [--sample N] [--seed S] [--file TEXT ...] [--operator NAME] [--out DIR] [--list]

Each mutant is one small change (``operators``) of one source, judged by the tests of its unit (``targets``) in a private copy
of the tree. Results go to ``results.jsonl`` line by line; a run goes on where the last one ended, and looks again at survivors.
``explained.yaml`` beside it says of survivors why they are no fault. ``summary.md`` has the tables. The exit status is 1 if a
survivor is not explained.
"""

import argparse
import json
import random
import sys
from collections import defaultdict
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from ruamel.yaml import YAML

from archsim.contracts.common.errors import ArchsimError
from scripts.mutate.operators import OPERATORS, Mutant, mutants
from scripts.mutate.report import summary
from scripts.mutate.runner import SURVIVED, Workspace
from scripts.mutate.targets import ROOT, files, stages

OUT = ROOT / "reports" / "mutation"


def sample(found: Sequence[Mutant], count: int | None, seed: int) -> list[Mutant]:
    """``count`` mutants (all if None), one of each (file, operator) in turn, in an order that the seed decides."""
    strata: dict[tuple[str, str], list[Mutant]] = defaultdict(list)
    for mutant in found:
        strata[mutant.file, mutant.operator].append(mutant)
    names = sorted(strata)
    random.Random(seed).shuffle(names)
    for name in names:  # a generator each: a change of one file leaves the choice in others as it was
        random.Random(f"{seed} {name}").shuffle(strata[name])
    rounds = zip_longest(*(strata[name] for name in names))
    return [mutant for turn in rounds for mutant in turn if mutant is not None][:count]


def read_results(path: Path) -> dict[str, dict]:
    """Results of former runs by the mutant's key, the last one of each."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {entry["key"]: entry for entry in map(json.loads, lines)}


def read_explained(path: Path) -> dict[tuple[str, str, str], str]:
    """Reasons by (file, line, mutated line)."""
    entries = YAML(typ="safe").load(path) if path.exists() else None
    reasons = {}
    for entry in entries or []:
        if set(entry) != {"file", "line", "mutant", "reason"}:
            raise ArchsimError(f"{path}: an entry needs file, line, mutant and reason, given {sorted(entry)}")
        reasons[entry["file"], entry["line"], entry["mutant"]] = entry["reason"]
    return reasons


def identity(mutant: Mutant) -> tuple[str, str, str]:
    """How ``explained.yaml`` names a mutant: it survives a change elsewhere in the file."""
    return mutant.file, mutant.line, mutant.mutated


def run(chosen: Sequence[Mutant], out: Path) -> list[dict]:
    """Judge the mutants that have no result, or survived and are not explained; the results of all.

    Raises ArchsimError at the end if the tests of a file do not pass on the unchanged tree; its mutants are left out.
    """
    out.mkdir(parents=True, exist_ok=True)
    path, explained, refused = out / "results.jsonl", read_explained(out / "explained.yaml"), {}
    results = read_results(path)

    def is_open(mutant: Mutant) -> bool:
        known = results.get(mutant.key)
        return known is None or (known["verdict"] == SURVIVED and identity(mutant) not in explained)

    todo = [mutant for mutant in chosen if is_open(mutant)]
    with Workspace() as workspace:
        for number, mutant in enumerate(todo, 1):
            try:
                verdict = workspace.judge(mutant, stages(mutant.file))
            except ArchsimError as error:
                refused[mutant.file] = str(error)
                continue
            result = {
                "key": mutant.key, "file": mutant.file, "number": mutant.number, "operator": mutant.operator,
                "line": mutant.line, "mutant": mutant.mutated, "verdict": verdict.verdict, "test": verdict.test,
            }  # fmt: skip
            results[mutant.key] = result
            with path.open("a") as file:
                file.write(json.dumps(result) + "\n")
            place = f"{mutant.file}:{mutant.number} {mutant.operator}"
            print(
                f"{number}/{len(todo)} {verdict.verdict:8} {verdict.seconds:4.0f} s  {place}: {mutant.mutated}",
                flush=True,
            )
    if refused:
        raise ArchsimError("\n".join(refused.values()))
    return [results[mutant.key] | {"reason": explained.get(identity(mutant), "")} for mutant in chosen]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.mutate", description="Is every wrong version noticed?")
    parser.add_argument("--sample", metavar="N", type=int, help="so many mutants instead of all")
    parser.add_argument("--seed", metavar="S", type=int, default=1, help="which ones (default %(default)s)")
    parser.add_argument(
        "--file", metavar="TEXT", nargs="+", default=[""], help="only files with one of these in their path"
    )
    parser.add_argument("--operator", choices=OPERATORS, help="only this operator")
    parser.add_argument("--out", metavar="DIR", type=Path, default=OUT, help="folder of results and reasons")
    parser.add_argument("--list", action="store_true", help="list the mutants and stop")
    options = parser.parse_args(arguments)
    chosen_files = [file for file in files() if any(part in file for part in options.file)]
    found = [mutant for file in chosen_files for mutant in mutants(file, (ROOT / file).read_text())]
    found = [mutant for mutant in found if options.operator in (None, mutant.operator)]
    chosen = sample(found, options.sample, options.seed)
    if options.list:
        print("\n".join(f"{m.file}:{m.number} {m.operator}: {m.line} -> {m.mutated}" for m in chosen))
        return 0
    try:
        results = run(chosen, options.out)
    except ArchsimError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    text, unexplained = summary(results, len(found), options)
    (options.out / "summary.md").write_text(text)
    print(text)
    return int(bool(unexplained))


if __name__ == "__main__":
    sys.exit(main())
