"""Train the small Spikingformer on the bundled digits and write its artefact.

    python -m workloads.training.spikingformer [--out DIR] [--epochs N] [--seed S]

The defaults reproduce ``workloads/artefacts/spikingformer_digits`` (about two minutes on one thread), to the
byte with the versions in its manifest on the same type of CPU; elsewhere sums round differently and the
accuracy may move by an image or two. Choices (epochs, augmentation) were made by repeated validation
within the training and validation images; the test images are evaluated once, at the end.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workloads.training.digits import TrainConfig, configure_determinism, load_split, train
from workloads.training.export import write_artefact
from workloads.training.models import Spikingformer, SpikingformerConfig

DEFAULT_OUT = Path(__file__).resolve().parents[1] / "artefacts" / "spikingformer_digits"
DEFAULT_EPOCHS = 60
SPLIT_SEED = 0
TRACED_IMAGES = 32


def tokenizer_stages(config: SpikingformerConfig) -> list[dict[str, Any]]:
    """List the tokenizer's convolutions in order; each is preceded by its ``lif`` and then its ``pool``."""
    conv = {"kernel": 3, "stride": 1, "padding": 1, "bias": False}
    pool = {"kind": "max", "kernel": 3, "stride": 2, "padding": 1}
    stem = config.stem_channels
    return [
        {
            "name": "proj_conv",
            "bn": "proj_bn",
            "kind": "analog",
            "cin": config.in_channels,
            "cout": stem,
            **conv,
            "lif": None,
            "pool": None,
        },
        {
            "name": "proj1_conv",
            "bn": "proj1_bn",
            "kind": "spike",
            "cin": stem,
            "cout": config.dim,
            **conv,
            "lif": "proj1_lif",
            "pool": pool,
        },
    ]


def describe(config: SpikingformerConfig, training: TrainConfig) -> dict[str, Any]:
    """Return the network's own part of the manifest."""
    model = Spikingformer(config)
    return {
        "family": "spikingformer",
        "name": "spikingformer_digits",
        "paper": "arXiv 2304.11954; module names of zhouchenlin2096/Spikingformer, imagenet/model.py",
        "hyperparameters": config.as_dict(),
        "tokenizer": tokenizer_stages(config),
        "attention_scale": config.attention_scale,
        "batch_norm_eps": model.patch_embed.proj_bn.eps,
        "training": asdict(training),
        "command": f"python -m workloads.training.spikingformer --epochs {training.epochs} --seed {training.seed}",
    }


def main() -> None:
    """Parse the command line, train, write, and print what the network scored."""
    parser = argparse.ArgumentParser(description="Train the small Spikingformer on scikit-learn's digits.")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="artefact folder to write")
    parser.add_argument("--epochs", type=int, default=DEFAULT_EPOCHS, help="passes over the training images")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and shifts; not the split")
    arguments = parser.parse_args()
    config = SpikingformerConfig()
    training = TrainConfig(epochs=arguments.epochs, seed=arguments.seed)
    configure_determinism(training.seed)
    split, model = load_split(SPLIT_SEED), Spikingformer(config)
    train(model, split.train, training)
    manifest = write_artefact(arguments.out, model, split, TRACED_IMAGES, describe(config, training))
    for part, score in manifest["accuracy"].items():
        print(f"{part:5} {score['correct']:4} of {score['total']:4} correct, {100 * score['accuracy']:.2f} %")


if __name__ == "__main__":
    main()
