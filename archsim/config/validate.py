"""Checks a YAML document against a pydantic model and reports everything that is wrong with it at once."""

import difflib
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from archsim.config.yaml_source import Document, KeyPath, Position
from archsim.contracts.common.errors import ArchsimError


class Strict(BaseModel):
    """Base of all configuration models: immutable, no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


Model = TypeVar("Model", bound=BaseModel)

_TYPES = {
    "integer": "an integer", "number": "a number", "string": "a text", "boolean": "true or false",
    "object": "a mapping", "array": "a list",
}  # fmt: skip


def validate(model: type[Model], document: Document) -> Model:
    """An instance of ``model`` from ``document``.

    Raises one ArchsimError with a line ``file:line:column: key: required ..., given ...; remedy`` for every
    error, in the order of the file.
    """
    problems = [_duplicate(document, *duplicate) for duplicate in document.duplicates]
    instance = None
    try:
        instance = model.model_validate(document.data)
    except ValidationError as error:
        schema = model.model_json_schema()
        problems += [_problem(document, schema, entry) for entry in error.errors(include_url=False)]
    if problems or instance is None:
        raise ArchsimError("\n".join(text for _, text in sorted(problems)))
    return instance


def name_of(path: KeyPath) -> str:
    """A path as people write it: ``dram.bus_bytes``, ``layers[2].name``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def nearest(name: str, known: list[str]) -> str:
    """A remedy for an unknown name: the nearest known one, or all of them."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"known are {', '.join(known)}"


def requirement(schema: dict[str, Any]) -> str:
    """What a field's JSON schema requires, in words: ``an integer in 1..32``."""
    if "const" in schema or "enum" in schema:
        values = schema.get("enum", [schema.get("const")])
        return ("one of " if len(values) > 1 else "") + ", ".join(str(value) for value in values)
    text = _TYPES.get(str(schema.get("type")), "a value")
    low, high = schema.get("minimum"), schema.get("maximum")
    above = schema.get("exclusiveMinimum")
    if low is not None and high is not None:
        text += f" in {low}..{high}"
    elif low is not None:
        text += f" of at least {low}"
    elif high is not None:
        text += f" {f'above {above} and ' if above is not None else ''}of at most {high}"
    elif above is not None:
        text += f" above {above}"
    if "pattern" in schema:
        text += f" that matches {schema['pattern']}"
    return text


def _duplicate(document: Document, path: KeyPath, first: Position, again: Position) -> tuple[Position, str]:
    where = f"{document.file}:{again[0]}:{again[1]}"
    return (
        again,
        f"{where}: {name_of(path)}: required once, given again (first in line {first[0]}); remove one",
    )


def _problem(document: Document, schema: dict[str, Any], entry: Any) -> tuple[Position, str]:
    """Position and text of one of pydantic's errors."""
    path: KeyPath = entry["loc"]
    kind = entry["type"]
    if kind == "extra_forbidden":
        known = list(_at(schema, schema, path[:-1]).get("properties", {}))
        given = f"required a known key, given '{path[-1]}'; {nearest(str(path[-1]), known)}"
        return _line(document, path, True, given)
    part = _at(schema, schema, path)
    needed = requirement(part)
    meaning = str(part.get("description", "")).split("\n")[0].rstrip(".")
    hint = f"; {meaning}" if meaning else ""
    if kind == "missing":
        return _line(document, path, True, f"required {needed}, given nothing{hint}")
    return _line(document, path, False, f"required {needed}, given {_shown(entry['input'])}{hint}")


def _line(document: Document, path: KeyPath, of_key: bool, text: str) -> tuple[Position, str]:
    return document.position(path, of_key), f"{document.where(path, of_key)}: {name_of(path)}: {text}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "nothing" if value is None else "a mapping" if isinstance(value, dict) else repr(value)


def _at(root: dict[str, Any], schema: dict[str, Any], path: KeyPath) -> dict[str, Any]:
    """The part of a JSON schema that describes ``path``; empty if there is none."""
    schema = _resolved(root, schema)
    for part in path:
        inner = schema.get("items", {}) if isinstance(part, int) else schema.get("properties", {}).get(part, {})
        schema = _resolved(root, inner)
    return schema


def _resolved(root: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """``schema`` with its reference followed and without the alternative of being absent."""
    for option in schema.get("anyOf", []):
        if option.get("type") != "null":
            schema = {**option, **{key: value for key, value in schema.items() if key != "anyOf"}}
    reference = schema.get("$ref")
    if reference:
        own = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**root["$defs"][reference.rsplit("/", 1)[1]], **own}
    return schema
