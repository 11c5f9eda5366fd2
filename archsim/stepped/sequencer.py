"""Sequencer, cycle by cycle: the state machine of every queue and the semaphore counters.

An engine's busy time is the result of its own stepped model, run alone when its instruction starts: ownership permits it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import sequencer as contract
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.program import Program
from archsim.stepped import attention, core, dma, experts, multicast, normaliser
from archsim.stepped.bits import checked
from archsim.units.sram import Memories

READ, LATCH, DECODE, WAIT, BUSY, HALTED = range(6)
"""States of a queue: the row's address is presented; it is latched; it is decoded; it waits; it runs; the queue has ended."""

STARTED, ENDED, STUCK, OVERFLOW = range(4)
"""Why the stepping stopped: an instruction started; every queue halted; none can go on; a semaphore is beyond its bits."""


@dataclass(frozen=True)
class Timeline:
    """Start and end cycle of every instruction: engine -> int64 [instructions, 2], without HALT."""

    instructions: dict[int, NDArray[np.int64]]

    @property
    def end(self) -> int:
        """Last cycle in which an instruction ended (0 if there is none)."""
        return max((int(times[:, 1].max()) for times in self.instructions.values() if len(times)), default=0)


@checked
def _can_start(engine, states, counters, opcodes, waits, gangs, semaphores):
    """Whether every member of the engine's gang waits with the same gang, and has its semaphores."""
    engines = len(states)
    gang = gangs[engine, counters[engine]]
    for member in range(engines):
        if not gang >> member & 1:
            continue
        if states[member] != WAIT or gangs[member, counters[member]] != gang:
            return False
        if opcodes[member, counters[member]] != opcodes[engine, counters[engine]]:
            return False
        for producer in range(engines):
            if waits[member, counters[member]] >> producer & 1 and semaphores[producer, member] == 0:
                return False
    return True


@checked
def _step(cycle, states, counters, busy, opcodes, waits, posts, gangs, semaphores, times, limit):
    """Step from ``cycle`` until an instruction starts or nothing does any more; returns (cycle, reason).

    On STARTED the cycle is complete but for ``busy`` of the engines in state BUSY that have 0 in it.
    """
    engines = len(states)
    while True:
        begins = np.zeros(engines, np.bool_)
        for engine in range(engines):
            if states[engine] == WAIT:
                begins[engine] = _can_start(engine, states, counters, opcodes, waits, gangs, semaphores)
        posted = np.zeros((engines, engines), np.int64)
        moved = False
        for engine in range(engines):
            state, counter = states[engine], counters[engine]
            moved = moved or state < WAIT or state == BUSY
            if state in (READ, LATCH):
                states[engine] = state + 1
            elif state == DECODE:
                states[engine] = HALTED if opcodes[engine, counter] == contract.HALT else WAIT
            elif state == WAIT and begins[engine]:
                for producer in range(engines):
                    posted[producer, engine] -= waits[engine, counter] >> producer & 1
                times[engine, counter, 0] = cycle
                states[engine] = BUSY
            elif state == BUSY:
                busy[engine] -= 1
                if busy[engine] == 0:  # done is seen, and the next row's address presented
                    for consumer in range(engines):
                        posted[engine, consumer] += posts[engine, counter] >> consumer & 1
                    times[engine, counter, 1] = cycle
                    counters[engine] += 1
                    states[engine] = LATCH
        semaphores += posted
        if np.any(semaphores > limit):
            return cycle, OVERFLOW
        if np.any(begins):
            return cycle, STARTED
        if not moved:
            return cycle, ENDED if np.all(states == HALTED) else STUCK
        cycle += 1


def _execute(members: list[int], heads: list[dict[str, int]], program: Program, memories: Memories, latencies) -> int:
    """Run one instruction on the stepped model of its engine, or of its gang; returns its cycles."""
    chip, fields, opcode = program.chip, heads[0], heads[0]["opcode"]
    if opcode == contract.LOAD:
        return dma.load(fields, chip, memories, latencies)
    if opcode == contract.STORE:
        return dma.store(fields, chip, memories)
    if opcode in contract.COPIES:
        return multicast.copy(fields, chip, memories)
    if opcode == contract.TOPK:
        return experts.topk(fields, chip, memories)
    if opcode in (contract.DISPATCH, contract.COLLECT):
        return experts.route(fields, chip, memories)
    if opcode in (contract.NORMALISE, contract.WEIGH):
        return normaliser.run(fields, chip, memories)
    if opcode == contract.SYNAPSE:
        return core.synapse(heads, chip, [memories.cores[member - contract.CORE0] for member in members])
    if opcode == contract.PLANES:
        return core.planes(fields, chip, memories.cores[members[0] - contract.CORE0])
    return attention.attend(opcode, fields, chip, memories.attention)


def _gang(engine: int, fields: dict[str, int]) -> int:
    """Mask of the engines that run an instruction together."""
    mask = fields["gang"] << contract.CORE0 if fields["opcode"] == contract.SYNAPSE else 0
    return mask | 1 << engine


def _decode(program: Program) -> list[list[dict[str, int]]]:
    """Every engine's instructions, up to and with HALT."""
    queues = []
    for engine in range(contract.engines(program.chip)[-1] + 1):
        rows = program.queues.get(engine, np.zeros((0, contract.INSTRUCTION_BYTES), np.uint8))
        queue = []
        for row in rows:
            queue.append(contract.decode(row.tobytes()))
            if queue[-1]["opcode"] == contract.HALT:
                break
        else:
            queue.append({"opcode": contract.HALT, "wait": 0, "post": 0})
        queues.append(queue)
    return queues


def run(program: Program, memories: Memories, latencies: Sequence[int] | None = None) -> Timeline:
    """Run a program.

    Args:
        program: instruction queues and chip; its DRAM image is not used.
        memories: contents of every memory, DRAM included; changed.
        latencies: DRAM latencies per burst of every LOAD, cyclic; None: the chip's constant.

    Raises ArchsimError on a deadlock, on a semaphore that exceeds its bits, and where an engine refuses its instruction.
    """
    queues = _decode(program)
    engines, length = len(queues), max(len(queue) for queue in queues)
    table = np.zeros((4, engines, length), np.int64)
    for engine, queue in enumerate(queues):
        for index, fields in enumerate(queue):
            table[:, engine, index] = fields["opcode"], fields["wait"], fields["post"], _gang(engine, fields)
    states, counters, busy = (np.zeros(engines, np.int64) for _ in range(3))
    semaphores, times = np.zeros((engines, engines), np.int64), np.zeros((engines, length, 2), np.int64)
    cycle, reason = -1, STARTED
    while reason == STARTED:
        cycle, reason = _step(
            cycle + 1, states, counters, busy, *table, semaphores, times, (1 << contract.SEMAPHORE_BITS) - 1
        )
        for engine in np.flatnonzero((states == BUSY) & (busy == 0)).tolist():
            if busy[engine]:  # it has been run with its gang
                continue
            gang = _gang(engine, queues[engine][counters[engine]])
            members = [member for member in range(engines) if gang >> member & 1]
            heads = [queues[member][counters[member]] for member in members]
            busy[members] = _execute(members, heads, program, memories, latencies)
    if reason != ENDED:
        places = ", ".join(f"{contract.engine_name(e)} at {c}" for e, c in enumerate(counters) if states[e] != HALTED)
        problem = "no instruction can start" if reason == STUCK else "a semaphore exceeds its bits"
        raise ArchsimError(f"sequencer: {problem} in cycle {cycle}: {places}")
    return Timeline({
        engine: times[engine, : len(queue) - 1].copy() for engine, queue in enumerate(queues) if len(queue) > 1
    })  # fmt: skip
