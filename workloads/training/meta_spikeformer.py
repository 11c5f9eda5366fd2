"""Train the small Meta-SpikeFormer on the bundled digits and write its artefact.

    python -m workloads.training.meta_spikeformer [--out DIR] [--epochs N] [--seed S]

The defaults reproduce ``workloads/artefacts/meta_spikeformer_digits`` (some thirteen minutes of one thread) as
:mod:`workloads.training.spikingformer` says of its own. The network learns nothing from PyTorch's initial norms; what it starts
from instead is in :class:`~workloads.training.models_meta_spikeformer.MetaSpikeformer`, and gradients are clipped. The test images
are evaluated once, at the end.
"""

from __future__ import annotations

from functools import partial

from workloads.training.command import run
from workloads.training.digits import ClippedTrainConfig
from workloads.training.models_meta_spikeformer import MetaSpikeformer, MetaSpikeformerConfig

PAPER = "arXiv 2404.03663; module names of BICLab/Spike-Driven-Transformer-V2, classification/models.py"
DEFAULT_EPOCHS = 80
MAX_LEARNING_RATE = 5e-3

if __name__ == "__main__":
    shape = MetaSpikeformerConfig()
    facts, configure = (
        {"attention_scale": shape.attention_scale},
        partial(ClippedTrainConfig, max_learning_rate=MAX_LEARNING_RATE),
    )
    run("meta_spikeformer", PAPER, MetaSpikeformer, shape, DEFAULT_EPOCHS, facts, configure)
