"""Train the small Spikingformer on the bundled digits and write its artefact.

    python -m workloads.training.spikingformer [--out DIR] [--epochs N] [--seed S]

The defaults reproduce ``workloads/artefacts/spikingformer_digits`` (about two minutes on one thread), to the
byte with the versions in its manifest on the same type of CPU; elsewhere sums round differently and the
accuracy may move by an image or two. Choices (epochs, augmentation) were made by repeated validation
within the training and validation images; the test images are evaluated once, at the end.
"""

from __future__ import annotations

from typing import Any

from workloads.training.command import run
from workloads.training.models import Spikingformer, SpikingformerConfig

PAPER = "arXiv 2304.11954; module names of zhouchenlin2096/Spikingformer, imagenet/model.py"
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


if __name__ == "__main__":
    shape = SpikingformerConfig()
    facts = {"tokenizer": tokenizer_stages(shape), "attention_scale": shape.attention_scale}
    run("spikingformer", PAPER, Spikingformer, shape, DEFAULT_EPOCHS, facts)
