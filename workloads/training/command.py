"""The command line that the training scripts share: train a network, write its artefact, print what it scored."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from workloads.training.digits import TrainConfig, configure_determinism, load_split, train
from workloads.training.export import write_artefact

ARTEFACTS = Path(__file__).resolve().parents[1] / "artefacts"
SPLIT_SEED = 0
TRACED_IMAGES = 32


def run(
    make: Callable[[], nn.Module],
    describe: Callable[[TrainConfig], dict[str, Any]],
    epochs: int,
    configure: Callable[..., TrainConfig] = TrainConfig,
    traced: int = TRACED_IMAGES,
) -> None:
    """Parse the command line, train what ``make`` gives, write it, and print its scores.

    A network's ``penalty()``, if it has one, is added to the loss.
    ``describe`` gives the network's own part of the manifest, whose ``name`` is the artefact's folder by default;
    ``epochs`` is the default of the option; ``configure`` is given epochs and seed; of ``traced`` test images the spikes are kept.
    """
    parser = argparse.ArgumentParser(description="Train a small network on scikit-learn's digits.")
    parser.add_argument("--out", type=Path, help="artefact folder to write (default: the committed one)")
    parser.add_argument("--epochs", type=int, default=epochs, help="passes over the training images")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and shifts; not the split")
    arguments = parser.parse_args()
    training = configure(epochs=arguments.epochs, seed=arguments.seed)
    configure_determinism(training.seed)
    split, model, about = load_split(SPLIT_SEED), make(), describe(training)
    train(model, split.train, training, getattr(model, "penalty", None))
    manifest = write_artefact(arguments.out or ARTEFACTS / about["name"], model, split, traced, about)
    for part, score in manifest["accuracy"].items():
        print(f"{part:5} {score['correct']:4} of {score['total']:4} correct, {100 * score['accuracy']:.2f} %")
