"""Slots: where tokens and results of a layer of experts lie at the experts' cores, and where scores and results at home."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.experts import slot_rows, slot_shifts
from mapping.expert_steps import ExpertSteps
from mapping.experts import IntExperts
from mapping.partition import Partition, words
from mapping.place import require
from mapping.weigh import require_normaliser


@dataclass(frozen=True)
class Slots:
    """The slots of every expert of a core: a power of two of rows for each expert, its slots one behind the other.

    Attributes:
        rows: of a packet.
        capacity: slots of an expert.
    """

    rows: int
    capacity: int

    @property
    def shifts(self) -> tuple[int, int]:
        """``slot_shift`` and ``other_shift`` of the engine."""
        return slot_shifts(self.rows)

    @property
    def distance(self) -> int:
        """Rows between slots."""
        return slot_rows(1, *self.shifts)

    @property
    def region_shift(self) -> int:
        """Rows between experts: 2 ** region_shift."""
        return (self.capacity * self.distance - 1).bit_length()

    def rows_of(self, region: int) -> int:
        """Rows up to the end of a region and of those before it."""
        return (region << self.region_shift) + self.capacity * self.distance

    def fields(self) -> dict[str, int]:
        """What DISPATCH and COLLECT take of it."""
        slot, other = self.shifts
        return {"rows": self.rows, "slot_shift": slot, "other_shift": other, "region_shift": self.region_shift}


@dataclass(frozen=True)
class Routes:
    """Layout of a layer of experts on a chip.

    Attributes:
        layer: the layer.
        place: core of each expert.
        region: number of each expert among those of its core.
        homes: tokens of the cores.
        tokens: slots of spikes in the input bank of an expert's core.
        results: slots of membranes in its residual bank: of results, and before of the tokens' stream where it is sent.
        score_base, score_rows: first row of a home core's scores in its residual bank, rows of a token.
        result_base: first row of the results in every residual bank.
    """

    layer: IntExperts
    place: tuple[int, ...]
    region: tuple[int, ...]
    homes: Partition
    tokens: Slots
    results: Slots
    score_base: int
    score_rows: int
    result_base: int

    @property
    def regions(self) -> int:
        """Experts of a core at most."""
        return max(self.region) + 1

    @property
    def tokens_region(self) -> str:
        """Name of the region of the tokens at the experts."""
        return f"{self.layer.name}.tokens"

    @property
    def hidden_region(self) -> str:
        """Name of the region of the spikes between the two layers of an expert."""
        return f"{self.layer.name}.hidden"

    @property
    def longest(self) -> int:
        """Tokens of a core at most."""
        return max(end - first for first, end in self.homes.ranges)


def placed(
    chip: ChipParams, layer: IntExperts, place: Sequence[int] | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Core of each expert, and its number among those of that core; ``place``: the cores, None: one after the other.

    Raises ArchsimError when the chip has no expert engine or ``place`` is no such list.
    """
    count = len(layer.experts)
    if not chip.crossbar_depth:
        raise ArchsimError(
            f"layer '{layer.name}': experts need an expert engine, but chip '{chip.name}' has a crossbar_depth of 0"
        )
    if layer.weigh:
        require_normaliser(chip, layer.name)
    if layer.joins and not chip.dispatch_membranes:
        raise ArchsimError(
            f"layer '{layer.name}': an expert's input joins the sums of its first layer, which needs a chip with "
            f"dispatch_membranes, given '{chip.name}' without; set 'dispatch_membranes: 1' in its file"
        )
    place = tuple(expert % chip.cores for expert in range(count)) if place is None else tuple(place)
    if len(place) != count or not all(0 <= core < chip.cores for core in place):
        raise ArchsimError(
            f"layer '{layer.name}': required a core in 0..{chip.cores - 1} for each of {count} experts, given {place}"
        )
    return place, tuple(place[:expert].count(core) for expert, core in enumerate(place))


def routes(chip: ChipParams, layer: IntExperts, homes: Partition, steps: int, place: Sequence[int] | None) -> Routes:
    """The layout of a layer of ``steps`` time steps whose tokens lie as ``homes`` says.

    ``place``: core of each expert; None: one core after the other. Raises ArchsimError naming the layer and the buffer when the
    chip has no expert engine or something does not fit.
    """
    place, region = placed(chip, layer, place)
    count = len(layer.experts)
    longest, blocks = max(end - first for first, end in homes.ranges), chip.blocks
    score_base = words(chip, layer) * longest * steps * blocks
    score_rows = -(-count // chip.columns) * blocks
    found = Routes(
        layer, place, region, homes, Slots(chip.slices(steps) * words(chip, layer), layer.capacity),
        Slots(steps * words(chip, layer) * blocks, layer.capacity), score_base, score_rows, score_base + longest * score_rows,
    )  # fmt: skip
    _check(chip, found)
    return found


def slot_regions(
    chip: ChipParams, layers: Mapping[str, Routes], steps: int
) -> dict[str, dict[str, tuple[int, int, int]]]:
    """By layer, what its experts' cores need in their input banks: positions, slices and words of tokens and of hidden spikes.

    ``steps``: time steps of the network.
    """
    result = {}
    for name, found in layers.items():
        hidden = [
            (ExpertSteps(chip, steps, own).hidden_rows, words(chip, first))
            for (first, _), own in zip(found.layer.experts, found.layer.steps, strict=True)
        ]
        between = (found.layer.capacity, *max(hidden, key=lambda rows_words: rows_words[0] * rows_words[1]))
        result[name] = {
            found.tokens_region: (found.regions << found.tokens.region_shift, 1, 1),
            found.hidden_region: between,
        }
    return result


def _check(chip: ChipParams, found: Routes) -> None:
    """Raise ArchsimError for what does not fit the chip's banks and tables, or an instruction."""
    layer, rows, longest = found.layer, found.results.rows, found.longest
    answers = min(found.regions * layer.capacity, layer.tokens * layer.choices)
    for needed, memory in (
        (max(longest * layer.choices, answers), "route"),
        (longest * found.tokens.rows, "spike_out"),
        (found.result_base + (found.regions << found.results.region_shift), "residual"),
        (layer.choices * longest * rows, "psum"),
        (words(chip, layer) * chip.blocks * layer.reduce, "reduce"),
    ):
        require(needed, getattr(chip, f"{memory}_rows"), layer.name, memory, chip)
    require_fields(layer.name, (
        (rows, sequencer.COLLECT, "rows"), (found.tokens.rows, sequencer.DISPATCH, "rows"),
        (longest * rows, sequencer.COLLECT, "home_choice"), (rows, sequencer.SYNAPSE, "psum_position"),
        (layer.capacity, sequencer.SYNAPSE, "out_height"),
    ))  # fmt: skip


def require_fields(layer: str, values: Iterable[tuple[int, int, str]]) -> None:
    """Raise ArchsimError for a value that does not fit its field: (value, opcode, field)."""
    for value, opcode, name in values:
        most = (1 << sequencer.layout(opcode).by_name[name].width) - 1
        if value > most:
            raise ArchsimError(
                f"layer '{layer}': required at most {most} in field '{name}' of {sequencer.OPCODES[opcode]}, given {value}; "
                "use fewer channels, time steps or slots, or more cores"
            )
