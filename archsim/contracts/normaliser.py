"""Normaliser: the vector unit as an engine; layer norms and the weights of experts, over rows of one core; not spike-driven.

Only in chips with ``normaliser_operand_bits``. Its vector unit has P elements of ``membrane_bits``; the engine walks rows of a
core's banks, feeds them to the unit and writes results back to where their rows came from. Two instructions. ``sat`` is the nearest
value of ``membrane_bits`` bits, ``>>`` floors.

* NORMALISE: a layer norm over the ``elements`` = N membranes of a token, in place in the residual bank. The token's row (word w,
  block b) of position k and time step t lies in ``base + k * token_rows + t * step_rows + w * word_rows + b``, as SYNAPSE stores
  residual rows. Every word has ``blocks`` rows, the last one ``last_blocks``. For each k and, within it, each t:

  1. SUM: the sum of all x.
  2. CENTER: ``x = sat((N x - sum) >> center_shift)``, written back.
  3. SQUARE: the sum of ``sat((x x) >> square_shift)``; one factor is saturated to the operand's bits.
  4. ROOT: its square root r (floor).
  5. RECIPROCAL: ``s = 2^reciprocal_shift / r`` (floor, at most the greatest membrane), saturated to the operand's bits.
  6. SCALE: ``x = sat((x s') >> scale_shift)``, written back; s' is s cut to its ``digits`` highest signed digits.

  So x is the layer norm times ``2^(reciprocal_shift - scale_shift + square_shift / 2) / sqrt(N)``, but for rounding. This factor,
  gains and offsets fold into what reads x. A root of 0 (no variance, or one that the shifts leave nothing of) gives 0 for all x.
* WEIGH: the probability of the best expert weighs a token's result. The scores s[0 .. experts - 1] of token k lie in ``blocks``
  rows from ``score_base + k * score_token`` on in the residual bank, as TOPK reads them; the result lies in ``rows`` rows from
  ``base + k * token_rows`` on in the partial-sum bank, where COLLECT wrote it, and stays there. For each token:

  1. MAXIMUM: m = the greatest of the scores.
  2. EXPONENTIAL: the sum of the table's entries for ``sat(s - m + offset) >> table_shift`` (saturated to the table's bits).
     Elements of the last row without an expert take the entry for the least membrane, ``-2^(membrane_bits - 1) >> table_shift``:
     entry 0 if the shift leaves so much. It is to be 0.
  3. RECIPROCAL, as above, of this sum.
  4. SCALE of all rows of the result, as above.

  If the entry for ``offset >> table_shift`` is 2^a, the result is multiplied by ``p * 2^(reciprocal_shift - a - scale_shift)``,
  where p is the softmax of the best expert, cut to ``digits`` signed digits. Rows of 0 stay 0, so those of a dropped token do.

The table has ``2^normaliser_table_bits`` entries of ``membrane_bits``; LOAD of memory TABLE with bank 1 fills it, an entry a row.
With an ``offset`` of ``(2^(table_bits - 1) - 1) << table_shift`` arguments of 0 take its last entry, so that every entry is used.

Timing, with the start in cycle s. Tokens (positions, and time steps within) and their phases, numbered above, follow each other.
The first row of the first phase is read in s + 1, stands at the vector unit in s + FIRST_ROW, and is accepted then. A further row
of the same phase is read in the cycle in which the one before is accepted, and accepted when that one is finished. A result is
taken in the cycle after its row's finish, and written then. ROOT and RECIPROCAL are phases of one row that no bank gives. The first
row of the next phase is read in the cycle after the last result is taken, so that a phase sees all that the one before has written:
it is accepted PHASE_GAP cycles after the last finish. MAXIMUM reads a row a cycle and compares it in the next; the next phase reads
a cycle later. The instruction ends DONE cycles after the last finish.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import isqrt

from archsim.contracts import vector
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.law import Form
from archsim.contracts.common.layout import Field
from archsim.contracts.router import MAX_EXPERTS
from archsim.contracts.sram import SramParams
from archsim.contracts.vector import VectorParams, saturated, signed_digits

NORMALISE_FIELDS = (
    Field("core", 5),
    Field("base", 20),  # row of the residual bank: the first position, time step, word and block
    Field("tokens", 16),  # positions
    Field("token_rows", 16),  # rows between them
    Field("steps", 8),  # time steps of a position
    Field("step_rows", 16),  # rows between them
    Field("words", 7),
    Field("word_rows", 16),  # rows between words
    Field("blocks", 7),  # rows of each word but the last
    Field("last_blocks", 7),  # rows of the last word
    Field("elements", 16),  # N, membranes of all these rows
    Field("center_shift", 6),
    Field("square_shift", 6),
    Field("reciprocal_shift", 6),
    Field("scale_shift", 6),
    Field("digits", 5),  # signed digits of the reciprocal at most (31: all)
)
"""Fields of NORMALISE."""

WEIGH_FIELDS = (
    Field("core", 5),
    Field("score_base", 20),  # row of the residual bank
    Field("score_token", 16),  # rows between tokens
    Field("tokens", 16),
    Field("blocks", 5),  # rows of a token's scores: experts / P, rounded up
    Field("experts", 5),
    Field("offset", 24),  # added to s - m, unsigned
    Field("table_shift", 6),
    Field("reciprocal_shift", 6),
    Field("base", 20),  # row of the partial-sum bank
    Field("token_rows", 16),  # rows between tokens
    Field("rows", 10),  # rows of a token's result, one after the other
    Field("scale_shift", 6),
    Field("digits", 5),  # signed digits of the probability at most (2: a sum or difference of two powers of two)
)
"""Fields of WEIGH."""

SUM, CENTER, SQUARE, ROOT, RECIPROCAL, SCALE, MAXIMUM, EXPONENTIAL = range(8)
"""Phases of a token."""

NORMALISE_PHASES = (SUM, CENTER, SQUARE, ROOT, RECIPROCAL, SCALE)
WEIGH_PHASES = (MAXIMUM, EXPONENTIAL, RECIPROCAL, SCALE)
"""Phases of each instruction, in order."""

TABLE_BANK = 1
"""``bank`` of a LOAD of memory TABLE that fills the table of this engine; 0 is the attention unit's."""

FIRST_ROW, PHASE_GAP, DONE = 2, 3, 2
"""Cycles from the start to the acceptance of the first row (address, read), from the last finish of a phase to the first acceptance
of the next (take and write, address, read), and from the last finish to the end."""

MAXIMUM_GAP = 1
"""Cycles from the first row of MAXIMUM that stands to the acceptance of the next phase's first, besides one a row."""


@dataclass(frozen=True)
class NormaliserParams:
    """Sizes of a normaliser: those of the chip that bear on it. Raises ArchsimError for a chip that cannot have one."""

    chip: ChipParams

    def __post_init__(self) -> None:
        """Check that the chip has one, and that its sizes fit together."""
        if not self.chip.normaliser_operand_bits:
            raise ArchsimError(
                f"chip '{self.chip.name}': a normaliser needs normaliser_operand_bits of 2 or more, given 0"
            )
        try:
            _ = self.unit
        except ArchsimError as error:
            raise ArchsimError(f"chip '{self.chip.name}': normaliser: {error}") from error

    @cached_property
    def unit(self) -> VectorParams:
        """The vector unit: as wide as a row of membranes; its total is the widest whose root fits one."""
        chip = self.chip
        bits = chip.membrane_bits
        return VectorParams(chip.neurons, bits, chip.normaliser_operand_bits, 2 * bits - 1, chip.normaliser_table_bits)

    @property
    def table_bytes(self) -> int:
        """Bytes of an entry of the table in DRAM."""
        return -(-self.chip.membrane_bits // 8)


LAW = Form(
    ("rows", "changes", "compared", "exponentials"),
    ("cycles", "cycles membrane_bits", "cycles row_bits", "rows", "changes membrane_bits", "compared neurons membrane_bits",
     "exponentials neurons membrane_bits"),
    ("1", "row_bits", "neurons membrane_bits", "cores neurons membrane_bits"),
    lambda chip: {"row_bits": SramParams(max(chip.residual_rows, chip.psum_rows), 1).address_bits},
)  # fmt: skip
"""Laws of what is around the vector unit: phases, walks, selection of the core's row, scores; of a chip's parameters.

Counts: rows that the vector unit takes, `changed_elements`, rows whose maximum is sought, rows that ask the table."""


def changed_elements(rows: Iterable[Sequence[int]]) -> int:
    """Elements of an instruction's rows, in the order in which banks give them, unlike the same element of the row before.

    The row before the first one is taken for 0. Phases whose row no bank gives have no part in it.
    """
    pairs = pairwise([[0] * len(given[0]), *given] if (given := list(rows)) else [])
    return sum(element != last for before, row in pairs for element, last in zip(row, before, strict=True))


def rows_of(fields: Mapping[str, int]) -> int:
    """Rows of a token and time step of NORMALISE."""
    return (fields["words"] - 1) * fields["blocks"] + fields["last_blocks"]


def check(fields: Mapping[str, int], chip: ChipParams, weighs: bool) -> None:
    """Raise ArchsimError unless the chip can do a NORMALISE (with ``weighs``, a WEIGH); rows of banks apart."""
    name = "WEIGH" if weighs else "NORMALISE"
    if not chip.normaliser_operand_bits:
        raise ArchsimError(
            f"normaliser: {name} needs a chip with a normaliser, given chip '{chip.name}' with normaliser_operand_bits 0; "
            "set 'normaliser_operand_bits' in its file and map the network again"
        )
    held = {field.name: (1 << field.width) - 1 for field in (WEIGH_FIELDS if weighs else NORMALISE_FIELDS)}
    limits = {"core": (0, chip.cores - 1), "tokens": (1, held["tokens"]), "digits": (1, vector.ALL_DIGITS)}
    if weighs:
        blocks = -(-fields["experts"] // chip.neurons)
        limits |= {"experts": (2, MAX_EXPERTS), "blocks": (blocks, blocks), "rows": (1, held["rows"])}
    else:
        elements, word = rows_of(fields) * chip.neurons, fields["blocks"] if fields["words"] > 1 else 0
        limits |= {
            "steps": (1, held["steps"]), "words": (1, held["words"]), "blocks": (1, chip.blocks),
            "last_blocks": (1, fields["blocks"]), "word_rows": (word, held["word_rows"]), "elements": (elements, elements),
        }  # fmt: skip
    for field, (low, high) in limits.items():
        if not low <= fields[field] <= high:
            required = f"{low}" if low == high else f"in {low}..{high}"
            raise ArchsimError(
                f"normaliser: {field} of {name} must be {required} on chip '{chip.name}', given {fields[field]}"
            )
    most = (1 << (chip.normaliser_operand_bits - 1)) - 1
    if not weighs and fields["elements"] > most:
        raise ArchsimError(
            f"normaliser: elements of NORMALISE must be at most {most} on chip '{chip.name}' (normaliser_operand_bits "
            f"{chip.normaliser_operand_bits}), given {fields['elements']}; use fewer channels or a wider operand"
        )


def digit_places(operand: int) -> int:
    """Signed digits of an operand that are not 0."""
    return (vector.plus(operand) | vector.minus(operand)).bit_count()


def phase_cycles(rows: int, work: int) -> int:
    """Law of a phase of ``rows`` rows that take ``work`` cycles of work in all, until the first row of the next may be accepted."""
    return rows * vector.DECODE + work + PHASE_GAP


def normalise_cycles(fields: Mapping[str, int], params: VectorParams, square_work: int, scale_work: int) -> int:
    """Law of NORMALISE: duration in cycles.

    Args:
        fields: of the instruction.
        params: of the vector unit.
        square_work: cycles of work of SQUARE, of all tokens: of each row ``vector.scale_cycles`` of the places where any of its
            elements has a digit.
        scale_work: those of SCALE, likewise, with the places of the reciprocal; 0 where the root is 0.
    """
    tokens, rows = fields["tokens"] * fields["steps"], rows_of(fields)
    center = vector.scale_cycles(digit_places(fields["elements"]), vector.ALL_DIGITS, 1)
    fixed = phase_cycles(rows, rows) + phase_cycles(rows, rows * center) + 2 * phase_cycles(rows, 0)
    fixed += phase_cycles(1, vector.root_cycles(params.sum_bits))
    fixed += phase_cycles(1, vector.reciprocal_cycles(fields["reciprocal_shift"]))
    return FIRST_ROW + tokens * fixed + square_work + scale_work - PHASE_GAP + DONE


def weigh_cycles(fields: Mapping[str, int], scale_work: int) -> int:
    """Law of WEIGH: duration in cycles; arguments as of :func:`normalise_cycles`."""
    token = fields["blocks"] + MAXIMUM_GAP + phase_cycles(fields["blocks"], 0) + phase_cycles(fields["rows"], 0)
    token += phase_cycles(1, vector.reciprocal_cycles(fields["reciprocal_shift"]))
    return FIRST_ROW + fields["tokens"] * token + scale_work - PHASE_GAP + DONE


def cut(operand: int, digits: int) -> int:
    """An operand of which only the ``digits`` highest signed digits are left."""
    return sum(digit * 2**place for place, digit in sorted(signed_digits(operand).items(), reverse=True)[:digits])


def _scalar(total: int, params: VectorParams, reciprocal_shift: int, digits: int) -> int:
    top = 2 ** (params.membrane_bits - 1) - 1
    quotient = min(2**reciprocal_shift // total, top) if total > 0 else top
    return cut(saturated(quotient, params.operand_bits), digits)


def reference_normalise(x: Sequence[int], fields: Mapping[str, int], params: VectorParams) -> list[int]:
    """What NORMALISE makes of one token: its N membranes, in the order of its rows, by whole numbers; no time."""
    bits = params.membrane_bits
    total = sum(x)
    centred = [saturated((len(x) * value - total) >> fields["center_shift"], bits) for value in x]
    squares = [saturated(v * saturated(v, params.operand_bits) >> fields["square_shift"], bits) for v in centred]
    root = isqrt(min(sum(squares), 2 ** (params.sum_bits - 1) - 1))
    scalar = _scalar(root, params, fields["reciprocal_shift"], fields["digits"]) if root else 0
    return [saturated(value * scalar >> fields["scale_shift"], bits) for value in centred]


def reference_weigh(
    scores: Sequence[int], results: Sequence[int], table: Sequence[int], fields: Mapping[str, int], params: VectorParams
) -> list[int]:
    """What WEIGH makes of one token's result, by whole numbers; no time.

    Args:
        scores: of its experts.
        results: membranes of its rows.
        table: entries of the table.
        fields: of the instruction; the rows do not matter.
        params: of the vector unit.
    """
    bits, half = params.membrane_bits, len(table) // 2
    arguments = [saturated(score - max(scores) + fields["offset"], bits) for score in scores]
    arguments += [-(2 ** (bits - 1))] * (fields["blocks"] * params.elements - len(scores))
    entries = [table[min(max(argument >> fields["table_shift"], -half), half - 1) + half] for argument in arguments]
    total = saturated(sum(entries), params.sum_bits)
    scalar = _scalar(total, params, fields["reciprocal_shift"], fields["digits"])
    return [saturated(value * scalar >> fields["scale_shift"], bits) for value in results]


def corners(bits: int) -> list[dict[str, int]]:
    """Fields that drive a normaliser of membranes of ``bits`` bits to its ends.

    Nothing is shifted (all saturates); everything is shifted away (roots of 0); usual values with all digits and with two; a
    reciprocal of 1 / root.
    """
    return [
        {"center_shift": 0, "square_shift": 0, "reciprocal_shift": 63, "scale_shift": 0, "digits": 31,
         "offset": (1 << bits) - 1, "table_shift": 0},
        {"center_shift": bits, "square_shift": 2 * bits, "reciprocal_shift": bits, "scale_shift": 63, "digits": 1,
         "offset": 0, "table_shift": bits - 1},
        {"center_shift": 3, "square_shift": bits - 2, "reciprocal_shift": bits, "scale_shift": 4, "digits": 31,
         "offset": (1 << (bits - 2)) - 1, "table_shift": bits // 2},
        {"center_shift": 2, "square_shift": bits // 2, "reciprocal_shift": bits + 4, "scale_shift": bits // 2, "digits": 2,
         "offset": 7 << (bits - 6), "table_shift": 2},
        {"center_shift": 1, "square_shift": 1, "reciprocal_shift": 0, "scale_shift": 0, "digits": 3, "offset": 1, "table_shift": 1},
    ]  # fmt: skip
