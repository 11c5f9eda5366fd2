"""Does the command line do what its help says: outputs, exit statuses, errors without tracebacks?"""

import json
import sys
import types
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from archsim import cli
from archsim.results import CheckResult

WORKLOAD = """\
name: digits
network: {family: spikingformer, artefact: .}
chip: small
"""
KEYS = {
    "workload", "chip", "images", "accuracy", "accuracy_float", "cycles", "latency_ms", "synaptic_operations",
    "utilization", "energy_uj", "area_mm2", "dram_bytes",
}  # fmt: skip


@pytest.fixture
def workload(tmp_path, monkeypatch) -> Path:
    """A workload file in an empty current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w").mkdir()
    path = tmp_path / "w" / "digits.yaml"
    path.write_text(WORKLOAD)
    return path


@pytest.fixture
def simulator(monkeypatch, make):
    """Stands in for archsim.run and the Numba cache; notes the calls and returns ``state.result``."""
    state = types.SimpleNamespace(calls=[], result=make(), error=None, cold=False)

    def run(workload, **options):
        state.calls.append((workload, options))
        if state.error:
            raise state.error
        options["progress"](1, 1)
        return state.result

    monkeypatch.setitem(sys.modules, "archsim.simulate", types.SimpleNamespace(run=run))
    monkeypatch.setitem(sys.modules, "archsim.jit", types.SimpleNamespace(is_cold=lambda: state.cold))
    return state


def archsim(monkeypatch, *arguments: object) -> int:
    """Exit status of the command line."""
    monkeypatch.setattr(sys, "argv", ["archsim", *map(str, arguments)])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_run_writes_a_report(workload, simulator, monkeypatch, capsys):
    assert archsim(monkeypatch, "run", workload) == 0
    assert {path.name for path in Path("reports/digits").iterdir()} == {
        "report.json",
        "report.html",
        "timeline.json",
        "program.safetensors",
    }
    printed = capsys.readouterr()
    assert "report: reports/digits/report.html" in printed.out
    assert "running, 1 image(s)" in printed.err
    (call,) = simulator.calls
    options = {name: value for name, value in call[1].items() if name != "progress"}
    assert options == {"chip": None, "images": 1, "mode": "execute", "check": False}


def test_options_are_passed_on(workload, simulator, monkeypatch):
    status = archsim(
        monkeypatch,
        "run",
        workload,
        "--chip",
        "small_t4",
        "--images",
        "3",
        "--mode",
        "trace",
        "--check",
        "--out",
        "o",
    )
    assert status == 0
    options = {name: value for name, value in simulator.calls[0][1].items() if name != "progress"}
    assert options == {"chip": "small_t4", "images": 3, "mode": "trace", "check": True}
    assert Path("o/report.json").is_file()


def test_json_is_all_of_standard_output(workload, simulator, monkeypatch, capsys):
    assert archsim(monkeypatch, "run", workload, "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert set(data) >= KEYS
    assert data["energy_uj"]["total"] > 0 and data["area_mm2"]["total"] > 0
    assert data["utilization"] == 720 / (32 * 190)


def test_says_when_kernels_are_compiled(workload, simulator, monkeypatch, capsys):
    simulator.cold = True
    archsim(monkeypatch, "run", workload, "--json")
    assert "compiling kernels (first run)" in capsys.readouterr().err


@pytest.mark.parametrize("differing, status", [({"spikes": 0}, 0), ({"spikes": 0, "logits": 2}, 1)])
def test_check_sets_the_status(workload, simulator, monkeypatch, make, differing, status):
    simulator.result = make(check=CheckResult({"spikes": 100, "logits": 10}, differing))
    assert archsim(monkeypatch, "run", workload, "--check") == status
    assert Path("reports/digits/report.json").is_file()


def test_bad_input_is_one_message_and_no_report(workload, simulator, monkeypatch, capsys):
    workload.write_text(WORKLOAD.replace("small", "smal") + "image: 3\n")
    assert archsim(monkeypatch, "run", workload) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(
        f"error: {workload}:4:1: image: required a known key, given 'image'; did you mean 'images'?"
    )
    assert "Traceback" not in printed.err and printed.out == ""
    assert not simulator.calls and not Path("reports").exists()


def test_errors_of_the_run_leave_no_report(workload, simulator, monkeypatch, capsys):
    simulator.error = cli.ArchsimError("network: required less, given more; use a larger chip")
    assert archsim(monkeypatch, "run", workload) == 2
    assert capsys.readouterr().err.endswith("error: network: required less, given more; use a larger chip\n")
    assert not Path("reports").exists()


def test_internal_errors_keep_their_traceback(workload, simulator, monkeypatch):
    simulator.error = RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        archsim(monkeypatch, "run", workload)


def test_foreign_folder_is_refused_before_the_run(workload, simulator, monkeypatch, capsys):
    assert archsim(monkeypatch, "run", workload, "--out", workload.parent) == 2
    assert "choose another with --out" in capsys.readouterr().err
    assert not simulator.calls


@pytest.mark.parametrize(
    "arguments", [("run",), ("run", "w", "--images", "0"), ("fly",), ("schema", "car"), ("export",)]
)
def test_bad_usage(arguments, monkeypatch):
    assert archsim(monkeypatch, *arguments) == 2


def test_chips(monkeypatch, capsys):
    assert archsim(monkeypatch, "chips") == 0
    assert "adders_512_half" in capsys.readouterr().out


def test_export(workload, monkeypatch, capsys):
    assert archsim(monkeypatch, "export", workload, "--chip", "small_t4") == 0
    data = YAML(typ="safe", pure=True).load(capsys.readouterr().out)
    assert data["workload"]["operand_bits"] == {"image": 8, "head": 12}
    assert data["chip"]["config"]["weight_bank_kib"] == 8
    assert data["chip"]["derived"]["adders"] == 128 and data["chip"]["derived"]["weight_rows"] == 512


def test_exported_chip_can_be_read_again(monkeypatch, capsys, tmp_path):
    archsim(monkeypatch, "export", "--chip", "adders_512")
    config = YAML(typ="safe", pure=True).load(capsys.readouterr().out)["chip"]["config"]
    path = tmp_path / "again.yaml"
    with path.open("w") as file:
        YAML().dump(config, file)
    assert cli.read_chip(path).params == cli.read_chip("adders_512").params


def test_schema_and_version(monkeypatch, capsys):
    assert archsim(monkeypatch, "schema", "chip") == 0
    assert json.loads(capsys.readouterr().out)["title"] == "ChipConfig"
    assert archsim(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("archsim ")


def test_help_does_not_load_numba():
    import subprocess

    code = "import sys, archsim.cli; sys.exit('numba' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
