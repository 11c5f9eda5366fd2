"""The proofs, and how one is done: the claims hold, their events are reached, and an injected bug is found."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from archsim.contracts.crossbar import CrossbarParams
from archsim.contracts.spike_fetch import FIFO_DEPTH
from rtl.formal import crossbar, network, order, streams
from rtl.formal.claims import HOLD, REACH
from rtl.formal.engines import BMC, PDR, PLAIN_PDR, aiger, ask, paths

HORIZON = 60
"""Cycles within which an event is reached and an injected bug found."""


@dataclass(frozen=True)
class Proof:
    """Claims of a component, for any number of cycles.

    Attributes:
        name: unique.
        component, parameters, claim, bug: what is proved of what, and what is injected, in words.
        make: the claims; with the argument True, of the component with the bug. Where ``structure``: claims, and signals from
            which no path without a register may lead to the others.
        structure: a search for paths in the netlist instead; what is reached is a path to anything.
        plain: without simplification first, where the proof is found sooner so.
        seconds: limit for one question.
    """

    name: str
    component: str
    parameters: str
    claim: str
    bug: str
    make: Callable[[bool], Any]
    structure: bool = False
    plain: bool = False
    seconds: int = 600

    @property
    def engine(self) -> str:
        """What proves it."""
        return "yosys, paths" if self.structure else "abc pdr"


class Result(NamedTuple):
    """What became of a proof: whether the claims hold, the cycles of the cover and of the injected bug (None: not found)."""

    proof: Proof
    proved: bool
    cover: int | None
    found: int | None
    seconds: float

    @property
    def passed(self) -> bool:
        """Proved, reached, found."""
        return self.proved and self.cover is not None and self.found is not None


def prove(proof: Proof, folder: Path) -> Result:
    """Do ``proof`` with files in ``folder``. Raises ArchsimError where a tool is missing or fails."""
    began = time.monotonic()
    if proof.structure:
        counts = paths({"hold": proof.make(False), "bug": proof.make(True)}, folder)
        (wrong, size), (injected, _) = counts["hold"], counts["bug"]
        seconds = time.monotonic() - began
        return Result(proof, wrong == 0, 0 if size else None, 0 if injected else None, seconds)
    aiger({HOLD: (proof.make(False), HOLD), REACH: (proof.make(False), REACH), "bug": (proof.make(True), HOLD)}, folder)
    within = BMC.format(cycles=HORIZON, seconds=proof.seconds)
    command = PLAIN_PDR if proof.plain else PDR
    answer = ask(folder / f"{HOLD}.aig", command.format(seconds=proof.seconds))
    cover, found = (ask(folder / f"{name}.aig", within).cycle for name in (REACH, "bug"))
    return Result(proof, answer.proved, cover, found, time.monotonic() - began)


def _orders() -> list[Proof]:
    proofs = [
        Proof(f"fifo_{depth}", "Fifo", f"depth {depth}", "order, no loss, no copy; valid iff not empty",
              "one register too few", partial(order.fifo, depth))
        for depth in (2, 3, FIFO_DEPTH)
    ]  # fmt: skip
    proofs += [
        Proof(f"queue_{depth}", "crossbar.Queue", f"depth {depth}", "order, no loss, no copy", "one register too few",
              partial(order.queue, depth))
        for depth in (2, 3)
    ]  # fmt: skip
    proofs += [
        Proof(f"arbiter_{count}", "RoundRobin", f"{count} inputs",
              "one choice at a time, of one that waits, kept to its end; nobody is passed over twice by the same one",
              "the lowest number first", partial(order.arbiter, count))
        for count in (2, 3, 4, 5, 8)
    ]  # fmt: skip
    return proofs


def _crossbars() -> list[Proof]:
    two, four = CrossbarParams(2, 2, 1), CrossbarParams(4, 2, 1)
    proofs = []
    for params in (two, CrossbarParams(3, 1, 1), four):
        sizes = f"P = {params.ports}, depth {params.depth}, 1 bit"
        proofs += [
            Proof(f"flow_{params.ports}", "Crossbar", sizes,
                  "a flow's flits are neither lost, doubled nor reordered (coloured payload); packets whole",
                  "an output drops a flit that is not taken", partial(crossbar.flow, params)),
            Proof(f"exclusion_{params.ports}", "Crossbar", sizes,
                  "an output empties one queue a cycle, and only by what it gives", "it empties two",
                  partial(crossbar.exclusion, params)),
        ]  # fmt: skip
    proofs.append(
        Proof("deadlock_2", "two Crossbars, Fifo", "P = 2, depth 2, servers of 1 flit",
              "requests become answers; something moves in 3 cycles while clients take and go on",
              "one network for both", partial(network.moving, two, 1), plain=True)
    )  # fmt: skip
    return proofs


def _streams() -> list[Proof]:
    proofs = []
    for name, place in streams.found().items():
        where = ".".join((place.unit, *place.path))
        proofs += [
            Proof(f"stays_{name}", name, where, "an offer stays, unchanged, until it is taken", "it does not wait for ready",
                  partial(streams.rules, place)),
            Proof(f"valid_{name}", name, where, "no path from ready to valid", "it offers only what is taken",
                  partial(streams.independence, place), structure=True),
        ]  # fmt: skip
    return proofs


def proofs() -> list[Proof]:
    """All of them."""
    return [*_orders(), *_crossbars(), *_streams()]
