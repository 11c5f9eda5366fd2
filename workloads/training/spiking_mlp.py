"""Train the small Spiking MLP on the bundled digits and write its artefact.

    python -m workloads.training.spiking_mlp [--out DIR] [--epochs N] [--seed S]

The defaults reproduce ``workloads/artefacts/spiking_mlp_digits`` (some minutes of one thread) as
:mod:`workloads.training.spikingformer` says of its own. Epochs and augmentation are those of that network. The sizes were chosen by
the validation images, float and in integers, after a narrower network with two blocks in each stage had been trained and evaluated.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

from workloads.training.command import run
from workloads.training.digits import TrainConfig
from workloads.training.models_spiking_mlp import SpikingMlp, SpikingMlpConfig

DEFAULT_EPOCHS = 60


def describe(config: SpikingMlpConfig, training: TrainConfig) -> dict[str, Any]:
    """Return the network's own part of the manifest."""
    return {
        "family": "spiking_mlp",
        "name": "spiking_mlp_digits",
        "paper": "Li et al., IEEE TNNLS 2024; module names of EMI-Group/mixer-snn, mixers_sparse_patchcell_origin.py",
        "hyperparameters": config.as_dict(),
        "batch_norm_eps": SpikingMlp(config).batch_norm.eps,
        "training": asdict(training),
        "command": f"python -m workloads.training.spiking_mlp --epochs {training.epochs} --seed {training.seed}",
    }


if __name__ == "__main__":
    shape = SpikingMlpConfig()
    run(partial(SpikingMlp, shape), partial(describe, shape), DEFAULT_EPOCHS)
