"""Are experts mapped to what their layer says, proven for every choice, and refused by name where they do not fit?"""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from archsim.contracts import neuron
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.sequencer import COLLECT, CORE0, DISPATCH, EXPERTS, SYNAPSE, TOPK
from archsim.ownership import prove
from mapping import reference
from mapping.experts import IntExperts, IntGate
from mapping.ir import IMAGE, Classifier, Map
from mapping.nodes import Experts
from mapping.quantise import IntNetwork, IntSynapse, Precision, quantise
from mapping.scales import stream_exponent
from mapping.slots import Slots
from tests.mapping.conftest import EXPERT_CHIP, MEMBRANE_CHIP, expert_network, map_experts

PRECISION = Precision(8, 8, 12, 24)


def layer(weight, bias=(0, 0), threshold=(1, 1), shift=(0, 0), kind=neuron.NONE, shape=(1, 3), **more):
    """A linear layer in integers."""
    weight = np.array(weight, np.int8)[:, :, None, None]
    count = len(weight)
    values = (np.array(part[:count], np.int64) for part in (bias, threshold, shift))
    return {"weight": weight, **dict(zip(("bias", "threshold", "shift"), values, strict=True)), "kind": kind,
            "shape": Map(*shape, count), **more}  # fmt: skip


def test_the_reference_by_hand():
    """Three tokens, two experts, both chosen, each with room for two tokens; T = 1, neurons that fire from 1 on.

    Spikes (1, 0), (0, 1), (1, 1) give the scores (1, 1), (1, 0), (2, 1): the tie goes to expert 0, which comes first everywhere.
    Expert 0: hidden sums 2, -1: it fires for the first token alone, which gets (3 + 1, 5 >> 1), the second the bias (1, 0).
    Expert 1: hidden sums 0, 1: the first token gets nothing, the second (-7 >> 1, 8 << 1). The third token finds no room.
    """
    fires = neuron.IF_ZERO
    first = IntSynapse(
        "open", IMAGE, **layer([[1, 0], [0, 1]], kind=fires, stream="x", opens=True, spikes="t", planes=8)
    )
    gate = IntGate("moe.gate", "t", **layer([[1, 1], [1, 0]], stream="x"))
    pairs = [
        (layer([[2, -1]], kind=fires), layer([[3], [5]], bias=(1, 0), shift=(0, 1))),
        (layer([[0, 1]], kind=fires), layer([[-7], [8]], shift=(1, -1))),
    ]
    experts = tuple(tuple(IntSynapse("fc", "", **part) for part in pair) for pair in pairs)
    join = IntExperts("moe", "t", **layer([[0], [0]], stream="x"), choices=2, capacity=2, experts=experts, steps=(1, 1))
    maps = {IMAGE: Map(1, 3, 2), "t": Map(1, 3, 2)}
    network = IntNetwork("hand", 1, maps, (first, gate, join), 1.0, 0, PRECISION, {})
    result = reference.run(network, np.array([[3, 0], [0, 2], [5, 4]]))
    assert result.inputs["moe.gate"][0].tolist() == [[1, 1], [1, 0], [2, 1]]
    assert result.routes["moe"].tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 1], [1, 1, 1], [2, 0, -1], [2, 1, -1]]
    assert result.inputs["moe"][0].tolist() == [[3 + 4, 0 + 2], [0 + 1 - 4, 2 + 16], [5, 4]]


def test_the_last_result_of_a_short_expert_stands_for_the_steps_left_by_hand():
    """One channel, three steps, a token that spikes in each of them; expert 0, which wins, runs two.

    Its hidden neuron fires from 2 on, after a soft reset, of sums of 1: in step 1 alone. So its results are the bias -5 and
    3 - 5, which stands for step 2 too; in three steps it would be -5 again there.
    """
    one, fires = {"shape": (1, 1)}, neuron.IF_ZERO
    opened = layer([[1]], bias=(1,), kind=fires, stream="x", opens=True, spikes="t", planes=8, **one)
    first = IntSynapse("open", IMAGE, **opened)
    gate = IntGate("moe.gate", "t", **layer([[1], [0]], stream="x", **one))
    pair = [layer([[1]], kind=fires, threshold=(2,), **one), layer([[3]], bias=(-5,), **one)]
    experts = (tuple(IntSynapse("fc", "", **part) for part in pair),) * 2
    join = IntExperts("moe", "t", **layer([[0]], stream="x", **one), choices=1, capacity=1, experts=experts, steps=(2, 3))
    network = IntNetwork("hand", 3, {IMAGE: Map(1, 1, 1), "t": Map(1, 1, 1)}, (first, gate, join), 1.0, 0, PRECISION, {})
    result = reference.run(network, np.array([[1]]))
    assert result.spikes["t"][:, 0, 0].tolist() == [True, True, True]
    assert (result.inputs["moe"] - result.inputs["open"])[:, 0, 0].tolist() == [-5, -2, -2]


@pytest.mark.parametrize("steps", [0, 5])
def test_an_expert_of_no_step_or_of_more_than_there_are_is_refused(steps):
    with pytest.raises(ArchsimError, match=rf"layer 'moe0\.1': required an expert of 1\.\.4 time steps, .* given {steps}"):
        quantise(expert_network(0, steps=(4, steps, 1, 1)), PRECISION)


def test_the_gate_reads_the_first_time_step_and_has_one_scale():
    network = quantise(expert_network(3), PRECISION)
    gate = next(entry for entry in network.layers if isinstance(entry, IntGate))
    floats = next(entry for entry in expert_network(3).layers if isinstance(entry, Experts))
    ratio = gate.weight[:, :, 0, 0] / floats.gate
    assert np.abs(ratio / (127 / np.abs(floats.gate).max()) - 1)[np.abs(floats.gate) > 0.5].max() < 0.02
    result = reference.run(network, network.quantise_image(np.random.default_rng(0).uniform(-1, 1, (1, 4, 3))))
    spikes = result.spikes["t0"].astype(int)
    assert (spikes[0] != spikes[1]).any()
    assert np.array_equal(result.inputs["moe0.gate"][0], spikes[0] @ gate.weight[:, :, 0, 0].T.astype(int) + gate.bias)


def test_an_expert_that_joins_the_stream_by_hand():
    """One token, T = 2, experts of one channel whose neuron fires from 2 on; its input is (3 * spike + bias) >> 1 and the stream.

    The stream is -1 in both steps, so its spikes are 0. With a bias of 1 the input is 0 - 1: no spike. With one of 5 it is 2 - 1:
    1, then 2 and a spike. The result is 10 without a spike, 110 with one.
    """
    fires = neuron.IF_ZERO
    first = IntSynapse("open", IMAGE, **layer([[1]], kind=fires, stream="x", opens=True, spikes="t", planes=8, shape=(1, 1)))
    gate = IntGate("moe.gate", "t", **layer([[1], [0]], stream="x", shape=(1, 1)))
    maps = {IMAGE: Map(1, 1, 1), "t": Map(1, 1, 1)}
    for bias, added in ((1, [10, 10]), (5, [10, 110])):
        part = layer([[3]], bias=(bias,), shift=(1,), threshold=(2,), kind=fires, stream="x", shape=(1, 1))
        hidden = IntSynapse("fc1", "", **part)
        result = IntSynapse("fc2", "", **layer([[100]], bias=(10,), stream="x", shape=(1, 1)))
        pairs = ((hidden, result),) * 2
        join = IntExperts("moe", "t", **layer([[0]], stream="x", shape=(1, 1)), capacity=1, experts=pairs, steps=(2, 2))
        network = IntNetwork("hand", 2, maps, (first, gate, join), 1.0, 0, PRECISION, {})
        run = reference.run(network, np.array([[-1]]))
        assert run.inputs["open"][:, 0, 0].tolist() == [-1, -1]
        assert (run.inputs["moe"] - run.inputs["open"])[:, 0, 0].tolist() == added


def test_sums_that_join_the_stream_have_its_scale():
    """Integer sums over one spike are the float ones in the stream's units, to the rounding of a weight, a bias and a shift."""
    floats = expert_network(4, residual=(0, 2))
    network = quantise(floats, PRECISION)
    join = next(entry for entry in network.layers if isinstance(entry, IntExperts))
    experts = next(entry for entry in floats.layers if isinstance(entry, Experts)).experts
    assert [first.stream for first, _ in join.experts] == ["moe0.0.input", None, "moe0.2.input", None]
    for number in (0, 2):
        first, unit = join.experts[number][0], 2.0**network.exponent
        assert first.shift.any() and (first.threshold == round(experts[number].threshold * unit)).all()
        sums = np.array([shifted(column + first.bias, first.shift) for column in first.weight[:, :, 0, 0].astype(int).T])
        exact = (experts[number].hidden + experts[number].hidden_bias[:, None]).T * unit
        # A weight is off by half a unit of its own, the bias too; a shift to the right rounds by half a unit of the stream.
        assert (np.abs(sums - exact) <= 0.5 * (first.shift > 0) + 2.0 ** -first.shift.astype(float)).all()


def test_first_layers_that_join_the_stream_take_part_in_its_exponent():
    """Weights of first layers 4096 times as small: 32 of 40 + 32 channels that join the stream, if they do."""
    exponents = []
    for joins in (False, True):
        floats = expert_network(0, residual=(0, 1, 2, 3))
        moe = floats.layers[2]
        experts = tuple(replace(expert, hidden=expert.hidden / 4096, residual=joins) for expert in moe.experts)
        layers = (*floats.layers[:2], replace(moe, experts=experts), floats.layers[3])
        exponents.append(stream_exponent(replace(floats, layers=layers), PRECISION))
    assert exponents[0] < exponents[1] < exponents[0] + 12


def test_the_bound_of_sums_that_join_the_stream():
    """Each expert at its extremes, over the stream at its own, which is greater: the membranes of its first layer."""
    floats = expert_network(1, residual=(0, 1, 2, 3))
    large = replace(floats.layers[1], weight=64 * floats.layers[1].weight)
    network = quantise(replace(floats, layers=(floats.layers[0], large, *floats.layers[2:])), PRECISION)
    opened, join = network.layers[1], network.layers[3]
    reach = []
    for limits in (np.minimum, np.maximum):
        weight, over = limits(opened.weight[:, :, 0, 0].astype(int), 0), opened.bias
        reach.append(shifted(weight.sum(1) + over, opened.shift))
    for first, _ in join.experts:
        weight = first.weight[:, :, 0, 0].astype(int)
        sums = [limits(weight, 0).sum(1) + first.bias for limits in (np.minimum, np.maximum)]
        low, high = (shifted(total, first.shift) + stream for total, stream in zip(sums, reach, strict=True))
        alone = [np.minimum(weight, 0).sum(1), np.maximum(weight, 0).sum(1), *sums, first.bias, first.threshold]
        needed = max(max(-value.min() - 1, value.max()) for value in (low, high, *alone))
        assert network.bounds[first.name] == int(needed).bit_length() + 1


def shifted(sums, shift):
    """Sums to the right, to the left where the shift is negative."""
    return np.array([
        total << -by if by < 0 else total >> by for total, by in zip(sums.tolist(), shift.tolist(), strict=True)
    ])  # fmt: skip


@pytest.mark.parametrize(("choices", "residual"), [(1, ()), (2, ()), (4, ()), (2, (0, 1, 2, 3))])
def test_the_bound_holds_every_set_of_chosen_experts_and_no_more(choices, residual):
    """Each expert at its extremes for every set of as many experts, dropped ones left out; first layers never change the stream."""
    network = quantise(expert_network(1, choices=choices, residual=residual), PRECISION)
    opened, join = network.layers[1], network.layers[3]
    low, high = [], []
    for _, second in join.experts:
        weight = second.weight[:, :, 0, 0].astype(int)
        for values, limits in ((low, np.minimum(weight, 0)), (high, np.maximum(weight, 0))):
            values.append(shifted(limits.sum(1) + second.bias, second.shift))
    sets = [chosen for size in range(choices + 1) for chosen in combinations(range(4), size)]
    least = np.min([sum((np.array(low[expert]) for expert in chosen), np.zeros(8, int)) for chosen in sets], axis=0)
    most = np.max([sum((np.array(high[expert]) for expert in chosen), np.zeros(8, int)) for chosen in sets], axis=0)
    weight = opened.weight[:, :, 0, 0].astype(int)
    for values, limits in ((least, np.minimum(weight, 0)), (most, np.maximum(weight, 0))):
        values += shifted(limits.sum(1) + opened.bias, opened.shift)
    count = join.tokens * network.timesteps
    needed = max(-(least * count).min() - 1, (most * count).max(), (least.min() * -1) - 1, most.max())
    assert network.bounds["moe0"] == int(needed).bit_length() + 1


def test_sums_of_choices_that_could_overflow_are_refused():
    """Each result alone fits, the sum of four does not: the message names the layer that adds them."""
    moe, coarse = expert_network(0, hidden=72, choices=4).layers[2], Precision(8, 2, 12, 24)
    experts = tuple(replace(expert, weight=np.abs(expert.weight)) for expert in moe.experts)
    network = changed(experts=experts, choices=4, reduce=False, spikes="u")
    network = replace(network, layers=network.layers[:3])
    bounds = dict(quantise(network, coarse).bounds)
    needed = bounds.pop("moe0")
    assert needed > max(bounds.values())
    quantise(network, replace(coarse, membrane_bits=needed))
    with pytest.raises(ArchsimError, match=f"layer 'moe0': its membrane can reach .* which needs {needed} bits"):
        quantise(network, replace(coarse, membrane_bits=needed - 1))


def changed(**changes):
    """`expert_network` with another layer of experts."""
    network = expert_network(0)
    return replace(network, layers=(*network.layers[:2], replace(network.layers[2], **changes), network.layers[3]))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (changed(choices=5), r"layer 'moe0': required 1\.\.4 choices, given 5"),
        (changed(capacity=13), r"layer 'moe0': required 1\.\.12 capacity, given 13"),
        (changed(experts=changed().layers[2].experts[:1], gate=np.ones((1, 8)), gate_bias=np.ones(1), choices=1),
         r"layer 'moe0': required 2\.\.16 experts, given 1"),
        (changed(gate=np.ones((4, 7))), r"layer 'moe0': gate needs weights of shapes .*\(4, 8\)"),
        (changed(source="s"), r"layer 'moe0': gate needs weights of shapes .*\(4, 6\)"),
        (changed(stream="y"), r"required right before it the layer that writes its map 't0' and joins stream 'y'.* given 'conv'"),
        (changed(source="nothing"), r"reads map 'nothing', which no layer before it writes"),
    ],
)  # fmt: skip
def test_layers_that_cannot_be_are_refused_by_name(network, message):
    with pytest.raises(ArchsimError, match=message):
        quantise(network, PRECISION)


def test_a_weight_of_an_expert_that_does_not_fit_is_named():
    experts = changed().layers[2].experts
    wrong = (experts[0], replace(experts[1], bias=np.zeros(7)), *experts[2:])
    with pytest.raises(ArchsimError, match="layer 'moe0': expert 1 needs weights"):
        quantise(changed(experts=wrong), PRECISION)


@pytest.mark.parametrize(
    ("changes", "place", "message"),
    [
        ({"reduce_rows": 1}, None, "layer 'moe0': needs 2 rows of reduce, .* has 1"),
        ({"reduce_rows": 1}, None, "layer 'moe0': needs 2 rows of reduce, .* has 1"),
        ({"crossbar_depth": 0}, None, "layer 'moe0': experts need an expert engine, but chip 'expert_chip' has .* of 0"),
        ({"route_rows": 7}, None, "layer 'moe0': needs .* rows of route, .* has 7"),
        ({"residual_rows": 95}, None, "layer 'moe0': needs 96 rows of residual, .* has 95"),
        ({"psum_rows": 15}, None, "layer 'moe0': needs 16 rows of psum, .* has 15"),
        ({"spike_out_rows": 3}, None, "layer 'moe0': needs 4 rows of spike_out, .* has 3"),
        ({"spike_in_rows": 27}, None, "layer 'moe0': needs 28 rows of spike_in, .* has 27"),
        ({"residual_rows": 159}, (1, 1, 1, 1), "layer 'moe0': needs 160 rows of residual, .* has 159"),
        ({"param_rows": 1}, None, "layer '.*': needs 2 rows of param"),
        ({}, (0, 1, 3, 0), r"layer 'moe0': required a core in 0\.\.2 for each of 4 experts, given \(0, 1, 3, 0\)"),
        ({}, (0, 1), r"required a core in 0\.\.2 for each of 4 experts, given \(0, 1\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_a_chip_is_refused_by_name(changes, place, message):
    placement = {} if place is None else {"moe0": place}
    with pytest.raises(ArchsimError, match=message):
        map_experts(EXPERT_CHIP.replace(**changes), expert_network(0), placement)


def test_a_reduction_of_more_words_than_there_is_room_for_passes_through_dram():
    for rows, streamed in ((2, True), (4, False)):
        mapped = map_experts(EXPERT_CHIP.replace(reduce_rows=rows), expert_network(0, dim=16))
        prove(EXPERT_CHIP.replace(reduce_rows=rows), mapped.queues, len(mapped.program.dram))
        assert mapped.program.notes["streamed"] == streamed


def test_experts_that_join_the_stream_need_a_chip_that_dispatches_membranes():
    network = expert_network(0, residual=(1,))
    message = "layer 'moe0': an expert's input joins .* given 'expert_chip' without; set 'dispatch_membranes: 1' in its file"
    with pytest.raises(ArchsimError, match=message):
        map_experts(EXPERT_CHIP, network)
    map_experts(MEMBRANE_CHIP, network)


def test_an_expert_that_joins_the_stream_is_as_wide():
    experts = changed().layers[2].experts
    wrong = (experts[0], replace(experts[1], residual=True), *experts[2:])
    with pytest.raises(ArchsimError, match=r"layer 'moe0': expert 1 needs weights of shapes \(\(8, 8\), .* given \(\(12, 8\)"):
        quantise(changed(experts=wrong), PRECISION)


@pytest.mark.parametrize(
    ("changes", "place"),
    [({"residual_rows": 315}, None), ({"psum_rows": 95}, None), ({"spike_out_rows": 23}, None),
     ({"residual_rows": 571}, (1, 1, 1, 1))],
)  # fmt: skip
def test_what_finds_no_room_at_once_passes_through_dram(changes, place):
    """A row less than the banks need to hold all tokens, slots and results."""
    (memory, rows), = changes.items()
    placement = {} if place is None else {"moe0": place}
    for given, streamed in ((rows, True), (rows + 1, False)):
        mapped = map_experts(EXPERT_CHIP.replace(**{memory: given}), expert_network(0), placement)
        assert mapped.program.notes["streamed"] == streamed


def test_a_token_that_needs_a_longer_packet_than_there_is_is_refused():
    rows = dict.fromkeys(("psum_rows", "residual_rows", "spike_in_rows", "spike_out_rows"), 1 << 18)
    chip = EXPERT_CHIP.replace(**rows, neurons=1)
    with pytest.raises(
        ArchsimError, match="layer 'moe0': required at most 1023 in field 'rows' of COLLECT, given 1024"
    ):
        map_experts(chip, expert_network(0, timesteps=128))


def test_instructions_of_a_layer():
    """A TOPK for each home core, one DISPATCH, one COLLECT; experts one core after the other; two layers of each."""
    mapped = map_experts(EXPERT_CHIP, expert_network(0, capacity=5))
    prove(EXPERT_CHIP, mapped.queues, len(mapped.program.dram))
    heads = mapped.queues[EXPERTS]
    assert [head["opcode"] for head in heads] == [TOPK] * 3 + [DISPATCH, COLLECT]
    assert [head["first"] for head in heads[:3]] == [1, 0, 0]
    assert (heads[3]["place"], heads[3]["region"]) == (0x0210, 0x1000)
    slots = Slots(heads[3]["rows"], 5)
    assert 1 << heads[3]["region_shift"] >= 5 * slots.distance
    computed = [head for core in range(3) for head in mapped.queues[CORE0 + core] if head["opcode"] == SYNAPSE]
    assert sum(head["out_height"] == 5 and head["kernel_height"] == 1 for head in computed) == 4 * (2 + 1)


def test_the_stream_goes_to_the_experts_word_by_word():
    """Two words of 6 tokens a core at most, 4 steps x 2 blocks each: from where the stream lies to where results will."""
    mapped = map_experts(MEMBRANE_CHIP, expert_network(0, residual=(0,), dim=16))
    prove(MEMBRANE_CHIP, mapped.queues, len(mapped.program.dram))
    spikes, first, second, results = mapped.queues[EXPERTS][3:]
    assert [head["opcode"] for head in (spikes, first, second, results)] == [DISPATCH] * 3 + [COLLECT]
    assert [head["membranes"] for head in (spikes, first, second, results)] == [0, 1, 1, 1]
    assert [head["home_base"] for head in (first, second)] == [0, 6 * 8]
    assert [head["expert_base"] - results["expert_base"] for head in (first, second)] == [0, 8]
    same = ("cores", "entry", "experts", "place", "region", "region_shift", "slot_shift", "other_shift")
    assert all(head[name] == results[name] for head in (first, second) for name in same)
    assert all((head["rows"], head["home_token"], head["home_choice"]) == (8, 8, 0) for head in (first, second))
    synapses = [head for head in mapped.queues[CORE0] if head["opcode"] == SYNAPSE]
    reading = [head for head in synapses if head["residual_in"] and head["out_height"] == 12]
    assert [head["residual_in_base"] - results["expert_base"] for head in reading] == [0, 8]


def test_nothing_is_cleared_where_nothing_can_be_dropped():
    def sums_only(capacity):
        queues = map_experts(EXPERT_CHIP, expert_network(0, capacity=capacity)).queues
        return sum(head["psum_out"] for core in range(3) for head in queues[CORE0 + core] if head["opcode"] == SYNAPSE)

    assert (sums_only(11), sums_only(12)) == (3, 0)


def test_a_classifier_needs_a_reduction():
    network = changed(reduce=False, spikes="u", neuron="lif")
    with pytest.raises(ArchsimError, match="the classifier must follow the layer whose results are reduced"):
        quantise(
            replace(network, layers=(*network.layers[:3], Classifier("head", "moe0", np.ones((2, 8)), np.ones(2)))),
            PRECISION,
        )
