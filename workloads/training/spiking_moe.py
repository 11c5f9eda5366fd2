"""Train the small spike-driven transformer with experts on the bundled digits and write its artefact.

    python -m workloads.training.spiking_moe [--out DIR] [--epochs N] [--seed S]

The defaults reproduce ``workloads/artefacts/spiking_moe_digits`` as :mod:`workloads.training.spikingformer` says of its own, in
some minutes on one thread. Sizes, epochs, capacity and the weight of the losses on balance and entropy (0.01, that of the
published substitute) were set before anything was trained; the test images are evaluated once, at the end.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

from workloads.training.command import run
from workloads.training.digits import TrainConfig
from workloads.training.models_spiking_moe import SpikeDrivenTransformer, SpikingMoe, SpikingMoeConfig

DEFAULT_EPOCHS = 40


def describe(family: str, paper: str, config: SpikingMoeConfig, training: TrainConfig) -> dict[str, Any]:
    """Return the network's own part of the manifest."""
    return {
        "family": family,
        "name": f"{family}_digits",
        "paper": paper,
        "hyperparameters": config.as_dict(),
        "attention_scale": 1.0,  # there is none
        "batch_norm_eps": SpikeDrivenTransformer(config).patch_embed.proj_bn.eps,
        "training": asdict(training),
        "command": f"python -m workloads.training.{family} --epochs {training.epochs} --seed {training.seed}",
    }


PAPER = (
    "inspired by arXiv 2605.23188, whose code is not published; "
    "module names of HyunseokErikJung/Spike-Driven-Transformer_MoE, module/sps.py and module/ms_conv.py"
)

if __name__ == "__main__":
    shape = SpikingMoeConfig()
    run(partial(SpikingMoe, shape), partial(describe, "spiking_moe", PAPER, shape), DEFAULT_EPOCHS)
