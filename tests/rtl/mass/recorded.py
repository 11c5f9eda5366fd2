"""Stimuli of the trained network: what passes from unit to unit in a core while the simulator runs one of its images."""

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from archsim import kernel, simulate
from archsim.contracts import sequencer
from archsim.contracts.core import CoreParams
from archsim.units import event_encoder, neuron, spike_fetch, synapse_array
from archsim.units.neuron import NeuronBanks
from archsim.units.sram import CoreMemory
from tests.rtl import test_event_encoder, test_synapse_array
from tests.rtl.bench import STALLS, Case
from tests.rtl.mass.record import Goal
from tests.rtl.test_digits_tiles import WORKLOAD, Recorder

PRESETS = ("small", "small_t4")
"""Chips on which the network runs: one lane, and one for each time step."""

ALWAYS = np.ones(1, np.bool_)


class Passage(NamedTuple):
    """A SYNAPSE of the network and all that passes in it, unit by unit, without a stall.

    Attributes:
        fields: the instruction.
        memory: the leading core's memories before it.
        words: what the fetch sends, as the encoder's ``run`` takes it.
        events: int64 [events, 4], what the encoder makes of them.
        sums: int64 [blocks, P], what the array hands over.
        granules: uint64 [blocks], the spikes.
    """

    fields: dict[str, int]
    memory: CoreMemory
    words: dict[str, np.ndarray]
    events: np.ndarray
    sums: np.ndarray
    granules: np.ndarray


@cache
def passages(preset: str) -> tuple[CoreParams, list[Passage]]:
    """Sizes of a core of the preset, and some instructions of each kind that the network has."""
    mapped = simulate.load(WORKLOAD, preset)
    recorder = Recorder()
    with mock.patch.object(kernel, "core", recorder):
        simulate.run_image(mapped, mapped.trained.normalised()[0], 0, record=True)  # instruction by instruction
    params = CoreParams(mapped.program.chip)
    kept = [(fields, before) for opcode, fields, before, *_ in recorder.kept if opcode == sequencer.SYNAPSE]
    return params, [_passage(params, fields, memory) for fields, memory in kept]


def _passage(params: CoreParams, fields: dict[str, int], memory: CoreMemory) -> Passage:
    first = np.zeros(1, np.int64)
    fetched = spike_fetch.run(params.fetch, [fields], memory.spike_in, first, ALWAYS)
    words = dict(zip(("row", "shift", "subtract", "last"), fetched.marks.T, strict=True)) | {"spikes": fetched.words}
    events = event_encoder.run(params.encoder, words, np.zeros(len(fetched.words), np.int64), ALWAYS).events
    sums = synapse_array.run(
        params.array, config_of(fields), memory.weight, events, np.zeros(len(events), np.int64), ALWAYS
    ).sums
    fired = neuron.run(params.neuron, fields, banks_of(fields, memory), sums, np.zeros(len(sums), np.int64))
    return Passage(fields, memory, words, events, sums, fired.granules)


def config_of(fields: dict[str, int]) -> dict[str, int]:
    """What the synapse array takes from an instruction."""
    return {"bank": fields["weight_bank"]} | {name: fields[name] for name in ("blocks", "steps", "replay")}


def banks_of(fields: dict[str, int], memory: CoreMemory) -> NeuronBanks:
    """Copies of the memories of the neuron unit."""
    return NeuronBanks(
        *(rows.copy() for rows in (memory.param[fields["param_bank"]], memory.psum, memory.residual, memory.reduce))
    )


def cases(unit: str, goal: Goal) -> Iterator[tuple[Any, Iterator[tuple[Passage, np.random.Generator]]]]:
    """For each preset the unit's parameters, and its instructions, each with random numbers for the stalls."""
    for preset in goal.chosen(PRESETS):
        params, some = passages(preset)
        yield (
            getattr(params, unit),
            ((passage, np.random.default_rng([18, index])) for index, passage in enumerate(some)),
        )


def encoder(goal: Goal) -> Iterator[tuple[Any, Iterator[Case]]]:
    """Cases of the event encoder."""
    stalls = STALLS["both"]
    for params, some in cases("encoder", goal):
        yield (
            params,
            (
                test_event_encoder.make(params, each.words, stalls.gaps(rng, len(each.words["row"])), stalls.trace(rng))
                for each, rng in some
            ),
        )


def array(goal: Goal) -> Iterator[tuple[Any, Iterator[Case]]]:
    """Cases of the synapse array, with the network's weights."""
    stalls = STALLS["both"]
    for params, some in cases("array", goal):
        yield params, (
            test_synapse_array.make(
                params, config_of(each.fields), each.memory.weight, each.events,
                stalls.gaps(rng, len(each.events)), stalls.trace(rng),
            )
            for each, rng in some
        )  # fmt: skip
