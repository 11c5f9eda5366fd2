"""Do energy and area follow from the cited figures, and is nothing silently zero?"""

import pytest

from archsim.config import chip_names, load_chip
from archsim.energy import NOT_MODELLED, area_mm2, coefficients, energy_pj, energy_terms, field_energy_pj
from archsim.energy.coefficients import by_capacity, by_width
from archsim.energy.memories import memories
from archsim.energy.model import ATTENTION, COMPONENTS, CYCLES, UNCOSTED
from archsim.results import COUNTERS


@pytest.fixture
def chip():
    return load_chip("adders_128")


def test_every_coefficient_is_cited():
    for name, entry in coefficients().items():
        assert len(entry.source) > 10, name
        assert entry.value > 0, name


@pytest.mark.parametrize("size, energy, area", [(8192, 6.1, 0.026), (32768, 17.0, 0.095), (1 << 20, 93.5, 3.26)])
def test_memories_at_the_cited_points(size, energy, area):
    assert by_capacity("sram_read", size).value == pytest.approx(energy)
    assert by_capacity("sram_area", size).value == pytest.approx(area)


def test_memories_between_and_outside_of_the_points():
    # Halfway on logarithmic axes is the geometric mean; the slope goes on below the first point.
    assert by_capacity("sram_read", 16384).value == pytest.approx((6.1 * 17.0) ** 0.5)
    assert by_capacity("sram_read", 2048).value == pytest.approx(6.1 * 6.1 / 17.0)
    assert by_capacity("sram_read", 1).value > 0


@pytest.mark.parametrize("bits, energy", [(8, 0.060), (16, 0.121), (24, 0.1815), (32, 0.242), (4, 0.030)])
def test_adders_by_width(bits, energy):
    assert by_width("adder_energy", bits).value == pytest.approx(energy)


def test_every_counter_is_costed_or_says_why_not(chip):
    costed = {term.counter.removeprefix(ATTENTION) for term in energy_terms(chip)}
    names = {counter.name for counter in COUNTERS}
    assert costed | set(UNCOSTED) == names | {"instructions", CYCLES}
    assert not costed & set(UNCOSTED)


def test_every_count_costs_energy(chip):
    for term in energy_terms(chip):
        assert term.value > 0 and term.component in COMPONENTS, term
        cycles = int(term.counter == CYCLES)
        assert energy_pj(chip, {term.counter: 1}, cycles)[term.component] >= term.value


def test_addition_by_hand(chip):
    # A weight row of 64 x 8 bit from 32 KB: 17.0 pJ x 8, over 64 columns 2.1 pJ an addition; adder: 0.18.
    energy = energy_pj(chip, {"weight_reads": 1, "additions": 64}, 0)
    assert energy["weight_memory"] == pytest.approx(136.0)
    assert energy["synapse_adders"] == pytest.approx(64 * 0.1815)
    assert energy["accumulator_registers"] == pytest.approx(64 * 24 * 0.0090)


def test_registers_by_hand():
    # A shift or a hand-over writes every accumulator of a core, in the attention unit a row of them.
    chip = load_chip("small")
    all_of_a_core = chip.lanes * chip.columns * chip.membrane_bits * 0.0090
    for counter in ("shifts", "groups"):
        assert energy_pj(chip, {counter: 1}, 0)["accumulator_registers"] == pytest.approx(all_of_a_core)
    row = energy_pj(chip, {"attention.groups": 1}, 0)["accumulator_registers"]
    assert row == pytest.approx(chip.columns * chip.membrane_bits * 0.0090)


def test_dram_and_leakage_by_hand(chip):
    assert energy_pj(chip, {"dram_bytes": 100}, 0)["dram"] == pytest.approx(100 * 8 * 8)
    # mW x 2 ns at 500 MHz; 128 + 64 + 3 x 16 x 4 adders of 24 bits, 16 popcounts of 64; two sets of 128 + 64 accumulators,
    # 64 x 64 registers of K and as many of V
    adders, registers = 384 * 24 + 16 * 64, 2 * 192 * 24 + 2 * 64 * 64
    expected = 2 * (adders * 0.00225 / 32 + registers * 0.000074)
    assert energy_pj(chip, {}, 1)["logic_leakage"] == pytest.approx(expected)
    assert energy_pj(chip, {}, 1000)["logic_leakage"] == pytest.approx(1000 * expected)


def test_transposed_words_by_hand(chip):
    # 64 x 64 bits shift, and a word of K and one of V have come; the popcounts themselves cost an adder bit a column.
    energy = energy_pj(chip, {"attention.transposed": 1, "attention.popcounts": 64}, 0)
    assert energy["transposer"] == pytest.approx((64 * 64 + 2 * 64) * 0.0090)
    assert energy["attention_adders"] == pytest.approx(64 * 64 * 0.060 / 8)


def test_energy_is_linear(chip):
    counters = {counter.name: 7 for counter in COUNTERS}
    once, twice = energy_pj(chip, counters, 10), energy_pj(chip, dict.fromkeys(counters, 14), 20)
    assert {name: 2 * value for name, value in once.items()} == pytest.approx(twice)


def test_area_of_weights_by_hand(chip):
    area = area_mm2(chip)
    assert area["weight_memory"] == pytest.approx(4 * 0.095)  # 2 cores x 2 banks of 32 KB
    assert area["synapse_adders"] == pytest.approx(128 * 406e-6 * 24 / 32, rel=0.01)
    assert area["transposer"] == pytest.approx(2 * 64 * 64 * 5.98e-6)
    assert "dram" not in area and set(area) <= set(COMPONENTS)
    assert all(value > 0 for value in area.values())


@pytest.mark.parametrize("name", chip_names())
def test_presets_have_energy_and_area(name):
    chip = load_chip(name)
    assert sum(area_mm2(chip).values()) > 0
    assert all(memory.bank.bits > 0 for memory in memories(chip).values())


def test_field_figure():
    assert field_energy_pj(10, 3) == pytest.approx(10 * 0.9 + 3 * 4.6)


def test_omissions_are_named():
    text = " ".join(NOT_MODELLED)
    for word in ("encoder", "sequencer", "multicast", "clock", "leakage of memories"):
        assert word in text
