"""Does the neuron unit compute the contract's membranes, LATENCY cycles after each block and GROUP_GAP apart?

The corner sequences of the contract drive every neuron to both rails and around its threshold; random parameters, sums
and residuals drive the membrane input. A block is offered in every cycle, so the law alone says when it is taken.
"""

import numpy as np
import pytest

from archsim.contracts import neuron
from archsim.contracts.neuron import GROUP_GAP, IF_HALF, LATENCY, LIF, NONE, NeuronParams
from rtl.units.neuron import block_layout, config_layout
from tests.rtl.bench import number, pack
from tests.rtl.levels import library
from tests.rtl.rows import integers

CORNERS = neuron.corners()
SPLITS = ((12, 1), (1, 12), (4, 3), (2, 6))
"""Steps of a group and slices of a position, for the contract's sequences of 12 steps."""


def taken(groups, granules):
    """Cycles after the first block in which each block is taken, [groups, granules]."""
    return np.arange(groups)[:, None] * (granules - 1 + GROUP_GAP) + np.arange(granules)


def write(params, name, values, **fields):
    """Inputs that write ``values`` (rows of packed integers) to a memory, a row a cycle."""
    width = library("neuron", params).inputs[f"write_{name}__payload"]
    row_bits = getattr(params, "param_bank" if name == "param" else name).address_bits
    payload = []
    for row, value in enumerate(values):
        word = value << row_bits | row
        payload.append(word << 1 | fields["bank"] if "bank" in fields else word)
    words = [np.frombuffer(word.to_bytes(8 * -(-width // 64), "little"), np.uint64) for word in payload]
    inputs = np.array(words)
    return {f"write_{name}__valid": 1, f"write_{name}__payload": inputs if inputs.shape[1] > 1 else inputs[:, 0]}


def run(params, config, sums, loads):
    """Run groups of blocks, sums [groups, blocks, steps, P]; the outputs from the cycle of the first block on."""
    unit = library("neuron", params)
    idle = dict.fromkeys(unit.inputs, 0) | {"config": config_layout(params).pack(config)}
    unit.reset_model()
    for load in loads:
        unit.run(idle | {"rst": 1} | load, resume=True)
    unit.run(idle | {"start": 1}, 1, resume=True)
    groups, blocks, steps, _ = sums.shape
    cycles = taken(groups, blocks * steps)
    block, step = (index.ravel() for index in np.divmod(np.arange(blocks * steps), steps))
    marks = {
        "sums": sums.reshape(groups * blocks * steps, -1), "block": np.tile(block, groups), "step": np.tile(step, groups),
        "last": np.tile((block == blocks - 1) & (step == steps - 1), groups),
    }  # fmt: skip
    payload = pack(block_layout(params), marks)
    # A block is offered from the cycle after the one before was taken until its own.
    offered = np.repeat(payload, np.diff(cycles.ravel(), prepend=-1), axis=0)
    tail = GROUP_GAP + LATENCY + 4
    offered = np.pad(offered, ((0, tail), (0, 0)))
    valid = np.arange(len(offered)) < len(offered) - tail
    inputs = {"i__valid": valid, "i__payload": offered if offered.shape[1] > 1 else offered[:, 0]}
    out = unit.run(idle | inputs, resume=True)
    ready = np.flatnonzero(out["i__ready"].astype(bool) & valid)
    assert ready.tolist() == cycles.ravel().tolist()
    assert np.flatnonzero(out["o__valid"]).tolist() == (cycles.ravel() + LATENCY).tolist()
    granules = out["o__payload"][cycles.ravel() + LATENCY].reshape(len(payload), -1)
    found = [params.o.unpack(number(row)) for row in granules]
    for name in ("block", "step", "last"):
        assert [granule[name] for granule in found] == marks[name].tolist()
    spikes = np.array([[granule["spikes"] >> index & 1 for index in range(params.neurons)] for granule in found])
    state = out["state"].reshape(len(offered), -1)[cycles.ravel() + LATENCY]
    return spikes.reshape(sums.shape), signed(integers(state, params.membrane_bits, params.neurons), params).reshape(
        sums.shape
    )


def signed(values, params):
    """Unsigned bit patterns as membranes."""
    half = 1 << (params.membrane_bits - 1)
    return (values.astype(np.int64) + half) % (2 * half) - half


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", [LIF, IF_HALF, neuron.IF_ZERO])
@pytest.mark.parametrize("number_of_set", range(len(CORNERS)))
def test_corner_sequences(number_of_set, kind, split):
    params, sequences = CORNERS[number_of_set]
    sequences = [sequence for sequence in sequences if sequence["kind"] == kind]
    seen = []
    for first in range(0, len(sequences), params.neurons * params.blocks):
        columns = range(first, first + params.neurons * params.blocks)
        seen.append(corner_membranes(params, [sequences[column % len(sequences)] for column in columns], kind, *split))
    membranes, top = np.concatenate(seen), (1 << (params.membrane_bits - 1)) - 1
    if kind != LIF:
        assert membranes.max() == top and membranes.min() == -top - 1  # both rails were reached


def corner_membranes(params, chosen, kind, steps, slices):
    """Run a sequence in each column, at a second position backwards; compare, and return the membranes."""
    inputs = np.array([[sequence["inputs"] for sequence in chosen], [sequence["inputs"][::-1] for sequence in chosen]])
    expected = np.array([
        [neuron.reference(values.tolist(), sequence["threshold"], kind, params.membrane_bits) for sequence, values in
         zip(chosen, position, strict=True)] for position in inputs
    ])  # [positions, columns, (spikes, membranes), time]  # fmt: skip
    shape = (2, params.blocks, params.neurons, slices, steps)
    order = (0, 3, 1, 4, 2)  # to [positions, slices, blocks, steps, P]
    groups = (2 * slices, params.blocks, steps, params.neurons)
    thresholds = [sequence["threshold"] for sequence in chosen]
    rows = [params.param.pack({"threshold": of_block(params, thresholds, block)}) for block in range(params.blocks)]
    config = {"steps": steps, "slices": slices, "neuron": kind}
    sums = inputs.reshape(shape).transpose(order).reshape(groups)
    spikes, membranes = run(params, config, sums, [write(params, "param", rows, bank=0)])
    for number_of_field, found in enumerate((spikes, membranes)):
        wanted = expected[:, :, number_of_field].reshape(shape).transpose(order).reshape(groups)
        assert np.array_equal(wanted, found)
    return membranes


def of_block(params, values, block):
    """The part of a row of parameters that belongs to a block, as ``Layout.pack`` takes it."""
    part = values[block * params.neurons : (block + 1) * params.neurons]
    return part if params.neurons > 1 else part[0]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("params", [NeuronParams(1, 2, 4, 2, 16, 16, 1), NeuronParams(3, 4, 9, 8, 32, 32, 1),
                                    NeuronParams(8, 2, 24, 4, 64, 64, 1), NeuronParams(3, 4, 9, 8, 32, 32, 1, maximum=1),
                                    NeuronParams(2, 1, 24, 4, 64, 64, 1, maximum=1)],
                         ids=["4 bit", "9 bit", "24 bit", "9 bit, maximum", "24 bit, maximum"])  # fmt: skip
def test_membrane_input(params, seed):
    rng = np.random.default_rng(seed)
    half = 1 << (params.membrane_bits - 1)
    rails = [-half, -half + 1, -1, 0, 1, half - 1]

    def draw(*shape):
        return np.where(rng.random(shape) < 0.3, rng.choice(rails, shape), rng.integers(-half, half, shape))

    positions = 4
    granules = (positions, params.blocks, 1, params.neurons)
    sums, psum, residual = draw(*granules), draw(*granules), draw(*granules)
    bias, shift = draw(params.blocks, params.neurons), rng.integers(-16, 16, (params.blocks, params.neurons))
    psum_in, residual_in = int(rng.integers(2)), int(rng.integers(2))
    maximum = params.maximum and int(seed % 3 > 0)
    compared = maximum and residual_in
    expected = [
        neuron.membrane_input(
            int(total), int(psum[at]) * psum_in, int(bias[at[1], at[3]]), int(shift[at[1], at[3]]),
            int(residual[at]) * residual_in * (not compared), params.membrane_bits,
        )
        for at, total in np.ndenumerate(sums)
    ]  # fmt: skip
    if compared:
        expected = [neuron.membrane_maximum(y, int(row)) for y, row in zip(expected, residual.ravel(), strict=True)]
    rows = [
        params.param.pack({name: of_block(params, values.ravel().tolist(), block) for name, values in
                           (("bias", bias), ("shift", shift))})
        for block in range(params.blocks)
    ]  # fmt: skip
    stored = [[packed(params, row) for row in values.reshape(-1, params.neurons)] for values in (psum, residual)]
    config = {
        "steps": 1, "slices": 1, "neuron": NONE, "psum_in": psum_in, "residual_in": residual_in, "residual_out": 1,
        "psum_position": params.blocks, "residual_position": params.blocks, "param_bank": 1,
    } | ({"maximum": 1} if maximum else {})  # fmt: skip
    loads = [
        write(params, "param", rows, bank=1), write(params, "psum", stored[0]), write(params, "residual", stored[1]),
    ]  # fmt: skip
    spikes, _ = run(params, config, sums, loads)
    assert not spikes.any()
    unit = library("neuron", params)
    count = len(expected) // params.neurons
    idle = dict.fromkeys(unit.inputs, 0)
    out = unit.run(idle | {"read_residual__en": 1, "read_residual__row": np.arange(count + 1) % count}, resume=True)
    rows = out["read_residual__data"][1:].reshape(count, -1)
    assert signed(integers(rows, params.membrane_bits, params.neurons), params).ravel().tolist() == expected


def packed(params, values):
    """A row of membranes as one integer."""
    mask = (1 << params.membrane_bits) - 1
    return sum((int(value) & mask) << index * params.membrane_bits for index, value in enumerate(values))
