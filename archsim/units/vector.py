"""Vector unit, fast: results of rows and the cycles of their handshakes, from transaction to transaction."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import vector as contract
from archsim.contracts.vector import CONSTANT, RECIPROCAL, SCALAR, SCALE, TABLE, VectorParams
from archsim.handshake import taken, waits
from archsim.jit import njit, popcount

MARKS = ("op", "shift", "operand", "digits", "center", "accumulate", "first", "keep", "last")
"""Fields of a row that are one number, in the order of the columns of ``marks``."""

saturated = njit(contract.saturated)
scale_cycles = njit(contract.scale_cycles)
reciprocal_cycles = njit(contract.reciprocal_cycles)
root_cycles = njit(contract.root_cycles)
_plus, _minus, _table_row = njit(contract.plus), njit(contract.minus), njit(contract.table_row)


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


@njit
def scale(x, constant, operand, scalar, digits, offset, shift, bits, values):
    """SCALE of a row into ``values``; returns the places where any element has a digit. ``offset`` is what the center takes off."""
    places = 0
    for p in range(len(x)):
        values[p] = constant[p] if operand == CONSTANT else scalar if operand == SCALAR else saturated(x[p], bits)
        places |= _plus(values[p]) | _minus(values[p])
    count, used = popcount(np.uint64(places)), places
    for _ in range(count - digits):
        used &= used - 1
    for p in range(len(x)):
        cut = (_plus(values[p]) & used) - (_minus(values[p]) & used)
        values[p] = (x[p] * cut - offset) >> shift
    return count


@njit
def reciprocal(total, shift, bits):
    """2^shift / total, saturated; the dividend may not fit, so its half is divided first."""
    top = (1 << (bits - 1)) - 1
    if total <= 0:
        return top
    if shift == 0:
        return 1 // total
    half = 1 << (shift - 1)
    return min(2 * min(half // total, top) + (2 * (half % total) >= total), top)


@njit
def root(total):
    """Square root of a total, floor: the float one, put right by at most 1."""
    if total <= 0:
        return 0
    result = np.int64(np.sqrt(total))
    if result * result > total:
        result -= 1
    if (result + 1) * (result + 1) <= total:
        result += 1
    return result


@njit
def compute(x, constant, bias, marks, table, sizes):
    """Results [rows, P], cycles of work [rows], total and scalar."""
    membrane_bits, operand_bits, sum_bits, table_bits = sizes
    y, work = np.zeros(x.shape, np.int64), np.zeros(len(x), np.int64)
    total, scalar = 0, 0
    for row in range(len(x)):
        op, shift, operand, digits, center, accumulate, first, keep, _ = marks[row]
        values = y[row]
        if op == SCALE:
            places = scale(x[row], constant[row], operand, scalar, digits, center * total, shift, operand_bits, values)
            work[row] = scale_cycles(places, digits, center)
        elif op == TABLE:
            for p in range(len(values)):
                values[p] = table[_table_row(x[row, p], shift, table_bits)]
        elif op == RECIPROCAL:
            values[0], work[row] = reciprocal(total, shift, membrane_bits), reciprocal_cycles(shift)
        else:
            values[0], work[row] = root(total), root_cycles(sum_bits)
        added = 0 if first else total
        for p in range(len(values)):
            values[p] = saturated(values[p] + bias[row, p], membrane_bits)
            added += values[p]
        if accumulate:
            total = saturated(added, sum_bits)
        if keep:
            scalar = saturated(values[0], operand_bits)
    return y, work, total, scalar


@njit
def row_times(work, gaps, wait, decode, finish):
    """Law over all rows: accept cycles and transfer cycles."""
    accepted, transferred = np.zeros(len(work), np.int64), np.zeros(len(work), np.int64)
    before, finished, free = -1, 0, 0  # the row before: accepted, finished, its result taken
    for row in range(len(work)):
        before = accepted[row] = max(before + 1 + gaps[row], finished)
        finished = max(before + decode + work[row], free)
        free = transferred[row] = taken(finished + finish, wait)
    return accepted, transferred


def run(
    params: VectorParams,
    table: NDArray[np.int64],
    rows: Mapping[str, Any],
    gaps: NDArray[np.int64],
    ready: NDArray[np.bool_],
) -> VectorRun:
    """Feed rows to a vector unit after its reset until the last result is taken.

    Args:
        params: sizes.
        table: [2^table_bits] entries.
        rows: arrays by field of ``params.i``: x, constant, bias [rows, P], the others [rows].
        gaps: row k is offered from ``accepted[k - 1] + 1 + gaps[k]`` on, row 0 from ``gaps[0]`` on.
        ready: whether the consumer takes a result in each cycle; cyclic.

    Raises ArchsimError when ``ready`` never is.
    """
    wide = [np.array(rows[name], np.int64).reshape(-1, params.elements) for name in ("x", "constant", "bias")]
    marks = np.stack([np.array(rows[name], np.int64) for name in MARKS], axis=1)
    sizes = params.membrane_bits, params.operand_bits, params.sum_bits, params.table_bits
    y, work, total, scalar = compute(*wide, marks, np.asarray(table, np.int64), sizes)
    accepted, transferred = row_times(work, np.asarray(gaps, np.int64), waits(ready), contract.DECODE, contract.FINISH)
    return VectorRun(accepted, y, transferred, {"total": int(total), "scalar": int(scalar)})
