"""A norm by token without a multiplier: what its copies of the weights cost, and what rounding its scales does to the accuracy.

    python -m scripts.token_norm [--workload WORKLOAD] [--chip CHIP] [--classes N ...] [--rest]

For each number of classes (copies of the weights at most) the network is quantised and mapped anew: images that the integers
classify correctly (by the reference; all test images, or with ``--rest`` those of training and validation), copies by layer, bytes
that the layers with such norms load from DRAM for weights and for parameters, and instructions of the busiest core. The float
network's count stands above.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archsim.config import load_chip, load_workload
from archsim.contracts import dma, sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.program import Program
from archsim.kernel import decode
from archsim.workload import FAMILIES
from mapping import reference
from mapping.importers.artefact import Artefact, load
from mapping.quantise import Precision, quantise
from mapping.schedule import schedule
from mapping.token_norm import IntTokenSynapse

WORKLOAD = Path("workloads/spiking_mlp.yaml")
CLASSES = (1, 2, 4, 8, 16)


def loaded(program: Program, layers: set[int], memory: int) -> int:
    """Bytes that the LOADs of some layers bring into a memory."""
    notes = program.notes["instructions"][str(sequencer.DMA)]
    return sum(
        int(head["rows"]) * int(head["row_bytes"])
        for head, note in zip(decode(program)[sequencer.DMA], notes, strict=False)
        if head["opcode"] == sequencer.LOAD and head["memory"] == memory and note["layer"] in layers
    )


def images(artefact: Artefact, rest: bool) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Normalised images and labels: the test images of an artefact, or the ``rest`` of the digits."""
    if not rest:
        return artefact.normalised(), artefact.labels
    from workloads.training.digits import load_split  # imports torch, of the training extra; only this choice needs it

    split = load_split(artefact.manifest["data"]["split_seed"])
    labels = np.concatenate([split.train.labels, split.val.labels]).astype(np.int64)
    others = replace(artefact, images=np.concatenate([split.train.images, split.val.images]), labels=labels)
    return others.normalised(), labels


def rows(
    artefact: Artefact, precision: Precision, chip: ChipParams, classes: tuple[int, ...], rest: bool = False
) -> Iterator[str]:
    """Lines of the table."""
    float_network = FAMILIES[artefact.manifest["family"]](artefact)
    scores = [artefact.manifest["accuracy"][part] for part in (("train", "val") if rest else ("test",))]
    pixels, labels = images(artefact, rest)
    correct, total = (sum(score[name] for score in scores) for name in ("correct", "total"))
    yield f"float: {correct} of {total} {'other' if rest else 'test'} images"
    yield f"{'classes':>7} {'correct':>8} {'copies by layer':<28} {'weight bytes':>12} {'parameter bytes':>15} {'instructions':>12}"
    for count in classes:
        network = quantise(float_network, precision, count)
        guesses = [reference.run(network, network.quantise_image(image)).logits.argmax() for image in pixels]
        correct = int(np.sum(np.array(guesses) == labels))
        program = schedule(network, chip)
        tokens = {number: layer for number, layer in enumerate(network.layers) if isinstance(layer, IntTokenSynapse)}
        copies = " ".join(str(len(layer.copies)) for layer in tokens.values())
        weights, params = (loaded(program, set(tokens), memory) for memory in (dma.WEIGHT, dma.PARAM))
        longest = max(len(queue) for engine, queue in program.queues.items() if engine >= sequencer.CORE0)
        yield f"{count:>7} {correct:>8} {copies:<28} {weights:>12,} {params:>15,} {longest:>12,}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Norms by token: classes of scales, accuracy and cost.")
    parser.add_argument("--workload", type=Path, default=WORKLOAD, help="workload file of a trained network")
    parser.add_argument("--chip", help="preset or chip file (default: the workload's)")
    parser.add_argument("--classes", type=int, nargs="+", default=CLASSES, help="copies of the weights at most")
    parser.add_argument("--rest", action="store_true", help="images of training and validation instead of the test images")
    arguments = parser.parse_args()
    try:
        config = load_workload(arguments.workload)
        chip = load_chip(arguments.chip or config.chip)
        bits = config.operand_bits
        precision = Precision(chip.weight_bits, bits.image, bits.head, chip.membrane_bits)
        for line in rows(load(config.artefact), precision, chip, tuple(arguments.classes), arguments.rest):
            print(line, flush=True)
    except ArchsimError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
