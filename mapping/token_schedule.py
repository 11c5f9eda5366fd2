"""Schedule of layers with a norm by token: a SYNAPSE for each token, with parameter rows of its own and its copy of the weights.

The tokens of one copy come behind each other, so each copy is loaded once for a group of channel words. Their parameters are loaded
as many tokens at a time as a bank holds. All tokens of a word lie in one output bank, from which the last one's end lets them go.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import dma
from archsim.contracts.common.errors import ArchsimError
from mapping.data import weight_rows
from mapping.partition import chunks, words
from mapping.place import require
from mapping.tile import output_tile, synapse_fields, whole_map
from mapping.token_norm import IntTokenSynapse, token_rows

if TYPE_CHECKING:
    from mapping.schedule import Scheduler


class TokenNormScheduler:
    """Emits such layers with the help of the scheduler that it belongs to."""

    def __init__(self, scheduler: "Scheduler") -> None:
        self.scheduler, self.context, self.chip = scheduler, scheduler.context, scheduler.chip

    def synapse(self, layer: IntTokenSynapse) -> None:
        """All channel words of a layer, as many at a time as there are cores; raises ArchsimError when something does not fit."""
        chip, tokens = self.chip, layer.shape.positions
        if len(chunks(chip, layer, self.context.chunk_rows)) > 1:
            raise ArchsimError(
                f"layer '{layer.name}': the weights of {layer.weight.shape[1]} inputs need more than the {self.context.chunk_rows} "
                "rows of a weight bank that are loaded at once, and sums of tokens with weights of their own are not kept; "
                "use a chip with larger weight banks"
            )
        require(tokens * chip.slices(self.context.network.timesteps), chip.spike_out_rows, layer.name, "spike_out", chip)
        require(chip.blocks, chip.param_rows, layer.name, "param", chip)
        gang = self.context.partitions[layer.name].gang
        for group in range(-(-words(chip, layer) // gang)):
            self._group(layer, group)

    def _group(self, layer: IntTokenSynapse, group: int) -> None:
        """The words of one group, token by token in the order of their copies."""
        loads, room = self.scheduler.loads, self.chip.param_rows // self.chip.blocks
        resident = (layer.name, 0) in loads.param_base
        order = np.argsort(layer.kinds, kind="stable")
        copy = -1
        for place, token in enumerate(order.tolist()):
            if layer.kinds[token] != copy:
                copy = int(layer.kinds[token])
                self._weights(layer, group, copy)
            if not resident and place % room == 0:
                self._params(layer, group, order[place : place + room])
            self._token(layer, group, token, (token if resident else place % room) * self.chip.blocks)
        tile = output_tile(layer, 0, 0, layer.shape.positions, 0)
        self.scheduler.finish(layer, group, tile, self._fields(layer, group, 0) | {"out_base": 0})

    def _members(self, layer: IntTokenSynapse, group: int) -> list[tuple[int, int]]:
        """Mask of a core and the word that it computes, for all of the group."""
        partition = self.context.partitions[layer.name]
        cores = partition.cores(0, words(self.chip, layer), group)
        return [(1 << core, group * partition.gang + member) for member, core in enumerate(cores)]

    def _weights(self, layer: IntTokenSynapse, group: int, copy: int) -> None:
        context = self.context
        context.weight_bank ^= 1
        chunk = chunks(self.chip, layer, context.chunk_rows)[0]
        for mask, word in self._members(layer, group):
            rows = weight_rows(self.chip, replace(layer, weight=layer.copies[copy]), word, chunk)
            context.load(dma.WEIGHT, mask, context.weight_bank, 0, rows)

    def _params(self, layer: IntTokenSynapse, group: int, tokens: NDArray[np.int64]) -> None:
        context = self.context
        context.param_bank ^= 1
        for mask, word in self._members(layer, group):
            context.load(dma.PARAM, mask, context.param_bank, 0, token_rows(self.chip, layer, word, tokens))

    def _fields(self, layer: IntTokenSynapse, group: int, token: int) -> dict[str, int]:
        context, chip = self.context, self.chip
        tile = output_tile(layer, 0, token, token + 1, 0)
        piece = whole_map(layer, context.regions[layer.source], context.network.maps[layer.source])
        chunk = chunks(chip, layer, context.chunk_rows)[0]
        fields = synapse_fields(chip, context.network, layer, tile, chunk, piece)
        resident = (layer.name, 0) in self.scheduler.loads.param_base
        return fields | self.scheduler.residual(layer, group, tile) | {
            "weight_bank": context.weight_bank, "psum_in": 0, "psum_out": 0, "param_bank": 0 if resident else context.param_bank,
            "out_bank": context.out_bank[0], "out_base": token * fields["out_position"],
        }  # fmt: skip

    def _token(self, layer: IntTokenSynapse, group: int, token: int, row: int) -> None:
        tile = output_tile(layer, 0, token, token + 1, 0)
        self.scheduler.emit(layer, group, tile, self._fields(layer, group, token), True, row)
