"""Expert engine, cycle by cycle: a reader for each port, tables, crossbars, banks that answer in the next cycle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from archsim.contracts import experts as contract
from archsim.contracts import router, sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.crossbar import CrossbarParams
from archsim.contracts.experts import ExpertsParams
from archsim.stepped.crossbar import Network
from archsim.stepped.router import LEFT, offer, put, take
from archsim.units.sram import Memories


class Packet(NamedTuple):
    """A table's row, made ready: whether it is sent, to which port, from which row, to which row; ``end``: the last one."""

    kept: bool
    destination: int
    source: int
    target: int
    end: bool


class Table:
    """A port's route table: gives its rows one by one, with the home row that runs along."""

    def __init__(self, rows: Any, f: Mapping[str, int]) -> None:
        self.rows, self.f, self.place = rows, f, f["entry"]
        self.token = self.home = f["home_base"]

    def read(self) -> Any:
        """The next row."""
        self.place += 1
        return self.rows[self.place - 1].tolist()

    def packet(self, row: Any) -> Packet:
        """The row's packet, from the home core to the expert's; the home row moves on."""
        f, home = self.f, self.home
        expert, slot, kept, last, end = row
        self.home += f["home_choice"]
        if last:
            self.token += f["home_token"]
            self.home = self.token
        region = f["region"] >> 4 * expert & 15
        target = f["expert_base"] + (region << f["region_shift"])
        target += contract.slot_rows(slot, f["slot_shift"], f["other_shift"])
        return Packet(bool(kept), f["place"] >> 4 * expert & 15, home, target, bool(end))


class Requests:
    """A port's reply table: its first ``count`` rows, one by one."""

    def __init__(self, rows: Any, count: int) -> None:
        self.rows, self.count, self.place = rows, count, 0

    def read(self) -> Any:
        """The next row and whether it is the last."""
        self.place += 1
        return [*self.rows[self.place - 1].tolist(), self.place == self.count]

    def packet(self, row: Any) -> Packet:
        """The row's packet, back to the home core."""
        home, source, target, end = row
        return Packet(True, home, source, target, bool(end))


@dataclass
class Reader:
    """A port's way from its table to the crossbar: the row that stands, the packet that is read, the flit that is offered.

    Attributes:
        table: where packets come from, or None for a port that has none.
        bank: rows that are sent, or None: the row's number itself is.
        rows: flits of a packet.
    """

    table: Table | Requests | None
    bank: Any
    rows: int
    standing: Any = None
    packet: Packet | None = None
    left: int = 0
    offered: tuple[Any, int, bool] | None = None

    def __post_init__(self) -> None:
        """A port without packets has nothing to read."""
        self.reading = self.table is not None

    def busy(self) -> bool:
        """Whether something is still to be read or sent."""
        return self.reading or self.standing is not None or self.packet is not None or self.offered is not None

    def step(self, taken: bool) -> None:
        """Clock edge; ``taken``: the crossbar took the flit that was offered."""
        packet, standing = self.packet, self.standing
        reads = packet is not None and (self.offered is None or taken)
        if taken:
            self.offered = None
        if reads:
            index = self.rows - self.left
            data = packet.source if self.bank is None else self.bank[packet.source + index].copy()
            self.offered = (packet.target + index, data), packet.destination, self.left == 1
            self.left -= 1
            if self.left == 0:
                self.packet = None
        pops = standing is not None and (packet is None or self.packet is None)
        if pops:
            self.standing = None
            following = self.table.packet(standing)
            if following.end:
                self.reading = False
            if following.kept:
                self.packet, self.left = following, self.rows
        if self.reading and (standing is None or pops):
            self.standing = self.table.read()


def send(params: CrossbarParams, readers: Sequence[Reader], arrive: Any) -> int:
    """Step readers and a crossbar until nothing moves; returns that cycle, counted from the start.

    ``arrive(output, source, flit)`` is called for each flit that is delivered; what it writes is not read meanwhile.
    """
    network, cycle = Network(params), 0
    while True:
        cycle += 1
        if network.empty() and not any(reader.busy() for reader in readers):
            return cycle
        taken, given = network.step([reader.offered for reader in readers], [True] * params.ports)
        for reader, gone in zip(readers, taken, strict=True):
            reader.step(gone)
        for output, arrival in enumerate(given):
            if arrival is not None:
                flit, source = arrival
                arrive(output, source, flit)


def route(fields: Mapping[str, int], chip: ChipParams, memories: Memories) -> int:
    """Run a DISPATCH or COLLECT; returns the cycles from the start to the end."""
    params, state, rows = ExpertsParams(chip), memories.experts, fields["rows"]
    if rows < 1:
        raise ArchsimError("experts: required packets of 1 row or more, given 0")
    cores = memories.cores
    if fields["membranes"]:
        sources = [core.residual for core in cores]
        targets = [core.residual if fields["opcode"] == sequencer.DISPATCH else core.psum for core in cores]
    else:
        sources = [core.spike_out[fields["source_bank"]] for core in cores]
        targets = [core.spike_in[fields["bank"]] for core in cores]

    def write(output: int, source: int, flit: Any) -> None:
        targets[output][flit[0]] = flit[1]

    homes = [Table(state.routes[core], fields) if fields["cores"] >> core & 1 else None for core in range(chip.cores)]
    if fields["opcode"] == sequencer.DISPATCH:
        readers = [Reader(table, bank, rows) for table, bank in zip(homes, sources, strict=True)]
        return send(params.reply if fields["membranes"] else params.request, readers, write) + 1
    counts = [0] * chip.cores

    def note(output: int, source: int, flit: Any) -> None:
        state.replies[output, counts[output]] = source, *flit
        counts[output] += 1

    asked = send(params.request, [Reader(table, None, 1) for table in homes], note)
    answers = [Requests(state.replies[core], count) if count else None for core, count in enumerate(counts)]
    readers = [Reader(table, bank, rows) for table, bank in zip(answers, sources, strict=True)]
    return asked + send(params.reply, readers, write) + 1


def topk(fields: Mapping[str, int], chip: ChipParams, memories: Memories) -> int:
    """Run a TOPK; returns the cycles from the start to the end."""
    core, state = memories.cores[fields["core"]], memories.experts
    bank = core.psum if fields["psum"] else core.residual
    config = fields["experts"], fields["choices"]
    ExpertsParams(chip).router.check(*config, fields["capacity"])
    regs, scores, choice = np.zeros(3, np.int64), np.zeros(router.MAX_EXPERTS, np.int64), np.zeros(4, np.int64)
    token, block, entry, tokens_out, cycle = 0, 0, fields["entry"], 0, 0
    standing: tuple[Any, int, int] | None = None  # the row that the bank answers; it begins the layer, ends its token
    while True:
        cycle += 1
        ready = regs[LEFT] <= 1  # the table takes every choice
        if offer(regs, scores, state.counts, fields["capacity"], choice):
            tokens_out += choice[3]
            end = tokens_out == fields["tokens"]
            state.routes[fields["core"], entry] = *choice, end
            entry += 1
            take(regs, state.counts, choice, contract.SLOT_BITS)
            if end:
                return cycle + 1
        accepted = standing is not None and ready
        if accepted:
            put(regs, scores, state.counts, *standing, *config)
        if token < fields["tokens"] and (standing is None or accepted):
            row = bank[fields["score_base"] + token * fields["score_token"] + block].astype(np.int64)
            first, last = fields["first"] and token == block == 0, block == fields["blocks"] - 1
            standing = row, int(first), int(last)
            token, block = (token + 1, 0) if last else (token, block + 1)
        elif accepted:
            standing = None
