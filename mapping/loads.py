"""Loads: the image, neuron parameters and weights, in the order in which the cores need them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import dma
from archsim.contracts.common.errors import ArchsimError
from mapping.context import Context
from mapping.data import image_rows, param_rows, weight_rows
from mapping.ir import IMAGE
from mapping.partition import chunks, of_word, word_chunks, words
from mapping.place import require
from mapping.quantise import IntSynapse
from mapping.token_norm import IntTokenSynapse, token_rows


class Loads:
    """Emits the LOADs of a mapping.

    ``param_base`` gives the rows of each (layer, word) if the parameters of all layers stay in bank 0, ``resident_rows`` in
    all; else it is empty and each layer loads its own. ``placed``: rows in DRAM that may be loaded again, with their address.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.param_base: dict[tuple[str, int], int] = {}
        self.resident_rows = 0
        self.placed: dict[tuple[str, int, int, int], tuple[NDArray[np.uint8], int]] = {}

    def resident_params(self) -> None:
        """Load the parameters of every layer at the start if one bank holds them; else each layer loads its own."""
        context, layers = self.context, self.context.synapses()
        places = [(layer, word) for layer in layers for word in range(words(context.chip, layer))]
        count = sum(len(layer.kinds) if isinstance(layer, IntTokenSynapse) else 1 for layer, _ in places)
        if count * context.chip.blocks > context.chip.param_rows:
            return
        rows = [
            token_rows(context.chip, layer, word, np.arange(len(layer.kinds)))
            if isinstance(layer, IntTokenSynapse) else param_rows(context.chip, layer, word)
            for layer, word in places
        ]  # fmt: skip
        base = 0
        for (layer, word), part in zip(places, rows, strict=True):
            self.param_base[layer.name, word] = base
            base += len(part)
        self.resident_rows = base
        context.load(dma.PARAM, (1 << context.chip.cores) - 1, 0, 0, np.concatenate(rows))

    def image(self) -> None:
        """Load the image's bit planes to the cores that lead a gang of the first layer; the host writes them to DRAM."""
        context = self.context
        first = next(layer for layer in context.synapses() if layer.source == IMAGE)
        region, shape = context.regions[IMAGE], context.network.maps[IMAGE]
        data = image_rows(np.zeros((shape.positions, shape.channels), np.int64), first.planes)
        if region.words > 1:
            raise ArchsimError(f"layer '{first.name}': an image of {shape.channels} channels needs more than one word")
        address = context.dram.reserve(len(data), data.shape[1])
        place = {"address": address, "planes": first.planes, "row_bytes": data.shape[1], "rows": len(data)}
        context.notes["image"] = place
        context.load(dma.SPIKE_IN, context.partitions[first.name].leaders, region.bank, region.base, data, address)

    def weights(self, layer: IntSynapse, group: int, chunk_index: int, last: bool, copy: int = 0) -> None:
        """Load the weights of a chunk for every member that has a word in the column group; parameters if it is the last.

        Of a layer with a norm by token, those of a ``copy``, and no parameters.
        """
        context, chip = self.context, self.context.chip
        partition, count = context.partitions[layer.name], words(chip, layer)
        context.weight_bank ^= 1
        chunk = chunks(context.chip, layer, context.chunk_rows)[chunk_index]
        by_token = isinstance(layer, IntTokenSynapse)
        stream_params = last and not by_token and (layer.name, 0) not in self.param_base
        if stream_params:  # beside those that stay there is room in the other bank alone
            context.param_bank = 1 if self.param_base else context.param_bank ^ 1
        for member in range(min(partition.gang, count - group * partition.gang)):
            word, mask = group * partition.gang + member, partition.member_mask(member)
            one = replace(layer, weight=layer.copies[copy]) if isinstance(layer, IntTokenSynapse) else layer
            rows = partial(weight_rows, chip, one, word, chunk)
            if layer.diagonal:
                chunk = word_chunks(chip, layer, word, context.chunk_rows)[chunk_index]
                rows = partial(weight_rows, chip, of_word(chip, layer, word), 0, chunk)
            context.load(dma.WEIGHT, mask, context.weight_bank, 0, *self._rows((layer.name, word, chunk_index, copy), rows))
            if stream_params:
                require(context.chip.blocks, context.chip.param_rows, layer.name, "param", context.chip)
                rows = partial(param_rows, chip, layer, word)
                context.load(dma.PARAM, mask, context.param_bank, 0, *self._rows((layer.name, word, -1, 0), rows))

    def token_params(self, layer: IntTokenSynapse, word: int, tokens: Mapping[int, Sequence[int]]) -> None:
        """Load the parameters of one word of some tokens for each core, from row 0 on of the bank that was not loaded last."""
        self.context.param_bank ^= 1
        for core, some in tokens.items():
            if some:
                rows = token_rows(self.context.chip, layer, word, np.array(some))
                self.context.load(dma.PARAM, 1 << core, self.context.param_bank, 0, rows)

    def _rows(self, key: tuple[str, int, int, int], make: Callable[[], NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], int]:
        """Rows and their address; made and put into DRAM when first asked for."""
        if key not in self.placed:
            rows = make()
            self.placed[key] = rows, self.context.dram.add(rows)
        return self.placed[key]
