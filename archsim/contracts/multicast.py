"""Multicast: brings rows of one output spike bank to the input banks of any set of cores, or to the attention unit.

Two nested loops of affine addresses; one row a cycle to all destinations at once.

* COPY moves rows as they are.
* TRANSPOSE (chips with a ``transposer``) turns them on their way. A block is the ``inner`` rows (at most M) of one outer step; they
  pass a bit transposer in each lane, all in lockstep, and column j of the result, for j below ``turned`` (at most M), is written to
  ``base + outer * base_outer + j * base_inner``: its bit i is bit j of row i, and 0 from bit ``inner`` on. The other columns leave
  the transposer unwritten, and the next block begins when all have left.
* MASK (chips with a ``masker``) copies rows whose spikes pass a masker: the rows of the instruction, in their order, are the words
  of the sequence that begins with ``seed``.
"""

from collections.abc import Mapping

from archsim.contracts import masker, transposer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.law import Form
from archsim.contracts.common.layout import Field
from archsim.contracts.masker import MaskerParams
from archsim.contracts.transposer import TransposerParams

Q0, Q1, K, V = 0, 1, 2, 3
"""Input banks of the attention unit."""

MULTICAST_FIELDS = (
    Field("source", 6),  # engine that owns the output bank: the attention unit or a core
    Field("source_bank", 1),
    Field("source_base", 20),
    Field("source_outer", 16),
    Field("source_inner", 10),
    Field("outer", 20),
    Field("inner", 10),
    Field("cores", 32),  # destination cores, a bit each; 0: the attention unit
    Field("bank", 2),  # input bank of the cores, or Q0, Q1, K, V
    Field("base", 20),
    Field("base_outer", 16),
    Field("base_inner", 10),
)
"""Fields of COPY."""

TRANSPOSE_FIELDS = (
    *MULTICAST_FIELDS,
    Field("turned", 7),  # columns of each block that are written, 1..M
)
"""Fields of TRANSPOSE: ``inner`` rows make a block."""

MASK_FIELDS = (
    *MULTICAST_FIELDS,
    Field("seed", masker.SEED_BITS),
    Field("keep", 9),  # of 256 spikes, those that stay: 0..256
)
"""Fields of MASK."""

OVERHEAD = 3
"""Cycles besides one per row: read, hold, write."""


def cycles(rows: int) -> int:
    """Law: duration of a COPY in cycles."""
    return rows + OVERHEAD


def mask_cycles(rows: int) -> int:
    """Law: duration of a MASK in cycles; the masker takes a row a cycle and is one more stage."""
    return cycles(rows) + masker.LATENCY


def transpose_cycles(blocks: int, rows: int, word_bits: int) -> int:
    """Law: duration of a TRANSPOSE of ``blocks`` blocks of ``rows`` rows; a block begins when the one before has left whole."""
    return blocks * transposer.block_cycles(rows, word_bits) + OVERHEAD


def duration(fields: Mapping[str, int], chip: ChipParams) -> int:
    """Law: cycles of an instruction, which is a TRANSPOSE if it has ``turned``, a MASK if it has ``keep``, else a COPY."""
    outer, inner = fields["outer"], fields["inner"]
    if "turned" in fields:
        return transpose_cycles(outer, inner, chip.columns)
    return mask_cycles(outer * inner) if "keep" in fields else cycles(outer * inner)


def written(fields: Mapping[str, int]) -> int:
    """Rows that one outer step writes: as many as it reads, or the columns that a TRANSPOSE turns."""
    return fields.get("turned", fields["inner"])


LAW = Form(
    ("rows", "spikes"),
    ("cycles", "cycles lanes columns", "rows", "rows lanes columns", "spikes"),
    ("1", "lanes columns"),
)
"""Laws of energy and area, of the parameters of a chip without transposer and masker. Counts: rows, their spikes."""


def transposer_of(chip: ChipParams) -> TransposerParams:
    """The transposer of one lane; raises ArchsimError for a chip without any."""
    if not chip.transposer:
        raise ArchsimError(
            f"multicast: TRANSPOSE needs a chip with a transposer, given chip '{chip.name}' with transposer 0; "
            "set 'transposer: 1' in its file and map the network again"
        )
    return TransposerParams(chip.columns)


def masker_of(chip: ChipParams) -> MaskerParams:
    """The masker of all lanes; raises ArchsimError for a chip without one."""
    if not chip.masker:
        raise ArchsimError(
            f"multicast: MASK needs a chip with a masker, given chip '{chip.name}' with masker 0; "
            "set 'masker: 1' in its file and map the network again"
        )
    return MaskerParams(chip.lanes, chip.columns)


def check(fields: Mapping[str, int], chip: ChipParams) -> None:
    """Raise ArchsimError unless the chip can do an instruction: ``inner`` and ``turned`` of TRANSPOSE in 1..M, ``keep`` of MASK."""
    if "keep" in fields:
        masker_of(chip)
        masker.check(fields["seed"], fields["keep"])
    if "turned" not in fields:
        return
    most = transposer_of(chip).word_bits
    for name in ("inner", "turned"):
        if not 1 <= fields[name] <= most:
            raise ArchsimError(
                f"multicast: {name} of TRANSPOSE must be in 1..{most} (columns of chip '{chip.name}'), given {fields[name]}"
            )
