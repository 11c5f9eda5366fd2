"""Does the Spiking MLP run exactly: turned maps, streams that stay, norms by token, one by one and all together, trained?"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from archsim import simulate
from archsim.config import load_chip, load_workload
from archsim.contracts import sequencer
from archsim.contracts.common.errors import ArchsimError
from archsim.workload import Workload, read
from mapping import reference
from mapping.ir import HEIGHT, WIDTH, Classifier, Synapse
from mapping.networks.spiking_mlp import PUBLISHED
from mapping.networks.weights import Shapes
from mapping.nodes import Concat
from mapping.quantise import Precision
from mapping.schedule import require_room, schedule
from mapping.skeleton import skeleton
from tests.system.test_operators import ROOMY, Net, run
from tests.system.test_stepped import same
from tests.system.test_trace import replays

PLACE = Path(__file__).parents[2] / "workloads" / "spiking_mlp.yaml"
EXACT = {"spikes": 0, "membranes": 0, "logits": 0}
CHIPS = {
    "small_complete": load_chip("small_complete"),
    "four lanes": load_chip("small_t4").replace(name="small_t4 with a transposer", transposer=1),
    "64 columns": load_chip("adders_512").replace(name="adders_512 with a transposer", transposer=1),
}  # fmt: skip
"""One lane and four, words of 16 columns and of 64, gangs of two and of eight cores."""


def along(net, source, name, axis, size):
    """A layer over an axis of ``size``."""
    net.layers.append(Synapse(f"conv.{name}", source, *net.weights(size, size, 1), spikes=name, axis=axis))
    return name


def turned(axis, size):
    net = Net(size)
    return net.end(along(net, net.first(), "mixed", axis, size), 32)


def turned_both(size=6):
    """Height and width of one map, beside it; the next layer's map is turned too."""
    net = Net(size)
    names = [net.first(), along(net, "first", "h", HEIGHT, size), along(net, "first", "w", WIDTH, size)]
    net.layers.append(Concat("all", tuple(names)))
    fused = net.conv("all", "fused", 40, 96, 1)
    return net.end(along(net, fused, "again", HEIGHT, size), 40)


def kept(size=6):
    """A stream that stays while two others are made of it, one after the other."""
    net = Net(size)
    net.first(stream="h", opens=True)
    for number, source in enumerate(("first", "sum.0")):
        net.conv(source, f"part.{number}", 32, 32, 1, stream="h", into=f"t.{number}")
        net.conv(f"part.{number}", f"sum.{number}", 32, 32, 1, stream=f"t.{number}")
    return net.end("sum.1", 32)


def by_token(size=5):
    """Norms by token before neurons alone, and on the way into a stream."""
    net = Net(size)
    source, channels = net.first(stream="h", opens=True), 32
    for number, more in enumerate(({}, {"stream": "h", "into": "t"}, {"stream": "t"})):
        scale = net.rng.uniform(0.4, 2.5, size * size)
        norm = np.stack([scale, net.rng.normal(0.2, 0.1, size * size)])
        outputs = 40 if number == 0 else 32
        source = net.conv(source, f"token.{number}", outputs, channels, 1, token_norm=norm, **more)
        channels = outputs
    return net.end(source, 32)


def counted():
    """The classifier reads the mean of one spike map."""
    net = Net()
    weights, bias = net.weights(10, 32, 1)
    net.layers.append(Classifier("head", net.first(), weights[:, :, 0, 0], bias))
    return net


RUNS = {
    **{f"over {axis} of {size}": (turned, axis, size) for axis in (HEIGHT, WIDTH) for size in (4, 20)},
    "over both, beside": (turned_both,), "a stream that stays": (kept,), "norms by token": (by_token,),
    "the mean of spikes": (counted,),
}  # fmt: skip


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("name", RUNS)
def test_the_operator_equals_the_reference(name, chip):
    """An axis of 20 takes two words of 16 columns."""
    build, *arguments = RUNS[name]
    check, opcodes, capture = run(build(*arguments), CHIPS[chip].replace(**ROOMY), classes=3)
    assert check.differing == EXACT
    assert (sequencer.TRANSPOSE in opcodes) == (build in (turned, turned_both))
    silent = [tensor for tensor, words in capture.words.items() if not words.any()]
    assert not silent, "a map without a spike shows nothing"


@pytest.mark.parametrize("rows", [32 * 4, 3 * 32 * 4])
def test_a_map_turned_by_rows_comes_in_tiles(rows):
    """The output bank holds one row of the turned map, 32 channels and 4 steps, at a time, or three of 8."""
    check, _, capture = run(turned(WIDTH, 8), CHIPS["small_complete"].replace(**ROOMY | {"spike_out_rows": rows}))
    assert check.differing == EXACT
    assert capture.words["mixed by width"].any()


@pytest.mark.parametrize("param_rows", [8, 64, 1023])
def test_parameters_of_tokens_come_in_turns_or_stay(param_rows):
    """Two tokens at a time, 16, or those of all layers from the start."""
    chip = CHIPS["small_complete"].replace(**ROOMY | {"param_rows": param_rows, "weight_rows": 64})
    check, _, _ = run(by_token(3), chip, classes=2)
    assert check.differing == EXACT


@cache
def mapped(chip):
    """The trained network on one of the chips, cut into the largest pieces."""
    config = load_workload(PLACE)
    sources = read(PLACE, config, CHIPS[chip], "execute")
    return Workload(config, sources.network, schedule(sources.network, CHIPS[chip]), sources.trained, sources.recording)


@pytest.mark.parametrize("chip", CHIPS)
def test_every_value_equals_the_reference_and_a_trace_takes_the_same_time(chip):
    workload = mapped(chip)
    for number, pixels in enumerate(workload.trained.normalised()[:2]):
        image, capture = simulate.run_image(workload, pixels, number, record=True)
        check = simulate.compare(workload, pixels, capture, image.logits)
        assert check.differing == EXACT
        assert check.compared["spikes"] > 30_000
        replays(workload, pixels, number, image, capture)


@pytest.mark.parametrize("chip", CHIPS)
def test_fast_equals_stepped(chip):
    same(mapped(chip), 0)


def test_integers_cost_less_than_half_a_point():
    """By the reference, to which the tests above hold the chip; on all 360 test images."""
    workload = mapped("small_complete")
    network, trained = workload.network, workload.trained
    runs = [reference.run(network, network.quantise_image(pixels)) for pixels in trained.normalised()]
    correct = sum(int(run.logits.argmax() == label) for run, label in zip(runs, trained.labels, strict=True))
    assert len(trained.labels) == 360
    assert correct >= 0.96 * 360
    assert abs(correct - trained.manifest["accuracy"]["test"]["correct"]) <= 0.005 * 360


def test_recorded_spikes_are_those_of_the_maps_that_the_chip_stores():
    """Turned maps and the nodes of the embedding, from the recording of the float network; nearly the chip's own."""
    workload = mapped("small_complete")
    words = workload.words(0)
    _, capture = simulate.run_image(workload, workload.trained.normalised()[0], 0)
    assert set(words) == set(capture.words)
    for name, recorded in words.items():
        if "mlp_head" not in name:  # spikes at other places would differ in nearly twice as many bits as there are spikes
            assert np.bitwise_count(recorded ^ capture.words[name]).sum() < np.bitwise_count(recorded).sum(), name
    image, _ = simulate.run_image(workload, workload.trained.normalised()[0], 0, "trace", trace=words)
    assert image.cycles > 0


def test_a_chip_without_a_transposer_is_refused_by_name():
    with pytest.raises(ArchsimError, match=r"layer 'first by height': exchanges axes of map 'first', which needs a chip with"):
        run(turned(HEIGHT, 4), load_chip("small_t4").replace(**ROOMY))


def test_what_has_no_room_is_refused_by_name():
    roomy = CHIPS["small_complete"].replace(**ROOMY)
    with pytest.raises(ArchsimError, match=r"layer 'conv.first': needs 256 rows of spike_out, but chip"):
        run(turned(HEIGHT, 8), roomy.replace(spike_out_rows=128))
    with pytest.raises(ArchsimError, match=r"layer 'conv.token.0': the weights of 32 inputs need more than the 16 rows"):
        run(by_token(), roomy.replace(weight_rows=16))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spike_out_rows": 200}, r"layer 'token_mix.0.proj_h.1': needs 256 rows of spike_out"),
        ({"param_rows": 8}, r"layer '.*': needs 12 rows of param"),
    ],
)
def test_what_of_a_published_size_has_no_room_is_refused_from_shapes(changes, message):
    network, chip = skeleton(PUBLISHED["mlp-spe-t"].network(Shapes()), Precision()), load_chip("adders_512_transposer")
    require_room(network, chip)
    with pytest.raises(ArchsimError, match=message):
        require_room(network, chip.replace(**changes))


def test_two_streams_at_a_time_beside_one_are_refused():
    net = kept()
    layers = [replace(x, stream="t.0") if x.name == "conv.sum.1" else x for x in net.layers]
    net.layers = layers
    with pytest.raises(ArchsimError, match=r"layer 'conv.part.1': leaves 'h' as it is .* go into 't.1', but 't.0' is read"):
        run(net, CHIPS["small_complete"].replace(**ROOMY))
