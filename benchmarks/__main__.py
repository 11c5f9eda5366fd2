"""``python -m benchmarks``: the paired benchmarks; prints a table and writes ``reports/benchmarks.json``.

Kernels are compiled before anything is timed, on both sides. Mapping is timed apart.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archsim import simulate
from benchmarks.events import against_sanafe
from benchmarks.networks import write
from benchmarks.paired import REPEATS, Entry, pair, paired, seconds, single
from benchmarks.sizes import across_sizes
from cosim.run import Bench
from cosim.run import Workload as Mapped

LARGE, DIGITS = Path("workloads/spikingformer_imagenet.yaml"), Path("workloads/spikingformer.yaml")

OURS = {name: version(name) for name in ("numpy", "numba", "llvmlite")} | {"python": platform.python_version()}


class Torch:
    """A process that runs forwards of a workload's network in PyTorch with SpikingJelly's neurons, one for each call.

    Args:
        workload: the workload.
        threads: threads of PyTorch.
    """

    def __init__(self, workload: Mapped, threads: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "layers.npz"
            write(workload, file)
            command = [sys.executable, "-m", "benchmarks.spikingformer_torch", str(file), str(threads)]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self.versions = dict(zip(("torch", "spikingjelly"), self._line().split(), strict=True))

    def _line(self) -> str:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise SystemExit("benchmarks: PyTorch did not start; run `scripts/setup.sh train`")
        return line

    def __call__(self) -> None:
        """One forward."""
        assert self.process.stdin is not None  # asked for above
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self._line()

    def close(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.wait()


def forward(threads: int, repeats: int) -> Iterator[Entry]:
    """Spikingformer-8-512, one image: both modes against PyTorch, and synaptic operations a second."""
    for mode in ("execute", "trace"):
        workload = simulate.load(LARGE, mode=mode)
        pixels, words = workload.images(1)[0], workload.words(0) if mode == "trace" else None
        torch = Torch(workload, threads)

        def run(mapped: Mapped = workload, mode: str = mode, pixels=pixels, words=words) -> simulate.ImageRun:  # type: ignore[no-untyped-def]
            return simulate.run_image(mapped, pixels, 0, mode, trace=words)[0]

        operations = int(run().records["additions"].sum())
        versions = OURS | torch.versions
        yield pair(f"Spikingformer-8-512, {mode} mode, against a PyTorch forward with SpikingJelly", run, torch, versions, repeats)
        torch.close()
        if mode == "execute":
            yield single("synaptic operations in execute mode", run, OURS, repeats, operations)


def verilog(digits: int) -> Iterator[Entry]:
    """The digits network on the 128-adder preset, against its Verilog in a Verilator library, one thread each.

    Every pair has the whole batch on the simulator's side and an eighth of it on the other.
    """
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})
    mapped = simulate.load(DIGITS, "adders_128")
    images, bench = mapped.images(digits), Bench(mapped.program, Path("build/cosim"))

    def batch() -> None:
        for number, pixels in enumerate(images):
            simulate.run_image(mapped, pixels, number, threads=1)

    def compared(part: Sequence[NDArray[np.float64]]) -> float:
        before = bench.verilog_s
        for pixels in part:
            dram = mapped.program.dram.copy()
            simulate.write_image(mapped, dram, pixels)
            if bench.run(dram).first is not None:
                raise SystemExit("benchmarks: an image differs from the Verilog; run `archsim cosim`")
        return (bench.verilog_s - before) / len(part)

    batch()
    compared(images[:1])  # builds
    eighth = -(-digits // 8)
    pairs = [(seconds(batch) / digits, compared(images[at : at + eighth])) for at in range(0, digits, eighth)]
    os.sched_setaffinity(0, processors)
    versions = OURS | {"verilator": version("verilator")}
    yield paired(f"digits network, {digits} images, against its Verilog", pairs, versions)


def mapping(repeats: int) -> Iterator[Entry]:
    """Mapping of the largest network; the command line to the first line of its tables, and to its end."""
    yield single("map Spikingformer-8-512", lambda: simulate.load(LARGE), OURS, repeats)
    command = [str(Path(sys.executable).with_name("archsim")), "run", str(DIGITS), "--images", "1"]
    with tempfile.TemporaryDirectory() as folder:
        start = [*command, "--out", folder]
        first, whole = [], []
        for _ in range(repeats + 1):
            begin = time.perf_counter()
            with subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
                assert process.stdout is not None  # it is a pipe
                process.stdout.readline()
                first.append(time.perf_counter() - begin)
                process.stdout.read()
            whole.append(time.perf_counter() - begin)
        for what, measured in (("to its first line", first[1:]), ("to its end", whole[1:])):
            spread = min(measured), max(measured)
            yield Entry(f"archsim run, one digit, {what}", float(np.median(measured)), spread=spread, versions=OURS)


def images(counts: Sequence[int]) -> Iterator[Entry]:
    """Time an image of batches of several sizes in trace mode, and the most memory in use."""
    workload = simulate.load(LARGE, mode="trace")
    pixels, words = workload.images(1)[0], workload.words(0)
    for count in counts:

        def run(count: int = count) -> None:
            for _ in range(count):
                simulate.run_image(workload, pixels, 0, "trace", trace=words)

        run()
        times = [seconds(run) / count for _ in range(REPEATS)]
        spread = min(times), max(times)
        yield Entry(f"trace mode, batch of {count}, an image", float(np.median(times)), spread=spread, versions=OURS)
    yield side_by_side()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    yield Entry("memory of all that, at most", peak, unit="GB", versions=OURS)


def side_by_side() -> Entry:
    """Images in parallel against the same ones one after the other on one thread; an efficiency of 1 is 1 / processors."""
    workload, processors = simulate.load(LARGE), len(os.sched_getaffinity(0))
    pixels = workload.images(2 * processors)

    def apart() -> None:
        for number, image in enumerate(pixels):
            simulate.run_image(workload, image, number, threads=1)

    name = f"{len(pixels)} images side by side on {processors} processors, execute mode, against one thread"
    return pair(name, lambda: list(simulate.each(workload, pixels, "execute", False)), apart, OURS)


def line(entry: Entry) -> str:
    """A line of the table."""
    theirs = "" if entry.theirs is None else f"{entry.theirs:.3g}"
    ratio = "" if entry.ratio is None else f"{entry.ratio:.3g}"
    spread = f"{entry.spread[0]:.3g} .. {entry.spread[1]:.3g}"
    return f"{entry.name:78s} {entry.ours:>9.3g} {theirs:>9s} {entry.unit:4s} {ratio:>8s}  {spread}"


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="*", choices=("forward", "verilog", "events", "mapping", "images", "sizes"), default=None)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads of PyTorch")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="measurements of each side")
    parser.add_argument("--digits", type=int, default=64, help="images of the Verilog")
    parser.add_argument("--out", type=Path, default=Path("reports/benchmarks.json"))
    options = parser.parse_args()
    parts = {
        "forward": lambda: forward(options.threads, options.repeats), "verilog": lambda: verilog(options.digits),
        "events": lambda: against_sanafe(OURS, options.repeats),
        "mapping": lambda: mapping(options.repeats), "images": lambda: images((1, 8)),
        "sizes": lambda: across_sizes(OURS, options.repeats),
    }  # fmt: skip
    print(f"{'':78s} {'ours':>9s} {'theirs':>9s} {'':4s} {'ratio':>8s}  spread")
    entries = []
    for name in options.only or parts:
        for entry in parts[name]():
            print(line(entry), flush=True)
            entries.append(entry.as_dict())
    options.out.write_text(json.dumps(entries, indent=2) + "\n")


if __name__ == "__main__":
    main()
