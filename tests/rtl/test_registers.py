"""Is the law of register bits, by which the clock is priced, what the generated Verilog has?"""

import re

import pytest
from amaranth.back import rtlil

from archsim.config import load_chip
from archsim.contracts.sram import WRAPPED_BITS
from archsim.energy.clock import registers
from rtl.chip import Chip
from rtl.units.attention import AttentionEngine
from rtl.units.multicast import Multicast
from rtl.units.normaliser import NormaliserEngine

FLIP_FLOPS = ("$dff", "$dffe", "$sdff", "$sdffe", "$adff")

COUNTED = {
    "small_t4": (17_279, 5_640, 4_732), "adders_128": (34_110, 6_945, 18_221), "adders_512": (75_835, 6_993, 17_766),
    "small_experts": (28_942, 3_109, 4_652),
}  # fmt: skip
"""Register bits of chip, core and attention unit of other presets, counted in the same way; elaborating them takes a minute."""


def counted(component):
    """Register bits of every module with what is in it, by the instance's path; small memories are registers."""
    own, inside, module, cell = {}, {}, "", ""
    for line in rtlil.convert(component).split("\n"):
        words = line.split()
        if words[:1] == ["module"]:
            module = words[1]
            own[module], inside[module] = 0, []
        elif words[:1] == ["cell"]:
            cell = words[1]
            inside[module] += [cell] if cell.startswith("\\") else []
        elif words[:2] == ["parameter", "\\WIDTH"] and cell in FLIP_FLOPS:
            own[module] += int(words[2])
        elif found := re.match(r"\s*memory width (\d+) size (\d+)", line):
            bits = int(found[1]) * int(found[2])
            own[module] += bits if bits < WRAPPED_BITS else 0

    def total(name):
        return own[name] + sum(total(child) for child in inside[name] if child in own)

    return {name.removeprefix("\\top").removeprefix("."): total(name) for name in own}


def whole(chip):
    found = registers(chip)
    return sum(found.values()) + (chip.cores - 1) * found["core"]


def test_the_law_holds_for_a_chip_between_those_that_it_was_read_off():
    """Half as wide as the large presets: other columns, neurons, lanes, cores."""
    chip = load_chip("small").replace(columns=32, neurons=8, lanes=2, cores=3)
    bits, law = counted(Chip(chip)), registers(chip)
    assert law["core"] == pytest.approx(bits["core0"], rel=0.01)
    assert law["attention"] == pytest.approx(bits["attention"], rel=0.05)
    assert law["dma"] == pytest.approx(bits["dma"] + bits["dma_queue"], rel=0.2)
    assert law["multicast"] == pytest.approx(bits["multicast"] + bits["multicast_queue"], rel=0.01)
    assert whole(chip) == pytest.approx(bits[""], rel=0.03)


@pytest.mark.parametrize("units", [{"transposer": 1}, {"masker": 1}, {"transposer": 1, "masker": 1}], ids=" ".join)
def test_the_law_holds_for_what_stands_in_the_way_of_a_row(units):
    chip = load_chip("small").replace(columns=12, lanes=3)
    more = registers(chip.replace(**units))["multicast"] - registers(chip)["multicast"]
    assert more == counted(Multicast(chip.replace(**units)))[""] - counted(Multicast(chip))[""]


@pytest.mark.parametrize("sizes", [{"columns": 12, "neurons": 3, "count_bits": 5}, {"membrane_bits": 13, "softmax_tokens": 4}])
def test_the_law_holds_for_a_softmax(sizes):
    chip = load_chip("small").replace(**{"softmax_tokens": 9} | sizes)
    plain = chip.replace(softmax_tokens=0)
    more = registers(chip)["attention"] - registers(plain)["attention"]
    assert more == counted(AttentionEngine(chip))[""] - counted(AttentionEngine(plain))[""]


@pytest.mark.parametrize("sizes", [{}, {"membrane_bits": 13, "neurons": 8}, {"normaliser_table_bits": 3, "cores": 3}])
def test_the_law_holds_for_a_normaliser(sizes):
    chip = load_chip("small").replace(**{"normaliser_operand_bits": 11} | sizes)
    assert registers(chip)["normaliser"] == pytest.approx(counted(NormaliserEngine(chip))[""], abs=1)  # rows of the program memory
    assert registers(chip)["attention"] == registers(chip.replace(normaliser_operand_bits=0))["attention"] + 8  # its semaphore


@pytest.mark.parametrize("preset", COUNTED)
def test_the_law_gives_the_presets(preset):
    chip = load_chip(preset)
    total, core, attention = COUNTED[preset]
    law = registers(chip)
    assert law["core"] == pytest.approx(core, rel=0.002)
    assert law["attention"] == pytest.approx(attention, rel=0.01)
    assert whole(chip) == pytest.approx(total, rel=0.01)
