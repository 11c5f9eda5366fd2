"""Do figures of other nodes follow the cited factors, meet what was measured, and say how wrong the factors are?"""

import json

import pytest

from archsim.contracts.common.errors import ArchsimError
from rtl.characterize import scaling
from rtl.characterize.scaling import AREA_OF, ENERGY_OF, LIBRARIES, Source, between, factor, measured, predicted


def test_the_example_of_the_paper():
    # Section 4.2.1 with its erratum: 1 pJ at 65 nm and 1.3 V is 0.1755 pJ at 32 nm and 0.9 V.
    assert factor(ENERGY_OF, 32, 0.9) == pytest.approx(0.4571, abs=1e-4)
    assert predicted(ENERGY_OF, Source(65, 1.3), 32, 0.9) == pytest.approx(0.1755, abs=1e-4)


def test_nodes_that_are_not_in_the_table_lie_between_their_neighbours():
    assert factor(AREA_OF, 20, 0.9) < factor(AREA_OF, 22, 0.9) < factor(AREA_OF, 28, 0.9) < factor(AREA_OF, 32, 0.9)
    assert factor(ENERGY_OF, 20, 0.9) < factor(ENERGY_OF, 28, 0.9) < factor(ENERGY_OF, 32, 0.9)
    with pytest.raises(ArchsimError, match="5 nm: required a node from 7 to 180 nm"):
        factor(ENERGY_OF, 5, 0.7)


def test_a_figure_between_meets_what_was_measured_at_the_ends():
    ends = [(Source(130, 1.8), 50.0), (Source(7, 0.7), 0.2)]
    assert between(ENERGY_OF, ends, 130, 1.8)[0] == pytest.approx(50)
    assert between(ENERGY_OF, ends, 7, 0.7)[0] == pytest.approx(0.2)
    value, low, high = between(ENERGY_OF, ends, 28, 0.9)
    assert low < value < high
    alone = [one * predicted(ENERGY_OF, end, 28, 0.9) for end, one in ends]
    assert [low, high] == pytest.approx(sorted(alone))
    with pytest.raises(ArchsimError, match="180 nm: required a node between the measured 130 and 7 nm"):
        between(ENERGY_OF, ends, 180, 1.8)


def test_ends_that_agree_with_the_factors_leave_no_range():
    ends = [(Source(130, 1.8), 1.0), (Source(7, 0.7), predicted(ENERGY_OF, Source(130, 1.8), 7, 0.7))]
    value, low, high = between(ENERGY_OF, ends, 45, 0.9)
    assert low == pytest.approx(high) == pytest.approx(value)


def row(unit, width, area, *energies):
    windows = [{"rate": 0.1, "cycles": 1, "counts": {}, "pj": {"clock": value}} for value in energies]
    return {"unit": unit, "parameters": {"width": width}, "area_um2": area, "windows": windows}


def test_only_points_of_every_library_are_compared():
    rows = {
        "a": [row("x", 1, 10, 4, 9), row("x", 2, 20, 8, 8), row("y", 1, 1, 1)],
        "b": [row("x", 1, 5, 1, 1)],
    }  # fmt: skip
    found = measured(rows)
    assert set(found) == {"x"} and found["x"]["b"]["points"] == 1
    assert found["x"]["b"][ENERGY_OF] == pytest.approx((1 / 4 * 1 / 9) ** 0.5)  # the geometric mean of the windows
    assert found["x"]["b"][AREA_OF] == pytest.approx(0.5) and found["x"]["a"][AREA_OF] == 1


def test_a_library_without_results_is_refused(tmp_path, capsys):
    (tmp_path / "osu018_stdcells.jsonl").write_text(json.dumps(row("x", 1, 1, 1)) + "\n")
    assert scaling.main(["--out", str(tmp_path)]) == 2
    assert "no results of sky130hd_tt, asap7sc7p5t; measure with" in capsys.readouterr().err


def test_the_table_is_that_of_the_results():
    folder = scaling.Path(__file__).parents[2] / "reports" / "characterisation"
    rows = {name: scaling.read(folder / f"{name}.jsonl") for name in LIBRARIES}
    assert scaling.report(measured(rows)) == (folder / "scaling.md").read_text()
