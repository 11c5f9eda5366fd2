"""Do cores in Verilog run as gangs, start and end together, and leave in every member what the models say?

Queues of all cores with semaphores among them, SYNAPSE of random gangs between others; the DMA engine, of which only the posts
reach the Verilog, delays some of them. Expected first by the simulator and by the stepped queues.
"""

import numpy as np
import pytest

from archsim.contracts.dma import PSUM
from archsim.contracts.neuron import LIF
from archsim.contracts.sequencer import CORE0, DECODE, DMA, STORE, SYNAPSE
from archsim.units.sram import Memories
from rtl.units.core import Core
from rtl.units.core_gangs import Gangs
from tests.rtl import gangs
from tests.rtl.gangs import GANGS, GangBench, first_difference
from tests.rtl.queues import by_kernel, by_steps, program_of, random_queues
from tests.rtl.slice_programs import chip_of, convolution, random_instruction, random_memory

TWO = chip_of("two")
FOUR = chip_of("four_cores", cores=4, lanes=2, columns=6, neurons=2, membrane_bits=10, pool_steps=6, pool_rows=12)
CHIPS = [pytest.param(chip, id=chip.name) for chip in (TWO, FOUR)]

COUNT = 28
"""Instructions of a program, for gangs or alone; no queue has more."""


def expected_run(chip, seed):
    """Program, memories before, and what each queue does by the simulator; the stepped queues do the same."""
    rng = np.random.default_rng(seed)

    def instruction(engine):
        if engine != DMA:
            return random_instruction(chip, rng)
        # A transfer that changes nothing in the cores.
        rows = int(rng.integers(1, chip.psum_rows))
        return {"opcode": STORE, "cores": 1, "memory": PSUM, "rows": rows, "row_bytes": 1}

    queues = random_queues(chip, rng, COUNT, instruction, [DMA, *range(CORE0, CORE0 + chip.cores)])
    program = program_of(chip, queues, np.zeros(chip.psum_rows * chip.dram_bus_bytes, np.uint8))
    memories = Memories.empty(chip, program.dram)
    densities = rng.choice([0.02, 0.1, 0.3, 0.8], chip.cores)
    memories.cores = [random_memory(chip, seed + core, density) for core, density in enumerate(densities)]
    runs, others = by_kernel(program, memories), by_steps(program, memories)
    assert first_difference(others, gangs.of_cores(runs)) == ""
    return program, memories, queues, runs


def verilog_run(chip, program, memories, runs, make=None):
    queues = [program.queues[CORE0 + core] for core in range(chip.cores)]
    return gangs.run(chip, queues, memories.cores, runs, GANGS.library(chip, make))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("chip", CHIPS)
def test_random_queues(chip, seed):
    program, memories, queues, runs = expected_run(chip, seed)
    assert first_difference(runs, verilog_run(chip, program, memories, runs)) == ""
    sizes = {fields["gang"].bit_count() for queue in queues.values() for fields in queue if fields["opcode"] == SYNAPSE}
    assert max(sizes) > 1


# ------------------------------------------------------------------------------ the comparison can fail


class HastyGangs(Gangs):
    """Members that do not wait for each other."""

    def _start(self, m, core, others):
        m.d.comb += self.go[core].eq(1)


class EarlyCore(Core):
    """A member that takes events of its leader's earlier instructions."""

    def _encode(self, m, own):
        super()._encode(m, own)
        with m.If(self.follow):
            m.d.comb += self.array.i.valid.eq(self.events.valid)


def hasty(chip):
    return GangBench(chip, gangs=HastyGangs)


def early(chip):
    return GangBench(chip, core=EarlyCore)


def late_leader(chip=TWO):
    """Core 1 waits for core 0, which has to do another convolution before that of their gang."""
    layer = {"padding": 1, "neuron": LIF, "spike_out": 1}
    alone = convolution(chip, (4, 4), 3, **layer, gang=1)
    both = convolution(chip, (3, 3), 3, **layer, gang=3, out_base=40)
    program = program_of(chip, {CORE0: [alone, both], CORE0 + 1: [both]}, np.zeros(8, np.uint8))
    memories = Memories.empty(chip, program.dram)
    memories.cores = [random_memory(chip, core) for core in range(2)]
    return program, memories, by_kernel(program, memories)


def test_a_member_waits_for_its_leader():
    program, memories, runs = late_leader()
    found = verilog_run(TWO, program, memories, runs)
    assert first_difference(runs, found) == ""
    (_, end), both = found[CORE0].times
    assert found[CORE0 + 1].times == [both]
    assert both[0] == end + DECODE


@pytest.mark.parametrize("wrong", [hasty, early])
def test_wrong_gangs_are_found(wrong):
    program, memories, runs = late_leader()
    found = verilog_run(TWO, program, memories, runs, wrong)
    assert first_difference(runs, found).startswith("core 1: instruction 0: start and end")


def test_a_changed_bit_of_a_member_is_found():
    program, memories, runs = late_leader()
    found = verilog_run(TWO, program, memories, runs)
    found[CORE0 + 1].memory.spike_out[0, 43, 0] ^= 1
    assert first_difference(runs, found).startswith("core 1: spike_out[0, 43, 0]")


# ------------------------------------------------------------------------------ Icarus


def test_icarus(tmp_path):
    chip = chip_of("small_gangs", columns=4, neurons=2, weight_rows=64, spike_in_rows=64, spike_out_rows=96,
                   residual_rows=64, psum_rows=64, param_rows=4, queue_rows=8, pool_rows=16)  # fmt: skip

    program, memories, runs = late_leader(chip)
    rows = [program.queues[CORE0 + core] for core in range(chip.cores)]
    cycles, traces = runs[CORE0].times[-1][1] + 20, gangs.outside(chip, runs)
    outputs = GANGS.on_cocotb(chip, rows, memories.cores, (), cycles, tmp_path, traces=traces, every=False)
    assert first_difference(runs, gangs.observed(chip, memories.cores, outputs)) == ""
