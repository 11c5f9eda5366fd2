"""Do the trained networks with experts and with a dense MLP run exactly, and are loads and placements what they are said to be?"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from archsim import simulate
from archsim.config import load_workload, read_chip
from archsim.results import RunResult
from archsim.summary import summarise
from archsim.workload import Workload, read
from mapping import reference
from mapping.schedule import schedule
from scripts.placement import measure, placements
from tests.system.test_stepped import same
from tests.system.test_trace import replays

FOLDER = Path(__file__).parents[2] / "workloads"
NAMES = ("spiking_moe", "spike_driven_transformer")


@cache
def mapped(name, spike_in_rows=None):
    """A workload cut into the largest pieces: without the search for the fastest, which takes longer than the tests."""
    place = FOLDER / f"{name}.yaml"
    config = load_workload(place)
    chip = read_chip(config.chip, config.directory).params
    chip = chip.replace(spike_in_rows=spike_in_rows) if spike_in_rows else chip
    sources = read(place, config, chip, "execute")
    return Workload(config, sources.network, schedule(sources.network, chip), sources.trained, sources.recording)


@cache
def expected(name):
    """The reference's run of every test image."""
    network = mapped(name).network
    return [reference.run(network, network.quantise_image(pixels)) for pixels in mapped(name).trained.normalised()]


@pytest.mark.parametrize("name", NAMES)
def test_integers_cost_less_than_half_a_point(name):
    trained = mapped(name).trained
    correct = sum(int(run.logits.argmax() == label) for run, label in zip(expected(name), trained.labels, strict=True))
    assert len(trained.labels) == 360
    assert abs(correct - trained.manifest["accuracy"]["test"]["correct"]) <= 0.005 * 360


@pytest.mark.parametrize(("name", "rows"), [*((name, None) for name in NAMES), ("spiking_moe", 300)])
def test_every_value_equals_the_reference_and_a_trace_takes_the_same_time(name, rows):
    """The last on banks that hold no map: tokens and results of experts pass through DRAM."""
    workload = mapped(name, rows)
    assert workload.program.notes["streamed"] == bool(rows)
    for number, pixels in enumerate(workload.trained.normalised()[:2]):
        run, capture = simulate.run_image(workload, pixels, number, record=True)
        check = simulate.compare(workload, pixels, capture, run.logits)
        assert check.differing == {"spikes": 0, "membranes": 0, "logits": 0}
        replays(workload, pixels, number, run, capture)


@pytest.mark.parametrize("name", NAMES)
def test_fast_equals_stepped(name):
    same(mapped(name), 0)


@pytest.mark.parametrize("name", NAMES)
def test_the_recorded_gate_is_the_float_networks(name):
    """Words of a gate follow from q, k and v; the recording also holds the float network's neurons on the counts."""
    workload = mapped(name)
    for number in range(4):
        words = workload.words(number)
        for block in range(2):
            attn = f"block.{block}.attn"
            q, fired = (workload.recording.spikes(f"{attn}.{lif}", number) for lif in ("q_lif", "talking_heads_lif"))
            assert np.bitwise_count(words[f"{attn}.gated"]).sum() == (q & fired).sum()


def test_the_summary_has_the_loads_of_the_reference():
    workload = mapped("spiking_moe")
    runs = [simulate.run_image(workload, workload.trained.normalised()[n], n)[0] for n in range(2)]
    summary = summarise(RunResult("moe", "execute", workload.program, runs, None, None, None, None))
    for entry in summary["experts"]:
        routes = np.concatenate([run.routes[entry["name"]] for run in expected("spiking_moe")[:2]])
        assert entry["chosen"] == np.bincount(routes[:, 1], minlength=4).tolist()
        assert entry["accepted"] == np.bincount(routes[routes[:, 2] >= 0, 1], minlength=4).tolist()
        assert entry["dropped"] == (routes[:, 2] < 0).sum()
        assert entry["flits"] > entry["flit_stalls"] > 0
    assert [entry["name"] for entry in summary["experts"]] == ["block.0.mlp", "block.1.mlp"]
    stalls = sum(int(run.records["flit_stalls"].sum()) for run in runs)
    assert sum(entry["flit_stalls"] for entry in summary["experts"]) == stalls


def test_placements_share_cores_in_every_way_once():
    found = list(placements(4, 4))
    assert (
        len(found) == len(set(found)) == 14 + 24
    )  # partitions of 4 experts but that into single ones; orders of 4 cores
    assert {(0, 0, 0, 0), (0, 0, 1, 1), (0, 1, 0, 2), (3, 2, 1, 0)} < set(found)
    assert list(placements(2, 3)) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]


def test_the_placement_of_the_mapper_is_one_of_them():
    workload = mapped("spiking_moe")
    cycles, stalls = measure(workload, (0, 1, 2, 3))
    assert cycles == simulate.recorded_cycles(workload)
    assert stalls > 0
    assert measure(workload, (0, 0, 1, 1)) is None, "two experts find no room in a residual bank of the preset"
