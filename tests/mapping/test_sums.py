"""Do the maps of a sum lie where their readers look, and does the integer network add them as the float one does?"""

from dataclasses import replace

import numpy as np
import pytest

from archsim.config import load_chip
from archsim.contracts import sequencer
from archsim.contracts.common.errors import ArchsimError
from mapping import reference
from mapping.context import Context, Limits
from mapping.integer_nodes import IntSum, IntTokenNeuron
from mapping.ir import IMAGE, Classifier, Map, Synapse
from mapping.nodes import Sum
from mapping.quantise import Precision, quantise
from mapping.schedule import schedule
from mapping.sums import home, places, readers

ONE, EYE = np.ones(2), np.eye(2)[:, :, None, None]


def _layer(name, source, spikes, weight=EYE, bias=0.0):
    return Synapse(name, source, weight, np.full(2, bias), spikes=spikes)


@pytest.fixture
def grown(make_network):
    """a, b and c from the image; a + b; a + b + c, which the classifier counts; and (c, a), the beginning of nothing."""
    stem = np.ones((2, 1, 1, 1))
    layers = (
        _layer("l.a", IMAGE, "a", stem * 2), _layer("l.b", IMAGE, "b", stem * 3), Sum("ab", ("a", "b")),
        _layer("l.c", "ab", "c"), Sum("ca", ("c", "a")), _layer("l.d", "ca", "d"), _layer("l.e", "a", "e"),
        Sum("abc", ("ab", "c"), reduce=True), Classifier("head", "abc", EYE[:, :, 0, 0], np.zeros(2)),
    )  # fmt: skip
    return quantise(make_network(*layers, image=Map(2, 2, 1)), Precision())


def test_a_sum_lies_in_the_longest_that_begins_with_it(grown):
    assert [home(grown, name) for name in ("ab", "abc", "ca", "a")] == ["abc", "abc", "ca", "a"]
    assert places(grown, "a") == [("a", 0), ("abc", 0), ("ca", 1)]
    assert places(grown, "b") == [("abc", 1)]
    assert places(grown, "d") == []
    assert readers(grown, "abc") == ["l.c", "abc"]


def test_sums_of_sums_name_spike_maps(grown):
    sums = [(layer.name, layer.sources) for layer in grown.layers if isinstance(layer, IntSum)]
    assert sums == [("ab", ("a", "b")), ("ca", ("c", "a")), ("abc", ("a", "b", "c"))]


def test_the_reference_adds_spikes(grown):
    """l.c has unit weights: its membrane input is 127 for each map with a spike. The classifier counts all three."""
    run = reference.run(grown, np.array([[127], [60], [-20], [10]]))
    count = run.spikes["a"].astype(int) + run.spikes["b"]
    assert set(np.unique(count)) == {0, 1, 2}
    assert (run.inputs["l.c"] == 127 * count).all()
    assert (run.operand == (count + run.spikes["c"]).sum((0, 1))).all()


def test_readers_take_the_maps_as_columns_that_share_their_weights(grown):
    chip = load_chip("small")
    context = Context(grown, chip, Limits())
    short, long = context.regions["ab"], context.regions["abc"]
    assert (short.bank, short.base, short.addends) == (long.bank, long.base, 2)
    assert (long.addends, long.spacing, long.rows) == (3, 4 * 4, 3 * 16)
    names = [layer.name for layer in grown.layers]
    program = schedule(grown, chip)
    fields = [
        sequencer.decode(row.tobytes())
        for engine in (sequencer.CORE0, sequencer.CORE0 + 1)
        for row, note in zip(program.queues[engine], program.notes["instructions"][str(engine)], strict=False)
        if names[note["layer"]] == "l.c"
    ]
    assert fields
    for head in fields:
        assert (head["kernel_width"], head["in_width"], head["x_stride"], head["tap_rows"]) == (2, 2, 16, 0)


def test_a_bank_without_room_for_a_whole_sum_takes_it_in_pieces_from_dram(grown):
    """Three maps of 4 positions x 4 steps are 48 rows: with 40, a position of all three maps (12 rows) still fits."""
    assert schedule(grown, load_chip("small")).notes["streamed"] is False
    program = schedule(grown, load_chip("small").replace(spike_in_rows=40))
    assert program.notes["streamed"] is True


def test_a_bank_without_room_for_one_position_of_a_sum_is_refused(grown):
    with pytest.raises(ArchsimError, match=r"layer '.*': .* chip 'small'"):
        schedule(grown, load_chip("small").replace(spike_in_rows=11))


def test_the_bound_of_a_sum_counts_every_map(make_network):
    """Weights of 127 on two inputs, three maps: 3 x 254 = 762 needs 11 bits; on one map 9."""
    ones = np.ones((2, 2, 1, 1))
    stem = [_layer(f"l.{name}", IMAGE, name, np.ones((2, 1, 1, 1))) for name in "abc"]
    tail = Synapse("end", "t", EYE, ONE, stream="x", opens=True, neuron=None, threshold=0.0, reduce=True)
    head = Classifier("head", "end", EYE[:, :, 0, 0], np.zeros(2))
    for source, bits in (("sum", 11), ("a", 9)):
        layers = (*stem, Sum("sum", ("a", "b", "c")), _layer("l", source, "t", ones), tail, head)
        assert quantise(make_network(*layers), Precision()).bounds["l"] == bits


def test_neurons_on_tokens_have_a_threshold_of_all_tokens(make_network):
    """4 tokens: threshold 4 in the stream's units of 2 ** -exponent. The classifier's bias counts once a step."""
    stem = _layer("l.a", IMAGE, "a", np.ones((2, 1, 1, 1)))
    end = Synapse("end", "a", EYE, ONE, stream="x", opens=True, neuron=None, threshold=0.0, reduce=True)
    head = Classifier("head", "end", EYE[:, :, 0, 0], np.full(2, 0.5), "lif", 1.0, "lif")
    network = quantise(make_network(stem, end, head), Precision())
    neurons, classifier = network.layers[2:]
    assert isinstance(neurons, IntTokenNeuron)
    assert neurons.threshold.tolist() == [4 << network.exponent] * 2
    assert classifier.bias.tolist() == [round(0.5 * 127 * 4)] * 2
    run = reference.run(network, np.full((4, 1), 127))
    assert (run.inputs["lif"] == run.inputs["end"].sum(1, keepdims=True)).all()
    assert run.logits.tolist() == [127 * int(run.spikes["lif"][:, 0, 0].sum()) + 254] * 2
    with pytest.raises(ArchsimError, match="layer 'head': a neuron before the classifier must be a LIF on the mean over tokens"):
        quantise(make_network(stem, end, replace(head, neuron="if")), Precision())
