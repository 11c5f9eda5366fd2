"""Is every cycle and every adder slot accounted for, under the right cause and layer?"""

import dataclasses

import numpy as np
import pytest

from archsim.accounting import CAUSES, NAMES, account, layer_segments
from archsim.contracts import sequencer
from archsim.counters import AccountingError, leaders, whole
from archsim.energy import energy_pj
from archsim.results import RECORD, ImageRun
from archsim.summary import bound, summarise

# Per core, in cycles, from the times in conftest.py.
# Core 0: decode 3; waits for DMA in 3..24: it works until 23, then its semaphore (1, sequencer);
# instruction 40; decode 3; waits for multicast in 67..138: it works until 75 (8), decodes (3), waits for
# attention, which works until 126 (48) and posts (1), works 127..137 (10), posts (1); instruction 30;
# decode 3; PLANES 10; nothing until 190 (9).
# Core 1: decode 3, DMA 20, semaphore 1, instruction 40, nothing left from 64 on (126).
EXPECTED = {
    "additions": 240 + 320 + 160,
    "unused_columns": (16 - 12) * 20,
    "idle_lanes": 0,
    "empty_words": 2 * 16 * 2,
    "shifts": 3 * 16 * 2,
    "neurons": (5 * 2 + 10) * 16,
    "fill": (10 * 2 + 20) * 16,
    "weights": (20 + 20) * 16,
    "gather": (8 + 10) * 16,
    "attention": 48 * 16,
    "experts": 0,
    "normaliser": 0,
    "other_cores": 0,
    "decode": (3 + 1 + 3 + 3 + 1 + 1 + 3 + 3 + 1) * 16,
    "end": (9 + 126) * 16,
    "unused_cores": 0,
}


def test_slots_of_a_hand_worked_run(result):
    slots = account(result.chip, result.images[0], 3).slots.sum(axis=0)
    assert dict(zip(NAMES, slots.tolist(), strict=True)) == EXPECTED
    assert sum(EXPECTED.values()) == 32 * 190


def test_every_cycle_belongs_to_one_layer(result):
    # Until 64 layer 0 (or waiting for it); until 126 attention; then the head and the store behind it.
    times, owners = layer_segments(result.images[0])
    assert times[0] == 0 and times[-1] == 190 and np.all(np.diff(times) > 0)
    assert account(result.chip, result.images[0], 3).layer_cycles.tolist() == [64, 62, 64]
    assert set(owners.tolist()) == {0, 1, 2}


def test_idle_slots_belong_to_the_layer_of_their_cycle(result):
    slots = account(result.chip, result.images[0], 3).slots
    assert slots[:, NAMES.index("gather")].tolist() == [0, 8 * 16, 10 * 16]
    assert slots[:, NAMES.index("attention")].tolist() == [0, 48 * 16, 0]
    assert slots[:, NAMES.index("weights")].tolist() == [40 * 16, 0, 0]


def test_latest_started_instruction_owns_the_cycle():
    rows = np.zeros(3, RECORD)
    rows["engine"] = [3, 4, 3]
    rows["layer"] = [0, 1, 2]
    rows["start"], rows["end"] = [5, 10, 50], [40, 20, 60]
    times, owners = layer_segments(ImageRun(64, np.zeros(1, np.int64), rows))
    assert list(zip(times[:-1].tolist(), owners.tolist(), strict=True)) == [
        (0, 0), (5, 0), (10, 1), (20, 0), (40, 2), (50, 2), (60, 2),
    ]  # fmt: skip


def test_gang_counts_its_fetch_once(result):
    records = result.images[0].records
    lead = leaders(records)
    member = int(np.flatnonzero(records["engine"] == sequencer.CORE0 + 1)[0])
    assert records["engine"][lead[member]] == sequencer.CORE0
    copied = records.copy()
    for name in ("words", "empty_words", "events", "shifts", "lane_events", "spike_reads"):
        copied[name][member] = records[name][lead[member]]
    twice = dataclasses.replace(result, images=[dataclasses.replace(result.images[0], records=copied)])
    assert whole(twice) == whole(result)
    assert summarise(twice) == summarise(result)


def test_member_that_was_early_waited_for_its_gang(result):
    records = result.images[0].records.copy()
    records["waited_for"][records["engine"] == sequencer.CORE0 + 1] = 0
    run = dataclasses.replace(result.images[0], records=records)
    slots = account(result.chip, run, 3).slots.sum(axis=0)
    assert slots[NAMES.index("other_cores")] == 21 * 16


def test_core_without_program_is_named(result):
    records = result.images[0].records
    run = dataclasses.replace(result.images[0], records=records[records["engine"] != sequencer.CORE0 + 1])
    slots = account(result.chip, run, 3).slots.sum(axis=0)
    assert slots[NAMES.index("unused_cores")] == 190 * 16


@pytest.mark.parametrize(
    "name, value, text",
    [
        ("fill_cycles", 11, "counters stand for"),
        ("lane_events", 300, "less than 0"),
        ("start", 2, "before it is ready"),
        ("layer", 3, "no layer"),
        ("ready", 1, "overlap"),
    ],
)
def test_contradictions_are_internal_errors(result, name, value, text):
    records = result.images[0].records.copy()
    last = np.flatnonzero((records["engine"] == sequencer.CORE0) & (records["index"] == 1))
    records[name][last] = value
    with pytest.raises(AccountingError, match=text):
        account(result.chip, dataclasses.replace(result.images[0], records=records), 3)


def test_totals(result):
    summary = summarise(result)
    assert summary["cycles"] == 190
    assert summary["latency_ms"] == pytest.approx(190 / 100e6 * 1e3)
    assert summary["images_per_s"] == pytest.approx(100e6 / 190)
    assert summary["synaptic_operations"] == 820
    assert summary["synaptic_operations_attention"] == 100
    assert summary["utilization"] == 720 / (32 * 190)
    assert summary["dram_bytes"] == 4136
    assert summary["dense_macs"] == 13472
    assert summary["predictions"] == [{"label": 1, "predicted": 1}]
    slots = summary["adder_slots_all_images"]
    assert sum(entry["slots"] for entry in slots["causes"].values()) == slots["total"] == 32 * 190
    assert list(slots["causes"]) == list(CAUSES)


def test_layers_add_up(result):
    summary = summarise(result)
    rows = summary["layers"]
    assert [row["name"] for row in rows] == ["conv", "attention", "head"]
    for name in ("cycles", "synaptic_operations", "dram_bytes", "dense_macs"):
        assert sum(row[name] for row in rows) == summary[name]
    assert sum(row["energy_uj"] for row in rows) == pytest.approx(summary["energy_uj"]["total"])
    assert sum(sum(row["adder_cycles"].values()) for row in rows) == pytest.approx(190)
    assert [row["spikes_in"] for row in rows] == [20, 44, 10]
    assert [row["bound_by"] for row in rows] == ["events", "attention", "pipeline"]
    assert rows[2]["multicast_bytes"] == 7 * 2


def test_energy_is_the_models_of_all_counters(result):
    counters = dict(whole(result))
    records = result.images[0].records
    for name in ("additions", "spike_reads", "count_reads", "count_writes"):
        mine = int(records[name][records["engine"] == sequencer.ATTENTION].sum())
        counters[name] -= mine
        counters["attention." + name] = mine
    counters["instructions"] = len(records)
    counters["shifts"] = 2 * 3  # both members double their accumulators
    expected = energy_pj(result.chip, counters, 190)
    given = summarise(result)["energy_uj"]
    for name, picojoule in expected.items():
        assert given[name] == pytest.approx(picojoule * 1e-6), name


def test_field_figure(result):
    # conv has an integer operand: its 9216 dense multiply-adds; attention and head: 100 + 160 additions
    field = summarise(result)["field_energy_uj"]
    assert field["total"] == pytest.approx((4.6 * 9216 + 0.9 * 260) * 1e-6)
    assert (field["multiply_accumulates"], field["accumulates"]) == (9216, 260)


def test_several_images_are_means(make):
    one, three = summarise(make(1)), summarise(make(3))
    for name in ("cycles", "synaptic_operations", "utilization", "dram_bytes", "latency_ms"):
        assert three[name] == one[name]
    assert three["energy_uj"] == pytest.approx(one["energy_uj"])
    assert three["layers"][0]["adder_cycles"] == pytest.approx(one["layers"][0]["adder_cycles"])
    assert three["cycles_by_image"] == [190] * 3
    assert three["adder_slots_all_images"]["total"] == 3 * one["adder_slots_all_images"]["total"]


def test_bound():
    assert bound({"additions": 3, "empty_words": 2, "attention": 4}) == "events"
    assert bound({"unused_cores": 5}) == "-"
    assert bound({"decode": 1}) == "sequencer"
