"""Does a layer norm before the classifier run: equal to the reference, cycle by cycle, stream in the banks or in DRAM?"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from archsim import simulate
from archsim.config import load_chip, load_workload
from archsim.contracts import dma, sequencer
from archsim.kernel import Simulation, decode
from archsim.tensors import Capture
from archsim.units.sram import Memories
from archsim.workload import Workload, read
from mapping.ir import IF_HALF, IMAGE, Classifier
from mapping.layer_norm import IntLayerNorm
from mapping.nodes import LAYER, Norm, Sum
from mapping.quantise import Precision, quantise
from mapping.schedule import schedule
from tests.system.test_operators import ROOMY, Net, run
from tests.system.test_stepped import same
from tests.system.test_trace import replays

WORKLOAD = Path(__file__).parents[2] / "workloads" / "masked_spiking_transformer.yaml"


def normed(channels=32, size=6, steps=4):
    """A stream of two maps of spikes as high as their thresholds, its layer norm, the classifier."""
    net = Net(size, steps=steps)
    names = [net.conv(IMAGE, "first", channels, 3, 3, 1, 1, neuron=IF_HALF, threshold=0.8)]
    names.append(net.conv("first", "second", channels, channels, 1, neuron=IF_HALF, threshold=0.6))
    net.layers.append(Sum("sum", tuple(names)))
    net.layers.append(Norm("norm", "sum", LAYER, net.rng.normal(1, 0.3, channels), net.rng.normal(0, 0.3, channels), reduce=True))
    weights, bias = net.weights(10, channels, 1)
    net.layers.append(Classifier("head", "norm", weights[:, :, 0, 0], bias))
    return net


CASES = {
    "one lane": ("small_normaliser", {}, {}),
    "cores of unlike shares, two words": ("small_normaliser", {"size": 5}, {}),
    "lanes, a word that is not full": ("small_t4", {"channels": 40, "steps": 6}, {}),
    "less than a word": ("small_t4", {"channels": 12}, {}),
    "64 columns, two words": ("adders_512", {"channels": 80}, {}),
    "sums of a word at a time": ("small_normaliser", {"channels": 48}, {"reduce_rows": 4}),
    "an operand of 12 bits": ("small_normaliser", {}, {"normaliser_operand_bits": 12}),
    "maps in DRAM": ("small_normaliser", {}, {"spike_in_rows": 100}),
    "maps and stream in DRAM": ("small_normaliser", {"channels": 40}, {"spike_in_rows": 100, "residual_rows": 150}),
    "lanes, maps and stream in DRAM": ("small_t4", {"steps": 6}, {"spike_in_rows": 80, "residual_rows": 110, "cores": 3}),
    "some steps of a position": ("small_normaliser", {"channels": 48, "steps": 7}, {"spike_in_rows": 100, "residual_rows": 30}),
}  # fmt: skip
"""Preset, sizes of the network, changes of the chip."""


def chip_of(preset, changes):
    return load_chip(preset).replace(**ROOMY | {"normaliser_operand_bits": 16} | changes)


@pytest.mark.parametrize("case", CASES)
def test_every_value_equals_the_reference(case):
    """Spikes, membranes (the normed ones too) and logits."""
    preset, sizes, changes = CASES[case]
    chip, net = chip_of(preset, changes), normed(**sizes)
    check, opcodes, capture = run(net, chip, bits=chip.normaliser_operand_bits)
    assert check.differing == {"spikes": 0, "membranes": 0, "logits": 0}
    assert sequencer.NORMALISE in opcodes
    assert capture.notes["streamed"] == ("spike_in_rows" in changes)
    values = capture.inputs["norm.normalised"][..., : net.layers[-1].weight.shape[1]]
    assert (values < 0).any() and (values > 0).any() and not (capture.inputs["norm"] == capture.inputs["norm.normalised"]).all()


def mapped(case):
    preset, sizes, changes = CASES[case]
    chip, net = chip_of(preset, changes), normed(**sizes)
    precision = Precision(chip.weight_bits, 8, 12, chip.membrane_bits, chip.normaliser_operand_bits)
    network = quantise(net.network(), precision)
    program = schedule(network, chip)
    pixels = net.rng.uniform(-2, 2, (3, net.image.height, net.image.width))
    trained = SimpleNamespace(normalised=lambda: [pixels])
    return SimpleNamespace(network=network, program=program, queues=decode(program), trained=trained)


@pytest.mark.parametrize("case", ["one lane", "lanes, a word that is not full", "some steps of a position"])
def test_fast_equals_stepped_for_every_instruction(case):
    same(mapped(case), 0)


@pytest.mark.parametrize("case", ["one lane", "maps and stream in DRAM"])
def test_replayed_spikes_take_the_same_cycles(case):
    """The stream is computed from them, since its values set the time of the norm."""
    whole = mapped(case)
    whole = Workload(load_workload(WORKLOAD), whole.network, whole.program, whole.trained)
    pixels = whole.trained.normalised()[0]
    replays(whole, pixels, 0, *simulate.run_image(whole, pixels, 0))


def test_a_workload_is_quantised_for_the_operands_of_its_chip():
    """Those of the usual width where the chip has no normaliser, which is refused afterwards, by name."""
    for bits, required in ((12, 12), (0, 16)):
        chip = load_chip("small_normaliser").replace(normaliser_operand_bits=bits)
        network = read(WORKLOAD, load_workload(WORKLOAD), chip, "execute").network
        assert [layer.operand_bits for layer in network.layers if isinstance(layer, IntLayerNorm)] == [required]


def test_a_stream_in_dram_comes_and_goes_once():
    """36 positions of 7 steps of 3 words of 4 blocks: stored when opened, normed in pieces of 2 steps, loaded to be added up."""
    whole = mapped("some steps of a position")
    norms = [head for head in whole.queues[sequencer.NORMALISER] if head["opcode"] == sequencer.NORMALISE]
    assert {(head["tokens"], head["steps"], head["word_rows"]) for head in norms} == {(1, 1, 4), (1, 2, 8)}
    assert sum(head["tokens"] * head["steps"] for head in norms) == 36 * 7
    moved = [head for head in whole.queues[sequencer.DMA] if head["opcode"] and head["memory"] == dma.RESIDUAL]
    rows = {op: sum(head["rows"] for head in moved if head["opcode"] == op) for op in (sequencer.LOAD, sequencer.STORE)}
    logits = sum(place["rows"] for place in whole.program.notes["logits"]["words"])
    assert rows == {sequencer.LOAD: 2 * 36 * 7 * 3 * 4, sequencer.STORE: 2 * 36 * 7 * 3 * 4 + logits}


@pytest.mark.slow
def test_the_published_shape():
    """49 tokens of 768 channels in 128 steps, SYNTHETIC spikes: the figures of decision 0041. Ten classes' weights take 9 bits."""
    chip, net = load_chip("adders_512").replace(normaliser_operand_bits=16, spike_in_rows=3200), normed(768, 7, 128)
    network = quantise(net.network(), Precision(chip.weight_bits, 8, 9, chip.membrane_bits))
    program = schedule(network, chip)
    whole, memories = SimpleNamespace(network=network, program=program), Memories.empty(chip, program.dram)
    pixels = net.rng.uniform(-2, 2, (3, 7, 7))
    simulate.write_image(whole, memories.dram, pixels)
    capture = Capture(chip, program.notes, None, True)
    records = Simulation(chip, decode(program), memories, capture).run()
    check = simulate.compare(whole, pixels, capture, simulate.read_logits(program, memories.dram))
    assert check.differing == {"spikes": 0, "membranes": 0, "logits": 0}
    norms = records[records["opcode"] == sequencer.NORMALISE]
    layer = records[records["layer"] == norms["layer"][0]]
    assert (norms["end"] - norms["start"]).sum() == 7_760_279
    assert layer["end"].max() - layer["start"].min() == 9_046_604


def test_tokens_without_deviation_become_zeros():
    """All weights and offsets alike: every channel of a token is alike, whatever it is."""
    net = normed(16)
    for layer in net.layers[:2]:
        layer.weight[:], layer.bias[:] = layer.weight.mean(), layer.bias.mean()
    check, _, capture = run(net, chip_of("small_normaliser", {}))
    assert check.differing == {"spikes": 0, "membranes": 0, "logits": 0}
    assert np.ptp(capture.inputs["norm"]) > 0 and not capture.inputs["norm.normalised"].any()
