"""Does the script about chains of convolutions count both of their forms, and say why one is refused?"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from archsim import simulate
from archsim.config import load_chip
from archsim.energy import energy_pj
from mapping.importers import artefact
from mapping.ir import Map, Part
from mapping.networks.meta_spikeformer import PUBLISHED, MetaSpikeformer
from scripts import chains

WORKLOADS = Path(__file__).parents[2] / "workloads"

TINY = MetaSpikeformer(
    "tiny", (16, 32, 32, 32), (1, 1), heads=2, classes=10, image=Map(8, 8, 3), strides=(1, 2, 1, 1, 1), sep_kernels=(3, 3, 3, 3)
)


def test_weight_rows_of_both_forms():
    """32 channels in words of 16: 2 x 32 x 9 rows merged; 2 x 32 on spikes, then 9 x 32 and 2 x 32 rows for 4 ones of 8 bits."""
    found = {choice.name: choice for choice in chains.choices(TINY, 16, 0.1)}
    assert len(found) == 4 + 2 * 4
    rep = found["block3.0.attn.q_conv"]
    assert (rep.merged, rep.separate, rep.equal) == (pytest.approx(57.6), pytest.approx(6.4 + 352 * 4), None)
    sep = found["ConvBlock2_1.0.Conv.pwconv2"]  # 32 channels, 64 inside: 2 x 64 x 9 rows; 9 x 64 on spikes, then 2 x 64
    assert (sep.merged, sep.separate) == (pytest.approx(115.2), pytest.approx(57.6 + 512))
    assert sep.equal == pytest.approx(512 / 576)


def test_what_the_separate_form_takes_at_least():
    """Rows of all positions and time steps over two cores; its parts' weights once; the energy of both, by the chip's model."""
    chip = load_chip("small")
    rep = next(choice for choice in chains.choices(TINY, 16, 0.1) if choice.name == "block3.0.attn.q_conv")
    rows, size = (6.4 + 352 * 4) * 4 * 4 * 4, 32 * 32 + 9 * 32 + 32 * 32
    cycles, read, mj = rep.least(chip)
    assert (cycles, read) == (pytest.approx(rows / 2), size)
    counts = {"weight_reads": round(rows), "additions": round(16 * rows), "dram_bytes": size}
    assert mj == pytest.approx(sum(energy_pj(chip, counts, 0).values()) * 1e-9)
    assert rep.text(chip, (cycles, read, mj)) == "merged; separate, refused, takes more of all"
    assert rep.text(chip, (cycles + 1, read, 2 * mj)) == "merged; separate, refused, might take less: cycles, mJ"
    assert replace(rep, refused=None).text(chip, (0, read + 1, 0)) == "separate might take less: DRAM bytes"


def test_the_table_has_every_chain_measured_and_refused_by_name(monkeypatch):
    monkeypatch.setitem(PUBLISHED, "tiny", TINY)
    found = list(chains.choices(TINY, 16, 0.1))
    lines = list(chains.table(found, chains.run("tiny", "small", 0.1), load_chip("small")))
    assert len(lines) == 2 + len(found)
    assert all("merged; separate, refused, " in line for line in lines[2:])
    assert {choice.refused for choice in found} == {"a chain of convolutions without a neuron between them; merge it into one"}


def test_parts_are_rounded_by_channel():
    weight = np.array([[[[1.0]], [[0.4]]], [[[-0.01]], [[0.004]]], [[[0.0]], [[0.0]]]])
    part = chains.rounded(Part("p", weight, np.ones(3)), 3)  # three steps each side
    assert part.weight[:, :, 0, 0].tolist() == [[1, pytest.approx(1 / 3)], [pytest.approx(-0.01), pytest.approx(0.01 / 3)], [0, 0]]


def test_accuracy_of_parts_that_are_rounded_first(monkeypatch):
    """The merged form is the network that the workload runs: its logits decide the same digits."""
    whole = artefact.Artefact.normalised
    monkeypatch.setattr(artefact.Artefact, "normalised", lambda trained: whole(trained)[:8])
    merged, apart, images = chains.accuracies(WORKLOADS / "meta_spikeformer.yaml")
    assert images == 8 and merged == simulate.run(WORKLOADS / "meta_spikeformer.yaml", images=8).accuracy
    exact = chains.rounded
    monkeypatch.setattr(chains, "rounded", lambda part, bits: exact(part, 2))
    again, coarse, _ = chains.accuracies(WORKLOADS / "meta_spikeformer.yaml")
    assert again == merged and coarse < apart  # -1, 0 and 1 are seen to be too coarse
