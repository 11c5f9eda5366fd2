"""DMA engine: moves rows between DRAM and the banks, in order, one instruction at a time.

LOAD requests bursts from DRAM and writes each row into a bank of every core of a mask. STORE reads rows of one core and sends
them to DRAM (posted: it ends when the last beat is sent). LOAD reaches the memories that feed a core and its integers, and the
halves of program memories, and the tables of the attention unit's softmax and of the normaliser (memory TABLE, the number of
STORE's spike_out, with bank 0 and 1);
STORE those that a core writes. In DRAM rows lie one behind the other, each on a beat of its own; in
the bank ``row_skip`` rows may lie between them, so that the words of a position come side by side though each word has a place
of its own in DRAM. Rows of fewer bytes than the bank's are filled with zeros; of a row's last beat STORE writes only the bytes
that belong to it.
"""

from collections.abc import Mapping, Sequence

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.law import Form
from archsim.contracts.common.layout import Field
from archsim.contracts.core import CoreParams

WEIGHT, PARAM, SPIKE_IN, RESIDUAL, PSUM, REDUCE, SPIKE_OUT = 0, 1, 2, 3, 4, 5, 6
"""Memories of a core that DMA reaches."""

MEMORIES = ("weight", "param", "spike_in", "residual", "psum", "reduce", "spike_out")
"""Their names, by number."""

BANKED = (WEIGHT, PARAM, SPIKE_IN, SPIKE_OUT)
"""Those that have two banks."""

LOADED = (WEIGHT, PARAM, SPIKE_IN, RESIDUAL, PSUM, REDUCE)
"""Those that LOAD writes."""

TABLE = 6
"""For LOAD: a table, the attention unit's for softmax (bank 0) or the normaliser's (bank 1). For STORE the number is SPIKE_OUT."""

PROGRAM = 7
"""The program memory of the engine whose number stands in ``cores``; LOAD writes its half ``bank``."""

STORED = (RESIDUAL, PSUM, REDUCE, SPIKE_OUT)
"""Those that STORE reads."""

TRANSFER_FIELDS = (
    Field("dram_address", 32),  # byte address, a multiple of the bus width
    Field("memory", 3),
    Field("cores", 32),  # cores that take the rows (LOAD), or the one that gives them (STORE), a bit each
    Field("bank", 1),
    Field("row", 20),
    Field("rows", 20),
    Field("row_bytes", 10),  # bytes of a row in DRAM
    Field("row_skip", 10),  # rows of the bank between one row and the next
)
"""Fields of LOAD and STORE; ``cores`` is 0 for a LOAD of TABLE."""

def names(memories: Sequence[int], load: bool = False) -> list[str]:
    """Names of the memories of a STORE (with ``load``, of a LOAD) by their numbers, for messages."""
    known = {**dict(enumerate(MEMORIES)), PROGRAM: "program"} | ({TABLE: "table"} if load else {})
    return [known[number] for number in memories]


LOAD_OVERHEAD = 2
"""Cycles from the last beat to the end of LOAD: assemble and write the row, end."""

STORE_OVERHEAD = 3
"""Cycles of STORE besides one per beat: read the first row, hold it, end."""


def row_beats(row_bytes: int, bus_bytes: int) -> int:
    """Beats of a row."""
    return -(-row_bytes // bus_bytes)


def dram_bytes(head: Mapping[str, int], bus_bytes: int) -> range:
    """The bytes of DRAM that a LOAD or STORE covers: its rows, each from a beat's first byte on."""
    first = head["dram_address"]
    return range(first, first + head["rows"] * row_beats(head["row_bytes"], bus_bytes) * bus_bytes)


def load_cycles(beats: int, burst_beats: int, outstanding: int, latencies: Sequence[int]) -> int:
    """Law of LOAD: duration in cycles.

    Args:
        beats: beats of the whole transfer (1 or more).
        burst_beats: beats of a full burst.
        outstanding: bursts that may be requested before the first of them has ended.
        latencies: cycles from request to first beat, burst by burst; cyclic.

    Burst k is requested one cycle after burst k-1 and after the end of burst k-outstanding; its beats follow those of burst
    k-1 without overtaking, one a cycle.
    """
    ends: list[int] = []
    request, end = 0, 0
    count = -(-beats // burst_beats)
    for burst in range(count):
        request += 1
        if burst >= outstanding:
            request = max(request, ends[burst - outstanding] + 1)
        first = max(request + latencies[burst % len(latencies)], end + 1)
        end = first + min(burst_beats, beats - burst * burst_beats) - 1
        ends.append(end)
    return end + LOAD_OVERHEAD


def store_cycles(beats: int) -> int:
    """Law of STORE: duration in cycles."""
    return beats + STORE_OVERHEAD


def row_starts(rows: int, row_bytes: int, bus_bytes: int) -> int:
    """Times in which LOAD begins to put a row together, if its beats follow each other: all registers of the row are enabled.

    Each row of several beats is one; rows of one beat are one all together, since what enables the registers stays.
    """
    return rows if row_beats(row_bytes, bus_bytes) > 1 else min(rows, 1)


def widest_row(chip: ChipParams) -> int:
    """Bits of the widest row of a core's memories that LOAD fills."""
    core = CoreParams(chip)
    units = core.array.weight, core.neuron.param_bank, core.fetch.bank, core.neuron.residual, core.neuron.psum
    return max(memory.row_bits for memory in units)


def assembled_bits(chip: ChipParams) -> int:
    """Bits of the registers in which the beats of a row, or of an instruction, are put together."""
    from archsim.contracts.sequencer import INSTRUCTION_BYTES  # which has this contract's fields

    return max(widest_row(chip), 8 * INSTRUCTION_BYTES)


LAW = Form(
    ("loaded", "sent", "row_starts", "toggles"),
    ("cycles", "cycles stored_bits", "loaded", "loaded dram_bus_bytes", "row_starts assembled_bits", "toggles parts", "sent",
     "sent stored_bits"),
    ("1", "dram_bus_bytes", "stored_bits"),
    lambda chip: {
        "stored_bits": max(chip.lanes * chip.columns, chip.neurons * chip.membrane_bits), "assembled_bits": assembled_bits(chip),
        "parts": row_beats(assembled_bits(chip), 8 * chip.dram_bus_bytes),
    },
    known=assembled_bits,
)  # fmt: skip
"""Laws of energy and area, of a chip's parameters; stored_bits: those of the widest row that STORE reads, of spikes or of sums;
assembled_bits: of the register of LOAD; parts: of it, each as wide as a beat; the lines of a beat reach all of them. Counts: beats
of LOAD and of STORE, times that LOAD begins to put a row together (`row_starts`), bits of LOAD's beats unlike those before."""
