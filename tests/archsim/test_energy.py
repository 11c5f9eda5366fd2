"""Do energy and area follow from the cited figures, and is nothing silently zero?"""

import math

import pytest

from archsim.config import chip_names, load_chip
from archsim.energy import NOT_MODELLED, Coefficient, area_mm2, coefficients, energy_pj, energy_terms, field_energy_pj
from archsim.energy.coefficients import by_capacity, by_width
from archsim.energy.memories import memories
from archsim.energy.model import ATTENTION, COMPONENTS, CYCLES, UNCOSTED, _access
from archsim.energy.ranges import area_range_mm2, energy_range_pj, warnings, widest
from archsim.energy.sram import interpolated, runs
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


def test_units_of_the_multicast_by_hand():
    # 16 columns, 4 lanes. A column moves 16 x 16 bits, and a word of 16 comes for it. A masked word compares and draws 16 bytes,
    # holds 16 bits, and a quarter of the 61 of the shift register.
    chip = load_chip("small_t4").replace(transposer=1, masker=1)
    plain = load_chip("small_t4")
    energy = energy_pj(chip, {"transposed": 1, "masked": 10}, 0)
    assert energy["transposer"] == pytest.approx((16 * 16 + 16) * 0.0090)
    assert energy["masker"] == pytest.approx(10 * (16 * 2 * 0.060 + (16 + 61 / 4) * 0.0090))
    areas = [area_mm2(chip), area_mm2(plain)]
    assert areas[0]["transposer"] - areas[1]["transposer"] == pytest.approx(4 * 16 * 16 * 5.98e-6)
    assert areas[0]["masker"] == pytest.approx(4 * 16 * 2 * 102e-6 + (61 + 4 * 16) * 5.98e-6)
    assert "masker" not in areas[1]
    leaks = energy_pj(chip, {}, 1)["logic_leakage"] - energy_pj(plain, {}, 1)["logic_leakage"]
    registers, adders = 4 * 16 * 16 + 61 + 4 * 16, 4 * 16 * 2 * 8
    assert leaks == pytest.approx(10 * (registers * 0.000074 + adders * 0.00225 / 32))  # 10 ns a cycle


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


def test_ranges_by_hand(chip):
    # 512 bits from 32 KB: CACTI's own row of 39.908 pJ, and 8 x Horowitz's 20; DRAM: 8 bits x (4 .. 12.45) pJ a byte.
    ranges = energy_range_pj(chip, {"weight_reads": 1, "dram_bytes": 10}, 0)
    assert ranges["weight_memory"] == pytest.approx((39.908, 160)) and ranges["dram"] == pytest.approx((320, 996))
    leakage = ranges["logic_leakage"]
    assert leakage == (0, 0) and ranges["total"] == pytest.approx((359.908, 1156)) and widest(ranges) == "dram"
    assert widest(energy_range_pj(chip, {"weight_reads": 100, "dram_bytes": 1}, 0)) == "weight_memory"


@pytest.mark.parametrize("name", chip_names())
def test_every_figure_has_a_range_around_it(name):
    chip = load_chip(name)
    counters = {term.counter: 3 for term in energy_terms(chip)}
    energy, ranges = energy_pj(chip, counters, 3), energy_range_pj(chip, counters, 3)
    assert all(ranges[part][0] < value < ranges[part][1] for part, value in energy.items())
    area, areas = area_mm2(chip), area_range_mm2(chip)
    assert all(areas[part][0] < value < areas[part][1] for part, value in area.items())
    assert areas["total"][0] < sum(area.values()) < areas["total"][1]


def test_outside_of_the_points_the_slopes_of_all_segments_count():
    # Below 8 KB: 0.739 goes on, 0.492 would give more; the range of the nearest point beside it.
    reading = by_capacity("sram_read", 2048)
    other = 6.1 * (2048 / 8192) ** (math.log(93.5 / 17.0) / math.log(32))
    assert reading.extrapolated and reading.low == pytest.approx(reading.value * 5.29 / 6.1)
    assert reading.high == pytest.approx(other * 10.0 / 6.1)
    inside = by_capacity("sram_read", 16384)
    assert not inside.extrapolated and inside.high == pytest.approx((10 * 20) ** 0.5)


def test_what_is_extrapolated_is_a_warning_only_where_it_is_used():
    chip = load_chip("small")  # its spike banks are smaller than every cited one
    assert not any(line.startswith("energy") for line in warnings(chip, {"dram_bytes": 1}))
    lines = [line for line in warnings(chip, {"spike_reads": 1}) if line.startswith("energy")]
    assert lines and all(line.startswith("energy of spike memory: ") and "EXTRAPOLATED" in line for line in lines)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"low": 2.0, "high": 3.0, "range": "made up"}, "low <= value <= high required, given 2.0 <= 1.0 <= 3.0"),
        ({"low": 0.5}, "low, high and range: required all of them or none"),
    ],
)
def test_a_range_that_is_none_is_refused(more, message):
    entry = {"value": 1.0, "unit": "pJ", "node_nm": 45, "voltage": None, "source": "a book", "confidence": "assumed"}
    with pytest.raises(ValueError, match=message):
        Coefficient(**entry, **more)


def test_the_points_of_the_model_are_runs_of_the_table():
    for size, energy, area in ((8192, 6.1, 0.026), (32768, 17.0, 0.095), (1 << 20, 93.5, 3.26)):
        (run,) = (run for run in runs() if (run.size, run.bits, run.banks) == (size, 64, 1))
        assert (run.read_pj, run.area_mm2) == (pytest.approx(energy, rel=0.01), pytest.approx(area, rel=0.02))


def test_the_table_between_its_runs():
    assert interpolated(32768, 512) == pytest.approx(39.908) and interpolated(8192, 64) == pytest.approx(6.137)
    # Halfway on logarithmic axes: the geometric mean, over the bits and over the size.
    assert interpolated(32768, math.sqrt(256 * 512)) == pytest.approx(math.sqrt(26.838 * 39.908))
    assert interpolated(math.sqrt(32768 * 65536), 64) == pytest.approx(math.sqrt(17.042 * 25.869))
    two = [run for run in runs() if run.size in (8192, 32768)]
    assert interpolated(16384, 64, among=two) == pytest.approx(math.sqrt(6.137 * 17.042))


def test_the_widest_range_is_not_the_largest_part():
    assert widest({"total": (9.0, 15.0), "dram": (9.0, 10.0), "weight_memory": (0.0, 5.0)}) == "weight_memory"


def test_a_narrow_row_may_cost_more_than_its_bits():
    # 16 bits of 32 KB: CACTI's 10.402 pJ are 41.6 for 64 bits; the law's own range ends at Horowitz's 20.
    reading = _access(32768, 16)
    assert reading.high == pytest.approx(4 * 10.402) and reading.low == pytest.approx(14.9) and reading.value == 17.0
