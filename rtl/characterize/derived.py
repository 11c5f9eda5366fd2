"""Counts of windows that follow from their other counts and from the stimulus, so that no point is measured again for them.

Each function takes a unit's parameters and the counts of its windows, in their order, and gives further ones of each.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from archsim.contracts.attention import AttentionParams
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.dma import row_beats
from archsim.contracts.neuron import GROUP_GAP, NeuronParams
from archsim.contracts.normaliser import changed_elements
from archsim.contracts.synapse_array import SynapseArrayParams
from rtl.characterize import attended, normalising, stimuli, transfers
from rtl.characterize.stimuli import Stimulus
from rtl.units.dma import row_bits
from rtl.units.neuron import block_layout

Counts = Sequence[Mapping[str, int]]
"""Counts by name, of each window."""


def nothing(params: object, windows: Counts) -> list[dict[str, int]]:
    """No further counts."""
    return [{} for _ in windows]


def loads(chip: ChipParams, windows: Counts) -> list[dict[str, int]]:
    """Of the DMA engine: ``toggles``, bits of LOAD's beats unlike those before, and ``row_starts``, runs of first beats of rows."""
    stimulus, found = transfers.transferred(chip), []
    offers, items = stimulus.streams["beat"]
    beats = row_beats(row_bits(chip)["spike_in"] // 8, chip.dram_bus_bytes)
    for (begin, end), given, counts in zip(pairwise(stimulus.edges), items[1:], windows, strict=False):
        given = given[: counts["loaded"]]
        coming = np.flatnonzero(offers[begin:end])[: len(given) : beats]
        runs = int((np.diff(coming, prepend=-2) > 1).sum())
        found.append({"toggles": sum((one ^ other).bit_count() for one, other in pairwise([0, *given])), "row_starts": runs})
    return found


def busy_groups(params: SynapseArrayParams, windows: Counts) -> list[dict[str, int]]:
    """Of the synapse array: groups with a set lane (``busy_groups``) among the events taken, which are the first of a window's."""
    found = []
    for items, counts in zip(stimuli.array(params).streams["i"][1][1:], windows, strict=False):
        spiking, busy = False, 0
        for event in map(params.i.unpack, items[: counts["events"]]):
            spiking |= event["mask"] != 0
            if event["last"]:
                spiking, busy = False, busy + spiking
        found.append({"busy_groups": busy})
    return found


def blocks(params: NeuronParams, windows: Counts) -> list[dict[str, int]]:
    """Of the neuron unit: ``runs`` of blocks in successive cycles, and ``changes``, blocks with other sums than the one before."""
    layout, found = block_layout(params), []
    items = stimuli.neurons(params).streams["i"][1][1:]
    for given, runs, counts in zip(items, _runs(params), windows, strict=False):
        sums = [layout.unpack(item)["sums"] for item in given[: counts["granules"]]]
        found.append({"runs": runs, "changes": sum(one != other for one, other in zip(sums, [None, *sums], strict=False))})
    return found


@cache
def _runs(params: NeuronParams) -> list[int]:
    """Ends of runs in each window of `stimuli.neurons`."""
    return _ends_of(params, stimuli.neurons(params))


def _ends_of(params: NeuronParams, stimulus: Stimulus) -> list[int]:
    """Ends of runs in each window."""
    return [int((window[:-1] & ~window[1:]).sum()) for window in accepted(params, stimulus)]


def attended_blocks(chip: ChipParams, windows: Counts) -> list[dict[str, int]]:
    """Of the attention unit's neurons: ``runs`` as of the neuron unit, and ``busy``, blocks of groups whose sums are not all 0."""
    params, stimulus, found = AttentionParams(chip).neuron, attended.fired(chip), []
    layout = block_layout(params)
    for given, runs, counts in zip(stimulus.streams["i"][1][1:], _ends_of(params, stimulus), windows, strict=False):
        blocks = list(map(layout.unpack, given))
        groups = [blocks[first : first + params.blocks] for first in range(0, len(blocks), params.blocks)]
        busy = [any(any(elements(block["sums"])) for block in group) for group in groups for _ in group]
        found.append({"runs": runs, "busy": sum(busy[: counts["granules"]])})
    return found


def elements(value: int | Sequence[int]) -> Sequence[int]:
    """The elements of a field, of which one alone is a number."""
    return [value] if isinstance(value, int) else value


def changed(chip: ChipParams, windows: Counts) -> list[dict[str, int]]:
    """Of what is around the normaliser's vector unit: ``changes`` (`changed_elements`) of the rows of both instructions."""
    bits, mask = chip.membrane_bits, (1 << chip.membrane_bits) - 1

    def unpacked(row: int) -> list[int]:
        return [row >> bits * number & mask for number in range(chip.neurons)]

    rows = zip(*normalising.rows_read(chip), strict=True)
    return [{"changes": sum(changed_elements(map(unpacked, own)) for own in both)} for both, _ in zip(rows, windows, strict=False)]


def accepted(params: NeuronParams, stimulus: Stimulus) -> list[NDArray[np.bool_]]:
    """Whether a neuron unit accepts a block in each cycle of each window of ``stimulus``, and in the cycle behind it.

    It is accepted as soon as it is offered, the first of a group not before the gap to the group before.
    """
    layout = block_layout(params)
    offers, items = stimulus.streams["i"]
    begins = dict(zip(stimulus.edges, items[1:], strict=False))
    taken = np.zeros(stimulus.cycles + 1, bool)
    waiting, gap, given = None, 0, iter(items[0])
    for cycle, offered in enumerate(offers):
        given = iter(begins[cycle]) if cycle in begins else given
        taken[cycle] = waiting is not None and gap == 0
        gap = max(0, gap - 1)
        if waiting is not None and taken[cycle] and layout.unpack(waiting)["last"]:
            gap = GROUP_GAP - 1
        if waiting is None or taken[cycle]:
            waiting = next(given) if offered else None
    return [taken[begin : end + 1] for begin, end in pairwise(stimulus.edges)]
