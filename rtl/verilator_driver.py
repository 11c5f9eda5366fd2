"""The C++ between a Verilator model and :class:`rtl.verilator_library.Library`.

A cycle's inputs, and likewise its outputs, are rows of 64-bit words: the ports in the order of the list, each
in ``ceil(width / 64)`` words, least significant first.
"""

from collections.abc import Sequence

WORD_BITS = 64

_TEMPLATE = """\
#include <cstdint>
#include <memory>
#include "Vtop.h"
#include "verilated.h"

namespace {
struct Model {
    VerilatedContext context;
    std::unique_ptr<Vtop> top;
};

inline void drive(Vtop& top, const uint64_t* row) {
    (void)top; (void)row;
@DRIVE@
}

inline void sample(Vtop& top, uint64_t* row) {
    (void)top; (void)row;
@SAMPLE@
}
}  // namespace

extern "C" {

void* archsim_open() {
    Model* const model = new Model;
    // A failed assertion or $stop ends the run with a status; the default would abort the process.
    model->context.fatalOnError(false);
    // Scopes register in the thread's context, which may be another model's, and leave that of the moment.
    Verilated::threadContextp(&model->context);
    model->top = std::make_unique<Vtop>(&model->context, "top");
    return model;
}

void archsim_close(void* handle) {
    Model* const model = static_cast<Model*>(handle);
    Verilated::threadContextp(&model->context);
    model->top->final();
    delete model;
}

// Cycles completed without a failed assertion: `cycles` if all is well.
int64_t archsim_run(void* handle, int64_t cycles, const uint64_t* in, uint64_t* out) {
    Model& model = *static_cast<Model*>(handle);
    Vtop& top = *model.top;
    Verilated::threadContextp(&model.context);
    for (int64_t cycle = 0; cycle < cycles; ++cycle, in += @IN_WORDS@, out += @OUT_WORDS@) {
        drive(top, in);
        @CLOCK_LOW@top.eval();
        sample(top, out);
        @CLOCK_HIGH@
        model.context.timeInc(1);
        if (model.context.gotError()) return cycle;
    }
    return cycles;
}
}
"""


def words_of(width: int) -> int:
    """64-bit words that a port of this width takes."""
    return -(-width // WORD_BITS)


def cpp_name(name: str) -> str:
    """Verilator's C++ member for a Verilog port name.

    A second underscore in a row and every character that C++ does not allow become ``__0`` and two hex
    digits: the stream port ``ev__valid`` is ``ev___05Fvalid``.
    """
    encoded = ""
    position = 0
    while position < len(name):
        char = name[position]
        if name[position : position + 2] == "__":
            encoded += "___05F"
            position += 1
        elif char.isascii() and (char.isalpha() or char == "_" or (char.isdigit() and position > 0)):
            encoded += char
        else:
            encoded += f"__0{ord(char):02X}"
        position += 1
    return encoded


def driver_source(inputs: Sequence[tuple[str, int]], outputs: Sequence[tuple[str, int]], clock: str | None) -> str:
    """C++ source of the driver for these ports; its text also stands for the port list in a cache key."""
    drive, in_words = _copies(
        inputs,
        narrow="top.{member} = row[{word}];",
        wide="top.{member}[{part}] = row[{word}] >> {shift};",
    )
    sample, out_words = _copies(
        outputs,
        narrow="row[{word}] = top.{member};",
        wide="row[{word}] {assign} uint64_t(top.{member}[{part}]) << {shift};",
    )
    member = None if clock is None else cpp_name(clock)
    fields = {
        "DRIVE": drive,
        "SAMPLE": sample,
        "IN_WORDS": str(in_words),
        "OUT_WORDS": str(out_words),
        "CLOCK_LOW": "" if member is None else f"top.{member} = 0; ",
        "CLOCK_HIGH": "" if member is None else f"top.{member} = 1; top.eval();",
    }
    source = _TEMPLATE
    for field, text in fields.items():
        source = source.replace(f"@{field}@", text)
    return source


def _copies(ports: Sequence[tuple[str, int]], narrow: str, wide: str) -> tuple[str, int]:
    """One line per port of up to 64 bits, or per 32-bit part of a wider one (VlWide); and the total words."""
    lines = []
    word = 0
    for name, width in ports:
        member = cpp_name(name)
        if width <= WORD_BITS:
            lines.append(narrow.format(member=member, word=word))
        else:
            for part in range(-(-width // 32)):
                upper = part % 2  # two parts share a word
                fields = {"shift": 32 * upper, "assign": "|=" if upper else "="}
                lines.append(wide.format(member=member, part=part, word=word + part // 2, **fields))
        word += words_of(width)
    return "\n".join(f"    {line}" for line in lines), word
