"""Train the small spike-driven transformer, the dense baseline of the one with experts, and write its artefact.

    python -m workloads.training.spike_driven_transformer [--out DIR] [--epochs N] [--seed S]

Everything but the MLP is that of :mod:`workloads.training.spiking_moe`; the MLP is as large as all of a layer's experts together.
"""

from __future__ import annotations

from workloads.training.command import run
from workloads.training.models_spiking_moe import SpikeDrivenTransformer, SpikingMoeConfig
from workloads.training.spiking_moe import DEFAULT_EPOCHS, UNSCALED

PAPER = "arXiv 2307.01694; module names of BICLab/Spike-Driven-Transformer, module/sps.py and module/ms_conv.py"

if __name__ == "__main__":
    shape = SpikingMoeConfig(mlp_ratio=4, experts=0, choices=0, capacity=0, penalty_weight=0.0)
    run("spike_driven_transformer", PAPER, SpikeDrivenTransformer, shape, DEFAULT_EPOCHS, UNSCALED)
