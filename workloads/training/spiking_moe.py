"""Train the small spike-driven transformer with experts on the bundled digits and write its artefact.

    python -m workloads.training.spiking_moe [--out DIR] [--epochs N] [--seed S]

The defaults reproduce ``workloads/artefacts/spiking_moe_digits`` as :mod:`workloads.training.spikingformer` says of its own, in
some minutes on one thread. Sizes, epochs, capacity and the weight of the losses on balance and entropy (0.01, that of the
published substitute) were set before anything was trained; the test images are evaluated once, at the end.
"""

from __future__ import annotations

from workloads.training.command import run
from workloads.training.models_spiking_moe import SpikingMoe, SpikingMoeConfig

DEFAULT_EPOCHS = 40

UNSCALED = {"attention_scale": 1.0}
"""Attention without a factor, as the manifest has it."""

PAPER = (
    "inspired by arXiv 2605.23188, whose code is not published; "
    "module names of HyunseokErikJung/Spike-Driven-Transformer_MoE, module/sps.py and module/ms_conv.py"
)

if __name__ == "__main__":
    run("spiking_moe", PAPER, SpikingMoe, SpikingMoeConfig(), DEFAULT_EPOCHS, UNSCALED)
