"""Is a report complete, self-contained, the same for the same run, and written whole or not at all?"""

import json
import re
import xml.etree.ElementTree as ElementTree

import pytest
from markupsafe import escape
from rich.console import Console

from archsim.contracts.common.errors import ArchsimError
from archsim.energy.stated import not_modelled
from archsim.report import show, write, write_report
from archsim.report.charts import CAUSE_COLOURS, component_chart, cycles_chart, timeline_chart
from archsim.report.timeline import timeline
from archsim.summary import CAUSES, summarise

FILES = {"report.json", "report.html", "timeline.json", "program.safetensors"}


def test_report_is_whole_and_deterministic(result, tmp_path):
    summary = summarise(result)
    one, two = (write_report(result, summary, tmp_path / name) for name in ("one", "two"))
    assert {path.name for path in one.iterdir()} == FILES
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two"}
    for name in FILES:
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_data(result, tmp_path):
    data = json.loads((write_report(result, summarise(result), tmp_path / "r") / "report.json").read_text())
    assert data["cycles"] == 190
    assert data["provenance"] == {"archsim": "0.1.0"}


def test_page_is_self_contained_and_says_what_it_rests_on(result, tmp_path):
    text = (write_report(result, summarise(result), tmp_path / "r") / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!#)', text)
    assert "<script" not in text and "@import" not in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)
    for line in not_modelled(result.chip):
        assert escape(line) in text
    assert "by laws at 180 nm" in text and "core: core 1" in text
    for row in ("conv", "attention", "head"):
        assert f"<td>{row}</td>" in text


def test_names_are_escaped(make, tmp_path):
    result = make(workload="<b>$x$</b>")
    text = (write_report(result, summarise(result), tmp_path / "r") / "report.html").read_text()
    assert "<b>" not in text


def test_charts_are_well_formed(result):
    summary = summarise(result)
    charts = [
        cycles_chart(summary),
        timeline_chart(result),
        component_chart(summary["energy_uj"], "uJ", "energy"),
        component_chart({"total": 0.0, "dram": 0.0}, "uJ", "empty"),
    ]
    for chart in charts:
        assert ElementTree.fromstring(chart).tag.endswith("svg")
    assert set(CAUSE_COLOURS) == set(CAUSES)


def test_timeline(result):
    trace = timeline(result)
    slices = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert len(slices) == len(result.images[0].records)
    first = next(event for event in slices if event["name"] == "SYNAPSE conv")
    # 100 MHz: cycles 24..64 are 0.24 to 0.64 microseconds
    assert (first["ts"], first["dur"]) == (pytest.approx(0.24), pytest.approx(0.40))
    assert first["args"]["waited_for"] == "dma" and first["args"]["waited_cycles"] == 21
    names = [event["args"]["name"] for event in trace["traceEvents"] if event["name"] == "thread_name"]
    assert names == ["dma", "multicast", "attention", "core 0", "core 1"]


def test_older_report_is_replaced(result, make, tmp_path):
    write_report(result, summarise(result), tmp_path / "r")
    other = make(2)
    write_report(other, summarise(other), tmp_path / "r")
    assert json.loads((tmp_path / "r" / "report.json").read_text())["images"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_foreign_folder_is_left_alone(result, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ArchsimError, match="given one that holds thesis.tex; choose another with --out"):
        write_report(result, summarise(result), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(ArchsimError, match="given a file"):
        write_report(result, summarise(result), tmp_path / "thesis.tex")


def test_failure_leaves_no_partial_report(result, tmp_path, monkeypatch):
    write_report(result, summarise(result), tmp_path / "r")
    before = (tmp_path / "r" / "report.json").read_bytes()
    monkeypatch.setattr(write, "timeline", lambda result: 1 / 0)
    for name in ("r", "new"):
        with pytest.raises(ZeroDivisionError):
            write_report(result, summarise(result), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["r"]
    assert (tmp_path / "r" / "report.json").read_bytes() == before


def test_terminal(make):
    result = make()
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        show(summarise(result), console)
    text = console.export_text()
    for part in ("conv", "6,080", "100.00%", "11.84% of 32 adders", "neuron units*", "0.9 pJ an addition"):
        assert part in text
