"""Does every way of cutting the work compute the network, in the cycles that a stepped model takes?

Chips on which layers need several chunks of weights, parameters are streamed, attention takes another dataflow, sizes
are odd; and random networks with strides, odd maps and widths that fill no word.
"""

from pathlib import Path

import numpy as np
import pytest

from archsim import simulate
from archsim.config import load_chip
from archsim.contracts import dma, sequencer
from archsim.stepped import sequencer as stepped
from archsim.tensors import Capture
from archsim.units.sram import Memories
from mapping.importers import artefact, spikingformer
from mapping.ir import IMAGE, Attention, Classifier, Map, Network, Synapse
from mapping.quantise import IntSynapse, Precision, quantise
from mapping.schedule import Limits, schedule
from tests.system.test_stepped import same_memories

WORKLOAD = Path(__file__).parents[2] / "workloads" / "spikingformer.yaml"
CHIPS = {
    # 3 x 16 channels of a kernel row of the tokenizer's second convolution, and 48 of 256 inputs of the MLP's second.
    "chunks": ("small", {"weight_rows": 48}),
    # As few partial sums as a row of the widest map needs: several passes over the chunks.
    "passes": ("small", {"weight_rows": 96, "psum_rows": 64}),
    "chunks of a gang": ("adders_512", {"weight_rows": 96, "psum_rows": 85}),
    "resident parameters": ("small", {"param_rows": 1024}),
    "streamed parameters": ("small", {"param_rows": 4}),
    "streamed parameters and chunks": ("adders_128", {"param_rows": 4, "weight_rows": 96}),
    "scores": ("small", {"count_rows": 64}),
    "scores, four lanes": ("small_t4", {"count_rows": 64}),
    "three cores": ("small", {"cores": 3, "residual_rows": 2048}),
    "two lanes": ("small", {"lanes": 2}),
    "wide words": ("small", {"columns": 32, "neurons": 8, "count_rows": 1024}),
    "all at once": ("small", {"cores": 3, "lanes": 2, "columns": 32, "neurons": 8, "weight_rows": 96, "param_rows": 4,
                              "count_rows": 2, "residual_rows": 2048, "dram_bus_bytes": 4}),
    "a neuron a cycle": ("small", {"neurons": 1, "param_rows": 512, "residual_rows": 4096, "reduce_rows": 128,
                                   "psum_rows": 2048}),
    "one core": ("small", {"cores": 1}),
    # 2 tokens x 4 steps x 64 channels / 16 a row: each core's own eighth of the stream begins in row 0.
    "no residual row to spare": ("adders_512", {"residual_rows": 32}),
}  # fmt: skip


def _heads(workload, opcode):
    return [head for queue in workload.queues.values() for head in queue if head["opcode"] == opcode]


def _assert_right(workload, pixels, number=0):
    """0 differences to the reference; every instruction and memory as the stepped models have them."""
    image, capture = simulate.run_image(workload, pixels, number, record=True)
    check = simulate.compare(workload, pixels, capture, image.logits)
    assert check.differing == {"spikes": 0, "membranes": 0, "logits": 0}
    assert min(check.compared.values()) > 0
    program = workload.program
    fast = Memories.empty(program.chip, program.dram)
    simulate.write_image(workload, fast.dram, pixels)
    slow = Memories.empty(program.chip, fast.dram)
    records = simulate.Simulation(program.chip, workload.queues, fast, Capture(program.chip, program.notes)).run()
    for engine, times in stepped.run(program, slow).instructions.items():
        mine = records[records["engine"] == engine]
        mine = mine[np.argsort(mine["index"])]
        assert np.array_equal(mine["start"], times[:, 0]), f"engine {engine}: starts differ"
        assert np.array_equal(mine["end"], times[:, 1]), f"engine {engine}: ends differ"
    same_memories(fast, slow)


@pytest.fixture(scope="module")
def trained():
    return artefact.load(WORKLOAD.parent / "artefacts" / "spikingformer_digits")


@pytest.fixture
def digits(trained):
    """The digits network mapped for a preset with other sizes."""

    def build(preset, changes, limits=Limits()):  # noqa: B008 (immutable)
        chip = load_chip(preset).replace(queue_rows=1 << 13, **changes)
        network = quantise(spikingformer.read(trained), Precision(head_bits=12))
        return simulate.Workload(None, network, schedule(network, chip, limits), trained, trained)

    return build


@pytest.mark.parametrize("name", CHIPS)
def test_other_sizes(digits, trained, name):
    workload = digits(*CHIPS[name])
    for number in range(3):
        _assert_right(workload, trained.normalised()[number], number)


@pytest.mark.parametrize("limits", [Limits(96, 3), Limits(192, 1)])
@pytest.mark.parametrize("chip", ["small", "adders_512"])
def test_other_cuts(digits, trained, chip, limits):
    _assert_right(digits(chip, {}, limits), trained.normalised()[5], 5)


def test_the_chips_do_what_they_are_for(digits):
    plain, chunks, passes = digits("small", {}), digits(*CHIPS["chunks"]), digits(*CHIPS["passes"])
    partial = [
        len([head for head in _heads(x, sequencer.SYNAPSE) if head["psum_out"]]) for x in (plain, chunks, passes)
    ]
    assert partial[0] == 0 < partial[2]
    assert partial[1] > 0
    weights = [
        sum(head["rows"] for head in _heads(x, sequencer.LOAD) if head["memory"] == dma.WEIGHT) for x in (plain, passes)
    ]
    assert weights[1] > weights[0], "weights are loaded once a pass"
    assert max(head["rows"] for head in _heads(chunks, sequencer.LOAD) if head["memory"] == dma.WEIGHT) <= 48
    resident = digits(*CHIPS["resident parameters"])
    params = [len([h for h in _heads(x, sequencer.LOAD) if h["memory"] == dma.PARAM]) for x in (plain, resident)]
    assert params[1] == 1 < params[0]
    scores = digits(*CHIPS["scores"])
    assert not _heads(plain, sequencer.ATTEND_SCORES)
    assert _heads(scores, sequencer.ATTEND_SCORES)
    assert not _heads(scores, sequencer.ATTEND_KV) + _heads(scores, sequencer.ATTEND_Q)


def test_counts_of_all_tokens_fit_their_bits(digits):
    """16 tokens count to 16: 4 bits hold 15."""
    assert _heads(digits("small", {"count_bits": 4}), sequencer.ATTEND_SCORES)
    assert not _heads(digits("small", {"count_bits": 5}), sequencer.ATTEND_SCORES)


def test_pieces_of_attention_use_their_banks_in_turn(digits):
    """So that a piece of q arrives, and one of the output leaves, while another is attended to."""
    heads = _heads(digits("small", {}, Limits(positions=4)), sequencer.ATTEND_Q)
    for bank in ("q_bank", "out_bank"):
        assert [head[bank] for head in heads] == [index % 2 for index in range(len(heads))]


def test_weights_and_parameters_are_loaded_into_banks_in_turn(digits):
    """So that the next ones arrive while the present ones are used; on one core, which gets all of them."""
    for memory in (dma.WEIGHT, dma.PARAM):
        heads = [
            h for h in _heads(digits("small", {"cores": 1, "param_rows": 4}), sequencer.LOAD) if h["memory"] == memory
        ]
        assert [head["bank"] for head in heads] == [(index + 1) % 2 for index in range(len(heads))]


@pytest.mark.parametrize("name", ["passes", "three cores", "chunks of a gang", "scores", "two lanes"])
def test_memories_need_not_be_empty(digits, trained, name):
    """A chip that runs image after image never clears its memories: leftovers must not matter."""
    workload, pixels = digits(*CHIPS[name]), trained.normalised()[2]
    program, rng = workload.program, np.random.default_rng(0)
    memories = Memories.empty(program.chip, program.dram)
    simulate.write_image(workload, memories.dram, pixels)
    for unit in [*memories.cores, memories.attention]:
        for memory, bank in vars(unit).items():
            bits = program.chip.columns if bank.dtype == np.uint64 else 3 if memory == "weight" else 12
            bank[:] = rng.integers(0, (1 << bits) - 1, bank.shape, bank.dtype, endpoint=True)
    simulate.Simulation(program.chip, workload.queues, memories, Capture(program.chip, program.notes)).run()
    clean, _ = simulate.run_image(workload, pixels, 2)
    assert np.array_equal(simulate.read_logits(program, memories.dram), clean.logits)


def test_run_checks_a_chip_with_small_banks():
    """The same through the public function, which chooses tiles as well."""
    chip = load_chip("small").replace(weight_rows=96, psum_rows=128, param_rows=8, count_rows=64)
    result = simulate.run(WORKLOAD, chip, images=2, check=True)
    assert result.check.differing == {"spikes": 0, "membranes": 0, "logits": 0}


# ---- random networks


def _weights(rng, *shape):
    fan = shape[1] * shape[2] * shape[3]
    return rng.normal(0.1, 3.0, shape) / np.sqrt(fan), rng.normal(1.2, 0.9, shape[0])


def _network(rng, heads):
    """A stem with or without pool, a second convolution with a stride, attention, residual MLP, classifier."""
    stem, hidden = int(rng.integers(2, 40)), int(rng.integers(3, 70))
    dim, kernel, stride = 16 * heads, int(rng.integers(1, 3)), int(rng.integers(1, 3))
    layers = [
        Synapse("stem", IMAGE, *_weights(rng, stem, 2, 3, 3), padding=1, spikes="s", pool=bool(rng.integers(2))),
        Synapse("middle", "s", *_weights(rng, stem, stem, 3, 2), padding=1, spikes="m", pool=bool(rng.integers(2))),
        Synapse("conv", "m", *_weights(rng, dim, stem, kernel, kernel), stride=stride, padding=int(rng.integers(0, 2)),
                stream="x", opens=True, spikes="a"),
    ]  # fmt: skip
    layers += [Synapse(f"{part}_conv", "a", *_weights(rng, dim, dim, 1, 1), spikes=part) for part in "kvq"]
    layers += [
        Attention("attn", "q", "k", "v", "b", heads, 0.125, 0.125),
        Synapse("proj", "b", *_weights(rng, dim, dim, 1, 1), stream="x", spikes="c"),
        Synapse("mlp1", "c", *_weights(rng, hidden, dim, 1, 1), spikes="d"),
        Synapse("mlp2", "d", *_weights(rng, dim, hidden, 1, 1), stream="x", neuron=None, threshold=0.0, reduce=True),
        Classifier("head", "mlp2", rng.normal(0, 1, (5, dim)), rng.normal(0, 1, 5)),
    ]
    image = Map(int(rng.integers(5, 11)), int(rng.integers(5, 11)), 2)
    return Network("random", int(rng.choice([1, 2, 3, 4])), image, 1.0, 3.0, tuple(layers))


@pytest.mark.parametrize("seed", range(16))
def test_random_networks(seed):
    rng = np.random.default_rng(seed)
    heads = int(rng.integers(1, 5))
    network = quantise(_network(rng, heads), Precision(weight_bits=int(rng.choice([4, 8]))))
    cores = int(rng.integers(1, 6))
    chip = load_chip("adders_512").replace(
        name="random", cores=cores, lanes=int(rng.integers(1, 4)), columns=16 if heads % 2 else 32,
        neurons=int(rng.choice([2, 8, 16])), weight_bits=network.precision.weight_bits, residual_rows=1 << 14,
        psum_rows=int(rng.choice([1 << 13, 2400])), param_rows=int(rng.choice([32, 1024])), count_rows=int(rng.choice([2, 4096])),
        spike_in_rows=1 << 14, spike_out_rows=int(rng.choice([128, 4096])), attention_rows=1 << 12, reduce_rows=512,
    )  # fmt: skip
    widest = max(layer.weight.shape[3] for layer in network.layers if isinstance(layer, IntSynapse)) * chip.columns
    limits = Limits(int(rng.choice([widest, 4 * widest])), int(rng.integers(2, 40)))
    workload = simulate.Workload(None, network, schedule(network, chip, limits))
    shape = network.maps[IMAGE]
    _assert_right(workload, rng.normal(0, 0.7, (shape.channels, shape.height, shape.width)))
