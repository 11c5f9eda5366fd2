"""What the softmax that weighs experts costs in integers: test images right with weights of so many signed digits.

    python -m workloads.training.spiking_moe_weighed --out DIR
    python -m scripts.weighing DIR [--images N]

The integer reference of the network in DIR, once for each number of digits; two are what the mapper takes. ``all``: as many as the
8 bits of a weight have.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.vector import ALL_DIGITS
from mapping import reference
from mapping.experts import IntExperts
from mapping.importers import artefact
from mapping.importers.spike_driven_transformer import read_experts
from mapping.quantise import IntNetwork, Precision, quantise

DIGITS = (ALL_DIGITS, 3, 2, 1)


def with_digits(network: IntNetwork, digits: int) -> IntNetwork:
    """The network whose weights of experts have at most so many digits."""
    layers = [
        replace(layer, weigh=replace(layer.weigh, digits=digits)) if isinstance(layer, IntExperts) and layer.weigh else layer
        for layer in network.layers
    ]  # fmt: skip
    return replace(network, layers=tuple(layers))


def classes(network: IntNetwork, images: list[NDArray[np.float64]]) -> NDArray[np.int64]:
    """The class that the integer reference gives each image, int64 [images]."""
    return np.array([reference.run(network, network.quantise_image(pixels)).logits.argmax() for pixels in images])


def rows(folder: Path, count: int | None) -> Iterator[str]:
    """Lines of the table, of the first ``count`` test images (None: all)."""
    trained = artefact.load(folder)
    images, labels = list(trained.normalised()[:count]), trained.labels[:count]
    network = quantise(read_experts(trained), Precision())
    score = trained.manifest["accuracy"]["test"]
    yield f"float network: {score['correct']} of {score['total']} test images right; integers, of the first {len(images)}:"
    yield "digits   right   other class than with all"
    first: NDArray[np.int64] | None = None
    for digits in DIGITS:
        found = classes(with_digits(network, digits), images)
        first = found if first is None else first
        name = "all" if digits == ALL_DIGITS else digits
        yield f"{name:<9}{(found == labels).sum():<8}{(found != first).sum()}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Weights of experts in integers: digits and test images right.")
    parser.add_argument("folder", type=Path, help="artefact of workloads.training.spiking_moe_weighed")
    parser.add_argument("--images", type=int, help="test images (default: all)")
    arguments = parser.parse_args()
    for line in rows(arguments.folder, arguments.images):
        print(line, flush=True)


if __name__ == "__main__":
    main()
