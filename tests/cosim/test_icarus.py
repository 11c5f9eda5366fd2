"""Does the whole chip run on Icarus, under cocotb, as the simulator says? A very small network; an X would spread and be seen."""

from types import SimpleNamespace

import numpy as np
import pytest

from archsim.config import load_chip
from archsim.kernel import Simulation, decode
from archsim.simulate import write_image
from archsim.tensors import Capture
from archsim.units.sram import Memories
from mapping.quantise import Precision, quantise
from mapping.schedule import schedule
from rtl.build import simulation_ports, verilog
from rtl.chip import program_layout
from rtl.simulate import run_cocotb
from rtl.system import System
from tests.mapping.conftest import random_network
from tests.rtl import replay

CHIP = load_chip("small").replace(
    name="tiny", columns=4, neurons=4, weight_rows=64, param_rows=16, spike_in_rows=128, spike_out_rows=64, residual_rows=32,
    psum_rows=16, reduce_rows=4, attention_rows=32, count_rows=32, queue_rows=64, pool_steps=2, pool_rows=8,
)  # fmt: skip

LATENCY = [7, 0, 31, 2]

SPARE = 20
"""Cycles after the last instruction."""


def words(values, width):
    """Integers of any width as uint64 [rows, words]."""
    size = -(-width // 64) * 8
    return np.frombuffer(b"".join(value.to_bytes(size, "little") for value in values), np.uint64).reshape(
        len(values), -1
    )


def stimulus(program, dram, ports, cycles):
    """Inputs in every cycle, and the parts of the run."""
    layout, bus = program_layout(CHIP), CHIP.dram_bus_bytes
    rows = [
        layout.pack({"engine": engine, "row": row, "data": int.from_bytes(entry.tobytes(), "little")})
        for engine, queue in program.queues.items() for row, entry in enumerate(queue)
    ]  # fmt: skip
    beats = [int.from_bytes(dram[at : at + bus].tobytes(), "little") for at in range(0, len(dram), bus)]
    widths = dict(ports)
    address, index = widths["load__payload"] - 8 * bus, 2
    phases = {
        "reset": {"rst": np.ones(2)},
        "program": {"rst": 1, "program__valid": 1, "program__payload": words(rows, layout.width)},
        "dram": {
            "rst": 1, "load__valid": 1,
            "load__payload": words([row | beat << address for row, beat in enumerate(beats)], widths["load__payload"]),
        },
        "latency": {
            "rst": 1, "latency__valid": 1, "latency__payload": np.array([i | cycles << index for i, cycles in enumerate(LATENCY)]),
        },
        "run": {"rst": np.zeros(cycles)},
        "dump": {"dump__row": np.arange(len(beats))},
    }  # fmt: skip
    return replay.stimulus(ports, phases, {"latencies": len(LATENCY)})


@pytest.mark.slow
def test_a_very_small_network(tmp_path):
    network = quantise(
        random_network(3, height=3, width=3, stem=4, dim=4, hidden=4, timesteps=2, heads=1), Precision(8, 4, 6, 24)
    )
    program = schedule(network, CHIP)
    dram = np.pad(program.dram, (0, -len(program.dram) % CHIP.dram_bus_bytes))
    pixels = np.random.default_rng(0).uniform(-1, 1, (1, 3, 3))
    write_image(SimpleNamespace(network=network, program=program), dram, pixels)
    memories, queues = Memories.empty(CHIP, dram), decode(program)
    records = Simulation(CHIP, queues, memories, Capture(CHIP, program.notes), LATENCY).run()
    assert any(head.get("gang") == 3 for queue in queues.values() for head in queue)

    system = System(CHIP, len(dram) // CHIP.dram_bus_bytes, len(LATENCY))
    inputs, parts = stimulus(program, dram, simulation_ports(system)[0], int(records["end"].max()) + SPARE)
    file = tmp_path / "system.v"
    file.write_text(verilog(system, "system"))
    np.savez(tmp_path / "stimulus.npz", **inputs)
    env = {"SYSTEM_FOLDER": str(tmp_path)}
    assert run_cocotb(file, "system", "tests.cosim.cocotb_system", "icarus", tmp_path / "sim", env=env) == 1
    with np.load(tmp_path / "outputs.npz") as found:
        run, dump = {name: found[name][parts["run"]] for name in found}, found["dump__data"][parts["dump"]]
    for way, column in (("start", "start"), ("done", "end")):
        for engine, queue in queues.items():
            own = records[records["engine"] == engine]
            assert len(own) == len(queue)
            assert np.array_equal(np.flatnonzero(run[way] >> np.uint64(engine) & np.uint64(1)), np.sort(own[column])), (
                engine
            )
    assert run["halted"][-1] and not run["halted"][: int(records["end"].max()) + 1].any()
    assert run["moved"].sum() * CHIP.dram_bus_bytes == records["dram_bytes"].sum()
    assert np.array_equal(dump.view(np.uint8), memories.dram)
