"""The FIFO of registers as a unit with one stream in and one out: cases for the mass run, and its law (``run``)."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from amaranth.hdl import Module
from amaranth.lib.wiring import Component, Out, connect, flipped
from numba import njit

from archsim.contracts.common.layout import Field, Layout
from archsim.handshake import taken, waits
from archsim.stepped import fifo as stepped
from rtl.fifo import Fifo
from rtl.payload import shape, stream_in, stream_out
from tests.rtl.bench import Case, Stalls, pack, require_same, words_of


@dataclass(frozen=True)
class FifoParams:
    """A FIFO of ``depth`` entries of ``width`` bits."""

    width: int
    depth: int

    @cached_property
    def i(self) -> Layout:
        """An entry."""
        return Layout.of("entry", [Field("value", self.width)])

    @cached_property
    def o(self) -> Layout:
        """An entry."""
        return self.i

    @cached_property
    def state(self) -> Layout:
        """Entries held."""
        return Layout.of("fifo_state", [Field("level", self.depth.bit_length())])


class FifoStream(Component):
    """The FIFO behind a stream: it is ready while an entry is free at the start of the cycle."""

    def __init__(self, params: FifoParams):
        self.params = params
        super().__init__({"i": stream_in(params.i), "o": stream_out(params.o), "state": Out(shape(params.state))})

    def elaborate(self, platform):
        """A level that is looked at."""
        m = Module()
        m.submodules.fifo = fifo = Fifo(self.params.i, self.params.depth)
        m.d.comb += [
            self.i.ready.eq(fifo.level != self.params.depth), fifo.push.eq(self.i.valid & self.i.ready),
            fifo.pushed.eq(self.i.payload), self.state.level.eq(fifo.level),
        ]  # fmt: skip
        connect(m, fifo.o, flipped(self.o))
        return m


class FifoRun(NamedTuple):
    """Cycles in which each entry comes and goes."""

    accepted: np.ndarray
    transferred: np.ndarray


@njit
def _law(depth, gaps, wait, accepted, transferred):
    before, left = -1, -1
    for number in range(len(gaps)):
        room = transferred[number - depth] + 1 if number >= depth else 0
        accepted[number] = before = max(before + 1 + gaps[number], room)
        transferred[number] = left = taken(max(before + 1, left + 1), wait)


def run(params: FifoParams, gaps: np.ndarray, ready: np.ndarray) -> FifoRun:
    """Law: an entry is offered in the cycle after it came, and after the one before; its room is free in the next."""
    accepted, transferred = np.zeros(len(gaps), np.int64), np.zeros(len(gaps), np.int64)
    _law(params.depth, gaps, waits(ready), accepted, transferred)
    return FifoRun(accepted, transferred)


@njit
def _stepped(depth, gaps, ready, accepted, transferred):
    state, store, entry = np.zeros(2, np.int64), np.zeros((depth, 1), np.int64), np.zeros(1, np.int64)
    sent, cycle, since, left = 0, 0, gaps[0], len(gaps)
    while left:
        room = state[stepped.COUNT] < depth
        if state[stepped.COUNT] and ready[cycle % len(ready)]:
            transferred[stepped.pop(state, store)[0]] = cycle
            left -= 1
        if room and sent < len(gaps) and cycle >= since:
            accepted[sent], entry[0] = cycle, sent
            stepped.push(state, store, entry)
            sent += 1
            since = cycle + 1 + (gaps[sent] if sent < len(gaps) else 0)
        cycle += 1


def run_stepped(params: FifoParams, gaps: np.ndarray, ready: np.ndarray) -> FifoRun:
    """The same, clock by clock."""
    accepted, transferred = np.zeros(len(gaps), np.int64), np.zeros(len(gaps), np.int64)
    _stepped(params.depth, gaps, ready, accepted, transferred)
    return FifoRun(accepted, transferred)


class FifoCases:
    """Entries of any value; the corners fill a FIFO and empty it again."""

    unit = "fifo"
    sets = [FifoParams(1, 1), FifoParams(8, 2), FifoParams(33, 3), FifoParams(64, 4), FifoParams(5, 17)]
    create = FifoStream
    stalls_when_full = True

    def corners(self, params: FifoParams, stalls: Stalls, rng: np.random.Generator) -> Iterator[Case]:
        """Bursts that are longer than the FIFO against a consumer that rests as long."""
        count, rest = 4 * params.depth + 4, 2 * params.depth + 2
        ready = np.repeat([False, True], rest)
        yield self.case(params, np.zeros(count, np.int64), ready, rng)
        gaps = np.where(np.arange(count) % (params.depth + 1) == 0, 3 * rest, 0)
        yield self.case(params, gaps, ready, rng)

    def random(self, params: FifoParams, stalls: Stalls, rng: np.random.Generator, transactions: int) -> Case:
        """Random entries."""
        return self.case(params, stalls.gaps(rng, transactions), stalls.trace(rng), rng)

    @staticmethod
    def case(params: FifoParams, gaps: np.ndarray, ready: np.ndarray, rng: np.random.Generator) -> Case:
        """A case with its expectation."""
        none = np.zeros((0, 1), np.uint64)
        values = rng.integers(0, 1 << 64, len(gaps), np.uint64) & np.uint64((1 << params.width) - 1)
        payload, law = pack(params.i, {"value": values}), run(params, gaps, ready)
        case = Case(
            constants={}, load=none, noise=none, payload=payload, gaps=gaps, ready=ready, accepted=law.accepted,
            output=payload, transferred=law.transferred, state=words_of(0, params.state.width),
        )  # fmt: skip
        return require_same(law, run_stepped(params, gaps, ready), case)
