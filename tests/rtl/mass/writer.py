"""Mass run of the spike writer with its pool: granules with gaps, instruction after instruction, both banks read back."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from archsim.contracts.neuron import GROUP_GAP, NeuronParams
from archsim.contracts.spike_writer import SpikeWriterParams, corners, pooled_size
from archsim.stepped import spike_writer as stepped
from archsim.units import spike_writer as fast
from rtl.build import UNITS
from rtl.units.spike_writer import CONFIG
from tests.rtl import rows
from tests.rtl.bench import STALLS, Stalls, pack
from tests.rtl.levels import library
from tests.rtl.mass import recorded, script
from tests.rtl.mass.record import RANDOM, RECORDED, Goal, Result, name_of
from tests.rtl.mass.script import Check, Script
from tests.rtl.mass.streams import Stopwatch

UNIT = "spike_writer"

GRANULES = 2000
"""Granules of an instruction at most."""


class Writes(NamedTuple):
    """Instructions one after the other: as :func:`archsim.units.spike_writer.run` takes them; ``banks`` before the first."""

    instructions: list[dict[str, int]]
    granules: list[np.ndarray]
    gaps: np.ndarray
    pauses: np.ndarray
    banks: np.ndarray


def granules_of(fields: dict[str, int]) -> int:
    """Granules of a group."""
    return fields["blocks"] * fields["steps"]


def layout_of(params: SpikeWriterParams):
    """Input payload: the neuron unit's output."""
    return NeuronParams(params.neurons, params.blocks, 4, 1, 1, 1, 1).o


def run_case(params: SpikeWriterParams, case: Writes) -> tuple[int, int, float]:
    """Run on both models and the Verilog: granules, cycles, seconds. Raises Divergence or AssertionError."""
    after, other = case.banks.copy(), case.banks.copy()
    law, model = (module.run(params, *case[:-1], banks) for module, banks in ((fast, after), (stepped, other)))
    written = script_of(params, case, law, after)
    layouts = {"config": CONFIG, "i__payload": layout_of(params)}
    lib = library(UNIT, params)
    _, seconds = script.run(UNIT, lambda: UNITS[UNIT].create(params), lib, written, layouts)
    for name in law._fields:
        assert np.array_equal(getattr(law, name), getattr(model, name)), f"law and stepped model differ in {name}"
    assert np.array_equal(after, other), "law and stepped model differ in the banks"
    return len(law.accepted), int(law.done[-1]) + 1, seconds


def script_of(params: SpikeWriterParams, case: Writes, law: fast.WriterRun, after: np.ndarray) -> Script:
    """Inputs of the whole run; ``done`` in every cycle of it, then every row of both banks."""
    ports, depth, layout = library(UNIT, params).inputs, case.banks.shape[1], layout_of(params)
    load = rows.load_inputs({"write": rows.bits(case.banks, params.neurons * params.blocks)}, {"write": depth})
    cycles = int(law.done[-1]) + 20
    valid, start = np.zeros(cycles, bool), np.zeros(cycles, bool)
    valid[law.accepted], start[law.start] = True, True
    marks: dict[str, list[np.ndarray]] = {"block": [], "step": [], "last": []}
    for fields, spikes in zip(case.instructions, case.granules, strict=True):
        group = granules_of(fields)
        number = np.arange(len(spikes)) % group
        parts_of = (number // fields["steps"], number % fields["steps"], number == group - 1)
        for name, values in zip(marks, parts_of, strict=True):
            marks[name].append(values)
    columns = {name: np.concatenate(values) for name, values in marks.items()}
    payload = pack(layout, columns | {"spikes": np.concatenate(case.granules)})
    # Where no granule is valid, some other one stands.
    stands = np.minimum(np.searchsorted(law.accepted, np.arange(cycles)), len(payload) - 1)
    configs = [CONFIG.pack({name: fields.get(name, 0) for name in CONFIG.by_name}) for fields in case.instructions]
    words = [np.frombuffer(value.to_bytes(8 * -(-CONFIG.width // 64), "little"), np.uint64) for value in configs]
    number = np.maximum(np.searchsorted(law.start, np.arange(cycles), side="right") - 1, 0)
    dump = np.arange(2 * depth + 1)
    parts = [
        script.rows_of(ports, script.RESET_CYCLES, {"rst": 1}),
        script.rows_of(ports, len(load["write__valid"]), load),
        script.rows_of(ports, cycles, {
            "config": np.array(words)[number], "start": start, "i__valid": valid, "i__payload": payload[stands],
        }),
        script.rows_of(ports, len(dump), {"read__en": 1, "read__bank": dump // depth % 2, "read__row": dump % depth}),
    ]  # fmt: skip
    origin = len(parts[0]) + len(parts[1])
    done = np.zeros((cycles, 1), np.uint64)
    done[law.done] = 1
    answers = rows.to_words(rows.bits(after.reshape(2 * depth, -1), params.neurons * params.blocks))
    checks = [
        Check("done", origin + np.arange(cycles), done),
        Check("read__data", origin + cycles + 1 + np.arange(2 * depth), answers,
              lambda index: f"spike_out[{index // depth}, {index % depth}]"),
    ]  # fmt: skip
    return Script(np.concatenate(parts), origin, checks)


# ------------------------------------------------------------------------------ stimuli


def random_fields(params: SpikeWriterParams, rng: np.random.Generator) -> dict[str, int]:
    """Any tile whose rows exist, and which the pool can hold if it uses it."""
    while True:
        lanes, planes = int(rng.integers(1, params.lanes + 1)), int(rng.integers(2))
        repeat = int(rng.integers(1, 4))
        fields = {
            "planes": planes, "lanes": lanes, "steps": lanes * (repeat if planes else 1),
            "slices": int(rng.integers(1, 9)) if planes else repeat, "blocks": int(rng.integers(1, params.blocks + 1)),
            "out_height": int(rng.integers(1, 9)), "out_width": int(rng.integers(1, 12)), "pool": int(rng.integers(2)),
            "pool_first_odd": int(rng.integers(2)), "pool_left_odd": int(rng.integers(2)), "spike_out": int(rng.random() < 0.9),
            "psum_out": int(rng.random() < 0.1), "out_bank": int(rng.integers(2)),
        }  # fmt: skip
        height, width = fields["out_height"], fields["out_width"]
        entries = repeat * lanes * fields["blocks"]
        if height * width * entries > GRANULES:
            continue
        if fields["pool"]:
            height = pooled_size(height, fields["pool_first_odd"])
            width = pooled_size(width, fields["pool_left_odd"])
            if entries > params.columns.rows or width * entries > params.lines.rows:
                continue
        slice_rows = (repeat - 1) * (row := int(rng.integers(0, 3)))
        last, free = max(0, height * width - 1), params.rows - 1 - slice_rows
        if free < 0:
            continue
        position = int(rng.integers(0, min(2 * repeat, free // last) + 1)) if last else 1
        base = int(rng.integers(params.rows - slice_rows - last * position))
        return fields | {"out_slice": row, "out_position": position, "out_base": base}


def random_case(params: SpikeWriterParams, rng: np.random.Generator, stalls: Stalls) -> Writes:
    """Some instructions with spikes of any density."""
    instructions = [random_fields(params, rng) for _ in range(int(rng.integers(1, 30)))]
    granules = []
    mask = np.uint64((1 << params.neurons) - 1)
    for fields in instructions:
        groups = fields["out_height"] * fields["out_width"] * (1 if fields["planes"] else fields["slices"])
        spikes = rng.integers(0, 1 << 64, groups * granules_of(fields), np.uint64)
        for _ in range(int(rng.integers(4))):
            spikes &= rng.integers(0, 1 << 64, len(spikes), np.uint64)
        granules.append(spikes & mask)
    word = np.uint64((1 << params.neurons * params.blocks) - 1)
    banks = rng.integers(0, 1 << 64, (2, params.rows, params.lanes), np.uint64) & word
    return case_of(instructions, granules, banks, stalls, rng)


def case_of(instructions, granules, banks, stalls: Stalls, rng: np.random.Generator) -> Writes:
    """These instructions with random gaps and pauses; groups as far apart as the neuron unit leaves them."""
    gaps = [stalls.gaps(rng, len(spikes)) for spikes in granules]
    for fields, own in zip(instructions, gaps, strict=True):
        first = np.arange(granules_of(fields), len(own), granules_of(fields))
        own[first] = np.maximum(own[first], GROUP_GAP - 1)
    pauses = 1 + stalls.gaps(rng, len(instructions))
    return Writes(instructions, granules, np.concatenate(gaps), pauses, banks)


def random_cases(params: SpikeWriterParams) -> Iterator[Writes]:
    """Random runs without end, with all patterns of gaps in turn."""
    rng, patterns, index = np.random.default_rng(16), list(STALLS.values()), 0
    while True:
        yield random_case(params, rng, patterns[index % len(patterns)])
        index += 1


# ------------------------------------------------------------------------------ the run


def collect(params: SpikeWriterParams, source: str, cases: Iterable[Writes], granules: int | None = None) -> Result:
    """Run cases, up to so many granules, and add up."""
    watch, sums = Stopwatch(fast), np.zeros(3)
    with watch.watching():
        for case in cases:
            sums += run_case(params, case)
            if granules is not None and sums[0] >= granules:
                break
    transactions, cycles, seconds = sums.tolist()
    return Result(UNIT, name_of(params), source, int(transactions), int(cycles), seconds, watch.seconds)


def run(goal: Goal) -> Iterator[Result]:
    """The unit's mass run; a transaction is a granule."""
    sets = goal.chosen(corners())
    for params in sets:
        yield collect(params, RANDOM, random_cases(params), goal.of(len(sets)))
    for params, some in recorded.cases("writer", goal):
        made = (
            case_of([each.fields], [each.granules], each.memory.spike_out, STALLS["both"], rng) for each, rng in some
        )
        yield collect(params, RECORDED, made)
