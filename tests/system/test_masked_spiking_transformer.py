"""Does the small Masked Spiking Transformer run: equal to the reference, cycle by cycle, replayed, masked or not, as accurate?"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from archsim import simulate
from archsim.config import load_chip, load_workload
from archsim.contracts import sequencer
from archsim.contracts.common.errors import ArchsimError
from archsim.tensors import to_words
from archsim.workload import Workload, trained_network
from mapping.context import Limits
from mapping.importers import artefact
from mapping.networks.masked_spiking_transformer import masked
from mapping.quantise import Precision, quantise
from mapping.schedule import schedule
from mapping.window_attention import IntWindowAttention, K, Q, on_chip
from tests.mapping.heights import Floats
from tests.system.test_stepped import same
from tests.system.test_trace import replays

WORKLOADS = Path(__file__).parents[2] / "workloads"
CHIP = load_chip("small_normaliser")
WIDE = CHIP.replace(
    name="wide", columns=32, lanes=4, neurons=8, cores=3, attention_rows=512, spike_in_rows=1024, residual_rows=1024,
)  # fmt: skip
"""Words of two heads, four time steps a row."""


@cache
def workload(share, chip=CHIP, steps=16, limits=None, name="masked_spiking_transformer"):
    """The trained network of a workload with a share of its spikes masked, running for some steps."""
    config = load_workload(WORKLOADS / f"{name}.yaml")
    trained = artefact.load(config.artefact)
    network = replace(masked(trained_network(config, trained), share), timesteps=steps)
    bits = config.operand_bits
    integers = on_chip(quantise(network, Precision(chip.weight_bits, bits.image, bits.head, chip.membrane_bits)), chip)
    return Workload(config, integers, schedule(integers, chip, limits), trained)


def compared(whole):
    """What was compared of an image; fails if anything differs."""
    pixels = whole.images(1)[0]
    single, capture = simulate.run_image(whole, pixels, 0, record=True)
    result = simulate.compare(whole, pixels, capture, single.logits)
    assert result.differing == {"spikes": 0, "membranes": 0, "logits": 0}
    return result.compared


@pytest.mark.parametrize(
    ("share", "chip", "limits"),
    [
        (0.0, CHIP, None), (0.5, CHIP, None), (0.75, CHIP, Limits(positions=4, weight_rows=64)), (0.5, WIDE, None),
        (0.5, CHIP.replace(name="narrow", softmax_tokens=6), None),
    ],
    ids=["unmasked", "masked", "small pieces", "wide words", "a table of two heads"],
)  # fmt: skip
def test_every_spike_membrane_and_logit_equals_the_reference(share, chip, limits):
    result = compared(workload(share, chip, limits=limits))
    # 16 steps of 16 positions: patches, and two blocks of eight maps of 32 channels and one of 64. Then 4 positions, twice that.
    assert result["spikes"] == 16 * (16 * 32 + 2 * 16 * (8 * 32 + 64) + 4 * 64 + 2 * 4 * (8 * 64 + 128))


def test_with_a_batch_norm_before_the_classifier_it_runs_without_a_normaliser():
    """The layer norm has its results beside the stream: those of 16 steps of 4 tokens of 64 channels."""
    chip = load_chip("small_complete")
    others = compared(workload(0.5, chip, name="masked_spiking_transformer_batch_norm"))
    mine = compared(workload(0.5))
    assert others["spikes"] == mine["spikes"]
    assert mine["membranes"] - others["membranes"] == 16 * 4 * 64


def test_a_layer_norm_needs_a_normaliser():
    with pytest.raises(ArchsimError, match="layer 'norm': a layer norm, .* given 'small_complete' with 0; use .* small_normaliser"):
        workload(0.5, load_chip("small_complete"))


def test_masks_take_the_place_of_copies():
    """A MASK for every position and word of q and k: 16 of two words and 4 of four, two blocks each."""
    opcodes = {
        share: [head["opcode"] for queue in workload(share).queues.values() for head in queue] for share in (0.0, 0.5)
    }
    assert opcodes[0.0].count(sequencer.MASK) == 0
    assert opcodes[0.5].count(sequencer.MASK) == 2 * 2 * (16 * 2 + 4 * 4)
    assert opcodes[0.0].count(sequencer.ATTEND_SOFTMAX) == 2 * 4 * 2 + 2 * 1 * 4


def test_fast_equals_stepped_for_every_instruction():
    same(workload(0.5, steps=2), 0)


def test_replayed_spikes_take_the_same_cycles():
    whole = workload(0.5)
    pixels = whole.images(1)[0]
    replays(whole, pixels, 0, *simulate.run_image(whole, pixels, 0))


def test_recorded_attention_is_replayed_in_the_order_of_windows():
    """The float network's spikes, of positions; other spikes than the chip's own, so other cycles, but near."""
    whole = workload(0.5)
    whole.recording = whole.trained
    words, layer = whole.words(0), next(x for x in whole.network.layers if isinstance(x, IntWindowAttention) and x.shift)
    recorded = whole.trained.spikes(layer.spikes, 0)
    assert np.array_equal(words[layer.by_window], to_words(CHIP, recorded[:, layer.order]))
    executed, _ = simulate.run_image(whole, whole.images(1)[0], 0)
    replayed, _ = simulate.run_image(whole, whole.images(1)[0], 0, "trace")
    assert executed.cycles != replayed.cycles
    assert 0.9 < replayed.cycles / executed.cycles < 1.1


def floats(whole, share):
    """Logits of all test images by the definition in float64, under the masks of the chip."""
    masks = {}
    for layer in whole.network.layers:
        if isinstance(layer, IntWindowAttention):
            maps = (16, layer.shape.height, layer.shape.width, layer.shape.channels)
            masks[layer.name] = 1, 1, 1
            if share:
                q, k = (layer.kept(kind, 16).reshape(maps) for kind in (Q, K))
                masks[layer.name] = q, k, layer.kept_scores(16).transpose(3, 0, 1, 2, 4)
    network, pixels = masked(trained_network(whole.config, whole.trained), share), whole.images(360)
    return np.concatenate([Floats(network, np.stack(pixels[i : i + 60])[..., None], masks).logits for i in range(0, 360, 60)])


@pytest.mark.parametrize(
    "share", [pytest.param(0.0, marks=pytest.mark.slow), 0.5, pytest.param(0.75, marks=pytest.mark.slow)]
)
def test_the_chip_is_as_accurate_as_the_float_network(share):
    """No less, by half a point, on all 360 test images; the same masks in both, since other masks alone move an image or two."""
    whole = workload(share)
    logits = [simulate.run_image(whole, image, number)[0].logits for number, image in enumerate(whole.images(360))]
    right, as_float = (np.mean(np.argmax(x, 1) == whole.trained.labels) for x in (logits, floats(whole, share)))
    assert right >= 0.96
    assert right >= as_float - 0.005
