"""The order and the times of instructions: queues, semaphores and gangs; what an instruction does is no matter here.

By the ownership rule what instructions compute does not depend on when they start, only on the order that queues and
semaphores demand. So a program is first put into one such order (:func:`serial_order`, once), run in it, and the event
simulation (:func:`times`) then gives every instruction its cycles.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import sequencer
from archsim.jit import copy, lowest_bit, njit
from archsim.results import (
    NOT_WAITING,
    RECORD,
    WAIT_ATTENTION,
    WAIT_CORE,
    WAIT_DMA,
    WAIT_EXPERTS,
    WAIT_MULTICAST,
    WAIT_NORMALISER,
)

CORE0, DECODE, SYNAPSE = sequencer.CORE0, sequencer.DECODE, sequencer.SYNAPSE

WAITS = np.full(sequencer.MAX_ENGINES, WAIT_CORE)
"""What an instruction waits for, by the engine that posts its semaphore."""
WAITS[[sequencer.DMA, sequencer.MULTICAST, sequencer.ATTENTION, sequencer.EXPERTS, sequencer.NORMALISER]] = (
    WAIT_DMA, WAIT_MULTICAST, WAIT_ATTENTION, WAIT_EXPERTS, WAIT_NORMALISER,
)  # fmt: skip

ENGINE, INDEX, START, END = (list(RECORD.names or ()).index(name) for name in ("engine", "index", "start", "end"))
"""Places of fields in a record."""

start_law = njit(sequencer.start)


class Heads(NamedTuple):
    """The headers of all instructions, queue behind queue.

    Attributes:
        first: number of each engine's first instruction, int64 [engines + 1].
        opcode, gang, wait, post: int64 [instructions]; ``gang`` is 0 for all but SYNAPSE.
    """

    first: NDArray[np.int64]
    opcode: NDArray[np.int64]
    gang: NDArray[np.int64]
    wait: NDArray[np.int64]
    post: NDArray[np.int64]


class Times(NamedTuple):
    """Cycles of every instruction, int64 [instructions]: ready, start, end; and what it waited for last."""

    ready: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    waited: NDArray[np.int64]


@njit
def members_of(heads, engine, number):
    """Mask of the engines that execute instruction ``number`` together."""
    return heads.gang[number] << CORE0 if heads.opcode[number] == SYNAPSE else np.int64(1) << engine


@njit
def lowest(mask):
    """Lowest set bit's index of a mask that is not 0."""
    return lowest_bit(np.uint64(mask))


@njit
def can_start(heads, group, number, posted, next_of):
    """Whether every member of a gang is at the same instruction and has the semaphores that it waits for."""
    while group:
        member = lowest(group)
        group &= group - 1
        other = next_of[member]
        if other >= heads.first[member + 1] or heads.opcode[other] != heads.opcode[number]:
            return False
        if heads.gang[other] != heads.gang[number]:
            return False
        wait = heads.wait[other]
        while wait:
            if posted[lowest(wait), member] == 0:
                return False
            wait &= wait - 1
    return True


@njit
def serial_order(heads):
    """An order of all instructions that queues and semaphores allow, the members of a gang side by side.

    Returns it, int64 [instructions], -1 where instructions remain that can never start, and each engine's next one.
    """
    engines = len(heads.first) - 1
    order, done = np.full(len(heads.opcode), -1), 0
    next_of, posted = heads.first[:-1].copy(), np.zeros((engines, engines), np.int64)
    progress = True
    while progress:
        progress = False
        for engine in range(engines):
            while next_of[engine] < heads.first[engine + 1]:
                number = next_of[engine]
                group = members_of(heads, engine, number)
                if not can_start(heads, group, number, posted, next_of):
                    break
                progress = True
                while group:
                    member = lowest(group)
                    group &= group - 1
                    own = next_of[member]
                    order[done] = own
                    done += 1
                    next_of[member] += 1
                    wait, post = heads.wait[own], heads.post[own]
                    while wait:
                        posted[lowest(wait), member] -= 1
                        wait &= wait - 1
                    while post:
                        posted[member, lowest(post)] += 1
                        post &= post - 1
    return order, next_of


@njit
def post_places(heads):
    """Place of the first post of each ordered pair of engines in one list of all, int64 [engines, engines]; and their number."""
    engines = len(heads.first) - 1
    counts = np.zeros((engines, engines), np.int64)
    for engine in range(engines):
        for number in range(heads.first[engine], heads.first[engine + 1]):
            post = heads.post[number]
            while post:
                counts[engine, lowest(post)] += 1
                post &= post - 1
    total = 0
    for producer in range(engines):
        for consumer in range(engines):
            count = counts[producer, consumer]
            counts[producer, consumer] = total
            total += count
    return counts, total


@njit
def times(heads, order, cycles, waits):
    """The event simulation: instructions start when queue and semaphores allow, and last ``cycles``, int64 [instructions].

    Returns Times, and of the posts of every ordered pair of engines (places as :func:`post_places` has them) the cycles in which
    they came, the cycles in which they were taken, and how many came and were taken, int64 [engines, engines].
    """
    engines, count = len(heads.first) - 1, len(order)
    ready, start, end, waited = np.zeros((4, count), np.int64)
    free, next_of = np.full(engines, DECODE), heads.first[:-1].copy()
    places, total = post_places(heads)
    posts, takes = np.zeros(total, np.int64), np.zeros(total, np.int64)
    came, taken = np.zeros((engines, engines), np.int64), np.zeros((engines, engines), np.int64)
    place = 0
    while place < count:
        number, engine = order[place], 0
        while number >= heads.first[engine + 1]:
            engine += 1
        group, begin, cause = members_of(heads, engine, number), 0, NOT_WAITING
        rest = group
        while rest:
            member = lowest(rest)
            rest &= rest - 1
            if free[member] > begin:
                begin, cause = free[member], WAIT_CORE
            wait = heads.wait[next_of[member]]
            while wait:
                producer = lowest(wait)
                wait &= wait - 1
                visible = start_law(0, posts[places[producer, member] + taken[producer, member]])
                if visible > begin:
                    begin, cause = visible, waits[producer]
        rest = group
        while rest:
            member = lowest(rest)
            rest &= rest - 1
            own = next_of[member]
            next_of[member] += 1
            place += 1
            ready[own], start[own], end[own] = free[member], begin, begin + cycles[number]
            # A member that was ready before its gang waited for the others.
            waited[own] = cause if begin > free[member] else NOT_WAITING
            free[member] = end[own] + DECODE
            wait, post = heads.wait[own], heads.post[own]
            while wait:
                producer = lowest(wait)
                wait &= wait - 1
                takes[places[producer, member] + taken[producer, member]] = begin
                taken[producer, member] += 1
            while post:
                consumer = lowest(post)
                post &= post - 1
                posts[places[member, consumer] + came[member, consumer]] = end[own]
                came[member, consumer] += 1
    return Times(ready, start, end, waited), posts, takes, came, taken


@njit
def fill(order, identity, times, counters, own, table):
    """Records as rows of int64 in ``order``: IDENTITY, TIMES and counters (row ``own``) of each instruction."""
    first, last = identity.shape[1], identity.shape[1] + len(times)
    for place in range(len(order)):
        number, row = order[place], table[place]
        copy(row[:first], identity[number])
        row[first], row[first + 1] = times.ready[number], times.start[number]
        row[first + 2], row[first + 3] = times.end[number], times.waited[number]
        copy(row[last:], counters[own[number]])


@njit
def highest_semaphore(posts, takes):
    """Greatest value of a semaphore that rises in the cycles ``posts`` and falls in the cycles ``takes``, both in order."""
    highest, taken = 0, 0
    for number in range(len(posts)):
        while taken < len(takes) and takes[taken] <= posts[number]:
            taken += 1
        highest = max(highest, number + 1 - taken)
    return highest


@njit
def conflict(records, heads, owned, first, banks):
    """Whether two instructions owned one bank at the same time.

    ``records``: int64 [instructions, fields] in the order of their starts; ``heads``: number of each engine's first instruction;
    instruction i owns ``owned[first[i]:first[i + 1]]`` of ``banks`` banks.
    """
    busy = np.full(banks, -1)
    for record in records:
        number = heads[record[ENGINE]] + record[INDEX]
        for bank in owned[first[number] : first[number + 1]]:
            if record[START] <= busy[bank]:
                return True
            busy[bank] = record[END]
    return False
