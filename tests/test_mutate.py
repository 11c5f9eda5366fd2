"""Does the mutation run make the mutants that it says, and does it tell those that tests notice from those that they do not?"""

import json

import pytest

from archsim.contracts.common.errors import ArchsimError
from scripts.mutate import __main__ as command
from scripts.mutate import runner
from scripts.mutate.operators import OPERATORS, mutants
from scripts.mutate.targets import ROOT, Stage, files, stages

SOURCE = '''"""A docstring: 1 < 2."""

READ_LATENCY = 2
SIZE: int = 7


def clip(value: int, top: int = 9) -> int:
    """Never 3."""
    if value < 0:
        raise ArchsimError(f"required {0}, given {value + 1}")
    return min(max(value, 0), top - 1)


def corners():
    return [1, 2, 3]


class Counter:
    def elaborate(self, platform):
        state, other = Signal(4), Signal()
        level = Signal(init=5)
        m.d.sync += state.eq(saturated(state + 1, 4))
        m.d.comb += other.eq(state == 3)
        names = ["a"] + names
'''


def test_every_change_that_it_should_make_and_no_other():
    found = [(mutant.operator, mutant.mutated) for mutant in mutants("x.py", SOURCE)]
    assert found == [
        ("latency", "READ_LATENCY = 3"), ("latency", "READ_LATENCY = 1"),
        ("off by one", "SIZE: int = 8"), ("off by one", "SIZE: int = 6"),
        ("off by one", "def clip(value: int, top: int = 10) -> int:"), ("off by one", "def clip(value: int, top: int = 8) -> int:"),
        ("comparison", "if value <= 0:"), ("off by one", "if value < 1:"),
        ("choice", "return max(max(value, 0), top - 1)"), ("clamp", "return (max(value, 0))"),
        ("choice", "return min(min(value, 0), top - 1)"), ("clamp", "return min((value), top - 1)"),
        ("off by one", "return min(max(value, 1), top - 1)"), ("arithmetic", "return min(max(value, 0), top + 1)"),
        ("off by one", "return min(max(value, 0), top - 2)"), ("off by one", "return min(max(value, 0), top - 0)"),
        ("reset", "state, other = Signal(4, init=1), Signal()"),
        ("off by one", "state, other = Signal(5), Signal()"), ("off by one", "state, other = Signal(3), Signal()"),
        ("reset", "level = Signal(init=6)"), ("reset", "level = Signal(init=4)"),
        ("domain", "m.d.comb += state.eq(saturated(state + 1, 4))"), ("clamp", "m.d.sync += state.eq((state + 1))"),
        ("arithmetic", "m.d.sync += state.eq(saturated(state - 1, 4))"),
        ("off by one", "m.d.sync += state.eq(saturated(state + 2, 4))"),
        ("off by one", "m.d.sync += state.eq(saturated(state + 0, 4))"),
        ("off by one", "m.d.sync += state.eq(saturated(state + 1, 5))"),
        ("off by one", "m.d.sync += state.eq(saturated(state + 1, 3))"),
        ("comparison", "m.d.comb += other.eq(state != 3)"), ("off by one", "m.d.comb += other.eq(state == 4)"),
        ("off by one", "m.d.comb += other.eq(state == 2)"),
    ]  # fmt: skip
    assert {operator for operator, _ in found} == set(OPERATORS)


def test_an_operator_over_two_lines_keeps_its_lines():
    (mutant,) = [
        mutant for mutant in mutants("x.py", "a = (b  # b < c\n     <= c)\n") if mutant.operator == "comparison"
    ]
    assert mutant.text == "a = (b  # b < c\n     < c)\n" and mutant.number == 2


@pytest.fixture(scope="module")
def project():
    return [mutant for file in files() for mutant in mutants(file, (ROOT / file).read_text())]


def test_every_mutant_of_the_project_is_a_program_of_its_own(project):
    assert len({mutant.key for mutant in project}) == len(project)
    for mutant in project[::20]:
        compile(mutant.text, mutant.file, "exec")
    assert {mutant.file for mutant in project} >= {"archsim/contracts/neuron.py", "rtl/units/neuron.py", "rtl/fifo.py"}


def test_every_file_is_judged_by_tests_that_exist():
    for file in files():
        for stage in stages(file):
            assert all((ROOT / module.split("::")[0]).is_file() for module in stage.modules), file


def test_a_sample_takes_a_mutant_of_each_kind_first(project):
    kinds = {(mutant.file, mutant.operator) for mutant in project}
    chosen = command.sample(project, len(kinds), seed=3)
    assert {(mutant.file, mutant.operator) for mutant in chosen} == kinds
    assert [mutant.key for mutant in command.sample(project, 50, 3)] == [mutant.key for mutant in chosen[:50]]
    assert chosen != command.sample(project, len(kinds), seed=4)
    assert {mutant.key for mutant in command.sample(project, None, 3)} == {mutant.key for mutant in project}


# ---------------------------------------------------------------------- a project of one function

CODE = "def clip(value):\n    while value < 0:\n        value = value + 2\n    return min(value, 9)\n"
TEST = "from code_under_test import clip\n\ndef test_clip():\n    assert clip(-3) == 1 and clip(3) == 3\n"


@pytest.fixture
def small(tmp_path, monkeypatch):
    root = tmp_path / "project"
    root.mkdir()
    (root / "code_under_test.py").write_text(CODE)
    (root / "test_it.py").write_text(TEST)
    for module in (runner, command):
        monkeypatch.setattr(module, "ROOT", root)
    monkeypatch.setattr(runner, "COPIED", ("code_under_test.py", "test_it.py"))
    monkeypatch.setattr(runner, "LIMIT_SECONDS", 10)
    monkeypatch.setattr(command, "files", lambda: ["code_under_test.py"])
    monkeypatch.setattr(command, "stages", lambda file: (Stage(("test_it.py",)),))
    return root


def test_a_run_its_survivor_and_its_explanation(small, tmp_path, capsys):
    arguments = ["--out", str(tmp_path / "out"), "--operator", "arithmetic"]
    assert command.main(arguments) == 0  # value - 2 never ends: hung
    arguments[-1] = "clamp"
    assert command.main(arguments) == 1  # nothing above 9 is tested
    assert "**not explained** `code_under_test.py:4` (clamp)" in capsys.readouterr().out
    results = [json.loads(line) for line in (tmp_path / "out/results.jsonl").read_text().splitlines()]
    assert [result["verdict"] for result in results] == [runner.HUNG, runner.SURVIVED]
    reason = {
        "file": "code_under_test.py",
        "line": "return min(value, 9)",
        "mutant": "return (value)",
        "reason": "a reason",
    }
    (tmp_path / "out/explained.yaml").write_text(json.dumps([reason]))
    assert command.main(arguments) == 0
    arguments[-1] = "choice"
    assert command.main(arguments) == 0
    (small / "test_it.py").write_text(TEST.replace("3) == 3", "30) == 9"))
    (tmp_path / "out/explained.yaml").unlink()
    arguments[-1] = "clamp"
    assert command.main(arguments) == 0  # the survivor is looked at again, and the new test kills it
    killed = json.loads((tmp_path / "out/results.jsonl").read_text().splitlines()[-1])
    assert killed["verdict"] == runner.KILLED and "test_it.py::test_clip" in killed["test"]


def test_tests_that_fail_anyway_judge_nothing(small, tmp_path, capsys):
    (small / "test_it.py").write_text(TEST.replace("== 1", "== 2"))
    assert command.main(["--out", str(tmp_path / "out"), "--operator", "clamp"]) == 2
    assert "the unchanged tree must pass ['test_it.py']" in capsys.readouterr().err


def test_an_incomplete_explanation_is_refused(tmp_path):
    (tmp_path / "explained.yaml").write_text("- {file: a.py, line: x, mutant: y}\n")
    with pytest.raises(ArchsimError, match="an entry needs file, line, mutant and reason, given"):
        command.read_explained(tmp_path / "explained.yaml")
