"""The command line that the training scripts share: train a network, write its artefact, print what it scored."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from workloads.training.digits import TrainConfig, configure_determinism, load_split, train
from workloads.training.export import write_artefact

ARTEFACTS = Path(__file__).resolve().parents[1] / "artefacts"
SPLIT_SEED = 0
TRACED_IMAGES = 32


class Config(Protocol):
    """Sizes of a network."""

    def as_dict(self) -> dict[str, Any]:
        """As the manifest has them."""


def describe(
    family: str, script: str, paper: str, config: Config, model: nn.Module, training: TrainConfig, own: Mapping[str, Any]
) -> dict[str, Any]:
    """The network's part of the manifest; all batch norms of ``model`` must have one epsilon."""
    (eps,) = {module.eps for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)}
    return {
        "family": family, "name": f"{script}_digits", "paper": paper, "hyperparameters": config.as_dict(), **own,
        "batch_norm_eps": eps, "training": asdict(training),
        "command": f"python -m workloads.training.{script} --epochs {training.epochs} --seed {training.seed}",
    }  # fmt: skip


def run(
    family: str,
    paper: str,
    network: Callable[[Any], nn.Module],
    config: Config,
    epochs: int,
    own: Mapping[str, Any] | None = None,
    configure: Callable[..., TrainConfig] = TrainConfig,
    traced: int = TRACED_IMAGES,
    script: str | None = None,
) -> None:
    """Parse the command line, train ``network(config)``, write it, and print its scores.

    A network's ``penalty()``, if it has one, is added to the loss.
    ``family`` is that of the manifest, and of the script and the artefact's folder unless ``script`` names another; ``own`` what
    only this family's manifest has; ``epochs`` is the default of the option; ``configure`` is given epochs and seed; of ``traced``
    test images the spikes are kept.
    """
    parser = argparse.ArgumentParser(description="Train a small network on scikit-learn's digits.")
    parser.add_argument("--out", type=Path, help="artefact folder to write (default: the committed one)")
    parser.add_argument("--epochs", type=int, default=epochs, help="passes over the training images")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and shifts; not the split")
    arguments = parser.parse_args()
    training = configure(epochs=arguments.epochs, seed=arguments.seed)
    configure_determinism(training.seed)
    split, model = load_split(SPLIT_SEED), network(config)
    about = describe(family, script or family, paper, config, model, training, own or {})
    train(model, split.train, training, getattr(model, "penalty", None))
    manifest = write_artefact(arguments.out or ARTEFACTS / about["name"], model, split, traced, about)
    for part, score in manifest["accuracy"].items():
        print(f"{part:5} {score['correct']:4} of {score['total']:4} correct, {100 * score['accuracy']:.2f} %")
