"""Do the scripts about energy conserve what they divide, move the right way, and refuse what they cannot judge?"""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from archsim.config import load_chip
from archsim.energy.laws import package
from archsim.energy.sram import FIGURES, runs
from archsim.workload import SIZES
from mapping.networks import spikingformer
from scripts import architect, memory_law, published, side_by_side, waterfall

KEPT = waterfall.Path(__file__).parents[2] / "reports/energy/spikingformer_8_512.json"


@pytest.fixture(scope="module")
def row(tmp_path_factory):
    """The figures of a size of 32 channels, one block and 8 x 8 pixels, on the chip `small`."""
    stages = ("block0", "block1", "block2", "block3", "block4")
    tiny = spikingformer._published("tiny", 8, stages, 3, 32, 1, 2, 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "spikingformer", {**SIZES["spikingformer"], "tiny": tiny})
        given, _ = published.rates("spikingformer", "tiny", 0.1)
        path = published.workload(tmp_path_factory.mktemp("tiny"), "spikingformer", "tiny", given)
        return waterfall.measure(str(path), "small")


def test_a_waterfall_ends_at_the_energy_of_the_chip(row):
    start, changes = sum(row["formula_mj"].values()), [change for _, change in waterfall.steps(row)]
    assert start > 0 and start + sum(changes) == pytest.approx(row["energy_uj"]["total"] / 1000)
    assert all(change >= 0 for label, change in waterfall.steps(row) if "price" not in label)
    assert [label.partition(",")[0] for label, _ in waterfall.steps(row)] == list(row["chip_mj"])
    assert all(low <= row["chip_mj"][group] <= high for group, (low, high) in row["chip_range_mj"].items())
    # Every group of the formula is replaced once, every group of the chip stands once.
    assert sorted(name for names in waterfall.REPLACED.values() for name in names) == sorted(row["formula_mj"])
    assert len(changes) == len(row["chip_mj"])


def test_kept_figures_give_the_same_table_and_figure(row, tmp_path, capsys):
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps(row))
    for name in ("one", "two"):
        assert waterfall.main(["--from", str(kept), "--figure", str(tmp_path / name)]) == 0
    out = capsys.readouterr().out
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() and b"<svg" in (tmp_path / "one").read_bytes()
    last = [line.split() for line in out.splitlines() if line.startswith("chip")]
    low, high = (f"{end / 1000:.4g}" for end in row["energy_range_uj"]["total"])
    assert last == [["chip", f"{row['energy_uj']['total'] / 1000:.4f}", low, "..", high]] * 2


def test_the_published_size_starts_at_the_published_figure():
    kept = waterfall.read(KEPT)
    assert sum(kept["formula_mj"].values()) == pytest.approx(7.46, abs=0.005)  # Spikingformer-8-512, its README
    assert sum(kept["chip_mj"].values()) == pytest.approx(kept["energy_uj"]["total"] / 1000)


def test_operations_by_definition_hang_together(row):
    found = side_by_side.operations_pj(row)
    share = row["synaptic_operations"] / row["dense_operations"]
    for kind in ("peak, on chip", "sustained, on chip", "sustained, with DRAM"):
        assert found[f"dense, {kind}"] == pytest.approx(found[f"gated, {kind}"] * share)
    assert found["gated, peak, on chip"] < found["gated, sustained, on chip"] < found["gated, sustained, with DRAM"]


def test_published_chips_stand_beside_the_runs(row, tmp_path, capsys):
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps(row))
    assert side_by_side.main([str(kept)]) == 0
    out = capsys.readouterr().out
    assert "gated, sustained, with DRAM" in out and all(f"  {chip.name} " in out for chip in side_by_side.CHIPS)


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: waterfall.main(["--from", "/nowhere.json"]), "/nowhere.json: required figures kept with --out"),
        (lambda: waterfall.main(["--size", "spikingformer", "9-999"]), "--size: required one of spikingformer 8-384"),
        (lambda: side_by_side.main([__file__]), "required figures kept with --out, given something else"),
        (lambda: architect.main(["--rate", "0"]), "--rate: required a rate above 0 and at most 1, given 0"),
        (lambda: architect.main(["--lanes", "3"]), "--lanes: required a divisor of 8"),
        (lambda: architect.main(["--chip", "nothing"]), "nothing"),
    ],
)
def test_what_is_refused(run, message, capsys):
    assert run() == 2
    assert message in capsys.readouterr().err


CHIP = load_chip("adders_512")


def test_an_addition_by_hand():
    # A row of 512 bits of 32 KB, 39.9 pJ, over 64 columns; an adder and an accumulator of 24 bits.
    cost = architect.addition(CHIP.replace(energy_laws=0), 1.0)
    assert cost.parts["weight_memory"] == pytest.approx(39.908 / 64, rel=1e-4)
    assert cost.parts["synapse_adders"] == pytest.approx(0.1815) and cost.parts["accumulator_registers"] == pytest.approx(0.216)
    assert cost.low < cost.total < cost.high and not cost.extrapolated
    # By laws: 24 bits that the row reaches, and that are added; 180 to 45 nm, half as much again for wires.
    own = package().units["synapse_array"].energy_pj
    row, add = own["channels lanes columns membrane_bits"], own["lane_events columns membrane_bits"]
    law = architect.addition(CHIP, 1.0)
    assert law.parts["synapse_adders"] == pytest.approx(24 * (row + add) * 0.018823 * 1.5)
    assert law.parts["accumulator_registers"] == 0 and law.parts["weight_memory"] == cost.parts["weight_memory"]
    # Four lanes of which one has a spike: the row reaches the adders of all.
    assert architect.addition(CHIP.replace(lanes=4), 1.0).parts["synapse_adders"] == pytest.approx(
        24 * (4 * row + add) * 0.018823 * 1.5
    )


def test_an_addition_costs_more_in_the_right_direction():
    def total(chip, rows=1.0):
        return architect.addition(chip, rows).total

    for kib in (8, 32):
        assert total(architect.with_bank(CHIP, 4 * kib)) > total(architect.with_bank(CHIP, kib))
    assert total(CHIP.replace(weight_bits=4)) < total(CHIP)
    assert total(CHIP, 0.5) < total(CHIP)
    assert total(CHIP.replace(membrane_bits=16)) < total(CHIP)
    # Fewer rows than CACTI arranges; they address no word of 64 channels, so that no law is of such a chip.
    assert architect.addition(architect.with_bank(CHIP.replace(energy_laws=0), 1), 1.0).extrapolated
    assert not architect.addition(architect.with_bank(CHIP.replace(energy_laws=0), 8), 1.0).extrapolated


def test_rows_an_addition():
    assert architect.independent(0.2, 1) == pytest.approx(1) and architect.independent(1, 4) == 0.25
    assert architect.independent(0.2, 4) == pytest.approx(0.738)  # 1 - 0.8^4 = 0.5904 of 0.8
    same = np.zeros((4, 2, 3), bool)
    same[:, 0, 1] = True  # one channel in all four steps: one row for four additions
    assert architect.rows_of([same]) == 0.25
    assert architect.rows_of([same, np.eye(4, dtype=bool)[:, :, None]]) == 5 / 8


def test_lanes_keep_adders_and_weight_memory():
    other = architect.in_lanes(CHIP, 4)
    assert other.adders == CHIP.adders and other.cores * other.weight_rows == CHIP.cores * CHIP.weight_rows
    line = architect.crossover(CHIP, 4, [("all steps", 0.25), ("never", 1.0)])
    assert line[3].count("wins") == 2 and line[4].count("loses") == 2  # idle lanes leak, and nothing is shared


def test_the_memory_law_is_judged_by_other_runs():
    run = runs()[0]
    assert memory_law.error("read", run) < 1e-3
    assert memory_law.error("read", replace(run, read_pj=2 * run.read_pj)) == pytest.approx(-0.5, abs=1e-3)
    two = replace(run, size=2 * run.size, banks=2, area_mm2=2 * run.area_mm2)  # banks that cost nothing to join
    assert all(abs(memory_law.error(figure, two)) < 1e-3 for figure in FIGURES)
    assert memory_law.line("", [0.0, -0.05, 0.3, 0.02]).split() == ["3.5%", "29.2%", "30.0%", "75.0%", "4"]
    own = memory_law.classes((64, 128), lambda run: run.bits, [run, run, replace(run, bits=100)])
    assert own == {64: [run, run]}
    off = [run, replace(run, area_mm2=run.area_mm2 / 1.2), replace(run, leakage_mw=run.leakage_mw * 2)]
    assert [text.split(": ")[1] for text in memory_law.farthest(off, 2)] == [
        "read +0.0%, write +0.0%, leakage -50.0%, area +0.0%", "read +0.0%, write +0.0%, leakage +0.0%, area +20.0%",
    ]  # fmt: skip
    # 1000 to 4000 bytes, of which 1 % is a jump of a read by 20 %, and 0.5 % a jump of 5 %; from 2010 bytes on it is a slope.
    sizes = {1000: 1.0, 1010: 1.2, 2000: 1.2, 2010: 1.26, 4000: 2.5}
    jumping = [replace(run, size=size, read_pj=run.read_pj * by) for size, by in sizes.items()]
    assert memory_law.open_share({64: jumping}) == pytest.approx(math.log(1.01) / math.log(4))
    lines = memory_law.lines()
    for figure in FIGURES:
        for group in (", up to 512 bits", ", up to 1,024 bytes", ", array of 16 banks"):
            assert sum(line.startswith(figure + group) for line in lines) == 1
