"""Schedule of attention within windows: q, k and v in the order of the windows, one instruction for each window and head.

The attention unit's banks hold the tokens of a window one behind the other; what comes out of it is copied back to the order of the
positions. Its table holds the entries of as many heads and classes of windows as have room; classes, and heads if those of one
class have no room, follow each other, so that each is loaded once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from archsim.contracts import attention_softmax, dma, masker, multicast, neuron, sequencer
from archsim.contracts.attention_softmax import SoftmaxParams
from archsim.contracts.common.errors import ArchsimError
from mapping.context import Context
from mapping.place import require
from mapping.quantise import IntSynapse
from mapping.tile import Tile
from mapping.window_attention import FRACTION, SCORES, IntWindowAttention, K, Q

BANKS = {Q: multicast.Q0, K: multicast.K, None: multicast.V}
"""Bank of the attention unit of each operand, by its number of seeds; v is not masked."""


@dataclass(frozen=True)
class Held:
    """Where the attention unit's banks hold a word of a window.

    Attributes:
        q_bank, out_bank: of q and of the result.
        first: number of the window's first token among those in the banks.
        words: that lie side by side; ``word``: the number of this one.
    """

    q_bank: int
    first: int
    words: int
    word: int
    out_bank: int


class WindowScheduler:
    """Emits what layers of attention within windows need beside the layers of their operands."""

    def __init__(self, context: Context) -> None:
        self.context, self.chip = context, context.chip
        self.slices = context.chip.slices(context.network.timesteps)
        self.out_bank = 0

    def receive(self, layer: IntSynapse, tile: Tile, sources: list[tuple[int, dict[str, int]]]) -> None:
        """Bring a tile of q, k or v to the attention unit; the spikes of q and k pass the masker if any is dropped."""
        for reader in self.context.network.layers:
            if isinstance(reader, IntWindowAttention):
                kinds = {reader.v: None, reader.k: K, reader.q: Q}
                if layer.spikes in kinds:
                    self._bring(reader, kinds[layer.spikes], tile, sources)

    def attend(self, layer: IntWindowAttention) -> None:
        """All windows and heads of a layer, and its spikes to the cores that read them."""
        columns, words = self.chip.columns, -(-layer.shape.channels // self.chip.columns)
        size = head_size(self.context, layer, layer.shape.positions, words)
        tokens, heads_of_word = layer.tokens, columns // size
        room = SoftmaxParams(self.chip).table.rows // tokens**2 // heads_of_word
        if not room:
            raise ArchsimError(
                f"layer '{layer.name}': the table of a word of {heads_of_word} heads needs {heads_of_word * tokens**2} rows, but "
                f"that of chip '{self.chip.name}' has {SoftmaxParams(self.chip).table.rows}; use a chip of more softmax_tokens"
            )
        together = max(1, room // words)  # classes whose entries of all heads have room
        for first in range(0, max(layer.classes) + 1, together):
            classes = range(first, min(first + together, max(layer.classes) + 1))
            for word in range(0, words, room):
                chosen = range(word, min(word + room, words))
                heads = range(word * heads_of_word, min(chosen.stop * heads_of_word, layer.heads))
                table = layer.table[heads.start : heads.stop, classes.start : classes.stop]
                self.context.load(dma.TABLE, 0, 0, 0, np.ascontiguousarray(table.reshape(-1, 2)))
                for window, kind in enumerate(layer.classes):
                    if kind in classes:
                        for head in heads:
                            entry = (head - heads.start) * len(classes) + kind - classes.start
                            place = Held(BANKS[Q], window * tokens, words, head * size // columns, self.out_bank)
                            emit_window(self.context, layer, window, head, place, entry * tokens**2)
                        self._deliver(layer, window, chosen)

    def _bring(
        self, layer: IntWindowAttention, kind: int | None, tile: Tile, sources: list[tuple[int, dict[str, int]]]
    ) -> None:
        words, place = -(-layer.shape.channels // self.chip.columns), np.argsort(layer.order)
        head_size(self.context, layer, layer.shape.positions, words)
        masks = kind is not None and layer.keep < masker.KEEP_ALL
        for word, source in sources:
            # A sequence of masks belongs to a position, so it does not depend on tiles.
            for first, last in runs(place, tile.first, tile.end, 1 if masks else tile.end):
                target = {
                    "cores": 0, "bank": BANKS[kind], "base": int(place[first]) * self.slices * words + word,
                    "base_outer": self.slices * words, "base_inner": words, "outer": last - first, "inner": self.slices,
                    "source_base": source["source_base"] + (first - tile.first) * source["source_outer"],
                }  # fmt: skip
                opcode = sequencer.COPY
                if masks:
                    assert kind is not None
                    opcode = sequencer.MASK
                    target |= {"seed": layer.seed(kind, first * words + word), "keep": layer.keep}
                self.context.emitter.emit(
                    [sequencer.MULTICAST], opcode, source | target, [{"layer": self.context.layer}]
                )

    def _deliver(self, layer: IntWindowAttention, window: int, chosen: range) -> None:
        """Copy some words of a window's tokens to where they belong."""
        words, first = -(-layer.shape.channels // self.chip.columns), window * layer.tokens
        for word in chosen:
            for begin, end in runs(layer.order, first, first + layer.tokens, layer.tokens):
                source = {
                    "source": sequencer.ATTENTION, "source_bank": self.out_bank,
                    "source_base": (begin - first) * self.slices * words + word, "source_outer": self.slices * words,
                    "source_inner": words,
                }  # fmt: skip
                position = int(layer.order[begin])
                self.context.copy_to_cores(layer.spikes, position, position + end - begin, word, source)
        self.out_bank ^= 1


def head_size(context: Context, layer: IntWindowAttention, tokens: int, words: int) -> int:
    """Channels of a head; raises ArchsimError for what the chip's attention unit cannot do.

    ``tokens``, ``words``: that its banks must hold.
    """
    chip, size = context.chip, layer.shape.channels // layer.heads
    reasons = {
        f"a softmax over {layer.tokens} tokens; use a chip of as many softmax_tokens": layer.tokens > chip.softmax_tokens,
        "a masker; use a chip with one, or mask nothing": layer.keep < masker.KEEP_ALL and not chip.masker,
        f"heads of {size} channels in whole blocks of {chip.neurons} within words of {chip.columns}; use a chip of such words":
        bool(size % chip.neurons or chip.columns % size),
        f"more tokens than the {layer.tokens} of a window": layer.tokens < attention_softmax.SCORE_DISTANCE,
    }  # fmt: skip
    for needed, missing in reasons.items():
        if missing:
            raise ArchsimError(f"layer '{layer.name}': needs {needed}, given chip '{chip.name}'")
    require(tokens * chip.slices(context.network.timesteps) * words, chip.attention_rows, layer.name, "attention", chip)
    return size


def emit_window(context: Context, layer: IntWindowAttention, window: int, head: int, held: Held, table_base: int) -> None:
    """ATTEND_SOFTMAX of one head of one window, whose entries begin in row ``table_base`` of the table."""
    chip, size, steps = context.chip, layer.shape.channels // layer.heads, context.network.timesteps
    rows, first = chip.slices(steps) * held.words, window * layer.tokens
    word, channel = divmod(head * size, chip.columns)
    base = held.first * rows
    fields = {
        "q_bank": held.q_bank, "q_base": base, "k_base": base, "v_base": base, "tokens": layer.tokens,
        "tile": layer.tokens, "steps": steps, "lanes": chip.lanes_used(steps), "token_rows": rows, "map_words": held.words,
        "first_word": held.word, "words": 1, "head_words": 1, "segment": size, "count_base": 0, "count_step": 0,
        "neuron": neuron.IF_HALF, "threshold": layer.threshold, "shift": 0, "blocks": size // chip.neurons,
        "out_bank": held.out_bank, "out_base": 0, "out_token_rows": rows, "out_words": held.words, "popcount": 0,
        "channel": channel, "score_threshold": layer.score_threshold, "score_shift": layer.score_shift,
        "seed": layer.seed(SCORES, window * layer.heads + head), "keep": layer.keep, "fraction": FRACTION,
        "table_base": table_base,
    }  # fmt: skip
    note = {
        "layer": context.layer, "tensor": layer.by_window, "position": first, "positions": layer.tokens, "word": word,
        "words": 1, "recording": layer.name, "input_position": first,
    }  # fmt: skip
    context.emitter.emit([sequencer.ATTENTION], sequencer.ATTEND_SOFTMAX, fields, [note])


def runs(places: np.ndarray, first: int, end: int, longest: int) -> Iterator[tuple[int, int]]:
    """Ranges (first, end) of at most ``longest`` tokens in one order that lie one behind the other in another, too."""
    begin = first
    for token in range(first + 1, end + 1):
        if token == end or places[token] != places[token - 1] + 1 or token - begin == longest:
            yield begin, token
            begin = token
