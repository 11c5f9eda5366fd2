"""Sequencer: one in-order instruction queue per engine, one semaphore per ordered pair of engines.

An instruction is a header (opcode; producers to wait for; consumers to post to) and the fields of its opcode. Timing:

* the first instruction of a queue is ready in cycle DECODE; each other one DECODE cycles after the end of the one before;
* it starts in the first cycle from then on in which the semaphore (producer, this engine) is above 0 for each producer in ``wait``
  (and, for a SYNAPSE of a gang, every member of the gang is at that point too); each of them falls by 1 then;
* the row of the next instruction is read from the program memory at the end of each one (the first row in cycle 0);
* when it ends in cycle t, the semaphore (this engine, consumer) rises by 1 for each consumer in ``post``, visible from t + 1 on.

Instruction i lies in row i modulo the memory's rows. A program that is longer is refilled while it runs: its parts, half a memory
each, take the two halves in turn, the third and later ones brought by LOADs of the DMA engine.
"""

from collections.abc import Mapping
from functools import cache

from archsim.contracts import attention, attention_softmax, core, dma, experts, multicast, normaliser
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.law import Form
from archsim.contracts.common.layout import Field, Layout
from archsim.contracts.sram import SramParams

DMA, MULTICAST, ATTENTION, EXPERTS, CORE0 = 0, 1, 2, 3, 4
"""Engine numbers; core c is engine CORE0 + c."""

NORMALISER = 36
"""Engine number of the normaliser, behind the last of 32 cores."""

MAX_ENGINES = 37
"""Four engines, at most 32 cores, and the normaliser."""

DECODE = 3
"""Cycles from the end of an instruction to the first cycle in which the next may start: read, decode, wait."""

SEMAPHORE_BITS = 8
"""Bits of a semaphore; the simulator checks that a program never exceeds it."""

HEADER = (Field("opcode", 4), Field("wait", NORMALISER), Field("post", NORMALISER))
"""Header of every instruction; ``wait`` and ``post`` have a bit per engine."""

EXTENDED = (Field("extended_post", 1), Field("extended_wait", 1), Field("extended_opcode", 1))
"""The last bits of a row: one more bit, the highest, of each field of the header, that of the opcode last. Only instructions of
the normaliser, and those that wait for it or post to it, have a 1 there: the rows of all others are what they were without it."""

HALT, LOAD, STORE, COPY, SYNAPSE, PLANES, ATTEND_KV, ATTEND_Q, ATTEND_SCORES, ATTEND_GATE = range(10)
TOPK, DISPATCH, COLLECT = range(10, 13)
TRANSPOSE, MASK = range(13, 15)
ATTEND_SOFTMAX = 15
NORMALISE, WEIGH = range(16, 18)
"""Opcodes; COPY, TRANSPOSE and MASK are the multicast's. 0 (an empty program row) ends the queue."""

COPIES = (COPY, TRANSPOSE, MASK)
"""Instructions of the multicast: rows of an output bank on their way to input banks."""

OPCODES = (
    "HALT", "LOAD", "STORE", "COPY", "SYNAPSE", "PLANES", "ATTEND_KV", "ATTEND_Q", "ATTEND_SCORES", "ATTEND_GATE",
    "TOPK", "DISPATCH", "COLLECT", "TRANSPOSE", "MASK",
    "ATTEND_SOFTMAX", "NORMALISE", "WEIGH",
)  # fmt: skip
"""Names of the opcodes, by number."""

_FIELDS: dict[int, tuple[Field, ...]] = {
    HALT: (), LOAD: dma.TRANSFER_FIELDS, STORE: dma.TRANSFER_FIELDS, COPY: multicast.MULTICAST_FIELDS,
    SYNAPSE: core.SYNAPSE_FIELDS, PLANES: core.PLANES_FIELDS, ATTEND_KV: attention.ATTEND_FIELDS,
    ATTEND_Q: attention.ATTEND_FIELDS, ATTEND_SCORES: attention.ATTEND_FIELDS, ATTEND_GATE: attention.ATTEND_FIELDS,
    TOPK: experts.TOPK_FIELDS, DISPATCH: experts.ROUTE_FIELDS, COLLECT: experts.ROUTE_FIELDS,
    TRANSPOSE: multicast.TRANSPOSE_FIELDS, MASK: multicast.MASK_FIELDS,
    ATTEND_SOFTMAX: attention_softmax.SOFTMAX_FIELDS,
    NORMALISE: normaliser.NORMALISE_FIELDS, WEIGH: normaliser.WEIGH_FIELDS,
}  # fmt: skip


LEAST_REFILLED = 32
"""Rows of a program memory that can be refilled at least: with fewer, too many instructions of the DMA engine would be for that."""


def part(index: int, rows: int) -> int:
    """The part of a program that instruction ``index`` lies in; a part is half of a program memory of ``rows`` rows."""
    return index // max(1, rows // 2)


def is_refillable(rows: int) -> bool:
    """Whether a program memory of ``rows`` rows can hold a longer program part by part."""
    return rows >= LEAST_REFILLED and rows % 2 == 0


@cache
def layout(opcode: int) -> Layout:
    """Bits of an instruction with this opcode, the header lowest. Raises ArchsimError for an unknown opcode."""
    if opcode not in _FIELDS:
        raise ArchsimError(f"instruction: opcode must be in 0..{len(OPCODES) - 1}, given {opcode}")
    return Layout.of(OPCODES[opcode], HEADER + _FIELDS[opcode])


INSTRUCTION_BYTES = 8 * -(-(max(layout(opcode).width for opcode in _FIELDS) + len(EXTENDED)) // 64)
"""Bytes of a program memory row: the longest instruction and the extension, in whole 64-bit words."""

_EXTENSION = Layout.of("extension", EXTENDED)
_EXTENSION_AT = 8 * INSTRUCTION_BYTES - _EXTENSION.width


def engines(chip: ChipParams) -> list[int]:
    """Engines that a chip has, in the order of their numbers."""
    shared = (DMA, MULTICAST, ATTENTION, *((EXPERTS,) if chip.crossbar_depth else ()))
    last = (NORMALISER,) if chip.normaliser_operand_bits else ()
    return [*shared, *range(CORE0, CORE0 + chip.cores), *last]


def slots(chip: ChipParams) -> int:
    """Bits of what has one for each engine in hardware (semaphores, starts, ends): up to the last core, then the normaliser's."""
    return CORE0 + chip.cores + (chip.normaliser_operand_bits > 0)


def queue_sizes(chip: ChipParams) -> tuple[int, int, bool]:
    """Sizes of each queue of a chip in hardware: program rows, slots, whether its rows have an extension."""
    return chip.queue_rows, slots(chip), chip.normaliser_operand_bits > 0


LAW = Form(
    ("instructions",),
    ("cycles", "cycles slots", "cycles row_bits", "instructions", "instructions slots"),
    ("1", "slots", "row_bits"),
    lambda chip: {"slots": slots(chip), "row_bits": SramParams(chip.queue_rows, 8 * INSTRUCTION_BYTES).address_bits},
)
"""Laws of a queue, of a chip's parameters: states, a semaphore for each slot, the number of a program row. Count: instructions."""


def slot(engine: int, chip: ChipParams) -> int:
    """Place of an engine's bit there."""
    return CORE0 + chip.cores if engine == NORMALISER else engine


def engine_at(place: int, chip: ChipParams) -> int:
    """The engine whose bit has that place."""
    return NORMALISER if place == CORE0 + chip.cores else place


def is_core(engine: int) -> bool:
    """Whether an engine is a core."""
    return CORE0 <= engine < NORMALISER


def engine_name(engine: int) -> str:
    """``dma``, ``multicast``, ``attention``, ``experts``, ``normaliser`` or ``core N``."""
    if engine == NORMALISER:
        return "normaliser"
    return ("dma", "multicast", "attention", "experts")[engine] if engine < CORE0 else f"core {engine - CORE0}"


def encode(opcode: int, fields: Mapping[str, int], wait: int = 0, post: int = 0) -> bytes:
    """An instruction as INSTRUCTION_BYTES bytes, little-endian; raises ArchsimError when a field does not fit."""
    values = {"opcode": opcode, "wait": wait, "post": post, **fields}
    high = {}
    for field in HEADER:
        high[f"extended_{field.name}"] = values[field.name] >> field.width
        values[field.name] &= (1 << field.width) - 1
    word = layout(opcode).pack(values) | _EXTENSION.pack(high) << _EXTENSION_AT
    return word.to_bytes(INSTRUCTION_BYTES, "little")


def decode(row: bytes) -> dict[str, int]:
    """The fields of an instruction, header included; raises ArchsimError for an unknown opcode."""
    word = int.from_bytes(row, "little")
    extension = _EXTENSION.unpack(word >> _EXTENSION_AT)
    high = {field.name: bit << field.width for field in HEADER if isinstance(bit := extension[f"extended_{field.name}"], int)}
    values = layout(word & ((1 << HEADER[0].width) - 1) | high["opcode"]).unpack(word)
    return {name: value | high.get(name, 0) for name, value in values.items() if isinstance(value, int)}


def start(ready: int, posted: int) -> int:
    """Law: start of an instruction that is ready in cycle ``ready`` and whose last semaphore was posted in ``posted``."""
    return max(ready, posted + 1)
