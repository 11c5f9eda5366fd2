"""What the contracts say about themselves: docstrings, documented constants, comments of fields; and docstrings as Markdown."""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from types import ModuleType
from typing import Any


def properties(params: Any) -> Iterator[tuple[str, Any, str]]:
    """(name, value, docstring) of every property, in the order of the class."""
    for name, member in vars(type(params)).items():
        if hasattr(member, "__get__") and not callable(member) and not name.startswith("_"):
            yield name, getattr(params, name), inline(member.__doc__ or "")


def attributes(cls: type) -> dict[str, str]:
    """Meanings of a dataclass's fields, from the Attributes of its docstring."""
    assert is_dataclass(cls)
    _, _, text = (inspect.getdoc(cls) or "").partition("Attributes:\n")
    entries = re.findall(r"^    (\w[\w, ]*): (.*(?:\n {6,}.*)*)", text, re.MULTILINE)
    return {name.strip(): inline(doc) for names, doc in entries for name in names.split(",")}


def documented(module: ModuleType) -> Iterator[tuple[list[str], str, str]]:
    """Names of each module-level assignment that a docstring follows, with that docstring and the statement's source."""
    source = inspect.getsource(module)
    body = ast.parse(source).body
    for statement, after in zip(body, body[1:], strict=False):
        if isinstance(statement, ast.Assign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            names = [node.id for node in ast.walk(statement.targets[0]) if isinstance(node, ast.Name)]
            yield names, str(after.value.value), ast.get_source_segment(source, statement) or ""


def contract_source(module: ModuleType) -> str:
    """Source of a contract; nothing of any other module."""
    return inspect.getsource(module) if module.__name__.startswith("archsim.contracts") else ""


def comments(source: str) -> dict[str, str]:
    """Comments at the end of the lines that declare a Field, by its name."""
    found = re.findall(r'Field\("(\w+)"[^#\n]*\),?  # (.+)$', source, re.MULTILINE)
    return {name: inline(text) for name, text in found}


def inline(text: str) -> str:
    """One line of Markdown, also within a table."""
    text = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", " ".join(text.split()))
    return re.sub(r"``([^`]*)``", r"`\1`", text).replace("|", "\\|")


def markdown(docstring: str) -> str:
    """A docstring as Markdown: literals, roles, and sections such as ``Args:`` as lists."""
    text = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", inspect.cleandoc(docstring))
    text = re.sub(r"``([^`]*)``", r"`\1`", text)
    lines, inside = [], False
    for line in text.split("\n"):
        if line in ("Args:", "Attributes:", "Returns:", "Raises:"):
            lines, inside = [*lines, line[:-1] + ":", ""], True
        elif inside and re.match(r"    \w[\w, ]*: ", line):
            name, _, rest = line.strip().partition(": ")
            lines.append(f"* `{name}`: {rest}")
        else:
            inside = inside and (not line or line.startswith(" "))
            lines.append(line.removeprefix("    ") if inside else line)
    return "\n".join(lines).strip()
