"""Random networks on the pool's chips: what is drawn, and how a draw runs on simulator and Verilog.

A draw is a chip, a network, how much of the chip's memories the mapper may use, how it cuts the work, in which order the
instructions stand, and the latencies of DRAM. The hardware is one of a dozen; hypothesis shrinks everything else.
"""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from hypothesis import given, reject, seed, settings
from hypothesis import strategies as st

from archsim.contracts.common.chip import ChipParams
from archsim.contracts.common.errors import ArchsimError
from archsim.contracts.common.program import Program
from archsim.contracts.sequencer import ATTENTION, MULTICAST, TRANSPOSE
from archsim.simulate import write_image
from cosim.machine import Machine
from cosim.run import Bench
from mapping import reference
from mapping.context import Limits
from mapping.integer_nodes import IntAttention
from mapping.ir import IF, IMAGE, LIF, Attention, Classifier, Map, Network, Synapse, halved, output_shape
from mapping.product import FirstProduct
from mapping.quantise import IntNetwork, Precision, quantise
from mapping.schedule import schedule
from tests.cosim.reorder import reorder

BUILD = Path(__file__).parents[2] / "build" / "cosim"

SPLIT = {
    "spike_in_rows": (1, 8, 16, 32), "weight_rows": (1, 2), "param_rows": (1, 2, 4, 8), "spike_out_rows": (1, 2, 4, 8),
    "residual_rows": (1, 2, 4), "psum_rows": (1, 2, 4), "attention_rows": (1, 2, 4), "count_rows": (1, 2, 4, 8),
}  # fmt: skip
"""Memories of which the mapper sees a part, and by what they are divided."""

ROOM = 1 << 17
"""Bytes of DRAM of the pool's systems, for data and instructions of all programs."""


@dataclass(frozen=True)
class Case:
    """A draw.

    Attributes:
        chip: the hardware.
        network: the network, float.
        divisors: by which each memory of SPLIT is divided for the mapper.
        limits: how finely it cuts.
        popcount: K^T V by AND-popcount.
        order: seed and distance of the reordering; distance 0 leaves the mapper's order.
        latencies: of the bursts, cycles, in turn; None: the chip's.
        seed: of the image.
    """

    chip: ChipParams
    network: Network
    divisors: dict[str, int]
    limits: Limits
    popcount: bool
    order: tuple[int, int]
    latencies: list[int] | None
    seed: int


def mapped(case: Case) -> tuple[IntNetwork, Program]:
    """Integers and program of a draw; of the limits and divisors those that the mapper accepts one after another.

    Raises ArchsimError if the network does not fit the whole chip.
    """
    chip, limits = case.chip, Limits()
    network = quantise(case.network, Precision(chip.weight_bits, 8, 9, chip.membrane_bits))
    engine = FirstProduct(1 + case.popcount, 1, 1)
    products = {layer.name: engine for layer in network.layers if isinstance(layer, IntAttention)}
    program = schedule(network, chip, limits, products)
    for choice in (case.limits, *case.divisors.items()):
        tried = (chip, choice) if isinstance(choice, Limits) else (_divided(chip, *choice), limits)
        with suppress(ArchsimError):
            program = schedule(network, *tried, products)
            chip, limits = tried
    program = replace(program, chip=case.chip)
    return network, reorder(program, *case.order) if case.order[1] else program


def _divided(chip: ChipParams, name: str, divisor: int) -> ChipParams:
    return chip.replace(**{name: getattr(chip, name) // divisor})


def _weights(rng: np.random.Generator, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases with which neurons fire now and then."""
    scale = np.exp2(rng.uniform(-1, 1, shape[0]))[:, None, None, None]
    return rng.normal(0.1, 1.5, shape) * scale / np.sqrt(np.prod(shape[1:])), rng.normal(1.2, 0.9, shape[0])


def _attention(
    rng: np.random.Generator, number: int, source: str, channels: int, heads: int
) -> list[Synapse | Attention]:
    """Layers of k, v and q and the attention on them, which writes map ``b``."""
    maps = [f"{part}{number}" for part in "kvq"]
    layers = [Synapse(f"{name}_conv", source, *_weights(rng, channels, channels, 1, 1), spikes=name) for name in maps]
    return [*layers, Attention(f"attention{number}", maps[2], maps[0], maps[1], f"b{number}", heads, 0.125, 0.125)]


@st.composite
def networks(draw, chip: ChipParams) -> Network:
    """A stem, with a pool or without; a convolution that opens a stream or not; blocks of attention or MLP; a classifier."""
    columns, rng = chip.columns, np.random.default_rng(draw(st.integers(0, 1 << 16)))
    image = Map(draw(st.integers(1, 7)), draw(st.integers(1, 7)), draw(st.integers(1, min(3, columns))))
    # A head is a part of a word; only a gang makes the words of a longer one at a time.
    heads = [size for size in range(1, columns + 1) if columns % size == 0] + [2 * columns] * (chip.cores % 2 == 0)
    head, whole = draw(st.sampled_from(heads)), draw(st.integers(0, 2))
    dim = max(head, whole * columns) // head * head  # one head of part of a word, or as many as fill one word or two
    stem, hidden, residual = draw(st.integers(1, 6)), draw(st.integers(1, 8)), draw(st.booleans())
    stream, kernel = ("x" if residual else None), (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    common = {"neuron": draw(st.sampled_from([LIF, IF])), "padding": 1}
    peaks = {"pool_sums": draw(st.booleans())} if chip.residual_maximum and residual else {}
    layers = [
        Synapse("stem", IMAGE, *_weights(rng, stem, image.channels, 3, 3), spikes="s", pool=draw(st.booleans()), **common),
        Synapse("conv", "s", *_weights(rng, dim, stem, *kernel), stride=draw(st.integers(1, 2)), spikes="x0", stream=stream,
                opens=residual, **common, **peaks),
    ]  # fmt: skip
    blocks = draw(st.lists(st.sampled_from(["mlp", "attention", *["height", "width"] * chip.transposer]), max_size=2))
    stemmed = output_shape(layers[0], image)
    axes = output_shape(layers[1], halved(stemmed) if layers[0].pool else stemmed)
    for number, kind in enumerate(blocks):
        source, width = f"x{number}", hidden if kind == "mlp" else dim
        if kind == "attention":
            layers += _attention(rng, number, source, dim, dim // head)
        elif kind != "mlp":  # a linear layer over an axis of the map
            length = getattr(axes, kind)
            layers.append(Synapse(f"mix{number}", source, *_weights(rng, length, length, 1, 1), spikes=f"b{number}", axis=kind))
        else:
            layers.append(Synapse(f"wide{number}", source, *_weights(rng, hidden, dim, 1, 1), spikes=f"b{number}"))
        weights = _weights(rng, dim, width, 1, 1)
        layers.append(Synapse(f"narrow{number}", f"b{number}", *weights, spikes=f"x{number + 1}", stream=stream))
    end = {"stream": stream, "neuron": None, "reduce": True}
    layers.append(Synapse("end", f"x{len(blocks)}", *_weights(rng, dim, dim, 1, 1), **end))
    classes = draw(st.integers(1, 5))
    layers.append(Classifier("head", "end", rng.normal(0, 1, (classes, dim)), rng.normal(0, 1, classes)))
    return Network("drawn", draw(st.sampled_from([1, 2, 3, 4, 6])), image, 1.0, 3.0, tuple(layers))


@st.composite
def cases(draw, chips: list[ChipParams]) -> Case:
    """A draw on one of the chips."""
    chip = draw(st.sampled_from(chips))
    network = draw(networks(chip))
    divisors = {name: draw(st.sampled_from(values)) for name, values in SPLIT.items()}
    limits = Limits(
        draw(st.none() | st.integers(3 * chip.columns, chip.weight_rows)), draw(st.none() | st.integers(1, 12))
    )
    popcount = draw(st.booleans())
    order = draw(st.integers(0, 1 << 16)), draw(st.sampled_from([0, 3, 12, 100]))
    longest = 2 * chip.dram_latency_cycles + 1
    latencies = draw(st.none() | st.lists(st.integers(0, longest), min_size=1, max_size=40))
    return Case(chip, network, divisors, limits, popcount, order, latencies, draw(st.integers(0, 1 << 16)))


@cache
def machine(chip: ChipParams) -> Machine:
    """The hardware of a chip."""
    return Machine(chip, ROOM, BUILD)


def check(case: Case, tally: Counter[str]) -> None:
    """Run a draw on simulator and Verilog, and compare the logits with the integer reference too; ``tally`` counts."""
    try:
        network, program = mapped(case)
    except ArchsimError:
        tally["refused"] += 1
        reject()
    assert len(program.dram) <= ROOM, f"{len(program.dram)} bytes of DRAM, {ROOM} in the pool's systems"
    bench, dram = Bench(program, BUILD, machine=machine(program.chip)), program.dram.copy()
    shape = network.maps[IMAGE]
    pixels = np.random.default_rng(case.seed).uniform(-1, 1, (shape.channels, shape.height, shape.width))
    write_image(SimpleNamespace(network=network, program=program), dram, pixels)
    comparison = bench.run(dram, case.latencies)
    assert comparison.first is None, comparison.first
    assert comparison.equal
    assert bench.logits[0].tolist() == reference.run(network, network.quantise_image(pixels)).logits.tolist()
    tally.update(
        networks=1, streamed=program.notes["streamed"], reordered=int(case.order[1] > 0), latencies=int(case.latencies is not None),
        attention=int(ATTENTION in {engine for engine, _ in bench.plan.places}), instructions=len(bench.plan.places),
        transposed=int(TRANSPOSE in {head["opcode"] for head in bench.plan.queues[MULTICAST]}),
        cycles=bench.cycles[0], values=comparison.compared.total(), differences=comparison.differing.total(),
    )  # fmt: skip


def explore(chips: list[ChipParams], examples: int, number: int = 0) -> Counter[str]:
    """``examples`` draws on some chips, shrunk to the simplest that differs if one does; raises AssertionError then."""
    tally: Counter[str] = Counter()

    @seed(number)
    @settings(max_examples=examples, deadline=None, database=None, print_blob=False)
    @given(cases(chips))
    def draws(case: Case) -> None:
        check(case, tally)

    draws()
    return tally
