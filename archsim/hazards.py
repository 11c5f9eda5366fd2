"""Which tasks must wait for each other: who reads and writes the same bank or the same page of DRAM."""

from collections.abc import Hashable, Sequence
from collections.abc import Mapping as MappingType

from archsim.contracts import dma, sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.ownership import banks, core_banks

PAGE = 1 << 14
"""Bytes of DRAM that count as one place."""


def touched(
    engine: int, fields: MappingType[str, int], cores: int, chip: ChipParams
) -> tuple[list[Hashable], list[Hashable]]:
    """What a task reads and what it writes: banks and pages of DRAM. ``cores``: the part of the cores that it works on."""
    opcode = fields["opcode"]
    if opcode in (sequencer.LOAD, sequencer.STORE):
        reached = dma.dram_bytes(fields, chip.dram_bus_bytes)
        pages: list[Hashable] = list(range(reached[0] // PAGE, reached[-1] // PAGE + 1))
        own: list[Hashable] = list(banks(engine, {**fields, "cores": cores}))
        return (pages, own) if opcode == sequencer.LOAD else (own, pages)
    if opcode in sequencer.COPIES:
        source, *targets = banks(engine, {**fields, "cores": cores})
        return [source], list(targets)
    if opcode == sequencer.SYNAPSE:
        leader = core_banks(fields["gang"] & -fields["gang"], "spike_in", fields["in_bank"])
        return list(leader), [bank for bank in banks(engine, fields) if bank not in leader]
    return [], list(banks(engine, fields))


def needs(touches: Sequence[tuple[int, tuple[list[Hashable], list[Hashable]]]], threads: int) -> list[list[int]]:
    """For each thread's tasks, how many of the other thread's must be done before.

    Args:
        touches: the tasks of all threads in one serial order: thread, and what :func:`touched` says.
        threads: one or two.
    """
    need: list[list[int]] = [[] for _ in range(threads)]
    written: dict[Hashable, list[int]] = {}
    read: dict[Hashable, list[int]] = {}
    for thread, (reads, writes) in touches:
        other, least = 1 - thread, 0
        for place in reads:
            least = max(least, written.get(place, (0, 0))[other])
        for place in writes:
            least = max(least, written.get(place, (0, 0))[other], read.get(place, (0, 0))[other])
        need[thread].append(least)
        for kept, places in ((read, reads), (written, writes)):
            for place in places:
                kept.setdefault(place, [0, 0])[thread] = len(need[thread])
    return need
