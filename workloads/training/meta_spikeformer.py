"""Train the small Meta-SpikeFormer on the bundled digits and write its artefact.

    python -m workloads.training.meta_spikeformer [--out DIR] [--epochs N] [--seed S]

The defaults reproduce ``workloads/artefacts/meta_spikeformer_digits`` (some thirteen minutes of one thread) as
:mod:`workloads.training.spikingformer` says of its own. The network learns nothing from PyTorch's initial norms; what it starts
from instead is in :class:`~workloads.training.models_meta_spikeformer.MetaSpikeformer`, and gradients are clipped. The test images
are evaluated once, at the end.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

from workloads.training.command import run
from workloads.training.digits import ClippedTrainConfig, TrainConfig
from workloads.training.models_meta_spikeformer import MetaSpikeformer, MetaSpikeformerConfig

DEFAULT_EPOCHS = 80
MAX_LEARNING_RATE = 5e-3


def describe(config: MetaSpikeformerConfig, training: TrainConfig) -> dict[str, Any]:
    """Return the network's own part of the manifest."""
    return {
        "family": "meta_spikeformer",
        "name": "meta_spikeformer_digits",
        "paper": "arXiv 2404.03663; module names of BICLab/Spike-Driven-Transformer-V2, classification/models.py",
        "hyperparameters": config.as_dict(),
        "attention_scale": config.attention_scale,
        "batch_norm_eps": MetaSpikeformer(config).downsample1_1.encode_bn.eps,
        "training": asdict(training),
        "command": f"python -m workloads.training.meta_spikeformer --epochs {training.epochs} --seed {training.seed}",
    }


if __name__ == "__main__":
    shape = MetaSpikeformerConfig()
    configure = partial(ClippedTrainConfig, max_learning_rate=MAX_LEARNING_RATE)
    run(partial(MetaSpikeformer, shape), partial(describe, shape), DEFAULT_EPOCHS, configure)
