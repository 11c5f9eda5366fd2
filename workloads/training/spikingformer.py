"""Train the small Spikingformer on the bundled digits and write its artefact.

    python -m workloads.training.spikingformer [--out DIR] [--epochs N] [--seed S]

The defaults reproduce ``workloads/artefacts/spikingformer_digits`` (about two minutes on one thread), to the
byte with the versions in its manifest on the same type of CPU; elsewhere sums round differently and the
accuracy may move by an image or two. Choices (epochs, augmentation) were made by repeated validation
within the training and validation images; the test images are evaluated once, at the end.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

from workloads.training.command import run
from workloads.training.digits import TrainConfig
from workloads.training.models import Spikingformer, SpikingformerConfig

DEFAULT_EPOCHS = 60


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


if __name__ == "__main__":
    shape = SpikingformerConfig()
    run(partial(Spikingformer, shape), partial(describe, shape), DEFAULT_EPOCHS)
