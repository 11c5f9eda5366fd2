"""Attention within windows whose maps lie in DRAM: window by window and word by word, pieces of q, k and v pass through the cores.

A window of a map that is shifted cyclically is up to four rectangles of the map. Pieces of them are loaded to the cores in turn. A
SYNAPSE with unit weights (``mapping.relay``) brings each to an output bank, from where COPY or MASK takes it to the places of its
tokens in the attention unit. The result goes back the same way, one window late, so that the loads of the next come before it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from archsim.contracts import dma, masker, sequencer
from archsim.contracts.attention_softmax import SoftmaxParams
from mapping.place import require
from mapping.tile import Tile, identity_layer, rectangle
from mapping.window_attention import IntWindowAttention, K, Q
from mapping.windows import BANKS, Held, emit_window, head_size

if TYPE_CHECKING:
    from mapping.stream_schedule import StreamScheduler


@dataclass(frozen=True)
class Part:
    """A rectangle of a map that is a part of a window: its first token there, and (y, x, height, width) in the map."""

    token: int
    y: int
    x: int
    height: int
    width: int


class StreamedWindows:
    """Emits such layers with the help of the scheduler that it belongs to.

    Attributes:
        turn: pieces so far, which the cores take in turn.
        q_bank, out_bank: of the attention unit, that the next window takes.
        tables: first row in the attention unit's table of the entries of (layer, head, class), those used last at the end.
        addresses: of those in DRAM.
    """

    def __init__(self, scheduler: "StreamScheduler") -> None:
        self.scheduler, self.context, self.chip = scheduler, scheduler.context, scheduler.chip
        self.slices = self.chip.slices(self.context.network.timesteps)
        self.turn = self.q_bank = self.out_bank = 0
        self.tables: dict[tuple[str, int, int], int] = {}
        self.addresses: dict[tuple[str, int, int], int] = {}

    def require_room(self, layer: IntWindowAttention) -> int:
        """Positions of a piece at most; raises ArchsimError unless the attention unit can do the layer and one has room."""
        chip = self.chip
        head_size(self.context, layer, layer.tokens, 1)
        for memory, there in (("spike_in", chip.spike_in_rows), ("spike_out", chip.spike_out_rows)):
            require(self.slices, there, layer.name, memory, chip)
        return min(chip.spike_in_rows, chip.spike_out_rows) // self.slices

    def attend(self, layer: IntWindowAttention) -> None:
        """All words of all windows; q, k and v lie in DRAM, and so will the result."""
        scheduler, columns = self.scheduler, self.chip.columns
        room, heads_of_word = self.require_room(layer), columns // (layer.shape.channels // layer.heads)
        scheduler.streams.add(layer.spikes)
        scheduler.flush()
        scheduler.unit_weights()
        late: tuple[int, int, int] | None = None
        windows = sorted(range(len(layer.classes)), key=lambda window: layer.classes[window])  # their tables follow each other
        for word, window in product(range(-(-layer.shape.channels // columns)), windows):
            parts = list(pieces(layer, window, room))
            for name, kind, bank in ((layer.q, Q, self.q_bank), (layer.k, K, BANKS[K]), (layer.v, None, BANKS[None])):
                for part in parts:
                    self._bring(layer, name, kind, bank, part, word)
            held = Held(self.q_bank, 0, 1, 0, self.out_bank)
            for head in range(word * heads_of_word, min((word + 1) * heads_of_word, layer.heads)):
                emit_window(self.context, layer, window, head, held, self._table(layer, head, layer.classes[window]))
            if late:
                self._deliver(layer, *late, room)
            late = window, word, self.out_bank
            self.q_bank, self.out_bank = self.q_bank ^ 1, self.out_bank ^ 1
        if late:
            self._deliver(layer, *late, room)

    def _core(self) -> int:
        """The core of the next piece."""
        self.turn += 1
        return (self.turn - 1) % self.chip.cores

    def _table(self, layer: IntWindowAttention, head: int, kind: int) -> int:
        """First row of the entries of a head and class; loaded in the place of those not used for longest unless they are there."""
        rows, key = layer.tokens**2, (layer.name, head, kind)
        if key not in self.tables:
            entries = np.ascontiguousarray(layer.table[head, kind])
            if self.tables and next(iter(self.tables))[0] != layer.name:
                self.tables.clear()  # of another layer, whose windows may have another size
            count = SoftmaxParams(self.chip).table.rows // rows
            base = len(self.tables) * rows if len(self.tables) < count else self.tables.pop(next(iter(self.tables)))
            if key not in self.addresses:
                self.addresses[key] = self.context.dram.add(entries)
            self.context.load(dma.TABLE, 0, 0, base, entries, self.addresses[key])
            self.tables[key] = base
        self.tables[key] = self.tables.pop(key)
        return self.tables[key]

    def _bring(self, layer: IntWindowAttention, name: str, kind: int | None, bank: int, part: Part, word: int) -> None:
        """One word of a piece of q, k or v to a bank of the attention unit."""
        core, window = self._core(), (part.y, part.x, part.height, part.width)
        piece = self.scheduler.streams.fetch(name, core, window, (word, word + 1), column=False)
        tile = self._tile(name, core, part)
        unit = identity_layer(self.chip, name, layer.shape)
        source = self._source(sequencer.CORE0 + core, self.scheduler.relay.pass_on(unit, core, tile, piece, word))
        words, masks = -(-layer.shape.channels // self.chip.columns), kind is not None and layer.keep < masker.KEEP_ALL
        for first, count, row in self._runs(layer, part, 1 if masks else part.height * part.width):
            target = {
                "cores": 0, "bank": bank, "base": first * self.slices, "base_outer": self.slices, "base_inner": 1, "outer": count,
                "inner": self.slices, "source_base": row * self.slices,
            }  # fmt: skip
            opcode = sequencer.COPY
            if masks:
                assert kind is not None
                y, x = divmod(row, part.width)
                position = (part.y + y) * layer.shape.width + part.x + x
                opcode, target = sequencer.MASK, target | {"seed": layer.seed(kind, position * words + word), "keep": layer.keep}
            self._multicast(opcode, source | target)

    def _deliver(self, layer: IntWindowAttention, window: int, word: int, out_bank: int, room: int) -> None:
        """One word of the result of a window to DRAM."""
        streams = self.scheduler.streams
        for part in pieces(layer, window, room):
            core = self._core()
            place = part.y, part.x, part.height, part.width
            bank = streams.last[core] = streams.last[core] ^ 1
            piece = streams.place(layer.by_window, core, bank, place, (word, word + 1), self.slices)
            for first, count, row in self._runs(layer, part, part.height * part.width):
                target = {
                    "cores": 1 << core, "bank": piece.region.bank, "base": row * self.slices, "base_outer": self.slices,
                    "base_inner": 1, "outer": count, "inner": self.slices, "source_base": first * self.slices,
                }  # fmt: skip
                self._multicast(sequencer.COPY, self._source(sequencer.ATTENTION, out_bank) | target)
            unit = identity_layer(self.chip, layer.spikes, layer.shape)
            tile = self._tile(layer.spikes, core, part)
            passed = self.scheduler.relay.pass_on(unit, core, tile, piece, word)
            streams.store(layer.spikes, core, tile, word, passed)

    def _tile(self, name: str, core: int, part: Part) -> Tile:
        unit = identity_layer(self.chip, name, self.context.network.maps[name])
        return rectangle(unit, core, part.y, part.x, part.height, part.width)

    def _source(self, engine: int, bank: int) -> dict[str, int]:
        return {
            "source": engine, "source_bank": bank, "source_base": 0, "source_outer": self.slices, "source_inner": 1,
        }  # fmt: skip

    def _multicast(self, opcode: int, fields: dict[str, int]) -> None:
        self.context.emitter.emit([sequencer.MULTICAST], opcode, fields, [{"layer": self.context.layer}])

    def _runs(self, layer: IntWindowAttention, part: Part, longest: int) -> Iterator[tuple[int, int, int]]:
        """Tokens of a piece that lie one behind the other: first token of the window, number, and first position of the piece."""
        whole = part.width == layer.window
        length = part.height * part.width if whole else part.width
        for row in range(1 if whole else part.height):
            for first in range(0, length, longest):
                yield part.token + row * layer.window + first, min(longest, length - first), row * part.width + first


def pieces(layer: IntWindowAttention, window: int, room: int) -> Iterator[Part]:
    """The rectangles of a map that a window is made of, in pieces of at most ``room`` positions: rows, or parts of a row."""
    down, across = divmod(window, layer.shape.width // layer.window)
    rows = spans(down * layer.window + layer.shift, layer.window, layer.shape.height)
    columns = spans(across * layer.window + layer.shift, layer.window, layer.shape.width)
    for (top, y, height), (left, x, width) in product(rows, columns):
        high, wide = max(1, room // width), min(width, room)
        for i, j in product(range(0, height, high), range(0, width, wide)):
            size = min(high, height - i), min(wide, width - j)
            yield Part((top + i) * layer.window + left + j, y + i, x + j, *size)


def spans(first: int, count: int, size: int) -> list[tuple[int, int, int]]:
    """``count`` places from ``first`` on of a cyclic axis of ``size`` as ranges: (number of the first, its place, how many)."""
    first %= size
    head = min(count, size - first)
    return [(0, first, head), *([(head, 0, count - head)] if head < count else [])]
