"""Additions of the mapping itself: SYNAPSE with unit weights, or with no operand at all, whose sums go on channel by channel."""

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import dma, sequencer
from mapping.context import Context
from mapping.data import param_rows, weight_rows
from mapping.partition import chunks
from mapping.place import Region, require
from mapping.quantise import IntSynapse
from mapping.tile import Piece, output_tile, synapse_fields, unit_layer

NOTHING = {"in_height": 0, "in_width": 0, "slices": 1, "steps": 1}
"""Fields of a SYNAPSE without an operand: every window lies on padding, and every group is empty."""

EMPTY = Piece(Region(0, 0, 0, 1, 1), 0, 0, 0, 1)
"""What it reads."""


class UnitSums:
    """Emits such instructions; the unit weights, and parameters without bias and shift, are loaded once for all of them."""

    def __init__(self, context: Context, layer: str, cores: int, params: NDArray[np.uint8] | None = None) -> None:
        """Load for the cores of a mask, on behalf of ``layer``; ``params`` follow the unit's own in the parameter bank."""
        self.context, self.chip = context, context.chip
        chip, unit = context.chip, unit_layer(context.chip)
        require(chip.columns, chip.weight_rows, layer, "weight", chip)
        context.weight_bank ^= 1
        rows = weight_rows(chip, unit, 0, chunks(chip, unit, chip.columns)[0])
        context.load(dma.WEIGHT, cores, context.weight_bank, 0, rows)
        context.param_bank ^= 1
        rows = param_rows(chip, unit, 0)
        rows = rows if params is None else np.concatenate([rows, params])
        require(len(rows), chip.param_rows, layer, "param", chip)
        context.load(dma.PARAM, cores, context.param_bank, 0, rows)

    def emit(
        self, core: int, unit: IntSynapse, positions: int, piece: Piece, fields: dict[str, int], note: dict[str, object],
        first: int = 0,
    ) -> None:  # fmt: skip
        """A SYNAPSE on ``positions`` of a piece from ``first`` on, with the fields that differ from the usual ones.

        None of its columns counts as carrying a channel: these additions are the mapping's, not the network's.
        """
        context, chip = self.context, self.chip
        tile = output_tile(unit, 0, first, first + positions, first)
        whole = synapse_fields(chip, context.network, unit, tile, chunks(chip, unit, chip.columns)[0], piece)
        whole |= dict.fromkeys(
            ("psum_in", "psum_out", "param_base", "out_bank", "columns", "reduce_base", "residual_in", "residual_out",
             "residual_in_base", "residual_out_base", "residual_position", "residual_step"), 0,
        )  # fmt: skip
        whole |= {"gang": 1 << core, "weight_bank": context.weight_bank, "param_bank": context.param_bank}
        note = {"layer": context.layer, **note}
        context.emitter.emit([sequencer.CORE0 + core], sequencer.SYNAPSE, whole | fields, [note])
