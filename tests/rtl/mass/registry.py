"""The units of the mass co-simulation: a line each."""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.rtl.mass.record import INSTRUCTIONS, STREAM, Goal, Result

Run = Callable[[Goal], Iterator[Result]]
"""Runs a unit up to a goal: a result for each parameter set and source; raises ``Divergence`` at a difference."""


def _named(path: str) -> Any:
    """What ``module:name`` names."""
    module, name = path.split(":")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class Unit:
    """How a unit is run: ``module:name`` of its :data:`Run` (imported when needed), and how much it has to."""

    run: str
    goal: Goal = STREAM

    def load(self) -> Run:
        """The function."""
        return _named(self.run)


@dataclass(frozen=True)
class Stream:
    """A unit with one stream in and one out: its class of cases, its fast model, and what yields its recorded cases."""

    cases: str
    fast: str
    recorded: str = ""
    goal: Goal = STREAM

    def load(self) -> Run:
        """The function."""
        stream = _named("tests.rtl.mass.streams:stream")
        recorded = _named(self.recorded) if self.recorded else None
        return stream(_named(self.cases)(), importlib.import_module(self.fast), recorded)


GANGS = Goal(2500, 1)
"""Instructions of cores in gangs, beside those of single cores."""

UNITS: dict[str, Unit | Stream] = {
    "event_encoder": Stream(
        "tests.rtl.test_event_encoder:EventEncoderCases",
        "archsim.units.event_encoder",
        "tests.rtl.mass.recorded:encoder",
    ),
    "synapse_array": Stream(
        "tests.rtl.test_synapse_array:SynapseArrayCases", "archsim.units.synapse_array", "tests.rtl.mass.recorded:array"
    ),
    "router": Stream("tests.rtl.test_router:RouterCases", "archsim.units.router"),
    "vector": Stream("tests.rtl.test_vector:VectorCases", "archsim.units.vector"),
    "masker": Stream("tests.rtl.test_masker:MaskerCases", "archsim.units.masker"),
    "transposer": Stream("tests.rtl.test_transposer:TransposerCases", "archsim.units.transposer"),
    "spike_fetch": Unit("tests.rtl.mass.fetch:run"),
    "neuron": Unit("tests.rtl.mass.neuron:run"),
    "spike_writer": Unit("tests.rtl.mass.writer:run"),
    "crossbar": Unit("tests.rtl.mass.crossbar:run"),
    "sram": Unit("tests.rtl.mass.sram:run"),
    "arbiter": Unit("tests.rtl.mass.arbiter:run"),
    "fifo": Stream("tests.rtl.mass.fifo:FifoCases", "tests.rtl.mass.fifo"),
    "core": Unit("tests.rtl.mass.cores:core", INSTRUCTIONS),
    "core_gangs": Unit("tests.rtl.mass.queues:core_gangs", GANGS),
    "attention": Unit("tests.rtl.mass.cores:attention", INSTRUCTIONS),
    "dma": Unit("tests.rtl.mass.movers:dma", INSTRUCTIONS),
    "multicast": Unit("tests.rtl.mass.movers:multicast", INSTRUCTIONS),
    "experts": Unit("tests.rtl.mass.experts:run", INSTRUCTIONS),
    "normaliser": Unit("tests.rtl.mass.normaliser:run", INSTRUCTIONS),
    "sequencer": Unit("tests.rtl.mass.queues:sequencers", INSTRUCTIONS),
}
"""Units by the names of their contracts (and parts of units by those of their modules)."""
