"""Which units are characterised, over which parameters, with which stimulus; and which points are held out of the fits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from archsim.contracts.common.errors import ArchsimError
from rtl.build import UNITS
from rtl.characterize import choices, stimuli
from rtl.characterize.stimuli import Stimulus


@dataclass(frozen=True)
class Grid:
    """Parameters of a unit.

    Attributes:
        axes: values of each parameter that is varied; every combination is a point.
        stimulus: what drives a point.
        fixed: parameters that follow from a point's.
        held_out: whether a point is kept out of the fits.
    """

    axes: dict[str, tuple[int, ...]]
    stimulus: Callable[[Any], Stimulus]
    held_out: Callable[[dict[str, int]], bool]
    fixed: Callable[[dict[str, int]], dict[str, int]] = lambda point: {}

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
}  # fmt: skip
"""The units that are characterised."""

HELD_OUT_RATE = 0.2
"""Windows of this rate are kept out of the fits, at every point."""


def grid_of(unit: str) -> Grid:
    """The grid of a unit; raises ArchsimError for a name that is no unit and for a unit without a grid."""
    if unit not in UNITS:
        raise ArchsimError(f"unknown unit '{unit}'; required one of {', '.join(GRIDS)}")
    if unit not in GRIDS:
        raise ArchsimError(f"unit '{unit}' has no stimulus yet; required one of {', '.join(GRIDS)}")
    return GRIDS[unit]
