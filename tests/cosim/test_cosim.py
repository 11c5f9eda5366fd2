"""Do simulator and Verilog agree on the whole chip, bit for bit and cycle for cycle, and is it seen and located if they do not?"""

import re
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import Component

from archsim import cli, kernel, simulate
from archsim.contracts import multicast as multicast_contract
from archsim.contracts.sequencer import CORE0, DMA, MULTICAST, SYNAPSE
from cosim.banks import chip_banks, path
from cosim.machine import LATENCIES, TOP, beats_of
from cosim.run import cosimulate
from rtl import chip as top_level
from rtl.build import verilog
from rtl.payload import forward
from rtl.system import System
from rtl.units import core as core_unit
from rtl.units.multicast import Multicast
from rtl.units.neuron import NeuronUnit

ROOT = Path(__file__).parents[2]
WORKLOAD = ROOT / "workloads" / "spikingformer.yaml"
BUILD = ROOT / "build" / "cosim"

DIGITS = 10

pytestmark = pytest.mark.slow


def run(chip, **options):
    return cosimulate(WORKLOAD, chip, folder=BUILD, **options)


def check_equal(result, images):
    comparison, instructions = result.comparison, len(result.bench.plan.places)
    assert comparison.first is None and comparison.equal
    machine = result.bench.machine
    assert {memory.path for memory in machine.memories if memory.sram} == {
        path(bank) for bank in chip_banks(machine.chip)
    }
    compared = comparison.compared
    assert compared["start cycles"] == compared["end cycles"] == images * instructions > 300 * images
    assert compared["logits"] == 10 * images
    memories = ("weight", "param", "spike_in", "spike_out", "residual", "psum", "reduce")
    assert all(compared[f"{memory} rows of the cores"] > 0 for memory in memories)
    assert all(compared[f"{memory} rows of the attention unit"] > 0 for memory in ("spikes", "out", "counts"))
    assert all(
        compared[f"accesses of cores: {memory}"] == 4 * images for memory in (*memories, "pool_columns", "pool_lines")
    )
    assert compared["accesses of attention: counts"] == compared["accesses of attention: cleared"] == 2 * images


@pytest.mark.parametrize("chip", ["small", "small_t4"])
def test_digits(chip):
    result = run(chip, images=DIGITS)
    check_equal(result, DIGITS)
    assert any(head["gang"] == 3 for head in result.bench.plan.queues[CORE0] if head["opcode"] == SYNAPSE)


def test_random_latency_of_every_burst():
    constant = run("small", images=1)
    for seed in (1, 2):
        result = run("small", images=2, latency_seed=seed)
        check_equal(result, 2)
        assert result.bench.cycles[0] != constant.bench.cycles[0]


def test_the_smallest_buffers_that_the_mapper_accepts():
    result = run("small_t4", images=2, least=True)
    chip = result.mapped.program.chip
    assert chip.spike_in_rows < 1024 and chip.weight_rows < 512
    assert chip.queue_rows < len(result.bench.plan.queues[DMA])  # so its program memory is refilled
    assert result.comparison.compared["accesses of queues: program"] > 0
    check_equal(result, 2)
    check_equal(run(chip, images=1, latency_seed=3), 1)


# ------------------------------------------------------------------------------ something is wrong


def test_a_wrong_law_is_found(monkeypatch):
    """The simulator's COPY of more than 8 rows takes a cycle more than the hardware's: the first such COPY ends differently."""
    law = multicast_contract.cycles
    monkeypatch.setattr(multicast_contract, "cycles", lambda rows: law(rows) + (rows > 8))
    result = run("small", images=1)
    copies = result.bench.plan.queues[MULTICAST]
    number = next(index for index, head in enumerate(copies) if head["inner"] * head["outer"] > 8)
    first = result.comparison.first
    assert first.place == (MULTICAST, number)
    assert re.match(r"end: expected in cycle (\d+), found in cycle (\d+)", first.what)
    assert not result.comparison.differing["logits"]  # only the time is wrong


def test_a_wrong_value_is_found(monkeypatch):
    """The simulator flips a bit of the first row that it copies to core 0."""
    copy = kernel.multicast.copy

    def broken(fields, chip, memories):
        result = copy(fields, chip, memories)
        if fields["cores"] & 1:
            bank = memories.cores[0].spike_in[fields["bank"]]
            bank[fields["base"]] ^= 1
        return result

    monkeypatch.setattr(kernel.multicast, "copy", broken)
    result = run("small", images=1)
    copies = result.bench.plan.queues[MULTICAST]
    number, head = next((index, head) for index, head in enumerate(copies) if head["cores"] & 1)
    assert result.comparison.first.place == (MULTICAST, number)
    assert f"core 0 spike_in[{head['bank']}]: row {head['base']} " in result.comparison.first.what


class StuckMembrane(NeuronUnit):
    """The lowest bit of the first neuron's membrane is stuck at 0."""

    def _neuron(self, m, first, kept, y, threshold, v, enable):
        fires = super()._neuron(m, first, kept, y, threshold, v, enable)
        m.d.sync += v[0].eq(0)
        return fires


class LateMulticast(Component):
    """A multicast with a register too many behind ``done``."""

    def __init__(self, chip):
        self.unit = Multicast(chip)
        self.layout = self.unit.layout
        super().__init__(self.unit.signature)

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = self.unit
        forward(m, self, {name: (self.unit, name) for name in self.signature.members if name != "done"})
        m.d.sync += self.done.eq(self.unit.done)
        return m


def run_with(monkeypatch, module, name, replacement, **options):
    """Run an image on Verilog with ``replacement`` in place of a part; the unit's own Verilog stays as it is."""
    program = simulate.load(WORKLOAD, "small").program
    with monkeypatch.context() as patch:
        patch.setattr(module, name, replacement)
        text = verilog(System(program.chip, beats_of(program.chip, len(program.dram)), LATENCIES), TOP)
    return run("small", images=1, text=text, **options)


def test_a_wrong_register_is_found(monkeypatch, tmp_path):
    wave = tmp_path / "wave.vcd"
    result = run_with(monkeypatch, core_unit, "NeuronUnit", StuckMembrane, wave=wave)
    first, queues = result.comparison.first, result.bench.plan.queues
    assert queues[first.place[0]][first.place[1]]["opcode"] == SYNAPSE
    assert re.match(r"core \d (spike_out|residual|reduce)\[\d\]: row \d+ at its end: expected 0x", first.what)
    text = wave.read_text()
    assert "$scope module core0 $end" in text and f"#{10 * first.cycle}\n" in text


def test_a_register_too_many_is_found(monkeypatch):
    first = run_with(monkeypatch, top_level, "Multicast", LateMulticast).comparison.first
    assert first.place == (MULTICAST, 0) and first.what.startswith("end: ")


# ------------------------------------------------------------------------------ the command


def archsim(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["archsim", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as end:
        return end.code or 0
    return 0


def test_the_command_prints_what_was_compared(monkeypatch, capsys):
    assert archsim(monkeypatch, "cosim", WORKLOAD, "--chip", "small", "--images", 1, "--build", BUILD) == 0
    printed = capsys.readouterr().out
    assert "start cycles" in printed and "0 differing bits, 0 differing cycles" in printed
    assert "accesses of attention: cleared" in printed and "times as fast" in printed


def test_the_command_fails_on_a_difference(monkeypatch, capsys):
    law = multicast_contract.cycles
    monkeypatch.setattr(multicast_contract, "cycles", lambda rows: law(rows) + 1)
    assert archsim(monkeypatch, "cosim", WORKLOAD, "--chip", "small", "--images", 1, "--build", BUILD) == 1
    assert "multicast instruction 0 end: expected in cycle" in " ".join(capsys.readouterr().out.split())
