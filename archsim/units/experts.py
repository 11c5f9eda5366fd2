"""Expert engine, fast: choices and packets at once, time from the events of the crossbars."""

from collections import namedtuple
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import experts as contract
from archsim.contracts import sequencer
from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.crossbar import CrossbarParams
from archsim.contracts.experts import DONE, ENTRY, FIRST_FLIT, QUIET, ExpertsParams
from archsim.results import COUNT, COUNTERS
from archsim.units.crossbar import walk
from archsim.units.router import choose
from archsim.units.sram import Memories

Route = namedtuple("Route", [field.name for field in contract.ROUTE_FIELDS])
"""Fields of DISPATCH and COLLECT."""

EXPERT, SLOT, KEPT, LAST, END = range(len(ENTRY.fields))
"""Columns of a route table."""


READS = {"spike_out": "copied_rows", "residual": "residual_reads"}
WRITES = {"spike_in": "copied_row_writes", "psum": "psum_writes", "residual": "residual_writes"}
"""Counters of rows that packets are read from, and written to, by memory."""


class Packets(NamedTuple):
    """Packets of one port, or of several.

    Attributes:
        port: port that sends each.
        destination: port that gets it.
        source: first row that is read.
        target: first row that is written.
        skipped: entries of the table that were dropped just before it.
        tail: by port, entries dropped after its last packet.
    """

    port: NDArray[np.int64]
    destination: NDArray[np.int64]
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    skipped: NDArray[np.int64]
    tail: dict[int, int]


def topk(fields: Mapping[str, int], chip: ChipParams, memories: Memories) -> tuple[int, NDArray[np.int64]]:
    """Run a TOPK. Returns the duration in cycles and counters int64 [COUNTERS]; raises ArchsimError for impossible fields."""
    params = ExpertsParams(chip)
    params.router.check(fields["experts"], fields["choices"], fields["capacity"])
    tokens, blocks, choices = fields["tokens"], fields["blocks"], fields["choices"]
    if tokens < 1 or blocks != params.router.blocks(fields["experts"]):
        raise ArchsimError(
            f"topk: required a token and {params.router.blocks(fields['experts'])} blocks, given {fields}"
        )
    core, state = memories.cores[fields["core"]], memories.experts
    rows = fields["score_base"] + np.arange(tokens)[:, None] * fields["score_token"] + np.arange(blocks)
    scores = (core.psum if fields["psum"] else core.residual)[rows].reshape(tokens, -1)[:, : fields["experts"]]
    if fields["first"]:
        state.counts[:] = 0
    end = fields["entry"] + tokens * choices
    table = state.routes[fields["core"], fields["entry"] : end]
    mask = (1 << contract.SLOT_BITS) - 1
    for token, values in enumerate(scores.astype(np.int64)):
        choose(values, choices, fields["capacity"], mask, state.counts, table[token * choices : (token + 1) * choices])
    table[:, END] = 0
    table[-1, END] = 1
    counts = np.zeros(len(COUNTERS), np.int64)
    counts[COUNT.choices] = counts[COUNT.route_writes] = len(table)
    counts[COUNT.dropped] = len(table) - table[:, KEPT].sum()
    counts[COUNT.psum_reads if fields["psum"] else COUNT.residual_reads] = rows.size
    return contract.topk_cycles(tokens, blocks, choices), counts


def chosen(f: Route, chip: ChipParams, routes: NDArray[np.int64]) -> tuple[Packets, int]:
    """The kept choices of all home cores as packets from a home core to an expert's core, and the entries that were read.

    Raises ArchsimError when a table has no end.
    """
    parts, tail, entries = [], {}, 0
    shifts = 4 * np.arange(f.experts, dtype=np.uint64)
    places, regions = ((np.uint64(word) >> shifts & np.uint64(15)).astype(np.int64) for word in (f.place, f.region))
    if max(f.cores.bit_length() - 1, *places.tolist()) >= chip.cores:
        raise ArchsimError(
            f"experts: required cores below {chip.cores}, given homes {f.cores:#x} and places {places.tolist()}"
        )
    for core in (core for core in range(chip.cores) if f.cores >> core & 1):
        ends = np.flatnonzero(routes[core, f.entry :, END])
        if not len(ends):
            raise ArchsimError(
                f"experts: required a TOPK of core {core} at row {f.entry} of its route table, given none"
            )
        table = routes[core, f.entry : f.entry + ends[0] + 1]
        if table[:, EXPERT].max() >= f.experts:
            raise ArchsimError(
                f"experts: required as many experts as TOPK had, given {f.experts} and a later one chosen"
            )
        entries += len(table)
        before = np.concatenate([[0], np.cumsum(table[:-1, LAST])])  # tokens, and choices of the same token before
        numbers = np.arange(len(table))
        firsts = np.maximum.accumulate(np.where(np.concatenate([[1], table[:-1, LAST]]) == 1, numbers, 0))
        home = f.home_base + before * f.home_token + (numbers - firsts) * f.home_choice
        slots = contract.slot_rows(table[:, SLOT], f.slot_shift, f.other_shift)
        expert = f.expert_base + slots + (regions[table[:, EXPERT]] << f.region_shift)
        kept = np.flatnonzero(table[:, KEPT])
        skipped = np.diff(kept, prepend=-1) - 1
        tail[core] = len(table) - 1 - (kept[-1] if len(kept) else -1)
        parts.append((np.full(len(kept), core), places[table[kept, EXPERT]], home[kept], expert[kept], skipped))
    columns = (np.concatenate(column) for column in zip(*parts, strict=True)) if parts else [np.zeros(0, np.int64)] * 5
    return Packets(*columns, tail), entries


def send(params: CrossbarParams, packets: Packets, rows: int, counts: NDArray[np.int64]) -> tuple[int, list[NDArray]]:
    """Send packets of ``rows`` flits; packets are in the order of their ports.

    Returns the cycle, from the start, in which it is seen that nothing moves, and by output its flits in order; flit
    ``packet * rows + row`` is a row of a packet.
    """
    ports, total = params.ports, len(packets.port) * rows
    starts = np.searchsorted(packets.port, np.arange(ports + 1)) * rows
    gaps = np.zeros((len(packets.port), rows), np.int64)
    gaps[:, :1] = packets.skipped[:, None]
    gaps = gaps.reshape(-1)
    gaps[starts[:-1][starts[:-1] < starts[1:]]] += FIRST_FLIT
    lasts = np.arange(1, total + 1) % rows == 0
    offered, accepted, departed, sources = (np.full(total, -1, np.int64) for _ in range(4))
    order, sent = np.zeros((ports, total), np.int64), np.zeros(ports, np.int64)
    walk(
        params.depth, np.repeat(packets.destination, rows), lasts, starts, gaps, True, np.zeros(ports, np.int64),
        np.arange(ports + 1), offered, accepted, departed, sources, order, sent, np.zeros((ports, ports), np.int64),
        np.full(ports, ports - 1),
    )  # fmt: skip
    moved = int(departed.max(initial=0))
    for port, tail in packets.tail.items():
        # The entries behind the last packet are dropped from the cycle on in which its last row is read.
        last = offered[starts[port + 1] - 1] if starts[port] < starts[port + 1] else FIRST_FLIT - 1
        moved = max(moved, int(last) - 2 + tail)
    counts[COUNT.flits] += total
    counts[COUNT.flit_stalls] += int((accepted - offered).sum())
    return moved + QUIET, [order[port, : sent[port]] for port in range(ports)]


def ask(params: ExpertsParams, requests: Packets, orders: list[NDArray], replies: NDArray[np.int64]) -> Packets:
    """Store the requests in the reply tables, in the order in which they came; returns the packets that answer them."""
    parts, limit = [], params.chip.route_rows
    for core, arrived in enumerate(orders):
        if len(arrived) > limit:
            raise ArchsimError(f"experts: required {limit} requests (route_rows) at core {core}, given {len(arrived)}")
        columns = (requests.port[arrived], requests.target[arrived], requests.source[arrived])
        replies[core, : len(arrived)] = np.stack(columns, axis=1)
        parts.append((np.full(len(arrived), core), *columns, np.zeros(len(arrived), np.int64)))
    return Packets(*(np.concatenate(column) for column in zip(*parts, strict=True)), {})


def move(packets: Packets, rows: int, orders: list[NDArray], sources: list[NDArray], targets: list[NDArray]) -> None:
    """Copy the rows of packets from the bank of each sender to the bank of each receiver, in the order of arrival.

    Raises ArchsimError for a row that does not exist.
    """
    for kind, first, banks in (("source", packets.source, sources), ("target", packets.target, targets)):
        end, size = int(first.max(initial=0)) + rows, len(banks[0])
        if end > size:
            raise ArchsimError(f"experts: a packet reaches {kind} row {end - 1}, required below {size}")
    read = packets.source[:, None] + np.arange(rows)
    written = packets.target[:, None] + np.arange(rows)
    data = np.zeros((len(read), rows, sources[0].shape[1]), sources[0].dtype)
    for port, bank in enumerate(sources):
        data[packets.port == port] = bank[read[packets.port == port]]
    for bank, flits in zip(targets, orders, strict=True):
        bank[written.reshape(-1)[flits]] = data.reshape(-1, data.shape[2])[flits]


def route(fields: Mapping[str, int], chip: ChipParams, memories: Memories) -> tuple[int, NDArray[np.int64]]:
    """Run a DISPATCH or COLLECT. Returns the duration in cycles and counters int64 [COUNTERS].

    Raises ArchsimError where choices and fields do not fit together or reach rows that do not exist.
    """
    params, f = ExpertsParams(chip), Route(*(fields[name] for name in Route._fields))
    if f.rows < 1:
        raise ArchsimError("experts: required packets of 1 row or more, given 0")
    collects = fields["opcode"] == sequencer.COLLECT
    contract.check(collects, f.membranes, chip)
    counts = np.zeros(len(COUNTERS), np.int64)
    packets, entries = chosen(f, chip, memories.experts.routes)
    counts[COUNT.route_reads] = entries
    asked = 0
    if collects:
        asked, orders = send(params.request, packets, 1, counts)
        packets = ask(params, packets, orders, memories.experts.replies)
        counts[COUNT.reply_reads] = counts[COUNT.reply_writes] = len(packets.port)
    end, orders = send(params.reply if collects or f.membranes else params.request, packets, f.rows, counts)
    source, target = contract.memories(collects, f.membranes)
    if source == target:
        _require_apart(packets, f.rows)
    sources, targets = (
        [getattr(core, memory) if f.membranes else getattr(core, memory)[bank] for core in memories.cores]
        for memory, bank in ((source, f.source_bank), (target, f.bank))
    )
    move(packets, f.rows, orders, sources, targets)
    moved = len(packets.port) * f.rows
    counts[getattr(COUNT, READS[source])] += moved
    counts[getattr(COUNT, WRITES[target])] += moved
    return asked + end + DONE, counts


def _require_apart(packets: Packets, rows: int) -> None:
    """Raise ArchsimError for a row of a core that packets of ``rows`` rows read and write."""
    numbers = np.arange(rows)
    read, written = (
        {(core, row) for core, some in zip(ports.tolist(), (first[:, None] + numbers).tolist(), strict=True) for row in some}
        for ports, first in ((packets.port, packets.source), (packets.destination, packets.target))
    )
    if both := sorted(read & written):
        core, row = both[0]
        raise ArchsimError(
            f"experts: DISPATCH would read and write row {row} of the residual bank of core {core}; required tokens and slots "
            "apart, change home_base or expert_base"
        )
