"""Do trace and execute agree? The spikes of a run, replayed, take the same cycles and count the same events."""

from pathlib import Path

import numpy as np
import pytest

import archsim
from archsim import simulate
from archsim.contracts.common.errors import ArchsimError

WORKLOADS = Path(__file__).parents[2] / "workloads"


def replays(workload, pixels, number, executed, capture):
    """The spikes of a run of an image, replayed: every field of every record, and every word that is kept, is the same."""
    replayed, again = simulate.run_image(workload, pixels, number, "trace", trace=capture.words)
    for name in executed.records.dtype.names:
        assert np.array_equal(executed.records[name], replayed.records[name]), name
    for name, words in capture.words.items():
        assert np.array_equal(words, again.words[name]), name


@pytest.mark.parametrize("chip", ["small", "small_t4", "adders_128", "adders_512"])
def test_replayed_spikes_take_the_same_cycles(mapped, chip):
    workload = mapped(chip)
    pixels = workload.trained.normalised()
    for number in range(5):
        replays(workload, pixels[number], number, *simulate.run_image(workload, pixels[number], number))


@pytest.mark.parametrize("chip", ["small", "small_t4"])
@pytest.mark.parametrize("name", ["spikformer", "meta_spikeformer", "spike_driven_transformer"])
def test_replayed_spikes_of_the_other_families(name, chip):
    workload = simulate.load(WORKLOADS / f"{name}.yaml", chip)
    pixels = workload.trained.normalised()[0]
    replays(workload, pixels, 0, *simulate.run_image(workload, pixels, 0))


def test_recorded_spikes_drive_the_time(workload_file):
    """The float network's recorded spikes: other spikes than the chip's own, so other cycles, but near."""
    executed = archsim.run(workload_file, images=3)
    traced = archsim.run(workload_file, images=3, mode="trace")
    assert traced.accuracy is None
    ratio = sum(image.cycles for image in traced.images) / sum(image.cycles for image in executed.images)
    assert 0.8 < ratio < 1.25
    assert ratio != 1.0


def test_check_has_nothing_to_compare_in_trace_mode(workload_file):
    with pytest.raises(ArchsimError, match="--check needs mode execute"):
        archsim.run(workload_file, mode="trace", check=True)


def test_an_image_beyond_the_recording_is_refused(workload_file):
    with pytest.raises(ArchsimError, match="only 32 images were recorded"):
        archsim.run(workload_file, mode="trace", images=33)
