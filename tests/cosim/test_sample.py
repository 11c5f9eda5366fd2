"""Is a sample of single instructions drawn as it should, equal on both sides, and is it seen and located if something is wrong?"""

from collections import Counter

import numpy as np
import pytest

from archsim import cli, simulate
from archsim.contracts import multicast as multicast_contract
from archsim.contracts.sequencer import CORE0, MULTICAST, OPCODES, SYNAPSE
from cosim.machine import LATENCIES, TOP, beats_of
from cosim.report import show_sample
from cosim.sample import sample, values
from cosim.strata import border, draw
from mapping.quantise import IntPlanes
from rtl.build import verilog
from rtl.system import System
from rtl.units import core as core_unit
from rtl.units.neuron import NeuronUnit
from tests.cosim.test_cosim import BUILD, WORKLOAD, archsim

COUNT = 24


@pytest.fixture(scope="module")
def mapped():
    return simulate.load(WORKLOAD, "small")


def run(mapped, **options):
    return sample(mapped, COUNT, 3, BUILD, **options)


# ------------------------------------------------------------------------------ the draw


def test_each_stratum_has_its_turn():
    strata = {"a": [(0, 0)], "b": [(1, n) for n in range(100)], "c": [(1, 0), (1, 1)], "d": []}
    drawn = draw(strata, 10, 1)
    assert len(drawn.places) == len(set(drawn.places)) == 10
    assert drawn.strata["a"] == (1, 1) and drawn.strata["d"] == (0, 0)
    assert drawn.strata["c"] == (2, 2)  # both, in whichever stratum they were drawn
    assert drawn.strata["b"] == (100, 9)
    assert draw(strata, 10, 1) == drawn != draw(strata, 10, 2)


def test_a_sample_larger_than_the_program_is_all_of_it():
    assert draw({"a": [(0, 0), (0, 1)], "b": [(0, 1)]}, 5, 0).places == [(0, 0), (0, 1)]


@pytest.mark.parametrize(
    ("changes", "reaches"),
    [({}, False), ({"in_y": -1}, True), ({"in_x": -1}, True), ({"in_y": 3}, True), ({"out_width": 5}, True)],
)
def test_windows_beyond_the_input(changes, reaches):
    """3 x 3 windows with stride 2 of 2 x 4 positions on 7 x 9: they end with row 4 (6 in columns: 0 + 3 x 2 + 3 = 9)."""
    head = {
        "in_y": 0, "in_x": 0, "out_height": 2, "out_width": 4, "stride": 2, "kernel_height": 3, "kernel_width": 3,
        "in_height": 7, "in_width": 9,
    }  # fmt: skip
    assert border(head | changes) == reaches


# ------------------------------------------------------------------------------ on the Verilog


@pytest.mark.slow
def test_both_sides_agree(mapped):
    result = run(mapped)
    queues, places = result.mapped.queues, result.sample.places
    assert result.comparison.equal and result.first is None and len(result.cycles) == COUNT
    opcodes = Counter(OPCODES[queues[engine][index]["opcode"]] for engine, index in places)
    assert {"LOAD", "STORE", "COPY", "SYNAPSE", "PLANES", "ATTEND_KV", "ATTEND_Q"} <= set(opcodes)
    members = sum(
        queues[engine][index]["gang"].bit_count() if queues[engine][index]["opcode"] == SYNAPSE else 1
        for engine, index in places
    )
    compared = result.comparison.compared
    assert members > COUNT and compared["start cycles"] == compared["end cycles"] == members
    assert all(compared[f"{memory} rows of the cores"] > 0 for memory in ("residual", "reduce", "spike_out"))
    assert [drawn for _, drawn in result.sample.strata.values()].count(0) < 5


@pytest.mark.slow
def test_a_wrong_law_is_found(mapped, monkeypatch):
    """The simulator's COPY of more than 8 rows takes a cycle more than the hardware's."""
    law = multicast_contract.cycles
    monkeypatch.setattr(multicast_contract, "cycles", lambda rows: law(rows) + (rows > 8))
    result = run(mapped)
    copies = result.mapped.queues[MULTICAST]
    wrong = [
        (engine, index) for engine, index in result.sample.places
        if engine == MULTICAST and copies[index]["inner"] * copies[index]["outer"] > 8
    ]  # fmt: skip
    assert result.first in wrong
    assert result.comparison.differing["end cycles"] == len(wrong)
    assert not result.comparison.differing["spike_in rows of the cores"]


class HighMembrane(NeuronUnit):
    """Bit 12 of the first neuron's membrane is stuck at 1."""

    def _neuron(self, m, first, kept, y, threshold, v, enable):
        fires = super()._neuron(m, first, kept, y, threshold, v, enable)
        m.d.sync += v[12].eq(1)
        return fires


@pytest.mark.slow
def test_a_wrong_register_is_found(mapped, monkeypatch, capsys):
    program = mapped.program
    with monkeypatch.context() as patch:
        patch.setattr(core_unit, "NeuronUnit", HighMembrane)
        text = verilog(System(program.chip, beats_of(program.chip, len(program.dram)), LATENCIES), TOP)
    result = run(mapped, text=text)
    engine, index = result.first
    assert engine >= CORE0 and result.mapped.queues[engine][index]["opcode"] == SYNAPSE
    assert not result.comparison.differing["end cycles"]
    show_sample(result, cli.console_of_tables())
    printed = capsys.readouterr().out
    assert f"first divergence  core {engine - CORE0} instruction {index} (SYNAPSE), cycle " in printed
    assert "at its end: expected 0x" in printed and "the two differ" in printed


@pytest.mark.slow
def test_the_command(monkeypatch, capsys):
    options = ["--chip", "small", "--sample", 2, "--seed", 1, "--build", BUILD]
    assert archsim(monkeypatch, "cosim", WORKLOAD, *options) == 0
    printed = " ".join(capsys.readouterr().out.split())  # titles of tables are wrapped
    assert "strata" in printed and "2 instruction(s)" in printed and "times as fast" in printed


def test_options_of_whole_runs_are_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["archsim", "cosim", str(WORKLOAD), "--sample", "2", "--least"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert "--sample: required without --least, which are for whole runs" in capsys.readouterr().err


def test_drawn_values_are_within_the_proof(mapped):
    network = mapped.network
    for layer in network.layers:
        if getattr(layer, "stream", None):
            bits = network.bounds["patch_embed.proj1_conv"]
            drawn = values(np.random.default_rng(0), network, layer, "residual", (1000, 4))
            assert 1 << (bits - 3) < np.abs(drawn).max() <= 1 << (bits - 2)
        if isinstance(layer, IntPlanes):
            drawn = values(np.random.default_rng(0), network, layer, "reduce", (1000, 4))
            assert np.abs(drawn).max() <= 1 << (network.bounds[layer.source] - 2)
