"""The bench in compiled code: a producer and a consumer that react to a Verilator library in every cycle."""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from rtl.verilator import Library
from rtl.verilator_driver import words_of
from tests.rtl.bench import Case, Observed, number

RESET_CYCLES = 2


@intrinsic
def _cycle(typing_context, function, handle, inputs, outputs):
    """Call the library's C function, by its address, for one cycle."""

    def generate(context, builder, signature, arguments):
        word = ir.IntType(64)
        kind = ir.FunctionType(word, [word] * 4)
        function, handle, inputs, outputs = arguments
        target = builder.inttoptr(function, kind.as_pointer())
        return builder.call(target, [handle, ir.Constant(word, 1), inputs, outputs])

    return types.int64(types.int64, types.int64, types.int64, types.int64), generate


@njit
def _drive(entry, rows, at, stimulus, seen, states, limit):
    """Cycles 0 to ``limit``; returns outputs (one offered at the end included), broken cycles, stalls of both sides."""
    (row, out), (payload, gaps, ready, noise), (accepted, output, transferred) = rows, stimulus, seen
    (i_valid, i_payload, o_ready, load), (i_ready, o_valid, o_payload, state) = at
    width, size = payload.shape[1], output.shape[1]
    sent, taken, broken, input_stalls, output_stalls = 0, 0, 0, 0, 0
    offered_from = gaps[0] if len(gaps) else 0
    waiting, held = False, np.zeros(size, np.uint64)
    for cycle in range(limit):
        offering = sent < len(payload) and cycle >= offered_from
        row[i_valid], row[o_ready] = offering, ready[cycle % len(ready)]
        # A payload that is not valid is any other one.
        if len(payload):
            row[i_payload : i_payload + width] = payload[sent if offering else (cycle * 7) % len(payload)]
        if len(noise):
            row[load : load + noise.shape[1]] = noise[cycle % len(noise)]
        if _cycle(entry[0], entry[1], row.ctypes.data, out.ctypes.data) != 1:
            return taken, -1, input_stalls, output_stalls
        if cycle < len(states):
            states[cycle] = out[state : state + states.shape[1]]
        offered = out[o_payload : o_payload + size]
        if waiting and (not out[o_valid] or np.any(offered != held)):
            broken += 1
        waiting = bool(out[o_valid]) and not row[o_ready]
        held[:] = offered
        output_stalls += waiting
        if out[o_valid] and row[o_ready]:
            if taken < len(output):
                output[taken], transferred[taken] = offered, cycle
            taken += 1
        if offering and out[i_ready]:
            accepted[sent] = cycle
            sent += 1
            offered_from = cycle + 1 + (gaps[sent] if sent < len(gaps) else 0)
        elif offering:
            input_stalls += 1
    if waiting:
        output[taken if taken < len(output) else -1] = held
        taken += 1
    return taken, broken, input_stalls, output_stalls


def _offsets(ports):
    """First word of each port in a row, and the row's words."""
    offsets, position = {}, 0
    for name, width in ports.items():
        offsets[name] = position
        position += words_of(width)
    return offsets, position


def run(library: Library, case: Case, trace: bool = False) -> tuple[Observed, np.ndarray]:
    """Run a case on a new model; what was seen, and the state in every cycle (if ``trace``), uint64 [cycles, words]."""
    (inputs, row_words), (outputs, out_words) = _offsets(library.inputs), _offsets(library.outputs)
    library.reset_model()
    quiet = dict.fromkeys(library.inputs, 0) | case.constants
    library.run(quiet | {"rst": 1}, RESET_CYCLES, resume=True)
    for payload in case.load:
        library.step(quiet | {"weight__valid": 1, "weight__payload": number(payload)})
    row, out = np.zeros(row_words, np.uint64), np.zeros(out_words, np.uint64)
    for name, value in (case.constants | ({"weight__valid": 1} if len(case.noise) else {})).items():
        row[inputs[name]] = value  # every constant fits into a word
    expected = len(case.output) + 1  # one more than expected would be seen
    output = np.zeros((expected, words_of(library.outputs["o__payload"])), np.uint64)
    accepted, transferred = np.full(len(case.payload), -1), np.full(expected, -1)
    states = np.zeros((case.limit if trace else 0, words_of(library.outputs["state"])), np.uint64)
    at = (
        tuple(inputs.get(name, 0) for name in ("i__valid", "i__payload", "o__ready", "weight__payload")),
        tuple(outputs[name] for name in ("i__ready", "o__valid", "o__payload", "state")),
    )
    taken, *counts = _drive(
        library.entry, (row, out), at, (case.payload, case.gaps, case.ready, case.noise),
        (accepted, output, transferred), states, case.limit,
    )  # fmt: skip
    state = out[at[1][3] :][: states.shape[1]].copy()
    taken = min(taken, expected)
    return Observed(accepted, output[:taken], transferred[:taken], state, *counts), states
