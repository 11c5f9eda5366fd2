"""Memories that are 0 at power-up: a loop in the Verilog in place of a line for each row.

Amaranth writes the rows of a memory bit by bit. Of a whole chip they were most of the text, and took most of the time of all that
reads it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from amaranth.back import rtlil

_ARRAY = re.compile(r"^  reg (?:\[\d+:0\] )?(\S+) \[(\d+):0\];\n(?!  initial begin)", re.MULTILINE)
"""A memory without rows at power-up: name and last row."""


@contextmanager
def zeros_left_out() -> Iterator[None]:
    """Have Amaranth leave out the rows of memories of zeros; :func:`with_zeros` puts them back."""
    emit = rtlil.ModuleEmitter.emit_memory

    def emit_others(emitter: Any, index: int, cell: Any) -> None:
        if any(cell.init):
            emit(emitter, index, cell)

    rtlil.ModuleEmitter.emit_memory = emit_others
    try:
        yield
    finally:
        rtlil.ModuleEmitter.emit_memory = emit


def with_zeros(verilog: str) -> str:
    """The Verilog text, each memory that has no rows at power-up filled with zeros by a loop."""
    numbers = count()

    def filled(array: re.Match[str]) -> str:
        name, last = array.groups()
        loop = f"for (row = 0; row <= {last}; row = row + 1)\n      {name} [row] = 0;"
        return f"{array.group()}  initial begin : zeros_{next(numbers)}\n    integer row;\n    {loop}\n  end\n"

    return _ARRAY.sub(filled, verilog)
