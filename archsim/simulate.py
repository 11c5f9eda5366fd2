"""Public functions: map a workload to a program, run it, check it against the integer reference."""

import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archsim.config import load_workload, read_chip
from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.program import Program
from archsim.kernel import Simulation
from archsim.ownership import check_intervals
from archsim.prepare import THREADS
from archsim.results import CheckResult, ImageRun, RunResult
from archsim.tensors import Capture, from_words
from archsim.units.sram import integers_from_bytes
from archsim.workload import Workload, image_bytes, read
from mapping import reference
from mapping.context import Limits
from mapping.data import image_rows
from mapping.ir import IMAGE
from mapping.product import first_products
from mapping.quantise import IntPlanes
from mapping.schedule import schedule
from mapping.window_attention import IntWindowAttention

TILES = (256, 128, 64, 32, 16, 8, 4)
"""Positions of a tile that :func:`load` tries."""

Progress = Callable[[int, int], None]


def load(
    workload: str | Path, chip: str | Path | ChipParams | None = None, mode: str | None = None
) -> Workload:
    """Read, quantise and map a workload; raises ArchsimError for anything that does not fit together.

    Args:
        workload: workload file (YAML).
        chip: preset, chip file, or parameters; None takes the workload's.
        mode: in which it will run; None takes the workload's.
    """
    config = load_workload(workload)
    if not isinstance(chip, ChipParams):
        chip = (read_chip(config.chip, config.directory) if chip is None else read_chip(chip)).params
    sources = read(workload, config, chip, mode or config.mode)
    program = schedule(sources.network, chip)
    whole = Workload(config, sources.network, program, sources.trained, sources.recording, sources.synthetic)
    if whole.recording is None or program.notes["streamed"]:
        return whole
    recorded = [whole.words(image) for image in whole.tuning_images()]
    whole.products = first_products(sources.network, chip, recorded)
    return _fastest(replace(whole, program=schedule(sources.network, chip, products=whole.products)))


def _fastest(whole: Workload) -> Workload:
    """The workload cut into the pieces with the least cycles on recorded spikes: first its tiles, then its weights."""
    chip = whole.program.chip
    best = min([whole, *_variants(whole, [Limits(positions=size) for size in TILES])], key=recorded_cycles)
    positions = best.program.notes["limits"]["positions"]
    halves = [Limits(chip.weight_rows >> shift, positions) for shift in (1, 2, 3)]
    return min([best, *_variants(best, halves)], key=recorded_cycles)


def _variants(mapped: Workload, limits: Iterable[Limits]) -> Iterator[Workload]:
    """The same workload within other limits, as far as its layers fit them."""
    for limit in limits:
        try:
            program = schedule(mapped.network, mapped.program.chip, limit, mapped.products)
        except ArchsimError:
            return
        yield replace(mapped, program=program)


def recorded_cycles(mapped: Workload) -> int:
    """Cycles of the first recorded images in trace mode: what the mapping is chosen by, without running the network."""
    numbers = mapped.tuning_images()
    pixels = mapped.images(len(numbers))
    return sum(run_image(mapped, pixels[image], image, "trace")[0].cycles for image in numbers)


def run(
    workload: str | Path,
    chip: str | Path | ChipParams | None = None,
    images: int | None = None,
    mode: str | None = None,
    check: bool = False,
    progress: Progress | None = None,
) -> RunResult:
    """Run a workload on a chip.

    Args:
        workload: workload file (YAML).
        chip: preset, chip file, or parameters; None takes the workload's.
        images: number of images, the first of the test set; None takes the workload's.
        mode: ``execute`` (compute every spike) or ``trace`` (recorded spikes drive the time); None takes the workload's.
        check: compare every spike, membrane and logit with the integer reference (execute mode).
        progress: called with (images done, images in all).

    Raises ArchsimError for bad input, and when the program breaks a rule of the chip.
    """  # fmt: skip
    mapped = load(workload, chip, mode)
    mode, count = mode or mapped.config.mode, mapped.config.images if images is None else images
    if mode == "trace" and check:
        raise ArchsimError(
            "--check needs mode execute: in mode trace the spikes are given, so there is nothing to compare"
        )
    pixels, runs, checks = mapped.images(count), [], []
    for single, difference in each(mapped, pixels, mode, check):
        runs.append(single)
        if difference:
            checks.append(difference)
        if progress:
            progress(len(runs), count)
    labels = mapped.trained.labels[:count] if mapped.trained else None
    accuracy = None
    if labels is not None and mode == "execute":
        accuracy = float(
            np.mean([int(single.logits.argmax()) == label for single, label in zip(runs, labels, strict=True)])
        )
    return RunResult(
        workload=mapped.config.name, mode=mode, program=mapped.program, images=runs, labels=labels, accuracy=accuracy,
        accuracy_float=mapped.trained.manifest["accuracy"]["test"]["accuracy"] if mapped.trained else None,
        check=_add(checks) if check else None,
        spikes=mapped.synthetic.spikes if mapped.synthetic and mode == "trace" else "", provenance=_provenance(mapped, mode, count),
    )  # fmt: skip


def each(
    mapped: Workload, pixels: Sequence[NDArray[np.float64]], mode: str, check: bool
) -> Iterator[tuple[ImageRun, CheckResult | None]]:
    """Runs of normalised images, in order; side by side, each on a thread of its own, where the compiled driver runs them.

    ``check``: each is compared with the integer reference.
    """
    compiled = mapped.queues.prepare(mapped.program.chip, mapped.program.notes).compiled and not check
    workers = min(len(pixels), len(os.sched_getaffinity(0))) if compiled else 1

    def one(image: int) -> tuple[ImageRun, CheckResult | None]:
        single, capture = run_image(mapped, pixels[image], image, mode, check, threads=1 if workers > 1 else THREADS)
        return single, compare(mapped, pixels[image], capture, single.logits) if check else None

    if workers == 1:
        yield from map(one, range(len(pixels)))
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(one, range(len(pixels)))


def run_image(
    mapped: Workload,
    pixels: NDArray[np.float64],
    number: int,
    mode: str = "execute",
    record: bool = False,
    trace: dict[str, NDArray[np.uint64]] | None = None,
    threads: int = THREADS,
) -> tuple[ImageRun, Capture]:
    """Run one normalised image (number ``number`` of the recording in trace mode).

    ``record`` keeps membranes; ``trace`` (words by map, as a capture holds them) replaces the recording; ``threads`` share it.
    """  # fmt: skip
    program, chip = mapped.program, mapped.program.chip
    if mode == "trace" and trace is None:
        trace = mapped.words(number)
    capture = Capture(chip, program.notes, trace if mode == "trace" else None, record)
    with mapped.memories.take() as memories:
        write_image(mapped, memories.dram, pixels)
        records = Simulation(chip, mapped.queues, memories, capture, threads=threads).run()
        logits = read_logits(program, memories.dram)
    if mapped.queues.prepare(chip, program.notes).conflicts(records):
        check_intervals(chip, mapped.queues, records)
    # Queues are in order and end together with the last instruction: that is the last logit's.
    return ImageRun(int(records["end"].max()), logits, records, capture.loads), capture


def write_image(mapped: Workload, dram: NDArray[np.uint8], pixels: NDArray[np.float64]) -> None:
    """Put the bit planes of a normalised image where the program expects them in DRAM."""
    note, place = mapped.program.notes["image"], image_bytes(mapped.program)
    rows = image_rows(mapped.network.quantise_image(pixels), note["planes"])
    dram[place.start : place.stop].reshape(note["rows"], -1)[:, : note["row_bytes"]] = rows


def read_logits(program: Program, dram: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The logits int64 [classes] that a run left in DRAM."""
    note, chip = program.notes["logits"], program.chip
    stride = -(-note["row_bytes"] // chip.dram_bus_bytes) * chip.dram_bus_bytes
    parts = []
    for place in sorted(note["words"], key=lambda entry: entry["word"]):
        data = dram[place["address"] : place["address"] + place["rows"] * stride].reshape(-1, stride)
        parts.append(integers_from_bytes(data, chip.membrane_bits, chip.neurons).reshape(-1))
    return np.concatenate(parts)[: note["classes"]]


def compare(mapped: Workload, pixels: NDArray[np.float64], capture: Capture, logits: NDArray[np.int64]) -> CheckResult:
    """Compare one image's spikes, membranes and logits with the integer reference."""
    network, notes = mapped.network, mapped.program.notes
    expected = reference.run(network, network.quantise_image(pixels))
    compared, differing = (
        dict.fromkeys(("spikes", "membranes", "logits"), 0),
        dict.fromkeys(("spikes", "membranes", "logits"), 0),
    )

    def add(kind: str, given: NDArray[np.generic], required: NDArray[np.generic]) -> None:
        compared[kind] += required.size
        differing[kind] += int(np.count_nonzero(given != required))

    written = {layer.spikes for layer in network.layers}  # a map that was turned on its way is stored nowhere else
    for layer in network.layers:
        if isinstance(layer, IntWindowAttention):
            written.add(layer.by_window)
            expected.spikes[layer.by_window] = expected.spikes[layer.spikes][:, layer.order]
    written &= set(notes["tensors"])
    for name, spikes in expected.spikes.items():
        if name not in written:
            continue
        shape = notes["tensors"][name]
        chip = mapped.program.chip.replace(lanes=shape["lanes"])
        add("spikes", from_words(chip, capture.words[name], shape["steps"], shape["channels"]), spikes)
    for given, required in ((capture.inputs, expected.inputs), (capture.levels, expected.potentials)):
        for name, values in required.items():
            add("membranes", given[name][:, :, : values.shape[2]], values)
    for layer in network.layers:
        if isinstance(layer, IntPlanes):
            words = capture.words[layer.spikes]
            planes = from_words(
                mapped.program.chip.replace(lanes=1), words[..., :1], layer.planes, len(expected.operand)
            )
            weights = 1 << np.arange(layer.planes - 1, -1, -1, dtype=np.int64)
            weights[0] = -weights[0]
            add("membranes", np.tensordot(weights, planes[:, 0].astype(np.int64), 1), expected.operand)
    add("logits", logits, expected.logits)
    return CheckResult(compared, differing)


def _add(checks: list[CheckResult]) -> CheckResult:
    kinds = list(checks[0].compared)
    return CheckResult(
        {kind: sum(check.compared[kind] for check in checks) for kind in kinds},
        {kind: sum(check.differing[kind] for check in checks) for kind in kinds},
    )


def _provenance(mapped: Workload, mode: str, images: int) -> dict[str, object]:
    """What a reader needs to repeat the run."""
    packages = ("archsim", "numpy", "numba", "safetensors")
    return {
        "workload": mapped.config.model_dump(), "mode": mode, "images": images,
        "program_sha256": mapped.program.notes["sha256"], "artefact_sha256": mapped.trained and mapped.trained.manifest["sha256"],
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "image": IMAGE, "decode_cycles": sequencer.DECODE,
    }  # fmt: skip
