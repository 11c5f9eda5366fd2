"""One stream in, one stream out: what a bench drives, what it must see, and the first difference.

Cycle 0 is the first cycle after reset and loading. The producer offers transaction k from cycle
``accepted[k - 1] + 1 + gaps[k]`` on (the first from ``gaps[0]``); ``ready`` is the consumer's trace, cyclic.
"""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np

from archsim.contracts.common.layout import Layout

TAIL = 32
"""Cycles that a bench goes on after the last expected one: nothing more may come."""


class Stalls(NamedTuple):
    """How a producer hesitates and a consumer blocks.

    Attributes:
        gap: probability of a gap before a transaction.
        longest: greatest gap.
        ready: probability that the consumer is ready in a cycle.
        burst: mean length of runs of ready (and of blocked) cycles.
    """

    gap: float
    longest: int
    ready: float
    burst: int = 1

    def gaps(self, rng, transactions):
        """A gap for each transaction."""
        return rng.integers(1, self.longest + 1, transactions) * (rng.random(transactions) < self.gap)

    def trace(self, rng):
        """A trace of ready cycles whose period fits to nothing, ready at least once."""
        trace = np.repeat(rng.random(997) < self.ready, rng.geometric(1 / self.burst, 997))
        trace[rng.integers(len(trace))] = True
        return trace


STALLS = {
    "none": Stalls(0, 1, 1),
    "slow producer": Stalls(0.5, 7, 1),
    "slow consumer": Stalls(0, 1, 0.3),
    "both": Stalls(0.4, 3, 0.6),
    "bursts": Stalls(0.05, 60, 0.5, 20),
}
"""Stall patterns; every stream test runs with all of them."""


@dataclass
class Case:
    """A run of a unit. Payloads are uint64 [transactions, words], the lowest word first.

    Attributes:
        constants: input ports that hold one value throughout.
        load: payloads for the port ``weight`` before cycle 0, a row a cycle (none: no such port).
        noise: payloads for the same port during the run, a row a cycle, cyclic; they must not matter.
        payload: what the producer sends.
        gaps: the producer's gaps.
        ready: the consumer's trace.
        accepted: expected cycle of each acceptance.
        output: expected payloads.
        transferred: expected cycle of each of them.
        state: expected retired state, uint64 [words].
    """

    constants: dict[str, int]
    load: np.ndarray
    noise: np.ndarray
    payload: np.ndarray
    gaps: np.ndarray
    ready: np.ndarray
    accepted: np.ndarray
    output: np.ndarray
    transferred: np.ndarray
    state: np.ndarray

    @property
    def limit(self) -> int:
        """Cycles to run."""
        return int(max(self.accepted.max(initial=0), self.transferred.max(initial=0))) + TAIL

    def save(self, path: Path) -> None:
        """Write the case, for a bench in another process."""
        values = asdict(self)
        constants = values.pop("constants")
        names = np.array(list(constants), dtype=np.str_)
        numbers = np.array([str(value) for value in constants.values()], dtype=np.str_)
        np.savez(path, names=names, numbers=numbers, **values)

    @classmethod
    def read(cls, path: Path) -> "Case":
        """The case of a file."""
        with np.load(path) as data:
            names, numbers = data["names"].tolist(), data["numbers"].tolist()
            arrays = {field.name: data[field.name] for field in fields(cls) if field.name != "constants"}
        return cls({name: int(number) for name, number in zip(names, numbers, strict=True)}, **arrays)


class Observed(NamedTuple):
    """What a bench saw: as in :class:`Case`, and counts.

    Attributes:
        transferred: a last one of -1 is an output that was still offered at the end.
        broken: cycles in which an offered output was withdrawn or changed before it was taken.
        input_stalls: cycles in which the unit let the producer wait.
        output_stalls: cycles in which the consumer let the unit wait.
    """

    accepted: np.ndarray
    output: np.ndarray
    transferred: np.ndarray
    state: np.ndarray
    broken: int
    input_stalls: int
    output_stalls: int


def compare(case: Case, seen: Observed, layout: Layout | None = None) -> None:
    """Fail with the first difference between what was expected and what was seen, cycles first.

    ``layout`` decodes the output payload for the message.
    """
    assert seen.broken == 0, f"the output was withdrawn or changed before it was taken in {seen.broken} cycles"
    _same("acceptance", case.accepted, seen.accepted, str)
    _same("transfer", case.transferred, seen.transferred, str)
    _same("output", case.output, seen.output, lambda row: str(layout.unpack(number(row)) if layout else row))
    assert np.array_equal(case.state, seen.state), f"retired state: expected {case.state}, seen {seen.state}"


class ModelsDiffer(AssertionError):
    """The law and the stepped model differ; ``case`` is what the law expects, for the Verilog to decide."""

    def __init__(self, name: str, case: Case):
        self.case = case
        super().__init__(f"law and stepped model differ in {name}")


def require_same(law, model, case: Case) -> Case:
    """The case, made from the law, if the stepped model's named tuple is the same; raises ModelsDiffer."""
    for name in law._fields:
        if not np.array_equal(getattr(law, name), getattr(model, name)):
            raise ModelsDiffer(name, case)
    return case


def require_stalls(runs: list[tuple[Case, Observed]]) -> None:
    """Fail if, in runs against consumers that block, neither side ever waited: they would show nothing."""
    seen = [seen for case, seen in runs if not np.all(case.ready)]
    assert not seen or sum(run.input_stalls for run in seen) > 0, "no stall of the producer was recorded"
    assert not seen or sum(run.output_stalls for run in seen) > 0, "no stall by the consumer was recorded"


def _same(what, expected, seen, show):
    for index, (wanted, got) in enumerate(zip(expected, seen, strict=False)):
        if not np.array_equal(wanted, got):
            raise AssertionError(f"{what} {index}: expected {show(wanted)}, seen {show(got)}")
    assert len(expected) == len(seen), f"{what}: expected {len(expected)} of them, seen {len(seen)}"


def number(words) -> int:
    """Words, the lowest first, as one integer."""
    return int.from_bytes(np.asarray(words, np.uint64).tobytes(), "little")


def words_of(value: int, width: int) -> np.ndarray:
    """An integer of ``width`` bits as words."""
    return np.frombuffer(value.to_bytes(8 * -(-width // 64), "little"), np.uint64).copy()


def pack(layout: Layout, values) -> np.ndarray:
    """Payloads uint64 [rows, words] from arrays by field, [rows] or [rows, count]: ``Layout.pack``, all at once."""
    parts = []
    for field in layout.fields:
        column = np.ascontiguousarray(values[field.name]).astype(np.uint64)
        column = np.ascontiguousarray(column.reshape(len(column), field.count))
        bits = np.unpackbits(column.view(np.uint8).reshape(len(column), field.count, 8), axis=2, bitorder="little")
        parts.append(bits[:, :, : field.width].reshape(len(column), field.bits))
    bits = np.concatenate(parts, axis=1)
    bits = np.pad(bits, ((0, 0), (0, -bits.shape[1] % 64)))
    return np.packbits(bits, axis=1, bitorder="little").view(np.uint64)
