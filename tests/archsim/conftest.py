"""A hand-worked run on the `small` chip: its expected figures are derived in the tests' comments."""

from typing import Any

import numpy as np
import pytest

from archsim.config import load_chip
from archsim.contracts import sequencer
from archsim.contracts.common.program import Program
from archsim.results import (
    NOT_WAITING,
    RECORD,
    WAIT_ATTENTION,
    WAIT_CORE,
    WAIT_DMA,
    WAIT_MULTICAST,
    ImageRun,
    RunResult,
)

CYCLES = 190
LAYERS = [
    {"name": "conv", "kind": "convolution", "macs": 9216, "operand": "planes"},
    {"name": "attention", "kind": "attention", "macs": 4096, "operand": "spikes"},
    {"name": "head", "kind": "linear", "macs": 160, "operand": "spikes"},
]


def record(engine: int, index: int, opcode: str, layer: int, times: tuple[int, int, int], **fields: int) -> Any:
    """One record; ``times`` are ready, start, end; missing counters are 0."""
    row = np.zeros((), RECORD)
    row["engine"], row["index"], row["layer"] = engine, index, layer
    row["opcode"] = sequencer.OPCODES.index(opcode)
    row["ready"], row["start"], row["end"] = times
    for name, value in fields.items():
        row[name] = value
    return row


def records() -> np.ndarray:
    """A gang of both cores computes, attention follows, core 0 computes the head, the logits are stored."""
    first, second = sequencer.CORE0, sequencer.CORE0 + 1
    gang = {
        "cores": 3,
        "waited_for": WAIT_DMA,
        "stall_cycles": 5,
        "fill_cycles": 10,
        "groups": 4,
        "granules": 16,
    }
    rows = [
        record(0, 0, "LOAD", 0, (3, 3, 23), waited_for=NOT_WAITING, dram_bytes=4096, loaded_weight_rows=256),
        # 40 cycles = 20 events + 2 empty words + 3 shifts + 5 stalls + 10 fill; 12 of 16 columns in core 0
        record(first, 0, "SYNAPSE", 0, (3, 24, 64), **gang, words=10, events=20, empty_words=2, shifts=3,
               lane_events=20, additions=240, spike_reads=10, weight_reads=20, spike_writes=16),
        # the member: its fetch and encoder are the leader's
        record(second, 0, "SYNAPSE", 0, (3, 24, 64), **gang, additions=320, weight_reads=20, spike_writes=16),
        record(1, 0, "COPY", 1, (3, 65, 75), waited_for=WAIT_CORE, copied_rows=7, copied_row_writes=7),
        record(2, 0, "ATTEND_KV", 1, (3, 76, 126), waited_for=WAIT_MULTICAST, events=44, fill_cycles=6,
               lane_events=44, additions=100, spike_reads=30, count_reads=44, count_writes=44),
        record(1, 1, "COPY", 2, (78, 127, 137), waited_for=WAIT_ATTENTION, copied_rows=7,
               copied_row_writes=14),
        # 30 cycles = 10 events + 20 fill
        record(first, 1, "SYNAPSE", 2, (67, 138, 168), cores=1, waited_for=WAIT_MULTICAST, words=4, events=10,
               lane_events=10, additions=160, fill_cycles=20, spike_reads=4, weight_reads=10, groups=1,
               granules=4),
        record(first, 2, "PLANES", 2, (171, 171, 181), cores=1, granules=7, fill_cycles=3),
        record(0, 1, "STORE", 2, (26, 182, 190), waited_for=WAIT_CORE, dram_bytes=40),
    ]  # fmt: skip
    result = np.array(rows, RECORD)
    return result[np.lexsort((result["engine"], result["start"]))]


def make_result(images: int = 1, **changes: Any) -> RunResult:
    """The run, for a number of equal images; ``changes`` replace fields of the result, ``energy_laws`` that of its chip."""
    chip = load_chip("small").replace(energy_laws=changes.pop("energy_laws", 1))
    program = Program(chip, {}, np.zeros(0, np.uint8), {"layers": LAYERS})
    run = ImageRun(CYCLES, np.array([1, 7, -3]), records())
    fields: dict[str, Any] = {
        "workload": "digits", "mode": "execute", "program": program, "images": [run] * images,
        "labels": np.array([1] * images), "accuracy": 1.0, "accuracy_float": 0.98, "check": None,
        "provenance": {"archsim": "0.1.0"},
    }  # fmt: skip
    return RunResult(**{**fields, **changes})


@pytest.fixture
def result() -> RunResult:
    """The hand-worked run of one image."""
    return make_result()


@pytest.fixture
def make() -> Any:
    """`make_result`, for tests that change fields."""
    return make_result
