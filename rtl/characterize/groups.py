"""The syntax of Liberty: groups, attributes and groups in groups."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from archsim.contracts.common.errors import ArchsimError

_TOKEN = re.compile(r'"([^"]*)"|([A-Za-z0-9_.+\-\[\]*/!\'^&|$]+)|([(){};:,])')
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|\\\r?\n", re.DOTALL)
_UNENDED = re.compile(r"^(\s*\w+\s*:[^;{}\n]*?)\s*$", re.MULTILINE)


@dataclass
class Group:
    """A group ``name (args) { ... }``: simple attributes, and groups in it. Complex attributes are groups without content."""

    name: str
    args: list[str]
    attributes: dict[str, str] = field(default_factory=dict)
    groups: list["Group"] = field(default_factory=list)

    def named(self, name: str) -> list["Group"]:
        """Groups in it with this name."""
        return [group for group in self.groups if group.name == name]


def parse(text: str, where: str) -> Group:
    """The content of a group, as the text of a cell gives it. Raises ArchsimError where it is no Liberty."""
    tokens = _TOKEN.finditer(_UNENDED.sub(r"\1;", _COMMENT.sub(" ", text)))  # an attribute may end with its line
    flat = (match[3] or (match[1] if match[1] is not None else match[2]) for match in tokens)
    root = Group("", [])
    _fill(root, flat, where)
    return root


def _fill(group: Group, tokens: Iterator[str], where: str) -> None:
    """Read statements up to the brace that closes ``group``, or to the end of a text whose last groups are the library's."""
    for name in tokens:
        if name == "}":
            return
        if name == ";":
            continue
        mark = next(tokens, "")
        if mark == ":":
            group.attributes[name] = " ".join(iter(lambda: next(tokens, ";"), ";"))
        elif mark == "(":
            inner = Group(name, [token for token in iter(lambda: next(tokens, ")"), ")") if token != ","])
            group.groups.append(inner)
            after = next(tokens, "}")
            if after == "{":
                _fill(inner, tokens, where)
            elif after == "}":
                return
        else:
            raise ArchsimError(
                f"{where}: required ':' or '(' behind '{name}', given '{mark or 'the end'}'; not a Liberty cell"
            )
