"""Does a Spiking MLP run exactly where its maps pass through DRAM, on chips whose input banks hold no whole map?

Its operators one by one (axes exchanged, maps side by side, streams that stay, norms by token), and the trained network.
"""

from functools import cache

import numpy as np
import pytest

from archsim import simulate
from archsim.config import load_chip
from archsim.contracts import dma, sequencer
from archsim.contracts.common.errors import ArchsimError
from mapping.ir import HEIGHT, IMAGE, LIF, WIDTH, Synapse
from mapping.nodes import BATCH, Norm, Transpose
from tests.system.test_operators import Net, beside, diagonal, run
from tests.system.test_spiking_mlp import CHIPS, EXACT, PLACE, ROOMY, by_token, kept, turned, turned_both
from tests.system.test_stepped import same
from tests.system.test_streamed import equals_the_reference
from tests.system.test_trace import replays

ROWS = {"small_complete": 140, "four lanes": 90, "64 columns": 260}
"""Rows of an input bank: fewer than a map has, enough for an axis."""


def normed(size):
    """A batch norm of a spike map whose channels fill no word, and a neuron behind it."""
    net = Net(size)
    source = net.conv(IMAGE, "first", 40, 3, 3, 1, 1)
    net.layers.append(Norm("norm", source, BATCH, net.rng.normal(1.5, 1.0, 40), net.rng.normal(0.3, 0.2, 40), LIF, 1.0, "fired"))
    return net.end("fired", 40)


RUNS = {
    **{f"over {axis} of {size}": (turned, axis, size) for axis in (HEIGHT, WIDTH) for size in (12, 20)},
    "over both, beside": (turned_both,), "maps side by side": (beside,), "a stream that stays": (kept, 16),
    "norms by token": (by_token, 10), "diagonal weights": (diagonal,), "a norm of spikes": (normed, 12),
}  # fmt: skip


def streamed(net, chip, **changes):
    """Differences of a run whose maps pass through DRAM, its opcodes and its capture; fails if they do not pass."""
    chip = CHIPS[chip].replace(**ROOMY | {"spike_in_rows": ROWS[chip], **changes})
    check, opcodes, capture = run(net, chip, classes=3)
    assert sequencer.STORE in opcodes and capture.notes["streamed"]
    silent = [tensor for tensor, words in capture.words.items() if not words.any()]
    assert not silent, "a map without a spike shows nothing"
    return check.differing, opcodes, capture


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("name", RUNS)
def test_the_operator_equals_the_reference(name, chip):
    """An axis of 20 takes two words of 16 columns,."""
    build, *arguments = RUNS[name]
    differing, opcodes, _ = streamed(build(*arguments), chip)
    assert differing == EXACT
    assert (sequencer.TRANSPOSE in opcodes) == (build in (turned, turned_both))


@pytest.mark.parametrize("residual_rows", [1 << 13, 4607, 400, 100])
@pytest.mark.parametrize("build", [kept, by_token])
def test_streams_of_a_pair_lie_in_the_banks_or_both_in_dram(build, residual_rows):
    """A core's share of a stream, 72 positions x 4 steps x 2 words x 4 blocks, is 2,304 rows: 4,607 do not hold two."""
    differing, _, _ = streamed(build(12), "small_complete", residual_rows=residual_rows)
    assert differing == EXACT


@pytest.mark.parametrize("param_rows", [12, 20, 1023])
@pytest.mark.parametrize("weight_rows", [16, 32, 1024])
def test_tokens_whose_weights_need_several_banks_equal_the_reference(param_rows, weight_rows):
    """Weights of 32 inputs in 2 parts, of 40 in 2 or 3; parameters of 1 or 3 tokens at a time, or of all from the start."""
    differing, _, _ = streamed(by_token(10), "small_complete", weight_rows=weight_rows, param_rows=param_rows)
    assert differing == EXACT


@pytest.mark.parametrize("weight_rows", [16, 64])
def test_maps_side_by_side_in_chunks_equal_the_reference(weight_rows):
    differing, _, _ = streamed(beside(), "small_complete", weight_rows=weight_rows)
    assert differing == EXACT


TRAINED = {
    "streams in the banks": ("small_complete", {"spike_in_rows": 200}),
    "streams in DRAM, in parts": (
        "small_complete", {"spike_in_rows": 200, "residual_rows": 100, "weight_rows": 64, "param_rows": 16},
    ),
    "four lanes": ("four lanes", {"spike_in_rows": 60}),
    "eight cores": ("64 columns", {"columns": 32, "spike_in_rows": 150, "residual_rows": 60}),
}  # fmt: skip


@cache
def trained(case):
    chip, changes = TRAINED[case]
    return simulate.load(PLACE, CHIPS[chip].replace(**changes, queue_rows=64))


@pytest.mark.parametrize("case", TRAINED)
def test_the_trained_network_equals_the_reference(case):
    equals_the_reference(trained(case), 2)


@pytest.mark.parametrize("case", TRAINED)
def test_fast_equals_stepped(case):
    same(trained(case), 0)


@pytest.mark.parametrize("case", TRAINED)
def test_a_trace_takes_the_same_time(case):
    workload = trained(case)
    pixels = workload.trained.normalised()[3]
    replays(workload, pixels, 3, *simulate.run_image(workload, pixels, 3))


def test_recorded_spikes_are_those_of_the_maps_that_the_chip_stores():
    """Those that are turned back too."""
    workload = trained("streams in the banks")
    words = workload.words(0)
    _, capture = simulate.run_image(workload, workload.trained.normalised()[0], 0)
    assert set(words) == set(capture.words) and "token_mix.0.proj_h_lif" in words
    for name, recorded in words.items():
        if "mlp_head" not in name:  # spikes at other places would differ in nearly twice as many bits as there are spikes
            assert np.bitwise_count(recorded ^ capture.words[name]).sum() < np.bitwise_count(recorded).sum(), name


def test_a_stream_that_stays_is_stored_once_and_loaded_by_every_block():
    """Two stages: 16 tokens of 36 channels with two blocks, 4 of 72 with one. What is made of it is stored until its last layer."""
    workload = trained("streams in DRAM, in parts")
    chip, rows = workload.program.chip, {sequencer.LOAD: 0, sequencer.STORE: 0}
    for head in workload.queues[sequencer.DMA]:
        if head["opcode"] in rows and head["memory"] == dma.RESIDUAL:
            rows[head["opcode"]] += head["rows"]
    first, second = (positions * words * 4 * chip.blocks for positions, words in ((16, 3), (4, 5)))
    logits = sum(place["rows"] for place in workload.program.notes["logits"]["words"])
    # Joins: the second stage's embedding has three layers. Each block has one from the stream that stays, one onto what it made.
    assert rows == {sequencer.LOAD: 4 * first + 4 * second, sequencer.STORE: logits + 3 * first + 4 * second}


def test_parameters_come_for_as_many_tokens_as_there_is_room():
    """16 rows, of which the last 8 hold zeros and the relay's: those of two tokens at a time."""
    workload = trained("streams in DRAM, in parts")
    kinds = [layer["kind"] for layer in workload.program.notes["layers"]]
    notes = workload.program.notes["instructions"][str(sequencer.DMA)]
    rows = [
        head["rows"] for head, note in zip(workload.queues[sequencer.DMA], notes, strict=False)
        if head["opcode"] == sequencer.LOAD and head["memory"] == dma.PARAM and "by token" in kinds[note["layer"]]
    ]  # fmt: skip
    tokens = 2 * 16 * (7 + 3) + 4 * (14 + 5)  # 36 channels and 108, 72 and 216, in words of 16
    assert max(rows) == 8 and sum(rows) == 4 * tokens


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spike_out_rows": 32}, r"layer 'conv.mixed': needs 80 rows of spike_out, but chip 'small_complete' has 32"),
        ({"weight_rows": 16}, r"layer 'conv.mixed': the weights of 20 places of an axis need more than the 16 rows"),
        ({"spike_in_rows": 100}, r"layer 'conv.mixed': needs 128 rows of spike_in, but chip 'small_complete' has 100"),
    ],
)
def test_an_axis_without_room_is_refused_by_name(changes, message):
    with pytest.raises(ArchsimError, match=message):
        run(turned(HEIGHT, 20), CHIPS["small_complete"].replace(**ROOMY | {"spike_in_rows": 200} | changes))


def other_readers(size=12):
    """A turned map that a layer reads which is not turned back."""
    net = Net(size)
    net.layers.append(Transpose("turned", net.first(), (1, 2, 0)))
    net.layers.append(Synapse("conv.mixed", "turned", *net.weights(32, size, 1), spikes="mixed"))
    return net.end("mixed", 32)


def test_a_map_turned_for_another_reader_is_refused_by_name():
    with pytest.raises(ArchsimError, match=r"layer 'turned' is a map with its axes exchanged, but of no layer over one axis"):
        run(other_readers(), CHIPS["small_complete"].replace(**ROOMY | {"spike_in_rows": 200}))


def test_a_chip_without_a_transposer_is_refused_by_name():
    with pytest.raises(ArchsimError, match=r"layer '.* by height': exchanges axes of map .* which needs a chip with"):
        simulate.load(PLACE.with_stem("spiking_mlp_imagenet"), load_chip("adders_512"))
