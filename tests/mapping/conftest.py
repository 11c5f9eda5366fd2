"""Small networks for the tests of the mapping: each kind of layer, of any size, with random weights."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from archsim.config import load_chip
from archsim.contracts.common.chip import ChipParams
from archsim.kernel import decode
from mapping.context import NOWHERE, Limits, Placement
from mapping.ir import IMAGE, PRODUCT, Attention, Classifier, Map, Network, Synapse
from mapping.nodes import Expert, Experts
from mapping.quantise import Precision, quantise
from mapping.schedule import schedule

PIXELS = Map(2, 2, 1)


def network(*layers: Any, image: Map = PIXELS, timesteps: int = 4, head_limit: float = 1.0) -> Network:
    """A network whose normalised pixels reach 1."""
    return Network("tiny", timesteps, image, 1.0, head_limit, layers)


def _weights(rng: np.random.Generator, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights that fire now and then, and biases."""
    fan = shape[1] * shape[2] * shape[3]
    scale = np.exp2(rng.uniform(-2, 2, shape[0]))[:, None, None, None]
    return rng.normal(0.1, 1.5, shape) * scale / np.sqrt(fan), rng.normal(1.2, 0.9, shape[0])


def random_network(
    seed: int, *, height: int = 7, width: int = 5, channels: int = 1, stem: int = 6, dim: int = 8, hidden: int = 12,
    heads: int = 2, stride: int = 1, timesteps: int = 4, kind: str = PRODUCT, peaks: bool = False,
) -> Network:  # fmt: skip
    """Stem with pool, spike convolution (stride, padding) that opens a stream, attention, residual MLP, classifier.

    ``peaks``: maxima of the convolution's sums open the stream.
    """
    rng = np.random.default_rng(seed)
    layers: list[Any] = [
        Synapse("stem", IMAGE, *_weights(rng, stem, channels, 3, 3), padding=1, spikes="s", pool=True),
        Synapse(
            "conv", "s", *_weights(rng, dim, stem, 3, 2), stride=stride, padding=1, stream="x", opens=True, spikes="a",
            pool_sums=peaks,
        ),
    ]
    layers += [Synapse(f"{part}_conv", "a", *_weights(rng, dim, dim, 1, 1), spikes=part) for part in "kvq"]
    layers += [
        Attention("attn", "q", "k", "v", "b", heads, 0.125, 0.125 if kind == PRODUCT else 0.5, kind),
        Synapse("proj", "b", *_weights(rng, dim, dim, 1, 1), stream="x", spikes="c"),
        Synapse("mlp1", "c", *_weights(rng, hidden, dim, 1, 1), spikes="d", threshold=0.7),
        Synapse("mlp2", "d", *_weights(rng, dim, hidden, 1, 1), stream="x", neuron=None, threshold=0.0, reduce=True),
        Classifier("head", "mlp2", rng.normal(0, 1, (5, dim)), rng.normal(0, 1, 5)),
    ]
    return network(*layers, image=Map(height, width, channels), timesteps=timesteps, head_limit=3.0)


def expert_network(
    seed: int, *, experts: int = 4, choices: int = 2, capacity: int | None = None, hot: int | None = None, height: int = 4,
    width: int = 3, stem: int = 6, dim: int = 8, hidden: int = 12, timesteps: int = 4, blocks: int = 1,
    steps: tuple[int | None, ...] = (), residual: tuple[int, ...] = (), softmax: bool = False,
) -> Network:  # fmt: skip
    """Stem, convolution that opens a stream, ``blocks`` mixtures of experts that join it, classifier.

    ``capacity``: None for all tokens. ``hot``: an expert whose scores are greater than any other's. ``steps``: of each
    expert. ``residual``: experts of expansion 1 whose input joins the sums of their first layer. ``softmax``: weighs results.
    """
    rng, tokens = np.random.default_rng(seed), height * width
    layers: list[Any] = [
        Synapse("stem", IMAGE, *_weights(rng, stem, 1, 3, 3), padding=1, spikes="s"),
        Synapse("conv", "s", *_weights(rng, dim, stem, 1, 1), stream="x", opens=True, spikes="t0"),
    ]
    for number in range(blocks):
        gate_bias, last = np.zeros(experts), number == blocks - 1
        if hot is not None:
            gate_bias[hot] = 10.0 * dim
        widths = [dim if number in residual else hidden for number in range(experts)]
        pairs = [(_weights(rng, width, dim, 1, 1), _weights(rng, dim, width, 1, 1)) for width in widths]
        found = tuple(
            Expert(*(part.squeeze() for layer in pair for part in layer), steps=own, residual=number in residual)
            for number, (pair, own) in enumerate(zip(pairs, steps or (None,) * experts, strict=True))
        )
        gate = rng.normal(0, 0.5 if softmax else 1, (experts, dim))
        layers.append(Experts(
            f"moe{number}", f"t{number}", "x", gate, gate_bias, found, choices, capacity or tokens,
            None if last else "lif", 0.0 if last else 1.0, None if last else f"t{number + 1}", last, softmax,
        ))  # fmt: skip
    layers.append(Classifier("head", layers[-1].name, rng.normal(0, 1, (5, dim)), rng.normal(0, 1, 5)))
    return network(*layers, image=Map(height, width, 1), timesteps=timesteps, head_limit=6.0)


EXPERT_CHIP = load_chip("small").replace(
    name="expert_chip", cores=3, columns=8, neurons=4, weight_rows=64, param_rows=8, spike_in_rows=512, spike_out_rows=256,
    residual_rows=2048, psum_rows=512, reduce_rows=16, attention_rows=64, count_rows=64, queue_rows=256, dram_latency_cycles=5,
    crossbar_depth=2, route_rows=64,
)  # fmt: skip
"""Three cores of eight columns that hold `expert_network`."""

MEMBRANE_CHIP = EXPERT_CHIP.replace(name="membrane_chip", dispatch_membranes=1)
"""The same, whose expert engine dispatches membranes."""


def expert_chip(chip: ChipParams, sizes: dict[str, Any]) -> ChipParams:
    """The chip that `expert_network` of these arguments needs: with a normaliser if a softmax weighs results."""
    return chip.replace(normaliser_operand_bits=10) if sizes.get("softmax") else chip


def map_experts(chip: ChipParams, layers: Network, placement: Placement = NOWHERE, limits: Limits | None = None) -> Any:
    """A network quantised and mapped for a chip: what :mod:`archsim.simulate` takes as a workload."""
    quantised = quantise(layers, Precision(chip.weight_bits, 8, 12, chip.membrane_bits))
    program = schedule(quantised, chip, limits, placement=placement)
    return SimpleNamespace(network=quantised, program=program, queues=decode(program))


@pytest.fixture(scope="session")
def make_network() -> Callable[..., Network]:
    """`network`."""
    return network


@pytest.fixture(scope="session")
def make_random() -> Callable[..., Network]:
    """`random_network`."""
    return random_network
