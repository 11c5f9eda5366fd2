"""Train the small Spiking MLP on the bundled digits and write its artefact.

    python -m workloads.training.spiking_mlp [--out DIR] [--epochs N] [--seed S]

The defaults reproduce ``workloads/artefacts/spiking_mlp_digits`` (some minutes of one thread) as
:mod:`workloads.training.spikingformer` says of its own. Epochs and augmentation are those of that network. The sizes were chosen by
the validation images, float and in integers, after a narrower network with two blocks in each stage had been trained and evaluated.
"""

from __future__ import annotations

from workloads.training.command import run
from workloads.training.models_spiking_mlp import SpikingMlp, SpikingMlpConfig

PAPER = "Li et al., IEEE TNNLS 2024; module names of EMI-Group/mixer-snn, mixers_sparse_patchcell_origin.py"
DEFAULT_EPOCHS = 60

if __name__ == "__main__":
    run("spiking_mlp", PAPER, SpikingMlp, SpikingMlpConfig(), DEFAULT_EPOCHS)
