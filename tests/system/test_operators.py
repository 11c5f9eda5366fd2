"""Does each operator that docs/operators.md says runs do so? Small networks with random weights, against the reference."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from archsim import simulate
from archsim.config import load_chip
from archsim.contracts import sequencer
from archsim.contracts.common.errors import ArchsimError
from archsim.kernel import Simulation, decode
from archsim.ownership import prove
from archsim.tensors import Capture
from archsim.units.sram import Memories
from mapping.ir import GATE, IF_HALF_ONE, IMAGE, PRODUCT, Attention, Classifier, Map, Network, Synapse
from mapping.nodes import Concat, Sum
from mapping.quantise import OPERAND_BITS, Precision, quantise
from mapping.schedule import schedule
from tests.system.test_stepped import same

ROOMY = {
    "spike_in_rows": 1 << 16, "spike_out_rows": 1 << 13, "residual_rows": 1 << 13, "psum_rows": 1 << 13,
    "attention_rows": 1 << 12, "count_rows": 1 << 14, "queue_rows": 1 << 13, "pool_rows": 1 << 10,
}  # fmt: skip
"""Memories in which nothing is short: the operators are the question here."""


class Net:
    """Builds a network: ``layers``, a residual stream and a classifier behind them."""

    def __init__(self, size=16, channels=3, steps=4):
        self.image, self.steps, self.layers = Map(size, size, channels), steps, []
        self.rng = np.random.default_rng(1)

    def weights(self, outputs, inputs, kernel):
        """Random weights, on average a little above 0, so that neurons fire."""
        fan_in = inputs * kernel * kernel
        shape = (outputs, inputs, kernel, kernel)
        return self.rng.normal(0.3 / fan_in, 1.5 / np.sqrt(fan_in), shape), self.rng.normal(0.3, 0.2, outputs)

    def conv(self, source, name, outputs, inputs, kernel, stride=1, padding=0, **more):
        self.layers.append(
            Synapse(
                f"conv.{name}", source, *self.weights(outputs, inputs, kernel), stride, padding, spikes=name, **more
            )
        )
        return name

    def first(self, **more):
        return self.conv(IMAGE, "first", 32, self.image.channels, 3, 1, 1, **more)

    def end(self, source, channels):
        weights, bias = self.weights(10, 32, 1)
        self.conv(source, "stream", 32, channels, 1, stream="x", opens=True)
        reduced = Synapse(
            "last", "stream", *self.weights(32, 32, 1), stream="x", neuron=None, threshold=0.0, reduce=True
        )
        self.layers += [reduced, Classifier("head", "last", weights[:, :, 0, 0], bias)]
        return self

    def network(self):
        return Network("operator", self.steps, self.image, 2.0, 4.0, tuple(self.layers))


def image_conv(kernel, stride, padding, steps=4):
    net = Net(steps=steps)
    return net.end(net.conv(IMAGE, "first", 32, 3, kernel, stride, padding), 32)


def spike_conv(kernel, stride, padding):
    net = Net()
    return net.end(net.conv(net.first(), "second", 32, 32, kernel, stride, padding), 32)


def depthwise(kernel):
    net = Net()
    net.end(net.conv(net.first(), "second", 32, 32, kernel, 1, kernel // 2), 32)
    weight = net.layers[1].weight
    weight[~np.eye(32, dtype=bool)] = 0
    weight *= 32
    return net


def pooled():
    net = Net()
    return net.end(net.first(pool=True), 32)


def integrate_and_fire():
    net = Net()
    return net.end(net.conv(net.first(neuron="if"), "second", 32, 32, 3, 1, 1, neuron="if"), 32)


def attention(heads=8, channels=64, scale=0.125, kind=PRODUCT):
    net = Net(32)
    source = net.conv(IMAGE, "first", channels, 3, 4, 4)
    for name in "kvq":
        net.conv(source, name, channels, channels, 1)
    net.layers.append(Attention("attention", "q", "k", "v", "attended", heads, scale, 0.5, kind))
    return net.end("attended", channels)


def summed():
    """Three sums, each the beginning of the next; a map that is read alone too; the last is what the classifier counts."""
    net = Net()
    first = net.first()
    net.layers.append(Sum("sum.1", (first, net.conv(first, "second", 32, 32, 3, 1, 1))))
    net.layers.append(Sum("sum.2", ("sum.1", net.conv("sum.1", "third", 32, 32, 1))))
    net.layers.append(Sum("sum.3", ("sum.2", net.conv("sum.2", "fourth", 32, 32, 1)), reduce=True))
    weights, bias = net.weights(10, 32, 1)
    net.layers.append(Classifier("head", "sum.3", weights[:, :, 0, 0], bias))
    return net


def beside(maps=3):
    """Maps side by side, of which the first are side by side too; one of them is read alone as well."""
    net = Net()
    names = [net.first()]
    for number in range(1, maps):
        names.append(net.conv(names[-1], f"map.{number}", 32, 32, 1))
        net.layers.append(Concat(f"beside.{number}", tuple(names)))
        names.append(net.conv(f"beside.{number}", f"mixed.{number}", 32, 32 * len(names), 1))
    net.layers.append(Concat("all", tuple(names)))
    return net.end("all", 32 * len(names))


def diagonal():
    """Each channel of three maps side by side, then of one map, read alone; 24 channels, which no word divides."""
    net = Net()
    names = [net.conv(IMAGE, "first", 24, 3, 3, 1, 1)]
    names += [net.conv(names[0], f"map.{number}", 24, 24, 1) for number in range(2)]
    net.layers.append(Concat("beside", tuple(names)))
    for source, name in (("beside", "mixed"), ("mixed", "alone")):
        width = 24 * (3 if source == "beside" else 1)
        weight = np.concatenate([np.diag(net.rng.normal(0.6, 0.4, 24)) for _ in range(width // 24)], 1)[:, :, None, None]
        bias = net.rng.normal(0.3, 0.2, 24)
        net.layers.append(Synapse(f"conv.{name}", source, weight, bias, neuron=IF_HALF_ONE, spikes=name, diagonal=True))
    return net.end("alone", 24)


def token_neuron(steps=4):
    net = Net(steps=steps)
    net.end(net.first(), 32)
    net.layers[-1] = replace(net.layers[-1], neuron="lif", threshold=0.5, spikes="lif")
    return net


def image_stream():
    net = Net()
    return net.end(net.first(stream="y", opens=True), 32)


def reopened(stride):
    """A stream that starts again on a smaller map, under the same name."""
    net = Net()
    source = net.conv(net.first(), "wide", 32, 32, 1, stream="x", opens=True)
    return net.end(net.conv(source, "narrow", 32, 32, 3, stride, 1, threshold=0.2), 32)


def membranes_pooled(size=16, channels=32, kernel=3, stride=1, padding=1, steps=4, outputs=32, image=False):
    """A stream that maxima of sums open, negative ones too, and that a layer with a window joins."""
    net = Net(size, steps=steps)
    name, channels = (IMAGE, 3) if image else (net.conv(IMAGE, "first", channels, 3, 3, 1, 1), channels)
    opens = {"stream": "x", "opens": True, "pool_sums": True, "threshold": 0.1}
    net.conv(name, "pooled", outputs, channels, kernel, stride, padding, **opens)
    net.layers[-1] = replace(net.layers[-1], bias=net.layers[-1].bias - 1.2)
    net.conv("pooled", "joined", outputs, outputs, 3, 1, 1, stream="x")
    weights, bias = net.weights(10, outputs, 1)
    reduced = Synapse("last", "joined", *net.weights(outputs, outputs, 1), stream="x", neuron=None, threshold=0.0, reduce=True)
    net.layers += [reduced, Classifier("head", "last", weights[:, :, 0, 0], bias)]
    return net


RUNS = {
    "maps side by side": (beside,), "diagonal weights": (diagonal,), "sums of spikes": (summed,),
    "neuron before the classifier": (token_neuron,), "and six steps": (token_neuron, 6),
    "a stream from the image": (image_stream,), "a stream opened again": (reopened, 2),
    "image 3x3": (image_conv, 3, 1, 1), "image 7x7 stride 2": (image_conv, 7, 2, 3), "image 4x4 stride 4": (image_conv, 4, 4, 0),
    "spikes 3x3": (spike_conv, 3, 1, 1), "spikes 3x3 stride 2": (spike_conv, 3, 2, 1), "depthwise 3x3": (depthwise, 3),
    "depthwise 7x7": (depthwise, 7), "pool": (pooled,), "integrate and fire": (integrate_and_fire,), "attention": (attention,),
    "gate": (attention, 8, 64, 1.0, GATE), "gate whose heads fill no word": (attention, 8, 48, 1.0, GATE),
    **{f"T = {steps}": (image_conv, 4, 4, 0, steps) for steps in (1, 6, 7, 128)},
}  # fmt: skip


def run(net, chip, bits=OPERAND_BITS, **options):
    """Map and simulate an image of noise; returns the comparison with the reference, the opcodes, and the capture.

    ``bits``: of a normaliser's operands.
    """
    quantised = quantise(net.network(), Precision(chip.weight_bits, 8, 12, chip.membrane_bits, bits), **options)
    program = schedule(quantised, chip)
    queues = decode(program)
    prove(chip, queues, len(program.dram))
    mapped, memories = SimpleNamespace(network=quantised, program=program), Memories.empty(chip, program.dram)
    pixels = net.rng.uniform(-2, 2, (net.image.channels, net.image.height, net.image.width))
    simulate.write_image(mapped, memories.dram, pixels)
    capture = Capture(chip, program.notes, None, True)
    Simulation(chip, queues, memories, capture).run()
    check = simulate.compare(mapped, pixels, capture, simulate.read_logits(program, memories.dram))
    return check, {head["opcode"] for queue in queues.values() for head in queue}, capture


@pytest.mark.parametrize("preset", ["small_t4", "adders_512"])
@pytest.mark.parametrize("name", RUNS)
def test_the_operator_equals_the_reference(name, preset):
    build, *arguments = RUNS[name]
    check, opcodes, capture = run(build(*arguments), load_chip(preset).replace(**ROOMY))
    assert check.differing == {"spikes": 0, "membranes": 0, "logits": 0}
    silent = [tensor for tensor, words in capture.words.items() if not words.any()]
    assert not silent, "a map without a spike shows nothing"


MAXIMA = {
    "lanes": ("small_t4", {}, {}, False), "odd map, six steps": ("small", {"size": 7, "steps": 6}, {}, False),
    "chunks of the kernel": ("small", {"size": 9, "channels": 20, "outputs": 20}, {"weight_rows": 64}, False),
    "two sums at a time": ("adders_512", {}, {"psum_rows": 40}, False),
    "stride 2, pointwise": ("small_t4", {"size": 5, "channels": 40, "kernel": 1, "stride": 2, "padding": 0, "steps": 5},
                            {"weight_rows": 48}, False),
    "one position": ("small_t4", {"size": 2}, {}, False),
    "a kernel of 5x5, a sum at a time": ("small_t4", {"size": 6, "channels": 4, "kernel": 5, "padding": 2},
                                         {"psum_rows": 16}, False),
    "of the image, one step": ("small_t4", {"size": 6, "image": True, "steps": 1}, {}, False),
    "maps in DRAM, lanes": ("small_t4", {}, {"spike_in_rows": 200}, True),
    "maps in DRAM, chunks": ("small", {}, {"spike_in_rows": 600, "weight_rows": 128, "psum_rows": 64}, True),
    "maps and stream in DRAM": ("small", {"size": 15, "channels": 20, "outputs": 40},
                                {"spike_in_rows": 500, "weight_rows": 128, "psum_rows": 64, "residual_rows": 200, "cores": 3},
                                True),
    "maps and stream in DRAM, lanes": ("small_t4", {"size": 13, "steps": 6}, {"spike_in_rows": 200, "residual_rows": 100}, True),
}  # fmt: skip


@pytest.mark.parametrize("case", MAXIMA)
def test_a_maximum_over_membranes_equals_the_reference(case):
    preset, sizes, changes, streamed = MAXIMA[case]
    net, chip = membranes_pooled(**sizes), load_chip(preset).replace(**ROOMY | {"residual_maximum": 1} | changes)
    check, _, capture = run(net, chip)
    assert check.differing == {"spikes": 0, "membranes": 0, "logits": 0}
    assert capture.notes["streamed"] == streamed
    channels = net.layers[-3].weight.shape[1]
    peaks = capture.inputs["conv.pooled"][..., :channels]
    assert (peaks < 0).any() and (peaks > 0).any()
    assert capture.words["pooled"].any()


@pytest.mark.parametrize("case", ["lanes", "chunks of the kernel", "maps and stream in DRAM"])
def test_a_maximum_takes_the_same_time_cycle_by_cycle(case):
    preset, sizes, changes, _ = MAXIMA[case]
    chip = load_chip(preset).replace(**ROOMY | {"residual_maximum": 1} | changes)
    net = membranes_pooled(**sizes)
    network = quantise(net.network(), Precision(chip.weight_bits, 8, 12, chip.membrane_bits))
    program = schedule(network, chip)
    pixels = net.rng.uniform(-2, 2, (3, net.image.height, net.image.width))
    trained = SimpleNamespace(normalised=lambda: [pixels])
    same(SimpleNamespace(network=network, program=program, queues=decode(program), trained=trained), 0)


@pytest.mark.parametrize(("preset", "weight_rows"), [("small_t4", 64), ("small_t4", 16), ("adders_512", 64)])
def test_maps_side_by_side_in_chunks_equal_the_reference(preset, weight_rows):
    """Weights of two maps, of one word of a map, and of one map at a time."""
    check, _, capture = run(beside(), load_chip(preset).replace(**ROOMY | {"weight_rows": weight_rows}))
    assert check.differing == {"spikes": 0, "membranes": 0, "logits": 0}
    assert capture.words["mixed.2"].any()


@pytest.mark.parametrize(
    ("count_rows", "dataflow"),
    [(1 << 14, {sequencer.ATTEND_KV, sequencer.ATTEND_Q}), (2, {sequencer.ATTEND_SCORES})],
)
def test_both_dataflows_of_attention_equal_the_reference(count_rows, dataflow):
    """The counts of K^T V do not fit two rows: the mapper takes the other dataflow."""
    check, opcodes, capture = run(attention(), load_chip("adders_512").replace(**ROOMY | {"count_rows": count_rows}))
    attends = {sequencer.ATTEND_KV, sequencer.ATTEND_Q, sequencer.ATTEND_SCORES, sequencer.ATTEND_GATE}
    assert opcodes & attends == dataflow
    assert check.differing == {"spikes": 0, "membranes": 0, "logits": 0}
    assert capture.words["attended"].any()


def kernel_on_a_sum():
    net = Net()
    net.layers.append(Sum("sum", (net.first(), net.conv("first", "second", 32, 32, 3, 1, 1))))
    return net.end(net.conv("sum", "third", 32, 32, 3, 1, 1), 32)


def kernel_on_maps_beside():
    net = Net()
    net.layers.append(Concat("beside", (net.first(), net.conv("first", "second", 32, 32, 3, 1, 1))))
    return net.end(net.conv("beside", "third", 32, 64, 3, 1, 1), 32)


def unequal_maps_beside():
    net = Net()
    net.layers.append(Concat("beside", (net.first(), net.conv("first", "second", 16, 32, 3, 1, 1))))
    return net.end(net.conv("beside", "third", 32, 48, 1), 32)


def maps_beside_beside():
    net = Net()
    net.layers.append(Concat("beside", (net.first(), net.conv("first", "second", 32, 32, 1))))
    net.layers.append(Concat("more", ("beside", "first")))
    return net.end(net.conv("more", "third", 32, 96, 1), 32)


@pytest.mark.parametrize(
    ("build", "arguments", "message"),
    [
        (attention, (8, 384), r"layer 'attention': heads of 48 channels do not fill words of 64 columns evenly"),
        (attention, (8, 64, 0.3), r"layer 'attention': threshold / scale must be a multiple of 1/2"),
        (kernel_on_a_sum, (), r"layer 'conv.third': not mapped yet: a 3x3 kernel of stride 1 on a sum of spike maps"),
        (kernel_on_maps_beside, (), r"layer 'conv.third': not mapped yet: a 3x3 kernel of stride 1 on maps side"),
        (unequal_maps_beside, (), r"layer 'beside': required maps of one shape side by side"),
        (maps_beside_beside, (), r"layer 'more': not mapped yet: maps side by side beside others"),
    ],
)
def test_what_cannot_run_is_refused_by_name(build, arguments, message):
    with pytest.raises(ArchsimError, match=message):
        run(build(*arguments), load_chip("adders_512").replace(**ROOMY))


def test_an_image_wider_than_a_word_is_refused():
    net = Net(8, 65)
    net.end(net.first(), 32)
    with pytest.raises(ArchsimError, match="an image of 65 channels needs more than one word"):
        run(net, load_chip("adders_512").replace(**ROOMY))
