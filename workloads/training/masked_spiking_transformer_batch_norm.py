"""Train the small Masked Spiking Transformer with a batch norm before the classifier: for chips that have no vector engine.

    python -m workloads.training.masked_spiking_transformer_batch_norm [--out DIR] [--epochs N] [--seed S]

All but that norm is as in :mod:`workloads.training.masked_spiking_transformer`; the artefact is
``workloads/artefacts/masked_spiking_transformer_batch_norm_digits``.
"""

from __future__ import annotations

from workloads.training.command import run
from workloads.training.masked_spiking_transformer import DEFAULT_EPOCHS, PAPER, TRACED_IMAGES
from workloads.training.models_masked_spiking_transformer import (
    BATCH,
    MaskedSpikingTransformer,
    MaskedSpikingTransformerConfig,
)

SCRIPT = "masked_spiking_transformer_batch_norm"

if __name__ == "__main__":
    shape = MaskedSpikingTransformerConfig(last_norm=BATCH)
    run(
        "masked_spiking_transformer", PAPER, MaskedSpikingTransformer, shape, DEFAULT_EPOCHS, traced=TRACED_IMAGES, script=SCRIPT
    )
