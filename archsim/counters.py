"""Sums of counters over the records of a run, with a gang's shared fetch and encoder counted once."""

import numpy as np
from numpy.typing import NDArray

from archsim.contracts import sequencer
from archsim.energy.clock import BUSY
from archsim.energy.term import ATTENTION
from archsim.results import COUNTERS, RunResult

DERIVED = {
    "fetch.groups": "groups", "array.groups": "groups", "writer.granules": "granules", "writer.pooled": "granules",
    "planes.granules": "spike_writes", "dma.loaded": "dram_bytes", "dma.sent": "dram_bytes", "multicast.rows": "copied_rows",
    "kv.words": "words", "kv.additions": "additions", "sums.additions": "additions", "softmax.additions": "additions",
    "scores.pairs": "popcounts", "attend.walked": "spike_reads", "attend.busy": "granules",
}  # fmt: skip
"""Counts that laws of single units need, and the counter that each is a part of: groups of a leader's fetch, groups of an array
with a spike, granules that writers take and those that go to a pool, granules of PLANES, beats of LOAD and STORE, rows of the
multicast (the crossbars copy rows too), what ATTEND_KV does, additions of ATTEND_SOFTMAX and of the others that add to sums, pairs
of ATTEND_SCORES, words or pairs that meet in the attention unit, and there granules of groups to which something was added."""

LEADER_ONLY = ("words", "empty_words", "events", "shifts", "lane_events", "spike_reads")
"""Counters of a gang's shared fetch and encoder: they count once, in the leader's record."""


class AccountingError(AssertionError):
    """Parts do not add up to the whole: an internal error of archsim, not of its input."""


def leaders(records: NDArray[np.void]) -> NDArray[np.int64]:
    """For every record the index of the one of its gang's leader; its own if it is in no gang.

    The leader is the lowest core of the mask; its instruction starts in the same cycle.
    """
    index = np.arange(len(records))
    mask = records["cores"]
    synapse = (records["opcode"] == sequencer.SYNAPSE) & (mask > 0)
    lowest = np.zeros(len(records), np.int64)
    lowest[synapse] = np.log2((mask & -mask)[synapse]).astype(np.int64)
    wanted = (records["start"] << 6) | (sequencer.CORE0 + lowest)
    keys = np.where(synapse, (records["start"] << 6) | records["engine"], -1)
    order = np.argsort(keys, kind="stable")
    place = np.minimum(np.searchsorted(keys[order], wanted), len(records) - 1)
    found = order[place] if len(records) else index
    if np.any(keys[found][synapse] != wanted[synapse]):
        number = int(np.flatnonzero(synapse & (keys[found] != wanted))[0])
        raise AccountingError(f"record {number}: its gang's leader has no instruction with the same start")
    return np.where(synapse, found, index)


def tally(result: RunResult, layers: int) -> list[dict[str, int]]:
    """Counters of each layer over all images.

    Named as the energy model names them: the attention unit's carry its prefix; ``instructions`` are counted, and by kind of engine
    the cycles between their starts and ends.
    """
    total: dict[str, NDArray[np.int64]] = {"instructions": np.zeros(layers, np.int64)}
    for run in result.images:
        records, layer = run.records, run.records["layer"]
        lead = leaders(records)
        once = lead == np.arange(len(records))
        attention = records["engine"] == sequencer.ATTENTION
        np.add.at(total["instructions"], layer, 1)
        kinds, busy = records["engine"].copy(), records["end"] - records["start"]
        kinds[(kinds > sequencer.CORE0) & (kinds < sequencer.NORMALISER)] = sequencer.CORE0
        for kind in (*range(sequencer.CORE0 + 1), sequencer.NORMALISER):
            name = BUSY + ("core" if kind == sequencer.CORE0 else sequencer.engine_name(kind))
            np.add.at(total.setdefault(name, np.zeros(layers, np.int64)), layer[kinds == kind], busy[kinds == kind])
        for entry in COUNTERS:
            values = records[entry.name]
            if entry.name == "shifts":
                values = values[lead]  # every member doubles its own accumulators
            elif entry.name in LEADER_ONLY:
                values = np.where(once, values, 0)
            for name, rows in ((entry.name, ~attention), (ATTENTION + entry.name, attention)):
                np.add.at(total.setdefault(name, np.zeros(layers, np.int64)), layer[rows], values[rows])
        for name, values in _derived(records, once, result.chip.dram_bus_bytes).items():
            np.add.at(total.setdefault(name, np.zeros(layers, np.int64)), layer, values)
    return [{name: int(values[layer]) for name, values in total.items()} for layer in range(layers)]


def _derived(records: NDArray[np.void], once: NDArray[np.bool_], bus_bytes: int) -> dict[str, NDArray[np.int64]]:
    """The counts `DERIVED` of each record; ``once``: whether it is no other member's than a gang's leader's."""
    opcode, beats = records["opcode"], records["dram_bytes"] // bus_bytes
    synapse, pooled = opcode == sequencer.SYNAPSE, records["pool_column_writes"] > 0
    attention, kv = records["engine"] == sequencer.ATTENTION, opcode == sequencer.ATTEND_KV
    softmax = opcode == sequencer.ATTEND_SOFTMAX
    # Rows that a place of the walk reads: a word of K and one of V, of Q alone, or of all three.
    reads = np.select([opcode == sequencer.ATTEND_Q, kv | (opcode == sequencer.ATTEND_GATE)], [1, 2], 3)
    # All groups of an instruction have the same number of blocks.
    empty = records["empty_groups"] * (records["granules"] // np.maximum(1, records["groups"]))
    return {
        "fetch.groups": records["groups"] * (synapse & once),
        "array.groups": (records["groups"] - records["empty_groups"]) * synapse,
        "writer.granules": np.where(pooled, records["granules"], records["spike_writes"]) * synapse,
        "writer.pooled": records["granules"] * pooled,
        "dma.loaded": beats * (opcode == sequencer.LOAD), "dma.sent": beats * (opcode == sequencer.STORE),
        "multicast.rows": records["copied_rows"] * (records["engine"] == sequencer.MULTICAST),
        "planes.granules": records["spike_writes"] * (opcode == sequencer.PLANES),
        "kv.words": records["words"] * kv, "kv.additions": records["additions"] * kv,
        "sums.additions": records["additions"] * (attention & ~kv & ~softmax), "softmax.additions": records["additions"] * softmax,
        "scores.pairs": records["popcounts"] * (opcode == sequencer.ATTEND_SCORES),
        "attend.walked": records["spike_reads"] // reads * attention, "attend.busy": (records["granules"] - empty) * attention,
    }  # fmt: skip


def add(parts: list[dict[str, int]]) -> dict[str, int]:
    """Sums of dictionaries with the same names."""
    return {name: sum(part[name] for part in parts) for name in parts[0]}


def whole(result: RunResult) -> dict[str, int]:
    """Every counter of the results over all engines and images; a gang's shared ones once."""
    total = {entry.name: 0 for entry in COUNTERS}
    for run in result.images:
        once = leaders(run.records) == np.arange(len(run.records))
        for name in total:
            values = run.records[name]
            total[name] += int((values[once] if name in LEADER_ONLY else values).sum())
    return total
