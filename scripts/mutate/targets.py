"""What is mutated, and which tests judge it: short ones first, with few transactions, so that a mutant costs seconds.

A unit's own tests judge its Verilog and its contract. A part of a unit (``attention_counts``) is judged by tests of its own
name, if there are any, and by those of its unit.
"""

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

HARDWARE = ("rtl/units", "rtl/arbiter.py", "rtl/fifo.py", "rtl/payload.py", "rtl/chip.py")
"""Verilog's sources. The rest of ``rtl`` builds and runs it: a fault there is a fault of the tools."""

CONTRACTS = ("archsim/contracts",)

TRANSACTIONS = 300
"""ARCHSIM_RTL_TRANSACTIONS of a run: transactions at the input of a unit for each parameter set."""


class Stage(NamedTuple):
    """One call of pytest: test modules (or tests) in their order, and a ``-k`` expression."""

    modules: tuple[str, ...]
    keyword: str = ""

    @property
    def arguments(self) -> list[str]:
        """Arguments of pytest."""
        return [*self.modules, *(["-k", self.keyword] if self.keyword else [])]


def _rtl(unit: str, keyword: str = "") -> Stage:
    return Stage((f"tests/rtl/test_{unit}.py",), keyword)


def _stepped(unit: str, keyword: str = "") -> Stage:
    return Stage((f"tests/archsim/test_stepped_{unit}.py",), keyword)


def _crossbar(ports: int, depth: int, bits: int) -> Stage:
    """One parameter set; its name is nothing that ``-k`` takes."""
    name = f"CrossbarParams(ports={ports}, depth={depth}, data_bits={bits})"
    return Stage((f"tests/rtl/test_crossbar.py::test_law_equals_verilog[{name}]",))


_HANDMADE = _rtl("core_slice", "handmade_program and odd or a_post_around or empty_queue")
_RANDOM = _rtl("core_slice", "test_random_program and (one-1 or four-1 or odd-1)")

_STEPS: dict[str, tuple[Stage, ...]] = {
    "event_encoder": (_stepped("event_encoder", "not million"),),
    "synapse_array": (_stepped("synapse_array", "not million"),),
    "sequencer": (_stepped("sequencer"),),
    "core": (_stepped("core"), _stepped("layer", "test_random_layer")),
    "spike_fetch": (_stepped("core"),),
    "spike_writer": (_stepped("core"), _stepped("layer", "test_random_layer")),
    "neuron": (_stepped("core"),),
    "attention": (_stepped("attention"),),
    "dma": (_stepped("dma", "not copy"),),
    "multicast": (_stepped("dma", "copy"), _stepped("multicast")),
    "normaliser": (_stepped("normaliser", "not random"), _stepped("normaliser", "random")),
    "crossbar": (_rtl("crossbar", "by_hand or in_turn or behind_it or equals_stepped or refused"),),
}
"""Tests of the models, by unit."""

_VERILOG: dict[str, tuple[Stage, ...]] = {
    "sram": (_rtl("sram", "5-3-4-init"), _rtl("sram", "100-64-4-zero or 1-5")),
    "event_encoder": (
        _rtl("event_encoder", "TestLibrary and (corners or every_cycle) and 3-5-3"),
        _rtl("event_encoder", "TestLibrary and (corners or random) and (2-64-12 or 1-1-1)"),
    ),
    "synapse_array": (
        _rtl("synapse_array", "TestLibrary and 2-8-8"),
        _rtl("synapse_array", "TestLibrary and (open_groups or test_random or corners) and (3-6-2 or 1-1-1)"),
    ),
    "spike_fetch": (_rtl("spike_fetch"),),
    "neuron": (_rtl("neuron", "corner_sequences and (1-1-split or 1-2-split or 1-3-split) or membrane_input and 9"), _HANDMADE),
    "spike_writer": (_HANDMADE, _RANDOM),
    "sequencer": (_rtl("sequencer"), _RANDOM),
    "core": (_HANDMADE, _RANDOM),
    "attention": (
        _rtl("attention", "(handmade_program or random_program) and least and not softmax"),
        _rtl("attention_popcount", "first_after_the_reset"),
        _rtl("attention", "(handmade_program or random_program or on_their_way or full_words) and (one or odd) and not softmax"),
    ),
    "attention_softmax": (
        _rtl("attention", "corners_of_the_softmax and least"), _rtl("attention", "with_softmax and (least or odd)"),
    ),
    "dma": (
        _rtl("dma", "random_transfers and single_beats or without_a_division"),
        _rtl("dma_requester"), _rtl("dma", "random_transfers and (odd or wide_bus)"),
    ),
    "multicast": (
        _rtl("multicast", "(random_copies or random_instructions) and odd"), _rtl("multicast", "random_copies and (least or word)"),
        _rtl("multicast", "random_instructions and (least or word or transposer or masker)"),
    ),
    "normaliser": (
        _rtl("normaliser", "random_programs and least"), _rtl("normaliser", "random_programs and (usual or odd)"),
        _rtl("normaliser", "random_programs and wide"),
    ),
    "crossbar": (_crossbar(3, 1, 16), _crossbar(2, 2, 8), _crossbar(5, 3, 8)),
    # So few transactions of the widest set record no stall.
    "transposer": (_rtl("transposer", "TestLibrary and not 64"), _rtl("transposer", "TestLibrary and corners and 64")),
}  # fmt: skip
"""Tests of the Verilog, by unit."""

_LIMITS = Stage(("tests/archsim/test_contracts.py", "tests/archsim/test_contract_arithmetic.py"))

_OTHERS: dict[str, tuple[Stage, ...]] = {
    "rtl/fifo.py": (_rtl("fifo", "3"), _rtl("fifo"), _rtl("spike_fetch", "words_and_cycles")),
    "rtl/arbiter.py": (_crossbar(3, 1, 16), _crossbar(5, 3, 8), _rtl("formal", "arbiter_4")),
    "rtl/payload.py": (_rtl("event_encoder", "TestLibrary and corners and 3-5-3"), _rtl("neuron", "corner_sequences")),
    "archsim/contracts/common/layout.py": (
        _LIMITS, Stage(("tests/rtl/test_bench.py",)), Stage(("tests/mapping/test_program.py",)), _stepped("sequencer"),
    ),
    "archsim/contracts/common/ownership.py": (
        Stage(("tests/archsim/test_bank_ownership.py",)), Stage(("tests/system/test_ownership.py",)),
    ),
    "archsim/contracts/common/chip.py": (_LIMITS, Stage(("tests/archsim/test_config.py",))),
}  # fmt: skip
"""Files that are not named after a unit."""


def files() -> list[str]:
    """Sources of contracts and hardware that some test judges, as paths from the root."""
    found: list[Path] = []
    for place in (*CONTRACTS, *HARDWARE):
        path = ROOT / place
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.exists() else []
    names = [path.relative_to(ROOT).as_posix() for path in found]
    return [name for name in names if stages(name)]


def stages(file: str) -> tuple[Stage, ...]:
    """The calls of pytest that judge a mutant of ``file``, the shortest first; none if it has no tests."""
    if file in _OTHERS:
        return _OTHERS[file]
    stem, unit = Path(file).stem, unit_of(file)
    verilog = _own(f"tests/rtl/test_{stem}.py") if stem != unit else ()
    verilog += _VERILOG.get(unit) or _own(f"tests/rtl/test_{unit}.py")
    if file.startswith("rtl/"):
        return verilog
    return (_LIMITS, *(_STEPS.get(unit) or _own(f"tests/archsim/test_stepped_{unit}.py")), *verilog) if unit else ()


def unit_of(file: str) -> str:
    """The unit that a file is, or is a part of; empty if it is none."""
    stem = Path(file).stem
    units = [path.stem for path in (ROOT / "archsim/contracts").glob("*.py") if path.stem != "__init__"]
    return max((unit for unit in units if stem == unit or stem.startswith(f"{unit}_")), key=len, default="")


def _own(path: str) -> tuple[Stage, ...]:
    """The test module of a unit that is not listed above, if it exists."""
    return (Stage((path,), "not icarus and not cocotb"),) if (ROOT / path).exists() else ()
