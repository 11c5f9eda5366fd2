"""Is the clustering of spikes measured as it is defined, and do drawn spikes have it?"""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from archsim.clustering import Clustering, measure, recorded
from archsim.config import load_workload
from archsim.contracts.common.errors import ArchsimError
from archsim.report.terminal import headline
from archsim.summary import summarise
from archsim.synthetic import Synthetic

ARTEFACTS = Path(__file__).parents[2] / "workloads" / "artefacts"
COLUMNS = 16


def _drawn(clustering, rate, seed, lanes=1):
    """A map of 32 words, 40 positions and 4 steps as bool [1, steps, positions, channels]."""
    words = clustering.words(np.random.default_rng(seed), (40, 4 // lanes, 32, lanes), rate, COLUMNS, lanes)
    bits = (words[..., None] >> np.arange(COLUMNS, dtype=np.uint64)) & np.uint64(1)
    return bits.astype(bool).transpose(1, 3, 0, 2, 4).reshape(1, 4, 40, -1)


def test_correlations_are_those_of_all_pairs():
    """Pair by pair: neighbours in time, neighbours in the raster, and pairs of one channel and image that share neither."""
    draws = np.random.default_rng(5)
    maps = [draws.random((2, 3, 4, 5)) < draws.random((2, 1, 1, 5)), draws.random((2, 3, 1, 2)) < 0.4]
    sums = np.zeros((3, 2))
    for spikes in maps:
        images, steps, positions, channels = spikes.shape
        rate, single = spikes.mean(), np.zeros((3, 2))
        for image, channel in product(range(images), range(channels)):
            places = list(product(range(steps), range(positions)))
            for (t, n), (u, m) in product(places, places):
                pair = (float(spikes[image, t, n, channel]) - rate) * (float(spikes[image, u, m, channel]) - rate)
                kinds = (t != u and n != m, u == t + 1 and n == m, m == n + 1 and t == u)
                single += [[pair * kind, rate * (1 - rate) * kind] for kind in kinds]
        single[0] *= spikes.size / max(1, images * channels * steps * (steps - 1) * positions * (positions - 1))
        sums += single
    found = measure(maps, "pairs")
    assert (found.spread, found.time, found.tokens) == pytest.approx([max(0, a / b) for a, b in sums], abs=1e-12)


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("asked", [(0.05, 0.2, 0.3), (0.2, 0.5, 0.4), (0.0, 0.0, 0.0), (0.1, 0.1, 0.6)])
def test_drawn_spikes_cluster_as_asked_and_fire_at_the_rate(asked, lanes):
    """512 channels x 40 positions x 4 steps, of which a spread of 0.2 leaves some 2,000 independent ones: 2 % each."""
    maps = [_drawn(Clustering(*asked, "test"), 0.2, seed, lanes) for seed in range(4)]
    found = measure([np.concatenate(maps)], "drawn")
    assert np.mean(maps) == pytest.approx(0.2, abs=0.005)
    assert (found.spread, found.time, found.tokens) == pytest.approx(asked, abs=0.04)


def test_few_channels_that_fire_apart_still_fire_at_the_rate():
    """16 channels of a spread of 0.3 would have a mean of 0.2 +- 0.055; 10,000 positions and steps tell it to 0.002."""
    words = Clustering(0.3, 0.3, 0.3, "test").words(np.random.default_rng(3), (10_000, 1, 1, 1), 0.2, COLUMNS, 1)
    bits = (words[..., None] >> np.arange(COLUMNS, dtype=np.uint64)) & np.uint64(1)
    assert bits.mean() == pytest.approx(0.2, abs=0.004)
    assert bits.mean((0, 1, 2, 3)).std() > 0.1


def test_the_same_seed_gives_the_same_spikes():
    clustering = Clustering(0.1, 0.2, 0.3, "test")
    first, again, other = (_drawn(clustering, 0.2, seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_the_ends_of_the_rates():
    clustering = Clustering(0.1, 0.2, 0.3, "test")
    assert not _drawn(clustering, 0.0, 1).any()
    assert _drawn(clustering, 1.0, 1).all()


def test_what_no_correlation_can_be_is_refused():
    with pytest.raises(ArchsimError, match=r"here: required a spread in 0\.\.1 .* given 1, 0 and 0"):
        Clustering(1.0, 0.0, 0.0, "here")


@pytest.mark.parametrize(
    ("family", "expected"), [("spikingformer", (0.035, 0.165, 0.186)), ("spikformer", (0.248, 0.221, 0.578))]
)
def test_of_the_trained_networks(family, expected):
    """docs/decisions/0027 quotes these."""
    found = recorded(ARTEFACTS / f"{family}_digits")
    assert (found.spread, found.time, found.tokens) == pytest.approx(expected, abs=5e-4)


def test_outputs_say_how_spikes_were_drawn(result):
    clustering = Clustering(0.1, 0.2, 0.3, "x")
    assert Synthetic(None, {}, 1).spikes == "SYNTHETIC spikes, drawn independently"
    assert Synthetic(None, {}, 1, clustering).spikes.startswith("SYNTHETIC spikes, spread over channels 0.100, ")
    summary = summarise(result)
    assert dict(headline(summary))["images"] == "1 (execute)"
    assert dict(headline({**summary, "spikes": "SYNTHETIC"}))["images"] == "1 (execute: SYNTHETIC)"


def test_a_workload_without_rates_cannot_cluster(tmp_path):
    path = tmp_path / "w.yaml"
    path.write_text("name: w\nnetwork: {family: spikingformer, size: 8-512}\nspikes_like: .\n")
    with pytest.raises(ArchsimError, match=r"spikes_like: required a `rates:` key beside it"):
        load_workload(path)
