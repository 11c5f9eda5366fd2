"""What a run should do, by the simulator: times, contents of every instruction's banks at its end, accesses. No Verilog here."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import dma, sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.ownership import EXPONENTIALS, TABLE, Bank, banks
from archsim.contracts.common.program import Program
from archsim.contracts.experts import ROUTE_FIELDS
from archsim.contracts.normaliser import TABLE_BANK
from archsim.kernel import Simulation
from archsim.simulate import read_logits
from archsim.tensors import Capture
from archsim.units.dma import LOADED, STORED
from archsim.units.experts import END, Route, chosen
from archsim.units.sram import Memories
from cosim.banks import CLEARED, COUNTS, copies, held, pack, rows

Place = tuple[int, int]
"""An instruction: engine and index in its queue."""

Access = tuple[str, int, str]
"""What accesses are counted of, all banks together: ("core", core, memory), ("attention", 0, memory), ("experts", core, table),
("normaliser", 0, "table"), ("queue", engine, "program")."""


def owned(engine: int, fields: dict[str, int], chip: ChipParams) -> list[Bank]:
    """The banks whose contents are compared at the end of an instruction: its own, and with the count memory its marks.

    Of the normaliser's table these are all copies.

    The contents of a program memory show in what its engine does.
    """
    found = [bank for bank in dict.fromkeys(banks(engine, fields)) if bank[0] != "queue"]
    more = {COUNTS: [COUNTS, CLEARED], EXPONENTIALS: copies(chip)}
    return [bank for entry in found for bank in more.get(entry, [entry])]


class Plan:
    """The instructions of a program in one order, and where the contents of the banks that they own lie in one buffer.

    Attributes:
        chip: the chip.
        queues: the decoded instructions.
        engines: number of engines, those that the chip does not have included (``sequencer.slots``).
        places: engine and index of each instruction, engine by engine.
        first: number of each engine's first instruction, in the order of their slots, int64 [engines + 1].
        banks: the banks of each instruction; behind the count memory the marks of its cleared rows.
        at: for each instruction the offset of its contents, int64 [instructions + 1].
    """

    def __init__(self, chip: ChipParams, queues: dict[int, list[dict[str, int]]], bank_bytes: dict[Bank, int]) -> None:
        self.chip, self.queues, self.engines = chip, queues, sequencer.slots(chip)
        engines = [sequencer.engine_at(place, chip) for place in range(self.engines)]
        lengths = [len(queues.get(engine, ())) for engine in engines]
        self.places = [(engine, index) for engine, length in zip(engines, lengths, strict=True) for index in range(length)]
        self.first = np.cumsum([0, *lengths])
        self.banks = [owned(engine, queues[engine][index], chip) for engine, index in self.places]
        self.at = np.cumsum([0, *(sum(bank_bytes[bank] for bank in entry) for entry in self.banks)])
        self.bytes = bank_bytes

    def number(self, place: Place) -> int:
        """Number of an instruction."""
        return int(self.first[sequencer.slot(place[0], self.chip)]) + place[1]

    def contents(self, number: int) -> list[tuple[Bank, slice]]:
        """The banks of an instruction and their places in the buffer."""
        found, at = [], int(self.at[number])
        for bank in self.banks[number]:
            found.append((bank, slice(at, at + self.bytes[bank])))
            at += self.bytes[bank]
        return found


@dataclass(frozen=True)
class Expected:
    """What the simulator says: as attributes of :class:`~cosim.machine.Found`, and the chip's logits, int64 [classes]."""

    cycles: int
    times: NDArray[np.int64]
    content: NDArray[np.uint8]
    dram: NDArray[np.uint8]
    dram_bytes: int
    accesses: dict[Access, list[int]]
    logits: NDArray[np.int64]


def simulate(
    program: Program,
    plan: Plan,
    dram: NDArray[np.uint8],
    widths: dict[Bank, int],
    latencies: Sequence[int] | None,
    start: Memories | None = None,
) -> Expected:
    """Run a program on the simulator.

    Args:
        program: the program.
        plan: order and places.
        dram: DRAM before the run, uint8 [bytes].
        widths: bytes of a row of each bank in the buffer.
        latencies: of the bursts of the LOADs in turn, cycles, cyclic; None: the chip's constant.
        start: what the memories hold before, ``dram`` included; changed. None: nothing.
    """
    chip = program.chip
    memories = Memories.empty(chip, dram) if start is None else start
    content = np.zeros(plan.at[-1], np.uint8)
    routed: list[tuple[Access, int, int]] = []

    def observe(engine: int, index: int, fields: dict[str, int]) -> None:
        if engine == sequencer.EXPERTS:
            routed.extend(expert_accesses(fields, chip, memories))
        for bank, part in plan.contents(plan.number((engine, index))):
            if held(bank):
                pack(*rows(chip, memories, bank), content[part].reshape(-1, widths[bank]))

    capture = Capture(chip, program.notes)
    records = Simulation(chip, plan.queues, memories, capture, latencies, observe).run()
    times = np.full((len(plan.places), 2), -1)
    for record in records:
        times[plan.number((int(record["engine"]), int(record["index"])))] = record["start"], record["end"]
    return Expected(
        int(records["end"].max()), times, content, memories.dram, int(records["dram_bytes"].sum()),
        accesses(chip, plan.queues, records, routed), logits(program, memories.dram),
    )  # fmt: skip


def logits(program: Program, dram: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Logits int64 [classes] that a run left in DRAM; none of a program that makes none."""
    return read_logits(program, dram) if "logits" in program.notes else np.zeros(0, np.int64)


READS = {
    "spike_in": "spike_reads", "weight": "weight_reads", "param": "param_reads", "psum": "psum_reads",
    "residual": "residual_reads", "reduce": "reduce_reads", "v": "v_reads",
    "pool_columns": "pool_column_reads", "pool_lines": "pool_line_reads",
}  # fmt: skip
WRITES = {
    "spike_out": "spike_writes", "psum": "psum_writes", "residual": "residual_writes", "reduce": "reduce_writes",
    "v": "v_writes", "pool_columns": "pool_column_writes", "pool_lines": "pool_line_writes",
}  # fmt: skip
"""Counters of the accesses of a core to its memories."""

ATTENTION_READS = {
    "spikes": "spike_reads", "counts": "count_reads", "cleared": "mark_reads", "v": "v_reads", "scores": "score_reads",
    "table": "table_reads",
}  # fmt: skip
ATTENTION_WRITES = {
    "out": "spike_writes", "counts": "count_writes", "cleared": "mark_writes", "v": "v_writes", "scores": "score_writes",
}  # fmt: skip
"""Likewise of the attention unit."""


def accesses(
    chip: ChipParams,
    queues: dict[int, list[dict[str, int]]],
    records: NDArray[np.void],
    routed: Sequence[tuple[Access, int, int]] = (),
) -> dict[Access, list[int]]:
    """Reads and writes of every memory by the simulator's counters; of a program memory every row up to HALT is read once.

    ``routed``: those of the expert engine, whose counters are sums over the cores.
    """
    total: dict[Access, list[int]] = defaultdict(lambda: [0, 0])
    for engine, queue in queues.items():
        total["queue", engine, "program"][0] = len(queue) + 1
    for access, way, count in routed:
        total[access][way] += count
    for record in records[records["engine"] != sequencer.EXPERTS]:
        engine, fields = int(record["engine"]), queues[int(record["engine"])][int(record["index"])]
        if engine in (sequencer.ATTENTION, *range(sequencer.CORE0, sequencer.CORE0 + 32)):
            unit = ("attention", 0) if engine == sequencer.ATTENTION else ("core", engine - sequencer.CORE0)
            tables = (ATTENTION_READS, ATTENTION_WRITES) if engine == sequencer.ATTENTION else (READS, WRITES)
            for way, table in enumerate(tables):
                for memory, counter in table.items():
                    total[*unit, memory][way] += int(record[counter])
            moved = _gated(fields) if fields["opcode"] == sequencer.ATTEND_GATE else []
        elif engine == sequencer.NORMALISER:
            moved = _normalised(fields, record, chip)
        else:
            moved = _moved(fields, record, chip.neurons)
        for access, way, count in moved:
            total[access][way] += count
    return dict(total)


def _gated(fields: dict[str, int]) -> list[tuple[Access, int, int]]:
    """What the counters, which are those of the energy, say otherwise: (memory, 0 for reads or 1 for writes, count).

    A row of the second phase of ATTEND_GATE reads its gate word from an output bank, and is written at once, not by granules.
    """
    rows = fields["tile"] * (fields["steps"] // fields["lanes"]) * fields["words"]
    spikes: Access = ("attention", 0, "spikes")
    out: Access = ("attention", 0, "out")
    return [(spikes, 0, -rows), (out, 0, rows), (out, 1, rows - rows * fields["blocks"] * fields["lanes"])]


def _normalised(fields: dict[str, int], record: np.void, chip: ChipParams) -> list[tuple[Access, int, int]]:
    """Accesses of the normaliser: of one core's banks, and of every copy of its table."""
    found: list[tuple[Access, int, int]] = [
        (("core", fields["core"], memory), way, int(record[f"{memory}_{kind}"]))
        for memory in ("residual", "psum") for way, kind in enumerate(("reads", "writes"))
    ]  # fmt: skip
    return [*found, (EXPONENTIALS[:3], 0, int(record["exponential_reads"]) * chip.neurons)]


def _moved(fields: dict[str, int], record: np.void, tables: int) -> list[tuple[Access, int, int]]:
    """Accesses of a LOAD, a STORE or of the multicast: (memory, 0 for reads or 1 for writes, count).

    ``tables``: copies of the normaliser's table.
    """
    cores = [core for core in range(32) if fields["cores"] >> core & 1]
    if fields["opcode"] in sequencer.COPIES:
        source, copied = fields["source"], int(record["copied_rows"])
        attention = source == sequencer.ATTENTION
        read: Access = ("attention", 0, "out") if attention else ("core", source - sequencer.CORE0, "spike_out")
        targets: list[Access] = [("core", core, "spike_in") for core in cores] or [("attention", 0, "spikes")]
        return [
            (read, 0, copied),
            *((target, 1, int(record["copied_row_writes"]) // len(targets)) for target in targets),
        ]
    memory, load = fields["memory"], fields["opcode"] == sequencer.LOAD
    if memory == dma.PROGRAM:
        return [(("queue", fields["cores"], "program"), 1, int(record["loaded_program_rows"]))]
    if load and memory == dma.TABLE:
        if fields["bank"] == TABLE_BANK:
            return [(EXPONENTIALS[:3], 1, int(record["loaded_exponential_rows"]) * tables)]
        return [(TABLE[:3], 1, int(record["loaded_table_rows"]))]
    count = int(record[(LOADED if load else STORED)[memory]])
    return [(("core", core, dma.MEMORIES[memory]), int(load), count // len(cores)) for core in cores]


def expert_accesses(fields: dict[str, int], chip: ChipParams, memories: Memories) -> list[tuple[Access, int, int]]:
    """Accesses of the expert engine, core by core, as they follow from its route tables after an instruction."""
    if fields["opcode"] == sequencer.TOPK:
        core, tokens = fields["core"], fields["tokens"]
        return [
            (("core", core, "psum" if fields["psum"] else "residual"), 0, tokens * fields["blocks"]),
            (("experts", core, "routes"), 1, tokens * fields["choices"]),
        ]  # fmt: skip
    packets, _ = chosen(Route(*(fields[field.name] for field in ROUTE_FIELDS)), chip, memories.experts.routes)
    collects, rows = fields["opcode"] == sequencer.COLLECT, fields["rows"]
    source, target = ("residual", "psum") if collects and fields["membranes"] else ("spike_out", "spike_in")
    found: list[tuple[Access, int, int]] = []
    for core in range(chip.cores):
        sent, taken = int((packets.port == core).sum()), int((packets.destination == core).sum())
        if collects:  # the expert's core sends what the home core has asked for
            found += [(("experts", core, "replies"), way, taken) for way in (0, 1)]
            sent, taken = taken, sent
        found += [(("core", core, source), 0, sent * rows), (("core", core, target), 1, taken * rows)]
        if fields["cores"] >> core & 1:
            ends = memories.experts.routes[core, fields["entry"] :][:, END]
            found.append((("experts", core, "routes"), 0, int(np.argmax(ends)) + 1))
    return found
