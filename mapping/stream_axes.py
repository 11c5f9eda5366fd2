"""Layers over the height or the width of a map that lies in DRAM: tile by tile the map is turned, mixed, and turned back.

A tile is the whole axis at some places of the other one, and a channel word. Its spikes are loaded; a SYNAPSE with unit weights
brings them to an output bank, from where TRANSPOSE writes them turned into the core's other input bank. There the layer reads
them; its own spikes are turned back the same way, into the bank that was loaded, and a second such SYNAPSE brings them to where
STORE takes them. So neither turned map lies in DRAM, and no tile needs another.
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from archsim.contracts import sequencer
from archsim.contracts.common.errors import ArchsimError
from mapping.integer_nodes import IntTranspose
from mapping.ir import Map
from mapping.partition import chunks, words
from mapping.place import require
from mapping.quantise import IntSynapse
from mapping.tile import Piece, Tile, identity_layer, rectangle
from mapping.transpose import blocks
from mapping.turned import Mixed

if TYPE_CHECKING:
    from mapping.stream_schedule import StreamScheduler


@dataclass(frozen=True)
class Job:
    """A tile, on one core: ``first .. end - 1`` of the axis that stays, of one channel word of ``channels``."""

    core: int
    first: int
    end: int
    word: int
    channels: int


class AxisLayers:
    """Emits such layers with the help of the scheduler that it belongs to."""

    def __init__(self, scheduler: "StreamScheduler") -> None:
        self.scheduler, self.context, self.chip = scheduler, scheduler.context, scheduler.chip
        self.slices = self.chip.slices(self.context.network.timesteps)

    def places(self, mix: Mixed) -> int:
        """Places of the axis that stays of which a tile has room; raises ArchsimError when not even one has."""
        chip, layer = self.chip, mix.layer
        shape, length = self.context.network.maps[mix.there.source], layer.weight.shape[1]
        if len(chunks(chip, layer, self.context.chunk_rows)) > 1:
            raise ArchsimError(
                f"layer '{layer.name}': the weights of {length} places of an axis need more than the {self.context.chunk_rows} "
                f"rows of a weight bank that are loaded at once; use a chip with larger weight banks than '{chip.name}'"
            )
        channels = min(chip.columns, shape.channels)
        turned = channels * self.slices  # rows of a word of the turned tile
        needed = {
            "spike_in": (max(length * self.slices, turned * -(-length // chip.columns)), chip.spike_in_rows),
            "spike_out": (max(length * self.slices, turned), chip.spike_out_rows),
        }  # fmt: skip
        for memory, (rows, there) in needed.items():
            require(rows, there, layer.name, memory, chip)
        return min(int(there // rows) for rows, there in needed.values())

    def mix(self, mix: Mixed) -> None:
        """All tiles, one on each core at a time; the map that is turned back goes to DRAM."""
        scheduler, streams = self.scheduler, self.scheduler.streams
        if mix.there.source not in streams.maps:
            raise ArchsimError(f"layer '{mix.layer.name}': map '{mix.there.source}' must lie in DRAM to be turned, but does not")
        streams.add(mix.back.name)
        scheduler.unit_weights()
        for jobs in self._rounds(mix):
            scheduler.flush_of((mix.there.source,))
            pieces = {job.core: self._load(mix, job) for job in jobs}
            scheduler.flush()
            turned = {job.core: self._turn(mix, job, pieces[job.core]) for job in jobs}
            back = {job.core: self._place_back(mix, job, pieces[job.core]) for job in jobs}
            for word in range(words(self.chip, mix.layer)):
                self._weights(mix.layer, word)
                for job in jobs:
                    self._mix(mix, job, turned[job.core], back[job.core], word)
            for job in jobs:
                tile = self._rectangle(mix, job)
                bank = self._pass_on(mix.back.name, job, tile, back[job.core])
                scheduler.stores.append((mix.back.name, partial(streams.store, mix.back.name, job.core, tile, job.word, bank)))

    def _rounds(self, mix: Mixed) -> list[list[Job]]:
        """Tiles of even size, as many at a time as there are cores."""
        shape, columns = self.context.network.maps[mix.there.source], self.chip.columns
        length = (shape.width, shape.height)[mix.axis]
        count = -(-length // self.places(mix))
        edges = [length * part // count for part in range(count + 1)]
        tiles = [
            (first, end, word, min(columns, shape.channels - word * columns))
            for first, end in zip(edges[:-1], edges[1:], strict=True) for word in range(-(-shape.channels // columns))
        ]  # fmt: skip
        cores = self.chip.cores
        return [
            [Job(core, *tile) for core, tile in enumerate(tiles[number : number + cores])]
            for number in range(0, len(tiles), cores)
        ]

    def _window(self, mix: Mixed, job: Job) -> tuple[int, int, int, int]:
        """Rectangle (y, x, height, width) of the map that a tile is."""
        shape, count = self.context.network.maps[mix.there.source], job.end - job.first
        return (0, job.first, shape.height, count) if mix.axis == 0 else (job.first, 0, count, shape.width)

    def _rectangle(self, mix: Mixed, job: Job) -> Tile:
        unit = identity_layer(self.chip, mix.back.name, self.context.network.maps[mix.back.name])
        return rectangle(unit, job.core, *self._window(mix, job))

    def _load(self, mix: Mixed, job: Job) -> Piece:
        return self.scheduler.streams.fetch(
            mix.there.source, job.core, self._window(mix, job), (job.word, job.word + 1), column=False
        )

    def _turn(self, mix: Mixed, job: Job, piece: Piece) -> Piece:
        """Turn a piece of the map into the other input bank."""
        count, length = job.end - job.first, mix.layer.weight.shape[1]
        bank = self._pass_on(mix.there.source, job, self._rectangle(mix, job), piece)
        window = job.first, job.word * self.chip.columns, count, job.channels
        spread = 0, -(-length // self.chip.columns)
        turned = self.scheduler.streams.place(mix.there.name, job.core, piece.region.bank ^ 1, window, spread, self.slices)
        shapes = Map(piece.height, piece.width, job.channels), Map(count, job.channels, length)
        self._transpose(mix.there, job, shapes, turned, bank, 0)
        return turned

    def _place_back(self, mix: Mixed, job: Job, piece: Piece) -> Piece:
        """Room for the piece that is turned back: where the one was that was loaded, of the same shape."""
        window = piece.y, piece.x, piece.height, piece.width
        return self.scheduler.streams.place(
            mix.back.name, job.core, piece.region.bank, window, (job.word, job.word + 1), self.slices
        )

    def _weights(self, layer: IntSynapse, word: int) -> None:
        """Load a word of the layer's weights unless it is there, beside the unit weights."""
        if self.scheduler.loaded != (layer.name, word, 0, 0):
            self.context.weight_bank = self.scheduler.relay.bank
            self.scheduler.weights(layer, word, 0, True)

    def _mix(self, mix: Mixed, job: Job, turned: Piece, back: Piece, word: int) -> None:
        """One word of the layer on a turned tile, and that word turned back."""
        context, layer = self.context, mix.layer
        tile = rectangle(layer, job.core, turned.y, turned.x, turned.height, turned.width)
        bank = context.out_bank[job.core]
        self.scheduler.emit_tile(layer, job.core, tile, word, (0, 1), chunks(self.chip, layer, context.chunk_rows)[0], turned)
        context.out_bank[job.core] ^= 1
        shapes = Map(turned.height, turned.width, len(layer.weight)), Map(back.height, back.width, job.channels)
        self._transpose(mix.back, job, shapes, back, bank, word)

    def _transpose(
        self, layer: IntTranspose, job: Job, shapes: tuple[Map, Map], target: Piece, bank: int, word: int
    ) -> None:
        """TRANSPOSE one word of a tile from an output bank of its core to an input bank."""
        source = {
            "source": sequencer.CORE0 + job.core, "source_bank": bank, "source_base": 0, "source_outer": self.slices,
            "source_inner": 1,
        }  # fmt: skip
        for fields in blocks(self.chip, layer, shapes, target.region, (0, shapes[0].positions), word, source):
            fields["cores"] = 1 << job.core
            self.context.emitter.emit(
                [sequencer.MULTICAST], sequencer.TRANSPOSE, source | fields, [{"layer": self.context.layer}]
            )

    def _pass_on(self, name: str, job: Job, tile: Tile, piece: Piece) -> int:
        """Pass a piece of a map on to an output bank of its core; returns the bank."""
        unit = identity_layer(self.chip, name, self.context.network.maps[name])
        return self.scheduler.relay.pass_on(unit, job.core, tile, piece, job.word)
