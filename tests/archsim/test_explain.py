"""Does every figure of a report lead back to counts, coefficients and sources, and is a wrong chain refused?"""

import json
import sys

import pytest

from archsim import cli
from archsim.contracts.common.errors import ArchsimError
from archsim.energy.explain import explain, read
from archsim.energy.formulas import figures
from archsim.summary import summarise


@pytest.fixture
def folder(make, tmp_path):
    """The report of two images: its figures alone, without charts."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "report.json").write_text(json.dumps(summarise(make(images=2))))
    return tmp_path / "run"


def test_every_figure_has_a_chain_that_gives_it(folder):
    report = read(folder)
    names = figures(report)
    assert {
        "cycles",
        "utilization",
        "energy_uj.total",
        "area_mm2.total",
        "layers.conv.energy_uj",
        "field_energy_uj.total",
    } <= set(names)
    assert {f"energy_uj.{name}" for name in report["energy_uj"]} <= set(names)
    for name, value in names.items():
        assert explain(report, name)["computed"] == pytest.approx(value, rel=1e-9), name


def test_an_energy_by_hand(folder):
    # 4096 + 40 bytes an image, 8 bits each at 8 pJ.
    (term,) = (chain := explain(read(folder), "energy_uj.dram"))["terms"]
    assert (term["counted"], term["count_all_images"]) == ("dram_bytes", 2 * 4136)
    assert [factor["value"] for factor in term["factors"]] == [8]
    assert [figure["value"] for figure in term["figures"]] == [8.0]
    assert chain["value"] == pytest.approx(4136 * 64e-6)
    assert chain["coefficients"]["dram_bit"]["source"].startswith("LPDDR4")
    assert set(chain["coefficients"]) == {"dram_bit"}


def test_a_layer_and_a_formula_by_hand(folder):
    report = read(folder)
    # The head adds 160 times an image; 190 cycles of 32 adders take (720) additions of the cores.
    assert explain(report, "layers.head.synaptic_operations")["inputs"] == {"additions of layer head": 320}
    head = {term["counted"] for term in explain(report, "layers.head.energy_uj")["terms"]}
    assert "weight_reads" in head and "attention.additions" not in head
    chain = explain(report, "utilization")
    assert list(chain["inputs"].values()) == [2 * 720, 2 * 32 * 190] and chain["value"] == pytest.approx(720 / 6080)


def test_the_law_of_a_memory_is_said(folder):
    laws = [
        figure["law"] for term in explain(read(folder), "energy_uj.spike_memory")["terms"] for figure in term["figures"]
    ]
    assert laws and all(" of CACTI (sram.csv)" in law and " bytes, " in law for law in laws)


def test_a_figure_that_the_model_does_not_give_is_refused(folder):
    report = read(folder)
    report["energy_uj"]["dram"] *= 1.001
    with pytest.raises(
        ArchsimError, match=r"energy_uj.dram: the report says .* the present model give .*make it again"
    ):
        explain(report, "energy_uj.dram")


def test_what_is_no_report_is_refused(tmp_path):
    with pytest.raises(ArchsimError, match="required a report's folder, its report.json or its name in reports/"):
        read(tmp_path / "nothing")
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(ArchsimError, match="required a report in JSON"):
        read(tmp_path)
    (tmp_path / "report.json").write_text('{"layers": [{"name": "conv"}]}')
    with pytest.raises(ArchsimError, match="required the counts of every layer, given none"):
        read(tmp_path)


def test_command(folder, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["archsim", "explain", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code

    monkeypatch.chdir(folder.parent)
    (folder.parent / "reports").mkdir()
    folder.rename(folder.parent / "reports" / "digits")
    assert run("digits") == 0 and "energy_uj.total = " in capsys.readouterr().out
    assert run("digits", "energy_uj.logic_leakage") == 0
    assert "adder_leakage: 0.00225 mW, 40 nm, indicative; Aladdin" in capsys.readouterr().out
    assert run("digits", "energy_uj.synapse_adders") == 0
    printed = capsys.readouterr().out
    assert "180 nm, indicative; law of synapse_array, our netlists in osu018_stdcells" in " ".join(printed.split())
    assert "native" in printed and "scale_energy: 0.018823 1, 45 nm, indicative; 180 to 45 nm: Stillmaker and Baas" in printed
    assert run("digits", "cycles", "--json") == 0
    assert json.loads(capsys.readouterr().out)["inputs"] == {"cycles_by_image": [190, 190]}
    assert run("digits", "energy_uj.drum") == 2
    assert "no figure 'energy_uj.drum' in this report; did you mean 'energy_uj.dram'?" in capsys.readouterr().err
