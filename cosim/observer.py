"""C++ beside the Verilator model of a system: it runs to the end, and keeps times, contents of banks, and counts of accesses.

The memories are found in the Verilog's text: every array of registers is one, and a module is named by its path.
"""

import re
from typing import NamedTuple

from rtl.build import CLOCK
from rtl.verilator_driver import cpp_name

MODULE = re.compile(r"^module \\?([^\s(]+)")
ENABLE = re.compile(r"^  wire (?:\[\d+:0\] )?(\w+);")
PORT = re.compile(r"^  (input|output) (?:\[(\d+):0\] )?\\?(\w+) ?;")
ARRAY = re.compile(r"^  reg (?:\[(\d+):0\] )?(\w+) \[(\d+):0\];")

READ, WRITE = "read__en", "write__en"
"""Enables of an SRAM."""

CONTROL = f"""\
public_flat_rw -module "*" -var "memory"
public_flat_rw -module "*" -var "latencies"
public_flat_rd -module "*" -var "{READ}"
public_flat_rd -module "*" -var "{WRITE}"
"""
"""What Verilator keeps for the observer."""


class Memory(NamedTuple):
    """A memory of the Verilog: the module's path and the array's name, bits of a row, rows, whether it is an SRAM."""

    path: str
    name: str
    width: int
    rows: int
    sram: bool

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in Verilator's model."""
        return next((size for size in (1, 2, 4, 8) if self.width <= 8 * size), 4 * -(-self.width // 32))

    @property
    def bytes(self) -> int:
        """Bytes of the whole memory in Verilator's model."""
        return self.rows * self.row_bytes


def memories(verilog: str) -> list[Memory]:
    """The memories in a Verilog text, in its order."""
    found, path, wires = [], "", set[str]()
    for line in verilog.splitlines():
        if match := MODULE.match(line):
            path, wires = match.group(1), set()
        elif match := ENABLE.match(line):
            wires.add(match.group(1))
        elif match := ARRAY.match(line):
            high, name, last = match.groups()
            found.append(Memory(path, name, int(high or 0) + 1, int(last) + 1, {READ, WRITE} <= wires))
    return found


def ports(verilog: str, top: str) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Inputs (the clock left out) and outputs of module ``top`` in a Verilog text, (name, width) each."""
    module = verilog[verilog.index(f"\nmodule {top}(") :].split("\nendmodule")[0]
    found: dict[str, list[tuple[str, int]]] = {"input": [], "output": []}
    for direction, high, name in (match.groups() for match in map(PORT.match, module.splitlines()) if match):
        if name != CLOCK:
            found[direction].append((name, int(high or 0) + 1))
    return found["input"], found["output"]


_TEMPLATE = """
#include <cstring>
#include "Vtop___024root.h"

namespace {
struct Memory {
    uint8_t* data;
    int64_t bytes, row_bytes;
    const uint8_t *read, *write;  // enables, of any number of bytes
    int64_t read_bytes, write_bytes;
};

constexpr int64_t MEMORIES = @COUNT@;

void find(Vtop& top, Memory* found) {
    Vtop___024root* const root = top.rootp;
@MEMORIES@
}

inline bool any(const uint8_t* bytes, int64_t count) {
    for (int64_t index = 0; index < count; ++index) if (bytes[index]) return true;
    return false;
}
}  // namespace

extern "C" {

// For each memory its address, its bytes, and the bytes of a row.
void archsim_memories(void* handle, int64_t* out) {
    Memory found[MEMORIES];
    find(*static_cast<Model*>(handle)->top, found);
    for (const Memory& memory : found) {
        *out++ = reinterpret_cast<int64_t>(memory.data);
        *out++ = memory.bytes;
        *out++ = memory.row_bytes;
    }
}

// Runs until every queue has halted; returns the cycles, which are `limit` if one has not, or -1 - cycle for a failed assertion.
//
// in: inputs, the same in every cycle. first[engine]: number of its first instruction (of `engines` + 1 entries).
// content_first[instruction]: the first of its memories in `memories`, copied to `content` in turn, from `content_at[instruction]`
// on, after the last cycle of the instruction. times[instruction]: start and end. counts[memory]: cycles with a read, a write.
// beats: cycles in which DRAM moves a beat. issued[engine]: instructions begun, ended.
int64_t archsim_observe(
    void* handle, int64_t limit, const uint64_t* in, int64_t engines, const int64_t* first, const int64_t* content_first,
    const int64_t* memories, const int64_t* content_at, int64_t* times, uint8_t* content, int64_t* counts, int64_t* beats,
    int64_t* issued
) {
    Model& model = *static_cast<Model*>(handle);
    Vtop& top = *model.top;
    Verilated::threadContextp(&model.context);
    Memory found[MEMORIES];
    find(top, found);
    drive(top, in);
    int64_t cycle = 0;
    for (; cycle < limit; ++cycle) {
        top.clk = 0;
        top.eval();
        const uint64_t start = top.start, done = top.done;
        *beats += top.moved;
        for (int64_t memory = 0; memory < MEMORIES; ++memory) {
            const Memory& bank = found[memory];
            counts[2 * memory] += any(bank.read, bank.read_bytes);
            counts[2 * memory + 1] += any(bank.write, bank.write_bytes);
        }
        const bool halted = top.halted;
        top.clk = 1;
        top.eval();
        model.context.timeInc(1);
        if (model.context.gotError()) return -1 - cycle;
        if (halted) break;
        if (!(start | done)) continue;
        for (int64_t engine = 0; engine < engines; ++engine) {
            const int64_t number = first[engine] + issued[2 * engine + 1], held = first[engine + 1] - first[engine];
            if ((done >> engine & 1) && issued[2 * engine + 1]++ < held) {
                times[2 * number + 1] = cycle;
                uint8_t* target = content + content_at[number];
                for (int64_t at = content_first[number]; at < content_first[number + 1]; ++at) {
                    const Memory& bank = found[memories[at]];
                    std::memcpy(target, bank.data, bank.bytes);
                    target += bank.bytes;
                }
            }
            if ((start >> engine & 1) && issued[2 * engine]++ < held)
                times[2 * (first[engine] + issued[2 * engine] - 1)] = cycle;
        }
    }
    return cycle;
}
}
"""

_TRACE = """
#include "verilated_vcd_c.h"

// Runs to cycle `to` and writes the cycles from `from` on to a waveform; a cycle takes ten units of time.
extern "C" void archsim_trace(void* handle, const uint64_t* in, int64_t from, int64_t to, const char* path) {
    Model& model = *static_cast<Model*>(handle);
    Vtop& top = *model.top;
    Verilated::threadContextp(&model.context);
    model.context.traceEverOn(true);
    VerilatedVcdC file;
    top.trace(&file, 99);
    file.open(path);
    drive(top, in);
    for (int64_t cycle = 0; cycle <= to; ++cycle) {
        for (const int clock : {0, 1}) {
            top.clk = clock;
            top.eval();
            if (cycle >= from) file.dump(uint64_t(10 * cycle + 5 * clock));
        }
    }
    file.close();
}
"""
"""What a traced library has in addition."""


def source(found: list[Memory], trace: bool = False) -> str:
    """C++ for these memories, to stand behind the driver of the system's library; with ``trace`` it writes waveforms."""
    lines = []
    for number, memory in enumerate(found):
        scope = "root->" + "__DOT__".join(cpp_name(part) for part in memory.path.split(".")) + "__DOT__"
        array = scope + cpp_name(memory.name)
        enables, sizes = ["nullptr", "nullptr"], ["0", "0"]
        if memory.sram:
            members = [scope + cpp_name(name) for name in (READ, WRITE)]
            enables = [f"(const uint8_t*)&{member}" for member in members]
            sizes = [f"sizeof({member})" for member in members]
        values = [
            f"(uint8_t*)&{array}", f"sizeof({array})", f"sizeof({array}) / {memory.rows}", *enables, *sizes,
        ]  # fmt: skip
        lines.append(f"    found[{number}] = {{{', '.join(values)}}};")
    text = _TEMPLATE.replace("@COUNT@", str(len(found))).replace("@MEMORIES@", "\n".join(lines))
    return text + _TRACE if trace else text
