"""What the keys of a manifest.json must hold, checked before anything reads them."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archsim.contracts.common.errors import ArchsimError

KeyPath = tuple[str, ...]
"""Keys from the root to a value; ``*`` stands for every entry of a mapping or list."""


@dataclass(frozen=True)
class Rule:
    """A requirement, in words and as a predicate."""

    words: str
    holds: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1


TEXT = Rule("a text", lambda value: isinstance(value, str))
FLAG = Rule("true or false", lambda value: isinstance(value, bool))
COUNT = Rule("an integer of at least 1", _is_count)
NATURAL = Rule("an integer of at least 0", lambda value: value == 0 or _is_count(value))
NUMBER = Rule("a finite number", _is_number)
POSITIVE = Rule("a finite number above 0", lambda value: _is_number(value) and value > 0)
SHARE = Rule("a number in 0..1", lambda value: _is_number(value) and 0 <= value <= 1)
MAPPING = Rule("a mapping", lambda value: isinstance(value, dict))
ENTRIES = Rule("a list of at least one mapping", lambda value: isinstance(value, list) and bool(value))
SHAPE = Rule("a shape: a list of two or more integers of at least 1",
             lambda value: isinstance(value, list) and len(value) > 1 and all(map(_is_count, value)))  # fmt: skip
POOL_KEYS = ("kernel", "stride", "padding")
POOL = Rule(
    f"null or a mapping with {POOL_KEYS}",
    lambda value: value is None or (isinstance(value, dict) and all(name in value for name in POOL_KEYS)),
)


def check(place: Path, manifest: Any, rules: Mapping[KeyPath, Rule]) -> None:
    """Raise one ArchsimError with a line for every value of ``manifest`` that breaks its rule or is not there."""
    problems = []
    for path, rule in rules.items():
        for name, value, present in _find(manifest, path, ""):
            if not present or not rule.holds(value):
                given = repr(value)[:60] if present else "nothing"
                problems.append(f"{place}: {name}: required {rule.words}, given {given}; export the network again")
    if problems:
        raise ArchsimError("\n".join(problems))


def _find(value: Any, path: KeyPath, name: str) -> Iterator[tuple[str, Any, bool]]:
    """(name, value, whether it is there) of every place that ``path`` means; where the way to it ends, that place."""
    if not path:
        yield name, value, True
        return
    key, rest = path[0], path[1:]
    if key == "*":
        entries = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
        for entry, inner in entries:
            yield from _find(inner, rest, f"{name}[{entry!r}]")
        return
    here = f"{name}.{key}" if name else key
    if isinstance(value, dict) and key in value:
        yield from _find(value[key], rest, here)
    else:
        yield here, None, False
