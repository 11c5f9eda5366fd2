"""Schedule of experts whose maps lie in DRAM: tokens to slots in DRAM, the layers of each expert on all cores, and results back.

Some words of all tokens at a time pass through the home cores' output banks, DISPATCH, and the experts' cores to DRAM, where each
expert has a map of its slots. Its two layers are then streamed layers as any: every core computes some of the slots. A word of the
results at a time comes from DRAM to the residual banks of the experts' cores, from where COLLECT brings it to the home cores'
partial sums, segment by segment, and the sums join the stream.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from archsim.contracts import dma, sequencer
from mapping.data import param_rows, sum_bytes
from mapping.experts import IntExperts, IntGate
from mapping.partition import Chunk, tiles, words
from mapping.place import Region, require
from mapping.quantise import IntSynapse
from mapping.reduction import apart
from mapping.route import TOKEN_BANK, ExpertsScheduler
from mapping.slots import Slots
from mapping.stream_slots import Share, StreamedRoutes
from mapping.tile import SUMS_ONLY, Piece, Tile, identity_layer, output_tile, synapse_fields
from mapping.unit_sums import EMPTY, NOTHING

if TYPE_CHECKING:
    from mapping.stream_schedule import StreamScheduler

SPIKES: Mapping[str, int] = {}
"""No fields beside those of packets of spikes."""

SLOT_BANK = 1
"""Input bank in which an expert's core takes the tokens of DISPATCH; home cores read theirs from the other."""


class StreamedExperts(ExpertsScheduler):
    """Emits layers of experts of a streamed network with the help of the scheduler that it belongs to."""

    def __init__(self, scheduler: "StreamScheduler") -> None:
        super().__init__(scheduler)
        self.stream = scheduler

    def out_fields(self, layer: IntSynapse, group: int, tile: Tile) -> dict[str, int]:
        """Tokens lie in DRAM as any other map."""
        return {}

    def score_fields(self, layer: IntGate, group: int, tile: Tile) -> dict[str, int]:
        """Fields of a gate: the first time step alone, and where its scores go."""
        routes = next(x for x in self.context.streamed_routes.values() if x.layer.source == layer.source)
        return self._scores(routes.score_base, routes.score_rows, group, tile)

    def experts(self, layer: IntExperts) -> None:
        """All of a layer but its gate."""
        routes, stream = self.context.streamed_routes[layer.name], self.stream
        stream.flush()
        self._choose_all(routes)
        kept = self._keep_scores(routes) if layer.weigh else 0
        for first, _ in layer.experts:
            stream.streams.add(first.source)
        stream.unit_weights()
        for share in routes.shares:
            self._gather(routes, share)
            if layer.joins:
                self._gather_stream(routes, share)
        for pair in layer.experts:
            for part in pair:
                stream.layers(part)
        stream.flush()
        if layer.weigh:
            self._table(layer.weigh)
            self._move_scores(sequencer.LOAD, routes, kept)
        self._join_all(routes)

    def _choose_all(self, routes: StreamedRoutes) -> None:
        """TOPK of every segment of every home core, in the order of the tokens within a share."""
        layer, blocks = routes.layer, -(-len(routes.place) // self.chip.neurons)
        for share in routes.shares:
            places = sorted((core, x.start, len(some)) for x in share.segments for core, some in routes.tokens(x))
            for core, start, count in places:
                self._emit(sequencer.EXPERTS, sequencer.TOPK, {
                    "core": core, "psum": 0, "score_base": routes.score_base + start * routes.score_rows,
                    "score_token": routes.score_rows, "blocks": blocks, "tokens": count, "experts": len(routes.place),
                    "choices": layer.choices, "capacity": share.slots, "first": int((core, start) == places[0][:2]),
                    "entry": start * layer.choices,
                })  # fmt: skip

    def _keep_scores(self, routes: StreamedRoutes) -> int:
        """STORE the scores, over which the experts' sums and results come; returns their address."""
        address = self.context.dram.reserve(routes.layer.tokens * routes.score_rows, sum_bytes(self.chip))
        self._move_scores(sequencer.STORE, routes, address)
        return address

    def _move_scores(self, opcode: int, routes: StreamedRoutes, address: int) -> None:
        """STORE or LOAD the scores of every home core."""
        size = sum_bytes(self.chip)
        for core, (first, end) in enumerate(routes.homes.ranges):
            self._emit(sequencer.DMA, opcode, {
                "dram_address": address + first * routes.score_rows * self.context.dram.stride(size), "memory": dma.RESIDUAL,
                "cores": 1 << core, "bank": 0, "row": routes.score_base, "rows": (end - first) * routes.score_rows,
                "row_bytes": size,
            })  # fmt: skip

    def _gather(self, routes: StreamedRoutes, share: Share) -> None:
        """All words of a share's tokens to the maps of their experts."""
        count = words(self.chip, routes.layer)
        for first in range(0, count, routes.at_once):
            group = range(first, min(first + routes.at_once, count))
            packets = routes.packets(share, len(group))
            for segment in share.segments:
                self._send(routes, segment, group)
                self._move(routes, sequencer.DISPATCH, segment, packets, 0, 0)
            for core in set(routes.place):
                self.stream.streams.held.pop((core, SLOT_BANK), None)
            for expert in range(len(routes.place)):
                self._keep(routes, share, expert, group, packets)
            self.stream.flush()

    def _gather_stream(self, routes: StreamedRoutes, share: Share) -> None:
        """The membranes of a share's tokens to the streams that experts read, a word at a time, through the rows of results."""
        layer, slots, rows = routes.layer, routes.answers(share), routes.results
        for word in range(words(self.chip, layer)):
            for segment in share.segments:
                home = self.context.stream_base(layer, layer.stream) + (word * routes.homes.longest + segment.start) * rows
                if routes.spilled:
                    home = routes.tile_base
                    for core, some in routes.tokens(segment):
                        self.stream.spill.range(layer, core, some.start, some.stop, word, home)
                self._move(routes, sequencer.DISPATCH, segment, slots, routes.result_base, 0, {"home_base": home, "membranes": 1})
            for expert, (first, _) in enumerate(layer.experts):
                if first.stream:
                    self._transfer_slots(routes, share, expert, word, partial(self.stream.spill.keep, first))

    def _send(self, routes: StreamedRoutes, segment: range, group: range) -> None:
        """Some words of a segment's tokens to the output banks of their home cores, the words of each token side by side."""
        context, stream, source = self.context, self.stream, routes.layer.source
        places = {"out_position": routes.slices * len(group), "out_slice": len(group)}
        pieces = {}
        for core, some in routes.tokens(segment):
            stream.streams.last[core] = SLOT_BANK
            pieces[core] = stream.streams.fetch(source, core, (some.start, 0, len(some), 1), (group.start, group.stop))
        for core, some in routes.tokens(segment):
            unit = identity_layer(self.chip, source, self.network.maps[source])
            tile = output_tile(unit, core, some.start, some.stop, some.start)
            for word in group:
                context.out_bank[core] = TOKEN_BANK
                stream.relay.pass_on(unit, core, tile, pieces[core], word, places | {"out_base": word - group.start})

    def _keep(self, routes: StreamedRoutes, share: Share, expert: int, group: range, packets: Slots) -> None:
        """Some words of an expert's slots from its core's input bank to DRAM, each store behind the next relay."""
        stream, chip, core = self.stream, self.chip, routes.place[expert]
        name, base = routes.layer.experts[expert][0].source, routes.region[expert] << packets.region_shift
        unit = identity_layer(chip, name, self.network.maps[name])
        region = Region(SLOT_BANK, base, share.slots, routes.slices, len(group))
        piece = Piece(region, share.first, 0, share.slots, 1, group.start)
        for a, b in tiles(share.first, share.first + share.slots, 1, chip.spike_out_rows // routes.slices, False):
            tile, origin = output_tile(unit, core, a, b, a), base + (a - share.first) * packets.distance
            for word in group:
                places = {"y_stride": packets.distance, "in_origin": origin + word - group.start}
                bank = stream.relay.pass_on(unit, core, tile, piece, word, places)
                stream.flush()
                stream.stores.append((name, partial(stream.streams.store, name, core, tile, word, bank)))

    def _move(
        self, routes: StreamedRoutes, opcode: int, segment: range, slots: Slots, expert_base: int, home_choice: int,
        more: Mapping[str, int] = SPIKES,
    ) -> None:  # fmt: skip
        """DISPATCH or COLLECT of a segment; ``more``: further fields."""
        cores = sum(1 << core for core, _ in routes.tokens(segment))
        places = {"cores": cores, "entry": segment.start * routes.layer.choices, "bank": SLOT_BANK}
        self._packets(routes, opcode, slots, {**places, "expert_base": expert_base, "home_choice": home_choice, **more})

    def _join_all(self, routes: StreamedRoutes) -> None:
        """Add the results to the stream, a word of a segment at a time; the neurons fire behind the last choice."""
        layer, context = routes.layer, self.context
        if layer.spikes:
            self.stream.streams.add(layer.spikes)
        resident = (layer.name, 0) in self.stream.loads.param_base
        for word in range(words(self.chip, layer)):
            if not resident:
                require(self.chip.blocks, self.chip.param_rows, layer.name, "param", self.chip)
                context.param_bank ^= 1
                context.load(dma.PARAM, routes.homes.leaders, context.param_bank, 0, param_rows(self.chip, layer, word))
            for share in routes.shares:
                self._load_results(routes, share, word)
                answers = routes.answers(share)
                for segment in share.segments:
                    if layer.drops:
                        self._clear_rows(layer, [core for core, _ in routes.tokens(segment)], layer.choices * routes.length)
                    home_choice = routes.length * routes.results
                    self._move(routes, sequencer.COLLECT, segment, answers, routes.result_base, home_choice)
                    for core, some in routes.tokens(segment) if layer.weigh else ():
                        scores = routes.score_base + segment.start * routes.score_rows
                        self._weigh(routes, core, scores, len(some), routes.results)
                    self.stream.flush()
                    for core, some in routes.tokens(segment):
                        self._add(routes, core, some, word)
        self.stream.flush()

    def _load_results(self, routes: StreamedRoutes, share: Share, word: int) -> None:
        """LOAD a word of the results of a share's slots."""
        for expert, (_, second) in enumerate(routes.layer.experts):
            self._transfer_slots(routes, share, expert, word, partial(self.stream.spill.range, second))

    def _transfer_slots(
        self, routes: StreamedRoutes, share: Share, expert: int, word: int, transfer: Callable[[int, int, int, int, int], None]
    ) -> None:
        """Move a word of an expert's slots between its residual bank and DRAM; slot by slot where rows lie between them.

        ``transfer``: what moves them, of core, first slot and the one behind the last, word, first row.
        """
        answers = routes.answers(share)
        apart_ = answers.distance > answers.rows
        base = routes.result_base + (routes.region[expert] << answers.region_shift)
        for slot in range(0, share.slots, 1 if apart_ else share.slots):
            first, count = share.first + slot, 1 if apart_ else share.slots
            transfer(routes.place[expert], first, first + count, word, base + slot * answers.distance)

    def _add(self, routes: StreamedRoutes, core: int, some: range, word: int) -> None:
        """The results of a segment of one core to its stream, choice by choice."""
        layer, context, stream = routes.layer, self.context, self.stream
        tile = output_tile(layer, core, some.start, some.stop, routes.homes.ranges[core][0])
        spilled, separate = context.spilled(layer), apart(context, layer.name)
        if spilled:
            stream.spill.load(layer, core, tile, word)
        for choice in range(layer.choices):
            last = choice == layer.choices - 1
            fields = self._empty(layer, tile) | {
                "psum_in": 1, "psum_out": 0, "psum_base": choice * routes.length * routes.results,
                "psum_position": routes.results, "psum_step": self.chip.blocks,
            } | ({} if last else SUMS_ONLY) | stream.residual(layer, word, tile)  # fmt: skip
            fields |= {"reduce": 0} if separate else {}
            stream.emit(layer, word, tile, fields, last)
        if layer.spikes:
            bank = context.out_bank[core]
            context.out_bank[core] ^= 1
            stream.stores.append((layer.spikes, partial(stream.streams.store, layer.spikes, core, tile, word, bank)))
        if spilled and (not layer.reduce or separate):
            stream.stores.append((layer.stream or "", partial(stream.spill.store, layer, core, tile, word)))

    def _empty(self, layer: IntExperts, tile: Tile) -> dict[str, int]:
        """Fields of a SYNAPSE that adds no weight."""
        fields = synapse_fields(self.chip, self.network, layer, tile, Chunk(0, 1, 0, 1), EMPTY) | NOTHING
        resident = (layer.name, 0) in self.stream.loads.param_base
        steps = self.network.timesteps
        return fields | {
            "slices": self.chip.slices(steps), "steps": self.chip.lanes_used(steps), "weight_bank": self.context.weight_bank,
            "param_bank": 0 if resident else self.context.param_bank,
        }  # fmt: skip
