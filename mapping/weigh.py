"""Weights of experts' results: the softmax of a token's best score, as WEIGH of the normaliser makes it (not spike-driven).

The exponentials are those of a table over ``score - best score``, their quotient is cut to two signed digits: a sum or a difference
of two powers of two, at most 1. So a weighed result is never greater than the result, and every bound of it holds.
"""

from dataclasses import dataclass
from math import ceil, log

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.common.chip import NORMALISER_TABLE_BITS, ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.normaliser import NormaliserParams, reference_weigh
from archsim.contracts.vector import VectorParams
from mapping.data import bits_to_bytes

TABLE_BITS = NORMALISER_TABLE_BITS
"""The table has ``2 ** TABLE_BITS`` entries that are not 0 by default; those of a chip with a larger table are 0."""

ONE = 12
"""The entry of the best score is ``2 ** ONE``: exponentials of less than half a unit of that are 0."""

FRACTION = 8
"""A weight counts in units of ``2 ** -FRACTION``; two digits are within an eighth of it (2/3 becomes 3/4)."""

OPERAND_BITS = FRACTION + 2
"""Bits of a factor that hold a weight of 1."""

DIGITS = 2
"""Signed digits of a weight: two shifted additions an element."""


@dataclass(frozen=True)
class Weigh:
    """How the scores of a gate become the weight of a result.

    Attributes:
        table: int64 [2 ** TABLE_BITS], exponentials from the least argument on; the first is 0, the last ``2 ** ONE``.
        shift: an entry stands for ``2 ** shift`` scores.
        digits: signed digits of a weight at most.
    """

    table: NDArray[np.int64]
    shift: int
    digits: int = DIGITS

    def fields(self) -> dict[str, int]:
        """What WEIGH takes of it."""
        return {
            "offset": ((1 << (TABLE_BITS - 1)) - 1) << self.shift, "table_shift": self.shift, "reciprocal_shift": ONE + FRACTION,
            "scale_shift": FRACTION, "digits": self.digits,
        }  # fmt: skip

    def rows(self, chip: ChipParams) -> NDArray[np.uint8]:
        """The table as a chip takes it, uint8 [entries, bytes]: around it, where nothing but entries of 0 is met, zeros."""
        params, least = NormaliserParams(chip), 1 << (chip.normaliser_table_bits - 1)
        entries, half = np.zeros(2 * least, np.int64), len(self.table) // 2
        entries[least - half : least + half] = self.table
        return bits_to_bytes(entries[:, None], 8 * params.table_bytes)

    def weights(self, scores: NDArray[np.int64], membrane_bits: int) -> NDArray[np.int64]:
        """The weight of the best of each token's scores [tokens, experts], int64 [tokens], in units of ``2 ** -FRACTION``."""
        count = scores.shape[1]
        params = VectorParams(count, membrane_bits, OPERAND_BITS, 2 * membrane_bits - 1, TABLE_BITS)
        fields, table, one = self.fields() | {"blocks": 1}, self.table.tolist(), [1 << FRACTION]
        return np.array([reference_weigh(of, one, table, fields, params)[0] for of in scores.tolist()], np.int64)


def weigh(factor: float, membrane_bits: int) -> Weigh:
    """The table for scores of ``factor`` units for each 1 of the exponent; the finest that reaches to exponentials of 0."""
    span = min(ceil(factor * log(2 << ONE)), 1 << membrane_bits)
    steps = (1 << TABLE_BITS) - 2
    shift = next(shift for shift in range(membrane_bits) if steps << shift >= span)
    # The last entry is the best score's alone, each before it stands for the middle of its scores.
    middles = (np.arange(-steps - 1, 1, dtype=np.float64)) * 2.0**shift + ((1 << shift) - 1) / 2
    table = np.rint(np.exp(np.minimum(middles, 0) / factor) * 2**ONE).astype(np.int64)
    table[0], table[-1] = 0, 1 << ONE
    return Weigh(table, shift)


def require_normaliser(chip: ChipParams, layer: str) -> None:
    """Raise ArchsimError unless a chip can weigh the results of a layer of experts."""
    for key, least in (("normaliser_operand_bits", OPERAND_BITS), ("normaliser_table_bits", TABLE_BITS)):
        if getattr(chip, key) < least:
            raise ArchsimError(
                f"layer '{layer}': a softmax weighs its experts, which needs a chip with {key} of {least} or more, given chip "
                f"'{chip.name}' with {getattr(chip, key)}; use such a chip, as adders_512_experts is"
            )
