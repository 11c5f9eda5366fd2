"""Which units are characterised, over which parameters, with which stimulus; and which points are held out of the fits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from archsim.contracts.attention import AttentionParams
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.neuron import NeuronParams
from rtl.build import UNITS, Unit
from rtl.characterize import attended, attending, choices, moved, normalising, queued, routing, stimuli, transfers
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
        part: of a unit that is measured in a whole, an expression for the paths of its modules; "" for all of it.
    """

    axes: dict[str, tuple[int, ...]]
    stimulus: Callable[[Any], Stimulus]
    held_out: Callable[[dict[str, int]], bool]
    fixed: Callable[[dict[str, int]], dict[str, int]] = lambda point: {}
    part: str = ""

    def points(self) -> Iterator[dict[str, int]]:
        """Every combination of the axes."""
        for values in product(*self.axes.values()):
            point = dict(zip(self.axes, values, strict=True))
            yield point | self.fixed(point)


GRIDS = {
    "event_encoder": Grid(
        {"lanes": (1, 2, 4), "word_bits": (16, 32, 64)}, stimuli.encoder,
        lambda point: point["word_bits"] == 32, lambda point: {"row_bits": 9},
    ),
    "transposer": Grid({"word_bits": (8, 16, 24, 32)}, stimuli.words, lambda point: point["word_bits"] == 24),
    "synapse_array": Grid(
        {"lanes": (1, 2, 4), "columns": (4, 8, 16), "membrane_bits": (16,)}, stimuli.array,
        lambda point: point["lanes"] == 2,
        lambda point: {"neurons": 4, "weight_bits": 8, "weight_rows": 512},
    ),
    "neuron": Grid(
        {"neurons": (1, 2, 4), "membrane_bits": (12, 16, 24)}, stimuli.neurons, lambda point: point["membrane_bits"] == 16,
        lambda point: {"blocks": 4, "param_rows": 64, "residual_rows": 1024, "psum_rows": 512, "reduce_rows": 1024},
    ),
    "masker": Grid(
        {"lanes": (1, 2, 4), "word_bits": (8, 16, 32)}, choices.masked, lambda point: point["word_bits"] == 16,
    ),
    "router": Grid(
        {"experts": (4, 8, 16), "score_bits": (12, 16, 20)}, choices.routed, lambda point: point["score_bits"] == 16,
        lambda point: {"neurons": 4, "slot_bits": 8},
    ),
    "crossbar": Grid(
        {"ports": (2, 3, 4), "data_bits": (8, 16, 32)}, choices.packets, lambda point: point["data_bits"] == 16,
        lambda point: {"depth": 4},
    ),
    "vector": Grid(
        {"elements": (1, 2, 4), "membrane_bits": (12, 16, 20)}, choices.scaled, lambda point: point["membrane_bits"] == 16,
        lambda point: {"operand_bits": 8, "sum_bits": point["membrane_bits"] + 8, "table_bits": 8},
    ),
    "spike_fetch": Grid(
        {"lanes": (1, 2, 4), "word_bits": (8, 16, 32)}, moved.fetched, lambda point: point["word_bits"] == 16,
        lambda point: {"rows": 512, "row_bits": 11},
    ),
    "spike_writer": Grid(
        {"neurons": (2, 4, 8), "lanes": (1, 2, 4)}, moved.written, lambda point: point["neurons"] == 4,
        lambda point: {"blocks": moved.BLOCKS, "rows": 512},
    ),
    "dma": Grid(
        {"dram_bus_bytes": (4, 8, 16), "columns": (8, 16, 32)}, transfers.transferred, lambda point: point["dram_bus_bytes"] == 8,
        lambda point: {"lanes": 4, "neurons": 2, "membrane_bits": 12},
    ),
    "multicast": Grid(
        {"lanes": (1, 2, 4), "columns": (8, 16, 32)}, transfers.copied, lambda point: point["columns"] == 16,
        lambda point: {"neurons": 4},
    ),
    "attention_popcount": Grid(
        {"columns": (8, 16, 32), "neurons": (2, 4, 8)}, attended.paired, lambda point: point["neurons"] == 4,
    ),
    "attention_counts": Grid(
        {"columns": (8, 16, 32), "count_bits": (6, 8, 10)}, attended.counted, lambda point: point["count_bits"] == 8,
        lambda point: {"neurons": 4},
    ),
    "attention_sums": Grid(
        {"columns": (8, 16, 32), "membrane_bits": (12, 16, 20)}, attended.summed, lambda point: point["membrane_bits"] == 16,
        lambda point: {"neurons": 4, "count_bits": 8},
    ),
    "attention_neurons": Grid(
        {"neurons": (1, 2, 4), "membrane_bits": (12, 16, 24)}, attended.fired, lambda point: point["membrane_bits"] == 16,
        lambda point: {"columns": 16},
    ),
    "sequencer": Grid(
        {"cores": (2, 8, 16, 32), "queue_rows": (64, 256, 1024)}, queued.queued, lambda point: point["cores"] == 8,
    ),
    "planes": Grid(
        {"neurons": (1, 2, 4, 8), "membrane_bits": (12, 16, 24)}, queued.planes, lambda point: point["membrane_bits"] == 16,
        lambda point: {"blocks": 4, "reduce_rows": 32},
    ),
    "attention_control": Grid(
        {"columns": (8, 16, 32), "lanes": (1, 4), "attention_rows": (256, 4096)}, attending.attended,
        lambda point: point["columns"] == 16,
        lambda point: {"count_rows": 256 if (point["lanes"] == 1) == (point["attention_rows"] == 256) else 4096, "neurons": 4},
        r"(walk|fifo|bank\d+|writer(\..*)?)?",
    ),
    "attention_softmax": Grid(
        {"columns": (8, 16), "neurons": (2, 4, 8)}, attending.weighted, lambda point: point["neurons"] == 4,
        lambda point: {
            "lanes": 1, "membrane_bits": 20 if point["neurons"] == 2 else 24,
            "softmax_tokens": 16 if (point["columns"] == 8) == (point["neurons"] == 2) else 64,
        },
        r"softmax(\..*)?|divider|array",
    ),
    "normaliser_control": Grid(
        {"cores": (2, 8), "neurons": (2, 4, 8), "membrane_bits": (16, 24)}, normalising.normalised,
        lambda point: point["neurons"] == 4,
        lambda point: dict.fromkeys(
            ("residual_rows", "psum_rows"), 1024 if (point["cores"] == 2) == (point["membrane_bits"] == 16) else 16384
        ),
        r"(tokens|rows)?",
    ),
    "experts_control": Grid(
        {"cores": (2, 3, 4), "neurons": (2, 8)}, routing.routed, lambda point: point["cores"] == 3,
        lambda point: {
            "lanes": 1, "crossbar_depth": 2, "residual_rows": 1024 if (point["cores"] == 2) == (point["neurons"] == 2) else 16384,
        },
        r"(topk|reader\d+|routes\d+|replies\d+)?",
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
