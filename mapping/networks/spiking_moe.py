"""A spike-driven transformer with a mixture of experts in the place of its MLP.

Inspired by SpikingMoE (arXiv 2605.23188), whose code, sizes and router are not published. The definition is that of the nearest
public code, HyunseokErikJung/Spike-Driven-Transformer_MoE: the backbone is the Spike-driven Transformer; the gate reads the spikes
of the first time step, a softmax weighs the one expert of each token, and an expert may run for fewer time steps than there are.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mapping.ir import LIF, Layer, Map
from mapping.networks.spike_driven_transformer import STREAM, THRESHOLD, SpikeDrivenTransformer
from mapping.networks.weights import Weights
from mapping.nodes import Expert, Experts

CAPACITY_FACTOR, LEAST_CAPACITY = 4, 4
"""Of the public code: an expert accepts four times its even share of the tokens."""

NOTE = "inspired by SpikingMoE (arXiv 2605.23188), whose code is not published: the nearest public code"


@dataclass(frozen=True)
class SpikingMoe(SpikeDrivenTransformer):
    """A size of the family.

    Attributes:
        steps: time steps of each expert, None for all; as many experts as entries. ``mlp_ratio`` is the expansion of an expert.
        choices: experts of a token.
        capacity: tokens that an expert accepts; 0: as in the public code.
        binary: the results of the chosen experts are added as they are, and an expert's input joins none of its sums. Else
            they are multiplied with the gate's probability, and the input joins the first layer's sums where it is as wide.
    """

    steps: tuple[int | None, ...] = ()
    choices: int = 1
    capacity: int = 0
    binary: bool = False

    def _lifs(self, block: int) -> tuple[str, str]:
        """The gate's neuron stands for the experts' own, which read the same membranes at the same threshold."""
        return f"block.{block}.attn.shortcut_lif", f"block.{block}.mlp.gate.gate_lif1"

    def _mlp(self, weights: Weights, mlp: str, source: str, following: str | None) -> Iterator[Layer]:
        tokens, count = self.tokens, len(self.steps)
        gate = weights.plain(f"{mlp}.gate.gate_fc1", (count, self.dim))[0][:, :, 0, 0]
        capacity = self.capacity or min(tokens, max(LEAST_CAPACITY, tokens * CAPACITY_FACTOR // count))
        experts = tuple(
            self._expert(weights, f"{mlp}.experts.{number}", steps) for number, steps in enumerate(self.steps)
        )
        yield Experts(
            mlp, source, STREAM, gate, np.zeros(count), experts, self.choices, capacity, LIF if following else None,
            weights.threshold(following, THRESHOLD) if following else 0.0, following, following is None, not self.binary,
        )  # fmt: skip

    @property
    def tokens(self) -> int:
        """Tokens of a block: positions behind the tokenizer's pools."""
        side = self.image.height >> (self.pooled_last + 1 - self.pooled)
        return side * side

    def _expert(self, weights: Weights, place: str, steps: int | None) -> Expert:
        hidden = int(self.dim * self.mlp_ratio)
        first = weights.conv(f"{place}.fc1_conv", f"{place}.fc1_bn", (hidden, self.dim, 1, 1), bias=True)
        second = weights.conv(f"{place}.fc2_conv", f"{place}.fc2_bn", (self.dim, hidden, 1, 1), bias=True)
        threshold = weights.threshold(f"{place}.fc2_lif", THRESHOLD)
        residual = hidden == self.dim and not self.binary
        return Expert(first[0][:, :, 0, 0], first[1], second[0][:, :, 0, 0], second[1], threshold, steps, residual)


def _imagenet(ratio: float, steps: tuple[int, ...]) -> SpikingMoe:
    name = f"spiking_moe_8_768_{len(steps)}_experts"
    return SpikingMoe(name, Map(224, 224, 3), 0, 768, 8, 1000, mlp_ratio=ratio, note=NOTE, steps=steps)


def _cifar(ratio: float, steps: tuple[int, ...]) -> SpikingMoe:
    name = f"spiking_moe_2_512_{len(steps)}_experts_cifar100"
    return SpikingMoe(name, Map(32, 32, 3), 2, 512, 2, 100, mlp_ratio=ratio, note=NOTE, steps=steps)


PUBLISHED = {
    "8-768-e4": _imagenet(1.0, (4, 1, 1, 1)), "8-768-e2": _imagenet(2.0, (4, 1)),
    "cifar100-2-512-e4": _cifar(1.0, (4, 1, 1, 1)), "cifar100-2-512-e4-all": _cifar(1.0, (4, 4, 4, 4)),
    "cifar100-2-512-e8": _cifar(0.5, (4, *[1] * 7)), "cifar100-2-512-e2": _cifar(2.0, (4, 1)),
}  # fmt: skip
"""The configurations of the public code by data set, size and experts."""
