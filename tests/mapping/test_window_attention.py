"""Attention within windows in integers: order, tables and masks by hand, and the reference against the contract of the unit."""

from dataclasses import replace

import numpy as np
import pytest

from archsim.config import load_chip
from archsim.contracts import attention_softmax, masker, neuron
from archsim.contracts.common.errors import ArchsimError
from mapping.ir import IF_HALF_ONE, IMAGE, Map, Synapse
from mapping.nodes import WindowAttention
from mapping.quantise import Precision, quantise
from mapping.schedule import schedule
from mapping.window_attention import SCORES, K, Q, apart, on_chip, quantise_window, window_order
from mapping.window_reference import attend
from mapping.windows import runs

SHAPE, HEADS, STEPS = Map(4, 4, 8), 2, 5
CHIP = load_chip("small_complete").replace(name="windows", columns=8, neurons=4)


def layer(keep=1.0, shift=1):
    rng = np.random.default_rng(1)
    bias = rng.normal(0, 0.5, (HEADS, 4, 4))
    return WindowAttention("a", "q", "k", "v", "s", HEADS, 0.5, 2, shift, bias, keep, 0.8, 0.9, score_height=0.7, unit=True)


def integers(keep=1.0, shift=1):
    words = {"lanes": CHIP.lanes, "lanes_used": 1, "columns": CHIP.columns}
    return replace(quantise_window(layer(keep, shift), SHAPE, 3), **words)


def test_windows_of_a_map_that_is_shifted_up_and_left():
    """4x4, windows of 2: without a shift the first holds 0 1 4 5; shifted by 1 it holds 5 6 9 10, the last one wraps round."""
    plain, shifted = window_order(SHAPE, 2, 0).reshape(4, 4), window_order(SHAPE, 2, 1).reshape(4, 4)
    assert plain.tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert shifted.tolist() == [[5, 6, 9, 10], [7, 4, 11, 8], [13, 14, 1, 2], [15, 12, 3, 0]]


def test_tokens_from_both_ends_are_kept_apart():
    assert not apart(SHAPE, 2, 0).any()
    first, right, below, corner = apart(SHAPE, 2, 1)
    assert not first.any()
    assert (right == [[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]]).all()
    assert (below == [[0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]]).all()
    assert (corner == ~np.eye(4, dtype=bool)).all()
    assert len(set(integers().classes)) == 4


def test_the_table_is_a_softmax():
    """Entries of any choice of spikes, divided by their sum, are the softmax within what 8 bits allow; apart is exactly 0."""
    whole, found = layer(), integers()
    spikes = np.random.default_rng(2).random((50, HEADS, 4, 4)) < 0.5
    masks = apart(SHAPE, 2, 1)
    for window, kind in enumerate(found.classes):
        table = found.table[:, kind].reshape(HEADS, 4, 4, 2).astype(float)
        entries = np.where(spikes, table[..., 1], table[..., 0])
        exact = np.where(masks[window], 0, np.exp(whole.bias + 0.7 * spikes))
        exact /= exact.sum(-1, keepdims=True)
        assert (entries[..., masks[window]] == 0).all()
        assert np.abs(entries / entries.sum(-1, keepdims=True) - exact).max() < 4 / (2 * 255 / np.e**3)
    assert found.table.max() == 255


def test_units_of_the_thresholds():
    """A score fires at 0.8 / 0.5 = 1.6 counts, the result at 0.9 of a spike of v."""
    found = integers()
    assert (found.score_threshold, found.score_shift, found.threshold) == (round(1.6 * 256), 8, round(0.9 * 256))
    assert integers(0.25).keep == 64


def random_maps():
    rng = np.random.default_rng(4)
    return {name: rng.random((STEPS, SHAPE.positions, SHAPE.channels)) < 0.6 for name in "qkv"}


@pytest.mark.parametrize("keep", [1.0, 0.5])
@pytest.mark.parametrize("shift", [0, 1])
def test_the_reference_is_the_units(keep, shift):
    """Window by window and head by head as the contract of ATTEND_SOFTMAX says, of words that the masker's contract masks."""
    found, maps = integers(keep, shift), random_maps()
    y, fired, _ = attend(found, maps, 24)
    words = {name: _words(values, found, kind) for (name, values), kind in zip(maps.items(), (Q, K, None), strict=True)}
    for window, head in np.ndindex(4, HEADS):
        tokens = found.order[4 * window : 4 * window + 4]
        fields = {
            "tokens": 4, "tile": 4, "steps": STEPS, "channel": 4 * head, "segment": 4, "score_shift": 8, "keep": found.keep,
            "score_threshold": found.score_threshold, "seed": found.seed(SCORES, window * HEADS + head), "fraction": 8,
            "table_base": 0,
        }  # fmt: skip
        table = [tuple(map(int, row)) for row in found.table[head, found.classes[window]]]
        queries, keys, values = ([words[name][token] for token in tokens] for name in "qkv")
        expected = attention_softmax.reference_softmax((queries, keys, values), table, fields, 24)
        part = slice(4 * window, 4 * window + 4), slice(4 * head, 4 * head + 4)
        assert (y[:, part[0], part[1]].swapaxes(0, 1) == expected).all()
        for i, channel in np.ndindex(4, 4):
            spikes, _ = neuron.reference([row[channel] for row in expected[i]], found.threshold, neuron.IF_HALF, 24)
            assert fired[:, 4 * window + i, 4 * head + channel].tolist() == [bool(x) for x in spikes]
    assert 0.05 < fired.mean() < 0.95


def _words(values, found, kind):
    """Words [position][step] of a map of one word, masked as the instructions of the mapping do: a sequence a position."""
    words = [[int(sum(1 << c for c in np.flatnonzero(values[t, p]))) for t in range(STEPS)] for p in range(SHAPE.positions)]
    if kind is None or found.keep == masker.KEEP_ALL:
        return words
    first = [1] + [0] * (STEPS - 1)
    masked = (masker.reference([[w] for w in row], first, found.seed(kind, p), found.keep, 8) for p, row in enumerate(words))
    return [[w for (w,) in rows] for rows, _ in masked]


def test_masks_keep_their_share_and_differ():
    found = integers(0.25)
    q, k, scores = found.kept(Q, 64), found.kept(K, 64), found.kept_scores(64)
    for kept in (q, k, scores):
        assert abs(kept.mean() - 0.25) < 0.02
    assert (q != k).mean() > 0.3
    assert (found.kept(Q, 64) == q).all()
    assert (replace(found, number=4).kept(Q, 64) != q).mean() > 0.3


def test_runs_are_one_behind_the_other_in_both_orders():
    assert list(runs(np.array([4, 5, 6, 0, 1, 9]), 0, 6, 6)) == [(0, 3), (3, 5), (5, 6)]
    assert list(runs(np.array([4, 5, 6, 0, 1, 9]), 1, 5, 1)) == [(1, 2), (2, 3), (3, 4), (4, 5)]


def _mapped(make_network, chip, keep=0.5):
    """Three layers of the image, attention on them, and a layer that reads it."""
    rng = np.random.default_rng(6)
    layers = [
        Synapse(f"l.{name}", IMAGE, rng.normal(0, 1, (8, 1, 1, 1)), np.zeros(8), neuron=IF_HALF_ONE, spikes=name) for name in "qkv"
    ]
    layers += [layer(keep), Synapse("read", "s", rng.normal(0, 1, (8, 8, 1, 1)), np.zeros(8), neuron=IF_HALF_ONE, spikes="t")]
    network = quantise(make_network(*layers, image=Map(4, 4, 1), timesteps=STEPS), Precision())
    return schedule(on_chip(network, chip), chip)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"softmax_tokens": 0}, "layer 'a': needs a softmax over 4 tokens; use a chip of as many softmax_tokens"),
        ({"masker": 0}, "layer 'a': needs a masker; use a chip with one, or mask nothing"),
        ({"neurons": 8}, "layer 'a': needs heads of 4 channels in whole blocks of 8 within words of 8"),
        ({"columns": 2, "neurons": 2}, "layer 'a': needs heads of 4 channels in whole blocks of 2 within words of 2"),
        ({"attention_rows": 64}, "layer 'a': needs 80 rows of attention"),
    ],
)  # fmt: skip
def test_what_a_chip_has_no_room_for_is_refused_by_name(make_network, change, message):
    with pytest.raises(ArchsimError, match=message):
        _mapped(make_network, CHIP.replace(**change))


def test_without_masks_no_masker_is_needed(make_network):
    _mapped(make_network, CHIP.replace(masker=0), keep=1.0)
