"""Mutants of one source file: every place where one small change makes wrong hardware, or a wrong contract, of it.

The operators are those of :data:`OPERATORS`. Not mutated: docstrings and other texts, annotations, what ``raise`` says,
decorators, and ``corners`` of a contract, which are stimuli and no behaviour.
"""

import ast
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

OPERATORS = {
    "comparison": "`<` with `<=`, `>` with `>=`, `==` with `!=`",
    "off by one": "an integer one more or one less",
    "arithmetic": "`+` with `-`",
    "choice": "`min` with `max`",
    "clamp": "`min`, `max` or `saturated` left out",
    "latency": "a constant of time one more or one less",
    "reset": "another value at reset",
    "domain": "`m.d.sync` with `m.d.comb`: a register left out",
}
"""The operators, and what each exchanges."""

_COMPARISONS: dict[type, tuple[str, str]] = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"), ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
}  # fmt: skip
_SIGNS: dict[type, tuple[str, str]] = {ast.Add: ("+", "-"), ast.Sub: ("-", "+")}
_TIME = re.compile(r"LATENCY|DECODE|OVERHEAD|GAP|DONE|FIRST|ENTER|CHOOSE|DELAY|CYCLES")
_NO_NUMBERS = (ast.List, ast.Tuple, ast.ListComp, ast.JoinedStr, ast.Dict)


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Attributes:
        file: path from the root of the project.
        number: line of the change.
        operator: one of OPERATORS.
        original, text: the whole file before and after the change.
    """

    file: str
    number: int
    operator: str
    original: str
    text: str

    @cached_property
    def key(self) -> str:
        """Name of the mutant: a hash of its file."""
        return hashlib.sha256(f"{self.file}\0{self.text}".encode()).hexdigest()[:16]

    @property
    def line(self) -> str:
        """The changed line as it was."""
        return self.original.splitlines()[self.number - 1].strip()

    @property
    def mutated(self) -> str:
        """The changed line as it is."""
        return self.text.splitlines()[self.number - 1].strip()


def mutants(file: str, text: str) -> list[Mutant]:
    """Every mutant of the file, in the order of its lines; each is another text, and Python reads all of them."""
    lines = text.encode().splitlines(keepends=True)
    starts = [sum(map(len, lines[:count])) for count in range(len(lines) + 1)]
    data, found = text.encode(), {}
    for operator, (line, column), (end_line, end_column), new in _Finder(data, starts).changes(ast.parse(text)):
        first, last = starts[line - 1] + column, starts[end_line - 1] + end_column
        changed = (data[:first] + new.encode() + data[last:]).decode()
        mutant = Mutant(file, line, operator, text, changed)
        if changed != text:
            found.setdefault(mutant.key, mutant)
    return sorted(found.values(), key=lambda mutant: mutant.number)


Place = tuple[int, int]
Change = tuple[str, Place, Place, str]
"""Operator, first place, end place, new text."""


class _Finder:
    """Walks a tree and yields changes; ``registers`` are the names that a clock edge sets."""

    def __init__(self, data: bytes, starts: list[int]):
        self.data, self.starts = data, starts
        self.registers: set[str] = set()

    def changes(self, tree: ast.Module) -> Iterator[Change]:
        """All changes of a module."""
        for node in ast.walk(tree):
            if isinstance(node, ast.AugAssign) and ast.unparse(node.target) == "m.d.sync":
                self.registers |= set(re.findall(r"\b(\w+)(?:\[[^\]]*\])?\.eq\(", ast.unparse(node.value)))
        for node in tree.body:
            yield from self._visit(node, "off by one")

    def _visit(self, node: ast.AST, number: str) -> Iterator[Change]:
        """Changes of a node and of those below; an integer in it belongs to the operator ``number``."""
        if isinstance(node, ast.Raise | ast.JoinedStr) or (
            isinstance(node, ast.FunctionDef) and node.name == "corners"
        ):
            return
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.col_offset == 0:
            number = "latency" if _TIME.search(node.targets[0].id) else number
        yield from self._own(node, number)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "bases"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    reset = isinstance(child, ast.keyword) and child.arg == "init"
                    yield from self._visit(child, "reset" if reset else number)

    def _own(self, node: ast.AST, number: str) -> Iterator[Change]:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            for value in [node.value + 1, node.value - 1][: 2 if node.value else 1]:
                yield self._whole(node, number, str(value))
        elif isinstance(node, ast.Compare):
            lefts = [node.left, *node.comparators[:-1]]
            for operation, left, right in zip(node.ops, lefts, node.comparators, strict=True):
                yield from self._between("comparison", _COMPARISONS.get(type(operation)), left, right)
        elif isinstance(node, ast.BinOp):
            text = isinstance(node.left, ast.Constant) and isinstance(node.left.value, str)
            if not text and not isinstance(node.left, _NO_NUMBERS) and not isinstance(node.right, _NO_NUMBERS):
                yield from self._between("arithmetic", _SIGNS.get(type(node.op)), node.left, node.right)
        elif isinstance(node, ast.Call):
            yield from self._call(node)
        elif isinstance(node, ast.Assign):
            yield from self._resets(node)
        elif isinstance(node, ast.AugAssign):
            if ast.unparse(node.target) == "m.d.sync":
                yield self._whole(node.target, "domain", "m.d.comb")
            elif not isinstance(node.target, ast.Attribute):
                yield from self._between("arithmetic", _augmented(node.op), node.target, node.value)

    def _call(self, node: ast.Call) -> Iterator[Change]:
        name, given = ast.unparse(node.func), node.args
        if name in ("min", "max"):
            yield self._whole(node.func, "choice", "max" if name == "min" else "min")
        if name in ("min", "max", "saturated") and len(given) == 2:
            kept = given[1] if isinstance(given[0], ast.Constant) else given[0]
            yield self._whole(node, "clamp", f"({ast.unparse(kept)})")

    def _resets(self, node: ast.Assign) -> Iterator[Change]:
        """Registers that start at 0 start at 1."""
        target, value = node.targets[0], node.value
        pairs = [(target, value)]
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            pairs = list(zip(target.elts, value.elts, strict=True))
        for name, call in pairs:
            signal = isinstance(call, ast.Call) and ast.unparse(call.func) == "Signal"
            if signal and ast.unparse(name) in self.registers and all(word.arg != "init" for word in call.keywords):
                end = (call.end_lineno or 0, (call.end_col_offset or 1) - 1)
                yield "reset", end, end, ", init=1" if call.args or call.keywords else "init=1"

    def _whole(self, node: ast.expr, operator: str, new: str) -> Change:
        """The whole of a node replaced."""
        return operator, (node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0), new

    def _between(
        self, operator: str, pair: tuple[str, str] | None, left: ast.expr, right: ast.expr
    ) -> Iterator[Change]:
        """The operator between two nodes replaced."""
        if pair is None:
            return
        line, column = left.end_lineno or 0, left.end_col_offset or 0
        first = self.starts[line - 1] + column
        gap = self.data[first : self.starts[right.lineno - 1] + right.col_offset]
        at = first + gap.index(pair[0].encode())
        while self.starts[line] <= at:
            line += 1
        column = at - self.starts[line - 1]
        yield operator, (line, column), (line, column + len(pair[0])), pair[1]


def _augmented(operation: ast.operator) -> tuple[str, str] | None:
    pair = _SIGNS.get(type(operation))
    return pair and (f"{pair[0]}=", f"{pair[1]}=")
