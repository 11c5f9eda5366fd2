"""Train the small spike-driven transformer with experts in the form of the published code's, and write an artefact.

    python -m workloads.training.spiking_moe_weighed --out DIR [--epochs N] [--seed S]

One expert a token, with room for all; the softmax of the gate weighs its result; experts of expansion 1 add their input; all but
the first run for one time step. All else is that of :mod:`workloads.training.spiking_moe`, and was set before anything was trained.
No artefact of it is committed: it measures what the softmax costs in integers (docs/networks.md).
"""

from __future__ import annotations

from workloads.training.command import run
from workloads.training.models_spiking_moe import SpikingMoe, WeighedConfig
from workloads.training.spiking_moe import DEFAULT_EPOCHS, PAPER, UNSCALED

if __name__ == "__main__":
    run("spiking_moe", PAPER, SpikingMoe, WeighedConfig(), DEFAULT_EPOCHS, UNSCALED, script="spiking_moe_weighed")
