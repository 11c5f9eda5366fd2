"""Do networks whose maps lie in DRAM run exactly: against the integer reference, and cycle by cycle against the stepped chip?

The digits network on chips whose input banks hold no whole map, so that every map passes through the cores in pieces.
"""

from pathlib import Path

import numpy as np
import pytest

from archsim import simulate
from archsim.config import load_chip
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.dma import PROGRAM, RESIDUAL, SPIKE_OUT
from archsim.contracts.sequencer import CORE0, DMA, LOAD, PLANES, STORE
from tests.system.test_stepped import same
from tests.system.test_trace import replays

WORKLOADS = Path(__file__).parents[2] / "workloads"

CHIPS = {
    "pieces of rows": ("adders_128", {"spike_in_rows": 200}),
    "tiles in both directions": ("adders_512_half", {"spike_in_rows": 300}),
    "sums in the residual bank": ("small", {"spike_in_rows": 500, "weight_rows": 128}),
    "sums in the psum bank": ("small", {"spike_in_rows": 500, "weight_rows": 128, "psum_rows": 64}),
    "lanes": ("small_t4", {"spike_in_rows": 200}),
    "spilled": ("small", {"spike_in_rows": 500, "residual_rows": 100}),
    "spilled, lanes": ("small_t4", {"spike_in_rows": 200, "residual_rows": 64}),
    "relayed": ("small", {"cores": 1, "spike_in_rows": 200}),
    "spilled and relayed": (
        "small",
        {"cores": 1, "spike_in_rows": 200, "residual_rows": 100, "weight_rows": 128, "psum_rows": 64},
    ),
}


@pytest.fixture(scope="module", params=CHIPS)
def workload(request, workload_file):
    preset, changes = CHIPS[request.param]
    return simulate.load(workload_file, load_chip(preset).replace(**changes, queue_rows=64))


def equals_the_reference(workload, images, streamed=True):
    """Every spike, membrane and logit of a streamed program's first images."""
    assert workload.program.notes["streamed"] == streamed
    pixels = workload.trained.normalised()
    for number in range(images):
        image, capture = simulate.run_image(workload, pixels[number], number, record=True)
        check = simulate.compare(workload, pixels[number], capture, image.logits)
        assert check.differing == {"spikes": 0, "membranes": 0, "logits": 0}


def test_every_spike_membrane_and_logit_equals_the_reference(workload):
    equals_the_reference(workload, 3)


def test_nothing_is_left_for_the_next_image(workload):
    simulate.run_image(workload, workload.trained.normalised()[1], 1)
    with workload.memories.take() as memories:
        assert np.array_equal(memories.dram, workload.program.dram)
        assert not any(array.any() for array in memories.stack[:-1])


def test_fast_equals_stepped(workload):
    same(workload, 0)


def test_the_same_spikes_take_the_same_time_in_trace_mode(workload):
    pixels = workload.trained.normalised()[4]
    replays(workload, pixels, 4, *simulate.run_image(workload, pixels, 4))


def test_program_memories_are_refilled(workload):
    loads = [head for head in workload.queues[0] if head["opcode"] == LOAD and head["memory"] == PROGRAM]
    assert len(workload.queues[0]) > 64 and {head["cores"] for head in loads} >= {DMA}


def test_maps_go_through_dram(workload):
    stores = [head for head in workload.queues[0] if head["opcode"] == STORE and head["memory"] == SPIKE_OUT]
    rows = sum(head["rows"] for head in stores)
    chip = workload.program.chip
    # The attention's output goes there only where a core's share of it fits no input bank: 16 tokens x 4 steps x 4 words.
    relayed = ("attn_lif",) if chip.cores == 1 else ()
    ends = ("proj1_lif", "proj_lif", "mlp1_lif", "mlp2_lif", *relayed)
    kept = [name for name in workload.network.maps if name.endswith(ends)]
    shapes = [workload.program.notes["tensors"][name] for name in kept]
    assert rows == sum(shape["positions"] * shape["slices"] * shape["words"] for shape in shapes)
    assert all(head["rows"] <= chip.spike_out_rows for head in stores)


def test_the_residual_stream_goes_through_dram_where_it_does_not_fit(workload):
    """Each of the stream's rows is stored by every layer that joins it but the last, and loaded by all but the first."""
    chip, joins = workload.program.chip, [layer for layer in workload.network.layers if getattr(layer, "stream", None)]
    rows = dict.fromkeys((LOAD, STORE), 0)
    for head in workload.queues[0]:
        if head["memory"] == RESIDUAL:
            rows[head["opcode"]] += head["rows"]
    logits = sum(place["rows"] for place in workload.program.notes["logits"]["words"])
    whole = 16 * 4 * -(-64 // chip.columns) * chip.blocks
    spilled = chip.residual_rows * chip.cores < whole
    assert rows == {LOAD: spilled * (len(joins) - 1) * whole, STORE: logits + spilled * (len(joins) - 1) * whole}


@pytest.mark.parametrize(
    ("preset", "changes"),
    [("small", {"cores": 1, "spike_in_rows": 300, "weight_rows": 128}), ("small_t4", {"spike_in_rows": 200})],
)
def test_sums_of_spike_maps_go_through_dram(preset, changes):
    """A core's share of the 6 maps of the last sum: 16 tokens x 4 steps x 6 = 384 rows of a word; with lanes and two cores 48."""
    workload = simulate.load(WORKLOADS / "spikformer.yaml", load_chip(preset).replace(**changes, queue_rows=64))
    equals_the_reference(workload, 2)
    same(workload, 0)


PARTS = [0, 4, 0, 4, 0, 4, 0, 4]
"""Rows of core 0's PLANES of two words at a time: of its parts, of all parts, and again for the other two words."""

REDUCED = {
    "counts": ("spikformer.yaml", {"spike_in_rows": 300, "reduce_rows": 11}, PARTS),
    "a stream in the banks": ("spikingformer.yaml", {"spike_in_rows": 300, "reduce_rows": 11}, PARTS),
    "a stream in DRAM": ("spikingformer.yaml", {"spike_in_rows": 300, "residual_rows": 100, "reduce_rows": 11}, PARTS),
    "maps in the banks": ("spikingformer.yaml", {"reduce_rows": 7}, [0, 0]),  # a gang of two cores: two words each
}


@pytest.mark.parametrize("case", REDUCED)
def test_a_reduction_without_room_is_made_some_words_at_a_time(case):
    """64 channels need 4 words x 4 blocks; 11 rows hold two words, 7 one."""
    name, changes, planes = REDUCED[case]
    workload = simulate.load(WORKLOADS / name, load_chip("small").replace(**changes))
    equals_the_reference(workload, 1, "spike_in_rows" in changes)
    assert [head["reduce_base"] for head in workload.queues[CORE0] if head["opcode"] == PLANES] == planes


def test_parts_without_room_come_some_words_at_a_time():
    """A word of the sums of eight cores needs 8 rows for each of at most 24 bits; the bank has room for two of four words."""
    chip = load_chip("small").replace(cores=8, spike_in_rows=400)
    workload = simulate.load(WORKLOADS / "spikingformer.yaml", chip)
    bits = workload.network.bounds["block.1.mlp.mlp2_conv"]
    assert workload.program.notes["buffers"]["head.input parts"]["rows"] == 2 * 8 * bits
    equals_the_reference(workload, 1)


def test_a_reduction_of_not_even_one_word_is_refused_by_name():
    chip = load_chip("small").replace(spike_in_rows=300, reduce_rows=3)
    with pytest.raises(
        ArchsimError, match=r"layer 'block\.1\.mlp\.sum': needs 4 rows of reduce, but chip 'small' has 3"
    ):
        simulate.load(WORKLOADS / "spikformer.yaml", chip)


STAGES = {
    "streams in the banks": ("small", {"spike_in_rows": 500}),
    "streams in DRAM, one core": ("small", {"cores": 1, "spike_in_rows": 400, "residual_rows": 150, "reduce_rows": 4}),
    "streams in DRAM, lanes": ("small_t4", {"spike_in_rows": 500, "residual_rows": 64}),
    "sums over tokens of one step at a time": ("adders_512_half", {"spike_in_rows": 500}),
}


@pytest.mark.parametrize("case", STAGES)
def test_stages_of_convolutions_and_neurons_on_the_mean_go_through_dram(case):
    """Meta-SpikeFormer: streams that open anew, 7x7 windows, q, k, v and projection of 3x3, a neuron before the classifier."""
    preset, changes = STAGES[case]
    workload = simulate.load(WORKLOADS / "meta_spikeformer.yaml", load_chip(preset).replace(**changes, queue_rows=64))
    equals_the_reference(workload, 1)


def test_a_relay_without_room_is_refused_by_name(workload_file):
    """16 tokens x 4 steps of one word in the only core."""
    chip = load_chip("small").replace(cores=1, spike_in_rows=200, spike_out_rows=60, queue_rows=4096)
    with pytest.raises(
        ArchsimError, match=r"layer 'block\.0\.attn': needs 64 rows of spike_out, but chip 'small' has 60"
    ):
        simulate.load(workload_file, chip)


def test_what_fits_in_no_piece_is_refused_by_name(workload_file):
    chip = load_chip("small").replace(spike_in_rows=20)
    with pytest.raises(ArchsimError, match=r"(layer|map) '.*': .*chip 'small'"):
        simulate.load(workload_file, chip)
