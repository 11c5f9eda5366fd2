"""Experts that run for fewer time steps than the network has: their last result stands for the steps that are left.

The first layer computes the steps that the expert runs, and stores each in a row of its own. The second layer computes all of them
but the last as any layer does; the last one by a SYNAPSE that offers its sums again for every step that is left (``replay``, as for
the image): the result is computed once and written as often as it stands. That takes lane 0, so the rows of steps.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError

Fields = dict[str, int]


def required(name: str, steps: int | None, timesteps: int) -> int:
    """Time steps that the expert ``name`` runs of ``timesteps``; None: all. Raises ArchsimError for none or more than there are."""
    if steps is None:
        return timesteps
    if not 1 <= steps <= timesteps:
        raise ArchsimError(f"layer '{name}': required an expert of 1..{timesteps} time steps, those of the network, given {steps}")
    return steps


@dataclass(frozen=True)
class ExpertSteps:
    """How an expert of ``steps`` of ``timesteps`` time steps is computed on a chip.

    Attributes:
        chip: the chip.
        timesteps: of the network.
        steps: of the expert.
    """

    chip: ChipParams
    timesteps: int
    steps: int

    @property
    def short(self) -> bool:
        """Whether it runs for fewer than there are."""
        return self.steps < self.timesteps

    @property
    def lanes(self) -> int:
        """Time steps of a row of its tokens that the first layer computes."""
        return min(self.chip.lanes_used(self.timesteps), self.steps)

    @property
    def slices(self) -> int:
        """Rows of a word of a token that the first layer reads."""
        return -(-self.steps // self.chip.lanes_used(self.timesteps))

    @property
    def hidden_lanes(self) -> int:
        """Time steps of a row of the spikes between the layers."""
        return 1 if self.short else self.lanes

    @property
    def hidden_rows(self) -> int:
        """Rows of a word of these spikes; whole slices are computed, so some may be of steps that nothing reads."""
        return self.slices * self.lanes // self.hidden_lanes

    def first(self) -> Fields:
        """Fields of a SYNAPSE of the first layer."""
        return {
            "slices": self.slices, "steps": self.lanes, "lanes": self.hidden_lanes, "out_position": self.hidden_rows,
            "out_slice": 1,
        }  # fmt: skip

    def second(self, fields: Fields) -> Iterator[Fields]:
        """The SYNAPSEs of the second layer in place of one with these fields, which reads the rows of all steps."""
        if not self.short:
            yield fields
            return
        blocks = self.chip.blocks
        if self.steps > 1:
            yield fields | {"slices": self.steps - 1, "steps": 1, "replay": 0}
        last = self.steps - 1
        moved = {name: fields[name] + last * blocks for name in ("psum_base", "residual_in_base", "residual_out_base")}
        origin = fields["in_origin"] + last * fields["slice_stride"]
        yield fields | moved | {"in_origin": origin, "slices": 1, "steps": self.timesteps - last, "replay": 1}


@dataclass(frozen=True)
class ExpertPart:
    """The first layer (``part`` 0) or the second (1) of an expert of the layer ``mixture``."""

    steps: ExpertSteps
    part: int
    mixture: str

    def instructions(self, fields: Fields) -> Iterator[Fields]:
        """The SYNAPSEs in place of one with these fields, of any layer that reads such rows."""
        if self.part:
            yield from self.steps.second(fields)
        else:
            yield fields | self.steps.first()
