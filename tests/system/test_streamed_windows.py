"""Does a Masked Spiking Transformer run exactly where its maps pass through DRAM, on chips whose input banks hold no whole map?

The trained network, and one of random weights in the published proportions: windows of 7 x 7 shifted by 3, three heads in a
word and a half.
"""

from collections import Counter
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from archsim import simulate
from archsim.contracts import dma, sequencer
from archsim.contracts.common.errors import ArchsimError
from archsim.kernel import Simulation, decode
from archsim.ownership import prove
from archsim.synthetic import Synthetic
from archsim.tensors import Capture
from archsim.units.sram import Memories
from mapping.context import Context, Limits
from mapping.ir import Map
from mapping.networks.masked_spiking_transformer import MaskedSpikingTransformer
from mapping.networks.weights import Synthetic as RandomWeights
from mapping.nodes import BATCH
from mapping.quantise import Precision, quantise
from mapping.schedule import schedule
from mapping.stream import Streams
from mapping.stream_windows import pieces, spans
from mapping.window_attention import IntWindowAttention, on_chip
from tests.system.test_masked_spiking_transformer import CHIP, WIDE, workload
from tests.system.test_stepped import same
from tests.system.test_streamed import equals_the_reference
from tests.system.test_trace import replays

SMALL = CHIP.replace(name="streamed", spike_in_rows=256, queue_rows=64)
EXACT = {"spikes": 0, "membranes": 0, "logits": 0}

CASES = {
    "nothing masked": (0.0, SMALL, None),
    "rows of windows in parts, streams in DRAM": (0.5, SMALL.replace(spike_out_rows=24, residual_rows=128), None),
    "maps side by side in parts": (0.5, SMALL.replace(spike_in_rows=130, weight_rows=64), None),
    "such sums in the psum bank": (0.5, SMALL.replace(spike_in_rows=130, weight_rows=64, psum_rows=64), Limits(weight_rows=48)),
    "a table of one head": (0.5, SMALL.replace(softmax_tokens=4), None),
    "two heads in a word, four lanes": (0.75, WIDE.replace(spike_in_rows=100, queue_rows=64), None),
}  # fmt: skip
"""Share of the spikes that is masked, chip, limits."""


@cache
def trained(case):
    share, chip, limits = CASES[case]
    return workload(share, chip, limits=limits)


@pytest.mark.parametrize("case", CASES)
def test_the_trained_network_equals_the_reference(case):
    equals_the_reference(trained(case), 1)


@pytest.mark.parametrize("case", ["rows of windows in parts, streams in DRAM", "two heads in a word, four lanes"])
def test_fast_equals_stepped(case):
    share, chip, limits = CASES[case]
    same(workload(share, chip, steps=4, limits=limits), 0)


@pytest.mark.parametrize("case", CASES)
def test_a_trace_takes_the_same_time(case):
    whole = trained(case)
    pixels = whole.images(1)[0]
    replays(whole, pixels, 0, *simulate.run_image(whole, pixels, 0))



WINDOWS = SMALL.replace(softmax_tokens=49, attention_rows=1024, spike_out_rows=64)
"""A window of 49 tokens and 4 steps is 196 rows of the attention unit, and 4 tokens of it a piece."""

TIGHT = {"steps": 16, "spike_in_rows": 128, "weight_rows": 64, "residual_rows": 400, "param_rows": 32}
"""Rows of eight words of a position and 16 steps (the last layer reads twelve), weights of four, sums of three of two positions."""


@cache
def random(steps=4, **changes):
    """Network and program of random weights: 14 x 14 and 7 x 7 positions of 24 and 48 channels in words of 16, heads of 8."""
    family = MaskedSpikingTransformer(
        "proportions", 3, True, 0.5, dim=24, depths=(2, 1), timesteps=steps, image=Map(56, 56, 3), head=8, last_norm=BATCH
    )
    chip = WINDOWS.replace(**changes)
    network = on_chip(quantise(family.network(RandomWeights(1), 2.0, 4.0), Precision(8, 8, 10, 24)), chip)
    return network, schedule(network, chip)


def transfers(program, opcode, memory):
    """Fields and layer's name of the transfers of a memory."""
    names = [layer["name"] for layer in program.notes["layers"]]
    notes, queues = program.notes["instructions"][str(sequencer.DMA)], decode(program)
    return [
        (head, names[note["layer"]]) for head, note in zip(queues[sequencer.DMA], notes, strict=False)
        if head["opcode"] == opcode and head["memory"] == memory
    ]  # fmt: skip


@pytest.mark.parametrize("changes", [{}, TIGHT, {"lanes": 4, "spike_in_rows": 130}], ids=["roomy", "tight", "lanes"])
def test_the_published_proportions_equal_the_reference(changes):
    network, program = random(**changes)
    assert program.notes["streamed"]
    queues = decode(program)
    prove(program.chip, queues, len(program.dram))
    pixels = np.random.default_rng(1).uniform(-2, 2, (3, 56, 56))
    case, capture = SimpleNamespace(program=program, network=network), Capture(program.chip, program.notes, potentials=True)
    memories = Memories.empty(program.chip, program.dram)
    simulate.write_image(case, memories.dram, pixels)
    Simulation(program.chip, queues, memories, capture).run()
    check = simulate.compare(case, pixels, capture, simulate.read_logits(program, memories.dram))
    assert check.differing == EXACT
    assert all(words.any() for words in capture.words.values()), "a map without a spike shows nothing"


@pytest.mark.parametrize("room", [1, 4, 6, 14, 64])
def test_pieces_are_the_tokens_of_a_window_in_their_order(room):
    """Each token of each window once, at the position that the order of a shifted map gives it."""
    network, _ = random()
    for layer in (x for x in network.layers if isinstance(x, IntWindowAttention)):
        for window in range(len(layer.classes)):
            found = {}
            for part in pieces(layer, window, room):
                assert part.height * part.width <= room
                for y, x in np.ndindex(part.height, part.width):
                    found[part.token + y * layer.window + x] = (part.y + y) * layer.shape.width + part.x + x
            expected = layer.order[window * layer.tokens :][: layer.tokens]
            assert found == dict(enumerate(expected.tolist()))


def test_spans_wrap_once():
    assert spans(3, 7, 14) == [(0, 3, 7)]
    assert spans(10, 7, 14) == [(0, 10, 4), (4, 0, 3)]
    assert spans(14, 7, 14) == [(0, 0, 7)]


def test_a_table_is_loaded_when_it_is_not_there():
    """One head's has room: each of three heads of a word of the shifted layer's four windows, of the other, then six heads once."""
    _, program = random()
    loads = transfers(program, sequencer.LOAD, dma.TABLE)
    assert Counter(name for _, name in loads) == {
        "layers.0.blocks.0.attn": 2 * 4 + 1, "layers.0.blocks.1.attn": 3 * 4, "layers.1.blocks.0.attn": 6,
    }  # fmt: skip
    assert {head["rows"] for head, _ in loads} == {49 * 49}


def test_a_chunk_of_the_input_is_loaded_once_for_all_words_whose_sums_have_room():
    """fc2 of the last stage: 49 positions of 12 words and 16 steps; sums of its 3 words fit the residual bank, 64 rows each."""
    _, program = random(**TIGHT)
    rows = Counter()
    for head, name in transfers(program, sequencer.LOAD, dma.SPIKE_IN):
        rows[name] += head["rows"]
    assert rows["layers.1.blocks.0.mlp.fc2"] == 49 * 12 * 16


def test_maps_that_nothing_reads_leave_their_places():
    """The places of maps that are read later than another is written are apart, and all take fewer bytes than there are."""
    network, program = random()
    streams = Streams(Context(network, program.chip, Limits(), streamed=True))
    last, taken = {}, 0
    for number, layer in enumerate(network.layers):
        attends = isinstance(layer, IntWindowAttention)
        names = (layer.q, layer.k, layer.v) if attends else network.addends(getattr(layer, "source", ""))
        last |= dict.fromkeys(names, number)
    for number, layer in enumerate(network.layers):
        if layer.spikes in last:
            streams.add(layer.spikes)
            new = streams.maps[layer.spikes]
            taken += new.size
            for name, old in streams.maps.items():
                if name != layer.spikes and last[name] >= number:
                    assert new.address + new.size <= old.address or old.address + old.size <= new.address
        streams.emitted(layer)
    assert streams.context.dram.size < taken / 2


def test_a_drawn_map_is_stored_by_positions_and_by_windows():
    network, program = random()
    words = Synthetic(network, dict.fromkeys(network.maps, 0.25), 1).words(program.chip, program.notes, 0)
    for layer in (x for x in network.layers if isinstance(x, IntWindowAttention)):
        assert words[layer.spikes].any()
        assert np.array_equal(words[layer.by_window], words[layer.spikes][layer.order])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"softmax_tokens": 48}, "layer 'layers.0.blocks.0.attn': needs a softmax over 49 tokens"),
        ({"masker": 0}, "layer 'layers.0.blocks.0.attn': needs a masker"),
        ({"attention_rows": 195}, "layer 'layers.0.blocks.0.attn': needs 196 rows of attention, but chip 'streamed' has 195"),
    ],
)
def test_windows_without_room_are_refused_by_name(changes, message):
    with pytest.raises(ArchsimError, match=message):
        random(**changes)
