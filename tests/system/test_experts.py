"""Does a network with experts run exactly: against the integer reference, and cycle by cycle against the stepped chip?"""

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from archsim import simulate
from archsim.accounting import NAMES, account
from archsim.config import load_chip
from archsim.contracts.sequencer import COLLECT, EXPERTS, TOPK
from archsim.kernel import Simulation
from archsim.ownership import check_intervals, prove
from archsim.results import ImageRun
from archsim.stepped import sequencer as stepped
from archsim.tensors import Capture
from archsim.units.sram import Memories
from mapping import reference
from mapping.context import Limits
from mapping.ir import IMAGE, Map
from mapping.networks.spiking_moe import SpikingMoe
from mapping.networks.weights import Synthetic
from mapping.nodes import Experts
from tests.mapping.conftest import EXPERT_CHIP, MEMBRANE_CHIP, expert_chip, expert_network, map_experts
from tests.system.test_stepped import same_memories

CASES = {
    "room for all": ({}, {}),
    "overflow": ({"capacity": 3}, {}),
    "one hot expert": ({"hot": 1, "capacity": 4}, {}),
    "one core has all experts": ({}, {"moe0": (2, 2, 2, 2)}),
    "two layers, one behind the other": ({"blocks": 2, "capacity": 3}, {"moe1": (0, 0, 1, 2)}),
    "one choice, words and chunks": ({"choices": 1, "dim": 12, "hidden": 72, "timesteps": 2}, {}),
    "three of five, odd time steps": ({"experts": 5, "choices": 3, "timesteps": 3}, {}),
    "fewer time steps": ({"steps": (4, 1, 1, 1), "choices": 1}, {}),
    "fewer time steps, words and chunks": ({"steps": (3, 1, None, 2), "dim": 12, "hidden": 72, "capacity": 5}, {}),
    "fewer time steps, in part of a row": ({"steps": (5, 3, 1, 2), "timesteps": 6, "capacity": 4}, {"moe0": (0, 0, 1, 2)}),
    "weighed": ({"softmax": True, "choices": 1}, {}),
    "weighed, words, steps and overflow": (
        {"softmax": True, "choices": 1, "dim": 12, "hidden": 20, "steps": (4, 1, 1, 1), "capacity": 4, "blocks": 2}, {},
    ),
    "weighed, more experts than columns": ({"softmax": True, "experts": 11, "choices": 1, "timesteps": 2}, {}),
    "more experts than columns": ({"experts": 11, "choices": 4, "capacity": 2, "timesteps": 1}, {}),
    "weighed, expansion 1": ({"softmax": True, "choices": 1, "residual": (0, 2), "steps": (4, 1, 1, 2)}, {}),
    "expansion 1": ({"residual": (0, 1, 2, 3)}, {}),
    "expansion 1, one core, overflow": ({"residual": (0, 1, 2, 3), "capacity": 5}, {"moe0": (1, 1, 1, 1)}),
    "some of expansion 1, two layers": ({"residual": (0, 3), "blocks": 2, "capacity": 4}, {"moe1": (0, 0, 1, 2)}),
    "expansion 1, fewer time steps": ({"residual": (0, 1, 3), "steps": (4, 3, 1, 1), "choices": 1}, {}),
    "expansion 1, words and chunks": ({"residual": (0, 1, 2), "choices": 1, "dim": 40, "experts": 3, "timesteps": 2}, {}),
}  # fmt: skip
"""Arguments of `expert_network`, and placements."""


def _chip(sizes):
    """The chip for `expert_network` of these arguments."""
    return expert_chip(MEMBRANE_CHIP if "residual" in sizes else EXPERT_CHIP, sizes)


def run(mapped, seed, trace=None):
    """The pixels of an image of noise; records, capture, and memories after and before the run, in which a trace is replayed.

    The run begins with anything in the banks: neither empty slots nor rows of dropped choices may depend on it.
    """
    program, chip, rng = mapped.program, mapped.program.chip, np.random.default_rng(seed)
    image = mapped.network.maps[IMAGE]
    pixels = rng.uniform(-1, 1, (image.channels, image.height, image.width))
    memories = Memories.empty(chip, program.dram)
    simulate.write_image(mapped, memories.dram, pixels)
    for core in memories.cores:
        core.psum[:], core.residual[:] = (rng.integers(-999, 999, bank.shape) for bank in (core.psum, core.residual))
        for bank in (core.spike_in, core.spike_out):
            bank[:] = rng.integers(0, 1 << chip.columns, bank.shape)
    before = deepcopy(memories)
    capture = Capture(chip, program.notes, trace, trace is None)
    records = Simulation(chip, mapped.queues, memories, capture).run()
    return SimpleNamespace(pixels=pixels, records=records, capture=capture, memories=memories, before=before)


def equals_the_reference(mapped, seed):
    """A run of a proven program in which every value is the reference's; that, the reference, and how many choices it drops."""
    prove(mapped.program.chip, mapped.queues, len(mapped.program.dram))
    ran = run(mapped, seed)
    check_intervals(mapped.program.chip, mapped.queues, ran.records)
    logits = simulate.read_logits(mapped.program, ran.memories.dram)
    check = simulate.compare(mapped, ran.pixels, ran.capture, logits)
    assert check.differing == {"spikes": 0, "membranes": 0, "logits": 0}
    expected = reference.run(mapped.network, mapped.network.quantise_image(ran.pixels))
    assert all((expected.inputs[name] != expected.inputs["conv"]).any() for name in expected.routes)
    return ran, expected, sum(int((chosen[:, 2] < 0).sum()) for chosen in expected.routes.values())


@pytest.fixture(scope="module", params=CASES)
def case(request):
    sizes, placement = CASES[request.param]
    return sizes, placement


@pytest.mark.parametrize("lanes", [1, 2])
def test_every_value_equals_the_reference(case, lanes):
    sizes, placement = case
    for seed in range(2):
        chip = _chip(sizes).replace(lanes=lanes, param_rows=64 if seed else 8, weight_rows=36 if seed else 96)
        mapped = map_experts(chip, expert_network(seed, **sizes), placement, Limits(positions=2) if seed else None)
        ran, expected, dropped = equals_the_reference(mapped, seed)
        assert ran.records["dropped"].sum() == dropped
        assert (dropped > 0) == ("capacity" in sizes)
        assert (ran.records["flit_stalls"][ran.records["opcode"] == COLLECT] > 0).all()
        _same_routes(mapped, ran, list(expected.routes.values())[-1])


def _same_routes(mapped, ran, chosen):
    """The route tables after the last layer against the reference's choices."""
    heads = [head for head in mapped.queues[EXPERTS] if head["opcode"] == TOPK][-3:]
    rows = [ran.memories.experts.routes[head["core"], : head["tokens"] * head["choices"]] for head in heads]
    table = np.concatenate(rows)
    assert table[:, 0].tolist() == chosen[:, 1].tolist()
    assert np.where(table[:, 2] == 1, table[:, 1], -1).tolist() == chosen[:, 2].tolist()


def test_fast_equals_stepped_for_every_instruction(case):
    sizes, placement = case
    chip = _chip(sizes).replace(lanes=1 + len(sizes) % 2, weight_rows=96)
    mapped = map_experts(chip, expert_network(7, **sizes), placement)
    ran = run(mapped, 7)
    timeline = stepped.run(mapped.program, ran.before)
    assert len(ran.records) == sum(len(times) for times in timeline.instructions.values())
    for engine, times in timeline.instructions.items():
        mine = np.sort(ran.records[ran.records["engine"] == engine], order="index")
        assert np.array_equal(np.stack([mine["start"], mine["end"]], 1), times), engine
    same_memories(ran.memories, ran.before)
    assert all(
        np.array_equal(bank, getattr(ran.before.experts, name)) for name, bank in vars(ran.memories.experts).items()
    )


def known_by_spikes(records, sizes):
    """Records as given spikes determine them.

    Rows of a token without room hold sums of an earlier layer, which WEIGH reads and a trace does not compute: of these nobody
    knows then which elements are unlike those of the row before.
    """
    records = records.copy()
    if sizes.get("softmax") and "capacity" in sizes:
        records["changed_elements"] = 0
    return records


def test_a_replayed_trace_takes_the_same_time(case):
    """The spikes of a run are replayed, and what the experts compute from them and from the stream's membranes is the same."""
    sizes, placement = case
    mapped = map_experts(_chip(sizes), expert_network(3, **sizes), placement)
    executed = run(mapped, 3)
    replayed = run(mapped, 3, executed.capture.words)
    assert np.array_equal(known_by_spikes(executed.records, sizes), known_by_spikes(replayed.records, sizes))
    for name, words in executed.capture.words.items():
        assert np.array_equal(words, replayed.capture.words[name]), name


class Lively(Synthetic):
    """Random weights with biases, under which every map of a small network has spikes."""

    def conv(self, name, norm, shape, bias=False):
        rng = np.random.default_rng([self.seed, *norm.encode()])
        return self.plain(name, shape)[0], rng.normal(0.8, 0.9, shape[0])


@pytest.mark.parametrize(("spike_in_rows", "streamed"), [(1 << 13, False), (900, True)])
def test_the_definition_of_the_public_code_with_experts_of_expansion_1(spike_in_rows, streamed):
    """Two blocks of attention and experts of expansion 1, of fewer time steps, weighed by a softmax: as published but narrower."""
    size = SpikingMoe("tiny", Map(16, 16, 3), 2, 32, 2, 10, heads=4, mlp_ratio=1.0, steps=(4, 1, 1, 1))
    network = size.network(Lively(1), 2.0, 8.0)
    mixtures = [layer for layer in network.layers if isinstance(layer, Experts)]
    assert len(mixtures) == 2 and all(expert.residual for layer in mixtures for expert in layer.experts)
    chip = load_chip("small_experts").replace(
        dispatch_membranes=1, residual_maximum=1, normaliser_operand_bits=10, pool_rows=64, param_rows=256, residual_rows=4096,
        psum_rows=2048, spike_in_rows=spike_in_rows,
    )  # fmt: skip
    mapped = map_experts(chip, network)
    prove(chip, mapped.queues, len(mapped.program.dram))
    ran = run(mapped, 0)
    check = simulate.compare(mapped, ran.pixels, ran.capture, simulate.read_logits(mapped.program, ran.memories.dram))
    assert check.differing == {"spikes": 0, "membranes": 0, "logits": 0} and mapped.program.notes["streamed"] == streamed
    assert all(words.any() for words in ran.capture.words.values()), "a map without a spike shows nothing"


@pytest.mark.parametrize("part", ["weights", "membranes"])
def test_a_wrong_sum_of_an_expert_of_expansion_1_is_seen(part):
    """A reference whose experts join the stream without weights, or have weights alone, differs from the run."""
    mapped = map_experts(MEMBRANE_CHIP, expert_network(0, residual=(0, 1, 2, 3)))
    ran = run(mapped, 0)
    layers = list(mapped.network.layers)
    number = next(number for number, layer in enumerate(layers) if layer.name == "moe0")
    changes = {"stream": None} if part == "membranes" else {"weight": 0 * layers[number].experts[0][0].weight}
    pairs = tuple((replace(first, **changes), second) for first, second in layers[number].experts)
    layers[number] = replace(layers[number], experts=pairs)
    wrong = SimpleNamespace(program=mapped.program, network=replace(mapped.network, layers=tuple(layers)))
    logits = simulate.read_logits(mapped.program, ran.memories.dram)
    assert simulate.compare(mapped, ran.pixels, ran.capture, logits).differing["membranes"] == 0
    assert simulate.compare(wrong, ran.pixels, ran.capture, logits).differing["membranes"] > 0


def test_a_wrong_choice_is_seen():
    """A reference whose scores are all alike, so that every token takes the first two experts, differs from the run."""
    mapped = map_experts(EXPERT_CHIP, expert_network(0, capacity=3))
    ran = run(mapped, 0)
    gate = next(layer for layer in mapped.network.layers if layer.name == "moe0.gate")
    gate.weight[:] = 0
    check = simulate.compare(mapped, ran.pixels, ran.capture, simulate.read_logits(mapped.program, ran.memories.dram))
    assert check.differing["membranes"] > 0


def test_slots_have_a_cause_while_cores_wait_for_routes():
    mapped = map_experts(EXPERT_CHIP, expert_network(0, hot=1, capacity=4))
    ran = run(mapped, 0)
    image = ImageRun(int(ran.records["end"].max()), np.zeros(1, np.int64), ran.records)
    accounts = account(EXPERT_CHIP, image, len(mapped.network.layers))
    assert accounts.slots.sum() == EXPERT_CHIP.adders * image.cycles
    assert accounts.slots[:, NAMES.index("experts")].sum() > 0


def test_results_of_unused_slots_go_nowhere():
    """With room for all, an expert that nobody chooses leaves its mark in its own core alone: same stream, other results."""
    found = []
    for value in (0.0, 5.0):
        network = expert_network(0, hot=1, choices=1)
        network.layers[2].experts[3].bias[:] = value
        mapped = map_experts(EXPERT_CHIP, network)
        ran = run(mapped, 0)
        assert not (ran.memories.experts.routes[:, :6, 0] == 3).any()
        found.append((ran.capture.inputs["moe0"], ran.memories.cores[0].residual.copy()))
    assert np.array_equal(found[0][0], found[1][0])
    assert not np.array_equal(found[0][1], found[1][1])
