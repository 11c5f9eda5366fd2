"""Where the cycles went: every adder slot of a run has one cause, and every cycle belongs to one layer.

A *slot* is one adder in one cycle; a run of C cycles has adders x C of them. All figures are integers, and
the parts add up to the whole or an AccountingError, an internal error, is raised.

Slots of a core inside an instruction are split by its counters and belong to its layer. Between instructions
a core first decodes (ready - previous end) and then waits (start - ready). If it waits for a shared engine
(DMA, multicast, attention, experts, normaliser) that works in that cycle, that engine is the cause; if that engine itself waits,
the cause is what it waits for, and so on. Idle slots belong to the layer that the chip works on then.

The layer of a cycle is that of the instruction of a core or the attention unit that started last among those
that run (of two that started together, the later layer); if none runs, that of the next one to start, and
after the last one its own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.counters import AccountingError, leaders
from archsim.results import (
    NOT_WAITING,
    WAIT_ATTENTION,
    WAIT_CORE,
    WAIT_DMA,
    WAIT_EXPERTS,
    WAIT_MULTICAST,
    WAIT_NORMALISER,
    ImageRun,
)

CAUSES = {
    "additions": "additions done",
    "unused_columns": "columns without a channel",
    "idle_lanes": "lanes without a spike",
    "empty_words": "words without a spike",
    "shifts": "shifts between bit planes",
    "neurons": "neuron unit (stalls, bit planes)",
    "fill": "pipeline fill and drain",
    "weights": "waiting for DMA (weights, image)",
    "gather": "waiting for multicast",
    "attention": "waiting for attention",
    "experts": "waiting for routing to experts",
    "normaliser": "waiting for the normaliser",
    "other_cores": "waiting for other cores",
    "decode": "sequencer (decode, semaphores)",
    "end": "no work left",
    "unused_cores": "cores without a program",
}
"""What an adder slot was used for or lost to: name and label, in the order of the reports."""

NAMES = list(CAUSES)


@dataclass(frozen=True)
class Accounts:
    """Accounts of one image.

    Attributes:
        layer_cycles: int64 [layers], cycles that belong to each layer; they add up to the image's cycles.
        slots: int64 [layers, causes], adder slots by layer and cause; they add up to adders x cycles.
    """

    layer_cycles: NDArray[np.int64]
    slots: NDArray[np.int64]


def account(chip: ChipParams, run: ImageRun, layers: int) -> Accounts:
    """Attribute every cycle and every adder slot of ``run``; ``layers`` is the number of layers.

    Raises AccountingError when the records contradict each other or sums differ.
    """
    records = run.records
    if np.any(records["start"] < records["ready"]) or np.any(records["end"] < records["start"]):
        raise AccountingError("an instruction starts before it is ready or ends before it starts")
    if np.any((records["layer"] < 0) | (records["layer"] >= layers)):
        raise AccountingError(f"an instruction has no layer in 0..{layers - 1}")
    times, owners = layer_segments(run)
    slots = np.zeros((layers, len(NAMES)), np.int64)
    _inside(chip, run, slots)
    _between(chip, run, times, owners, slots)
    layer_cycles = np.zeros(layers, np.int64)
    np.add.at(layer_cycles, owners, np.diff(times))
    if layer_cycles.sum() != run.cycles:
        raise AccountingError(f"cycles of layers add up to {layer_cycles.sum()}, the run took {run.cycles}")
    if slots.sum() != chip.adders * run.cycles:
        raise AccountingError(f"adder slots add up to {slots.sum()}, the run had {chip.adders * run.cycles}")
    return Accounts(layer_cycles, slots)


def layer_segments(run: ImageRun) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The layer of every cycle: times [segments + 1] from 0 to the end, and the layer of each segment."""
    records = run.records[run.records["engine"] >= sequencer.ATTENTION]
    if not len(records):
        owner = int(run.records["layer"][-1]) if len(run.records) else 0
        return np.array([0, run.cycles]), np.array([owner])
    order = np.lexsort((records["engine"], records["layer"], records["start"]))
    start, end, layer = (records[name][order].tolist() for name in ("start", "end", "layer"))
    times, owners = [0], []
    stack: list[tuple[int, int]] = []  # running instructions (end, layer), the latest started on top

    def close(until: int, owner: int) -> None:
        if until > times[-1]:
            times.append(until)
            owners.append(owner)

    for begin, finish, number in zip(start, end, layer, strict=True):
        while stack and stack[-1][0] <= begin:
            close(*stack.pop())
        if stack:
            close(begin, stack[-1][1])
        close(begin, number)  # nothing ran: waiting for this one
        stack.append((finish, number))
    while stack:
        close(*stack.pop())
    close(run.cycles, layer[-1])
    return np.array(times), np.array(owners)


def _inside(chip: ChipParams, run: ImageRun, slots: NDArray[np.int64]) -> None:
    """Slots of cores within instructions, split by the counters of the gang's leader."""
    engines = run.records["engine"]
    chosen = np.flatnonzero((engines >= sequencer.CORE0) & (engines < sequencer.NORMALISER))
    own = run.records[chosen]
    lead = run.records[leaders(run.records)[chosen]]
    layer, width = own["layer"], chip.lanes * chip.columns
    planes = own["opcode"] == sequencer.PLANES
    parts = {
        "additions": own["additions"],
        "unused_columns": lead["lane_events"] * chip.columns - own["additions"],
        "idle_lanes": (lead["events"] * chip.lanes - lead["lane_events"]) * chip.columns,
        "empty_words": lead["empty_words"] * width,
        "shifts": lead["shifts"] * width,
        "neurons": own["stall_cycles"] * width,
        "fill": own["fill_cycles"] * width,
    }
    duration = (own["end"] - own["start"]) * width
    total = np.zeros(len(own), np.int64)
    for name, values in parts.items():
        values = np.where(planes, duration if name == "neurons" else 0, values)
        if np.any(values < 0):
            raise AccountingError(f"an instruction of a core has less than 0 slots of '{name}'")
        np.add.at(slots[:, NAMES.index(name)], layer, values)
        total += values
    wrong = np.flatnonzero(total != duration)
    if len(wrong):
        record = own[wrong[0]]
        raise AccountingError(
            f"{sequencer.engine_name(int(record['engine']))}, instruction {record['index']}: counters "
            f"stand for {total[wrong[0]] / width:g} cycles, it took {record['end'] - record['start']}"
        )


def _between(
    chip: ChipParams,
    run: ImageRun,
    layer_times: NDArray[np.int64],
    owners: NDArray[np.int64],
    slots: NDArray[np.int64],
) -> None:
    """Slots of cores outside their instructions, by cause and by the chip's layer at that time."""
    idle: list[tuple[int, int, str | int]] = []
    for core in range(chip.cores):
        idle += _gaps(run, sequencer.CORE0 + core)
    shared = {wait: _gaps(run, engine) for wait, engine in _SHARED.items()}
    gaps = idle + [gap for some in shared.values() for gap in some]
    edges = [np.array([gap[:2] for gap in gaps], np.int64).ravel(), layer_times]
    times = np.unique(np.concatenate(edges))
    layer = owners[np.searchsorted(layer_times, times[:-1], side="right") - 1]
    causes = _causes(times, shared)
    length = np.diff(times) * (chip.lanes * chip.columns)
    for kind in {gap[2] for gap in idle}:
        spans = np.array([gap[:2] for gap in idle if gap[2] == kind], np.int64)
        change = np.zeros(len(times), np.int64)
        np.add.at(change, np.searchsorted(times, spans[:, 0]), 1)
        np.add.at(change, np.searchsorted(times, spans[:, 1]), -1)
        count = np.cumsum(change)[:-1]
        cause = np.full(len(length), NAMES.index(kind)) if isinstance(kind, str) else causes[kind]
        np.add.at(slots, (layer, cause), count * length)


_SHARED = {
    WAIT_DMA: sequencer.DMA, WAIT_MULTICAST: sequencer.MULTICAST, WAIT_ATTENTION: sequencer.ATTENTION,
    WAIT_EXPERTS: sequencer.EXPERTS, WAIT_NORMALISER: sequencer.NORMALISER,
}  # fmt: skip
_WORKING = {
    WAIT_DMA: "weights", WAIT_MULTICAST: "gather", WAIT_ATTENTION: "attention", WAIT_EXPERTS: "experts",
    WAIT_NORMALISER: "normaliser",
}  # fmt: skip


def _gaps(run: ImageRun, engine: int) -> list[tuple[int, int, str | int]]:
    """Idle spans (from, to, cause) of an engine; a cause is a name or, where it waits, a ``waited_for``."""
    own = run.records[run.records["engine"] == engine]
    if not len(own):
        return [(0, run.cycles, "unused_cores")]
    own = own[np.argsort(own["index"], kind="stable")]
    ends = np.concatenate([[0], own["end"]])
    if np.any(own["ready"] < ends[:-1]) or ends[-1] > run.cycles:
        raise AccountingError(f"{sequencer.engine_name(engine)}: instructions overlap or end after the run")
    spans: list[tuple[int, int, str | int]] = []
    for before, ready, start, wait in zip(ends, own["ready"], own["start"], own["waited_for"], strict=False):
        spans.append((int(before), int(ready), "decode"))
        # A gang's member that was early has waited for its fellows, whatever the gang itself waited for.
        spans.append((int(ready), int(start), WAIT_CORE if wait == NOT_WAITING else int(wait)))
    spans.append((int(ends[-1]), run.cycles, "end"))
    return [span for span in spans if span[1] > span[0]]


def _causes(
    times: NDArray[np.int64], shared: dict[int, list[tuple[int, int, str | int]]]
) -> dict[int, NDArray[np.int64]]:
    """For each ``waited_for`` the cause in every segment of ``times``; chains of waiting are followed."""
    other, decode = NAMES.index("other_cores"), NAMES.index("decode")
    count = len(times) - 1
    # Per shared engine and segment: a cause, or -(waited_for) while it waits itself.
    state = {wait: np.full(count, NAMES.index(_WORKING[wait])) for wait in shared}
    for wait, gaps in shared.items():
        for begin, end, cause in gaps:
            span = slice(*np.searchsorted(times, (begin, end)))
            # An engine that has ended holds nobody up: what remains is its semaphore, visible a cycle later.
            ended = cause in ("end", "unused_cores")
            state[wait][span] = decode if ended else NAMES.index(cause) if isinstance(cause, str) else -cause
    for _ in shared:
        for wait in shared:
            for kind in shared:
                follow = state[wait] == -kind
                state[wait][follow] = state[kind][follow]
    for wait in shared:
        state[wait][state[wait] < 0] = other
    return {**state, WAIT_CORE: np.full(count, other)}
