"""Is K^T V made by the engine that recorded spikes choose, and is the network the same with either?"""

from dataclasses import replace

import numpy as np
import pytest

from archsim import simulate
from archsim.contracts import sequencer
from archsim.report.terminal import headline
from archsim.results import RunResult
from archsim.summary import summarise
from mapping.context import Limits
from mapping.integer_nodes import IntAttention
from mapping.product import FirstProduct, first_products
from mapping.schedule import schedule
from tests.system.test_cuts import _assert_right

PRESETS = ["small", "small_t4", "adders_128", "adders_512"]


def layers(workload):
    return [layer for layer in workload.network.layers if isinstance(layer, IntAttention)]


def products(workload):
    """Cycles on both engines for the images that choose the mapping."""
    words = [workload.words(image) for image in workload.tuning_images()]
    return first_products(workload.network, workload.program.chip, words)


def mapped_by(workload, choice, **changes):
    """The workload, mapped again with this choice of engines."""
    limits = Limits(**workload.program.notes["limits"])
    chip = workload.program.chip.replace(**changes)
    return replace(workload, program=schedule(workload.network, chip, limits, choice))


def forced(workload, **changes):
    """The workload with the AND-popcount engine in every layer."""
    return mapped_by(workload, {layer.name: FirstProduct(1, 0, 1) for layer in layers(workload)}, **changes)


def kv_heads(workload):
    return [head for head in workload.queues[sequencer.ATTENTION] if head["opcode"] == sequencer.ATTEND_KV]


def kv_cycles(workload, image, mode):
    """Durations of every ATTEND_KV."""
    pixels = workload.trained.normalised()[image]
    records = simulate.run_image(workload, pixels, image, mode)[0].records
    records = records[records["opcode"] == sequencer.ATTEND_KV]
    return (records["end"] - records["start"]).tolist()


@pytest.mark.parametrize("chip", PRESETS)
def test_the_counts_are_exact(mapped, chip):
    """The cycles by which the engine is chosen are those that the instruction takes on these spikes, on either engine."""
    workload = mapped(chip)
    expected, images = products(workload), workload.tuning_images()
    events = np.sum([kv_cycles(workload, image, "trace") for image in images], axis=0)
    popcounts = np.sum([kv_cycles(forced(workload), image, "trace") for image in images], axis=0)
    assert events.tolist() == [product.event_cycles for product in expected.values()]
    assert popcounts.tolist() == [product.popcount_cycles for product in expected.values()]


def test_the_counts_are_exact_where_lanes_are_unused(mapped):
    """Three lanes, of which four time steps use two."""
    workload = mapped_by(mapped("small"), {}, lanes=3)
    events = [product.event_cycles for product in products(workload).values()]
    images = workload.tuning_images()
    assert np.sum([kv_cycles(workload, image, "trace") for image in images], axis=0).tolist() == events


@pytest.mark.parametrize("chip", PRESETS)
def test_the_chosen_engine_takes_fewer_cycles(mapped, chip):
    workload = mapped(chip)
    notes, expected = workload.program.notes["first_products"], products(workload)
    assert list(notes) == list(expected) == [layer.name for layer in layers(workload)]
    for head, (name, product) in zip(kv_heads(workload), expected.items(), strict=True):
        assert head["popcount"] == (product.popcount_cycles < product.event_cycles)
        assert notes[name] == product.note()
        assert notes[name]["engine"] == ("popcount" if head["popcount"] else "events")


@pytest.mark.parametrize("chip", PRESETS)
def test_either_engine_computes_the_network(mapped, chip):
    plain, other = mapped(chip), forced(mapped(chip))
    assert [head["popcount"] for head in kv_heads(other)] == [1] * len(layers(other))
    for image in (0, 7):
        _assert_right(other, other.trained.normalised()[image], image)
        assert kv_cycles(other, image, "execute") != kv_cycles(plain, image, "execute")


def test_heads_that_are_parts_of_words(mapped):
    """Words of 32 channels, heads of 16."""
    other = forced(mapped("small"), columns=32, neurons=8, count_rows=1024)
    assert {head["segment"] for head in kv_heads(other)} == {16}
    _assert_right(other, other.trained.normalised()[0], 0)


def test_replayed_spikes_take_the_same_cycles(mapped):
    other = forced(mapped("small_t4"))
    executed, capture = simulate.run_image(other, other.trained.normalised()[2], 2)
    replayed, _ = simulate.run_image(other, other.trained.normalised()[2], 2, "trace", trace=capture.words)
    assert np.array_equal(executed.records, replayed.records)


def test_dense_spikes_choose_the_popcount_engine(mapped):
    """Every channel of K fires: an event of each of 16 against 16 / 4 cycles for each of 16 transposed words."""
    workload = mapped("small")
    full = {name: np.full_like(words, 0xFFFF) for name, words in workload.words(0).items()}
    dense = first_products(workload.network, workload.program.chip, [full])
    # 4 steps x 4 words: 16 tokens of 16 events; 16 words in, 64 cycles for the block; 6 and 4 cycles besides.
    assert set(dense.values()) == {FirstProduct(16 * 256 + 6, 16 * (16 + 64) + 4, 1)}
    chosen = mapped_by(workload, dense)
    assert [head["popcount"] for head in kv_heads(chosen)] == [1, 1]
    _assert_right(chosen, chosen.trained.normalised()[4], 4)


def test_the_report_says_which_engine_and_why(mapped):
    workload = mapped_by(mapped("small"), {layers(mapped("small"))[0].name: FirstProduct(900, 800, 3)})
    run, _ = simulate.run_image(workload, workload.trained.normalised()[0], 0)
    result = RunResult("digits", "execute", workload.program, [run], None, None, None, None)
    summary = summarise(result)
    first, second = summary["first_products"].items()
    assert first[1] == {"engine": "popcount", "event_cycles": 900, "popcount_cycles": 800, "images": 3}
    assert second[1] == {"engine": "events"}
    lines = [text for label, text in headline(summary) if label == "K^T V"]
    assert lines == [
        f"{first[0]} by AND-popcount: 900 cycles by events, 800 by AND-popcount (3 recorded image(s))",
        f"{second[0]} by events",
    ]
    energy, counters = summary["energy_uj"], summary["counters_all_images"]
    assert energy["transposer"] > 0
    # The first layer alone: 4 steps x 4 words of a block of 16 tokens each.
    assert counters["transposed"] == 16 * 16 and counters["popcounts"] == 16 * 16 * 16
