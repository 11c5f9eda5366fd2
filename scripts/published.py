"""Map and run every published size on every preset: cycles, images a second, seconds taken and peak memory, or why it is refused.

    python -m scripts.published [--chip CHIP] [--family FAMILY] [--size SIZE] [--rate RATE] [--map | --check | --sample N]
    python -m scripts.published --keep DIR ...    # each run's report stays in DIR
    python -m scripts.published --priced DIR      # their table again, nothing run: energies by the model as it is now

Spikes are SYNTHETIC: drawn at published firing rates where they are published (Spikingformer-8-512 and -8-768), else all at one
ASSUMED rate. Weights are random. Each size on each chip is a process of its own, so that the peak of memory is its own; one that
needs more than the limit ends and says so. What no chip runs is refused once, by layer and operator. With ``--sample`` that many
instructions of the program are compared with the Verilog, each alone, as ``archsim cosim --sample`` does (seed 1); with ``--check``
nothing is drawn: what random weights fire on a random image is compared with the integer reference. ``--steps N`` takes other
time steps than the published ones.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from archsim import simulate
from archsim.account.formula import spike_maps
from archsim.config import chip_names
from archsim.contracts.common.errors import ArchsimError
from archsim.energy import energy_pj
from archsim.energy.explain import read
from archsim.energy.formulas import chip_of, counts_of
from archsim.energy.ranges import energy_range_pj
from archsim.energy.term import CYCLES
from archsim.results import COUNTERS
from archsim.summary import summarise
from archsim.synthetic import read_rates
from archsim.workload import SIZES
from mapping.networks.weights import Shapes
from mapping.operators import require_mapped

RATES = Path(__file__).parents[1] / "workloads/rates"
"""Published firing rates, a file a family."""

SEED = 1
"""Of samples."""

MEASURED = "published"
"""Key of a kept report under which the table's row of its run stands."""

HEAD_BITS, WIDE_HEAD_BITS, WIDE = 10, 9, ("768", "mlp-spe-b", "masked_spiking_transformer")
"""Bits of the classifier's operand, those of 768 channels or 864, and the names of such sizes or families: with 12 the sums of
some, with 10 of these could pass the 24 bits of the accumulators."""


def rates(family: str, size: str, rate: float) -> tuple[dict[str, float], str]:
    """Firing rate 0..1 by map, and where it comes from: published, or ``rate`` for all."""
    path = RATES / f"{family}.yaml"
    try:
        return read_rates(path, size), "published"
    except (ArchsimError, OSError):
        return dict.fromkeys(spike_maps(SIZES[family][size].network(Shapes())), rate), f"ASSUMED {rate:g}"


def workload(folder: Path, family: str, size: str, given: dict[str, float], more: dict[str, Any] | None = None) -> Path:
    """Write a workload file of a published size with these rates into a folder; ``more``: other keys."""
    yaml, head = YAML(), WIDE_HEAD_BITS if any(name in f"{family} {size}" for name in WIDE) else HEAD_BITS
    yaml.dump({size: {name: 100 * rate for name, rate in given.items()}}, folder / "rates.yaml")
    document = {
        "name": f"{family}_{size.replace('-', '_')}", "network": {"family": family, "size": size, "seed": 1},
        "mode": "trace", "rates": "rates.yaml", "operand_bits": {"head": head}, **(more or {}),
    }  # fmt: skip
    yaml.dump(document, path := folder / "workload.yaml")
    return path


def measure(
    family: str, size: str, chip: str, rate: float, only_map: bool = False, sampled: int | None = None, check: bool = False,
    keep: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What a size does on a chip, or ``refused``; times in seconds, memory in GB: of this process.

    ``sampled``: instructions to compare with the Verilog, in place of a run; ``check``: a run in mode execute is compared with the
    integer reference; ``keep``: a folder in which the run's report stays, with what this function gives under `MEASURED`.
    """
    summary: dict[str, Any] = {}
    given, source = rates(family, size, rate)
    row: dict[str, Any] = {"rates": source}
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = workload(Path(folder), family, size, {} if check else given, {"mode": "execute"} if check else None)
        try:
            if only_map:
                mapped = simulate.load(path, chip)
                row["instructions"] = sum(map(len, mapped.program.queues.values()))
            elif sampled:
                from cosim.sample import sample  # it needs the tools of the extra `sim`

                comparison = sample(simulate.load(path, chip), sampled, SEED).comparison
                row |= {key: sum(getattr(comparison, key).values()) for key in ("compared", "differing")}
            elif check:
                result = simulate.run(path, chip, check=True).check
                assert result is not None  # it was asked for
                row |= {"checked": sum(result.compared.values()), "differing": sum(result.differing.values())}
            else:
                summary = summarise(simulate.run(path, chip))
                row |= {key: summary[key] for key in ("cycles", "images_per_s", "utilization")}
                row |= {"energy_uj": summary["energy_uj"]["total"], "range_uj": summary["energy_range_uj"]["total"]}
        except ArchsimError as error:
            row["refused"] = str(error)
        except MemoryError:
            row["refused"] = "memory: passes the limit"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    row |= {"seconds": time.monotonic() - start, "peak_gb": peak}
    if keep and summary:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / kept_name(family, size, chip)).write_text(json.dumps({**summary, MEASURED: row}), encoding="utf-8")
    return row


def kept_name(family: str, size: str, chip: str) -> str:
    """Name of the file in which a run's report is kept."""
    return f"{family}.{size}.{Path(chip).stem}.json"


def priced(folder: Path) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """(family, size, chip, row) of the reports that were kept in a folder, their energies by the model as it is now.

    Raises ArchsimError for a folder without such reports, a file that is no report, and one with other counters than now.
    """
    if not any(folder.glob(kept_name("*", "*", "*"))):
        raise ArchsimError(f"{folder}: required reports that --keep has written, found none")
    for family, sizes in SIZES.items():
        for size in sizes:
            for path in sorted(folder.glob(kept_name(family, size, "*"))):
                report = read(path)
                if set(report["counters_all_images"]) != {counter.name for counter in COUNTERS}:
                    raise ArchsimError(f"{path}: required the counters of this version, given others; run it again with --keep")
                counts, unit = counts_of(report), 1e-6 / report["images"]
                cycles, chip = counts.pop(CYCLES), chip_of(report)
                now = {
                    "energy_uj": sum(energy_pj(chip, counts, cycles).values()) * unit,
                    "range_uj": [end * unit for end in energy_range_pj(chip, counts, cycles)["total"]],
                }
                yield family, size, report["chip"], {**report[MEASURED], **now}


def vary(family: str, steps: int) -> None:
    """Give the sizes of a family other time steps for the rest of this process."""
    changes: dict[str, Any] = {"timesteps": steps}
    SIZES[family] = {name: replace(size, **changes) for name, size in SIZES[family].items()}  # type: ignore[type-var]


def rows(arguments: argparse.Namespace) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """(family, size, chip, what :func:`measure` gives) of all that was asked for."""
    for family in [arguments.family] if arguments.family else SIZES:
        for size in [arguments.size] if arguments.size else SIZES[family]:
            try:
                require_mapped(SIZES[family][size].network(Shapes()))
            except ArchsimError as error:
                yield family, size, "every chip", {"refused": str(error)}
                continue
            for chip in [arguments.chip] if arguments.chip else chip_names():
                yield family, size, chip, _in_a_process(family, size, chip, arguments)


def _in_a_process(family: str, size: str, chip: str, arguments: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "scripts.published", "--one", "--family", family, "--size", size, "--chip", chip]
    command += ["--rate", str(arguments.rate), "--limit", str(arguments.limit), *["--map"] * arguments.map]
    command += ["--sample", str(arguments.sample)] if arguments.sample else []
    command += ["--check"] * arguments.check
    command += ["--keep", str(arguments.keep)] if arguments.keep else []
    command += ["--steps", str(arguments.steps)] if arguments.steps else []
    try:
        done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, timeout=60 * arguments.minutes)
    except subprocess.TimeoutExpired:
        return {"refused": f"time: not done within {arguments.minutes:g} minutes"}
    except subprocess.CalledProcessError as error:
        return {"refused": f"memory: the process ended with status {error.returncode} (limit {arguments.limit:g} GB)"}
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def text(family: str, size: str, chip: str, row: dict[str, Any]) -> str:
    """A line of the table."""
    start = f"{family:<25} {size:<22} {chip:<16} "
    taken = f"{row['seconds']:8.0f} {row['peak_gb']:6.2f} " if "seconds" in row else f"{'-':>8} {'-':>6} "
    if "refused" in row:
        return f"{start}{taken}refused: {row['refused']}"
    if "instructions" in row:
        return f"{start}{taken}maps: {row['instructions']:,} instructions"
    if "compared" in row:
        return f"{start}{taken}sampled: {row['compared']:,} values compared with the Verilog, {row['differing']:,} differ"
    if "checked" in row:
        return f"{start}{taken}checked: {row['checked']:,} values compared with the integer reference, {row['differing']:,} differ"
    low, high = (end / 1000 for end in row["range_uj"])
    figures = (
        f"{row['cycles']:>14,} {row['images_per_s']:>10,.3f} {row['utilization']:>6.1%} {row['energy_uj'] / 1000:>9.3f} "
        f"{f'{low:.3g} .. {high:.3g}':>16}"
    )
    return f"{start}{taken}{figures}  {row['rates']}"


def main() -> None:
    """Print a line for every size and chip as it is done."""
    parser = argparse.ArgumentParser(description="Map and run every published size on every preset.")
    parser.add_argument("--chip", help="one preset or chip file (default: every preset)")
    parser.add_argument("--family", choices=SIZES, help="one family")
    parser.add_argument("--size", help="one size (with --family)")
    parser.add_argument("--rate", type=float, default=0.1, help="rate 0..1 that is assumed where none is published")
    parser.add_argument("--map", action="store_true", help="only map, do not run")
    parser.add_argument("--sample", type=int, help="compare this many instructions with the Verilog, do not run")
    parser.add_argument("--check", action="store_true", help="compare a run in mode execute with the integer reference")
    parser.add_argument("--steps", type=int, help="time steps in place of the published ones (with --family)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep each run's report in this folder")
    parser.add_argument("--priced", type=Path, metavar="DIR", help="print the table of kept reports, run nothing")
    parser.add_argument("--limit", type=float, default=8, help="GB of memory of a process")
    parser.add_argument("--minutes", type=float, default=30, help="minutes of a process")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.keep and (arguments.map or arguments.check or arguments.sample):
        parser.error("--keep: required a run, whose report stays; given --map, --check or --sample, which make none")
    if arguments.family and arguments.steps:
        vary(arguments.family, arguments.steps)
    if arguments.one:
        resource.setrlimit(resource.RLIMIT_DATA, (int(arguments.limit * 1e9),) * 2)
        names = "family", "size", "chip", "rate", "map", "sample", "check", "keep"
        print(json.dumps(measure(*(getattr(arguments, name) for name in names))))
        return
    print("SYNTHETIC spikes and random weights; one image")
    print(
        f"{'family':<25} {'size':<22} {'chip':<16} {'seconds':>8} {'GB':>6} {'cycles':>14} {'images/s':>10} {'used':>6} "
        f"{'mJ':>9} {'low .. high':>16}  rates"
    )
    differing = 0
    try:
        for row in priced(arguments.priced) if arguments.priced else rows(arguments):
            print(text(*row), flush=True)
            differing += row[3].get("differing", 0)
    except ArchsimError as error:
        parser.exit(2, f"{error}\n")
    if differing:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
