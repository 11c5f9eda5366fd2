"""Slots of a streamed layer of experts: which of them, and which tokens, are in the banks at a time.

Tokens of all experts lie in DRAM, by slot. They come there, and results come back, a few words at a time. The tokens of each home
core are cut into *segments*, as long as its partial-sum bank holds a word of their results. Where no choice can be dropped the
router counts anew in every segment, whose slots then lie behind those of the one before: a *share* of the slots with one segment.
Else its counts go on through all of them, so that a segment may meet any slot: one share of all slots.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from mapping.experts import IntExperts
from mapping.partition import Partition, words
from mapping.place import require
from mapping.slots import Slots, placed, require_fields


@dataclass(frozen=True)
class Share:
    """Slots ``first .. first + slots - 1`` of every expert, and the segments of tokens whose choices may take them.

    ``segments``: ranges of tokens, by their number in each home core.
    """

    first: int
    slots: int
    segments: tuple[range, ...]


@dataclass(frozen=True)
class StreamedRoutes:
    """Layout of a streamed layer of experts on a chip.

    Attributes:
        layer: the layer.
        place, region: as in :class:`mapping.slots.Routes`.
        homes: tokens of the cores.
        slices: rows of a word of a token; ``results``: of a word of a result.
        score_base, score_rows: first row of a home core's scores in its residual bank, rows of a token.
        spilled: whether the stream lies in DRAM.
        length: tokens of a segment at most.
        at_once: words of the tokens that go to the experts at a time.
    """

    layer: IntExperts
    place: tuple[int, ...]
    region: tuple[int, ...]
    homes: Partition
    slices: int
    results: int
    score_base: int
    score_rows: int
    spilled: bool
    length: int
    at_once: int = 1

    @property
    def tile_base(self) -> int:
        """First row of what a segment adds to in the residual banks, if the stream lies in DRAM."""
        return self.score_base + self.homes.longest * self.score_rows

    @property
    def result_base(self) -> int:
        """First row of the results in every residual bank."""
        return self.tile_base + self.spilled * self.length * self.results

    @property
    def shares(self) -> tuple[Share, ...]:
        """All slots."""
        longest = self.homes.longest
        count = -(-longest // self.length)
        segments = tuple(range(a, b) for a, b in pairwise(longest * part // count for part in range(count + 1)))
        if self.layer.drops:
            return (Share(0, self.layer.capacity, segments),)
        shares, first = [], 0
        for segment in segments:
            slots = sum(len(tokens) for _, tokens in self.tokens(segment))
            shares.append(Share(first, slots, (segment,)))
            first += slots
        return tuple(shares)

    def tokens(self, segment: range) -> Iterator[tuple[int, range]]:
        """Home cores that have tokens of a segment, and these."""
        for core, (first, end) in enumerate(self.homes.ranges):
            if some := range(first, end)[segment.start : segment.stop]:
                yield core, some

    def packets(self, share: Share, count: int) -> Slots:
        """The slots of a share in the input banks, ``count`` words of each."""
        return Slots(self.slices * count, share.slots)

    def answers(self, share: Share) -> Slots:
        """The slots of a share in the residual banks, a word of each result."""
        return Slots(self.results, share.slots)

    def needs(self) -> dict[str, int]:
        """Rows of each memory."""
        layer, longest = self.layer, self.homes.longest
        most = [sum(len(tokens) for _, tokens in self.tokens(x)) * layer.choices for s in self.shares for x in s.segments]
        slots = max(share.slots for share in self.shares)
        regions = max(self.region)
        packets, answers = Slots(self.slices * self.at_once, slots), Slots(self.results, slots)
        return {
            "route": max(longest * layer.choices, min((regions + 1) * slots, max(most))),
            "spike_in": max(self.length * packets.rows, packets.rows_of(regions)),
            "spike_out": max(self.length * packets.rows, self.slices),
            "residual": self.result_base + answers.rows_of(regions),
            "psum": layer.choices * self.length * self.results,
        }

    def fits(self, chip: ChipParams) -> bool:
        """Whether a chip has as many rows."""
        return all(rows <= getattr(chip, f"{memory}_rows") for memory, rows in self.needs().items())


def streamed_routes(
    chip: ChipParams, layer: IntExperts, homes: Partition, steps: int, stream_rows: int | None, place: Sequence[int] | None
) -> StreamedRoutes:
    """The layout of a layer of ``steps`` time steps whose tokens lie as ``homes`` says: the longest segments that have room.

    ``stream_rows``: rows of the residual stream in a core's bank; None: it lies in DRAM. ``place``: as of
    :func:`mapping.slots.routes`. Raises ArchsimError naming the layer and the buffer when something does not fit.
    """
    cores, region = placed(chip, layer, place)
    blocks = chip.blocks
    score_rows = -(-len(layer.experts) // chip.columns) * blocks
    found = [
        StreamedRoutes(
            layer, cores, region, homes, chip.slices(steps), steps * blocks, stream_rows or 0, score_rows,
            stream_rows is None, length,
        )
        for length in range(homes.longest, 0, -1)
    ]  # fmt: skip
    best = next((routes for routes in found if routes.fits(chip)), None)
    if best is None:
        for memory, rows in found[-1].needs().items():
            require(rows, getattr(chip, f"{memory}_rows"), layer.name, memory, chip)
        raise ArchsimError(f"layer '{layer.name}': its tokens find no room on chip '{chip.name}'")
    wider = (replace(best, at_once=count) for count in range(words(chip, layer), 0, -1))
    best = next(routes for routes in wider if routes.fits(chip))
    slots = max(share.slots for share in best.shares)
    require_fields(layer.name, (
        (best.results, sequencer.COLLECT, "rows"), (best.slices * best.at_once, sequencer.DISPATCH, "rows"),
        (best.length * best.results, sequencer.COLLECT, "home_choice"), (best.results, sequencer.SYNAPSE, "psum_position"),
        (slots, sequencer.SYNAPSE, "out_height"),
    ))  # fmt: skip
    return best
