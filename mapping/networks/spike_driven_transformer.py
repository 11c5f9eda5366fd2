"""Spike-driven Transformer (Yao et al., arXiv 2307.01694; BICLab/Spike-Driven-Transformer, module/sps.py and module/ms_conv.py).

A LIF before every convolution of the blocks, a membrane stream, attention as a gate (SDSA-1): the spikes of k AND v are counted
over the tokens of each channel, a LIF fires on the counts, and its spike lets those of q through. The last pool of the tokenizer
takes the maximum of membranes. A LIF stands between the mean over tokens and the classifier.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mapping.ir import GATE, IMAGE, LIF, Attention, Classifier, Layer, Map, Network, Synapse
from mapping.networks.weights import Weights

THRESHOLD, GATE_THRESHOLD = 1.0, 0.5
"""Published thresholds of all neurons, and of those on the counts of k AND v."""

STREAM = "x"


@dataclass(frozen=True)
class SpikeDrivenTransformer:
    """A size of the family.

    Attributes:
        name: for reports.
        image: height, width, channels.
        pooled, pooled_last: first and last convolution of the tokenizer behind which a pool stands; behind the fourth (3) it
            takes the maximum of membranes.
        dim, depth, classes, heads, mlp_ratio, timesteps: as in the published code.
        note: what of this size is not published.
        firing_head: a LIF stands between the mean over tokens and the classifier; else the classifier reads the mean.
    """

    name: str
    image: Map
    pooled: int
    dim: int
    depth: int
    classes: int
    heads: int = 8
    mlp_ratio: float = 4
    timesteps: int = 4
    note: str = ""
    pooled_last: int = 3
    firing_head: bool = True

    def network(self, weights: Weights, image_limit: float = 1.0, head_limit: float = 1.0) -> Network:
        """The network with these weights; the limits are as in :class:`~mapping.ir.Network`."""
        layers = [*self._tokenizer(weights), *(x for block in range(self.depth) for x in self._block(weights, block))]
        head = weights.linear("head", (self.classes, self.dim))
        neuron = (LIF, weights.threshold("head_lif", THRESHOLD), "head_lif") if self.firing_head else ()
        layers.append(Classifier("head", layers[-1].name, *head, *neuron))
        return Network(self.name, self.timesteps, self.image, image_limit, head_limit, tuple(layers))

    def _tokenizer(self, weights: Weights) -> Iterator[Synapse]:
        """Three convolutions with a LIF, a fourth whose pooled sums open the stream, and a fifth that joins it."""
        dim, source = self.dim, IMAGE
        channels = (self.image.channels, dim // 8, dim // 4, dim // 2, dim)
        for number, suffix in enumerate(("", "1", "2", "3")):
            conv, norm, lif = (f"patch_embed.proj_{part}{suffix}" for part in ("conv", "bn", "lif"))
            kernel = weights.conv(conv, norm, (channels[number + 1], channels[number], 3, 3))
            last, pool = number == 3, self.pooled <= number <= self.pooled_last
            yield Synapse(
                conv, source, *kernel, padding=1, stream=STREAM if last else None, opens=last,
                threshold=weights.threshold(lif, THRESHOLD), spikes=lif, pool=pool and not last, pool_sums=pool and last,
            )  # fmt: skip
            source = lif
        kernel, lif = weights.conv("patch_embed.rpe_conv", "patch_embed.rpe_bn", (dim, dim, 3, 3)), self._lifs(0)[0]
        threshold = weights.threshold(lif, THRESHOLD)
        yield Synapse(
            "patch_embed.rpe_conv", source, *kernel, padding=1, stream=STREAM, threshold=threshold, spikes=lif
        )

    def _lifs(self, block: int) -> tuple[str, str]:
        """The neurons of a block that read the stream: before the attention and before what follows it."""
        return f"block.{block}.attn.shortcut_lif", f"block.{block}.mlp.fc1_lif"

    def _block(self, weights: Weights, block: int) -> Iterator[Layer]:
        attn, dim, (source, inside) = f"block.{block}.attn", self.dim, self._lifs(block)
        following = self._lifs(block + 1)[0] if block + 1 < self.depth else None
        weights.unused(f"{attn}.talking_heads", self.heads**2)  # a convolution that the published code never calls
        for part in ("k", "v", "q"):
            kernel, lif = (
                weights.conv(f"{attn}.{part}_conv", f"{attn}.{part}_bn", (dim, dim, 1, 1)),
                f"{attn}.{part}_lif",
            )
            threshold = weights.threshold(lif, THRESHOLD)
            yield Synapse(f"{attn}.{part}_conv", source, *kernel, threshold=threshold, spikes=lif)
        threshold = weights.threshold(f"{attn}.talking_heads_lif", GATE_THRESHOLD)
        q, k, v = (f"{attn}.{part}_lif" for part in ("q", "k", "v"))
        yield Attention(attn, q, k, v, f"{attn}.gated", self.heads, 1.0, threshold, GATE)
        kernel = weights.conv(f"{attn}.proj_conv", f"{attn}.proj_bn", (dim, dim, 1, 1), bias=True)
        threshold = weights.threshold(inside, THRESHOLD)
        yield Synapse(f"{attn}.proj_conv", f"{attn}.gated", *kernel, stream=STREAM, threshold=threshold, spikes=inside)
        yield from self._mlp(weights, f"block.{block}.mlp", inside, following)

    def _mlp(self, weights: Weights, mlp: str, source: str, following: str | None) -> Iterator[Layer]:
        """Two layers; the last one of the network is what the classifier reads."""
        hidden, lif = int(self.dim * self.mlp_ratio), f"{mlp}.fc2_lif"
        kernel = weights.conv(f"{mlp}.fc1_conv", f"{mlp}.fc1_bn", (hidden, self.dim, 1, 1), bias=True)
        threshold = weights.threshold(lif, THRESHOLD)
        yield Synapse(f"{mlp}.fc1_conv", source, *kernel, threshold=threshold, spikes=lif)
        kernel = weights.conv(f"{mlp}.fc2_conv", f"{mlp}.fc2_bn", (self.dim, hidden, 1, 1), bias=True)
        threshold = weights.threshold(following, THRESHOLD) if following else 0.0
        yield Synapse(
            f"{mlp}.fc2_conv", lif, *kernel, stream=STREAM, neuron=LIF if following else None, threshold=threshold,
            spikes=following, reduce=following is None,
        )  # fmt: skip


def _imagenet(depth: int, dim: int) -> SpikeDrivenTransformer:
    name = f"spike_driven_transformer_{depth}_{dim}"
    return SpikeDrivenTransformer(name, Map(224, 224, 3), 0, dim, depth, 1000)


PUBLISHED = {
    **{f"{depth}-{dim}": _imagenet(depth, dim) for depth, dim in ((8, 384), (6, 512), (8, 512), (10, 512), (8, 768))},
    "cifar10-2-512": SpikeDrivenTransformer("spike_driven_transformer_2_512_cifar10", Map(32, 32, 3), 2, 512, 2, 10),
    "cifar100-2-512": SpikeDrivenTransformer("spike_driven_transformer_2_512_cifar100", Map(32, 32, 3), 2, 512, 2, 100),
}
"""The published sizes: ImageNet at 224 x 224 by depth and dimension, CIFAR at 32 x 32."""
