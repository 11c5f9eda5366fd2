"""Which units are characterised, over which parameters, with which stimulus; and which points are held out of the fits."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from archsim.contracts.attention import AttentionParams
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.neuron import NeuronParams
from rtl.build import UNITS, Unit
from rtl.characterize import (
    attended,
    attending,
    choices,
    derived,
    moved,
    normalising,
    queued,
    routing,
    stimuli,
    transfers,
)
from rtl.characterize.derived import Counts
from rtl.characterize.stimuli import Stimulus

PARTS = {
    name: Unit(ChipParams, f"rtl.units.{part}", UNITS["attention"].defaults, lambda chip: (AttentionParams(chip),))
    for name, part in (
        ("attention_popcount", "attention_popcount:PopcountEngine"), ("attention_counts", "attention_counts:CountMemory"),
        ("attention_sums", "attention_sums:SumArray"), ("attention_neurons", "attention_sums:SumNeurons"),
    )
} | {
    "planes": Unit(NeuronParams, "rtl.units.core:PlaneReader", UNITS["neuron"].defaults),
    "normaliser_control": Unit(ChipParams, "rtl.units.normaliser:Normaliser", UNITS["normaliser"].defaults),
    "experts_control": Unit(ChipParams, "rtl.units.experts:Experts", UNITS["experts"].defaults),
    **dict.fromkeys(
        ("attention_control", "attention_softmax"), Unit(ChipParams, "rtl.units.attention:Attention", UNITS["attention"].defaults)
    ),
}  # fmt: skip
"""Parts of units that are characterised alone."""

DESIGNS = UNITS | PARTS
"""What can be characterised."""


@dataclass(frozen=True)
class Grid:
    """Parameters of a unit.

    Attributes:
        axes: values of each parameter that is varied; every combination is a point.
        stimulus: what drives a point.
        fixed: parameters that follow from a point's.
        held_out: whether a point is kept out of the fits.
        more: further points, as large as units of chips are, by the parameters in which they differ from ``fixed``; every axis.
        tests: the same, held out: the sizes of presets.
        derived: counts of the windows of a point that follow from the others and from the stimulus, by the unit's parameters.
        part: of a unit that is measured in a whole, an expression for the paths of its modules; "" for all of it.
    """

    axes: dict[str, tuple[int, ...]]
    stimulus: Callable[[Any], Stimulus]
    held_out: Callable[[dict[str, int]], bool]
    fixed: Callable[[dict[str, int]], dict[str, int]] = lambda point: {}
    more: tuple[dict[str, int], ...] = ()
    tests: tuple[dict[str, int], ...] = ()
    derived: Callable[[Any, Counts], list[dict[str, int]]] = derived.nothing
    part: str = ""

    def combinations(self) -> Iterator[dict[str, int]]:
        """Every combination of the axes."""
        for values in product(*self.axes.values()):
            yield self._whole(dict(zip(self.axes, values, strict=True)))

    def points(self) -> Iterator[dict[str, int]]:
        """Every combination of the axes, then the further points."""
        yield from self.combinations()
        yield from map(self._whole, (*self.tests, *self.more))

    def held(self, point: dict[str, int]) -> bool:
        """Whether a point is kept out of the fits, with all of its windows."""
        return self.held_out(point) or point in map(self._whole, self.tests)

    def whole(self, rows: Iterable[Mapping[str, Any]]) -> bool:
        """Whether rows of results have every combination of the axes, which a fit needs; it takes further points where they are."""
        known = [row["parameters"] for row in rows]
        return all(point in known for point in self.combinations())

    def names(self) -> list[str]:
        """The axes, and the parameters that are varied by further points alone."""
        every = (*self.tests, *self.more)
        return list(dict.fromkeys((*self.axes, *(name for point in every for name in point))))

    def _whole(self, given: dict[str, int]) -> dict[str, int]:
        """All parameters of a point: its axes, what follows from them, and what it has of its own."""
        axes = {name: given[name] for name in self.axes}
        return axes | self.fixed(axes) | given


GRIDS = {
    "event_encoder": Grid(
        {"lanes": (1, 2, 4), "word_bits": (16, 32, 64)}, stimuli.encoder,
        lambda point: point["word_bits"] == 32, lambda point: {"row_bits": 9},
    ),
    "transposer": Grid(
        {"word_bits": (8, 16, 24, 32)}, stimuli.words, lambda point: point["word_bits"] == 24,
        tests=({"word_bits": 64},), more=({"word_bits": 48},),
    ),
    "synapse_array": Grid(
        {"lanes": (1, 2, 4), "columns": (4, 8, 16), "membrane_bits": (16,)}, stimuli.array,
        lambda point: point["lanes"] == 2,
        lambda point: {"neurons": 4, "weight_bits": 8, "weight_rows": 512},
        tests=(
            {"lanes": 1, "columns": 64, "membrane_bits": 24, "neurons": 16}, {"lanes": 1, "columns": 16, "membrane_bits": 24},
            {"lanes": 4, "columns": 16, "membrane_bits": 24},
        ),
        more=(
            {"lanes": 1, "columns": 32, "membrane_bits": 24, "neurons": 8},
            {"lanes": 1, "columns": 64, "membrane_bits": 16, "neurons": 16},
            {"lanes": 4, "columns": 32, "membrane_bits": 24, "neurons": 8},
        ),
        derived=derived.busy_groups,
    ),
    "neuron": Grid(
        {"neurons": (1, 2, 4), "membrane_bits": (12, 16, 24)}, stimuli.neurons, lambda point: point["membrane_bits"] == 16,
        lambda point: {"blocks": 4, "param_rows": 64, "residual_rows": 1024, "psum_rows": 512, "reduce_rows": 1024},
        tests=({"neurons": 16, "membrane_bits": 24},),
        more=({"neurons": 16, "membrane_bits": 12},), derived=derived.blocks,
    ),
    "masker": Grid(
        {"lanes": (1, 2, 4), "word_bits": (8, 16, 32)}, choices.masked, lambda point: point["word_bits"] == 16,
        tests=({"lanes": 1, "word_bits": 64},),
    ),
    "router": Grid(
        {"experts": (4, 8, 16), "score_bits": (12, 16, 20)}, choices.routed, lambda point: point["score_bits"] == 16,
        lambda point: {"neurons": 4, "slot_bits": 8}, tests=({"experts": 8, "score_bits": 24},),
    ),
    "crossbar": Grid(
        {"ports": (2, 3, 4), "data_bits": (8, 16, 32)}, choices.packets, lambda point: point["data_bits"] == 16,
        lambda point: {"depth": 4},
        tests=(
            {"ports": 4, "data_bits": 107}, {"ports": 8, "data_bits": 76, "depth": 2}, {"ports": 8, "data_bits": 396, "depth": 2},
        ),
        more=({"ports": 4, "data_bits": 128}, {"ports": 8, "data_bits": 128, "depth": 2}),
    ),
    "vector": Grid(
        {"elements": (1, 2, 4), "membrane_bits": (12, 16, 20)}, choices.scaled, lambda point: point["membrane_bits"] == 16,
        lambda point: {"operand_bits": 8, "sum_bits": point["membrane_bits"] + 8, "table_bits": 8},
        tests=({"elements": 16, "membrane_bits": 24, "operand_bits": 10, "sum_bits": 47},),
        more=(
            {"elements": 4, "membrane_bits": 24, "operand_bits": 16, "sum_bits": 47},
            {"elements": 4, "membrane_bits": 24, "operand_bits": 10, "sum_bits": 47},
            {"elements": 16, "membrane_bits": 24, "operand_bits": 16, "sum_bits": 47},
        ),
    ),
    "spike_fetch": Grid(
        {"lanes": (1, 2, 4), "word_bits": (8, 16, 32)}, moved.fetched, lambda point: point["word_bits"] == 16,
        lambda point: {"rows": 512, "row_bits": 11},
        tests=({"lanes": 1, "word_bits": 64},), more=({"lanes": 4, "word_bits": 48},),
    ),
    "spike_writer": Grid(
        {"neurons": (2, 4, 8), "lanes": (1, 2, 4)}, moved.written, lambda point: point["neurons"] == 4,
        lambda point: {"blocks": moved.BLOCKS, "rows": 512},
        tests=({"neurons": 16, "lanes": 1},), more=({"neurons": 16, "lanes": 4},),
    ),
    "dma": Grid(
        {"dram_bus_bytes": (4, 8, 16), "columns": (8, 16, 32)}, transfers.transferred, lambda point: point["dram_bus_bytes"] == 8,
        lambda point: {"lanes": 4, "neurons": 2, "membrane_bits": 12},
        tests=(
            {"dram_bus_bytes": 32, "columns": 64, "lanes": 1, "neurons": 16, "membrane_bits": 24},
            {"dram_bus_bytes": 8, "columns": 16, "lanes": 1, "neurons": 4, "membrane_bits": 24},
        ),
        more=(
            {"dram_bus_bytes": 16, "columns": 64, "lanes": 1, "neurons": 16, "membrane_bits": 24},
            {"dram_bus_bytes": 32, "columns": 64},
        ),
        derived=derived.loads,
    ),
    "multicast": Grid(
        {"lanes": (1, 2, 4), "columns": (8, 16, 32)}, transfers.copied, lambda point: point["columns"] == 16,
        lambda point: {"neurons": 4},
        tests=({"lanes": 1, "columns": 64},), more=({"lanes": 4, "columns": 64},),
    ),
    "attention_popcount": Grid(
        {"columns": (8, 16, 32), "neurons": (2, 4, 8)}, attended.paired, lambda point: point["neurons"] == 4,
        tests=({"columns": 64, "neurons": 16},), more=({"columns": 32, "neurons": 16},),
    ),
    "attention_counts": Grid(
        {"columns": (8, 16, 32), "count_bits": (6, 8, 10)}, attended.counted, lambda point: point["count_bits"] == 8,
        lambda point: {"neurons": 4},
        tests=({"columns": 64, "count_bits": 8},), more=({"columns": 64, "count_bits": 6},),
    ),
    "attention_sums": Grid(
        {"columns": (8, 16, 32), "membrane_bits": (12, 16, 20)}, attended.summed, lambda point: point["membrane_bits"] == 16,
        lambda point: {"neurons": 4, "count_bits": 8},
        tests=({"columns": 64, "membrane_bits": 24, "neurons": 16},),
        more=({"columns": 64, "membrane_bits": 12, "neurons": 16},),
    ),
    "attention_neurons": Grid(
        {"neurons": (1, 2, 4), "membrane_bits": (12, 16, 24)}, attended.fired, lambda point: point["membrane_bits"] == 16,
        lambda point: {"columns": 16},
        tests=({"neurons": 16, "membrane_bits": 24, "columns": 64},),
        more=(
            {"neurons": 16, "membrane_bits": 12, "columns": 64}, {"neurons": 16, "membrane_bits": 20, "columns": 64},
        ),
        derived=derived.attended_blocks,
    ),
    "sequencer": Grid(
        {"cores": (2, 8, 16, 32), "queue_rows": (64, 256, 1024)}, queued.queued, lambda point: point["cores"] == 8,
    ),
    "planes": Grid(
        {"neurons": (1, 2, 4, 8), "membrane_bits": (12, 16, 24)}, queued.planes, lambda point: point["membrane_bits"] == 16,
        lambda point: {"blocks": 4, "reduce_rows": 32},
        tests=({"neurons": 16, "membrane_bits": 24}, {"neurons": 16, "membrane_bits": 24, "reduce_rows": 64}),
        more=({"neurons": 16, "membrane_bits": 12},),
    ),
    "attention_control": Grid(
        {"columns": (8, 16, 32), "lanes": (1, 4), "attention_rows": (256, 4096)}, attending.attended,
        lambda point: point["columns"] == 16,
        lambda point: {"count_rows": 256 if (point["lanes"] == 1) == (point["attention_rows"] == 256) else 4096, "neurons": 4},
        tests=(
            {"columns": 64, "lanes": 1, "attention_rows": 1024, "count_rows": 512, "neurons": 16},
            {"columns": 64, "lanes": 1, "attention_rows": 8192, "count_rows": 2048, "neurons": 16},
        ),
        part=r"(walk|fifo|bank\d+|writer(\..*)?)?",
    ),
    "attention_softmax": Grid(
        {"columns": (8, 16), "neurons": (2, 4, 8)}, attending.weighted, lambda point: point["neurons"] == 4,
        lambda point: {
            "lanes": 1, "membrane_bits": 20 if point["neurons"] == 2 else 24,
            "softmax_tokens": 16 if (point["columns"] == 8) == (point["neurons"] == 2) else 64,
        },
        tests=({"columns": 64, "neurons": 16, "membrane_bits": 24, "softmax_tokens": 49},),
        more=({"columns": 32, "neurons": 16, "membrane_bits": 24, "softmax_tokens": 64},),
        part=r"softmax(\..*)?|divider|array",
    ),
    "normaliser_control": Grid(
        {"cores": (2, 8), "neurons": (2, 4, 8), "membrane_bits": (16, 24)}, normalising.normalised,
        lambda point: point["neurons"] == 4,
        lambda point: dict.fromkeys(
            ("residual_rows", "psum_rows"), 1024 if (point["cores"] == 2) == (point["membrane_bits"] == 16) else 16384
        ),
        tests=({"cores": 8, "neurons": 16, "membrane_bits": 24, "columns": 64, "residual_rows": 3200, "psum_rows": 512},),
        more=(
            {"cores": 2, "neurons": 16, "membrane_bits": 24, "columns": 64},
            {"cores": 8, "neurons": 16, "membrane_bits": 16, "columns": 64},
        ),
        derived=derived.changed, part=r"(tokens|rows)?",
    ),
    "experts_control": Grid(
        {"cores": (2, 3, 4), "neurons": (2, 8)}, routing.routed, lambda point: point["cores"] == 3,
        lambda point: {
            "lanes": 1, "crossbar_depth": 2, "residual_rows": 1024 if (point["cores"] == 2) == (point["neurons"] == 2) else 16384,
        },
        tests=(
            {"cores": 8, "neurons": 16, "columns": 64, "membrane_bits": 24, "residual_rows": 3200},
            {"cores": 4, "neurons": 4, "columns": 16, "membrane_bits": 24, "crossbar_depth": 4, "residual_rows": 2048},
        ),
        more=({"cores": 8, "neurons": 8, "columns": 64, "membrane_bits": 24, "residual_rows": 1024},),
        part=r"(topk|reader\d+|routes\d+|replies\d+)?",
    ),
}  # fmt: skip
"""The units that are characterised."""

WHOLES = {
    "attention": "event_encoder, attention_popcount, attention_counts, attention_sums (attention_softmax), attention_neurons, and "
    "attention_control between them",
    "core": "spike_fetch, event_encoder, synapse_array, neuron, planes, spike_writer, sequencer; one register bit joins them",
    "experts": "router, two crossbars, and experts_control around them",
    "normaliser": "vector, and normaliser_control around it",
    "sram": "a memory, which has a law of its own (archsim/energy/sram.csv)",
}
"""Units without a grid of their own: the parts that they are made of, or why there is none."""

HELD_OUT_RATE = 0.2
"""Windows of this rate are kept out of the fits, at every point."""


def grid_of(unit: str) -> Grid:
    """The grid of a unit; raises ArchsimError for a name that is no unit and for a unit without a grid."""
    if unit not in DESIGNS:
        raise ArchsimError(f"unknown unit '{unit}'; required one of {', '.join(GRIDS)}")
    if unit not in GRIDS:
        raise ArchsimError(f"unit '{unit}' has no grid of its own ({WHOLES[unit]}); required one of {', '.join(GRIDS)}")
    return GRIDS[unit]
