"""Strata: kinds of instructions of a program, and a sample that has some of each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import dma, sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.ownership import members
from cosim.expected import Place

EXTREMES = 12
"""Instructions of each opcode that count as the densest, and as the emptiest."""


@dataclass(frozen=True)
class Sample:
    """What was drawn.

    Attributes:
        places: the instructions, of a gang its leader's, in the order of the queues.
        strata: by name, how many instructions of the program are in it, and how many of those drawn; one may be in several.
    """

    places: list[Place]
    strata: dict[str, tuple[int, int]]


def draw(strata: Mapping[str, Sequence[Place]], count: int, seed: int) -> Sample:
    """Draw ``count`` instructions (all, if there are not so many): one of each stratum in turn, each at most once."""
    rng = np.random.default_rng(seed)
    left = {name: [places[number] for number in rng.permutation(len(places))] for name, places in strata.items()}
    chosen: dict[Place, None] = {}
    while len(chosen) < count and any(left.values()):
        for places in left.values():
            while places and places[-1] in chosen:
                places.pop()
            if places and len(chosen) < count:
                chosen[places.pop()] = None
    drawn = {name: (len(places), sum(place in chosen for place in places)) for name, places in strata.items()}
    return Sample(sorted(chosen), drawn)


def stratify(
    chip: ChipParams,
    queues: Mapping[int, Sequence[Mapping[str, int]]],
    notes: Mapping[str, Any],
    records: NDArray[np.void],
) -> dict[str, list[Place]]:
    """The strata of a program that ran: names, and the instructions in each, of a gang its leader's.

    Args:
        chip: the chip.
        queues: decoded instructions per engine.
        notes: ``Program.notes``.
        records: of the run, whose spikes tell the densest and the emptiest.
    """
    found: dict[str, list[Place]] = {}
    layers: dict[tuple[int, int], list[Place]] = {}
    density: dict[str, list[tuple[float, Place]]] = {}
    narrowest = _narrowest(queues, records)
    for record in records:
        place = int(record["engine"]), int(record["index"])
        head = queues[place[0]][place[1]]
        if members(place[0], head, chip)[0] != place[0]:
            continue
        head = {**head, "columns": narrowest[int(record["start"]), int(record["cores"])]} if "columns" in head else head
        for name in _names(chip, head, notes["instructions"][str(place[0])][place[1]]):
            found.setdefault(name, []).append(place)
        if head["opcode"] in (sequencer.SYNAPSE, sequencer.ATTEND_KV, sequencer.ATTEND_Q):
            words = max(1, int(record["words"]))
            density.setdefault(sequencer.OPCODES[head["opcode"]], []).append((record["lane_events"] / words, place))
        if head["opcode"] == sequencer.SYNAPSE:
            layers.setdefault((int(record["layer"]), place[0]), []).append(place)
    found["SYNAPSE, first of its layer"] = [places[0] for places in layers.values()]
    found["SYNAPSE, last of its layer"] = [places[-1] for places in layers.values()]
    for opcode, entries in density.items():
        order = [place for _, place in sorted(entries)]
        found[f"{opcode}, emptiest spikes"], found[f"{opcode}, densest spikes"] = order[:EXTREMES], order[-EXTREMES:]
    return {name: sorted(found[name]) for name in sorted(found)}


def _narrowest(
    queues: Mapping[int, Sequence[Mapping[str, int]]], records: NDArray[np.void]
) -> dict[tuple[int, int], int]:
    """Columns that carry a channel, of the member of each gang with the fewest; a gang by its start and its cores."""
    found: dict[tuple[int, int], int] = {}
    for record in records[records["opcode"] == sequencer.SYNAPSE]:
        key = int(record["start"]), int(record["cores"])
        columns = queues[int(record["engine"])][int(record["index"])]["columns"]
        found[key] = min(columns, found.get(key, columns))
    return found


def _names(chip: ChipParams, head: Mapping[str, int], note: Mapping[str, Any]) -> Iterator[str]:
    """Strata of one instruction by its fields."""
    opcode = sequencer.OPCODES[head["opcode"]]
    if head["opcode"] in (sequencer.LOAD, sequencer.STORE):
        if head["memory"] == dma.PROGRAM:
            return  # it would replace what runs alone; whole runs compare it
        name = f"{opcode} {dma.names([head['memory']], head['opcode'] == sequencer.LOAD)[0]}"
        yield name
        if head["cores"] & (head["cores"] - 1):
            yield f"{name}, several cores"
        if head["row_skip"]:
            yield f"{name}, rows apart"
    elif head["opcode"] in sequencer.COPIES:
        source = "attention" if head["source"] == sequencer.ATTENTION else "core"
        yield f"{opcode} {source} to {'cores' if head['cores'] else 'attention'}"
    elif head["opcode"] == sequencer.ATTEND_KV:
        yield f"ATTEND_KV by {'AND-popcount' if head['popcount'] else 'events'}"
    elif head["opcode"] == sequencer.SYNAPSE:
        yield from (f"SYNAPSE, {name}" for name in _synapse(chip, head, note))
    else:
        yield opcode


def _synapse(chip: ChipParams, head: Mapping[str, int], note: Mapping[str, Any]) -> Iterator[str]:
    """What is special about a SYNAPSE."""
    size = head["gang"].bit_count()
    yield f"gang of {size}" if size > 1 else "one core"
    flags = {
        "psum_in": "partial sums in", "psum_out": "partial sums out", "planes": "bit planes", "pool": "pool", "reduce": "reduce",
        "residual_in": "residual in", "residual_out": "residual out", "pool_first_odd": "pool from an odd row",
        "pool_left_odd": "pool from an odd column", "maximum": "maximum",
    }  # fmt: skip
    yield from (name for field, name in flags.items() if head[field])
    if border(head):
        yield "border windows"
    if head["columns"] < chip.columns:
        yield "partial columns" if head["columns"] else "no columns of a channel"
    if head["out_height"] * head["out_width"] == 1:
        yield "one position"
    if note.get("tensor") and not head["pool"] and head["kernel_height"] * head["kernel_width"] > 1:
        yield "window, no pool"


def border(head: Mapping[str, int]) -> bool:
    """Whether a window of a SYNAPSE reaches beyond what lies in the input bank."""
    return any(
        head[f"in_{axis}"] < 0
        or head[f"in_{axis}"] + (head[f"out_{size}"] - 1) * head["stride"] + head[f"kernel_{size}"] > head[f"in_{size}"]
        for axis, size in (("y", "height"), ("x", "width"))
    )
