"""Normaliser, cycle by cycle: phases one behind the other, a row that stands before the vector unit, banks that answer later."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import normaliser as contract
from archsim.contracts import sequencer, vector
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.normaliser import (
    CENTER,
    EXPONENTIAL,
    MAXIMUM,
    RECIPROCAL,
    ROOT,
    SCALE,
    SQUARE,
    SUM,
    NormaliserParams,
)
from archsim.stepped.vector import Unit
from archsim.units.sram import Memories

NO_BANK = (RECIPROCAL, ROOT)
"""Phases whose row no bank gives."""


@dataclass
class Engine:
    """The registers of the engine around its vector unit.

    Attributes:
        fields: of the instruction.
        unit: the vector unit.
        bank: rows that it walks, and that results go back to.
        scores: rows that MAXIMUM and EXPONENTIAL read.
        first: first row of the token in ``bank``.
        score: first row of its scores.
        phase: number of the phase.
        greatest: greatest score so far.
        flat: the root was 0.
        to_read: rows of the phase that are not read yet.
        to_write: those whose result is not taken yet.
        standing: the row that the bank has answered.
        answered: every row that a bank has answered, in their order.
    """

    fields: Mapping[str, int]
    unit: Unit
    bank: NDArray[np.int32]
    scores: NDArray[np.int32]
    first: int = 0
    score: int = 0
    phase: int = -1
    greatest: int = 0
    flat: bool = False
    to_read: list[int] = field(default_factory=list)
    to_write: list[int] = field(default_factory=list)
    standing: Any = None
    is_first: bool = True
    answered: list[list[int]] = field(default_factory=list)

    def begin(self, phase: int) -> None:
        """The walkers of a phase begin."""
        self.phase, self.is_first, self.standing = phase, True, None
        if phase in NO_BANK:
            self.to_read = [0]
        elif phase in (MAXIMUM, EXPONENTIAL):
            self.to_read = list(range(self.score, self.score + self.fields["blocks"]))
        else:
            self.to_read = self.rows()
        self.to_write = list(self.to_read)

    def rows(self) -> list[int]:
        """The rows of the token, by running sums."""
        f = self.fields
        if f["opcode"] == sequencer.WEIGH:
            return list(range(self.first, self.first + f["rows"]))
        found, word = [], self.first
        for number in range(f["words"]):
            last = number == f["words"] - 1
            found += range(word, word + f["last_blocks" if last else "blocks"])
            word += f["word_rows"]
        return found

    def row(self) -> dict[str, Any]:
        """What goes into the vector unit with the row that stands."""
        f, x = self.fields, self.standing
        plain = {"x": x, "op": vector.SCALE, "constant": 1, "operand": vector.CONSTANT, "shift": 0, "digits": vector.ALL_DIGITS,
                 "center": 0, "accumulate": 0, "first": int(self.is_first), "keep": 0}  # fmt: skip
        if self.phase == SUM:
            return plain | {"accumulate": 1}
        if self.phase == CENTER:
            return plain | {"constant": f["elements"], "center": 1, "shift": f["center_shift"]}
        if self.phase == SQUARE:
            return plain | {"operand": vector.SQUARE, "shift": f["square_shift"], "accumulate": 1}
        if self.phase == ROOT:
            return plain | {"op": vector.ROOT, "accumulate": 1}
        if self.phase == RECIPROCAL:
            return plain | {"op": vector.RECIPROCAL, "shift": f["reciprocal_shift"], "keep": 1}
        if self.phase == SCALE:
            operand = vector.CONSTANT if self.flat else vector.SCALAR
            return plain | {"operand": operand, "constant": 0, "shift": f["scale_shift"], "digits": f["digits"]}
        return plain | {"op": vector.TABLE, "x": self._arguments(x), "shift": f["table_shift"], "accumulate": 1}

    def _arguments(self, scores: NDArray[np.int64]) -> NDArray[np.int64]:
        """Scores less the greatest, with the offset; the least where there is no expert."""
        half = 1 << (self.unit.sizes[0] - 1)
        block = self.fields["blocks"] - len(self.to_read) - 1
        experts = block * len(scores) + np.arange(len(scores))
        arguments = np.clip(scores - self.greatest + self.fields["offset"], -half, half - 1)
        return np.where(experts < self.fields["experts"], arguments, -half)

    def step(self) -> bool:
        """A cycle; returns whether it ends the phase."""
        if self.phase == MAXIMUM:
            return self._compare()
        accepted, result = self.unit.step(None if self.standing is None else self.row)
        ended = False
        if result is not None:
            row = self.to_write.pop(0)
            if self.phase in (CENTER, SCALE):
                self.bank[row] = result
            if self.phase == ROOT:
                self.flat = result[0] == 0
            ended = not self.to_write
        if accepted:
            self.standing, self.is_first = None, False
        self._read()
        return ended

    def _read(self) -> None:
        """The bank answers in the next cycle, if nothing stands then."""
        if self.standing is None and self.to_read:
            source = self.scores if self.phase in (MAXIMUM, EXPONENTIAL) else self.bank
            self.standing = source[self.to_read.pop(0)].astype(np.int64)
            if self.phase not in NO_BANK:
                self.answered.append(self.standing.tolist())

    def _compare(self) -> bool:
        """A cycle of MAXIMUM."""
        ended = False
        if self.standing is not None:
            block = self.fields["blocks"] - len(self.to_read) - 1
            there = self.fields["experts"] - block * len(self.standing)
            highest = int(self.standing[:there].max())
            self.greatest = highest if block == 0 else max(self.greatest, highest)
            self.standing, ended = None, not self.to_read
        self._read()
        return ended


def tokens_of(fields: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    """First rows of each token (and time step) and of its scores, by running sums."""
    first, score = fields["base"], fields.get("score_base", 0)
    for _ in range(fields["tokens"]):
        step = first
        for _ in range(fields.get("steps", 1)):
            yield step, score
            step += fields.get("step_rows", 0)
        first += fields["token_rows"]
        score += fields.get("score_token", 0)


def run(fields: Mapping[str, int], chip: ChipParams, memories: Memories) -> int:
    """Run a NORMALISE or WEIGH; returns the cycles from the start to the end."""
    return counted(fields, chip, memories)[0]


def counted(fields: Mapping[str, int], chip: ChipParams, memories: Memories) -> tuple[int, int]:
    """Run a NORMALISE or WEIGH; returns its cycles, and the elements of the rows that it read unlike those of the row before."""
    weighs, core = fields["opcode"] == sequencer.WEIGH, memories.cores[fields["core"]]
    contract.check(fields, chip, weighs)
    unit = Unit(NormaliserParams(chip).unit, memories.normaliser.table)
    engine = Engine(fields, unit, core.psum if weighs else core.residual, core.residual)
    cycle = 0
    for engine.first, engine.score in tokens_of(fields):
        engine.flat = False
        for phase in contract.WEIGH_PHASES if weighs else contract.NORMALISE_PHASES:
            engine.begin(phase)
            ended = False
            while not ended:
                cycle += 1
                ended = engine.step()
    return cycle + 1, contract.changed_elements(engine.answered)
