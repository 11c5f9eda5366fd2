"""Does the chip compute the network? Against the integer reference (NumPy matrix products), and in accuracy."""

from dataclasses import replace

import numpy as np
import pytest

import archsim
from archsim import simulate
from archsim.config import load_chip, load_workload
from archsim.workload import read
from mapping import reference

CHIPS = [
    "small", "small_t4", "small_complete", "small_normaliser", "adders_128", "adders_512", "adders_512_half", "adders_512_maximum",
    "adders_512_t4", "adders_512_experts", "adders_512_transposer", "adders_512_masked", "scale_out",
]  # fmt: skip


@pytest.mark.parametrize("chip", CHIPS)
def test_every_spike_membrane_and_logit_equals_the_reference(workload_file, chip):
    result = archsim.run(workload_file, chip=chip, images=5, check=True)
    assert result.check.differing == {"spikes": 0, "membranes": 0, "logits": 0}
    # Spikes per image: 16 x 4 positions and steps x (32 + 64 channels of the tokenizer, of which the last 64 are
    # block.0's input, + per block 3 x 64 q k v + 64 attention + 64 mlp1 + 256 mlp2, + 64 input of block 1).
    per_image = 16 * 4 * (32 + 64 + 2 * (3 * 64 + 64 + 64 + 256) + 64)
    assert result.check.compared["spikes"] == 5 * per_image
    assert result.check.compared["logits"] == 5 * 10
    assert result.check.compared["membranes"] > 2 * per_image


def test_the_chip_is_as_accurate_as_the_float_network(workload_file, mapped):
    count = len(mapped("adders_128").trained.labels)
    result = archsim.run(workload_file, chip="adders_128", images=count)
    assert count == 360
    assert result.accuracy >= 0.96
    assert abs(result.accuracy - result.accuracy_float) <= 0.005


@pytest.mark.parametrize("chip", ["small", "adders_512_t4"])
@pytest.mark.parametrize("family", ["spikformer", "meta_spikeformer"])
def test_the_other_families_equal_the_reference(workload_file, family, chip):
    result = archsim.run(workload_file.with_stem(family), chip=chip, images=1, check=True)
    assert result.check.differing == {"spikes": 0, "membranes": 0, "logits": 0}
    assert result.check.compared["spikes"] > 50_000


@pytest.mark.parametrize("family", ["spikformer", "meta_spikeformer"])
def test_the_integers_of_the_other_families_are_as_accurate_as_their_float_network(workload_file, family):
    """By the reference, to which the test above holds the chip; on all 360 test images."""
    chip, place = load_chip("adders_128"), workload_file.with_stem(family)
    sources = read(place, load_workload(place), chip, "execute")
    network, pixels = sources.network, sources.trained.normalised()
    logits = [reference.run(network, network.quantise_image(image)).logits for image in pixels]
    accuracy = np.mean(np.argmax(logits, 1) == sources.trained.labels)
    assert abs(accuracy - sources.trained.manifest["accuracy"]["test"]["accuracy"]) <= 0.005


def test_a_wrong_weight_is_found(mapped):
    """One weight bit flipped in DRAM: the comparison is not vacuous."""
    workload = mapped("small")
    dram = workload.program.dram.copy()
    load = next(head for head in workload.queues[0] if head["memory"] == 0 and head["opcode"] == 1)
    dram[load["dram_address"] + 5 * 16] ^= 0x40
    broken = replace(workload, program=replace(workload.program, dram=dram))
    pixels = workload.trained.normalised()[0]
    image, capture = simulate.run_image(broken, pixels, 0, record=True)
    check = simulate.compare(broken, pixels, capture, image.logits)
    assert check.differing["membranes"] > 0


def test_the_same_input_gives_the_same_run(workload_file):
    first, second = (archsim.run(workload_file, chip="small", images=2) for _ in range(2))
    for one, other in zip(first.images, second.images, strict=True):
        assert np.array_equal(one.records, other.records)
        assert np.array_equal(one.logits, other.logits)
    assert first.program.notes["sha256"] == second.program.notes["sha256"]
