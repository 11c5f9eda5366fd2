"""Another order of a program's instructions that means the same: every bank keeps its sequence of owners, DRAM its of writers.

The instructions are taken in an order that the semaphores allow and sorted anew, some earlier and some later than before. The
emitter then gives them the semaphores that the new order needs; the proof of ownership has the last word.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from heapq import heappop, heappush

import numpy as np

from archsim.contracts import dma, sequencer
from archsim.contracts.common.ownership import banks
from archsim.contracts.common.program import Program
from archsim.kernel import decode
from archsim.ownership import members, prove
from mapping.data import DramImage
from mapping.emit import Emitter

Group = list[tuple[int, int]]
"""An instruction: (engine, index in its queue) of each member of its gang."""


def walk(program: Program, queues) -> list[Group]:
    """The instructions in an order that queues and semaphores allow."""
    following, posts, found = dict.fromkeys(queues, 0), defaultdict(int), []
    moved = True
    while moved:
        moved = False
        for engine in queues:
            while following[engine] < len(queues[engine]):
                head = queues[engine][following[engine]]
                group = [(member, following[member]) for member in members(engine, head, program.chip)]
                heads = [queues[member][index] for member, index in group if index < len(queues[member])]
                if len(heads) < len(group) or any(
                    (other["opcode"], other.get("gang")) != (head["opcode"], head.get("gang"))
                    or any(not posts[owner, member] for owner in _bits(other["wait"]))
                    for (member, _), other in zip(group, heads, strict=True)
                ):
                    break
                for (member, _), other in zip(group, heads, strict=True):
                    for owner in _bits(other["wait"]):
                        posts[owner, member] -= 1
                    for consumer in _bits(other["post"]):
                        posts[member, consumer] += 1
                    following[member] += 1
                found.append(group)
                moved = True
    assert following == {engine: len(queue) for engine, queue in queues.items()}
    return found


def reorder(program: Program, seed: int, distance: int) -> Program:
    """The program with every instruction moved by up to ``distance`` places, at random, where banks and DRAM allow it."""
    queues = decode(program)
    order = walk(program, queues)
    order = [group for group in order if not _refills(queues[group[0][0]][group[0][1]])]  # the emitter adds its own
    needs, after = _dependences(program, queues, order)
    rank = np.arange(len(order)) + np.random.default_rng(seed).uniform(-distance, distance, len(order))
    dram = DramImage(program.chip)
    dram.add(program.dram.reshape(-1, program.chip.dram_bus_bytes))
    ready, emitter = (
        [(rank[number], number) for number, count in enumerate(needs) if not count],
        Emitter(program.chip, dram),
    )
    ready.sort()
    while ready:
        _, number = heappop(ready)
        _emit(emitter, program, queues, order[number])
        for later in after[number]:
            needs[later] -= 1
            if not needs[later]:
                heappush(ready, (rank[later], later))
    changed = replace(
        program, queues=emitter.rows(), dram=dram.content(), notes=program.notes | {"instructions": emitter.notes()}
    )
    prove(changed.chip, decode(changed), len(changed.dram))
    return changed


def _dependences(program: Program, queues, order: list[Group]) -> tuple[list[int], list[set[int]]]:
    """How many instructions each one has to come behind, and which come behind it."""
    after: list[set[int]] = [set() for _ in order]
    owner, moves = {}, []
    for number, group in enumerate(order):
        for engine, index in group:
            for bank in banks(engine, queues[engine][index]):
                if bank in owner and owner[bank] != number:
                    after[owner[bank]].add(number)
                owner[bank] = number
        head = queues[group[0][0]][group[0][1]]
        if head["opcode"] in (sequencer.LOAD, sequencer.STORE):
            bus = program.chip.dram_bus_bytes
            first = head["dram_address"]
            end = first + head["rows"] * dma.row_beats(head["row_bytes"], bus) * bus
            store = head["opcode"] == sequencer.STORE
            for other, low, high, stored in moves:
                if (store or stored) and low < end and first < high:
                    after[other].add(number)
            moves.append((number, first, end, store))
    needs = [0] * len(order)
    for behind in after:
        for number in behind:
            needs[number] += 1
    return needs, after


def _emit(emitter: Emitter, program: Program, queues, group: Group) -> None:
    heads = [queues[engine][index] for engine, index in group]
    fields = {name: value for name, value in heads[0].items() if name not in ("opcode", "wait", "post")}
    notes = []
    for (engine, index), head in zip(group, heads, strict=True):
        own = {name: head[name] for name in ("columns", "param_base") if len(group) > 1}
        notes.append({**program.notes["instructions"][str(engine)][index], "fields": own})
    emitter.emit([engine for engine, _ in group], heads[0]["opcode"], fields, notes)


def _refills(head: Mapping[str, int]) -> bool:
    """Whether an instruction loads a part of a queue."""
    return head["opcode"] == sequencer.LOAD and head["memory"] == dma.PROGRAM


def _bits(mask: int) -> list[int]:
    return [bit for bit in range(mask.bit_length()) if mask >> bit & 1]
