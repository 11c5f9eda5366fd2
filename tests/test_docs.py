"""Are the documents true: generated pages up to date, outputs as printed, examples that run, links that lead somewhere?"""

import re
from itertools import count

import pytest

from archsim.contracts import sequencer
from scripts.document import OUTPUTS, with_outputs
from scripts.unit_pages import ROOT, markdown, pages

PAGES = pages()
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "reports").glob("*.md"))
]  # fmt: skip
DECISIONS = sorted((ROOT / "docs/decisions").glob("*.md"))


def relative(path):
    return path.relative_to(ROOT).as_posix() if path.is_absolute() else path.as_posix()


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_a_generated_page_is_up_to_date(path):
    assert (ROOT / path).read_text(encoding="utf-8") == PAGES[path], "run `make docs`"


def test_no_page_of_a_unit_that_is_gone():
    assert {path.relative_to(ROOT) for path in (ROOT / "docs/units").glob("*.md")} == set(PAGES)


@pytest.mark.parametrize(("name", "outputs"), list(zip(OUTPUTS, (2, 4), strict=True)))
def test_the_outputs_in_documents_are_what_the_commands_print(name, outputs):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text.count("<!-- output: ") == outputs
    assert text == with_outputs(text), "run `make docs`"


def test_a_stale_output_is_found():
    text = "<!-- output: archsim --version -->\n```console\n$ archsim --version\narchsim 0.0\n```\n"
    assert with_outputs(text) != text
    assert with_outputs(with_outputs(text)) == with_outputs(text)


def test_the_examples_in_the_readme_run(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert examples
    for example in examples:
        exec(example, {})
    assert capsys.readouterr().out


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_files_that_are_named_exist(document):
    """Paths from the root in backticks, also within commands; what stands for any name is left out."""
    for code in re.findall(r"`([^`\n]+)`", document.read_text(encoding="utf-8")):
        for name in re.findall(r"(?<![\w./])(?:archsim|rtl|mapping|workloads|tests|scripts|docs)/[\w./-]+", code):
            if not re.search(r"[/_]x\.|NNNN", name):
                assert (ROOT / name).exists(), name


@pytest.mark.parametrize(("path", "number"), list(zip(DECISIONS, count(1), strict=False)))
def test_decisions_are_numbered_and_complete(path, number):
    text = path.read_text(encoding="utf-8")
    assert path.name.startswith(f"{number:04d}-")
    assert text.startswith(f"# {number:04d} ")
    parts = ["Context", "Decision", "Alternatives", "Consequences"]
    assert [name for name in re.findall(r"^## (.*)$", text, re.MULTILINE) if name in parts] == parts


def test_every_opcode_stands_in_the_table_of_operators():
    text = (ROOT / "docs/operators.md").read_text(encoding="utf-8")
    assert [name for name in sequencer.OPCODES if f"`{name}`" not in text] == []


def test_docstrings_become_markdown():
    text = "Uses :class:`~a.b` and ``c``.\n\n    Args:\n        d: first\n            and more.\n\n    Raises nothing.\n    "
    assert markdown(text) == "Uses `a.b` and `c`.\n\nArgs:\n\n* `d`: first\n    and more.\n\nRaises nothing."
