"""Mass run of the neuron unit: blocks with gaps through every kind of instruction, its memories read back after each."""

import time
from collections.abc import Iterator
from copy import deepcopy
from typing import NamedTuple

import numpy as np

from archsim.contracts import neuron as contract
from archsim.contracts.neuron import IF_HALF, IF_ZERO, LIF, NONE, NeuronParams
from archsim.stepped import neuron as stepped
from archsim.units import neuron as fast
from archsim.units.neuron import NeuronBanks
from rtl.units.neuron import NeuronUnit, block_layout, config_layout
from tests.rtl import driver, rows
from tests.rtl.bench import STALLS, Case, Observed, Stalls, pack, require_same, words_of
from tests.rtl.levels import library
from tests.rtl.mass import recorded, script
from tests.rtl.mass.divergence import Divergence, Trace
from tests.rtl.mass.record import CORNERS, RANDOM, RECORDED, Goal, Result, name_of
from tests.rtl.mass.script import Check
from tests.rtl.mass.streams import Stopwatch, difference

UNIT = "neuron"

BLOCKS = 3000
"""Blocks of a random instruction at most."""

SETS = [
    *(params for params, _ in contract.corners()),
    NeuronParams(3, 4, 9, 8, 40, 32, 4),
    NeuronParams(8, 2, 24, 4, 64, 64, 2),
    NeuronParams(3, 2, 8, 8, 40, 32, 4, maximum=1),
    NeuronParams(4, 4, 24, 8, 64, 64, 4, maximum=1),
]

STORED = ("psum", "residual", "reduce")
"""Memories that an instruction writes."""


class NeuronCase(NamedTuple):
    """A case of the stream bench, and what only this unit has.

    Attributes:
        case: blocks in, granules out; whoever takes those never blocks.
        before: inputs before cycle 0: reset, loads, start.
        after: the memories that the instruction leaves.
        retires: whether the state counts: there is a neuron.
    """

    case: Case
    before: np.ndarray
    after: NeuronBanks
    retires: bool


def make(params: NeuronParams, fields: dict[str, int], banks: NeuronBanks, sums, gaps) -> NeuronCase:
    """A case of these sums [blocks, P]; ``banks`` are not changed. The parameter bank that is not in use holds something else."""
    after, other = deepcopy(banks), deepcopy(banks)
    law, model = fast.run(params, fields, after, sums, gaps), stepped.run(params, fields, other, sums, gaps)
    retires = fields.get("neuron", NONE) != NONE and not fields.get("psum_out", 0)
    if not retires:
        law = law._replace(state=np.zeros(params.neurons, np.int64))
        model = model._replace(state=law.state)
    count, (blocks, steps) = len(sums), (fields["blocks"], fields["steps"])
    block, step = (np.tile(index, count // (blocks * steps)) for index in np.divmod(np.arange(blocks * steps), steps))
    marks = {"block": block, "step": step, "last": (block == blocks - 1) & (step == steps - 1)}
    layout = config_layout(params)
    config = layout.pack({name: fields[name] for name in layout.by_name if name in fields})
    none = np.zeros((0, 1), np.uint64)
    case = Case(
        constants={"config": config}, load=none, noise=none, gaps=gaps, ready=np.ones(1, np.bool_),
        payload=pack(block_layout(params), marks | {"sums": sums}), accepted=law.accepted,
        output=pack(params.o, marks | {"spikes": law.granules}), transferred=law.transferred,
        state=words_of(params.state.pack({"v": law.state.tolist() if params.neurons > 1 else int(law.state[0])}),
                       params.state.width),
    )  # fmt: skip
    require_same(law, model, case)
    for name in STORED:
        assert np.array_equal(getattr(after, name), getattr(other, name)), f"law and stepped model differ in {name}"
    return NeuronCase(case, _before(params, fields, banks, config), after, retires)


def _before(params, fields, banks, config):
    """Reset, a row a cycle for every memory, and the start."""
    half = np.zeros_like(banks.param)
    param = np.stack([half, half])
    param[fields.get("param_bank", 0)], param[1 - fields.get("param_bank", 0)] = banks.param, banks.param[::-1] ^ 1
    widths = [field.width for field in params.param.fields]
    # The other bank's values are any, but must not be wider than their fields.
    bits = [rows.bits(param[:, :, number].astype(np.int64), width) for number, width in enumerate(widths)]
    data = {"write_param": np.concatenate(bits, axis=-1)}
    data |= {f"write_{name}": rows.bits(getattr(banks, name).astype(np.int64), params.membrane_bits) for name in STORED}
    load = rows.load_inputs(data, {name: contents.shape[-2] for name, contents in data.items()})
    ports, cycles = library(UNIT, params).inputs, len(load["write_psum__valid"])
    return np.concatenate([
        script.rows_of(ports, script.RESET_CYCLES, {"rst": 1, "config": config}),
        script.rows_of(ports, cycles, load | {"config": config}),
        script.rows_of(ports, 1, {"start": 1, "config": config}),
    ])  # fmt: skip


def _dump(params, case: NeuronCase) -> tuple[np.ndarray, list[Check]]:
    """Inputs that read every row of the memories, and what they must answer; cycles from the first of them on."""
    ports, checks, values = library(UNIT, params).inputs, [], {}
    cycles = max(len(getattr(case.after, name)) for name in STORED) + 1
    for name in STORED:
        rows_after = getattr(case.after, name).astype(np.int64)
        values |= {f"read_{name}__en": 1, f"read_{name}__row": np.arange(cycles) % len(rows_after)}
        answers = rows.to_words(rows.bits(rows_after, params.membrane_bits))
        at = np.arange(1, len(rows_after) + 1)
        checks.append(Check(f"read_{name}__data", at, answers, lambda index, name=name: f"{name}[{index}]"))
    return script.rows_of(ports, cycles, values), checks


def run_case(params: NeuronParams, case: NeuronCase) -> tuple[Observed, float]:
    """Run a case on the Verilog; what was seen, and seconds. Raises Divergence."""
    lib, plain = library(UNIT, params), case.case
    dump, checks = _dump(params, case)
    warm, begin = driver.is_warm(), time.perf_counter()
    seen, _ = driver.run(lib, plain, before=case.before)
    outputs = script.columns_of(lib.outputs, lib.run_rows(dump))
    seconds = (time.perf_counter() - begin) * warm
    layouts = {"i__payload": block_layout(params), "o__payload": params.o, "state": params.state, "config": config_layout(params)}
    found = difference(plain, seen if case.retires else seen._replace(state=plain.state), layouts)
    if not found and (stored := script.difference(outputs, checks, {})):
        found = stored._replace(cycle=plain.limit + stored.cycle)
    if found:
        _, before = driver.record(lib, plain, case.before)
        trace = Trace(UNIT, NeuronUnit(params), lib, np.concatenate([before, dump]), len(case.before), layouts)
        raise Divergence(trace, *found)
    return seen, seconds


# ------------------------------------------------------------------------------ stimuli


def random_case(params: NeuronParams, rng: np.random.Generator, stalls: Stalls, blocks: int) -> NeuronCase:
    """Any instruction that fits into the memories; values at the rails and everywhere between."""
    fields, positions = random_fields(params, rng, blocks)
    top = (1 << (params.membrane_bits - 1)) - 1
    rails = [-top - 1, -top, -1, 0, 1, top]

    def draw(*shape):
        scale = rng.choice([1, 1, 16])
        some = rng.integers(-top - 1, top + 1, shape) // scale
        return np.where(rng.random(shape) < 0.2, rng.choice(rails, shape), some).astype(np.int32)

    param = np.stack([draw(params.param_rows, params.neurons) for _ in range(3)], axis=1)
    narrow = rng.random() < 0.7
    param[:, 2] = rng.integers(-1 if narrow else -16, 3 if narrow else 16, param[:, 2].shape)
    stored = {name: draw(getattr(params, f"{name}_rows"), params.neurons) for name in STORED}
    slices = 1 if fields["planes"] else fields["slices"]
    count = positions * slices * fields["blocks"] * fields["steps"]
    banks = NeuronBanks(param, **stored)
    return make(params, fields, banks, draw(count, params.neurons).astype(np.int64), stalls.gaps(rng, count))


def random_fields(params: NeuronParams, rng: np.random.Generator, granules: int) -> tuple[dict[str, int], int]:
    """Fields of an instruction of about ``granules`` blocks, and its positions.

    Rows of a group are distinct, and where the residual stream is not written in place, both its parts lie apart:
    within a group nothing may be read that the group writes.
    """
    flags = ("planes", "psum_in", "residual_in", "residual_out", "reduce", "reduce_first", "param_bank")
    fields = {name: int(rng.integers(2)) for name in flags} | {"neuron": int(rng.integers(4))}
    fields["psum_out"] = int(rng.random() < 0.2)
    fields["maximum"] = params.maximum and int(rng.random() < 0.7)
    fields |= {"blocks": int(rng.integers(1, params.blocks + 1)), "steps": int(rng.integers(1, 9))}
    fields["slices"] = int(rng.integers(1, 5))
    fields["param_base"] = int(rng.integers(params.param_rows - fields["blocks"] + 1))
    fields["reduce"] &= params.reduce_rows >= fields["blocks"]
    fields["reduce_base"] = int(rng.integers(max(1, params.reduce_rows - fields["blocks"] + 1)))
    times = fields["steps"] * (1 if fields["planes"] else fields["slices"])
    positions = max(1, granules // (times * fields["blocks"]))
    stride = fields["blocks"] + int(rng.integers(2))
    span = (times - 1) * stride + fields["blocks"]

    def place(rows_of_bank):
        """Position stride and base so that all positions fit; None if not even one does."""
        if span > rows_of_bank:
            return None
        far = 0 if positions == 1 else min(2 * span, (rows_of_bank - span) // (positions - 1))
        step = int(rng.integers(far + 1))
        return step, int(rng.integers(rows_of_bank - span - step * (positions - 1) + 1))

    fields |= {"psum_step": stride, "residual_step": stride}
    if at := place(params.psum_rows):
        fields["psum_position"], fields["psum_base"] = at
    else:
        fields["psum_in"] = fields["psum_out"] = 0
    apart = place(params.residual_rows // 2) if rng.integers(2) else None
    if at := apart or place(params.residual_rows):
        fields["residual_position"], base = at
        fields["residual_in_base"] = base
        fields["residual_out_base"] = base + (params.residual_rows // 2 if apart else 0)
    else:
        fields["residual_in"] = fields["residual_out"] = 0
    return fields, positions


def corner_cases(number_of_set: int, rng: np.random.Generator) -> Iterator[NeuronCase]:
    """The contract's sequences, one a column, with their steps split into slices in several ways."""
    params, sequences = contract.corners()[number_of_set]
    for kind in (LIF, IF_HALF, IF_ZERO):
        mine = [sequence for sequence in sequences if sequence["kind"] == kind]
        for steps, slices in ((12, 1), (1, 12), (4, 3), (2, 6)):
            for first in range(0, len(mine), params.neurons * params.blocks):
                columns = [mine[(first + index) % len(mine)] for index in range(params.neurons * params.blocks)]
                shape = (params.blocks, params.neurons, slices, steps)
                sums = np.array([sequence["inputs"] for sequence in columns]).reshape(shape).transpose(2, 0, 3, 1)
                threshold = np.array([sequence["threshold"] for sequence in columns]).reshape(shape[:2])
                param = np.zeros((params.param_rows, 3, params.neurons), np.int32)
                param[: params.blocks, 1] = threshold
                banks = NeuronBanks(param, *(
                    np.zeros((getattr(params, f"{name}_rows"), params.neurons), np.int32) for name in STORED
                ))  # fmt: skip
                fields = {"steps": steps, "slices": slices, "neuron": kind, "blocks": params.blocks}
                sums = sums.reshape(-1, params.neurons)
                yield make(params, fields, banks, sums, STALLS["both"].gaps(rng, len(sums)))


def random_cases(params: NeuronParams, blocks: int) -> Iterator[NeuronCase]:
    """Random cases of at least so many blocks, with all patterns of gaps in turn."""
    rng, patterns, index = np.random.default_rng(13), list(STALLS.values()), 0
    while blocks > 0:
        case = random_case(params, rng, patterns[index % len(patterns)], int(rng.integers(1, min(blocks, BLOCKS) + 1)))
        yield case
        blocks, index = blocks - len(case.case.payload), index + 1


# ------------------------------------------------------------------------------ the run


def collect(params: NeuronParams, source: str, cases: Iterator[NeuronCase]) -> Result:
    """Run cases and add up."""
    watch, transactions, cycles, stalls, seconds = Stopwatch(fast), 0, 0, 0, 0.0
    with watch.watching():
        for case in cases:
            seen, taken = run_case(params, case)
            transactions, cycles = transactions + len(case.case.payload), cycles + case.case.limit
            stalls, seconds = stalls + seen.input_stalls, seconds + taken
    return Result(UNIT, name_of(params), source, transactions, cycles, seconds, watch.seconds, stalls)


def run(goal: Goal) -> Iterator[Result]:
    """The unit's mass run."""
    for number_of_set in range(len(goal.chosen(contract.corners()))):
        yield collect(SETS[number_of_set], CORNERS, corner_cases(number_of_set, np.random.default_rng(14)))
    sets = goal.chosen(SETS)
    for params in sets:
        yield collect(params, RANDOM, random_cases(params, goal.of(len(sets))))
    for params, some in recorded.cases("neuron", goal):
        yield collect(params, RECORDED, (
            make(params, each.fields, recorded.banks_of(each.fields, each.memory), each.sums,
                 STALLS["both"].gaps(rng, len(each.sums)))
            for each, rng in some
        ))  # fmt: skip
