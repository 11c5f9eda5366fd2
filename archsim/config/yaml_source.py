"""YAML files with the line and column of every key and value, duplicate keys included."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from archsim.contracts.common.errors import ArchsimError

KeyPath = tuple[str | int, ...]
"""Keys and list indices from the root of a file to a value."""

Position = tuple[int, int]
"""Line and column, both counted from 1."""


@dataclass
class Document:
    """A YAML file as plain data, and where everything in it stands.

    Attributes:
        file: path as the user gave it, for messages.
        data: the content: mappings, lists and scalars; of a key that stands twice, the first value.
        keys: position of every key (for a list, of the element; for the root, of its first key).
        values: position of every value.
        duplicates: keys that stand again: path, position of the first, position of the other.
    """

    file: str
    data: Any = None
    keys: dict[KeyPath, Position] = field(default_factory=dict)
    values: dict[KeyPath, Position] = field(default_factory=dict)
    duplicates: list[tuple[KeyPath, Position, Position]] = field(default_factory=list)

    def position(self, path: KeyPath, of_key: bool = False) -> Position:
        """Where ``path`` stands, or its nearest parent that is there."""
        table = self.keys if of_key else self.values
        for length in range(len(path), -1, -1):
            if path[:length] in table:
                return table[path[:length]]
        return 1, 1

    def where(self, path: KeyPath, of_key: bool = False) -> str:
        """``file:line:column`` of ``path``, or of its nearest parent that is there."""
        line, column = self.position(path, of_key)
        return f"{self.file}:{line}:{column}"


def read_yaml(path: Path) -> Document:
    """Read a YAML file whose root is a mapping.

    Raises ArchsimError when it cannot be read, is no YAML, or is something else than a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ArchsimError(f"{path}: required a file, given a path where there is none; check the name") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ArchsimError(f"{path}: required a readable UTF-8 file, given one that is not ({error})") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, file: str) -> Document:
    """Parse ``text``; ``file`` is its name in messages. Raises ArchsimError as `read_yaml` does."""
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
        raise ArchsimError(
            f"{where}: required YAML, given something else ({error.problem or error.context})"
        ) from error
    except YAMLError as error:
        raise ArchsimError(f"{file}: required YAML, given something else ({' '.join(str(error).split())})") from error
    if not isinstance(root, MappingNode):
        where = f"{file}:{_position(root)[0]}:{_position(root)[1]}" if root is not None else file
        given = "an empty file" if root is None else "a list" if isinstance(root, SequenceNode) else "a single value"
        raise ArchsimError(f"{where}: required a mapping (`key: value` lines), given {given}")
    document = Document(file)
    document.keys[()] = _position(root)
    document.data = _build(root, (), document, yaml, ())
    return document


def _position(node: Node) -> Position:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _build(node: Node, path: KeyPath, document: Document, yaml: YAML, parents: tuple[int, ...]) -> Any:
    """Plain data of ``node``; notes the positions of all that it holds."""
    document.values[path] = _position(node)
    if id(node) in parents:
        raise ArchsimError(f"{document.where(path)}: required a value, given an alias of something that contains it")
    inside = (*parents, id(node))
    if isinstance(node, SequenceNode):
        items = []
        for index, item in enumerate(node.value):
            document.keys[(*path, index)] = _position(item)
            items.append(_build(item, (*path, index), document, yaml, inside))
        return items
    if not isinstance(node, MappingNode):
        try:
            return yaml.constructor.construct_object(node, deep=True)
        except (YAMLError, ValueError) as error:
            raise ArchsimError(
                f"{document.where(path)}: required a value, given {node.value!r}, which YAML cannot read"
            ) from error
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        here = (*path, key)
        if key in result:
            document.duplicates.append((here, document.keys[here], _position(key_node)))
            continue
        document.keys[here] = _position(key_node)
        result[key] = _build(value_node, here, document, yaml, inside)
    return result
