"""Schedule of experts: the router's choices, tokens to the experts, both layers of each, and results to the stream.

Every slot of an expert is computed, whether a token came or not: how many come is known to the chip alone. What lies in an unused
slot is left from before; nobody collects what follows from it. Rows of results that a dropped choice would have brought are 0:
they are cleared before, unless no choice can be dropped.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from archsim.contracts import dma, sequencer
from archsim.contracts.normaliser import TABLE_BANK
from mapping.data import param_rows, weight_rows
from mapping.expert_steps import ExpertSteps
from mapping.experts import IntExperts, IntGate
from mapping.partition import Chunk, chunks, tiles, words
from mapping.place import Region, require
from mapping.quantise import IntSynapse
from mapping.slots import Routes, Slots
from mapping.stream_slots import StreamedRoutes
from mapping.tile import SUMS_ONLY, Piece, Tile, output_tile, source_fields, synapse_fields, whole_map
from mapping.weigh import Weigh

if TYPE_CHECKING:
    from mapping.schedule import Scheduler

TOKEN_BANK = 0
"""Output bank in which tokens wait for DISPATCH."""

CLEARED = 1024
"""Positions that one instruction clears at most."""


class ExpertsScheduler:
    """Emits what a layer of experts has beside the layers of the stream."""

    def __init__(self, scheduler: "Scheduler") -> None:
        self.scheduler, self.context = scheduler, scheduler.context
        self.chip, self.network = scheduler.chip, scheduler.network

    def out_fields(self, layer: IntSynapse, group: int, tile: Tile) -> dict[str, int]:
        """Output fields of a layer whose spikes are tokens: all of a core's, the rows of each side by side; else none."""
        routes = next((x for x in self.context.routes.values() if x.layer.source == layer.spikes), None)
        if routes is None:
            return {}
        count, position = words(self.chip, layer), routes.tokens.rows
        base = (tile.first - tile.range_first) * position + group
        return {"out_bank": TOKEN_BANK, "out_base": base, "out_position": position, "out_slice": count}

    def score_fields(self, layer: IntGate, group: int, tile: Tile) -> dict[str, int]:
        """Fields of a gate: the first time step alone, and where its scores go."""
        routes = next(x for x in self.context.routes.values() if x.layer.source == layer.source)
        return self._scores(routes.score_base, routes.score_rows, group, tile)

    def _scores(self, score_base: int, score_rows: int, group: int, tile: Tile) -> dict[str, int]:
        base = score_base + (tile.first - tile.range_first) * score_rows + group * self.chip.blocks
        return {
            "slices": 1, "steps": 1, "residual_in": 0, "residual_out": 1, "residual_in_base": 0, "residual_out_base": base,
            "residual_position": score_rows, "residual_step": 0,
        }  # fmt: skip

    def experts(self, layer: IntExperts) -> None:
        """All of a layer but its gate."""
        routes = self.context.routes[layer.name]
        self._choose(routes)
        self._route(routes, sequencer.DISPATCH, self.context.regions[routes.tokens_region].base, 0)
        if layer.joins:
            self._send_stream(routes)
        for region in range(routes.regions):
            chosen = [expert for expert, number in enumerate(routes.region) if number == region]
            for part in range(2):
                self._layer(routes, chosen, part)
        if layer.drops:
            self._clear(routes)
        self._route(routes, sequencer.COLLECT, routes.result_base, routes.longest * routes.results.rows)
        if layer.weigh:
            self._table(layer.weigh)
            for core, (start, stop) in enumerate(routes.homes.ranges):
                self._weigh(routes, core, routes.score_base, stop - start, routes.results.rows)
        self._join(routes)

    def _emit(self, engine: int, opcode: int, fields: dict[str, int]) -> None:
        self.context.emitter.emit([engine], opcode, fields, [{"layer": self.context.layer}])

    def _choose(self, routes: Routes) -> None:
        """TOPK of every home core, in the order of the tokens."""
        layer, blocks = routes.layer, -(-len(routes.place) // self.chip.neurons)
        for core, (first, end) in enumerate(routes.homes.ranges):
            fields = {
                "core": core, "psum": 0, "score_base": routes.score_base, "score_token": routes.score_rows, "blocks": blocks,
                "tokens": end - first, "experts": len(routes.place), "choices": layer.choices, "capacity": layer.capacity,
                "first": int(core == 0), "entry": 0,
            }  # fmt: skip
            self._emit(sequencer.EXPERTS, sequencer.TOPK, fields)

    def _route(self, routes: Routes, opcode: int, expert_base: int, home_choice: int) -> None:
        """DISPATCH of the tokens, or COLLECT of the results, whose choices lie ``home_choice`` rows apart."""
        collects = opcode == sequencer.COLLECT
        self._packets(routes, opcode, routes.results if collects else routes.tokens, {
            "cores": routes.homes.leaders, "entry": 0, "expert_base": expert_base, "home_choice": home_choice,
            "bank": self.context.regions[routes.tokens_region].bank,
        })  # fmt: skip

    def _packets(
        self, routes: Routes | StreamedRoutes, opcode: int, slots: Slots, places: Mapping[str, int]
    ) -> None:
        """DISPATCH or COLLECT; ``places``: the fields that say of which tokens, from where and where to."""
        packed = {
            name: sum(number << 4 * expert for expert, number in enumerate(getattr(routes, name)))
            for name in ("place", "region")
        }
        self._emit(sequencer.EXPERTS, opcode, packed | slots.fields() | {
            "experts": len(routes.place), "home_base": 0, "home_token": slots.rows, "source_bank": TOKEN_BANK,
            "membranes": int(opcode == sequencer.COLLECT), **places,
        })  # fmt: skip

    def _send_stream(self, routes: Routes) -> None:
        """DISPATCH of the tokens' membranes, word by word as the stream lies at home, to the rows that results take after them."""
        layer, rows = routes.layer, self.network.timesteps * self.chip.blocks
        home = self.context.stream_base(layer, layer.stream)
        for word in range(words(self.chip, layer)):
            self._packets(routes, sequencer.DISPATCH, routes.results, {
                "cores": routes.homes.leaders, "entry": 0, "home_base": home + word * routes.longest * rows, "home_token": rows,
                "home_choice": 0, "rows": rows, "expert_base": routes.result_base + word * rows, "bank": 0, "membranes": 1,
            })  # fmt: skip

    def _layer(self, routes: Routes, chosen: list[int], part: int) -> None:
        """Layer ``part`` of some experts, of which no two are on one core."""
        context, chip = self.context, self.chip
        layers = {expert: routes.layer.experts[expert][part] for expert in chosen}
        for word in range(max(words(chip, layer) for layer in layers.values())):
            work = {
                expert: list(self._passes(layer, self._runs(routes, expert)))
                for expert, layer in layers.items() if word < words(chip, layer)
            }  # fmt: skip
            for number in range(max(map(len, work.values()))):
                context.weight_bank ^= 1
                # The parameters of the stream's layers lie in bank 0, or each layer loads its own.
                resident = (routes.layer.name, 0) in self.scheduler.loads.param_base
                context.param_bank = 1 if resident else context.param_bank ^ 1
                for expert, steps in work.items():
                    if number < len(steps):
                        chunk, index, last, pieces = steps[number]
                        self._load(layers[expert], routes.place[expert], word, chunk, last)
                        for tile in pieces:
                            self._tile(routes, expert, part, word, tile, (chunk, index, last))

    def _runs(self, routes: Routes, expert: int) -> ExpertSteps:
        return ExpertSteps(self.chip, self.network.timesteps, routes.layer.steps[expert])

    def _passes(self, layer: IntSynapse, runs: ExpertSteps) -> Iterator[tuple[Chunk, int, bool, list[Tile]]]:
        """Chunks of a layer's inputs with their number, whether it is the last, and the tiles: as many as the partial sums hold."""
        chip, slots = self.chip, layer.shape.positions
        parts, rows = chunks(chip, layer, self.context.chunk_rows), self.network.timesteps * chip.blocks
        room, limit = slots, min(slots, self.context.limits.positions or slots)
        if len(parts) > 1:
            require(rows, chip.psum_rows, layer.name, "psum", chip)
            room = chip.psum_rows // rows
        if layer.spikes:
            require(runs.hidden_rows, chip.spike_out_rows, layer.name, "spike_out", chip)
            limit = min(limit, chip.spike_out_rows // runs.hidden_rows)
        for first, end in tiles(0, slots, 1, room, False):
            pieces = [output_tile(layer, 0, a, b, first) for a, b in tiles(first, end, 1, limit, False)]
            for index, chunk in enumerate(parts):
                yield chunk, index, index == len(parts) - 1, pieces

    def _load(self, layer: IntSynapse, core: int, word: int, chunk: Chunk, last: bool) -> None:
        """Weights of a chunk for one core, and parameters with the last."""
        context = self.context
        context.load(dma.WEIGHT, 1 << core, context.weight_bank, 0, weight_rows(self.chip, layer, word, chunk))
        if last:
            require(self.chip.blocks, self.chip.param_rows, layer.name, "param", self.chip)
            context.load(dma.PARAM, 1 << core, context.param_bank, 0, param_rows(self.chip, layer, word))

    def _tile(
        self, routes: Routes, expert: int, part: int, word: int, tile: Tile, step: tuple[Chunk, int, bool]
    ) -> None:
        """One SYNAPSE of an expert; the first layer's spikes go back to its core."""
        context, chip, (chunk, index, last) = self.context, self.chip, step
        pair, core, runs = routes.layer.experts[expert], routes.place[expert], self._runs(routes, expert)
        layer, bank = pair[part], context.out_bank[core]
        between = context.regions[routes.hidden_region]
        between = Region(between.bank, between.base, between.positions, runs.hidden_rows, words(chip, pair[0]))
        fields = self._source(routes, expert, layer, tile, chunk) if part == 0 else synapse_fields(
            chip, self.network, layer, tile, chunk, whole_map(layer, between, pair[0].shape)
        )  # fmt: skip
        steps = self.network.timesteps * chip.blocks
        base = routes.result_base + (routes.region[expert] << routes.results.region_shift) + word * steps
        first, joins = base + tile.first * routes.results.distance, int(part == 0 and bool(layer.stream))
        fields |= {
            "gang": 1 << core, "weight_bank": context.weight_bank, "param_bank": context.param_bank, "param_base": 0,
            "columns": min(chip.columns, layer.shape.channels - word * chip.columns), "out_bank": bank,
            "psum_base": (tile.first - tile.range_first) * steps, "psum_in": int(index > 0), "psum_out": int(not last),
            "residual_in": joins, "residual_out": part, "residual_in_base": joins * first,
            "residual_out_base": first, "residual_position": routes.results.distance,
            "residual_step": chip.blocks, "reduce_base": 0,
        } | ({} if last else SUMS_ONLY) | ({} if part else runs.first())  # fmt: skip
        note = {
            "layer": context.layer, "tensor": layer.spikes if last else None, "position": tile.first, "word": word,
            "positions": tile.end - tile.first, "words": 1, "core": core, "computed": True,
        }  # fmt: skip
        for one in runs.second(fields) if part else [fields]:
            context.emitter.emit([sequencer.CORE0 + core], sequencer.SYNAPSE, one, [note])
        if last and layer.spikes:
            context.out_bank[core] ^= 1
            context.copy(between, 1 << core, tile.first, tile.end, word, source_fields(core, fields))

    def _source(self, routes: Routes, expert: int, layer: IntSynapse, tile: Tile, chunk: Chunk) -> dict[str, int]:
        """Fields of an expert's first layer, which reads the tokens in their slots."""
        region, slots = self.context.regions[routes.tokens_region], routes.tokens
        count = words(self.chip, routes.layer)
        base = region.base + (routes.region[expert] << slots.region_shift)
        piece = Piece(Region(region.bank, base, slots.capacity, slots.rows // count, count), 0, 0, slots.capacity, 1)
        origin = base + tile.first * slots.distance + chunk.channel_first // self.chip.columns
        fields = synapse_fields(self.chip, self.network, layer, tile, chunk, piece)
        return fields | {"y_stride": slots.distance, "in_origin": origin}

    def _empty(self, layer: IntExperts, tile: Tile) -> dict[str, int]:
        """Fields of a SYNAPSE that adds no weight: its windows lie wholly on padding, to the right of the map."""
        piece = whole_map(layer, self.context.regions[layer.source], layer.shape)
        fields = synapse_fields(self.chip, self.network, layer, tile, Chunk(0, 1, 0, 1), piece)
        resident = (layer.name, 0) in self.scheduler.loads.param_base
        return fields | {
            "in_x": piece.width, "in_origin": 0, "x_stride": 0, "y_stride": 0, "weight_bank": self.context.weight_bank,
            "param_bank": 0 if resident else self.context.param_bank,
        }  # fmt: skip

    def _table(self, weigh: Weigh) -> None:
        """LOAD a layer's table of exponentials."""
        self.context.load(dma.TABLE, 0, TABLE_BANK, 0, weigh.rows(self.chip))

    def _weigh(self, routes: Routes | StreamedRoutes, core: int, score_base: int, tokens: int, rows: int) -> None:
        """WEIGH the results of some tokens of a core, the first ones of its partial sums, by their scores."""
        assert routes.layer.weigh  # else nobody asks for it
        self._emit(sequencer.NORMALISER, sequencer.WEIGH, routes.layer.weigh.fields() | {
            "core": core, "score_base": score_base, "score_token": routes.score_rows, "tokens": tokens,
            "blocks": -(-len(routes.place) // self.chip.neurons), "experts": len(routes.place), "base": 0, "token_rows": rows,
            "rows": rows,
        })  # fmt: skip

    def _clear(self, routes: Routes) -> None:
        """Zeros where results arrive, in every home core."""
        layer = routes.layer
        count = layer.choices * routes.longest * words(self.chip, layer)
        self._clear_rows(layer, range(len(routes.homes.ranges)), count)

    def _clear_rows(self, layer: IntExperts, cores: Sequence[int], count: int) -> None:
        """Zeros as the first ``count`` words of partial sums: sums over nothing."""
        rows = self.network.timesteps * self.chip.blocks
        for first, end in tiles(0, count, 1, CLEARED, False):
            fields = self._empty(layer, Tile(0, 0, end - first, 0, 0, 0, end - first, 1, 0, 0)) | SUMS_ONLY | {
                "in_height": 1, "columns": 0, "psum_in": 0, "psum_out": 1, "psum_base": first * rows, "psum_position": rows,
                "psum_step": self.chip.blocks, "blocks": self.chip.blocks,
            }  # fmt: skip
            for core in cores:
                self._emit(sequencer.CORE0 + core, sequencer.SYNAPSE, fields | {"gang": 1 << core})

    def _join(self, routes: Routes) -> None:
        """Add the results to the stream, choice by choice; the neurons fire behind the last."""
        context, chip, layer, scheduler = self.context, self.chip, routes.layer, self.scheduler
        limit, rows, steps = scheduler.tile_limit(layer), routes.results.rows, self.network.timesteps * chip.blocks
        for word in range(words(chip, layer)):
            if (layer.name, 0) not in scheduler.loads.param_base:
                require(chip.blocks, chip.param_rows, layer.name, "param", chip)
                context.param_bank ^= 1
                context.load(dma.PARAM, routes.homes.leaders, context.param_bank, 0, param_rows(chip, layer, word))
            for core, (start, stop) in enumerate(routes.homes.ranges):
                for first, end in tiles(start, stop, 1, limit, False):
                    tile = output_tile(layer, core, first, end, start)
                    for choice in range(layer.choices):
                        last = choice == layer.choices - 1
                        base = (choice * routes.longest + first - start) * rows + word * steps
                        fields = self._empty(layer, tile) | {
                            "psum_in": 1, "psum_out": 0, "psum_base": base, "psum_position": rows, "psum_step": chip.blocks,
                        } | ({} if last else SUMS_ONLY) | scheduler.residual(layer, word, tile)  # fmt: skip
                        scheduler.issue(layer, word, tile, fields, last)
