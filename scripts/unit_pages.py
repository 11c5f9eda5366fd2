"""Pages of the units in docs/units, from the contracts: docstrings, parameters, payloads, instruction fields, laws."""

import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from archsim.config import chip_names, load_chip
from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.sram import SramParams
from archsim.energy.memories import memories
from rtl.build import UNITS
from scripts.contract_text import attributes, comments, contract_source, documented, inline, markdown, properties

ROOT = Path(__file__).resolve().parents[1]
PRESET = "small_t4"
"""Preset of the widths on the pages: small, and with more than one lane."""

EXAMPLES = {"attention_softmax": {"softmax_tokens": 16}, "normaliser": {"normaliser_operand_bits": 16}}
"""Parameters that a chip gets for the page of what it does not have; beside them CROSSBAR_DEPTH."""

CROSSBAR_DEPTH = 4
"""Flits of a queue on the pages of the expert engine, which the preset does not have."""


def parameters(name: str, chip: ChipParams) -> tuple[Any, str]:
    """Parameters of a unit and where they come from: the chip, or an example where no preset has the unit."""
    own = [cls for _, cls in inspect.getmembers(_module(name), inspect.isclass) if cls.__module__.endswith(f".{name}")]
    own = [cls for cls in own if cls.__name__.endswith("Params")]
    place = f"`{PRESET}`"
    unit = UNITS.get(name)  # a part of a unit has a page, and none of its own here
    if unit is None or unit.of(chip) is None:
        ((key, value),) = EXAMPLES.get(name, {"crossbar_depth": CROSSBAR_DEPTH}).items()
        chip, place = chip.replace(**{key: value}), f"`{PRESET}` with `{key}` {value}"
    if own and [field.name for field in fields(own[0])] == ["chip"]:
        return own[0](chip), place
    sizes = unit and unit.of(chip)
    return (sizes, place) if sizes is not None else (_module(name).corners()[-1], "an example")


def units() -> list[str]:
    """Names of the contracts, those of parts of a unit among them."""
    return sorted(path.stem for path in (ROOT / "archsim/contracts").glob("[a-z]*.py"))


def pages() -> dict[Path, str]:
    """Every generated page by its place, relative to the root."""
    folder = Path("docs/units")
    written = {folder / f"{name}.md": unit_page(name) for name in units()}
    return {folder / "README.md": _index(), folder / "chip.md": _chip_page(), **written}


def _index() -> str:
    lines = [f"| [{_title(name)}]({name}.md) | {_first_line(_module(name))} |" for name in units()]
    return _join(
        "# Units",
        "One page a unit, written by `make docs` from the contracts in `archsim/contracts`, with the widths of the preset "
        f"`{PRESET}`, or of an example where no preset has the unit. [chip.md](chip.md) lists the parameters of a chip and "
        "their values in every preset.",
        "| unit | what it does |\n|---|---|\n" + "\n".join(lines),
    )


def _chip_page() -> str:
    presets = {name: load_chip(name) for name in chip_names()}
    meanings = attributes(ChipParams)
    header = "| parameter | " + " | ".join(presets) + " | meaning |\n|---|" + "---:|" * len(presets) + "---|"
    rows = []
    for field in fields(ChipParams)[1:]:
        values = " | ".join(f"{getattr(chip, field.name):.10g}" for chip in presets.values())
        rows.append(f"| `{field.name}` | {values} | {meanings.get(field.name, '')} |")
    return _join("# Chip", _source("common/chip.py"), header + "\n" + "\n".join(rows))


def unit_page(name: str) -> str:
    """The page of one unit."""
    module, chip = _module(name), load_chip(PRESET)
    sections = [f"# {_title(name)}", _source(f"{name}.py"), markdown(module.__doc__ or "")]
    params, where = parameters(name, chip)
    sections.append("## Parameters")
    if params == chip or vars(params).get("chip") == chip:
        sections.append("Those of the [chip](chip.md).")
    else:
        sections += _parameters(params, where)
    if params != chip:
        sections += _payloads(params, where)
    if name == "sram":
        sections.append(_memories(chip))
    if name == "sequencer":
        sections.append(_opcodes())
    sections += _instruction_fields(module)
    sections += _constants(module)
    sections += _functions(module, "Laws", lambda text: text.startswith("Law"))
    sections += _functions(module, "Arithmetic and references", lambda text: not text.startswith("Law"))
    return _join(*sections)


# ------------------------------------------------------------------------------ parts of a page


def _parameters(params: Any, where: str) -> Iterator[str]:
    meanings = attributes(type(params))
    rows = [
        f"| `{field.name}` | {getattr(params, field.name)} | {meanings.get(field.name, '')} |"
        for field in fields(params)
    ]
    if not any(meanings.values()):
        yield markdown(inspect.getdoc(type(params)) or "")
    yield f"| parameter | {where} | meaning |\n|---|---:|---|\n" + "\n".join(rows)
    derived = [f"| `{name}` | {value} | {doc} |" for name, value, doc in properties(params) if isinstance(value, int)]
    if derived:
        yield f"| derived | {where} | meaning |\n|---|---:|---|\n" + "\n".join(derived)


def _payloads(params: Any, where: str) -> Iterator[str]:
    """Tables of the layouts and memories that the parameters give."""
    layouts = [(name, value, doc) for name, value, doc in properties(params) if isinstance(value, Layout)]
    banks = [(name, value, doc) for name, value, doc in properties(params) if isinstance(value, SramParams)]
    if layouts:
        yield f"## Payloads, with the widths of {where}"
    for name, layout, doc in layouts:
        yield f"**`{name}`** ({layout.width} bits): {doc}"
        rows = [
            f"| `{field.name}` | {field.width} | {field.count} | {_signed(field)} | {layout.offsets[field.name]} |"
            for field in layout.fields
        ]
        yield "| field | bits | elements | signed | lowest bit |\n|---|---:|---:|---|---:|\n" + "\n".join(rows)
    parts = [
        (name, value, doc) for name, value, doc in properties(params)
        if is_dataclass(value) and not isinstance(value, Layout | SramParams | ChipParams)
    ]  # fmt: skip
    if parts:
        yield f"## Parts of {where}"
        rows = [
            f"| `{name}` | {', '.join(f'{field.name} {getattr(part, field.name)}' for field in fields(part))} | {doc} |"
            for name, part, doc in parts
        ]
        yield "| part | parameters | meaning |\n|---|---|---|\n" + "\n".join(rows)
    if banks:
        yield f"## Memories of {where}"
        rows = [
            f"| `{name}` | {bank.rows} | {bank.granules} x {bank.granule_bits} | {doc} |" for name, bank, doc in banks
        ]
        yield "| memory | rows | granules x bits | meaning |\n|---|---:|---:|---|\n" + "\n".join(rows)


def _memories(chip: ChipParams) -> str:
    rows = [
        f"| {name} | {memory.count} | {memory.bank.rows} | {memory.bank.granules} x {memory.bank.granule_bits} |"
        for name, memory in memories(chip).items()
    ]
    table = "| memory | banks in the chip | rows | granules x bits |\n|---|---:|---:|---:|\n" + "\n".join(rows)
    return f"## Memories of `{PRESET}`\n\n{table}"


def _opcodes() -> str:
    rows = [
        f"| {number} | `{name}` | {sequencer.layout(number).width} |" for number, name in enumerate(sequencer.OPCODES)
    ]
    return "## Instructions\n\n| opcode | name | bits, header included |\n|---:|---|---:|\n" + "\n".join(rows)


def _instruction_fields(module: ModuleType) -> Iterator[str]:
    imported = [member for _, member in inspect.getmembers(module, inspect.ismodule)]
    foreign = {name: text for member in (*imported, module) for name, text in comments(contract_source(member)).items()}
    for names, doc, source in documented(module):
        value = getattr(module, names[0])
        if isinstance(value, tuple) and all(isinstance(field, Field) for field in value):
            # A field that the statement takes over from another statement or contract is explained there.
            notes = {field.name: foreign.get(field.name, "") for field in value if f'"{field.name}"' not in source}
            notes |= comments(source)
            rows = [
                f"| `{field.name}` | {field.width} | {_signed(field)} | {notes.get(field.name, '')} |"
                for field in value
            ]
            yield f"## {names[0]}\n\n{markdown(doc)}"
            yield "| field | bits | signed | meaning |\n|---|---:|---|---|\n" + "\n".join(rows)


def _constants(module: ModuleType) -> Iterator[str]:
    rows = []
    for names, doc, _ in documented(module):
        values = [getattr(module, name) for name in names]
        if all(isinstance(value, int) for value in values):
            listed = ", ".join(f"`{name}`" for name in names), ", ".join(map(str, values))
            rows.append(f"| {listed[0]} | {listed[1]} | {inline(doc)} |")
    if rows:
        yield "## Constants\n\n| name | value | meaning |\n|---|---|---|\n" + "\n".join(rows)


def _functions(module: ModuleType, title: str, chosen: Callable[[str], bool]) -> Iterator[str]:
    found = [
        (name, function) for name, function in vars(module).items()
        if callable(function) and not inspect.isclass(function) and not name.startswith("_")
        and getattr(function, "__module__", "") == module.__name__ and chosen(inspect.getdoc(function) or "")
    ]  # fmt: skip
    if found:
        yield f"## {title}"
    for name, function in found:
        arguments = ", ".join(inspect.signature(function).parameters)
        yield f"**`{name}({arguments})`**: {markdown(inspect.getdoc(function) or '')}"


# ------------------------------------------------------------------------------ small parts


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"archsim.contracts.{name}")


def _title(name: str) -> str:
    return {"dma": "DMA", "sram": "SRAM"}.get(name, name.replace("_", " ").capitalize())


def _first_line(module: ModuleType) -> str:
    text = inline((module.__doc__ or "").split("\n")[0].partition(": ")[2])
    return text[0].upper() + text[1:]


def _source(path: str) -> str:
    return f"Written by `make docs` from `archsim/contracts/{path}`: change it there."


def _signed(field: Field) -> str:
    return "yes" if field.signed else ""


def _join(*sections: str) -> str:
    return "\n\n".join(section for section in sections if section) + "\n"
