"""Vector unit, cycle by cycle: a row register, its serial work, a result register, a valid/ready port on each side."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import vector as contract
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.vector import CONSTANT, RECIPROCAL, ROOT, SCALAR, SCALE, TABLE, VectorParams
from archsim.jit import njit
from archsim.stepped.bits import checked

FREE, DECODE, WORK = 0, 1, 2
"""Phases of the row register."""

PHASE, PLACES, LEFT, CENTER, REMAINDER, RESULT, COUNT, OFFERED, ADD, FRESH, TOTAL, SCALAR_REG = range(12)
"""Control registers: phase; places still to come, and how many of them at most; the total is still to be taken off; remainder,
result and steps to come of a division or root; a result is offered; it is still to be added, and to 0; total; scalar."""

OP, SHIFT, OPERAND, DIGITS, CENTERED, ACCUMULATE, FIRST, KEEP = range(8)
"""Columns of a row's marks."""

MARKS = ("op", "shift", "operand", "digits", "center", "accumulate", "first", "keep")

_saturated, _plus, _minus = njit(contract.saturated), njit(contract.plus), njit(contract.minus)
_table_row = njit(contract.table_row)
_reciprocal_step, _root_step = njit(contract.reciprocal_step), njit(contract.root_step)


class VectorRun(NamedTuple):
    """What a run of the vector unit shows at its ports.

    Attributes:
        accepted: cycle in which each row was accepted.
        y: int64 [rows, P]: the results.
        transferred: cycle in which each of them was taken.
        state: retired state, fields of ``VectorParams.state``.
    """

    accepted: NDArray[np.int64]
    y: NDArray[np.int64]
    transferred: NDArray[np.int64]
    state: dict[str, int]


@checked
def decode(regs, marks, x, constant, operands, sums, table, sizes):
    """Clock edge of the decoding of a row: its operands and their places, or its table entries, or the steps to come."""
    _, operand_bits, sum_bits, table_bits = sizes
    regs[PHASE] = WORK
    regs[PLACES] = regs[CENTER] = regs[REMAINDER] = regs[RESULT] = regs[COUNT] = 0
    sums[:] = 0
    if marks[OP] == SCALE:
        regs[LEFT], regs[CENTER] = marks[DIGITS], marks[CENTERED]
        for p in range(len(x)):
            chosen = constant[p] if marks[OPERAND] == CONSTANT else x[p]
            operands[p] = _saturated(regs[SCALAR_REG] if marks[OPERAND] == SCALAR else chosen, operand_bits)
            regs[PLACES] |= _plus(operands[p]) | _minus(operands[p])
    elif marks[OP] == TABLE:
        for p in range(len(x)):
            sums[p] = table[_table_row(x[p], marks[SHIFT], table_bits)]
    elif marks[OP] == RECIPROCAL:
        regs[COUNT] = marks[SHIFT] + 1
    else:
        regs[COUNT] = sum_bits // 2  # pairs of the bits below the sign, rounded up


@njit
def working(regs):
    """Whether a step is still to come."""
    return (regs[PLACES] != 0 and regs[LEFT] != 0) or regs[CENTER] != 0 or regs[COUNT] != 0


@checked
def work(regs, marks, x, operands, sums, sizes):
    """Clock edge of a cycle of work: the highest place that is left, or the total, or a bit of a quotient or root."""
    if regs[PLACES] != 0 and regs[LEFT] != 0:
        place = 0
        while regs[PLACES] >> (place + 1):
            place += 1
        for p in range(len(x)):
            if _plus(operands[p]) >> place & 1:
                sums[p] += x[p] << place
            if _minus(operands[p]) >> place & 1:
                sums[p] -= x[p] << place
        regs[PLACES] ^= 1 << place
        regs[LEFT] -= 1
    elif regs[CENTER]:
        sums -= regs[TOTAL]
        regs[CENTER] = 0
    else:
        regs[COUNT] -= 1
        if marks[OP] == ROOT:
            pair = max(regs[TOTAL], 0) >> (2 * regs[COUNT]) & 3
            regs[REMAINDER], regs[RESULT] = _root_step(regs[REMAINDER], regs[RESULT], pair)
        else:
            first = 1 if regs[COUNT] == marks[SHIFT] else 0
            regs[REMAINDER], regs[RESULT] = _reciprocal_step(
                regs[REMAINDER], regs[RESULT], first, max(regs[TOTAL], 1), sizes[0]
            )


@njit
def finish(regs, marks, bias, sums, y, sizes):
    """Clock edge of the finish of a row: its result, and the scalar; the total follows a cycle later."""
    membrane_bits, operand_bits, _, _ = sizes
    if marks[OP] == SCALE:
        sums >>= marks[SHIFT]
    elif marks[OP] == RECIPROCAL:
        sums[0] = regs[RESULT] if regs[TOTAL] > 0 else (1 << (membrane_bits - 1)) - 1
    elif marks[OP] == ROOT:
        sums[0] = regs[RESULT]
    for p in range(len(y)):
        y[p] = _saturated(sums[p] + bias[p], membrane_bits)
    if marks[KEEP]:
        regs[SCALAR_REG] = _saturated(y[0], operand_bits)
    regs[ADD], regs[FRESH] = marks[ACCUMULATE], marks[FIRST]
    regs[OFFERED], regs[PHASE] = 1, FREE


@checked
def edge(regs, marks, row, operands, sums, y, table, sizes):
    """Clock edge of a cycle, its ports apart: of the total, and of the row that is held (x, constant, bias)."""
    x, constant, bias = row
    if regs[ADD]:
        base = 0 if regs[FRESH] else regs[TOTAL]
        regs[TOTAL] = _saturated(base + np.sum(y), sizes[2])
        regs[ADD] = 0
    if regs[PHASE] == WORK and working(regs):
        work(regs, marks, x, operands, sums, sizes)
    elif regs[PHASE] == WORK and regs[OFFERED] == 0:
        finish(regs, marks, bias, sums, y, sizes)
    if regs[PHASE] == DECODE:
        decode(regs, marks, x, constant, operands, sums, table, sizes)


@checked
def _run(wide, marks, table, gaps, ready, sizes, regs):
    (x, constant, bias), (rows, elements) = wide, wide[0].shape
    operands, sums, y = np.zeros(elements, np.int64), np.zeros(elements, np.int64), np.zeros(elements, np.int64)
    results = np.zeros(x.shape, np.int64)
    accepted, transferred = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    taken, row, cycle = 0, 0, 0
    offered_from = gaps[0] if rows else 0
    while taken < rows or regs[ADD]:
        if regs[OFFERED] and ready[cycle % len(ready)]:
            results[taken], transferred[taken] = y, cycle
            taken += 1
            regs[OFFERED] = 0
        held = row - 1
        edge(regs, marks[held], (x[held], constant[held], bias[held]), operands, sums, y, table, sizes)
        if row < rows and cycle >= offered_from and regs[PHASE] == FREE:
            regs[PHASE] = DECODE
            accepted[row] = cycle
            row += 1
            if row < rows:
                offered_from = cycle + 1 + gaps[row]
        cycle += 1
    return accepted, results, transferred


class Unit:
    """A vector unit after its reset, whose results are always taken; a part of the normaliser.

    Attributes:
        sizes: bits of membranes, operands and totals, and of the table's rows.
    """

    def __init__(self, params: VectorParams, table: NDArray[np.int32]) -> None:
        self.sizes = params.membrane_bits, params.operand_bits, params.sum_bits, params.table_bits
        self._table, self._regs = table.astype(np.int64), np.zeros(12, np.int64)
        self._marks = np.zeros(len(MARKS), np.int64)
        self._x, self._constant, self._bias, self._operands, self._sums, self._y = np.zeros((6, params.elements), np.int64)

    def step(self, offered: Callable[[], Mapping[str, Any]] | None) -> tuple[bool, NDArray[np.int64] | None]:
        """A cycle; ``offered`` gives x [P], the constant of all elements and the marks of the row that is offered.

        Returns whether the row is accepted, and the result that is taken.
        """
        regs, result = self._regs, None
        if regs[OFFERED]:
            result, regs[OFFERED] = self._y.copy(), 0
        row = self._x, self._constant, self._bias
        edge(regs, self._marks, row, self._operands, self._sums, self._y, self._table, self.sizes)
        if offered is None or regs[PHASE] != FREE:
            return False, result
        values = offered()
        self._x[:], self._constant[:], self._marks[:] = values["x"], values["constant"], [values[name] for name in MARKS]
        regs[PHASE] = DECODE
        return True, result


def run(
    params: VectorParams,
    table: NDArray[np.int64],
    rows: Mapping[str, Any],
    gaps: NDArray[np.int64],
    ready: NDArray[np.bool_],
) -> VectorRun:
    """Feed rows to a vector unit after its reset until the last result is taken; arguments as of the fast model.

    Raises ArchsimError when ``ready`` never is.
    """
    if not np.any(ready):
        raise ArchsimError("vector unit: ready must be true in some cycle, given a consumer that never takes a row")
    wide = tuple(np.array(rows[name], np.int64).reshape(-1, params.elements) for name in ("x", "constant", "bias"))
    marks = np.stack([np.array(rows[name], np.int64) for name in MARKS], axis=1)
    sizes = params.membrane_bits, params.operand_bits, params.sum_bits, params.table_bits
    regs = np.zeros(12, np.int64)
    accepted, results, transferred = _run(
        wide, marks, np.asarray(table, np.int64), np.asarray(gaps, np.int64), np.asarray(ready, np.bool_), sizes, regs
    )
    return VectorRun(accepted, results, transferred, {"total": int(regs[TOTAL]), "scalar": int(regs[SCALAR_REG])})
