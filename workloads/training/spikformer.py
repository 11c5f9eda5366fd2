"""Train the small Spikformer on the bundled digits and write its artefact.

    python -m workloads.training.spikformer [--out DIR] [--epochs N] [--seed S]

The defaults reproduce ``workloads/artefacts/spikformer_digits`` (about two minutes on one thread) as
:mod:`workloads.training.spikingformer` says of its own. Sizes, epochs and augmentation are those of that network, so
nothing was chosen here; the test images are evaluated once, at the end.
"""

from __future__ import annotations

from typing import Any

from workloads.training.command import run
from workloads.training.models import SpikingformerConfig
from workloads.training.models_spikformer import Spikformer

PAPER = "arXiv 2209.15425; module names of ZK-Zhou/spikformer, imagenet/model.py"
DEFAULT_EPOCHS = 60


def tokenizer_stages(config: SpikingformerConfig) -> list[dict[str, Any]]:
    """List the tokenizer's convolutions in order; each is followed by its ``lif`` and then its ``pool``."""
    conv = {"kernel": 3, "stride": 1, "padding": 1, "bias": False}
    pool = {"kind": "max", "kernel": 3, "stride": 2, "padding": 1}
    channels = (config.in_channels, config.stem_channels, config.dim, config.dim)
    suffixes = ("proj_{}", "proj_{}1", "rpe_{}")
    return [
        {
            **{part: suffix.format(part) for part in ("conv", "bn", "lif")},
            "cin": cin,
            "cout": cout,
            **conv,
            "pool": None if number else pool,
        }
        for number, (suffix, cin, cout) in enumerate(zip(suffixes, channels[:-1], channels[1:], strict=True))
    ]


if __name__ == "__main__":
    shape = SpikingformerConfig()
    facts = {"tokenizer": tokenizer_stages(shape), "attention_scale": shape.attention_scale}
    run("spikformer", PAPER, Spikformer, shape, DEFAULT_EPOCHS, facts)
