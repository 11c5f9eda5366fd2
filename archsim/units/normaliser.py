"""Normaliser, fast: NORMALISE and WEIGH over the rows of a core's banks; time from the digits that the rows have."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import normaliser as contract
from archsim.contracts import sequencer, vector
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.normaliser import NormaliserParams
from archsim.contracts.vector import CONSTANT, SCALAR, SQUARE
from archsim.jit import entry, njit
from archsim.results import COUNT, COUNTERS
from archsim.units.sram import Memories
from archsim.units.vector import reciprocal, root, saturated, scale, scale_cycles

ALL_DIGITS = vector.ALL_DIGITS
_table_row = njit(vector.table_row)


@njit
def scaled(x, operand, constant, offset, shift, digits, sizes, values):
    """A row of SCALE into ``values``, saturated; returns its cycles of work, the cycle of an offset apart."""
    constants = np.full(len(x), constant)
    places = scale(x, constants, operand, constant, digits, offset, shift, sizes[1], values)
    for p in range(len(x)):
        values[p] = saturated(values[p], sizes[0])
    return scale_cycles(places, digits, 0)


@njit
def scale_rows(bank, rows, operand, constant, offset, shift, digits, sizes):
    """SCALE of rows of a bank, in place; returns their cycles of work."""
    values, work = np.zeros(bank.shape[1], np.int64), 0
    for row in rows:
        work += scaled(bank[row].astype(np.int64), operand, constant, offset, shift, digits, sizes, values)
        bank[row] = values
    return work


@njit
def changes(bank, rows, before):
    """Elements of rows of a bank unlike those of the row before them, which is ``before`` for the first and then the last one."""
    found = 0
    for row in rows:
        for p in range(len(before)):
            found += bank[row, p] != before[p]
            before[p] = bank[row, p]
    return found


@njit
def probability(total, f, sizes):
    """The scalar that RECIPROCAL keeps."""
    return saturated(reciprocal(total, f.reciprocal_shift, sizes[0]), sizes[1])


@njit
def normalise(f, rows, bank, sizes):
    """NORMALISE of tokens whose rows are ``rows`` [tokens, rows of each]; cycles of work of SQUARE and of SCALE, changed elements.

    ``sizes``: bits of membranes, operands and totals.
    """
    values, before = np.zeros(bank.shape[1], np.int64), np.zeros(bank.shape[1], bank.dtype)
    square_work, scale_work, changed = 0, 0, 0
    for token in range(len(rows)):
        total = 0
        for row in rows[token]:
            total = saturated(total + bank[row].astype(np.int64).sum(), sizes[2])
        changed += changes(bank, rows[token], before) + changes(bank, rows[token], before)  # SUM, CENTER
        scale_rows(bank, rows[token], CONSTANT, f.elements, total, f.center_shift, ALL_DIGITS, sizes)
        total = 0
        for row in rows[token]:
            x = bank[row].astype(np.int64)
            square_work += scaled(x, SQUARE, 0, 0, f.square_shift, ALL_DIGITS, sizes, values)
            total = saturated(total + values.sum(), sizes[2])
        changed += changes(bank, rows[token], before) + changes(bank, rows[token], before)  # SQUARE, SCALE
        length = root(total)
        factor = probability(length, f, sizes) if length > 0 else 0
        scale_work += scale_rows(bank, rows[token], SCALAR, factor, 0, f.scale_shift, f.digits, sizes)
    return square_work, scale_work, changed


@njit
def weigh(f, residual, psum, table, table_bits, sizes):
    """WEIGH of all tokens; the cycles of work of SCALE, and changed elements. ``sizes`` as of :func:`normalise`."""
    neurons, work, changed = residual.shape[1], 0, 0
    before = np.zeros(neurons, residual.dtype)
    for token in range(f.tokens):
        first = f.score_base + token * f.score_token
        blocks = first + np.arange(f.blocks)
        changed += changes(residual, blocks, before) + changes(residual, blocks, before)  # MAXIMUM, EXPONENTIAL
        scores = residual[first : first + f.blocks].reshape(-1)
        greatest = np.int64(scores[: f.experts].max())
        total = 0
        for block in range(f.blocks):
            added = 0
            for number in range(block * neurons, (block + 1) * neurons):
                argument = -(1 << (sizes[0] - 1))
                if number < f.experts:
                    argument = saturated(np.int64(scores[number]) - greatest + f.offset, sizes[0])
                added += table[_table_row(argument, f.table_shift, table_bits)]
            total = saturated(total + added, sizes[2])
        rows = f.base + token * f.token_rows + np.arange(f.rows)
        changed += changes(psum, rows, before)
        work += scale_rows(psum, rows, SCALAR, probability(total, f, sizes), 0, f.scale_shift, f.digits, sizes)
    return work, changed


def token_rows(fields: Mapping[str, int]) -> NDArray[np.int64]:
    """Rows of the residual bank that each token and time step of NORMALISE has, int64 [tokens x steps, rows]."""
    words = np.repeat(np.arange(fields["words"]), fields["blocks"])[: contract.rows_of(fields)]
    blocks = np.arange(len(words)) % fields["blocks"]
    firsts = np.arange(fields["tokens"])[:, None] * fields["token_rows"] + np.arange(fields["steps"]) * fields["step_rows"]
    return fields["base"] + firsts.reshape(-1, 1) + words * fields["word_rows"] + blocks


def run(fields: Mapping[str, int], chip: ChipParams, memories: Memories) -> tuple[int, NDArray[np.int64]]:
    """Run a NORMALISE or WEIGH. Returns the duration in cycles and counters int64 [COUNTERS]; raises ArchsimError as ``check``."""
    weighs = fields["opcode"] == sequencer.WEIGH
    contract.check(fields, chip, weighs)
    unit, core = NormaliserParams(chip).unit, memories.cores[fields["core"]]
    sizes = unit.membrane_bits, unit.operand_bits, unit.sum_bits
    f = entry(contract.WEIGH_FIELDS if weighs else contract.NORMALISE_FIELDS, fields)
    counts = np.zeros(len(COUNTERS), np.int64)
    division = vector.reciprocal_cycles(fields["reciprocal_shift"])
    if weighs:
        tokens, rows = fields["tokens"], fields["rows"]
        work, changed = weigh(f, core.residual, core.psum, memories.normaliser.table, unit.table_bits, sizes)
        scores = tokens * fields["blocks"]
        counts[COUNT.residual_reads], counts[COUNT.compared_rows], counts[COUNT.exponential_reads] = 2 * scores, scores, scores
        counts[COUNT.psum_reads] = counts[COUNT.psum_writes] = tokens * rows
        counts[COUNT.vector_rows] = tokens * (fields["blocks"] + 1 + rows)
        counts[COUNT.vector_additions], counts[COUNT.vector_steps] = work, tokens * division
        counts[COUNT.changed_elements] = changed
        return contract.weigh_cycles(fields, work), counts
    chosen = token_rows(fields)
    square_work, scale_work, changed = normalise(f, chosen, core.residual, sizes)
    rows, center = chosen.size, contract.digit_places(fields["elements"]) + 1
    counts[COUNT.residual_reads], counts[COUNT.residual_writes] = 4 * rows, 2 * rows
    counts[COUNT.vector_rows], counts[COUNT.changed_elements] = 4 * rows + 2 * len(chosen), changed
    counts[COUNT.vector_additions] = rows + rows * center + square_work + scale_work
    counts[COUNT.vector_steps] = len(chosen) * (division + vector.root_cycles(unit.sum_bits))
    return contract.normalise_cycles(fields, unit, square_work, scale_work), counts
