"""C++ beside the Verilator model of a system that keeps the values of chosen signals in every cycle of a run."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rtl.verilator_driver import cpp_name


class Pin(NamedTuple):
    """A signal of the Verilog: the path of its module, as ``system.chip.core0``, its name there, its width in bits."""

    path: str
    name: str
    width: int

    @property
    def bytes(self) -> int:
        """Bytes that it takes in a row of a record."""
        return -(-self.width // 8)


def row_bytes(pins: Sequence[Pin]) -> int:
    """Bytes of a row of a record: the pins one behind the other, each from a byte of its own on."""
    return sum(pin.bytes for pin in pins)


def columns(pins: Sequence[Pin]) -> list[range]:
    """Where in a row of `bits` each pin lies, its lowest bit first."""
    found, at = [], 0
    for pin in pins:
        found.append(range(8 * at, 8 * at + pin.width))
        at += pin.bytes
    return found


def bits(record: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A record, uint8 [cycles, bytes], bit by bit: uint8 [cycles, 8 x bytes], 0 or 1."""
    return np.unpackbits(record, axis=1, bitorder="little")


def control(pins: Sequence[Pin]) -> str:
    """What Verilator is to keep for the recorder."""
    return "".join(f'public_flat_rd -module "{pin.path}" -var "{pin.name}"\n' for pin in pins)


_TEMPLATE = """
extern "C" {

// Runs until every queue has halted, `limit` cycles at most; returns the cycles, that with the halt included, or -1 - cycle for a
// failed assertion. in: inputs, the same in every cycle. out: a row of @BYTES@ bytes a cycle, sampled before its clock edge.
int64_t archsim_record(void* handle, int64_t limit, const uint64_t* in, uint8_t* out) {
    Model& model = *static_cast<Model*>(handle);
    Vtop& top = *model.top;
    Vtop___024root* const root = top.rootp;
    Verilated::threadContextp(&model.context);
    drive(top, in);
    for (int64_t cycle = 0; cycle < limit; ++cycle, out += @BYTES@) {
        top.clk = 0;
        top.eval();
@PINS@
        const bool halted = top.halted;
        top.clk = 1;
        top.eval();
        model.context.timeInc(1);
        if (model.context.gotError()) return -1 - cycle;
        if (halted) return cycle + 1;
    }
    return limit;
}
}
"""


def source(pins: Sequence[Pin]) -> str:
    """C++ for these pins, to stand behind that of the observer; nothing without pins."""
    if not pins:
        return ""
    lines, at = [], 0
    for pin in pins:
        member = "root->" + "__DOT__".join(map(cpp_name, [*pin.path.split("."), pin.name]))
        lines.append(f"        std::memcpy(out + {at}, &{member}, {pin.bytes});")
        at += pin.bytes
    return _TEMPLATE.replace("@BYTES@", str(at)).replace("@PINS@", "\n".join(lines))
