"""Test support: where a difference between simulator and Verilog is seen first, if a byte of DRAM is another one."""

from archsim.contracts.common.program import Program
from cosim.compare import Divergence, compare
from cosim.expected import simulate
from cosim.machine import Machine
from cosim.run import Bench


def first_of_a_wrong_byte(program: Program, bench: Bench, machine: Machine, address: int) -> Divergence:
    """The first difference of the Verilog with the lowest bit of a byte flipped from the simulator without."""
    widths, wrong = machine.row_bytes(), program.dram.copy()
    wrong[address] ^= 1
    expected = simulate(program, bench.plan, program.dram, widths, None)
    found = machine.run(bench.plan, program, wrong, None, 2 * expected.cycles)
    first = compare(program, bench.plan, widths, expected, found).first
    assert first is not None
    return first
