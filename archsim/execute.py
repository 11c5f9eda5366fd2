"""The compiled driver: runs instructions one behind the other, each by its unit's kernel, on one or two threads.

Every thread has tasks of its own, in the program's serial order; a task is an instruction, or the part of it that belongs to the
thread's cores. Before a task that touches what another thread's task has touched, it waits until that one is done: so the
memories hold, after every task, what they would hold if all ran one by one.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import sequencer
from archsim.jit import copy, kernel, lowest_bit
from archsim.threads import progress_of, report, yield_processor
from archsim.units import attention, core, dma, multicast
from archsim.units.attention import run_attend
from archsim.units.core import run_synapse
from archsim.units.core_groups import NEVER
from archsim.units.core_planes import run_planes
from archsim.units.core_weights import sharing
from archsim.units.sram import Stack
from archsim.vectors import LINE, fetch_early

LOAD, STORE, COPY, SYNAPSE, PLANES = (
    sequencer.LOAD, sequencer.STORE, sequencer.COPY, sequencer.SYNAPSE, sequencer.PLANES,
)  # fmt: skip
TRANSPOSE, MASK = sequencer.TRANSPOSE, sequencer.MASK
ATTEND_KV, ATTEND_Q, CORE0 = sequencer.ATTEND_KV, sequencer.ATTEND_Q, sequencer.CORE0
move_in, move_out, move, turn, mask = dma.move_in, dma.move_out, multicast.move, multicast.turn, multicast.mask
SPIKE_IN = dma.contract.SPIKE_IN
WEIGHT = dma.contract.WEIGHT
COMPUTED = (WEIGHT, dma.contract.PARAM)
"""Memories that only arithmetic reads."""

SPINS = 1000
"""Looks at the other thread's progress before the processor is offered to somebody else."""

PLACE = np.dtype(
    [
        (name, np.int64)
        for name in (
            "row", "position", "columns", "pitch", "slices", "map_words", "word", "words", "positions",
            "bank_row", "bank_position", "bank_slice",
        )
    ]
)  # fmt: skip
"""Where the rows that an instruction writes lie in its map and in its bank.

``row``: first row of the map among those of all maps, [positions, slices, map_words] of each. The instruction writes ``words``
words from ``word`` on of ``positions`` positions: ``columns`` of each row of ``pitch``, or (0) all from ``position`` on. In
the bank position i, slice s, word w lie in ``bank_row + i * bank_position + s * bank_slice + w``. No map: ``positions`` is 0.
"""


class Tables(NamedTuple):
    """Instructions as kernels take them: an entry per opcode's instruction, and PLACE of every instruction of the program."""

    transfers: NDArray[np.void]
    copies: NDArray[np.void]
    synapses: NDArray[np.void]
    planes: NDArray[np.void]
    attends: NDArray[np.void]
    places: NDArray[np.void]


class Task(NamedTuple):
    """Columns of the tasks of a thread, int64 [tasks].

    Attributes:
        number: of the instruction in the program.
        opcode, engine: its own.
        entry: number of its entry in the table of its opcode.
        cores: mask of the cores that it moves rows to.
        need: tasks that the other thread must have done before.
    """

    number: NDArray[np.int64]
    opcode: NDArray[np.int64]
    engine: NDArray[np.int64]
    entry: NDArray[np.int64]
    cores: NDArray[np.int64]
    need: NDArray[np.int64]


class Work(NamedTuple):
    """What a thread has for itself: scratch of the units, rows of a trace uint64 [rows, L], an empty one [0, L]."""

    core: core.Scratch
    attention: attention.Scratch
    rows: NDArray[np.uint64]
    none: NDArray[np.uint64]


class Run(NamedTuple):
    """What the threads share.

    Attributes:
        sizes: of the chip.
        stack: the memories.
        maps: rows of all maps, uint64 [rows, L], written as instructions compute them.
        trace: likewise, rows to store instead of computed ones, which are those of ``maps``; [0, L]: compute.
        cycles: int64 [instructions], written for those whose time depends on spikes.
        counters: int64 [rows, COUNTERS]: first those that follow from the fields alone, each once; behind them a row for each
            instruction whose spikes add to these.
        rows, own: int64 [instructions], the first and the second row of each; the same one if nothing is added.
        progress: tasks that each thread has done, int64 [threads, 8]: a line of the cache each.
        versions: how often each input bank of each core has been written, int64 [cores, 2].
        holders: whose rows are those of each weight bank of each core, int64 [cores, 2].
    """

    sizes: dma.Sizes
    stack: Stack
    maps: NDArray[np.uint64]
    trace: NDArray[np.uint64]
    cycles: NDArray[np.int64]
    counters: NDArray[np.int64]
    rows: NDArray[np.int64]
    own: NDArray[np.int64]
    progress: NDArray[np.int64]
    versions: NDArray[np.int64]
    holders: NDArray[np.int64]


@kernel
def written(cores, bank, versions):
    """Rows of an input bank of the cores of a mask have changed."""
    for number in range(len(versions)):
        if cores >> number & 1:
            versions[number, bank] += 1


@kernel
def map_row(place, position):
    """Row of the first word of a position (from 0) of an instruction among those of all maps."""
    number = position
    if place.columns:
        number = position // place.columns * place.pitch + position % place.columns
    return place.row + (place.position + number) * place.slices * place.map_words + place.word


@kernel
def take_rows(place, trace, rows):
    """Copy the rows of a trace that an instruction writes to ``rows``, in the order position, slice, word; returns how many."""
    number = 0
    for position in range(place.positions):
        row = map_row(place, position)
        for index in range(place.slices):
            first = row + index * place.map_words
            for word in range(place.words):
                copy(rows[number], trace[first + word])
                number += 1
    return number


@kernel
def keep_rows(place, bank, maps):
    """Copy the rows that an instruction has written from its bank to the maps."""
    if maps.shape[1] == 1:  # a constant, for which the loop over lanes falls away
        keep_lanes(place, bank, maps, 1)
    else:
        keep_lanes(place, bank, maps, maps.shape[1])


@kernel
def keep_lanes(place, bank, maps, lanes):
    """:func:`keep_rows` of so many lanes."""
    # Copies: the compiler does not know that the rows are stored elsewhere than the fields.
    slices, words, map_words, bank_slice = place.slices, place.words, place.map_words, place.bank_slice
    for position in range(place.positions):
        first, row = map_row(place, position), place.bank_row + position * place.bank_position
        for _ in range(slices):
            for word in range(words):
                for lane in range(lanes):
                    maps[first + word, lane] = bank[row + word, lane]
            first += map_words
            row += bank_slice


@kernel
def work_synapse(f, number, member, tables, run, work):
    """A SYNAPSE of one core."""
    stack, place, counts = run.stack, tables.places[number], run.counters[run.own[number]]
    compute, trace, out = len(run.trace) == 0, work.none, stack.spike_out[member, f.out_bank]
    if not compute:
        trace = work.rows[: take_rows(place, run.trace, work.rows)]
    leader = lowest_bit(np.uint64(f.gang))
    weight = stack.weight[run.holders[member, f.weight_bank], f.weight_bank]
    banks = core.Banks(
        stack.spike_in[leader, f.in_bank], weight, stack.param[member, f.param_bank], stack.residual[member].reshape(-1),
        stack.psum[member].reshape(-1), stack.reduce[member].reshape(-1), out,
    )  # fmt: skip
    bits = run.sizes.membrane_bits
    version = run.versions[leader, f.in_bank]
    run.cycles[number] = run_synapse(f, bits, banks, work.core, compute, trace, member, leader, version, counts)
    if compute:
        keep_rows(place, out, run.maps)


@kernel
def work_planes(f, number, member, tables, run, work):
    """A PLANES of one core."""
    stack, place, trace, out = run.stack, tables.places[number], work.none, run.stack.spike_out[member, f.out_bank]
    if len(run.trace):
        trace = work.rows[: take_rows(place, run.trace, work.rows)]
    neurons, counts = stack.residual.shape[2], run.counters[run.own[number]]
    run.cycles[number] = run_planes(f, neurons, stack.reduce[member], trace, out, counts)
    if len(run.trace) == 0:
        keep_rows(place, out, run.maps)


@kernel
def work_attention(f, number, opcode, tables, run, work):
    """An ATTEND instruction."""
    stack, place, counts = run.stack, tables.places[number], run.counters[run.own[number]]
    compute, trace, out = len(run.trace) == 0, work.none, stack.out[f.out_bank]
    if not compute:
        trace = work.rows[: take_rows(place, run.trace, work.rows)]
    banks = attention.Banks(
        stack.spikes[f.q_bank], stack.spikes[2], stack.spikes[3], stack.counts, stack.cleared, stack.scores, stack.table,
        out,
    )  # fmt: skip
    bits, neurons = run.sizes.membrane_bits, stack.residual.shape[2]
    run.cycles[number] = run_attend(opcode - ATTEND_Q, f, bits, neurons, banks, work.attention, compute, trace, counts)
    if compute:
        keep_rows(place, out, run.maps)


@kernel
def fetch_early_for(tasks, task, tables, run):
    """Ask for what a task reads and writes first, while the one before it runs: programs are longer than the caches."""
    if task == len(tasks.number):
        return
    opcode, entry, number = tasks.opcode[task], tasks.entry[task], tasks.number[task]
    if opcode == SYNAPSE:
        fetch_early(tables.synapses, entry)
        fetch_early(tables.places, number)
        for counter in range(0, run.counters.shape[1], LINE):
            fetch_early(run.counters[run.own[number]], counter)
    elif opcode in (LOAD, STORE):
        fetch_early(tables.transfers, entry)


@kernel
def run_tasks(tasks, tables, run, work, thread):
    """All tasks of a thread."""
    sizes, stack, compute = run.sizes, run.stack, len(run.trace) == 0
    work.core.counted.key[:] = NEVER  # of another run
    for task in range(len(tasks.number)):
        spins = 0
        while progress_of(run.progress, 1 - thread) < tasks.need[task]:
            spins += 1
            if spins % SPINS == 0:
                yield_processor()
        number, opcode, entry = tasks.number[task], tasks.opcode[task], tasks.entry[task]
        fetch_early_for(tasks, task + 1, tables, run)
        if run.own[number] != run.rows[number]:
            copy(run.counters[run.own[number]], run.counters[run.rows[number]])
        if opcode == SYNAPSE:
            work_synapse(tables.synapses[entry], number, tasks.engine[task] - CORE0, tables, run, work)
        elif opcode == LOAD:
            f = tables.transfers[entry]
            cores = tasks.cores[task]
            if compute and f.memory == WEIGHT:
                cores = sharing(cores, f.bank, run.holders, stack.weight)
            if compute or f.memory not in COMPUTED:
                move_in(f, cores, sizes, stack)
            if f.memory == SPIKE_IN:
                written(tasks.cores[task], f.bank, run.versions)
        elif opcode == STORE:
            move_out(tables.transfers[entry], sizes, stack)
        elif opcode in (COPY, TRANSPOSE, MASK):
            rows = tables.copies[entry]
            if opcode == COPY:
                move(rows, tasks.cores[task], stack)
            elif opcode == TRANSPOSE:
                turn(rows, tasks.cores[task], stack)
            else:
                mask(rows, tasks.cores[task], stack)
            written(tasks.cores[task], rows.bank, run.versions)
        elif opcode == PLANES:
            work_planes(tables.planes[entry], number, tasks.engine[task] - CORE0, tables, run, work)
        else:
            work_attention(tables.attends[entry], number, opcode, tables, run, work)
        report(run.progress, thread, task + 1)
