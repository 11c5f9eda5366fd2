"""The bench in compiled code: a producer and a consumer that react to a Verilator library in every cycle."""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from rtl.verilator import Library
from rtl.verilator_driver import words_of
from tests.rtl import bench
from tests.rtl.bench import Case, Observed

RESET_CYCLES = 2


@intrinsic
def clock(typing_context, function, handle, inputs, outputs):
    """Call the library's C function, by its address, for one cycle."""

    def generate(context, builder, signature, arguments):
        word = ir.IntType(64)
        kind = ir.FunctionType(word, [word] * 4)
        function, handle, inputs, outputs = arguments
        target = builder.inttoptr(function, kind.as_pointer())
        return builder.call(target, [handle, ir.Constant(word, 1), inputs, outputs])

    return types.int64(types.int64, types.int64, types.int64, types.int64), generate


@njit
def _drive(entry, rows, at, stimulus, seen, states, log, limit):
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
        if cycle < len(log):
            log[cycle] = row
        if clock(entry[0], entry[1], row.ctypes.data, out.ctypes.data) != 1:
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


def prefix(library: Library, case: Case) -> np.ndarray:
    """Inputs before cycle 0: the reset, then the loads; uint64 [cycles, words]."""
    inputs, row_words = _offsets(library.inputs)
    rows = np.zeros((RESET_CYCLES + len(case.load), row_words), np.uint64)
    for name, value in case.constants.items():
        size = words_of(library.inputs[name])
        rows[:, inputs[name] : inputs[name] + size] = bench.words_of(value, library.inputs[name])
    rows[:RESET_CYCLES, inputs["rst"]] = 1
    if len(case.load):
        first = inputs["weight__payload"]
        rows[RESET_CYCLES:, inputs["weight__valid"]] = 1
        rows[RESET_CYCLES:, first : first + case.load.shape[1]] = case.load
    return rows


def run(
    library: Library, case: Case, trace: bool = False, before: np.ndarray | None = None
) -> tuple[Observed, np.ndarray]:
    """Run a case on a new model; what was seen, and the state in every cycle (if ``trace``), uint64 [cycles, words].

    ``before`` are the inputs before cycle 0, if they are others than the case's own (:func:`prefix`).
    """
    states = np.zeros((case.limit if trace else 0, words_of(library.outputs["state"])), np.uint64)
    return _run(library, case, before, states, _log(library, 0)), states


def record(library: Library, case: Case, before: np.ndarray | None = None) -> tuple[Observed, np.ndarray]:
    """Run a case (see :func:`run`); what was seen, and every input from power-up on, uint64 [cycles, words]."""
    before, log = prefix(library, case) if before is None else before, _log(library, case.limit)
    seen = _run(library, case, before, np.zeros((0, words_of(library.outputs["state"])), np.uint64), log)
    return seen, np.concatenate([before, log[:, :-1]])


def is_warm() -> bool:
    """Whether the compiled bench has been loaded: the first run of a process takes seconds for that."""
    return bool(_drive.signatures)


def _log(library, cycles):
    """Room for the rows of ``cycles``; a row's last word takes what is meant for a port that the unit has not."""
    return np.zeros((cycles, _offsets(library.inputs)[1] + 1), np.uint64)


def _run(library, case, before, states, log):
    """Run a case on a new model; fills ``states`` and ``log``."""
    (inputs, row_words), (outputs, out_words) = _offsets(library.inputs), _offsets(library.outputs)
    library.reset_model()
    library.run_rows(prefix(library, case) if before is None else before)
    row, out = np.zeros(row_words + 1, np.uint64), np.zeros(out_words, np.uint64)
    for name, value in (case.constants | ({"weight__valid": 1} if len(case.noise) else {})).items():
        row[inputs[name] : inputs[name] + words_of(library.inputs[name])] = bench.words_of(value, library.inputs[name])
    expected = len(case.output) + 1  # one more than expected would be seen
    output = np.zeros((expected, words_of(library.outputs["o__payload"])), np.uint64)
    accepted, transferred = np.full(len(case.payload), -1), np.full(expected, -1)
    at = (
        tuple(inputs.get(name, row_words) for name in ("i__valid", "i__payload", "o__ready", "weight__payload")),
        tuple(outputs[name] for name in ("i__ready", "o__valid", "o__payload", "state")),
    )
    taken, *counts = _drive(
        library.entry, (row, out), at, (case.payload, case.gaps, case.ready, case.noise),
        (accepted, output, transferred), states, log, case.limit,
    )  # fmt: skip
    state = out[at[1][3] :][: states.shape[1]].copy()
    taken = min(taken, expected)
    return Observed(accepted, output[:taken], transferred[:taken], state, *counts)
